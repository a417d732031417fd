"""Plugins that fail in every way: they break only themselves, the stage is named, and what others made is kept."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .campaign import saved
from .forge import TOYS, Forge, Outcome
from .scenarios import write_recipe
from .trouble import some

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the forge forks")
#: A stage between others that passes pictures on, and does one bad thing on its way.
BAD = '''
import os
from collections.abc import Iterator
import genart

@genart.stage("bad.act")
def act(images: genart.Images, params: genart.Params, run: genart.Run) -> Iterator[genart.Batch]:
    """Pass pictures on."""
    import ctypes, locale, random, subprocess, sys, threading, time
    import numpy, torch
    run.expect(images.count)
    for batch in images.batches(1):
        if batch.start == 1 and os.environ.get("BAD"):
            exec(os.environ["BAD"], dict(globals(), **locals()))
        yield {gives}

@genart.stage("bad.give")
def give(images: genart.Images, params: genart.Params, run: genart.Run) -> genart.Model:
    """Give something."""
    return {returns}
'''
STAGES = """
[[stage]]
uses = "toy.noise"
count = 3
save = "noise"

[[stage]]
uses = "toy.noise"
id = "given"
count = 4

[[stage]]
uses = "bad.act"
id = "middle"

[[stage]]
uses = "toy.invert"
save = "pictures"
"""
WORDS = ("run", "r.toml", "-p", str(TOYS), "-p", "bad.py", "--device", "cpu", "--out", "out", "--quiet")

#: What is raised, and the exit code that is right.
RAISED = {
    "ValueError('x')": 4,
    "KeyError('x')": 4,
    "RuntimeError('two\\\\nlines')": 4,
    "BaseException('x')": 4,
    "StopIteration": 4,
    "SystemExit(0)": 4,
    "SystemExit('text')": 4,
    "KeyboardInterrupt": 130,
    "RecursionError": 4,
    "AssertionError": 4,
    "NotImplementedError": 4,
    "UnicodeDecodeError('utf-8', b'x', 0, 1, 'bad')": 4,
    "EOFError": 4,
    "TimeoutError": 4,
    "ExceptionGroup('x', [ValueError('y')])": 4,
    "BaseExceptionGroup('x', [KeyboardInterrupt()])": 4,
    "type('Odd', (Exception,), {'__str__': lambda self: 1 / 0})": 4,
    "MemoryError": 5,
    "OSError(28, 'No space left on device')": 5,
    "FileNotFoundError(2, 'No such file', 'x')": 4,
    "BrokenPipeError": 4,
    "genart.DataError('x')": 3,
    "genart.RefusedError('x')": 7,
    "genart.DivergedError('x')": 8,
}
#: What is done that is no failure of the stage: the run has to end as if nothing had been done.
DONE = {
    "changes the current directory": "os.chdir('/')",
    "changes the umask": "os.umask(0o777)",
    "changes the locale": "locale.setlocale(locale.LC_ALL, 'C')",
    "changes the random state": "random.seed(1); numpy.random.seed(1); torch.manual_seed(1)",
    "changes the number type": "torch.set_default_dtype(torch.float64)",
    "changes variables": "os.environ.clear()",
    "prints": "print('hello')",
    "closes standard output": "os.close(1)",
    "leaves a thread": "threading.Thread(target=time.sleep, args=(0.1,), daemon=True).start()",
    "opens many files": "sys.modules['kept'] = [open('/dev/null') for _ in range(200)]",
    "ignores signals": "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)",
    "lowers the limit of recursion": "sys.setrecursionlimit(200)",
    "sends warnings": "import warnings; warnings.warn('x', stacklevel=1)",
    "replaces standard output": "sys.stdout = None",
}
#: What is yielded that is no picture.
YIELDED = {
    "None": "None",
    "a tensor": "batch.pixels",
    "NaN": "batch.with_pixels(batch.pixels * float('nan'))",
    "infinity": "batch.with_pixels(batch.pixels / 0)",
    "two channels": "batch.with_pixels(batch.pixels[:, :2])",
    "no batch": "batch.with_pixels(batch.pixels[0])",
    "an array of floats": "genart.Batch.from_array(batch.array / 255.0)",
    "an array of two dimensions": "genart.Batch.from_array(batch.array[0, :, :, 0])",
    "an array of one channel": "genart.Batch.from_array(batch.array[..., :1])",
    "no pixels": "genart.Batch(batch.pixels[:, :, :0])",
    "metadata that are no JSON": "genart.Batch(batch.pixels, [{'x': object()}])",
    "NaN in metadata": "genart.Batch(batch.pixels, [{'x': float('nan')}])",
    "metadata too many": "genart.Batch(batch.pixels, [{}, {}])",
    "metadata too few": "genart.Batch(batch.pixels, [])",
    "metadata of another kind": "genart.Batch(batch.pixels, ['x'])",
    "complex numbers": "batch.with_pixels(batch.pixels * 1j)",
}
RETURNED = {
    "pictures": "images",
    "nothing": "None",
    "a path": "run.file('x')",
    "a class": "genart.Model",
    "a model without its file": "genart.Model(run.file('x'), {})",
    "a film": "genart.Video(run.file('x'), 1.0, 1)",
    "a model that is none": "(run.file('x').write_text('x'), genart.Model(run.file('x'), {}))[1]",
}


def folder_with(tmp_path: Path, stages: str = STAGES, gives: str = "batch", returns: str = "images") -> Path:
    """A folder with a recipe and the plugin."""
    folder = tmp_path / "here"
    folder.mkdir()
    write_recipe(folder, stages)
    (folder / "bad.py").write_text(BAD.replace("{gives}", gives).replace("{returns}", returns))
    return folder


def wrong(outcome: Outcome, folder: Path, code: int) -> Iterator[str]:
    """What does not hold after a plugin failed."""
    if outcome.code != code:
        yield f"exit code {outcome.code}"
    if "Traceback" in outcome.err or "Exception ignored" in outcome.err:
        yield "not told in words"
    lines = outcome.err.splitlines()
    if not (lines and lines[0].startswith("genart: ") and len(lines) <= 3):
        yield "not told in three lines"
    elif code not in (130,) and not ("stage 'middle' (bad." in lines[0] or "stage 'bad." in lines[0]):
        yield "the stage is not named"
    made = saved(folder)
    if [name for name in made if name.startswith("out/pictures")]:
        yield "something was saved of what failed"
    if len([name for name in made if name.startswith("out/noise/")]) != 3 or len(list(folder.glob("store/genart/entries/*/*"))) < 1:
        yield "what another stage made is not kept"
    if [path for path in folder.rglob("*") if ".tmp" in path.name]:
        yield "a temporary file was left"


@pytest.mark.parametrize("error", some(RAISED, 6))
def test_what_is_raised_is_told_with_the_stage(forge: Forge, tmp_path: Path, error: str) -> None:
    folder = folder_with(tmp_path)
    outcome = forge.run(folder, *WORDS, BAD=f"raise {error}")
    assert list(wrong(outcome, folder, RAISED[error])) == [], outcome.err
    again = forge.run(folder, *WORDS)
    assert again.code == 0, again.err


@pytest.fixture(scope="module")
def undisturbed(forge: Forge, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a run saves in which nothing bad is done."""
    folder = folder_with(tmp_path_factory.mktemp("undisturbed"))
    done = forge.run(folder, *WORDS)
    assert done.code == 0, done.err
    return {name: content for name, content in saved(folder).items() if name.startswith("out/")}


