"""What commands print: tables, JSON, what happens, errors."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from genart.errors import SIGPIPE, Interrupted, printable

if TYPE_CHECKING:
    from genart.display import Display
    from genart.events import Events
    from genart.plugins import Plugins


#: Columns of what no terminal shows, so that nothing in a table is cut.
WIDE = 10_000


def console_of(*, stderr: bool = False) -> Any:
    """A Rich console that prints to a standard stream, as wide as need be where no terminal shows it."""
    from rich.console import Console

    class Quiet(Console):
        def on_broken_pipe(self) -> None:
            raise Interrupted(SIGPIPE)

    stream = sys.stderr if stderr else sys.stdout
    return Quiet(stderr=stderr, width=None if stream.isatty() or "COLUMNS" in os.environ else WIDE)


def plain(text: str) -> str:
    """A text of somebody else's among our own: without markup, and without anything that a terminal would obey."""
    from rich.markup import escape

    return escape(printable(text, "\n"))


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    from genart.events import as_json

    sys.stdout.write(as_json(value) + "\n")


@contextmanager
def observers(
    told: TextIO | None, quiet: bool, plugins: Plugins, tensorboard: Path | None = None, *, live: bool = True, terse: bool = False
) -> Iterator[Events]:
    """Yield the events of a run with everyone who wants to hear them: as JSON in `told`, if there is such a file, or else people.

    Of programs in one pipe only the first may be `live`.
    """
    from functools import partial

    from genart.events import Events, write_json_line

    observers: list[Callable[[dict[str, Any]], None]] = [_PluginObservers(plugins)]
    if tensorboard is not None:
        from genart.tensorboard import TensorBoard

        observers.append(TensorBoard(tensorboard))
    if told is not None:
        observers.append(partial(write_json_line, file=told))
    if quiet or told is not None:
        yield Events(*observers)
        return
    with display_of(live=live, terse=terse) as display:
        yield Events(*observers, display)


def display_of(*, live: bool, terse: bool = False) -> Display:
    """What people see on standard error."""
    from genart.display import LiveDisplay, PlainDisplay, TerseDisplay

    if live and sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and "NO_COLOR" not in os.environ:
        return LiveDisplay(sys.stderr)
    return TerseDisplay(sys.stderr) if terse else PlainDisplay(sys.stderr)


class _PluginObservers:
    """Hands events to the `genart_event` hooks of loaded plugins; one that raises is told once and then left out."""

    def __init__(self, plugins: Plugins) -> None:
        self.plugins = plugins
        self.failed: set[str] = set()
        for broken in plugins.listen():
            say_error(
                f"the observer '{broken.name}' ({broken.origin}) cannot be used: {broken.problem}", f"see genart plugins {broken.name}"
            )

    def __call__(self, record: dict[str, Any]) -> None:
        for hook in self.plugins.manager.hook.genart_event.get_hookimpls():
            if hook.plugin_name in self.failed:
                continue
            try:
                hook.function(**({"record": record} if "record" in hook.argnames else {}))
            except Exception as error:
                self.failed.add(hook.plugin_name)
                say_error(f"plugin '{hook.plugin_name}': its observer failed and is switched off: {type(error).__name__}: {error}", None)


def say_error(message: str, hint: str | None) -> None:
    """Print an error in at most three lines, without anything a terminal would obey."""
    lines = [f"genart: {message}", *([f"  {hint}"] if hint else [])]
    clean = [printable(line)[:1000] for line in lines]
    with suppress(OSError):  # a full disk, say: the exit code still tells
        sys.stderr.write("\n".join(clean) + "\n")


@contextmanager
def own_stdout(wanted: bool) -> Iterator[TextIO]:
    """Keep standard output for what genart itself sends there: what a stage or a library prints, by any way, goes to standard error."""
    from contextlib import redirect_stdout

    try:
        number, error = (sys.stdout.fileno(), sys.stderr.fileno()) if wanted else (-1, -1)
    except (OSError, ValueError):  # no real file behind one of them
        number = error = -1
    if number < 0:
        own = sys.stdout
        with redirect_stdout(sys.stderr) if wanted else nullcontext():
            yield own
        return
    sys.stdout.flush()
    private = os.dup(number)
    own = open(private, "w", encoding=sys.stdout.encoding, closefd=False)  # noqa: SIM115 - closing must not hide an error before it
    os.dup2(error, number)
    try:
        with redirect_stdout(sys.stderr):
            yield own
        own.flush()
    finally:
        with suppress(OSError):  # the same that was told
            own.close()
        if "ctypes" in sys.modules:
            sys.modules["ctypes"].CDLL(None).fflush(None)  # what C libraries have yet to print
        os.dup2(private, number)
        os.close(private)
