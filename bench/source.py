"""How the code is written, in numbers, beside eight code bases that people learn from.

    python bench/source.py [FOLDER ...]

Prints a Markdown table of genart's core, `genart/nn`, the plugins and all of them; or of other packages, each a folder.

- function length: from the `def` to its last line, docstring included, of every function, methods and nested ones too;
- import depth: the longest chain of the code's own modules through imports that are executed when a module is (not those for type
  checkers), a package's `__init__` counted; with cycles a lower bound;
- comments and docstring lines: per 100 lines that are not blank;
- documented: functions with a public name that have a docstring; annotated: arguments but `self` and `cls`.

It is not named code.py: the standard library's debugger imports a module of that name.
"""

from __future__ import annotations

import argparse
import ast
import io
import statistics
import tokenize
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).resolve().parent.parent

#: Measured in the same way at the commits f3f4f29c, 8dad3ec6, e382e727, 3adf61e1, e7e2c713, c233a919, b4f5a78a and ae1b9f66.
OTHERS = """
| | llm | vpype | pluggy | nanoGPT | style-transfer-pytorch | stylegan3 | kornia | httpx |
|---|---|---|---|---|---|---|---|---|
| modules | 19 | 34 | 8 | 5 | 5 | 37 | 500 | 23 |
| lines | 16,089 | 8,787 | 1,736 | 919 | 1,008 | 7,983 | 111,458 | 8,827 |
| median module | 182 | 204 | 88 | 117 | 148 | 188 | 146 | 248 |
| longest module | 4,306 | 1,022 | 749 | 336 | 499 | 794 | 2,271 | 2,019 |
| functions | 541 | 315 | 93 | 21 | 76 | 335 | 3,338 | 446 |
| median / p90 length | 11 / 58 | 12 / 47 | 8 / 32 | 12 / 28 | 5 / 18 | 10 / 45 | 15 / 50 | 9 / 34 |
| longest function | 463 | 189 | 93 | 55 | 151 | 336 | 258 | 133 |
| import depth | 6 | 11 | 5 | 2 | 4 | 8 | 34 | 10 |
| modules in cycles | 2 | 0 | 2 | 0 | 3 | 0 | 216 | 0 |
| comments / 100 | 5.7 | 3.5 | 9.0 | 28.2 | 1.9 | 20.9 | 13.8 | 6.0 |
| docstring lines / 100 | 9.5 | 34.5 | 24.4 | 7.1 | 2.2 | 10.7 | 41.6 | 20.6 |
| documented | 51 % | 78 % | 72 % | 20 % | 7 % | 20 % | 84 % | 48 % |
| annotated | 42 % | 87 % | 100 % | 0 % | 11 % | 9 % | 98 % | 100 % |
| torch at module level | – | – | – | 4 of 5 | 4 of 5 | 26 of 37 | 399 of 500 | – |
| test files | 31 | 24 | 11 | 0 | 0 | 0 | 270 | 37 |
| test lines | 18,706 | 4,401 | 3,256 | 0 | 0 | 0 | 65,715 | 8,923 |
"""

T = TypeVar("T")
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """A source file.

    Attributes:
        name: as it is imported.
        text: all of it.
    """

    name: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """Its syntax."""
        return ast.parse(self.text)

    @property
    def lines(self) -> int:
        """All lines."""
        return len(self.text.splitlines())

    @property
    def written_lines(self) -> int:
        """Lines that are not blank."""
        return sum(bool(line.strip()) for line in self.text.splitlines())

    @property
    def functions(self) -> list[Function]:
        """Every function in it."""
        return [node for node in ast.walk(self.tree) if isinstance(node, Function)]

    @property
    def comments(self) -> int:
        """Comments, one for each line that has any."""
        tokens = tokenize.generate_tokens(io.StringIO(self.text).readline)
        return sum(token.type == tokenize.COMMENT for token in tokens)

    @property
    def docstring_lines(self) -> int:
        """Lines of docstrings."""
        owners = [
            node for node in ast.walk(self.tree) if isinstance(node, Function | ast.ClassDef | ast.Module) and ast.get_docstring(node)
        ]
        return sum(_length(owner.body[0]) for owner in owners)

    def imports(self, is_package: bool) -> Iterator[str]:
        """Names of what it imports while it is imported itself; a name taken from a module counts as that module and as one in it."""
        package = self.name if is_package else self.name.rpartition(".")[0]
        for node in _executed(self.tree.body):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
                source = ".".join([*above, *([node.module] if node.module else [])])
                yield source
                yield from (f"{source}.{alias.name}" for alias in node.names)


