"""Runs genart's command line in forked children, under strace if a fault is wanted: a case takes a tenth of a second instead of seconds.

`Forge` starts this file as a process of its own, which loads genart, torch and the toy stages once, and then forks a child for each
command. strace holds on to the child before it begins, so system calls are counted from there and not from the start of Python.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import pkgutil
import re
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
TOYS = ROOT / "tests" / "toys.py"
#: System calls that change something on disk, those by path and those by handle; and those that read.
BY_PATH = ("openat", "mkdir", "mkdirat", "rename", "renameat", "renameat2", "unlink", "unlinkat", "rmdir", "link", "linkat", "utimensat")
BY_HANDLE = ("write", "pwrite64", "fsync", "fdatasync", "ftruncate", "flock", "sendfile", "copy_file_range")
READING = ("read", "pread64", "newfstatat", "getdents64")
#: Kinds of faults that are signals; every other kind is the name of an error.
SIGNALS = ("KILL", "INT", "TERM", "HUP", "QUIT", "PIPE", "TSTP")
LINE = re.compile(r"^\d+ +(\w+)\((.*)")
PATH_IN_QUOTES = re.compile(r'"((?:[^"\\]|\\.)*)"')
HANDLE = re.compile(r"^(?:AT_FDCWD|\d+)<([^>]*)>")


@dataclass(frozen=True)
class Call:
    """A system call that a command made below its folder.

    Attributes:
        name: of the call.
        number: which of the calls of this name by this thread, from 1 on.
        told: how strace wrote it.
    """

    name: str
    number: int
    told: str


@dataclass(frozen=True)
class Fault:
    """What happens at a system call.

    Attributes:
        call: where.
        kind: a signal that comes, of `SIGNALS`, or the name of an error that the call gives.
        lasting: at all later calls of that name too.
        times: at so many calls of that name, one after another.
    """

    call: Call
    kind: str
    lasting: bool = False
    times: int = 1

    def __str__(self) -> str:
        """A name for tests."""
        often = "+" if self.lasting else f"*{self.times}" if self.times > 1 else ""
        return f"{self.kind}{often}@{self.call.name}:{self.call.number}"

    @property
    def expression(self) -> str:
        """The fault in strace's words."""
        what = f"signal={self.kind}" if self.kind in SIGNALS else f"error={self.kind}"
        until = "+" if self.lasting else f"..{self.call.number + self.times - 1}" if self.times > 1 else ""
        return f"inject={self.call.name}:{what}:when={self.call.number}{until}"


@dataclass(frozen=True)
class Outcome:
    """What became of a command.

    Attributes:
        code: its exit code; negative for a signal.
        out: standard output.
        err: standard error.
        calls: system calls below its folder, if they were watched.
        hit: the call that the fault hit, as strace wrote it; None if the command ended before.
        cpu_sec: seconds of processor time that it took.
        peak_kb: most memory that it had at once, with what the forge had loaded.
        aimed: the call that was hit concerns what is below its folder; else the program's own files were hit, which are no commit path.
        left: processes that it started and left behind, running or unburied.
    """

    code: int
    out: str
    err: str
    left: int = 0
    aimed: bool = True
    calls: tuple[Call, ...] = ()
    hit: str | None = None
    cpu_sec: float = 0.0
    peak_kb: int = 0


class Forge:
    """A process that runs commands."""

    def __init__(self) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'plugins'}"}
        command = [sys.executable, "-m", "tests.faults.forge"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT)

    def run(
        self,
        folder: Path,
        *words: object,
        fault: Fault | None = None,
        watch: Sequence[str] = (),
        plant: str = "",
        alarm_sec: int = 0,
        tty: bool = False,
        **environment: str,
    ) -> Outcome:
        """Run `genart WORDS` in a folder, whose `store` is its store.

        Args:
            folder: current directory; system calls elsewhere are not counted as the command's.
            words: of the command line.
            fault: what to inject.
            watch: names of system calls to tell.
            plant: Python that is run before the command: a bug that ought to be found.
            alarm_sec: end it by SIGALRM after so long, as one that hangs; 0 never.
            tty: the command's streams are a terminal, of which all that is written counts as standard output.
            environment: variables.
        """
        job: dict[str, Any] = {"folder": str(folder), "words": [str(word) for word in words], "environment": environment}
        job |= {"watch": list(watch), "plant": plant, "alarm_sec": alarm_sec, "tty": tty}
        if fault is not None:
            signal = fault.kind if fault.kind in SIGNALS and fault.kind != "KILL" else "none"
            job |= {"inject": fault.expression, "watch": [fault.call.name], "signal": signal}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the forge broke")
        told = json.loads(line)
        lines = told.pop("trace").splitlines()
        hit = next((line for line in lines if "(INJECTED)" in line), None)
        if fault is not None and fault.kind == "KILL" and told["code"] == -9:
            hit = next((line for line in reversed(lines) if not line.endswith("+++")), "killed")
        elif fault is not None and fault.kind in SIGNALS:
            at = next((number for number, line in enumerate(lines) if f"--- SIG{fault.kind} " in line), 0)
            hit = lines[at - 1] if at else None
        aimed = fault is None or fault.kind == "KILL" or hit is None or bool(calls_below(folder, [hit]))
        return Outcome(**told, aimed=aimed, calls=calls_below(folder, lines), hit=hit)

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


