"""The command line: parses, calls, prints. Nobody imports it, and it imports nothing heavy."""

from __future__ import annotations

import io
import json
import math
import os
import re
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TextIO, cast

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from . import __version__, completion
from .errors import SIGPIPE, DataError, GenartError, Interrupted, ResourceError, StageError, UsageError, did_you_mean, printable

if TYPE_CHECKING:
    from .display import Display
    from .events import Events
    from .forecast import Estimate, Forecast
    from .launch import Launch
    from .nn.team import Team
    from .plan import Planner, Step
    from .plugins import Plugin, Plugins
    from .remote import Shared
    from .run import Stop
    from .runner import Executor, Runner
    from .stages import Operation, Stage
    from .store import Store

# Each command imports what it needs in its first lines: `--help` pays for the command-line library alone.


#: Commands in the order of help: what most people do first.
ORDER = ("run", "plan", "check", "new", "apply", "stages", "data", "report", "show", "remake", "plugins", "cache", "schema", "convert")


class _Commands(TyperGroup):
    """Commands whose interruption is genart's own to tell: the library would exit with codes and texts of its own."""

    def list_commands(self, context: Any) -> list[str]:
        """Names of the commands."""
        return sorted(super().list_commands(context), key=ORDER.index)

    def make_context(self, *arguments: Any, **more: Any) -> Any:
        """Read the command line."""
        with _interrupted():
            return super().make_context(*arguments, **more)

    def invoke(self, context: Any) -> Any:
        """Run the command."""
        with _interrupted():
            return super().invoke(context)


@contextmanager
def _interrupted() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        _end_in_peace()
        raise Interrupted(signal.SIGINT, kept=False) from None  # what keeps its work heeds signals by itself
    except BrokenPipeError:
        raise Interrupted(SIGPIPE) from None


app = typer.Typer(
    name="genart",
    cls=_Commands,
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


def _at_home(path: Path | None) -> Path | None:
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
#: Columns of what no terminal shows, so that nothing in a table is cut.
WIDE = 10_000
#: Workers that a forecast is made for, at most.
MOST_WORKERS = 100_000
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


# recipes


@app.command()
def run(
    recipe: RecipePath,
    set_: Sets = None,
    seed: Seed = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", readable=False, callback=_at_home, help="Output folder.  [default: out/<recipe name>]"),
    ] = None,
    budget: Budget = None,
    device: Device = "auto",
    until: Until = None,
    force: Force = None,
    plugin: PluginFiles = None,
    json_: Json = False,
    on: Annotated[
        str | None,
        typer.Option("--on", metavar="ray|ray://HOST:PORT", help="Run on Ray workers, of this machine or a cluster."),
    ] = None,
    data_parallel: Annotated[
        int | None, typer.Option("--data-parallel", metavar="N", min=1, help="With --on: let N workers share each training.")
    ] = None,
    store: StoreUrl = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False,
    tensorboard: Annotated[
        Path | None,
        typer.Option("--tensorboard", metavar="DIR", callback=_at_home, help="Write the numbers of trainings as TensorBoard event files."),
    ] = None,
) -> None:
    """Run a recipe: make what is missing, save what is to be saved."""
    from .events import Events
    from .launch import check_launch, launched
    from .plan import safe_name
    from .run import Stop
    from .runner import Runner

    stop, launch = Stop(), launched()
    check_launch(launch, on, data_parallel)
    address = _checked_address(on, data_parallel) if on is not None else None
    with _own_stdout(json_) as own:
        planner, steps = _plan(recipe, set_, seed, budget, device, until, force, plugin, store, address)
        executor = _spread(planner, address, recipe, set_, seed, budget, plugin, data_parallel) if on is not None else None
        if out is None:
            out = Path("out") / safe_name(planner.recipe.name)
        if launch is not None and launch.rank > 0:
            _follow(Runner(planner, steps, out, Events(), stop), launch)
            return
        with (
            _observers(own if json_ else None, quiet, planner.plugins, tensorboard) as events,
            _signals(stop),
            _joined(launch, planner.device) if launch is not None else nullcontext() as team,
        ):
            runner = Runner(planner, steps, out, events, stop, executor)
            runner.team = team
            runner.run()
            if planner.recipe.report:
                _write_report(out, planner.store, events)


def _joined(launch: Launch, device: str) -> AbstractContextManager[Team]:
    from .follow import joined

    return joined(launch, device)


def _follow(runner: Runner, launch: Launch) -> None:
    """Take part in the trainings of the first of several processes."""
    from .follow import deaf, follow, joined

    with deaf(), joined(launch, runner.planner.device) as team:
        follow(runner, team)


