"""The law for bad input: what a command may do with a file, however odd it is."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from genart.errors import printable
from genart.remake import DIFFERENT
from tests.faults.campaign import saved
from tests.faults.forge import TOYS, Forge, Outcome
from tests.faults.scenarios import TRAIN, write_recipe
from tests.security.audit import violations
from tests.security.conftest import CONTROLS

from .case import Case, Expected, Use
from .png import good

#: Processor time and memory that a command may take beyond an idle one.
MOST_CPU_SEC, MOST_KB = 5.0, 512 << 10
#: Seconds after which a command counts as hanging.
HANGS_SEC = 120
#: Exit codes that are documented.
DOCUMENTED = {0, 2, 3, 4, 5, 6, 7, 8, 9}

#: Words of the command line that a user would type, with @ for the file.
WORDS: dict[Use, str] = {
    "folder": "apply images.folder in -o out/made",
    "alone": "apply images.resize --resolution 16 -i @ -o out/made",
    "check": f"check @ -p {TOYS}",
    "model": f"apply latent.grid --count 1 -i @ -o out/made.png -p {TOYS}",
    "film": "apply images.video @ -o out/made",
    "archive": "apply images.archive @ -o out/made",
    "show": "show @",
    "remake": f"remake @ -p {TOYS}",
    "run": f"run r.toml -p {TOYS} --out out",
    "report": "report out",
}
CODES: dict[Expected, set[int]] = {
    "ok": {0},
    "skip": {3},
    "either": {0, 3},
    "data": {3},
    "usage": {2},
    "refused": {7},
    "healed": {0},
    "silent": {0},
    "any": {0},
    "different": {DIFFERENT},
}


@dataclass
class Tried:
    """A case, what came of it, and what was wrong with that."""

    case: Case
    outcome: Outcome
    wrong: list[str]
    peak_kb: int


class Court:
    """Holds cases to the law.

    Args:
        forge: runs the commands.
        work: a folder for everything.
    """

    def __init__(self, forge: Forge, work: Path) -> None:
        self.forge, self.work = forge, work
        self._finished: Path | None = None
        self._idle_kb = {folder: self._idle(folder) for folder in (False, True)}

    def _idle(self, reads: bool) -> int:
        """Memory of a command that does nothing, or that reads one small picture."""
        folder = self.fresh()
        (folder / "in").mkdir()
        (folder / "in" / "good.png").write_bytes(good())
        words = WORDS["folder"] if reads else "--version"
        return self.forge.run(folder, *words.split()).peak_kb

    def fresh(self) -> Path:
        """An empty folder."""
        folder = self.work / "case"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    @property
    def finished(self) -> Path:
        """A folder with a run that has finished: recipe, store and outputs."""
        if self._finished is None:
            self._finished = self.work / "finished"
            self._finished.mkdir()
            write_recipe(self._finished, TRAIN)
            done = self.forge.run(self._finished, *WORDS["run"].split())
            assert done.code == 0, done.err
        return self._finished

    def tried(self, case: Case, *, plant: str = "") -> Tried:
        """Give a case to its command, and see."""
        folder = self.fresh()
        if case.use in ("run", "report"):
            shutil.copytree(self.finished, folder, dirs_exist_ok=True)
            case.put(min(folder.glob(case.file), key=lambda path: path.stat().st_size))
            if "out" not in case.file:  # else nothing is read from the store
                shutil.rmtree(folder / "out")
        else:
            place = folder / "in"
            place.mkdir()
            if case.use == "folder":
                (place / "good.png").write_bytes(good())
            case.put(place / case.file)
        outcome = self.command(folder, case, plant)
        more = outcome.peak_kb - self._idle_kb[True]
        return Tried(case, outcome, list(self.wrong(case, folder, outcome, more)), more)

    def command(self, folder: Path, case: Case, plant: str = "") -> Outcome:
        """Run a case's command, with its acts noted beside the folder."""
        acts = folder.with_name("acts")
        acts.unlink(missing_ok=True)
        words = [f"in/{case.file}" if word == "@" else word for word in WORDS[case.use].split()]
        plant = f"from tests.security.audit import install; install({str(acts)!r})\n{plant}"
        return self.forge.run(folder, *words, plant=plant, alarm_sec=HANGS_SEC, HOME=str(folder / "store"))

    def wrong(self, case: Case, folder: Path, outcome: Outcome, more_kb: int) -> Iterator[str]:
        """What breaks the law."""
        yield from wrong_with_any(outcome, more_kb)
        yield from violations(folder.with_name("acts"), folder, [folder / "out", folder / "store"])
        made = len(list((folder / "out" / "made").glob("*.png"))) if (folder / "out" / "made").is_dir() else 0
        if case.use == "folder":
            yield from wrong_with_folder(case, outcome, made)
            return
        if case.expected == "healed" and saved(folder) != saved(self.finished):
            yield f"other bytes than before: {outcome.err[-600:]}"
        if case.use == "archive" and (made == 1) != (case.expected == "ok"):
            yield f"{made} pictures were used: {outcome.err[-600:]}"
        if outcome.code not in CODES[case.expected]:
            yield f"ended with {outcome.code}, not {' or '.join(map(str, sorted(CODES[case.expected])))}: {outcome.err[-600:]}"
        if outcome.code and not names(outcome.out if outcome.code == DIFFERENT else outcome.err, [case.file.rpartition("/")[2]]):
            yield f"does not name the file: {outcome.err[-600:]}"


def wrong_with_any(outcome: Outcome, more_kb: int) -> Iterator[str]:
    """What is wrong with a command whatever it was given."""
    if outcome.code == -14:
        yield "hangs"
    elif outcome.code not in DOCUMENTED:
        yield f"ended with {outcome.code}: {outcome.err[-1500:]}"
    if outcome.cpu_sec > MOST_CPU_SEC:
        yield f"took {outcome.cpu_sec:.1f} s"
    if more_kb > MOST_KB:
        yield f"took {more_kb >> 10} MB"
    if "Traceback" in outcome.err or "Exception ignored" in outcome.err:
        yield f"not told in words: {outcome.err[-1500:]}"
    told = outcome.out + outcome.err
    if found := [control for control in CONTROLS if control in told]:
        yield f"wrote {found}"
    said = re.search(r"^genart: .*", outcome.err, re.MULTILINE | re.DOTALL) if outcome.code != DIFFERENT else None
    if outcome.code not in (0, DIFFERENT) and not said:
        yield f"said nothing: {outcome.err!r}"
    elif said and len(said[0].splitlines()) > 3:
        yield f"said too much: {outcome.err[-1500:]}"


def wrong_with_folder(case: Case, outcome: Outcome, made: int) -> Iterator[str]:
    """What is wrong after a folder was read that holds the file and a good picture."""
    if outcome.code:
        yield f"the good picture beside it was not used: {outcome.code}, {outcome.err[-600:]}"
        return
    wanted = {"ok": [2], "either": [1, 2], "any": [1, 2]}.get(case.expected, [1])
    if made not in wanted:
        yield f"{made} pictures were used: {outcome.err[-600:]}"
    if made == 1 and case.expected not in ("silent", "any") and not names(outcome.err, [case.file]):
        yield f"does not name the file: {outcome.err[-600:]}"


def names(text: str, files: Sequence[str]) -> bool:
    """True if one line names these files; lines may be broken to the width of a terminal."""
    joined = re.sub(r"\s+", "", text)
    return all(re.sub(r"\s+", "", printable(file)) in joined for file in files)
