"""The application that the commands belong to, and the options that several of them have."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from genart import __version__, completion
from genart.errors import SIGPIPE, Interrupted

from .signals import end_in_peace

#: Commands in the order of help: what most people do first.
ORDER = ("run", "plan", "check", "new", "apply", "stages", "data", "report", "show", "remake", "plugins", "cache", "schema", "convert")
#: What a `--force` without an ID stands for.
ALL = "*"


class Commands(TyperGroup):
    """Commands whose interruption is genart's own to tell: the library would exit with codes and texts of its own."""

    def list_commands(self, context: Any) -> list[str]:
        """Names of the commands."""
        return sorted(super().list_commands(context), key=ORDER.index)

    def make_context(self, *arguments: Any, **more: Any) -> Any:
        """Read the command line."""
        with interrupted():
            return super().make_context(*arguments, **more)

    def invoke(self, context: Any) -> Any:
        """Run the command."""
        with interrupted():
            return super().invoke(context)


@contextmanager
def interrupted() -> Iterator[None]:
    """Tell an interruption as genart does."""
    try:
        yield
    except KeyboardInterrupt:
        end_in_peace()
        raise Interrupted(signal.SIGINT, kept=False) from None  # what keeps its work heeds signals by itself
    except BrokenPipeError:
        raise Interrupted(SIGPIPE) from None


app = typer.Typer(
    name="genart",
    cls=Commands,
    help="A generative-art pipeline: recipes chain plugin stages from a folder of pictures to films of a GAN's dreams.",
    epilog="What each exit code means stands at the end of docs/recipes.md.",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: loading Rich for it would double the time it takes
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
cache_app = typer.Typer(help="Look after the store of results.", no_args_is_help=True)
app.add_typer(cache_app, name="cache")
new_app = typer.Typer(help="Begin a plugin or a recipe with files that work as they are.", no_args_is_help=True)
app.add_typer(new_app, name="new")
data_app = typer.Typer(help="Look after folders of pictures to train on.", no_args_is_help=True)
app.add_typer(data_app, name="data")


def at_home(path: Path | None) -> Path | None:
    """A path whose ~ the shell has left as it is, as in --out=~/art."""
    return None if path is None else Path(os.path.expanduser(path))


RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe, such as recipes/painting.toml.", show_default=False)]
PluginFiles = Annotated[list[Path] | None, typer.Option("-p", "--plugin", metavar="PLUGIN.py", help="Also use the stages of this file.")]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="ID.PARAM=VALUE", help="Override a parameter of one stage.", autocompletion=completion.settings),
]
Seed = Annotated[int | None, typer.Option("--seed", help="Seed to use instead of the recipe's.")]
Budget = Annotated[
    str | None,
    typer.Option(
        "--budget",
        metavar="TIME",
        help="Time for all stages with a budget (trainings, style.transfer, ...), shared evenly, such as 10m.",
    ),
]
Device = Annotated[str, typer.Option("--device", metavar="auto|cpu|cuda|mps", help="Where to compute.", autocompletion=completion.devices)]
Until = Annotated[str | None, typer.Option("--until", metavar="ID", help="Stop after this stage.", autocompletion=completion.ids)]
Force = Annotated[
    list[str] | None,
    typer.Option(
        "--force", metavar="[ID]", help="Make a stage again even if it is cached; without ID, all.", autocompletion=completion.ids
    ),
]
Json = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]
StoreUrl = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="URL",
        help="Share results there: s3://BUCKET/PREFIX, gs://..., file:///FOLDER.  [default: $GENART_STORE, if set]",
    ),
]
CacheUrl = Annotated[str | None, typer.Option("--store", metavar="URL", help="Of a shared store, rather than that of this machine.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"genart {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Options before the command."""
