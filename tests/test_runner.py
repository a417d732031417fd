"""The runner: streaming, killing and going on, failing, saving."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import genart.store
from genart.artifacts import StoredImages
from genart.errors import Interrupted
from genart.run import Run
from genart.runner import Runner

from .conftest import EAGER, ROOT, TOYS, tree

CHAIN = """
[[stage]]
uses = "toy.noise"
count = 9
[[stage]]
uses = "toy.invert"
id = "inv"
amount = 0.75
save = "pics"
"""

TRAINING = """
[[stage]]
uses = "toy.noise"
[[stage]]
uses = "toy.train"
id = "train"
save = "toy.safetensors"
[[stage]]
uses = "toy.draw"
save = "drawn"
[[stage]]
uses = "toy.film"
from = "train.progress"
save = "film/progress.gif"
"""


def wait_for(path: Path, lines: int, process: subprocess.Popen) -> None:
    """Wait until the toys have made something."""
    while (path.read_text().count("\n") if path.exists() else 0) < lines:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def twin(run_toy, recipe_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> dict[str, bytes]:
    """The outputs of an undisturbed run in a store of its own."""
    with monkeypatch.context() as context:
        context.setenv("XDG_CACHE_HOME", str(home / "twin-cache"))
        context.delenv("TOY_LOG", raising=False)
        assert run_toy(recipe_path, *arguments).code == 0
    outputs = tree(Path("out"))
    shutil.rmtree("out")
    return outputs


SIDES = """
[[stage]]
uses = "toy.noise"
id = "a"
[[stage]]
uses = "toy.noise"
id = "b"
[[stage]]
uses = "toy.train"
id = "train"
from = "a"
[[stage]]
uses = "toy.tint"
id = "tint"
from = "a"
by = ["b", "train.progress"]
model = "train"
save = "tinted"
"""

# running


def test_a_recipe_runs_once_and_is_cached_the_second_time(run_toy, recipe, toy_log):
    path = recipe(TRAINING)
    first = run_toy(path)
    assert first.code == 0, first.err
    assert sorted(first.made()) == ["toy.draw", "toy.film", "toy.noise", "train"]
    assert toy_log()
    before = tree(Path("out"))
    second = run_toy(path)
    assert second.made() == []
    assert toy_log() == []
    assert tree(Path("out")) == before
    assert all(e["unchanged"] for e in second.events if e["event"] == "saved")


def test_streamed_and_stored_pictures_are_the_same(run_toy, recipe):
    """A map that reads from memory and one that reads from the store give the same bytes."""
    run_toy(recipe(CHAIN))
    streamed = tree(Path("out"))
    run_toy(recipe(CHAIN), "--force", "inv")
    assert tree(Path("out")) == streamed


@pytest.mark.parametrize("way", ["zip", "len", "first", "index"])
def test_a_second_reader_of_a_live_stream_disturbs_no_one(run_toy, recipe, toy_log, way):
    path = recipe(f'[[stage]]\nuses = "toy.noise"\nsave = "a"\n[[stage]]\nuses = "toy.twice"\nway = "{way}"\nsave = "b"\n')
    result = run_toy(path)
    assert result.code == 0, result.err
    a, b = (sorted(p.name for p in Path("out", name).iterdir()) for name in "ab")
    assert len(a) == 6
    assert a == b
    assert len(toy_log()) == 6, "every picture is made once"


def test_a_parameter_takes_a_picture_or_a_model_from_another_stage(run_toy, recipe, toy_log):
    """Its content is part of what the result is; the same picture under the other name is another result."""
    path = recipe(SIDES)
    first = run_toy(path)
    assert first.code == 0, first.err
    before = tree(Path("out"))
    toy_log()
    assert run_toy(path).made() == []
    assert toy_log() == []
    assert run_toy(path, "--set", "b.size=9").made() == ["b", "tint"]
    assert tree(Path("out")) != before
    turned = run_toy(recipe(SIDES.replace('["b", "train.progress"]', '["train.progress", "b"]')))
    assert turned.made() == ["tint"]
    assert tree(Path("out")) != before


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('by = ["b", "train.progress"]', 'by = ["train"]', "by: 'train' (toy.train) gives a model, not images"),
        ('model = "train"', 'model = "a"', "model: 'a' (toy.noise) gives images, not a model"),
        ('model = "train"', 'model = "trai"', "no such file or folder: trai"),
        ('by = ["b", "train.progress"]', 'by = ["tint"]', "by: 'tint' cannot be its own input"),
        ('by = ["b", "train.progress"]', 'by = ["after"]', "wait for each other in a cycle"),
    ],
)
def test_a_parameter_that_names_a_stage_is_checked(cli, recipe, old, new, words):
    after = '[[stage]]\nuses = "toy.invert"\nid = "after"\nfrom = "tint"\n' if "after" in new else ""
    text = SIDES.replace(old, new) + after
    result = cli("check", recipe(text), "-p", TOYS)
    assert result.code == 2
    assert words in result.err


def test_two_branches_read_one_live_stage(run_toy, recipe, toy_log):
    stages = CHAIN + '[[stage]]\nuses = "toy.invert"\nid = "b"\nfrom = "toy.noise"\nsave = "b"\n'
    stages += '[[stage]]\nuses = "toy.fade"\nfrom = ["inv", "b"]\nsave = "both"\n'
    assert run_toy(recipe(stages)).code == 0
    assert len(list(Path("out/both").iterdir())) == 18
    assert sum(line.startswith("noise") for line in toy_log()) == 9


def test_a_stream_holds_one_batch(run_toy, recipe, toy_log):
    """Producer and consumer take turns: the second picture is made only after the first has been used."""
    assert run_toy(recipe(CHAIN)).code == 0
    log = toy_log()
    assert (
        log[:2] == ["noise 0", "invert 0"]
        or log[:4] == ["noise 0", "noise 1", "invert 0", "invert 1"]
        or log[1:3] == ["noise 1", "invert 0"]
    )
    lead = max(sum(x.startswith("noise") for x in log[:i]) - sum(x.startswith("invert") for x in log[:i]) for i in range(len(log)))
    assert lead <= 2


@pytest.mark.parametrize("count", [0, 1])
def test_few_pictures(run_toy, recipe, count):
    result = run_toy(recipe(f'[[stage]]\nuses = "toy.noise"\ncount = {count}\n[[stage]]\nuses = "toy.fade"\nsave = "x"\n'))
    assert result.code == 0, result.err
    assert len(list(Path("out/x").iterdir())) == count


def test_pictures_of_mixed_sizes(run_toy, recipe):
    assert run_toy(recipe('[[stage]]\nuses = "toy.noise"\nmixed = true\n[[stage]]\nuses = "toy.invert"\nsave = "x"\n')).code == 0
    from PIL import Image

    sizes = []
    for path in sorted(Path("out/x").iterdir()):
        with Image.open(path) as picture:
            sizes.append(picture.size)
    assert sizes == [(8, 8), (8, 8), (16, 8)] * 2


def test_fps_passes_along_a_stream(run_toy, recipe, store):
    assert run_toy(recipe('[[stage]]\nuses = "toy.noise"\nfps = 12.5\n[[stage]]\nuses = "toy.invert"\nid = "i"\nsave = "x"\n')).code == 0
    folders = [p.parent for p in store.glob("entries/??/*/output/index.json")]
    assert len(folders) == 2
    assert {StoredImages(f).fps for f in folders} == {12.5}


#: Two stages that are the same, merged at once or at the end of two branches.
SAME = """
[[stage]]
uses = "toy.read"
id = "a"
path = "grey"
[[stage]]
uses = "toy.read"
id = "b"
path = "grey"
"""
MERGED_AT_ONCE = (
    SAME
    + """
