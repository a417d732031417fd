"""The command line: parses, calls, ends with a documented code. Nobody imports it, and it imports nothing heavy."""

from __future__ import annotations

import io
import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from typer.exceptions import TyperException

from .commands import beginnings, cache, data, installed, one_stage, recipes, saved  # noqa: F401 - each brings its commands
from .commands.app import ALL, app
from .commands.printing import say_error
from .errors import SIGPIPE, GenartError, Interrupted, ResourceError, UsageError

#: How often a thread of torch's looks for more to do before it sleeps (GNU OpenMP; by itself 300,000 times, which takes milliseconds).
#: Where other programs want the cores, those that look keep away the one that all wait for. So many cost nothing where genart is
#: alone, and a step beside busy programs takes a twelfth of the time; fewer are better there still, and dearer alone (bench/spin.py).
SPINS = "10000"


def _expand(arguments: Sequence[str]) -> list[str]:
    """A `--force` without ID means all stages."""
    result: list[str] = []
    for i, argument in enumerate(arguments):
        result.append(argument)
        after = arguments[i + 1] if i + 1 < len(arguments) else "-"
        if argument == "--force" and (after.startswith("-") or after.endswith(".toml")):
            result.append(ALL)
    return result


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with a documented code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    _open_streams()
    if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = SPINS  # read when torch is loaded
    try:
        code = app(_expand(arguments), prog_name="genart", standalone_mode=False) or 0
        sys.stdout.flush()
    except GenartError as error:
        if debug and not isinstance(error, Interrupted):
            raise
        code = _tell(error, arguments)
    except BrokenPipeError:
        code = 128 + SIGPIPE
    except TyperException as error:
        code = _tell(UsageError(_usage(error), "see genart --help"), arguments)
    except Exception as error:
        if debug:
            raise
        code = _tell(_explained(error), arguments)
    _let_go_of_streams()
    sys.exit(code)


def _open_streams() -> None:
    """Let standard streams that are closed lead nowhere: else a file would get their number, and what is told.

    Signs that the encoding of standard output does not have are replaced.
    """
    for handle, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(handle)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # it gets the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, open(handle, mode, closefd=False))  # noqa: SIM115
    if getattr(sys.stdout, "errors", None) == "strict" and isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def _let_go_of_streams() -> None:
    """Drop what a standard stream does not take, or Python would fail in the end, with an exit code of its own."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _explained(error: Exception) -> GenartError:
    """What an error that nobody expected means for people."""
    from .store import resource_error

    if isinstance(error, MemoryError):
        return ResourceError("out of memory")
    known = resource_error(error) if isinstance(error, OSError) else None
    first = (str(error).splitlines() or [""])[0]
    return known or GenartError(
        f"this is a bug in genart: {type(error).__name__}: {first}", "please report it with the output of the same command and --debug"
    )


def _usage(error: TyperException) -> str:
    form = getattr(error, "format_message", None)
    return str(form() if form else error).strip() or type(error).__name__


def _tell(error: GenartError, arguments: Sequence[str]) -> int:
    if error.exit_code == 128 + SIGPIPE:  # whoever read stdout has gone: nobody to tell
        return error.exit_code
    message, hint = error.message, error.hint
    if isinstance(error, Interrupted) and error.kept:
        message, hint = "interrupted; what was done so far is kept. Go on with:", shlex.join(["genart", *arguments])
    if "--json" in arguments:
        from .events import write_json_line

        with suppress(OSError, Interrupted):  # the exit code tells, too
            write_json_line({"event": "error", "message": message, "hint": hint, "exit_code": error.exit_code})
    say_error(message, hint)
    return error.exit_code
