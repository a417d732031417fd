"""Commands that begin a plugin or a recipe."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from .app import at_home, new_app

Where = Annotated[Path, typer.Option("--dir", metavar="DIR", callback=at_home, help="Where to put it.")]


@new_app.command("plugin")
def begin_plugin(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The family of its stages, such as sepia.", show_default=False)],
    where: Where = Path(),
) -> None:
    """Write a plugin with one stage, its test and its README."""
    from genart.new import new_plugin
    from genart.plugins import Plugins

    root = new_plugin(name, set(Plugins().plugins), where)
    typer.echo(f"{root}\n  pip install -e '{root}[test]' && pytest {root}")


@new_app.command("recipe")
def begin_recipe(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the recipe and of its file.", show_default=False)],
    where: Where = Path(),
) -> None:
    """Write a recipe: pictures, a training, a walk, a film."""
    from genart.new import new_recipe

    path = new_recipe(name, where)
    typer.echo(f"{path}\n  {shlex.join(['genart', 'run', str(path)])}")