[[stage]]
uses = "toy.fade"
from = ["a", "b"]
save = "x"
"""
)
MERGED_LATER = (
    SAME
    + """
[[stage]]
uses = "toy.invert"
id = "c"
from = "a"
[[stage]]
uses = "toy.fade"
id = "d"
from = "b"
[[stage]]
uses = "toy.fade"
from = ["d", "c"]
save = "x"
"""
)


@pytest.mark.parametrize("stages", [MERGED_AT_ONCE, MERGED_LATER], ids=["at once", "later"])
def test_two_stages_that_are_the_same_do_not_wait_for_each_other(run_toy, recipe, toy_log, monkeypatch, stages):
    def wait(seconds):
        raise AssertionError("it waits for itself")

    monkeypatch.setattr(genart.store, "time", SimpleNamespace(time=time.time, sleep=wait))
    Path("grey").write_text("abc")
    result = run_toy(recipe(stages))
    assert result.code == 0, result.err
    assert len(list(Path("out/x").iterdir())) == 2
    assert toy_log().count("read") == 1


#: A stage that gives its result at once, and takes a picture from another.
WHOLE = """
import genart
from pydantic import Field

class Params(genart.Params):
    by: genart.PictureInput = Field(description="A picture.")

@genart.stage("whole.pass")
def whole(images: genart.Images, params: Params, run: genart.Run) -> genart.Images:
    assert isinstance(run.sides[str(params.by)], genart.Images)
    return images
"""
SOURCES = """
[[stage]]
uses = "toy.noise"
id = "p"
[[stage]]
uses = "toy.noise"
id = "q"
"""
TWO_BRANCHES = (
    SOURCES
    + """
[[stage]]
uses = "toy.invert"
id = "i"
from = "p"
[[stage]]
uses = "toy.invert"
id = "k"
from = "p"
amount = 0.5
[[stage]]
uses = "toy.fade"
from = ["q", "i", "k"]
save = "x"
"""
)
WITH_A_SIDE = """
[[stage]]
uses = "toy.noise"
id = "source"
[[stage]]
uses = "toy.invert"
id = "side"
[[stage]]
uses = "toy.noise"
id = "p"
[[stage]]
uses = "toy.noise"
id = "q"
[[stage]]
uses = "whole.pass"
from = ["p", "q"]
by = "side"
save = "x"
"""


@pytest.mark.parametrize(
    "stages",
    [SOURCES + f'[[stage]]\nuses = "toy.fade"\nfrom = {order}\nsave = "x"\n' for order in ('["p", "q"]', '["q", "p"]')]
    + [TWO_BRANCHES, WITH_A_SIDE, SIDES],
    ids=["p and q", "q and p", "two branches", "with a side", "sides"],
)
def test_whoever_waits_for_a_stage_holds_only_what_is_made_of_it(run_toy, recipe, monkeypatch, stages):
    """Then no two processes wait for each other, in whatever order their recipes merge the same stages."""
    Path("whole.py").write_text(WHOLE)
    locked, held, others, most = Runner.locked, [], [], 0

    @contextlib.contextmanager
    def watched(runner, step):
        nonlocal most
        others.extend((one, step.node.id) for one in held if step not in runner._chain(runner.steps[one]))
        with locked(runner, step):
            held.append(step.node.id)
            most = max(most, len(held))
            yield
            held.remove(step.node.id)

    monkeypatch.setattr(Runner, "locked", watched)
    result = run_toy(recipe(stages), "-p", "whole.py")
    assert result.code == 0, result.err
    assert (others, held) == ([], [])
    assert most > 1, "pictures flow"


def test_a_chain_of_any_length(run_toy, recipe):
    link = '[[stage]]\nuses = "toy.invert"\nid = "link-{}"\namount = {}\n'
    links = "".join(link.format(i, i / 200) for i in range(150))
    path = recipe(f'[[stage]]\nuses = "toy.noise"\ncount = 1\nsize = 1\n{links}save = "x"\n')
    result = run_toy(path)
    assert result.code == 0, result.err
    assert len(result.made()) == 151
    assert len(list(Path("out/x").iterdir())) == 1


#: Stages that give files which they did not write.
GIVES = """
import genart
from pydantic import Field

