"""Standard streams that are gone, full, endless or damaged: quiet or told in words, and never a traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .forge import TOYS, Forge, Outcome
from .scenarios import Scenario, ran, run_words
from .trouble import Part, Trial, Trouble, some

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the forge forks")
#: A reader of standard output that goes after so many bytes.
READER = """
import os, threading
near, far = os.pipe()
os.dup2(far, {handle}); os.close(far)
def read(near=near, left={count}):
    while left > 0:
        left -= len(os.read(near, min(left, 4096)))
    os.close(near)
thread = threading.Thread(target=read)
thread.start()
if not {count}:
    thread.join()
"""
#: Something that comes by standard input, in pieces.
WRITER = """
import os, threading
near, far = os.pipe()
os.dup2(near, 0); os.close(near)
def write(far=far, data=open({path!r}, "rb").read()):
    try:
        for at in range(0, len(data), {piece}):
            os.write(far, data[at : at + {piece}])
    except BrokenPipeError:
        pass
    os.close(far)
threading.Thread(target=write).start()
"""
CLOSED = "import os, sys; os.close({handle}); sys.{name} = None"
NAMES = ("stdin", "stdout", "stderr")


def reader(count: int, handle: int = 1) -> str:
    """A plant."""
    return READER.format(count=count, handle=handle)


def opened(path: str, handle: int) -> str:
    """A plant: a standard stream is this file."""
    return f"import os; os.dup2(os.open({path!r}, os.O_RDWR), {handle})"


def closed(handle: int) -> str:
    """A plant: a standard stream that was closed by whoever started the command."""
    return CLOSED.format(handle=handle, name=NAMES[handle])


# standard output

#: Commands that tell something on standard output.
TELLING = (
    ("--help",),
    ("--version",),
    ("run", "--help"),
    ("stages",),
    ("stages", "--json"),
    ("stages", "dcgan.train"),
    ("plugins",),
    ("plugins", "--json"),
    ("schema",),
    ("cache", "info"),
    ("cache", "info", "--json"),
    ("cache", "verify"),
    ("cache", "gc"),
    ("check", "r.toml", "-p", str(TOYS)),
    ("check", "r.toml", "-p", str(TOYS), "--json"),
    ("plan", "r.toml", "-p", str(TOYS)),
    ("plan", "r.toml", "-p", str(TOYS), "--json", "--why"),
    ("show", "out/film.gif"),
    ("show", "out/film.gif", "--json"),
    ("remake", "out/film.gif", "-p", str(TOYS), "--quiet"),
    ("remake", "out/film.gif", "-p", str(TOYS), "--json"),
    ("report", "out"),
    ("apply", "--help"),
    ("apply", "toy.noise", "--help", "-p", str(TOYS)),
    ("apply", "toy.noise", "--count", "2", "-p", str(TOYS), "--json"),
    run_words("--json"),
)
#: What standard output is: the plant, exit codes that are right, and whether anything is told.
OUTPUTS = {
    "gone": (reader(0), (141,), True),
    "full": (opened("/dev/full", 1), (5,), False),
    "closed": (closed(1), (0,), True),
}


@pytest.mark.parametrize("how", OUTPUTS)
@pytest.mark.parametrize("words", some(TELLING, 7), ids=lambda words: "-".join(words[:2]))
def test_what_cannot_be_told_ends_with_its_code(forge: Forge, told_of: Path, words: tuple[str, ...], how: str) -> None:
    plant, codes, silent = OUTPUTS[how]
    outcome = forge.run(told_of, *words, plant=plant)
    assert outcome.code in codes, outcome.err
    if silent:
        assert outcome.err == "" or how == "closed"
    else:
        assert outcome.err.startswith("genart: the disk is full")
        assert len(outcome.err.splitlines()) <= 3


@pytest.fixture(scope="module")
def told_of(forge: Forge, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recipe and what it saves."""
    folder = tmp_path_factory.mktemp("told") / "here"
    Scenario("told", (), before=ran(seed=3)).prepare(forge, folder)
    return folder


# pictures on standard output

MANY = Scenario("pictures sent", ("apply", "toy.noise", "--count", "3", "--size", "800", "-o", "-", "-p", str(TOYS), "--device", "cpu"))
FILTER = Scenario(
    "pictures passed on",
    ("apply", "toy.invert", "-i", "-", "-o", "-", "-p", str(TOYS), "--device", "cpu"),
    before=lambda forge, folder: stream_of_pictures(forge, folder),
)
PICTURE_BYTES = 800 * 800 * 3


def stream_of_pictures(forge: Forge, folder: Path) -> None:
    """A file `many` of three PNGs, one after another."""
    words = ("apply", "toy.noise", "--count", "3", "--size", "700", "-o", "-", "-p", TOYS, "--device", "cpu")
    done = forge.run(folder, *words, plant=f"import os; os.dup2(os.open({str(folder / 'many')!r}, os.O_WRONLY | os.O_CREAT), 1)")
    assert done.code == 0, done.err


def sent(outcome: Outcome, folder: Path) -> Iterator[str]:
    """A command that is fine says nothing."""
    if outcome.err:
        yield f"it tells {outcome.err!r}"