def _checked_address(on: str, data_parallel: int | None) -> str | None:
    from .on_ray import check_address, check_train

    address = check_address(on)
    if data_parallel is not None and data_parallel > 1:
        check_train()
    return address


def _spread(
    planner: Planner,
    address: str | None,
    recipe: Path,
    sets: list[str] | None,
    seed: int | None,
    budget: str | None,
    files: list[Path] | None,
    data_parallel: int | None,
) -> Executor:
    """An executor with workers on Ray."""
    from .on_ray import RayPool
    from .recipe import seconds_of
    from .spread import Spread
    from .tasks import Order

    order = Order(
        recipe=str(recipe.absolute()),
        text=planner.recipe.text,
        overrides=tuple(sets or ()),
        seed=seed,
        budget_sec=seconds_of(budget) if budget else None,
        plugins=tuple(str(file.absolute()) for file in files or ()),
        folder=os.getcwd(),
        store=str(planner.store.root.absolute()),
        device=planner.device,
        shared=planner.store.address,
    )
    return Spread(RayPool(order, address), data_parallel or 1)


def _write_report(out: Path, store: Store, events: Events) -> None:
    """Write the run's page, unless the one that is there tells of this run."""
    from .report import is_stale, write_report

    if is_stale(out):
        path = write_report(out, store)
        events.emit("report", path=str(path), bytes=path.stat().st_size)


@app.command()
def report(
    run: Annotated[str, typer.Argument(metavar="RUN", help="An output folder, or the name of its recipe.", show_default=False)],
    json_: Json = False,
) -> None:
    """Write a page about a run: report.html in its output folder."""
    from .display import size
    from .remote import store_for
    from .report import folder_of, write_report

    path = write_report(folder_of(run), store_for(None))
    if json_:
        _print_json({"path": str(path), "bytes": path.stat().st_size})
    else:
        _console().print(f"{_plain(str(path))}: {size(path.stat().st_size)}", highlight=False, soft_wrap=True)


@app.command()
def plan(
    recipe: RecipePath,
    why: Annotated[bool, typer.Option("--why", help="Name the changed parameter, input or code.")] = False,
    set_: Sets = None,
    seed: Seed = None,
    budget: Budget = None,
    device: Device = "auto",
    until: Until = None,
    force: Force = None,
    plugin: PluginFiles = None,
    json_: Json = False,
    store: StoreUrl = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", metavar="N", min=1, max=MOST_WORKERS, help="Also what it would take with --on and so many workers."),
    ] = None,
    price: Annotated[
        float | None, typer.Option("--price", metavar="PRICE", min=0, help="What a worker costs an hour, in any currency; with --workers.")
    ] = None,
) -> None:
    """Say what would run, what is cached, and why. Times are estimated from earlier runs."""
    from .forecast import Past, forecast, told

    if price is not None and workers is None:
        raise UsageError("--price needs to know how many workers there are", "--workers N")
    planner, steps = _plan(recipe, set_, seed, budget, device, until, force, plugin, store)
    estimates = Past(planner.store).estimates(steps)
    rows = [_plan_row(step, estimates) for step in steps.values()]
    found = forecast(planner, steps, estimates, workers, price) if workers is not None else None
    if json_:
        more = {} if found is None else {"forecast": told(found)}
        _print_json({"recipe": planner.recipe.name, "device": planner.device, "stages": rows, **more})
        return
    _print_plan(rows, why=why)
    if found is not None and any(row["status"] == "run" for row in rows):
        _print_forecast(found)


def _print_plan(rows: list[dict[str, Any]], *, why: bool) -> None:
    from rich.table import Table

    from .display import duration

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("stage", "uses", "", "time", *(["why"] if why else [])):
        table.add_column(column)
    for row in rows:
        about = {"cached": "[green]cached[/]", "run": "[yellow]run[/]"}[row["status"]]
        seconds = row["seconds"]
        time = "" if seconds is None else ("" if row["status"] == "cached" else "~") + duration(seconds)
        table.add_row(row["id"], row["uses"], about, time, *([_plain("; ".join(row["why"]))] if why else []))
    _console().print(table)
    waiting = [row for row in rows if row["status"] == "run"]
    if not waiting:
        _console().print("everything is cached")
        return
    known = [row["seconds"] for row in waiting if row["seconds"] is not None]
    unknown = len(waiting) - len(known)
    tail = f", {unknown} without an estimate" if unknown else ""
    about = f"about {duration(sum(known))}{tail}" if known else "times are known after a first run"
    _console().print(f"{len(waiting)} of {len(rows)} stages would run: {about}")