class Params(genart.Params):
    path: genart.InputPath = Field(description="A file.")

@genart.stage("gives.model")
def model(_: None, params: Params, run: genart.Run) -> genart.Model:
    return genart.Model.open(params.path)

@genart.stage("gives.video")
def video(_: None, params: Params, run: genart.Run) -> genart.Video:
    return genart.Video(params.path, 10.0, 6)

@genart.stage("gives.on")
def on(model: genart.Model, params: None, run: genart.Run) -> genart.Model:
    return model
"""
GIVEN = """
[[stage]]
uses = "gives.model"
id = "m"
path = "out/toy.safetensors"
[[stage]]
uses = "gives.on"
save = "again.safetensors"
[[stage]]
uses = "toy.draw"
from = "m"
save = "drawn again"
[[stage]]
uses = "gives.video"
path = "out/film/progress.gif"
save = "again.gif"
"""


def test_files_that_a_stage_gives_and_did_not_write_stay(run_toy, recipe):
    Path("gives.py").write_text(GIVES)
    assert run_toy(recipe(TRAINING)).code == 0
    before = tree(Path("out"))
    result = run_toy(recipe(GIVEN), "-p", "gives.py")
    assert result.code == 0, result.err
    after = tree(Path("out"))
    assert {name: after.get(name) for name in before} == before
    assert {"again.safetensors", "again.gif", "drawn again/00000.png"} <= after.keys()


#: A stage during which somebody edits a file, if there is one called "edit", and one that reads it then.
EDITS = """
from collections.abc import Iterator
from pathlib import Path

import genart
from pydantic import Field

class Params(genart.Params):
    path: genart.InputPath = Field(description="A file or folder.")

@genart.stage("edits.during", pointwise=True)
def during(images: genart.Images, params: None, run: genart.Run) -> Iterator[genart.Batch]:
    if (edit := Path("edit")).exists():
        edit.replace(edit.read_text())
    yield from images

@genart.stage("edits.read", pointwise=True)
def read(images: genart.Images, params: Params, run: genart.Run) -> Iterator[genart.Batch]:
    for batch in images:
        grey = sum(path.stat().st_size for path in (params.path, *params.path.glob("*")) if path.is_file()) / 255
        yield batch.with_pixels(batch.pixels * 0 + grey)