def cut_short(trial: Trial) -> list[Trouble]:
    """Readers that go: at once, in the header, in the middle of a picture, between two, in the second."""
    counts = (0, 1, 7, 100, 4096, 65536, 65537, PICTURE_BYTES // 2, PICTURE_BYTES, PICTURE_BYTES + 900, PICTURE_BYTES * 3 // 2)
    gone = [Trouble(f"a reader that goes after {count} bytes", reader(count), codes=(141,), silent=True, check=sent) for count in counts]
    return [
        *gone,
        Trouble("a full disk", opened("/dev/full", 1), codes=(5,), says="standard output: the disk is full"),
        Trouble("Y4M to a reader that goes", reader(70000), codes=(141,), silent=True, check=sent, more=("--y4m",)),
        Trouble("Y4M to a full disk", opened("/dev/full", 1), codes=(5,), says="standard output: the disk is full", more=("--y4m",)),
    ]


# standard input


def fed(trial: Trial) -> list[Trouble]:
    """What may come instead of pictures."""
    folder = trial.work / "fed"
    folder.mkdir()
    whole = (trial.initial / "many").read_bytes()
    size = len(whole) // 3

    def file(name: str, data: bytes, piece: int = 65536) -> str:
        (folder / name).write_bytes(data)
        return WRITER.format(path=str(folder / name), piece=piece)

    cuts = (1, 7, 8, 20, 33, 100, 4096, size // 2, size - 12, size - 1, size + 1, size + 8, size * 3 // 2, 2 * size, 3 * size - 1)
    endless = "import resource; resource.setrlimit(resource.RLIMIT_CPU, (20, 20)); {}"
    return [
        Trouble("nothing", opened(os.devnull, 0), codes=(3,), says="standard input is empty"),
        Trouble("a closed stream", closed(0), codes=(3,), says="standard input is empty"),
        Trouble("a folder", f"import os; os.dup2(os.open({str(folder)!r}, os.O_RDONLY), 0)", codes=(3,), says="standard input is a folder"),
        *(Trouble(f"{cut} bytes of three pictures", file(f"cut-{cut}", whole[:cut]), codes=(3,), says="standard input") for cut in cuts),
        Trouble("endless noughts", endless.format(opened("/dev/zero", 0)), codes=(3,), says="neither PNG nor Y4M"),
        Trouble("endless noise", endless.format(opened("/dev/urandom", 0)), codes=(3,), says="neither PNG nor Y4M"),
        Trouble(
            "a picture and noughts",
            file("noughts", whole[:size] + bytes(1 << 20)),
            codes=(3,),
            says="picture 2 of standard input is no PNG",
        ),
        Trouble("text", file("text", b"Not found\n"), codes=(3,), says="neither PNG nor Y4M"),
        Trouble("a byte at a time", file("slow", small(trial), 1), codes=(0,), check=sent),
        Trouble("in pieces of seven", file("sevens", small(trial), 7), codes=(0,), check=sent),
        Trouble("pictures for a reader that goes", file("many", whole) + reader(1000), codes=(141,), silent=True, check=sent),
        Trouble("half a picture for a reader that goes", file("half", whole[: size * 3 // 2]) + reader(0), codes=(3, 141), silent=True),
    ]


def small(trial: Trial) -> bytes:
    """Two small pictures, one after another."""
    folder = trial.work / "small"
    folder.mkdir(exist_ok=True)
    done = trial.forge.run(folder, "apply", "toy.noise", "--count", "2", "-o", "in", "-p", TOYS, "--device", "cpu", plant="pass")
    assert done.code == 0, done.err
    return b"".join(path.read_bytes() for path in sorted((folder / "in").iterdir()))


# standard error


def unheard(trial: Trial) -> list[Trouble]:
    """Nobody hears what a run tells of itself: it is made all the same, or stops with a code of its own."""
    return [
        Trouble("closed", closed(2), codes=(0,)),
        Trouble("a full disk", opened("/dev/full", 2), codes=(0,)),
        Trouble("a reader that has gone", reader(0, 2), codes=(0, 141), silent=True),
        Trouble("a reader that goes", reader(5, 2), codes=(0, 141), silent=True),
        Trouble("input and output closed too", "; ".join(map(closed, range(3))), codes=(0,)),
        Trouble("not for writing", f"import os; os.dup2(os.open({os.devnull!r}, os.O_RDONLY), 2)", codes=(0,)),
        Trouble("a failure into a closed stream", closed(2), codes=(2,), silent=True, more=("--set", "no.such=1")),
        Trouble("a failure onto a full disk", opened("/dev/full", 2), codes=(2,), silent=True, more=("--set", "no.such=1")),
        Trouble("a failure to a reader that has gone", reader(0, 2), codes=(2,), silent=True, more=("--set", "no.such=1")),
        Trouble("a failure told as JSON to nobody", reader(0), codes=(2,), more=("--json", "--set", "no.such=1")),
        Trouble("a failure told as JSON onto a full disk", opened("/dev/full", 1), codes=(2,), more=("--json", "--set", "no.such=1")),
        Trouble("a run told as JSON to nobody", reader(0), codes=(141,), silent=True, more=("--json",)),
        Trouble("a run told as JSON onto a full disk", opened("/dev/full", 1), codes=(5,), more=("--json",)),
    ]


PARTS = (
    Part("pictures for a reader that goes", MANY, cut_short, step=4),
    Part("what comes by standard input", FILTER, fed, step=4, plant=opened("many", 0)),
    Part("what nobody hears", Scenario("run", run_words()), unheard, step=2),
)


@pytest.mark.parametrize("part", some(PARTS, 3), ids=str)
def test_streams(forge: Forge, tmp_path: Path, part: Part) -> None:
    report = part.tried(forge, tmp_path, every=False)
    assert report.failures == []
    assert report.cases >= 3