def _print_forecast(found: Forecast) -> None:
    from .display import duration

    paid = "" if found.cost is None else f", {found.cost:.2f} at {found.price:g} an hour"
    workers = f"{found.workers} worker{'s' * (found.workers > 1)}"
    _console().print(f"on {workers}: about {duration(found.seconds)}, {found.worker_hours:.2f} worker-hours{paid}")
    if found.unknown:
        _console().print(_plain(f"not in these figures, since they never ran: {', '.join(found.unknown)}"))


def _plan_row(step: Step, estimates: Mapping[str, Estimate]) -> dict[str, Any]:
    work = estimates[step.node.id].work if step.entry is None else None
    seconds = step.entry.manifest["seconds"] if step.entry else None if work is None else work.seconds
    return {
        "id": step.node.id,
        "uses": step.node.stage.name,
        "status": "cached" if step.entry else "run",
        "why": step.changes,
        "seconds": seconds,
        "save": step.node.save,
    }


def _plan(
    recipe: Path,
    sets: list[str] | None,
    seed: int | None,
    budget: str | None,
    device: str,
    until: str | None,
    force: list[str] | None,
    files: list[Path] | None,
    url: str | None,
    address: str | None = None,
) -> tuple[Planner, dict[str, Step]]:
    """What is to be made, and how; `address` is that of a cluster which makes it."""
    from .plan import Planner, device_kind
    from .plugins import Plugins
    from .recipe import load, seconds_of
    from .remote import store_for

    plugins = Plugins(files or ())
    loaded = load(recipe, plugins, overrides=sets or (), seed=seed, budget_sec=seconds_of(budget) if budget else None)
    if until is not None:
        loaded = loaded.until(until)
    store = store_for(url)
    if address is not None and device in ("auto", "cuda"):
        from .on_ray import device_on

        kind = device_on(address, device)
    else:
        kind = device_kind(device, store.root)
    planner = Planner(loaded, plugins, store, kind)
    force = force or []
    return planner, planner.steps([name for name in force if name != ALL], force_all=ALL in force)


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
        callback=_at_home,
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
    from .plugins import Plugins

    plugins = Plugins(plugin or ())
    stage = plugins.stage(words[0])
    if help_:
        _explain_options(stage)
        return
    from .apply import apply_stage, describe, lines, read_options
    from .events import write_json_line
    from .pipes import Sender, ends_of, share_cores
    from .plan import device_kind
    from .run import Stop
    from .store import Store

    options, inputs = read_options(stage, words[1:])
    ends = ends_of(stage, [*(input_ or []), *inputs], output, told=json_, y4m=y4m)
    if ends.stdin or ends.stdout:
        share_cores(light=stage.light)
    kind = device_kind(device, Store.of_user().root)
    stop = Stop()
    terse = ends.stdout and not sys.stderr.isatty()  # in a script a filter says nothing but what is out of the ordinary
    with (
        _own_stdout(ends.stdout or json_) as own,
        _observers(own if json_ else None, quiet, plugins, live=not ends.stdin, terse=terse) as events,
        _signals(stop),
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


@contextmanager
def _own_stdout(wanted: bool) -> Iterator[TextIO]:
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
    os.dup2(error, number)
    try:
        with open(private, "w", encoding=sys.stdout.encoding, closefd=False) as own, redirect_stdout(sys.stderr):
            yield own
    finally:
        if "ctypes" in sys.modules:
            sys.modules["ctypes"].CDLL(None).fflush(None)  # what C libraries have yet to print
        os.dup2(private, number)
        os.close(private)


def _explain_options(stage: Stage) -> None:
    from .apply import option
    from .params import rows

    options = [row | {"name": option(row["name"])} for row in rows(stage.params)]
    _explain_stage(stage.name, stage.doc, _flow(stage.takes, stage.gives), options)


@app.command()
def check(
    recipes: Annotated[list[Path], typer.Argument(metavar="RECIPE", help="Recipes to validate.", show_default=False)],
    plugin: PluginFiles = None,
    json_: Json = False,
) -> None:
    """Validate recipes, each of them; compute nothing. The exit code is that of the first that is wrong."""
    from .plugins import Plugins
    from .recipe import load

    plugins = Plugins(plugin or ())
    rows: list[dict[str, Any]] = []
    for path in recipes:
        try:
            item = load(path, plugins)
        except GenartError as error:
            rows.append({"path": str(path), "valid": False, "message": error.message, "hint": error.hint, "exit_code": error.exit_code})
            _say_error(error.message, error.hint)
            continue
        count = len(item.nodes)
        rows.append({"path": str(path), "name": item.name, "stages": count, "valid": True})
        if not json_:
            _console().print(f"{_plain(str(path))}: fine, {count} stage{'s' * (count != 1)}", highlight=False, soft_wrap=True)
    if json_:
        _print_json(rows)
    codes = [row["exit_code"] for row in rows if not row["valid"]]
    if codes:
        raise typer.Exit(codes[0])


# what files say of themselves

SavedFile = Annotated[Path, typer.Argument(metavar="FILE", help="A picture, film or model that genart saved.", show_default=False)]


@app.command()
def show(file: SavedFile, plugin: PluginFiles = None, json_: Json = False) -> None:
    """Say what made a file: recipe, stages, seeds, versions, hashes."""
    from .plugins import Plugins
    from .provenance import read

    plugins = Plugins(plugin or ())
    told, plain = read(file, plugins)
    if json_:
        _print_json({"path": str(file), "provenance": plain})
        return
    from .show import view

    _console().print(view(file.name, told, plugins))


@app.command()
def remake(
    file: SavedFile,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", metavar="PATH", callback=_at_home, help="Where to save what was made again; without it the result is only described."
        ),
    ] = None,
    input_: Annotated[
        list[str] | None,
        typer.Option(
            "--input", metavar="NAME=PATH", help="Where an input file is, or a model, by its stage's id, that need not be trained."
        ),
    ] = None,
    from_scratch: Annotated[bool, typer.Option("--from-scratch", help="Take no models or inputs from the store.")] = False,
    tolerance: Annotated[
        float, typer.Option("--tolerance", metavar="DB", help="PSNR in decibels from which two pictures count as equal.")
    ] = 40.0,
    device: Annotated[
        str | None, typer.Option("--device", metavar="auto|cpu|cuda|mps", help="Where to compute; by default where it was made.")
    ] = None,
    plugin: PluginFiles = None,
    json_: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the result.")] = False,
) -> None:
    """Make a file again from what it says of itself, and compare. It is identical, equal within a tolerance, or different (exit 9)."""
    from .events import write_json_line
    from .plugins import Plugins
    from .remake import DIFFERENT, Remake
    from .run import Stop
    from .store import Store

    plugins, stop = Plugins(plugin or ()), Stop()
    with _own_stdout(json_) as own, _observers(own if json_ else None, quiet, plugins) as events, _signals(stop):
        again = Remake(file, plugins, Store.of_user(), events, stop, device=device, from_scratch=from_scratch, inputs=input_ or ())
        report = again.run(output, tolerance)
    if json_:
        write_json_line({"event": "remade", "path": str(file), **report.as_json()})
    else:
        typer.echo("\n".join(report.lines(str(file))))
    if report.different:
        raise typer.Exit(DIFFERENT)


