"""Beginnings: the files of a plugin, or a recipe, that work as they are and are there to be changed."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from string import Template

from . import __version__
from .artifacts import write_atomically
from .errors import UsageError
from .hookspecs import PLUGIN_API
from .recipe import is_name

TEMPLATES = Path(__file__).parent / "templates"
PLUGIN_NAME = re.compile(r"[a-z][a-z0-9_]*")


def new_plugin(name: str, taken: set[str], where: Path) -> Path:
    """Write a distribution `genart-NAME` with one stage, its test and its README.

    Args:
        name: the family of its stages: lower case letters, digits and underscores.
        taken: families that are installed.
        where: folder in which the distribution's folder is made.

    Returns:
        The distribution's folder.

    Raises:
        UsageError: a name that cannot be used, or something is there already.
    """
    name = name.removeprefix("genart-").replace("-", "_")
    if not PLUGIN_NAME.fullmatch(name):
        raise UsageError(f"'{name}' cannot be a plugin's name", "it begins with a letter and has small letters, digits and underscores")
    if name in taken:
        raise UsageError(f"a plugin '{name}' is installed already", "choose another name; `genart plugins` lists them")
    dist = name.replace("_", "-")
    root = where / f"genart-{dist}"
    _nothing_at(root)
    texts = {"name": name, "dist": dist, "genart": __version__, "api": PLUGIN_API}
    package = f"genart_{name}"
    files = {
        "pyproject.toml": "pyproject.toml",
        "README.md": "README.md",
        f"{package}/__init__.py": "__init__.py",
        f"{package}/work.py": "work.py",
        f"tests/test_{name}.py": "test.py",
    }
    root.mkdir(parents=True)
    try:
        for file, template in files.items():
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            (root / file).write_text(filled(f"plugin/{template}", **texts), encoding="utf-8")
    except BaseException:
        shutil.rmtree(root, ignore_errors=True)
        raise
    return root


def new_recipe(name: str, where: Path) -> Path:
    """Write a recipe to begin with, and return its path.

    Raises:
        UsageError: a name that cannot be used, or something is there already.
    """
    name = name.removesuffix(".toml")
    if not is_name(name):
        raise UsageError(f"'{name}' cannot be a recipe's name", "use letters, digits, spaces, '.', '_' and '-'")
    path = where / f"{name}.toml"
    _nothing_at(path)
    where.mkdir(parents=True, exist_ok=True)
    write_atomically(path.absolute(), filled("recipe.toml", name=name, file=shlex.quote(path.name)).encode())
    return path


def _nothing_at(path: Path) -> None:
    if path.exists() or path.is_symlink():
        raise UsageError(f"{path} is there already", "choose another name, or another place with --dir")


def filled(template: str, **texts: object) -> str:
    """A template with its places filled in."""
    return Template((TEMPLATES / f"{template}.txt").read_text(encoding="utf-8")).substitute(texts)