"""


@pytest.mark.parametrize(("path", "file"), [("v.txt", "v.txt"), ("folder", "folder/v.txt")])
def test_a_file_that_is_edited_meanwhile_gives_no_result(cli, run_toy, recipe, store, path, file):
    """Else the result would be found under the old content for ever, or under that of the next run."""
    Path("edits.py").write_text(EDITS)
    Path("folder").mkdir()
    Path(file).write_text("old")
    stages = '[[stage]]\nuses = "toy.noise"\n[[stage]]\nuses = "edits.during"\n'
    stages += f'[[stage]]\nuses = "edits.read"\nid = "r"\npath = "{path}"\n[[stage]]\nuses = "toy.invert"\nsave = "x"\n'
    assert run_toy(recipe(stages), "-p", "edits.py", "--out", "wanted").code == 0
    shutil.rmtree(store)
    Path("edit").write_text(file)  # the edit: this very file takes the other one's place
    result = run_toy(recipe(stages), "-p", "edits.py")
    assert result.code == 3, result.err
    assert (
        f"stage 'r' (edits.read): {Path(path).absolute()}: it was changed while the run went on\n  run the same command again" in result.err
    )
    assert list(store.glob("work/*")) == []
    edited = len(Path(file).read_text())
    assert run_toy(recipe(stages), "-p", "edits.py").code == 0
    with Image.open("out/x/00000.png") as picture:
        assert picture.getpixel((0, 0)) == (255 - edited,) * 3
    Path(file).write_text("old")
    assert run_toy(recipe(stages), "-p", "edits.py").code == 0
    assert tree(Path("out")) == tree(Path("wanted"))


# killing and going on


@pytest.mark.parametrize("moment", [1, 4, 8])
def test_kill_9_of_a_stream_then_the_same_bytes(run_toy, recipe, toy_log, genart_process, home, monkeypatch, moment):
    path = recipe(CHAIN)
    wanted = twin(run_toy, path, home, monkeypatch, "--set", "toy.noise.slow=0.05")
    arguments = ("run", path, "-p", TOYS, "--json", "--device", "cpu", "--out", "out", "--set", "toy.noise.slow=0.05")
    process = genart_process(*arguments, prelude=EAGER)
    wait_for(home / "toy.log", 2 * moment, process)
    process.kill()
    process.communicate()
    assert not Path("out").exists() or tree(Path("out")) == {}
    before = toy_log()
    resumed = run_toy(path, "--set", "toy.noise.slow=0.05")
    assert resumed.code == 0, resumed.err
    assert tree(Path("out")) == wanted
    after = toy_log()
    kept = resumed.started()["inv"]["resumed_at"]
    assert kept >= moment - 2
    assert len([x for x in after if x.startswith("invert")]) == 9 - kept
    noise = [x for x in before if x.startswith("noise")]
    assert len([x for x in after if x.startswith("noise")]) <= 9 - len(noise) + 2, "only the rest is made"


def test_kill_9_of_a_stage_that_goes_on_from_its_own_pictures(run_toy, recipe, toy_log, genart_process, home, monkeypatch):
    path = recipe(SIDES)
    wanted = twin(run_toy, path, home, monkeypatch, "--set", "tint.slow=0.1")
    arguments = ("run", path, "-p", TOYS, "--json", "--device", "cpu", "--out", "out", "--set", "tint.slow=0.1")
    process = genart_process(*arguments, prelude=EAGER)
    wait_for(home / "toy.log", 6 + 6 + 8 + 4, process)
    process.kill()
    process.communicate()
    toy_log()
    resumed = run_toy(path, "--set", "tint.slow=0.1")
    assert resumed.code == 0, resumed.err
    assert tree(Path("out")) == wanted
    kept = resumed.started()["tint"]["resumed_at"]
    assert kept > 0
    assert [line for line in toy_log() if line.startswith("tint")] == [f"tint {i}" for i in range(kept, 6)]


@pytest.mark.parametrize("moment", [1, 5])
def test_kill_9_of_a_training_then_the_same_bytes(run_toy, recipe, toy_log, genart_process, home, monkeypatch, moment):
    path = recipe(TRAINING)
    monkeypatch.setenv("TOY_CHOICE", "5")
    wanted = twin(run_toy, path, home, monkeypatch, "--set", "train.slow=0.1")
    arguments = ("run", path, "-p", TOYS, "--json", "--device", "cpu", "--out", "out", "--set", "train.slow=0.1")
    process = genart_process(*arguments)
    wait_for(home / "toy.log", 6 + moment, process)
    process.kill()
    process.communicate()
    monkeypatch.setenv("TOY_CHOICE", "9")  # a resume follows what was chosen at first
    before = [line for line in toy_log() if line.startswith("train")]
    assert run_toy(path, "--set", "train.slow=0.1").code == 0
    assert tree(Path("out")) == wanted
    after = [line for line in toy_log() if line.startswith("train")]
    assert 8 <= len(before) + len(after) <= 9, "at most the step that was under way is made again"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_the_run_and_says_how_to_go_on(run_toy, recipe, toy_log, genart_process, home, monkeypatch, number, code):
    path = recipe(CHAIN)
    wanted = twin(run_toy, path, home, monkeypatch, "--set", "toy.noise.slow=0.1")
    arguments = ("run", path, "-p", TOYS, "--device", "cpu", "--out", "out", "--set", "toy.noise.slow=0.1")
    process = genart_process(*arguments)
    wait_for(home / "toy.log", 5, process)
    process.send_signal(number)
    _, err = process.communicate()
    assert process.returncode == code, err
    assert "Traceback" not in err
    assert len([line for line in err.splitlines() if line.startswith(("genart:", "  genart"))]) == 2
    assert f"genart run {path} -p {TOYS} --device cpu --out out --set toy.noise.slow=0.1" in err
    made = len([x for x in toy_log() if x.startswith("noise")])
    resumed = run_toy(path, "--set", "toy.noise.slow=0.1")
    assert resumed.started()["toy.noise"]["resumed_at"] >= made - 1, "a stream that stops at a signal keeps every picture"
    assert tree(Path("out")) == wanted


def test_a_stream_that_is_not_pointwise_starts_again_and_its_source_does_not(run_toy, recipe, toy_log, genart_process, home, monkeypatch):
    path = recipe('[[stage]]\nuses = "toy.noise"\ncount = 9\n[[stage]]\nuses = "toy.fade"\nslow = 0.05\nsave = "x"\n')
    wanted = twin(run_toy, path, home, monkeypatch)
    process = genart_process("run", path, "-p", TOYS, "--device", "cpu", "--out", "out", prelude=EAGER)
    wait_for(home / "toy.log", 10, process)
    process.kill()
    process.communicate()
    toy_log()
    resumed = run_toy(path)
    assert resumed.started()["toy.fade"]["resumed_at"] == 0
    assert tree(Path("out")) == wanted
    log = toy_log()
    assert len([x for x in log if x.startswith("fade")]) == 9
    assert len([x for x in log if x.startswith("noise")]) < 9


@pytest.fixture
def stop_at(monkeypatch):
    """Let Ctrl-C come at a step of toy.train, or at none: stop_at(step)."""
    metric = Run.metric

    def stop(at):
        def stopping(run, **values):
            if values["nimg"] == at:
                raise Interrupted(signal.SIGINT)
            metric(run, **values)

        monkeypatch.setattr(Run, "metric", stopping)

    return stop


def steps_of(log: list[str]) -> list[str]:
    return [line for line in log if line.startswith("train")]


def test_a_forced_training_that_was_stopped_goes_on_with_the_same_command(run_toy, recipe, toy_log, stop_at):
    path = recipe(TRAINING)
    assert run_toy(path).code == 0
    wanted = tree(Path("out"))
    every = steps_of(toy_log())
    stop_at(4)
    assert run_toy(path, "--force", "train").code == 130
    assert steps_of(toy_log()) == every[:5], "it began anew"
    stop_at(None)
    result = run_toy(path)
    assert (result.code, result.made()) == (0, []), "the old result is there"
    toy_log()
    result = run_toy(path, "--force", "train")
    assert (result.code, result.made()[0]) == (0, "train"), result.err
    assert result.started()["train"]["reason"] == "going on from its checkpoint"
    assert steps_of(toy_log()) == every[5:]
    assert tree(Path("out")) == wanted
    assert run_toy(path, "--force", "train").code == 0
    assert steps_of(toy_log()) == every, "and begins anew the next time"


def test_force_begins_anew_what_was_stopped_without_it(run_toy, recipe, toy_log, stop_at, monkeypatch):
    path = recipe(TRAINING)
    stop_at(4)
    monkeypatch.setenv("TOY_CHOICE", "5")
    assert run_toy(path).code == 130
    stop_at(None)
    monkeypatch.setenv("TOY_CHOICE", "9")
    toy_log()
    assert run_toy(path, "--force", "train").code == 0
    assert len(steps_of(toy_log())) == 8
    stages = json.loads(Path("out/run.json").read_text())["stages"]
    assert next(stage["choices"] for stage in stages if stage["id"] == "train") == {"lucky": 9.0}


def test_a_forced_stream_that_failed_goes_on_with_the_same_command(run_toy, recipe, toy_log, monkeypatch):
    path = recipe('[[stage]]\nuses = "toy.noise"\n[[stage]]\nuses = "toy.crash"\nid = "c"\nsave = "x"\n')
    monkeypatch.setenv("TOY_CRASH", "0")
    assert run_toy(path).code == 0
    wanted = tree(Path("out"))
    monkeypatch.setenv("TOY_CRASH", "1")
    toy_log()
    assert run_toy(path, "--force", "c").code == 4
    assert toy_log() == ["crash 0", "crash 1", "crash 2"]
    monkeypatch.setenv("TOY_CRASH", "0")
    assert run_toy(path, "--force", "c").started()["c"]["resumed_at"] == 3
    assert toy_log() == ["crash 3", "crash 4", "crash 5"]
    assert tree(Path("out")) == wanted


# failing


@pytest.mark.parametrize(
    ("how", "code", "words"),
    [
        ("value", 4, "failed: ValueError: the toy broke"),
        ("recipe", 4, "failed: KeyError: 'x'"),
        ("memory", 5, "out of memory"),
        ("nan", 4, "NaN"),
        ("shape", 4, "(1, 2, 4, 4)"),
        ("meta", 4, "object"),
        ("data", 3, "this picture cannot be used"),
        ("diverged", 8, "the loss is NaN"),
        ("disk", 5, "the disk is full"),
        ("threads", 5, "no thread or memory to give"),
        ("exit", 4, "SystemExit"),
    ],
)
def test_a_failing_stage_is_named_and_loses_nothing(run_toy, cli, recipe, toy_log, monkeypatch, how, code, words):
    path = recipe(f'[[stage]]\nuses = "toy.noise"\nsave = "a"\n[[stage]]\nuses = "toy.crash"\nid = "c"\nhow = "{how}"\nsave = "b"\n')
    Path("out/b").mkdir(parents=True)
    Path("out/b/old.txt").write_text("old")
    result = cli("run", path, "-p", TOYS, "--device", "cpu", "--out", "out", "--quiet")
    assert (result.code, result.out) == (code, "")
    assert len(result.err.splitlines()) <= 3, result.err
    assert "Traceback" not in result.err
    assert "stage 'c' (toy.crash)" in result.err
    assert words in result.err
    assert tree(Path("out"))["b/old.txt"] == b"old", "the old output stays"
    made = toy_log()
    assert "crash 2" in made
    monkeypatch.setenv("TOY_CRASH", "0")
    resumed = run_toy(path)
    assert resumed.code == 0, resumed.err
    assert resumed.started()["c"]["resumed_at"] == 3, "what was made before the failure is kept"
    assert sorted(toy_log()) == ["crash 3", "crash 4", "crash 5", "noise 4", "noise 5"], "and only what was not is made"
    assert len(list(Path("out/b").glob("*.png"))) == 6


#: A plugin whose error is made of something else than a message.
PICKY = """
import genart
from collections.abc import Iterator