@app.command()
def convert(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Weights that torch saved: .pt, .pth, .ckpt or .bin.", show_default=False)],
    output: Annotated[
        Path, typer.Option("-o", metavar="NAME.safetensors", callback=_at_home, help="Where the tensors go.", show_default=False)
    ],
    sha256: Annotated[
        str | None, typer.Option("--sha256", metavar="HEX", help="Refuse the file unless this is its hash, or begins it.")
    ] = None,
    json_: Json = False,
) -> None:
    """Take the tensors out of weights that are a pickle. Nothing in it is run."""
    from dataclasses import asdict

    from .convert import convert as converted
    from .display import size
    from .store import Store

    done = converted(file, output, Store.of_user(), sha256)
    if json_:
        _print_json({**asdict(done), "path": str(done.path)})
        return
    left_out = f"; {done.left_out} other values were left out" if done.left_out else ""
    typer.echo(
        printable(f"{done.path}: {done.tensors} tensors, {size(done.bytes)}{left_out}\n  SHA-256 of {file.name}: {done.sha256}", keep="\n")
    )


# what is installed


@app.command()
def stages(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Explain one stage.", show_default=False, autocompletion=completion.stages)
    ] = None,
    operation: Annotated[
        str | None, typer.Argument(metavar="OPERATION", help="Explain one of the operations that it lists.", show_default=False)
    ] = None,
    plugin: PluginFiles = None,
    json_: Json = False,
) -> None:
    """List the stages, or explain one: its parameters and operations."""
    from .params import rows
    from .plugins import Plugins

    plugins = Plugins(plugin or ())
    found = [plugins.stage(name)] if name else plugins.stages()
    if operation is not None:
        _explain_operation(found[0], operation, json_)
        return
    if json_:
        listed = [_stage_row(stage) for stage in found]
        _print_json(listed[0] if name else listed)
        return
    if name:
        _explain_stage(found[0].name, found[0].doc, _flow(found[0].takes, found[0].gives), rows(found[0].params))
        _list_operations(found[0])
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("stage", "takes → gives", "what it does"):
        table.add_column(column)
    for stage in found:
        table.add_row(f"[cyan]{stage.name}[/]", _flow(stage.takes, stage.gives), stage.summary)
    _console().print(table)