def _length(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def _executed(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements that run with the body they stand in, those of its branches too, but not what only type checkers read."""
    for node in body:
        yield node
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            yield from _executed(node.orelse)
        elif isinstance(node, ast.If | ast.Try | ast.With):
            parts = [node.body, getattr(node, "orelse", []), getattr(node, "finalbody", [])]
            parts += [handler.body for handler in getattr(node, "handlers", [])]
            yield from (one for part in parts for one in _executed(part))


def modules_of(folder: Path) -> dict[str, Module]:
    """The modules of a package, by name."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = Module(name, path.read_text(encoding="utf-8"))
    return found


def graph_of(modules: Mapping[str, Module]) -> dict[str, set[str]]:
    """Which modules each imports, of these."""
    packages = {name.rpartition(".")[0] for name in modules}
    return {
        name: {other for other in module.imports(name in packages) if other in modules and other != name}
        for name, module in modules.items()
    }


def depth(graph: Mapping[str, set[str]]) -> int:
    """Modules in the longest chain; a chain ends where it meets itself."""
    known: dict[str, int] = {}

    def below(name: str, above: frozenset[str]) -> int:
        if name not in known:
            known[name] = 1 + max((below(other, above | {name}) for other in graph[name] - above), default=0)
        return known[name]

    return max((below(name, frozenset({name})) for name in graph), default=0)


def in_cycles(graph: Mapping[str, set[str]]) -> int:
    """Modules that lead back to themselves."""

    def reached(name: str) -> set[str]:
        seen: set[str] = set()
        todo = list(graph[name])
        while todo:
            if (one := todo.pop()) not in seen:
                seen.add(one)
                todo += graph[one]
        return seen

    return sum(name in reached(name) for name in graph)


def measures(modules: Mapping[str, Module]) -> dict[str, str]:
    """All rows of a column but those of the tests."""
    every = list(modules.values())
    functions = [function for module in every for function in module.functions]
    lengths = [_length(function) for function in functions]
    public = [function for function in functions if not function.name.startswith("_")]
    arguments = [one for function in functions for one in _arguments(function)]
    written = sum(module.written_lines for module in every)
    graph = graph_of(modules)
    torch = sum(any(name.partition(".")[0] == "torch" for name in module.imports(is_package=False)) for module in every)
    return {
        "modules": f"{len(every)}",
        "lines": f"{sum(module.lines for module in every):,}",
        "median module": f"{statistics.median(module.lines for module in every):.0f}",
        "longest module": f"{max(module.lines for module in every):,}",
        "functions": f"{len(functions):,}",
        "median / p90 length": f"{statistics.median(lengths):.0f} / {statistics.quantiles(lengths, n=10)[-1]:.0f}",
        "longest function": f"{max(lengths)}",
        "import depth": f"{depth(graph)}",
        "modules in cycles": f"{in_cycles(graph)}",
        "comments / 100": f"{100 * sum(module.comments for module in every) / written:.1f}",
        "docstring lines / 100": f"{100 * sum(module.docstring_lines for module in every) / written:.1f}",
        "documented": _share(public, lambda function: ast.get_docstring(function) is not None),
        "annotated": _share(arguments, lambda argument: argument.annotation is not None),
        "torch at module level": f"{torch} of {len(every)}",
    }


def _arguments(function: Function) -> list[ast.arg]:
    told = function.args
    every = [*told.posonlyargs, *told.args, *told.kwonlyargs, *(one for one in (told.vararg, told.kwarg) if one)]
    return [one for one in every if one.arg not in ("self", "cls")]


def _share(items: Sequence[T], holds: Callable[[T], bool]) -> str:
    return f"{sum(map(holds, items)) / len(items):.0%}".replace("%", " %") if items else "–"


def table(columns: Mapping[str, Mapping[str, str]]) -> str:
    """Columns side by side, in Markdown."""
    rows = {row: None for column in columns.values() for row in column}
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (1 + len(columns)) + "|"]
    lines += [f"| {row} | " + " | ".join(column.get(row, "–") for column in columns.values()) + " |" for row in rows]
    return "\n".join(lines)


def parsed(markdown: str) -> dict[str, dict[str, str]]:
    """The columns of a Markdown table."""
    (_, *names), _, *rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in markdown.strip().splitlines())
    return {name: {row[0]: row[1 + i] for row in rows} for i, name in enumerate(names)}


def own() -> dict[str, dict[str, str]]:
    """The columns of genart."""
    everything = modules_of(ROOT / "genart")
    nn = {name: module for name, module in everything.items() if f"{name}.".startswith("genart.nn.")}
    core = {name: module for name, module in everything.items() if name not in nn}
    plugins = {name: module for folder in sorted((ROOT / "plugins").glob("genart_*")) for name, module in modules_of(folder).items()}
    columns = {"core": core, "genart.nn": nn, "plugins": plugins, "genart": everything | plugins}
    measured = {name: measures(modules) for name, modules in columns.items()}
    tests = [len(path.read_text(encoding="utf-8").splitlines()) for path in (ROOT / "tests").rglob("*.py")]
    measured["genart"] |= {"test files": f"{len(tests)}", "test lines": f"{sum(tests):,}"}
    return measured


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="*", type=Path, help="a package to measure instead")
    options = parser.parse_args()
    columns = {str(folder): measures(modules_of(folder.resolve())) for folder in options.folder} or own()
    print(table(columns | parsed(OTHERS)))


if __name__ == "__main__":
    main()
