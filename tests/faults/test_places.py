"""Places that cannot be written, are missing, lie elsewhere or are something else: told before anything is computed."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .forge import TOYS, Forge, Outcome
from .mounts import read_only, writable
from .scenarios import Scenario, ran, run_words
from .trouble import Part, Trial, Trouble, some

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the forge forks")
OVER_OLDER = Scenario("run over older outputs", run_words("--quiet"), before=ran(seed=4))
NOBODY = 65534
#: Permission bits say nothing to root, so a command that they concern becomes somebody else.
DROP = f"import os; os.geteuid() or (os.setgroups([]), os.setgid({NOBODY}), os.setuid({NOBODY})); os.environ['TOY_LOG'] = 'made'"
LOG = "import os; os.environ['TOY_LOG'] = 'made'"


def nothing_computed(outcome: Outcome, folder: Path) -> Iterator[str]:
    """The toys note what they make in a file `made`."""
    made = folder / "made"
    if made.exists() and made.stat().st_size:
        yield f"computed before it was told: {made.read_text().splitlines()}"


def owned(folder: Path) -> None:
    """All is that user's who runs the command."""
    for path in (folder, *folder.rglob("*")):
        if os.geteuid() == 0:
            os.lchown(path, NOBODY, NOBODY)
    (folder / "made").touch()
    (folder / "made").chmod(0o666)
    for path in folder.parents:
        if path.stat().st_uid == os.geteuid() and path.is_relative_to("/tmp") and path != Path("/tmp"):
            path.chmod(path.stat().st_mode | 0o711)


def barred(name: str, mode: int = 0o555) -> tuple[Callable[[Path], None], Callable[[Path], None]]:
    """What makes a folder one that cannot be written, and what undoes it."""

    def before(folder: Path) -> None:
        owned(folder)
        (folder / name).mkdir(exist_ok=True, parents=True)
        for path in ((folder / name), *(folder / name).rglob("*")):
            if path.is_dir():
                path.chmod(mode)

    def cure(folder: Path) -> None:
        for path in ((folder / name), *(folder / name).rglob("*")):
            if path.is_dir():
                path.chmod(0o755)
        if os.geteuid() == 0:
            for path in (folder, *folder.rglob("*")):
                os.lchown(path, 0, 0)
        (folder / "made").unlink(missing_ok=True)

    return before, cure


def unlogged(folder: Path) -> None:
    """Forget what the toys noted."""
    (folder / "made").unlink(missing_ok=True)