def _stage_row(stage: Stage) -> dict[str, Any]:
    from .params import rows

    return {
        "name": stage.name,
        "summary": stage.summary,
        "takes": stage.takes,
        "gives": dict(stage.gives),
        "random": stage.random,
        "doc": stage.doc,
        "params": rows(stage.params),
        "operations": {name: operation.summary for name, operation in _operations(stage).items()},
    }


def _operations(stage: Stage) -> Mapping[str, Operation]:
    return stage.operations() if stage.operations is not None else {}


def _list_operations(stage: Stage) -> None:
    from rich.table import Table

    found = _operations(stage)
    if not found:
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("operation", "what it does"):
        table.add_column(column)
    for name, operation in found.items():
        table.add_row(f"[cyan]{_plain(name)}[/]", _plain(operation.summary))
    _console().print("", table, f"\ngenart stages {stage.name} OPERATION lists the parameters of one", sep="\n", highlight=False)


def _explain_operation(stage: Stage, name: str, json_: bool) -> None:
    from .params import rows

    found = _operations(stage)
    if name not in found:
        hint = f"see genart stages {stage.name}" if found else "it has none"
        raise UsageError(f"{stage.name} has no operation '{name}'{did_you_mean(name, found)}", hint)
    summary, params = found[name].summary, rows(found[name].model)
    if json_:
        _print_json({"name": name, "summary": summary, "params": params})
    else:
        _explain_stage(name, summary, f"an operation of {stage.name}", params)


def _flow(takes: str | None, gives: Any) -> str:
    return f"{takes or '–'} → " + ", ".join(kind if name == "output" else f"{name} ({kind})" for name, kind in gives.items())


def _explain_stage(name: str, doc: str, flow: str, params: list[dict[str, Any]]) -> None:
    from rich.markup import escape
    from rich.table import Table

    console = _console()
    console.print(f"[bold cyan]{name}[/]  [dim]{flow}[/]\n\n{escape(doc)}\n", highlight=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("parameter", "type", "default", "range", ""):
        table.add_column(column)
    for row in params:
        default = (
            "[red]required[/]"
            if row["required"]
            else ""
            if row["default"] is None
            else escape(json.dumps(row["default"], ensure_ascii=False))
        )
        table.add_row(f"[cyan]{row['name']}[/]", escape(row["type"]), default, row["range"], escape(row["description"]))
    console.print(table)


@app.command("plugins")
def list_plugins(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="Show one, with the traceback if it is broken; `doctor` examines all.",
            show_default=False,
            autocompletion=completion.plugins,
        ),
    ] = None,
    plugin: PluginFiles = None,
    json_: Json = False,
) -> None:
    """List the plugins, their stages, and what is broken."""
    from .plugins import Plugins

    if name == "doctor":
        _examine_plugins(plugin or (), json_)
        return
    registry = Plugins(plugin or ())
    found = registry.load_all()
    if name is not None:
        if name not in registry.plugins:
            raise UsageError(
                f"there is no plugin '{name}'{did_you_mean(name, registry.plugins)}", f"plugins: {', '.join(sorted(registry.plugins))}"
            )
        found = [registry.plugins[name]]
    if json_:
        _print_json([_plugin_row(item) for item in found])
        return
    console = _console()
    for item in found:
        formats = [*(f"reads {one}" for one in sorted(item.pictures)), *(f"writes {one}" for one in item.films)]
        brings = _plain(", ".join([*sorted(item.stages), *formats])) or ("observes every run" if item.observes else "")
        state = f"[red]broken:[/] {_plain(item.problem)}" if item.problem else brings
        origin = _plain(f"{item.origin} {item.version}")
        console.print(f"[cyan]{_plain(item.name)}[/] [dim]{origin}[/]  {state}", highlight=False, soft_wrap=True)
        for note in item.notes:
            console.print(f"  [yellow]{_plain(note)}[/]", highlight=False, soft_wrap=True)
        if name is not None and item.traceback:
            console.print(_plain(item.traceback.rstrip()), highlight=False, soft_wrap=True)


def _examine_plugins(files: Sequence[Path], json_: bool) -> None:
    """Load each plugin in a process of its own, then all together, and say what was seen; exit 4 if something is broken."""
    from .plugin_doctor import examine

    found = examine(files)
    if json_:
        _print_json(found.as_json())
    else:
        _console().print(found.table())
        for line in found.advice:
            _console().print(line, highlight=False, soft_wrap=True, markup=False)
    if found.broken:
        raise typer.Exit(StageError.exit_code)