def calls_below(folder: Path, lines: Sequence[str]) -> tuple[Call, ...]:
    """The calls of a trace that concern what is below a folder."""
    seen: Counter[tuple[str, str]] = Counter()
    calls = []
    for line in lines:
        found = LINE.match(line)
        if found is None:
            continue
        name, rest = found.groups()
        thread = line.split(" ", 1)[0]
        seen[thread, name] += 1
        if _concerns(folder, name, rest):
            calls.append(Call(name, seen[thread, name], line))
    return tuple(calls)


def _concerns(folder: Path, name: str, rest: str) -> bool:
    handle, quoted = HANDLE.match(rest), PATH_IN_QUOTES.search(rest)
    path = quoted.group(1) if name in (*BY_PATH, "newfstatat") and quoted and quoted.group(1) else ""
    if not path.startswith("/"):  # by handle, or below the folder that the handle names
        path = f"{handle.group(1) if handle else folder}/{path}"
    return path.startswith(f"{folder}/")


# the process


def main() -> None:
    """Run jobs, one a line, until there are no more."""
    ctypes.CDLL(None).prctl(0x24, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: what commands leave behind becomes this one's child
    loaded()
    for line in sys.stdin:
        print(json.dumps(served(json.loads(line))), flush=True)


def loaded() -> None:
    """Load all code before any fault: reading the program itself is no commit path."""
    import av.subtitles.stream  # noqa: F401  (av loads it when it writes)

    import genart
    from genart.plugins import Plugins

    packages = [genart, *map(importlib.import_module, sorted(path.name for path in (ROOT / "plugins").glob("genart_*")))]
    for package in packages:
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    Plugins((TOYS,)).stage("toy.noise")
    tempfile.gettempdir()  # which is found by writing to it, once in a process


def served(job: dict[str, Any]) -> dict[str, Any]:
    """Run one job and say what became of it."""
    folder = Path(job["folder"])
    told = {name: folder.with_name(f"{folder.name}.{name}") for name in ("out", "err", "trace")}
    ready, go = os.pipe()
    terminal, end = os.openpty() if job["tty"] else (None, None)
    child = os.fork()
    if child == 0:
        os.close(go)
        begin(job, ready, told, end)
    os.close(ready)
    tracer = attached(child, job, told["trace"]) if job["watch"] else None
    os.write(go, b"!")
    os.close(go)
    if terminal is not None and end is not None:
        os.close(end)
        told["out"].write_bytes(written_to(terminal))
    _, status, used = os.wait4(child, os.WUNTRACED)
    while os.WIFSTOPPED(status):  # what a shell's `fg` does
        os.kill(child, signal.SIGCONT)
        _, status, used = os.wait4(child, os.WUNTRACED)
    if tracer is not None:
        tracer.communicate()
    left = buried()
    texts = {name: path.read_text(errors="backslashreplace") if path.exists() else "" for name, path in told.items()}
    for path in told.values():
        path.unlink(missing_ok=True)
    spent = {"cpu_sec": used.ru_utime + used.ru_stime, "peak_kb": used.ru_maxrss}
    return {"code": os.waitstatus_to_exitcode(status), "left": left, **spent, **texts}


def buried() -> int:
    """End the processes that a command left behind; return how many there were."""
    left = 0
    while True:
        try:
            if os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                tasks = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
                for pid in tasks:
                    os.kill(int(pid), signal.SIGKILL)
            os.waitpid(-1, 0)
            left += 1
        except ChildProcessError:
            return left


def written_to(terminal: int) -> bytes:
    """All that is written to a terminal, until nobody has it open."""
    pieces = []
    with contextlib.suppress(OSError):  # Linux's way of saying that it is closed
        while piece := os.read(terminal, 1 << 16):
            pieces.append(piece)
    os.close(terminal)
    return b"".join(pieces)


def attached(child: int, job: dict[str, Any], trace: Path) -> subprocess.Popen[str]:
    """Let strace hold on to a child that waits."""
    command = ["strace", "-f", "-y", "-o", str(trace), "-e", f"trace={','.join(job['watch'])}", "-e"]
    command.append(f"signal={job.get('signal', 'none')}")
    command += ["-e", job["inject"]] if "inject" in job else []
    tracer = subprocess.Popen([*command, "-p", str(child)], stderr=subprocess.PIPE, text=True)
    assert tracer.stderr is not None
    said = tracer.stderr.readline()
    if "attached" not in said:
        os.kill(child, 9)
        raise RuntimeError(said)
    return tracer


def begin(job: dict[str, Any], ready: int, told: dict[str, Path], terminal: int | None) -> None:
    """In the child: wait until strace is there, then be the command."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts in the background would ignore it,
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)  # and this one
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # and so would what runs under nohup
    ctypes.CDLL(None).prctl(0x59616D61, -1, 0, 0, 0)  # PR_SET_PTRACER: any process may trace this one
    for handle, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(told[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC) if terminal is None else terminal, handle)
    os.dup2(os.open(os.devnull, os.O_RDONLY) if terminal is None else terminal, 0)
    if terminal is not None:
        os.close(terminal)
    os.chdir(job["folder"])
    os.environ.update({"XDG_CACHE_HOME": f"{job['folder']}/store", **job["environment"]})
    os.read(ready, 1)
    signal.alarm(job["alarm_sec"])
    code = 1
    try:
        from genart.cli import main as command

        exec(job["plant"], {})  # a bug that a test plants
        command(job["words"])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(flushed(code))


def flushed(code: int) -> int:
    """What Python does with its standard streams when it ends; return the exit code, which is another one if they cannot be written."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError) as error:
            with contextlib.suppress(OSError):
                os.write(2, f"Exception ignored in: {stream}: {error}\n".encode())
            return 120
    return code


if __name__ == "__main__":
    main()