def becomes_file(name: str) -> tuple[Callable[[Path], None], Callable[[Path], None]]:
    """A file stands where a folder is wanted."""

    def before(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if (folder / name).exists():
            (folder / name).rename(folder.with_name(f"{folder.name}.aside"))
        (folder / name).write_text("a file")

    def cure(folder: Path) -> None:
        (folder / name).unlink()
        aside = folder.with_name(f"{folder.name}.aside")
        if aside.exists():
            aside.rename(folder / name)
        unlogged(folder)

    return before, cure


def unwritable(trial: Trial) -> list[Trouble]:
    """Outputs or the store cannot be written."""
    found = []
    for name, mode in (("out", 0o555), ("out", 0o000), ("store", 0o555), ("store", 0o000), ("store/genart/work", 0o555)):
        before, cure = barred(name, mode)
        check = nothing_computed
        found.append(
            Trouble(
                f"{name} of mode {mode:o}",
                DROP,
                before=before,
                cure=cure,
                codes=(5,),
                says="permission denied",
                check=check,
                gone=("made",),
            )
        )
    for name in ("out", "store", "store/genart", "store/genart/work", "store/genart/entries"):
        before, cure = becomes_file(name)
        title, says = f"{name} is a file", "a file stands where a folder is needed"
        found.append(Trouble(title, LOG, before=before, cure=cure, codes=(5,), says=says, check=nothing_computed, gone=("out", "made")))
    return found


def elsewhere(trial: Trial) -> list[Trouble]:
    """Environments that change nothing of what comes out."""
    bare = "import os; [os.environ.pop(name, None) for name in ({names})]"
    home = bare.format(names="'HOME', 'XDG_CACHE_HOME', 'USER', 'LOGNAME'")
    other = trial.work / "home"
    other.mkdir()
    return [
        Trouble("no HOME", bare.format(names="'HOME',"), codes=(0,)),
        Trouble("neither HOME nor XDG_CACHE_HOME", f"{home}; os.environ['HOME'] = {str(other)!r}", codes=(0,)),
        Trouble("XDG_CACHE_HOME is empty", environment={"XDG_CACHE_HOME": "", "HOME": str(other)}, codes=(0,)),
        Trouble("XDG_CACHE_HOME is relative", environment={"XDG_CACHE_HOME": "store", "HOME": str(other)}, codes=(0,)),
        Trouble("TMPDIR is missing", environment={"TMPDIR": "/nowhere/at/all"}, codes=(0,)),
        Trouble("TMPDIR is a file", environment={"TMPDIR": "r.toml"}, codes=(0,)),
        Trouble("umask 077", "import os; os.umask(0o077)", codes=(0,)),
        Trouble("umask 000", "import os; os.umask(0)", codes=(0,)),
        Trouble("an unknown locale", environment={"LC_ALL": "xx_YY.UTF-8", "LANG": "xx"}, codes=(0,)),
        Trouble("a locale of ASCII", environment={"LC_ALL": "C", "PYTHONUTF8": "0"}, codes=(0,)),
        Trouble("no variable at all", BARE),
        Trouble("a current directory that is gone", GONE, codes=(2,), says="no such recipe"),
        Trouble("a path of 4 KB", codes=(5, 2), says="too long", more=("--out", "/".join(["x" * 200] * 22))),
        Trouble("a name of 300 bytes", codes=(5, 2), says="too long", more=("--out", "x" * 300)),
    ]


BARE = "import os; kept = os.environ['XDG_CACHE_HOME']; os.environ.clear(); os.environ['XDG_CACHE_HOME'] = kept"
GONE = """
import os
os.mkdir("gone"); os.chdir("gone"); os.rmdir("../gone")
"""
PARTS = (
    Part("places that cannot be written", OVER_OLDER, unwritable, step=3),
    Part("places elsewhere", OVER_OLDER, elsewhere, step=4),
)


@pytest.mark.parametrize("part", some(PARTS, 2), ids=str)
def test_places(forge: Forge, tmp_path: Path, part: Part) -> None:
    report = part.tried(forge, tmp_path, every=False)
    assert report.failures == []
    assert report.cases >= 3


def test_a_current_directory_that_is_gone(forge: Forge, tmp_path: Path) -> None:
    folder = tmp_path / "here"
    OVER_OLDER.prepare(forge, folder)
    for out, code in (("out", 5), (tmp_path / "other", 0)):
        words = ["run", folder / "r.toml", "-p", TOYS, "--device", "cpu", "--quiet", "--out", out]
        outcome = forge.run(folder, *words, plant=GONE)
        assert outcome.code == code, outcome.err
        assert (code == 0) == (outcome.err == "")


# read-only file systems, which bar even root


def locked(trial: Trial) -> list[Trouble]:
    """A folder lies on a file system that is read-only."""

    def before(name: str) -> Callable[[Path], None]:
        return lambda folder: read_only(folder / name)

    def cure(name: str) -> Callable[[Path], None]:
        return lambda folder: (writable(folder / name), unlogged(folder))[0]

    about = {"codes": (5,), "says": "read-only", "check": nothing_computed, "gone": ("made",)}
    return [
        Trouble(f"{name} is read-only", LOG, before=before(name), cure=cure(name), **about)  # type: ignore[arg-type]
        for name in ("out", "store", "store/genart/entries", "store/genart/work", "store/genart/tmp")
    ]


SPACE = (Part("space that is read-only", OVER_OLDER, locked, step=2),)