def _plugin_row(item: Plugin) -> dict[str, Any]:
    brings = {"stages": sorted(item.stages), "reads": sorted(item.pictures), "writes": list(item.films)}
    return {"name": item.name, "origin": item.origin, "version": item.version, **brings, "problem": item.problem, "notes": item.notes}


@app.command()
def schema(
    out: Annotated[Path | None, typer.Option("-o", "--out", metavar="FILE", callback=_at_home, help="Write to a file.")] = None,
    plugin: PluginFiles = None,
) -> None:
    """Print a JSON schema of recipes, for editors. It is of Draft 7, and made from all installed stages."""
    from .artifacts import write_atomically
    from .plugins import Plugins
    from .schema import as_json, recipe_schema

    text = as_json(recipe_schema(Plugins(plugin or ()).stages())) + "\n"
    if out is None:
        typer.echo(text, nl=False)
    else:
        try:
            write_atomically(out.absolute(), text.encode())
        except FileNotFoundError:
            raise UsageError(f"-o {out}: no file can be made there", "name a file in a folder that is there") from None


# beginnings

Where = Annotated[Path, typer.Option("--dir", metavar="DIR", callback=_at_home, help="Where to put it.")]


@new_app.command("plugin")
def begin_plugin(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The family of its stages, such as sepia.", show_default=False)],
    where: Where = Path(),
) -> None:
    """Write a plugin with one stage, its test and its README."""
    from .new import new_plugin
    from .plugins import Plugins

    root = new_plugin(name, set(Plugins().plugins), where)
    typer.echo(f"{root}\n  pip install -e '{root}[test]' && pytest {root}")


@new_app.command("recipe")
def begin_recipe(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the recipe and of its file.", show_default=False)],
    where: Where = Path(),
) -> None:
    """Write a recipe: pictures, a training, a walk, a film."""
    from .new import new_recipe

    path = new_recipe(name, where)
    typer.echo(f"{path}\n  {shlex.join(['genart', 'run', str(path)])}")


# the store


def _kept(url: str | None) -> Store | Shared:
    """What to look after: the store of this machine, or the shared one at an address; the variable GENART_STORE names none here."""
    from .remote import Shared
    from .store import Store

    return Store.of_user() if url is None else Shared.at(url)


@cache_app.command()
def info(store_: CacheUrl = None, json_: Json = False) -> None:
    """Say where the store is and what it holds."""
    from .display import size

    store = _kept(store_)
    by_stage: dict[str, list[int]] = {}
    for entry in store.entries():
        by_stage.setdefault(entry.manifest["stage"], []).append(entry.bytes)
    total, work = sum(map(sum, by_stage.values())), store.work_bytes()
    if json_:
        listed = {name: {"entries": len(sizes), "bytes": sum(sizes)} for name, sizes in sorted(by_stage.items())}
        _print_json(
            {"path": store.place, "entries": sum(map(len, by_stage.values())), "bytes": total, "work_bytes": work, "stages": listed}
        )
        return
    console = _console()
    console.print(
        f"{_plain(store.place)}: {sum(map(len, by_stage.values()))} results, {size(total)}, unfinished work {size(work)}",
        highlight=False,
        soft_wrap=True,
    )
    for name, sizes in sorted(by_stage.items()):
        console.print(f"  {name}: {len(sizes)}, {size(sum(sizes))}", highlight=False)


@cache_app.command()
def verify(store_: CacheUrl = None, json_: Json = False) -> None:
    """Check every byte of the store. What is damaged is removed, and made again when it is needed."""
    store = _kept(store_)
    sound, damaged = 0, [{"key": "?", "stage": "?", "files": ["manifest.json"]}] * store.sweep_wrecks()
    for entry in store.entries():
        bad = store.damaged(entry)
        if bad:
            damaged.append({"key": entry.key, "stage": entry.manifest["stage"], "files": bad})
            store.discard(entry.key)
        else:
            sound += 1
    if json_:
        _print_json({"sound": sound, "damaged": damaged})
        return
    for item in damaged:
        _console().print(f"removed {item['stage']} {item['key'][:12]}: {', '.join(item['files'])}", highlight=False, soft_wrap=True)
    _console().print(f"{sound} results are sound, {len(damaged)} were damaged", highlight=False)