class Refused(genart.DataError):
    def __init__(self, *, pictures: int) -> None:
        super().__init__(f"{pictures} pictures are too few", "give more")

@genart.stage("picky.look")
def look(_: None, params: None, run: genart.Run) -> Iterator[genart.Batch]:
    raise Refused(pictures=3)
    yield
"""


def test_an_error_of_a_plugin_s_own_kind_keeps_its_exit_code(cli, recipe):
    Path("picky.py").write_text(PICKY)
    result = cli("run", recipe('[[stage]]\nuses = "picky.look"\nid = "p"\nsave = "a"\n'), "-p", "picky.py")
    assert (result.code, result.err.count("stage 'p'")) == (3, 1), result.err
    assert "stage 'p' (picky.look): 3 pictures are too few\n  give more" in result.err


def test_what_was_saved_before_a_failure_stays(run_toy, recipe):
    path = recipe(
        CHAIN + '[[stage]]\nuses = "toy.train"\nsave = "m.safetensors"\n[[stage]]\nuses = "toy.film"\nfrom="toy.train.progress"\nid="f"\n'
        '[[stage]]\nuses = "toy.crash"\nfrom = "inv"\nsave = "x"\n'
    )
    assert run_toy(path).code == 4
    assert {"pics/00000.png", "m.safetensors"} <= set(tree(Path("out")))


def test_a_stage_that_gives_another_kind(run_toy, recipe):
    result = run_toy(recipe('[[stage]]\nuses = "toy.noise"\n[[stage]]\nuses = "toy.liar"\n'))
    assert result.code == 4
    assert "declares model and returned" in result.err


@pytest.mark.parametrize(
    ("reader", "error"),
    [
        ("genart.artifacts.read_safetensors_header", OSError(24, "Too many open files")),
        ("safetensors.safe_open", FileNotFoundError("No such file or directory")),  # what it says of any failure
    ],
)
def test_a_model_that_the_system_does_not_give_back_is_not_the_fault_of_its_stage(run_toy, recipe, monkeypatch, reader, error):
    def fail(path, **_):
        raise error

    with monkeypatch.context() as context:
        context.setattr(reader, fail)
        result = run_toy(recipe(TRAINING))
    assert (result.code, "train" in result.err, "too many open files" in result.err) == (5, True, True), result.err
    assert run_toy(recipe(TRAINING)).code == 0


def test_debug_shows_the_traceback(cli, recipe):
    path = recipe('[[stage]]\nuses = "toy.noise"\n[[stage]]\nuses = "toy.crash"\n')
    from genart.cli import main
    from genart.errors import StageError

    with pytest.raises(StageError):
        main(["run", str(path), "-p", str(TOYS), "--device", "cpu", "--quiet", "--debug"])


@pytest.mark.parametrize("limit", [300, 2000, 4000])
def test_a_full_disk(run_toy, recipe, genart_process, home, monkeypatch, limit):
    """Files may not grow past a limit: exit 5, and with more room the run goes on to the same bytes."""
    path = recipe('[[stage]]\nuses = "toy.noise"\ncount = 40\n[[stage]]\nuses = "toy.invert"\nsave = "x"\n')
    wanted = twin(run_toy, path, home, monkeypatch)
    prelude = EAGER + f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, resource.RLIM_INFINITY)); "
    process = genart_process(
        "run", path, "-p", TOYS, "--device", "cpu", "--out", "out", "--quiet", prelude=prelude, PYTHONDONTWRITEBYTECODE="1"
    )
    _, err = process.communicate()
    assert process.returncode == 5, err
    assert len(err.splitlines()) <= 3
    assert "Traceback" not in err
    assert "file grew past the limit" in err
    assert run_toy(path).code == 0
    assert tree(Path("out")) == wanted


def test_a_write_that_fails_in_the_middle_leaves_a_folder_to_go_on_with(run_toy, recipe, home, monkeypatch):
    """The disk is full at one picture and has room again at once."""
    import genart.artifacts

    path = recipe(CHAIN)
    wanted = twin(run_toy, path, home, monkeypatch)
    append = genart.artifacts.ImagesWriter.append
    calls = 0

    def failing(self, batch):
        nonlocal calls
        calls += 1
        if calls == 6:
            self._files[0] = _Full(self._files[0])
        return append(self, batch)

    class _Full:
        def __init__(self, file):
            self.file = file

        def write(self, data):
            self.file.write(bytes(data)[:10])
            raise OSError(28, "No space left on device")

        def __getattr__(self, name):
            return getattr(self.file, name)

    with monkeypatch.context() as context:
        context.setattr(genart.artifacts.ImagesWriter, "append", failing)
        result = run_toy(path)
    assert result.code == 5
    assert "disk is full" in result.err
    assert run_toy(path).code == 0
    assert tree(Path("out")) == wanted


def test_out_of_reach(run_toy, recipe):
    """A file stands where the output folder should be."""
    Path("out").write_text("mine")
    result = run_toy(recipe(CHAIN))
    assert result.code == 5, result.err
    assert Path("out").read_text() == "mine"


def test_a_reader_that_goes_away(recipe, genart_process, home):
    path = recipe('[[stage]]\nuses = "toy.noise"\ncount = 50\nslow = 0.03\n[[stage]]\nuses = "toy.invert"\nsave = "x"\n')
    process = genart_process("run", path, "-p", TOYS, "--device", "cpu", "--out", "out", "--json", TOY_LOG=str(home / "toy.log"))
    wait_for(home / "toy.log", 2, process)
    process.stdout.close()
    process.stdout = None
    err = process.stderr.read()
    process.wait()
    assert process.returncode == 141, err
    assert err == ""


# saving


def test_a_link_out_of_the_output_folder_is_refused(run_toy, recipe, home):
    (home / "elsewhere").mkdir()
    Path("out").mkdir()
    Path("out/film").symlink_to(home / "elsewhere")
    result = run_toy(recipe('[[stage]]\nuses = "toy.noise"\n[[stage]]\nuses = "toy.film"\nsave = "film/x.gif"\n'))
    assert result.code == 7, result.err
    assert "leads out" in result.err
    assert list((home / "elsewhere").iterdir()) == []


def test_a_link_under_the_output_name_is_replaced_not_followed(run_toy, recipe, home):
    victim = home / "victim"
    victim.write_text("mine")
    Path("out").mkdir()
    Path("out/x.gif").symlink_to(victim)
    Path("out/pics").symlink_to(home / "nowhere")
    result = run_toy(recipe(CHAIN + '[[stage]]\nuses = "toy.film"\nsave = "x.gif"\n'))
    assert result.code == 0, result.err
    assert victim.read_text() == "mine"
    assert not Path("out/x.gif").is_symlink()
    assert not Path("out/pics").is_symlink()


@pytest.mark.parametrize(
    "harm",
    [
        lambda: Path("out/pics/00001.png").write_bytes(b"?"),
        lambda: Path("out/pics/00001.png").unlink(),
        lambda: shutil.rmtree("out/pics"),
        lambda: Path("out/pics/sub").mkdir(),
        lambda: Path("out/run.json").unlink(),
        lambda: Path("out/run.json").write_text('{"outputs": [1]}'),
        lambda: Path("out/run.json").write_text("[" * 100000),
        lambda: (shutil.rmtree("out/pics"), Path("out/pics").write_text("a file")),
        lambda: (Path("out/x.gif").unlink(), Path("out/x.gif").mkdir()),
    ],
)
def test_outputs_are_repaired(run_toy, recipe, toy_log, harm):
    path = recipe(CHAIN + '[[stage]]\nuses = "toy.film"\nsave = "x.gif"\n')
    assert run_toy(path).code == 0
    wanted = tree(Path("out"))
    toy_log()
    harm()
    result = run_toy(path)
    assert result.code == 0, result.err
    assert tree(Path("out")) == wanted
    assert toy_log() == [], "they come from the store"


def test_leftovers_of_a_killed_save_are_swept(run_toy, recipe):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    Path("out").mkdir()
    for name in (f".x.gif.{gone.pid}.tmp.gif", f".x.gif.{gone.pid}.old"):
        Path("out", name).write_text("half")
    Path("out", f".pics.{gone.pid}.tmp").mkdir()
    Path("out", f".pics.{gone.pid}.tmp", "00000.png").write_text("half")
    mine = Path("out", ".x.gif.backup")
    mine.write_text("mine")
    assert run_toy(recipe(CHAIN + '[[stage]]\nuses = "toy.film"\nsave = "x.gif"\n')).code == 0
    assert {p.name for p in Path("out").iterdir()} == {"pics", "x.gif", "run.json", mine.name}


def test_a_kill_between_two_names_of_a_folder_costs_no_output(run_toy, recipe, monkeypatch):
    """The old folder has made way, the new one has not taken its place; then the next save fails."""
    from genart.folders import Folder

    path = recipe(CHAIN)
    assert run_toy(path).code == 0
    before = tree(Path("out"))
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    Path("out/pics").rename(f"out/.pics.{gone.pid}.old")

    def full(folder, name):
        raise OSError(28, "No space left on device", name)

    with monkeypatch.context() as context:
        context.setattr(Folder, "sync_file", full)
        assert run_toy(path, "--set", "inv.amount=0.5").code == 5
    assert tree(Path("out")) == before
    assert run_toy(path).code == 0
    assert tree(Path("out")) == before


def test_leftovers_of_a_process_of_the_same_id_are_swept(run_toy, recipe):
    """In a container, every run has the id 1."""
    path = recipe(CHAIN)
    assert run_toy(path).code == 0
    old = Path(f"out/.pics.{os.getpid()}.old")
    old.mkdir()
    (old / "00000.png").write_text("old")
    assert run_toy(path, "--set", "inv.amount=0.5").code == 0
    assert {p.name for p in Path("out").iterdir()} == {"pics", "run.json"}


def test_a_leftover_of_a_process_that_there_cannot_be(run_toy, recipe):
    Path("out").mkdir()
    Path("out/.run.json.99999999999999999999.old").write_text("")
    assert run_toy(recipe(CHAIN)).code == 0
    assert {p.name for p in Path("out").iterdir()} == {"pics", "run.json"}


def test_a_failed_save_leaves_the_old_output(run_toy, recipe, monkeypatch):
    path = recipe(
        '[[stage]]\nuses = "toy.noise"\n[[stage]]\nuses = "toy.invert"\nid = "inv"\nsave = "pics"\n[[stage]]\nuses = "toy.film"\nsave = "x.gif"\n'  # noqa: E501
    )
    assert run_toy(path).code == 0
    before = tree(Path("out"))
    from genart.folders import Folder

    def full(folder, name):
        raise OSError(28, "No space left on device", name)

    with monkeypatch.context() as context:
        context.setattr(Folder, "sync_file", full)
        result = run_toy(path, "--set", "inv.amount=0.5")
    assert result.code == 5, result.err
    assert tree(Path("out")) == before


def test_run_json_tells_all_and_no_path(run_toy, recipe, home):
    import getpass
    import hashlib
    import socket

    path = recipe(TRAINING)
    assert run_toy(path).code == 0
    text = Path("out/run.json").read_text()
    document = json.loads(text)
    assert {"recipe", "seed", "genart", "versions", "device", "stages", "outputs", "seconds"} <= set(document)
    assert [stage["id"] for stage in document["stages"]] and {s["uses"] for s in document["stages"]} >= {"toy.noise", "toy.train"}  # noqa: PT018
    for output in document["outputs"]:
        target = Path("out", output["path"])
        if target.is_file():
            assert hashlib.sha256(target.read_bytes()).hexdigest() == output["sha256"]
            assert target.stat().st_size == output["bytes"]
    for secret in (str(home), str(Path.cwd()), str(ROOT), "/tmp", socket.gethostname(), f'"{getpass.getuser()}"'):
        assert secret not in text, secret


def told() -> dict[str, dict]:
    """What run.json says, by id and path."""
    document = json.loads(Path("out/run.json").read_text())
    return {"stages": {stage["id"]: stage for stage in document["stages"]}, "outputs": {one["path"]: one for one in document["outputs"]}}


def test_run_json_keeps_what_until_leaves_out(run_toy, recipe):
    path = recipe(CHAIN + '[[stage]]\nuses = "toy.film"\nid = "film"\nfrom = "toy.noise"\nsave = "x.gif"\n')
    assert run_toy(path).code == 0
    whole = Path("out/run.json").read_bytes()
    before = told()
    assert run_toy(path, "--until", "inv").code == 0
    assert Path("out/run.json").read_bytes() == whole, "nothing is new"
    assert run_toy(path, "--until", "inv", "--set", "inv.amount=0.5").code == 0
    after = told()
    assert after["outputs"]["x.gif"] == before["outputs"]["x.gif"]
    assert after["outputs"]["pics"]["sha256"] != before["outputs"]["pics"]["sha256"]
    assert after["stages"]["film"] == before["stages"]["film"]
    assert list(after["stages"]) == ["toy.noise", "inv", "film"]
    assert run_toy(path, "--until", "inv", "--set", "toy.noise.size=4").code == 0
    assert (list(told()["outputs"]), list(told()["stages"])) == (["pics"], ["toy.noise", "inv"]), "the film is of other pictures"


def test_run_json_forgets_what_was_changed(run_toy, recipe):
    path = recipe(CHAIN + '[[stage]]\nuses = "toy.film"\nid = "film"\nfrom = "toy.noise"\nsave = "x.gif"\n')
    assert run_toy(path).code == 0
    Path("out/x.gif").write_bytes(b"mine")
    assert run_toy(path, "--until", "inv").code == 0
    assert (list(told()["outputs"]), list(told()["stages"])) == (["pics"], ["toy.noise", "inv"])


def provenance_of(path: Path) -> dict:
    """Read what an output says of itself, with independent readers."""
    from PIL import Image
    from safetensors import safe_open

    if path.suffix == ".safetensors":
        with safe_open(path, "pt") as file:
            return json.loads(file.metadata()["genart"])["provenance"]
    with Image.open(path) as picture:
        picture.load()
        if path.suffix != ".gif":
            return json.loads(picture.text["genart"])
    # Pillow shows the comment of the first frame alone: read the last extension of the file
    data = path.read_bytes()
    at = data.rindex(b"!\xfe") + 2
    found = b""
    while size := data[at]:
        found += data[at + 1 : at + 1 + size]
        at += 1 + size
    return json.loads(found)


def test_outputs_explain_themselves_without_secrets(run_toy, recipe, home, monkeypatch):
    import socket

    monkeypatch.setenv("USER", "jane-the-artist")
    Path("secret-folder").mkdir()
    Path("secret-folder/photo.jpg").write_bytes(b"x" * 40)
    stages = '[[stage]]\nuses = "toy.read"\nid = "r"\npath = "secret-folder/photo.jpg"\nsave = "one.png"\n[[stage]]\nuses = "toy.noise"\nsize = 4\n'  # noqa: E501
    stages += TRAINING.replace('[[stage]]\nuses = "toy.noise"\n', "", 1).replace('id = "train"', 'id = "train"\nfrom = ["r", "toy.noise"]')
    result = run_toy(recipe(stages))
    assert result.code == 0, result.err
    for name in ("one.png", "drawn/00003.png", "toy.safetensors", "film/progress.gif"):
        found = provenance_of(Path("out", name))
        assert (found["recipe"], found["seed"], found["device"]) == ("toy", 3, "cpu")
        assert found["stages"][0]["uses"] == "toy.read"
        assert all(set(s) >= {"id", "uses", "from", "params", "plugin", "outputs"} for s in found["stages"])
        if name != "one.png":
            assert "seed" in next(s for s in found["stages"] if s["uses"] == "toy.train")
        text = json.dumps(found)
        for secret in (str(home), str(Path.cwd()), str(ROOT), "secret-folder", "jane-the-artist", socket.gethostname()):
            assert secret not in text, (name, secret)
    assert provenance_of(Path("out/one.png"))["picture"] == {"source": "photo.jpg"}


def test_a_saved_model_keeps_its_weights_and_opens_again(run_toy, recipe):
    from safetensors.torch import load_file

    from genart.artifacts import Model

    assert run_toy(recipe(TRAINING)).code == 0
    model = Model.open(Path("out/toy.safetensors"))
    assert model.family == "toy"
    assert load_file(model.path)["w"].shape == (3, 8, 8)


def test_json_events_are_one_object_per_line_and_complete(run_toy, recipe):
    result = run_toy(recipe(TRAINING))
    names = [event["event"] for event in result.events]
    assert names[0] == "run_started"
    assert names[-1] == "run_finished"
    assert {"stage_started", "stage_finished", "progress", "metric", "saved"} <= set(names)
    assert result.err == ""


@pytest.mark.parametrize("flag", ["--quiet", "-q"])
def test_quiet_says_nothing(cli, recipe, flag):
    result = cli("run", recipe(CHAIN), "-p", TOYS, "--device", "cpu", flag)
    assert (result.code, result.out, result.err) == (0, "", "")
    assert Path("out/toy/pics").is_dir()


def test_people_read_stderr(cli, recipe):
    result = cli("run", recipe(CHAIN), "-p", TOYS, "--device", "cpu")
    assert result.code == 0
    assert result.out == ""
    assert "done in" in result.err


def test_limits_are_put_back() -> None:
    """The tests of a full disk limit their own process alone."""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] in (resource.RLIM_INFINITY, resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    assert os.getcwd().endswith("work")


def test_a_recipe_begins_with_a_model_file(run_toy, recipe):
    assert run_toy(recipe('[[stage]]\nuses = "toy.noise"\n[[stage]]\nuses = "toy.train"\nsave = "m.safetensors"\n')).code == 0
    assert (
        run_toy(recipe('[[stage]]\nuses = "toy.noise"\n[[stage]]\nuses = "toy.train"\n[[stage]]\nuses = "toy.draw"\nsave = "a"\n')).code
        == 0
    )
    drawing = '[[stage]]\nuses = "latent.model"\npath = "out/m.safetensors"\n[[stage]]\nuses = "toy.draw"\nsave = "b"\n'
    result = run_toy(recipe(drawing))
    assert result.code == 0, result.err
    pictures = [sorted(Path("out", name).iterdir()) for name in "ab"]
    assert len(pictures[0]) == 6
    for one, other in zip(*pictures, strict=True):
        with Image.open(one) as a, Image.open(other) as b:
            assert (np.asarray(a) == np.asarray(b)).all()
    Path("out/m.safetensors").write_bytes(b"\x09" + bytes(7) + b'{"a": {}}')
    result = run_toy(recipe(drawing))
    assert result.code == 3
    assert "m.safetensors" in result.err
