"""The command that applies one stage: a Unix filter."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from genart import completion
from genart.errors import UsageError, printable

from .app import Device, Json, PluginFiles, app, at_home
from .installed import explain_stage, flow
from .printing import observers, own_stdout
from .signals import heeding

if TYPE_CHECKING:
    from genart.stages import Stage


Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="STAGE",
        help="A stage and its parameters; see it with --help.",
        show_default=False,
        autocompletion=completion.words,
    ),
]
Inputs = Annotated[
    list[Path] | None,
    typer.Option(
        "-i", metavar="PATH|-", help="A picture, a folder of pictures, a film or a model, more than one are merged; - or a pipe: stdin."
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "-o",
        metavar="PATH|-",
        callback=at_home,
        help="Where to save, - or a pipe: stdout; without it the result is only described.",
    ),
]


@app.command(cls=completion.ApplyCommand, context_settings={"ignore_unknown_options": True, "help_option_names": []})
def apply(
    context: typer.Context,
    words: Words = None,
    input_: Inputs = None,
    output: Output = None,
    y4m: Annotated[bool, typer.Option("--y4m", help="Write Y4M to stdout rather than PNGs.")] = False,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the random numbers.")] = 0,
    device: Device = "auto",
    plugin: PluginFiles = None,
    json_: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the result.")] = False,
    help_: Annotated[bool, typer.Option("-h", "--help", help="Show this, or the parameters of STAGE.")] = False,
) -> None:
    """Apply one stage to files, or to what comes through a pipe. No recipe is needed."""
    if help_ and not words:
        typer.echo(context.get_help())
        return
    if not words or words[0].startswith("-"):
        raise UsageError("name a stage first", "genart apply STAGE [--PARAM VALUE]... [-i PATH|-] [-o PATH|-]; `genart stages` lists them")
    from genart.plugins import Plugins

    plugins = Plugins(plugin or ())
    stage = plugins.stage(words[0])
    if help_:
        _explain_options(stage)
        return
    from genart.apply import apply_stage, describe, lines, read_options
    from genart.events import write_json_line
    from genart.pipes import Sender, ends_of, leave_cores
    from genart.plan import device_kind
    from genart.run import Stop
    from genart.store import Store

    options, inputs = read_options(stage, words[1:])
    ends = ends_of(stage, [*(input_ or []), *inputs], output, told=json_, y4m=y4m)
    if stage.light and (ends.stdin or ends.stdout):
        leave_cores()
    kind = device_kind(device, Store.of_user().root)
    stop = Stop()
    terse = ends.stdout and not sys.stderr.isatty()  # in a script a filter says nothing but what is out of the ordinary
    with (
        own_stdout(ends.stdout or json_) as own,
        observers(own if json_ else None, quiet, plugins, live=not ends.stdin, terse=terse) as events,
        heeding(stop),
    ):
        sender = Sender(cast(Any, own).buffer, y4m=y4m) if ends.stdout else None
        result = apply_stage(stage, options, ends, plugins, events, stop, sender=sender, seed=seed, device=kind)
    if result is None or ends.stdout:
        return
    about = describe(result)
    told = lines(about)
    if json_:
        write_json_line({"event": "result", "stage": stage.name, **about})
    elif output is None or len(told) > 1:
        typer.echo(printable("\n".join(told), "\n"))


def _explain_options(stage: Stage) -> None:
    from genart.apply import option
    from genart.params import rows

    options = [row | {"name": option(row["name"])} for row in rows(stage.params)]
    explain_stage(stage.name, stage.doc, flow(stage.takes, stage.gives), options)