@cache_app.command()
def gc(
    max_size: Annotated[
        str, typer.Option("--max-size", metavar="SIZE", help="Keep the newest used results up to this, such as 500MB or 10GB.")
    ] = "10GB",
    older_than: Annotated[
        str | None, typer.Option("--older-than", metavar="DAYS", help="Also remove results not used for this many days; 0 for all of them.")
    ] = None,
    store_: CacheUrl = None,
    json_: Json = False,
) -> None:
    """Remove results, the longest unused first. Of a shared store, the oldest go first."""
    from .display import size

    older_sec = None if older_than is None else _days(older_than) * 86400
    removed, freed = _kept(store_).collect(_bytes(max_size), older_than_sec=older_sec)
    if json_:
        _print_json({"removed": removed, "bytes": freed})
        return
    _console().print(f"removed {removed} results, {size(freed)}", highlight=False)


def _days(text: str) -> float:
    try:
        days = float(text)
    except ValueError:
        days = math.nan
    if not 0 <= days < math.inf:
        raise UsageError(f"--older-than {text}: expected a number of days, 0 or more")
    return days


def _bytes(text: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kMGT]?)i?B?", text.strip())
    count = float(match[1]) * 1000 ** " kMGT".index(match[2] or " ") if match else math.inf
    if math.isinf(count):
        raise UsageError(f"--max-size {text}: expected a size such as 500MB or 10GB")
    return int(count)


# data sets

DataFolder = Annotated[Path, typer.Argument(metavar="DIR", help="A folder of pictures, with class folders or without.", show_default=False)]


@data_app.command("check")
def check_data(
    folder: DataFolder,
    quarantine: Annotated[
        Path | None,
        typer.Option(
            "--quarantine",
            metavar="DIR",
            callback=_at_home,
            help="Move what no training should see there: corrupt, blank and repeated pictures.",
        ),
    ] = None,
    sheet: Annotated[
        Path | None,
        typer.Option("--sheet", metavar="FILE", callback=_at_home, help="Write a contact sheet of what is odd: PNG, JPEG or WebP."),
    ] = None,
    plugin: PluginFiles = None,
    json_: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False,
) -> None:
    """Say what a folder of pictures holds and what is odd in it. The exit code is 0 if anything can be trained on it, else 3."""
    from .doctor import NOT_TO_SEE, check_sheet, draw_sheet, examine
    from .plugins import Plugins
    from .quarantine import check_place, set_aside

    if sheet is not None:
        check_sheet(folder, sheet)
    if quarantine is not None:
        check_place(folder, quarantine)
    with _telling(folder.name, quiet=quiet or json_) as tell:
        plugins = Plugins(plugin or ())
        plugins.bring_formats()
        report = examine(folder, plugins.stages(), tell)
    if sheet is not None:
        draw_sheet(report, sheet)
    aside = [(one.file, f"{one.kind}: {one.reason}") for one in report.odd if one.kind in NOT_TO_SEE]
    moved = set_aside(folder, quarantine, aside) if quarantine is not None else 0
    if json_:
        _print_json(report.as_json() | {"moved": moved})
    elif not quiet:
        from .doctor_view import view

        console = _console(stderr=True)
        console.print(view(report))
        if moved:
            back = shlex.join(["genart", "data", "restore", str(quarantine), str(folder)])
            told = f"moved {moved} pictures to {quarantine}; they come back with: {back}"
            console.print(printable(told), highlight=False, markup=False, soft_wrap=True)
    if not report.fits:
        raise typer.Exit(DataError.exit_code)


