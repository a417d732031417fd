"""From nothing to a plugin of one's own that runs: the lines to write, the commands to give, and the seconds they take.

    python bench/first_plugin.py [--source .] [--keep FOLDER]

In a fresh environment: install genart, write one file, run a recipe with it. The file is the source of docs/plugins.md, as it stands
there; the recipe has it draw, and save. Exits with 1 if it takes more than 25 lines of the author's own, or more than 3 commands. The
environment takes some gigabytes while it is there, nearly all of them torch.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
MOST_LINES, MOST_COMMANDS = 25, 3
RECIPE = '[recipe]\nname = "first"\n\n[[stage]]\nuses = "rings.draw"\nsave = "rings"\n'


def plugin() -> str:
    """The source on the page for authors."""
    page = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
    found = re.search(r'^```python title="rings\.py"\n(.*?)^```$', page, re.MULTILINE | re.DOTALL)
    if found is None:
        raise SystemExit("docs/plugins.md no longer has rings.py")
    return found[1]


def own_lines(text: str) -> int:
    """Lines that are not empty."""
    return sum(bool(line.strip()) for line in text.splitlines())


def try_out(source: Path, folder: Path) -> list[tuple[str, float]]:
    """Give the commands in a folder, and return them with the seconds that each took."""
    (folder / "rings.py").write_text(plugin(), encoding="utf-8")
    (folder / "first.toml").write_text(RECIPE, encoding="utf-8")
    python = sys.executable if sys.prefix == sys.base_prefix else str(Path(sys.base_prefix) / "bin" / "python3")
    commands = [
        f"{python} -m venv .venv",
        f".venv/bin/pip install -q {source}",
        ".venv/bin/genart run first.toml -p rings.py",
    ]
    # a home of its own: neither a store that has the result already, nor the environment of the one who measures
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV", "PYTHONHOME")}
    environment |= {"XDG_CACHE_HOME": str(folder / "cache")}
    taken = []
    for command in commands:
        began = time.perf_counter()
        subprocess.run(command, shell=True, cwd=folder, env=environment, check=True)
        taken.append((command, time.perf_counter() - began))
    made = sorted((folder / "out" / "first" / "rings").glob("*.png"))
    if len(made) != 4:
        raise SystemExit(f"the plugin drew {len(made)} pictures, not 4")
    return taken


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, default=ROOT, help="what pip installs: a source tree, a wheel")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="work in this empty folder, and leave all there")
    options = parser.parse_args()
    if options.keep:
        options.keep.mkdir(parents=True)
        taken = try_out(options.source.absolute(), options.keep)
    else:
        with tempfile.TemporaryDirectory() as folder:
            taken = try_out(options.source.absolute(), Path(folder))
    print(f"\n{'command':70}{'s':>8}")
    for command, seconds in taken:
        shown = command.replace(str(options.source.absolute()), "SOURCE")
        print(f"{shown:70}{seconds:8.1f}")
    lines = own_lines(plugin())
    print(f"{'from nothing to a running plugin':70}{sum(seconds for _, seconds in taken):8.1f}")
    print(f"{lines} lines of the author's own and {len(taken)} commands; a recipe of {own_lines(RECIPE)} lines to run it")
    return 0 if lines <= MOST_LINES and len(taken) <= MOST_COMMANDS else 1


if __name__ == "__main__":
    sys.exit(main())