@pytest.mark.parametrize("act", some(DONE, 6))
def test_what_a_plugin_does_beside_its_work_changes_nothing(forge: Forge, tmp_path: Path, undisturbed: dict[str, bytes], act: str) -> None:
    folder = folder_with(tmp_path)
    outcome = forge.run(folder, *WORDS, BAD=DONE[act])
    assert outcome.code == 0, outcome.err
    assert {name: content for name, content in saved(folder).items() if name.startswith("out/")} == undisturbed
    assert all(path.stat().st_mode & 0o400 for path in folder.rglob("*"))


@pytest.mark.parametrize("act", ["os._exit(0)", "os._exit(3)", "os.abort()", "os.kill(os.getpid(), 9)", "ctypes.string_at(0)"])
def test_a_plugin_that_ends_the_process_is_like_a_kill(forge: Forge, tmp_path: Path, undisturbed: dict[str, bytes], act: str) -> None:
    folder = folder_with(tmp_path)
    forge.run(folder, *WORDS, BAD=act)
    assert not (folder / "out" / "pictures").exists()
    again = forge.run(folder, *WORDS)
    assert again.code == 0, again.err
    assert {name: content for name, content in saved(folder).items() if name.startswith("out/")} == undisturbed


@pytest.mark.parametrize("what", some(YIELDED, 6))
def test_what_is_no_picture_is_refused(forge: Forge, tmp_path: Path, what: str) -> None:
    folder = folder_with(tmp_path, gives=YIELDED[what])
    outcome = forge.run(folder, *WORDS)
    assert list(wrong(outcome, folder, 4)) == [], outcome.err


@pytest.mark.parametrize("what", some(RETURNED, 6))
def test_what_is_no_model_is_refused(forge: Forge, tmp_path: Path, what: str) -> None:
    stages = STAGES.replace('"bad.act"', '"bad.give"').partition('\n[[stage]]\nuses = "toy.invert"')[0] + 'save = "model.safetensors"\n'
    folder = folder_with(tmp_path, stages, returns=RETURNED[what])
    outcome = forge.run(folder, *WORDS)
    assert list(wrong(outcome, folder, 4)) == [], outcome.err


# standard output belongs to the pictures