@contextmanager
def _telling(name: str, *, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Yield what shows (done, total) pictures of one piece of work, from 0 on, and stops it at a signal."""
    from .events import Events
    from .run import Progress, Stop

    stop = Stop()
    with _display(live=True) if not quiet else nullcontext() as display, _signals(stop):
        events = Events(*([display] if display else []))
        progress = Progress(events, name)

        def tell(done: int, total: int) -> None:
            if stop.signal is not None:
                raise Interrupted(stop.signal, kept=False)
            if done == 0:
                events.emit("stage_started", stage=name, reason=f"{total:,} pictures", resumed_at=None)
            progress(done, total, "pictures")

        yield tell
        events.emit("stage_finished", stage=name, seconds=progress.seconds)


@data_app.command()
def download(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of a data set, such as FashionMNIST.", show_default=False)],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where its files go.", show_default=False)],
    json_: Json = False,
) -> None:
    """Fetch a public data set over the network. images.torchvision reads it."""
    from .nn import datasets

    if name not in datasets.SPLITS:
        raise UsageError(f"there is no data set '{name}'{did_you_mean(name, datasets.SPLITS)}", f"data sets: {', '.join(datasets.SPLITS)}")
    with _own_stdout(True):
        datasets.download(name, folder)
    if json_:
        _print_json({"name": name, "path": str(folder), "splits": list(datasets.SPLITS[name])})
    else:
        place = printable(str(folder))
        typer.echo(f'{name} is in {place}; in a recipe: uses = "images.torchvision", name = "{name}", path = "{place}"')


@data_app.command()
def restore(
    quarantine: Annotated[Path, typer.Argument(metavar="QUARANTINE", help="What data check --quarantine filled.", show_default=False)],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder that the pictures came from.", show_default=False)],
    json_: Json = False,
) -> None:
    """Move the pictures of a quarantine back to where they were."""
    from .quarantine import bring_back

    back, taken = bring_back(quarantine, folder)
    if json_:
        _print_json({"restored": back, "taken": taken})
        return
    typer.echo(f"{back} pictures are back in {printable(str(folder))}")
    for name in taken:
        typer.echo(f"stays, since its place is taken: {printable(name)}")


# printing


def _console(*, stderr: bool = False) -> Any:
    from rich.console import Console

    class Quiet(Console):
        def on_broken_pipe(self) -> None:
            raise Interrupted(SIGPIPE)

    stream = sys.stderr if stderr else sys.stdout
    return Quiet(stderr=stderr, width=None if stream.isatty() or "COLUMNS" in os.environ else WIDE)


def _plain(text: str) -> str:
    """A text of somebody else's among our own: without markup, and without anything that a terminal would obey."""
    from rich.markup import escape

    return escape(printable(text, "\n"))


def _print_json(value: Any) -> None:
    from .events import as_json

    sys.stdout.write(as_json(value) + "\n")


@contextmanager
def _observers(
    told: TextIO | None, quiet: bool, plugins: Plugins, tensorboard: Path | None = None, *, live: bool = True, terse: bool = False
) -> Iterator[Events]:
    """Yield the events of a run with everyone who wants to hear them: as JSON in `told`, if there is such a file, or else people.

    Of programs in one pipe only the first may be `live`.
    """
    from functools import partial

    from .events import Events, write_json_line

    observers: list[Callable[[dict[str, Any]], None]] = [_PluginObservers(plugins)]
    if tensorboard is not None:
        from .tensorboard import TensorBoard

        observers.append(TensorBoard(tensorboard))
    if told is not None:
        observers.append(partial(write_json_line, file=told))
    if quiet or told is not None:
        yield Events(*observers)
        return
    with _display(live=live, terse=terse) as display:
        yield Events(*observers, display)


def _display(*, live: bool, terse: bool = False) -> Display:
    """What people see on standard error."""
    from .display import LiveDisplay, PlainDisplay, TerseDisplay

    if live and sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and "NO_COLOR" not in os.environ:
        return LiveDisplay(sys.stderr)
    return TerseDisplay(sys.stderr) if terse else PlainDisplay(sys.stderr)


class _PluginObservers:
    """Hands events to the `genart_event` hooks of loaded plugins; one that raises is told once and then left out."""

    def __init__(self, plugins: Plugins) -> None:
        self.plugins = plugins
        self.failed: set[str] = set()
        for broken in plugins.listen():
            _say_error(
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
                _say_error(f"plugin '{hook.plugin_name}': its observer failed and is switched off: {type(error).__name__}: {error}", None)


def _say_error(message: str, hint: str | None) -> None:
    """Print an error in at most three lines, without anything a terminal would obey."""
    lines = [f"genart: {message}", *([f"  {hint}"] if hint else [])]
    clean = [printable(line)[:1000] for line in lines]
    with suppress(OSError):  # a full disk, say: the exit code still tells
        sys.stderr.write("\n".join(clean) + "\n")


# signals and the door


@contextmanager
def _signals(stop: Stop) -> Iterator[None]:
    """First signal: stop at the next safe place. Second: stop now."""

    def handle(number: int, frame: Any) -> None:
        if stop.signal is not None:
            raise KeyboardInterrupt
        stop.signal = number

    before = {number: signal.signal(number, handle) for number in _heeded()}
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(stop.signal or signal.SIGINT) from None
    finally:
        if stop.signal is not None:
            _end_in_peace()
        else:
            for number, handler in before.items():
                signal.signal(number, handler)


def _heeded() -> list[signal.Signals]:
    """Signals that ask a run to stop, but for those that whoever started it wants ignored."""
    wanted = [signal.SIGINT, signal.SIGTERM] + ([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])
    return [number for number in wanted if signal.getsignal(number) is not signal.SIG_IGN]


def _end_in_peace() -> None:
    """Heed no further signals: the process is about to end, and only has to say why."""
    for number in _heeded():
        signal.signal(number, signal.SIG_IGN)


ALL = "*"


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
    _say_error(message, hint)
    return error.exit_code
