"""Commands for recipes: run, report, plan, check."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genart.errors import GenartError, UsageError

from .app import (
    ALL,
    Budget,
    Device,
    Force,
    Json,
    PluginFiles,
    RecipePath,
    Seed,
    Sets,
    StoreUrl,
    Until,
    app,
    at_home,
)
from .printing import console_of, observers, own_stdout, plain, print_json, say_error
from .signals import heeding

if TYPE_CHECKING:
    from genart.events import Events
    from genart.forecast import Estimate, Forecast
    from genart.launch import Launch
    from genart.nn.team import Team
    from genart.plan import Planner, Step
    from genart.runner import Executor, Runner
    from genart.store import Store


#: Workers that a forecast is made for, at most.
MOST_WORKERS = 100_000


@app.command()
def run(
    recipe: RecipePath,
    set_: Sets = None,
    seed: Seed = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", readable=False, callback=at_home, help="Output folder.  [default: out/<recipe name>]"),
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
        typer.Option("--tensorboard", metavar="DIR", callback=at_home, help="Write the numbers of trainings as TensorBoard event files."),
    ] = None,
) -> None:
    """Run a recipe: make what is missing, save what is to be saved."""
    from genart.events import Events
    from genart.launch import check_launch, launched
    from genart.plan import safe_name
    from genart.run import Stop
    from genart.runner import Runner

    stop, launch = Stop(), launched()
    check_launch(launch, on, data_parallel)
    address = _checked_address(on, data_parallel) if on is not None else None
    with own_stdout(json_) as own:
        planner, steps = plan_of(recipe, set_, seed, budget, device, until, force, plugin, store, address)
        executor = executor_on(planner, address, recipe, set_, seed, budget, plugin, data_parallel) if on is not None else None
        if out is None:
            out = Path("out") / safe_name(planner.recipe.name)
        if launch is not None and launch.rank > 0:
            _follow(Runner(planner, steps, out, Events(), stop), launch)
            return
        with (
            observers(own if json_ else None, quiet, planner.plugins, tensorboard) as events,
            heeding(stop),
            _joined(launch, planner.device) if launch is not None else nullcontext() as team,
        ):
            runner = Runner(planner, steps, out, events, stop, executor)
            runner.team = team
            runner.run()
            if planner.recipe.report:
                _write_report(out, planner.store, events)


def _joined(launch: Launch, device: str) -> AbstractContextManager[Team]:
    from genart.follow import joined

    return joined(launch, device)


def _follow(runner: Runner, launch: Launch) -> None:
    """Take part in the trainings of the first of several processes."""
    from genart.follow import deaf, follow, joined

    with deaf(), joined(launch, runner.planner.device) as team:
        follow(runner, team)


def _checked_address(on: str, data_parallel: int | None) -> str | None:
    from genart.on_ray import check_address, check_train

    address = check_address(on)
    if data_parallel is not None and data_parallel > 1:
        check_train()
    return address


def executor_on(
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
    from genart.on_ray import RayPool
    from genart.recipe import seconds_of
    from genart.spread import Spread
    from genart.tasks import Order

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
    from genart.report import is_stale, write_report

    if is_stale(out):
        path = write_report(out, store)
        events.emit("report", path=str(path), bytes=path.stat().st_size)


@app.command()
def report(
    run: Annotated[str, typer.Argument(metavar="RUN", help="An output folder, or the name of its recipe.", show_default=False)],
    json_: Json = False,
) -> None:
    """Write a page about a run: report.html in its output folder."""
    from genart.display import size
    from genart.remote import store_for
    from genart.report import folder_of, write_report

    path = write_report(folder_of(run), store_for(None))
    if json_:
        print_json({"path": str(path), "bytes": path.stat().st_size})
    else:
        console_of().print(f"{plain(str(path))}: {size(path.stat().st_size)}", highlight=False, soft_wrap=True)


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
    from genart.forecast import Past, forecast, told

    if price is not None and workers is None:
        raise UsageError("--price needs to know how many workers there are", "--workers N")
    planner, steps = plan_of(recipe, set_, seed, budget, device, until, force, plugin, store)
    estimates = Past(planner.store).estimates(steps)
    rows = [_plan_row(step, estimates) for step in steps.values()]
    found = forecast(planner, steps, estimates, workers, price) if workers is not None else None
    if json_:
        more = {} if found is None else {"forecast": told(found)}
        print_json({"recipe": planner.recipe.name, "device": planner.device, "stages": rows, **more})
        return
    _print_plan(rows, why=why)
    if found is not None and any(row["status"] == "run" for row in rows):
        _print_forecast(found)


def _print_plan(rows: list[dict[str, Any]], *, why: bool) -> None:
    from rich.table import Table

    from genart.display import duration

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("stage", "uses", "", "time", *(["why"] if why else [])):
        table.add_column(column)
    for row in rows:
        about = {"cached": "[green]cached[/]", "run": "[yellow]run[/]"}[row["status"]]
        seconds = row["seconds"]
        time = "" if seconds is None else ("" if row["status"] == "cached" else "~") + duration(seconds)
        table.add_row(row["id"], row["uses"], about, time, *([plain("; ".join(row["why"]))] if why else []))
    console_of().print(table)
    waiting = [row for row in rows if row["status"] == "run"]
    if not waiting:
        console_of().print("everything is cached")
        return
    known = [row["seconds"] for row in waiting if row["seconds"] is not None]
    unknown = len(waiting) - len(known)
    tail = f", {unknown} without an estimate" if unknown else ""
    about = f"about {duration(sum(known))}{tail}" if known else "times are known after a first run"
    console_of().print(f"{len(waiting)} of {len(rows)} stages would run: {about}")


def _print_forecast(found: Forecast) -> None:
    from genart.display import duration

    paid = "" if found.cost is None else f", {found.cost:.2f} at {found.price:g} an hour"
    workers = f"{found.workers} worker{'s' * (found.workers > 1)}"
    console_of().print(f"on {workers}: about {duration(found.seconds)}, {found.worker_hours:.2f} worker-hours{paid}")
    if found.unknown:
        console_of().print(plain(f"not in these figures, since they never ran: {', '.join(found.unknown)}"))


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


def plan_of(
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
    from genart.plan import Planner, device_kind
    from genart.plugins import Plugins
    from genart.recipe import load, seconds_of
    from genart.remote import store_for

    plugins = Plugins(files or ())
    loaded = load(recipe, plugins, overrides=sets or (), seed=seed, budget_sec=seconds_of(budget) if budget else None)
    if until is not None:
        loaded = loaded.until(until)
    store = store_for(url)
    if address is not None and device in ("auto", "cuda"):
        from genart.on_ray import device_on

        kind = device_on(address, device)
    else:
        kind = device_kind(device, store.root)
    planner = Planner(loaded, plugins, store, kind)
    force = force or []
    return planner, planner.steps([name for name in force if name != ALL], force_all=ALL in force)


@app.command()
def check(
    recipes: Annotated[list[Path], typer.Argument(metavar="RECIPE", help="Recipes to validate.", show_default=False)],
    plugin: PluginFiles = None,
    json_: Json = False,
) -> None:
    """Validate recipes, each of them; compute nothing. The exit code is that of the first that is wrong."""
    from genart.plugins import Plugins
    from genart.recipe import load

    plugins = Plugins(plugin or ())
    rows: list[dict[str, Any]] = []
    for path in recipes:
        try:
            item = load(path, plugins)
        except GenartError as error:
            rows.append({"path": str(path), "valid": False, "message": error.message, "hint": error.hint, "exit_code": error.exit_code})
            say_error(error.message, error.hint)
            continue
        count = len(item.nodes)
        rows.append({"path": str(path), "name": item.name, "stages": count, "valid": True})
        if not json_:
            console_of().print(f"{plain(str(path))}: fine, {count} stage{'s' * (count != 1)}", highlight=False, soft_wrap=True)
    if json_:
        print_json(rows)
    codes = [row["exit_code"] for row in rows if not row["valid"]]
    if codes:
        raise typer.Exit(codes[0])
