"""Commands for folders of pictures to train on."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated

import typer

from genart.errors import DataError, Interrupted, UsageError, did_you_mean, printable

from .app import Json, PluginFiles, at_home, data_app
from .printing import console_of, display_of, own_stdout, print_json
from .signals import heeding

DataFolder = Annotated[Path, typer.Argument(metavar="DIR", help="A folder of pictures, with class folders or without.", show_default=False)]


@data_app.command("check")
def check_data(
    folder: DataFolder,
    quarantine: Annotated[
        Path | None,
        typer.Option(
            "--quarantine",
            metavar="DIR",
            callback=at_home,
            help="Move what no training should see there: corrupt, blank and repeated pictures.",
        ),
    ] = None,
    sheet: Annotated[
        Path | None,
        typer.Option("--sheet", metavar="FILE", callback=at_home, help="Write a contact sheet of what is odd: PNG, JPEG or WebP."),
    ] = None,
    plugin: PluginFiles = None,
    json_: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False,
) -> None:
    """Say what a folder of pictures holds and what is odd in it. The exit code is 0 if anything can be trained on it, else 3."""
    from genart.doctor import NOT_TO_SEE, check_sheet, draw_sheet, examine
    from genart.plugins import Plugins
    from genart.quarantine import check_place, set_aside

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
        print_json(report.as_json() | {"moved": moved})
    elif not quiet:
        from genart.doctor_view import view

        console = console_of(stderr=True)
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
    from genart.events import Events
    from genart.run import Progress, Stop

    stop = Stop()
    with display_of(live=True) if not quiet else nullcontext() as display, heeding(stop):
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
    from genart.nn import datasets

    if name not in datasets.SPLITS:
        raise UsageError(f"there is no data set '{name}'{did_you_mean(name, datasets.SPLITS)}", f"data sets: {', '.join(datasets.SPLITS)}")
    with own_stdout(True):
        datasets.download(name, folder)
    if json_:
        print_json({"name": name, "path": str(folder), "splits": list(datasets.SPLITS[name])})
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
    from genart.quarantine import bring_back

    back, taken = bring_back(quarantine, folder)
    if json_:
        print_json({"restored": back, "taken": taken})
        return
    typer.echo(f"{back} pictures are back in {printable(str(folder))}")
    for name in taken:
        typer.echo(f"stays, since its place is taken: {printable(name)}")
