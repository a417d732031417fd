"""Commands for files: show and remake what genart saved, convert what others did."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from genart.errors import printable

from .app import Json, PluginFiles, app, at_home
from .printing import console_of, observers, own_stdout, print_json
from .signals import heeding

SavedFile = Annotated[Path, typer.Argument(metavar="FILE", help="A picture, film or model that genart saved.", show_default=False)]


@app.command()
def show(file: SavedFile, plugin: PluginFiles = None, json_: Json = False) -> None:
    """Say what made a file: recipe, stages, seeds, versions, hashes."""
    from genart.plugins import Plugins
    from genart.provenance import read

    plugins = Plugins(plugin or ())
    told, plain = read(file, plugins)
    if json_:
        print_json({"path": str(file), "provenance": plain})
        return
    from genart.show import view

    console_of().print(view(file.name, told, plugins))


@app.command()
def remake(
    file: SavedFile,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", metavar="PATH", callback=at_home, help="Where to save what was made again; without it the result is only described."
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
    from genart.events import write_json_line
    from genart.plugins import Plugins
    from genart.remake import DIFFERENT, Remake
    from genart.run import Stop
    from genart.store import Store

    plugins, stop = Plugins(plugin or ()), Stop()
    with own_stdout(json_) as own, observers(own if json_ else None, quiet, plugins) as events, heeding(stop):
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
        Path, typer.Option("-o", metavar="NAME.safetensors", callback=at_home, help="Where the tensors go.", show_default=False)
    ],
    sha256: Annotated[
        str | None, typer.Option("--sha256", metavar="HEX", help="Refuse the file unless this is its hash, or begins it.")
    ] = None,
    json_: Json = False,
) -> None:
    """Take the tensors out of weights that are a pickle. Nothing in it is run."""
    from dataclasses import asdict

    from genart.convert import convert as converted
    from genart.display import size
    from genart.store import Store

    done = converted(file, output, Store.of_user(), sha256)
    if json_:
        print_json({**asdict(done), "path": str(done.path)})
        return
    left_out = f"; {done.left_out} other values were left out" if done.left_out else ""
    typer.echo(
        printable(f"{done.path}: {done.tensors} tensors, {size(done.bytes)}{left_out}\n  SHA-256 of {file.name}: {done.sha256}", keep="\n")
    )
