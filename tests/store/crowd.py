"""Many commands at once, on one store: forked together from a process that has everything loaded already."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.faults.forge import Forge

#: Locks that exclude nobody, as on some network file systems.
NO_LOCKS = "import fcntl; fcntl.flock = lambda file, operation: None\n"
#: The process dies in the middle of a training, with the lock.
DIES_WITH_THE_LOCK = """
import os, genart.run
def save(self, *arguments, count=[], real=genart.run.Checkpoints.save):
    real(self, *arguments)
    count.append(1)
    if len(count) == 2:
        os.kill(os.getpid(), 9)
genart.run.Checkpoints.save = save
"""


@dataclass(frozen=True)
class Member:
    """One command of a crowd.

    Attributes:
        words: of the command line.
        plant: Python that is run before it.
    """

    words: tuple[str, ...]
    plant: str = ""


@dataclass(frozen=True)
class Ending:
    """What became of one command."""

    code: int
    err: str


def gather(forge: Forge, folder: Path, members: Sequence[Member]) -> list[Ending]:
    """Run commands at once in one folder and wait for all of them."""
    plant = f"from tests.store.crowd import run; run({[asdict(member) for member in members]!r})"
    done = forge.run(folder, "--version", plant=plant)
    assert done.code == 0, done.err
    return [Ending(*ending) for ending in json.loads(done.out.splitlines()[0])]


def run(members: Sequence[dict[str, str]]) -> None:
    """In a child of the forge: fork a child for each member, let them all begin at once, and print how each ended."""
    wait, go = os.pipe()
    children = []
    for number, member in enumerate(members):
        child = os.fork()
        if child == 0:
            os.close(go)
            be(member, wait, Path(f"{number}.err"))
        children.append(child)
    os.close(wait)
    os.close(go)  # which all of them wait for
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    told = [Path(f"{number}.err") for number in range(len(members))]
    print(json.dumps([[code, path.read_text(errors="backslashreplace")] for code, path in zip(codes, told, strict=True)]), flush=True)
    for path in told:
        path.unlink()


def be(member: dict[str, str], wait: int, told: Path) -> None:
    """In a child of that child: be one command."""
    for handle in (1, 2):
        os.dup2(os.open(told, os.O_WRONLY | os.O_CREAT | os.O_APPEND), handle)
    os.read(wait, 1)
    code = 1
    try:
        from genart.cli import main

        exec(member["plant"], {})
        main(member["words"])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