@pytest.mark.parametrize(
    "act", ["print('x')", "os.write(1, b'x')", "ctypes.CDLL(None).puts(b'x')", "subprocess.run(['echo', 'x'])", "os.close(1)"]
)
@pytest.mark.parametrize("words", [("-o", "-"), ("--json",)], ids=["pictures", "events"])
def test_what_a_plugin_prints_is_no_part_of_the_stream(forge: Forge, tmp_path: Path, act: str, words: tuple[str, ...]) -> None:
    folder = folder_with(tmp_path)
    made = ("apply", "toy.noise", "--count", "3", "-o", "in", "-p", TOYS, "--device", "cpu", "--quiet")
    assert forge.run(folder, *made).code == 0
    outputs = []
    for bad in ("", act):
        out = tmp_path / f"out-{len(outputs)}"
        plant = f"import os; os.dup2(os.open({str(out)!r}, os.O_WRONLY | os.O_CREAT), 1)"
        command = ("apply", "bad.act", "-i", "in", *words, "-p", "bad.py", "--device", "cpu", "--quiet")
        outcome = forge.run(folder, *command, plant=plant, BAD=bad, XDG_CACHE_HOME=str(tmp_path / f"store-{len(outputs)}"))
        assert outcome.code == 0, outcome.err
        outputs.append(out.read_bytes())
    if words == ("--json",):
        events = [[json.loads(line)["event"] for line in output.splitlines()] for output in outputs]
        assert events[0] == events[1]
    else:
        assert outputs[0] == outputs[1]


# loading

IMPORTED = {
    "raises": "raise ValueError('x')",
    "ends the process": "raise SystemExit(0)",
    "is no Python": "def",
    "needs what is missing": "import no_such_module_anywhere",
    "recurses": "def f(): f()\nf()",
    "raises something odd": "raise BaseException",
    "declares a stage twice": "import genart\n@genart.stage('x.y')\ndef a(_: None, p: genart.Params, r: genart.Run) -> genart.Images: ...\n"
    "@genart.stage('x.y')\ndef b(_: None, p: genart.Params, r: genart.Run) -> genart.Images: ...",
    "declares what is no stage": "import genart\n@genart.stage('x.y')\ndef a(b): ...",
    "has a hook that nobody calls": "import genart\n@genart.hookimpl\ndef genart_no_such_hook(): ...",
    "has a hook that raises": "import genart\n@genart.hookimpl\ndef genart_stages(): raise ValueError",
    "prints": "print('x')",
}


@pytest.mark.parametrize("fault", some(IMPORTED, 6))
def test_a_plugin_that_cannot_be_loaded_breaks_only_itself(forge: Forge, tmp_path: Path, fault: str) -> None:
    """It is installed, as far as its metadata say."""
    folder = folder_with(tmp_path)
    installed = tmp_path / "site"
    (installed / "bad-1.0.dist-info").mkdir(parents=True)
    (installed / "bad-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: bad\nVersion: 1.0\n")
    (installed / "bad-1.0.dist-info" / "entry_points.txt").write_text("[genart]\nx = bad_module\n")
    (installed / "bad_module.py").write_text(IMPORTED[fault])
    plant = f"import sys; sys.path.insert(0, {str(installed)!r})"
    for words in (("--help",), ("stages",), ("stages", "toy.noise", "-p", TOYS), ("plugins",), ("plugins", "x"), ("check", *WORDS[1:6])):
        outcome = forge.run(folder, *words, plant=plant)
        assert outcome.code == 0, (words, outcome.err)
        assert "Traceback" not in outcome.err
        if words == ("plugins",) and fault != "prints":
            assert "broken" in outcome.out
    outcome = forge.run(folder, *WORDS, plant=plant)
    assert outcome.code == 0, outcome.err
    (folder / "r.toml").write_text('[recipe]\nname = "x"\n[[stage]]\nuses = "x.y"\nsave = "a"\n')
    outcome = forge.run(folder, "run", "r.toml", "--device", "cpu", plant=plant)
    assert outcome.code in (2, 4), outcome.err
    assert "plugin 'x'" in outcome.err or "no stage 'x.y'" in outcome.err
    assert len(outcome.err.splitlines()) <= 3


def test_two_plugins_of_one_name(forge: Forge, tmp_path: Path) -> None:
    folder = folder_with(tmp_path)
    outcome = forge.run(folder, *WORDS, "-p", "bad.py")
    assert outcome.code == 2
    assert "'bad'" in outcome.err
    installed = tmp_path / "site"
    for name in ("one", "two"):
        (installed / f"{name}-1.0.dist-info").mkdir(parents=True)
        (installed / f"{name}-1.0.dist-info" / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (installed / f"{name}-1.0.dist-info" / "entry_points.txt").write_text("[genart]\nx = os\n")
    plant = f"import sys; sys.path.insert(0, {str(installed)!r})"
    outcome = forge.run(folder, "plugins", plant=plant)
    assert outcome.code == 0
    assert "duplicate: both " in outcome.out
    assert forge.run(folder, *WORDS, plant=plant).code == 0
