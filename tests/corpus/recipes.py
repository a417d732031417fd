"""Recipes: 150 files of TOML, or of something else."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path

from .case import Case, Expected

HEAD = '[recipe]\nname = "x"\nseed = 1\n'
NOISE = '[[stage]]\nuses = "toy.noise"\nid = "noise"\n'
INVERT = '[[stage]]\nuses = "toy.invert"\n'
GOOD = HEAD + NOISE
MEBI = 1 << 20

Found = Iterator[tuple[str, Expected, str | bytes | Callable[[Path], None]]]


def cases() -> Iterator[Case]:
    """All of them."""
    groups = (_deep(), _sizes(), _encodings(), _twice(), _numbers(), _types(), _keys(), _graphs(), _paths())
    for number, (name, expected, content) in enumerate(itertools.chain.from_iterable(groups)):
        data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
        yield Case("TOML", name, f"r{number:03d}.toml", expected, data, "check")


def _deep() -> Found:
    for count in (100, 5_000, 200_000):
        yield f"{count:,} lists in lists", "usage", GOOD + "x = " + "[" * count + "]" * count
        yield f"{count:,} tables in tables", "usage", GOOD + "x = " + "{a = " * count + "1" + "}" * count
        yield f"{count:,} lists that are not closed", "usage", GOOD + "x = " + "[" * count
    for count in (100, 8_000, 100_000):
        yield f"{count:,} parts of a key", "usage", GOOD + ".".join("a" * count) + " = 1"


def _sizes() -> Found:
    def filled(size: int) -> str:
        return GOOD + "#" * (size - len(GOOD) - 1) + "\n"

    def hollow(path: Path) -> None:
        with open(path, "wb") as file:
            file.truncate(1 << 30)

    yield "a byte less than a mebibyte", "ok", filled(MEBI - 1)
    yield "a mebibyte", "ok", filled(MEBI)
    yield "a byte more than a mebibyte", "usage", filled(MEBI + 1)
    yield "a gibibyte of nothing", "usage", hollow


def _encodings() -> Found:
    yield "a mark of the order of bytes", "ok", b"\xef\xbb\xbf" + GOOD.encode()
    yield "UTF-16", "usage", GOOD.encode("utf-16")
    yield "UTF-32", "usage", GOOD.encode("utf-32")
    yield "Latin-1", "usage", (GOOD + "# \xe9").encode("latin-1")
    yield "NUL", "usage", GOOD + "# \0"
    yield "NUL in a text", "usage", GOOD + 'x = "\0"'
    yield "a surrogate", "usage", GOOD + "# \ud800"
    yield "an escaped surrogate", "usage", GOOD + r'x = "\ud800"'
    yield "a byte of UTF-8 too few", "usage", GOOD.encode() + b"# \xe2\x82"
    yield "UTF-8 longer than it must be", "usage", GOOD.encode() + b"# \xc0\xaf"
    yield "ends of lines of another system", "ok", GOOD.replace("\n", "\r\n")
    yield "ends of lines of an old system", "usage", GOOD.replace("\n", "\r")
    yield "ESC", "usage", GOOD + 'x = "\x1b[2J"'
    yield "a sign that turns the direction", "usage", GOOD + 'x = "\u202e"'


def _twice() -> Found:
    yield "a key", "usage", HEAD + "seed = 2\n" + NOISE
    yield "a key, quoted once", "usage", HEAD + '"seed" = 2\n' + NOISE
    yield "the table of the recipe", "usage", HEAD + "[recipe]\n" + NOISE
    yield "a list as a table", "usage", HEAD + "[[recipe]]\n" + NOISE
    yield "a table as a list", "usage", HEAD + "[stage]\n" + NOISE
    yield "a key as a table", "usage", HEAD + '[recipe.name]\nx = "y"\n' + NOISE
    yield "a key in a key", "usage", HEAD + "name.x = 1\n" + NOISE
    yield "stages in one line and in many", "usage", "stage = []\n" + GOOD
    yield "a table that is written inside", "usage", 'recipe = {name = "x"}\nrecipe.seed = 1\n' + NOISE
    yield "a parameter of a stage", "usage", GOOD + "count = 1\ncount = 2\n"
    yield "an id", "usage", GOOD + NOISE
    yield "a save", "usage", GOOD + 'save = "a"\n' + INVERT + 'save = "a"\n'
    yield "a save that differs by a stroke", "usage", GOOD + 'save = "a"\n' + INVERT + 'save = "a/"\n'
    yield "a save below a save", "usage", GOOD + 'save = "a"\n' + INVERT + 'save = "a/b"\n'
    yield "a sweep", "usage", GOOD + '[sweep]\n"noise.count" = [1, 2]\n[sweep]\n"noise.size" = [1, 2]\n'
    yield "what is swept", "usage", GOOD + '[sweep]\n"noise.count" = [1, 2]\nnoise.count = [3]\nnoise.count = [4]\n'
    yield "a table in dots and brackets", "usage", GOOD + "[stage.x]\na = 1\n[stage.x]\na = 2\n"
    yield "a list of two kinds", "usage", GOOD + 'count = [1, "a"]\n'
    yield "a line of only a key", "usage", GOOD + "count\n"
    yield "a key of nothing", "usage", GOOD + "= 1\n"


def _numbers() -> Found:
    for value in ("inf", "-inf", "nan", "1e999", "-1e999", "1" * 5000, "-1", "1.5", "0x", "1__0", "01", "+", "1979-05-27T07:32:00Z"):
        yield f"count = {value[:24]}", "usage", GOOD + f"count = {value}\n"
    for value in ("0x10", "1_0", "+3", "-0"):
        yield f"count = {value}", "ok", GOOD + f"count = {value}\n"
    yield "a seed beyond 64 bits", "ok", GOOD.replace("seed = 1", "seed = 99999999999999999999999")
    yield "a negative seed", "ok", GOOD.replace("seed = 1", "seed = -5")
    yield "a seed with a point", "usage", GOOD.replace("seed = 1", "seed = 1.0")


def _types() -> Found:
    values = {"integer": "1", "number": "1.5", "truth": "true", "list": "[]", "table": "{}", "date": "1979-05-27"}
    for field in ("name", "description"):
        for kind in ("integer", "list", "table"):
            yield (
                f"recipe.{field} is a {kind}",
                "usage",
                HEAD.replace('name = "x"', f"name = {values[kind]}") + NOISE
                if field == "name"
                else (HEAD + f"description = {values[kind]}\n" + NOISE),
            )
    for field in ("seed", "report"):
        for kind in ("number", "list", "date"):
            text = HEAD.replace("seed = 1", f"seed = {values[kind]}") if field == "seed" else HEAD + f"report = {values[kind]}\n"
            yield f"recipe.{field} is a {kind}", "usage", text + NOISE
    for field in ("uses", "id", "from", "save"):
        for kind in ("integer", "truth", "table"):
            table = {"uses": '"toy.invert"', field: values[kind]}
            stage = "".join(f"{name} = {value}\n" for name, value in table.items())
            yield f"{field} is a {kind}", "usage", GOOD + "[[stage]]\n" + stage
    yield "a list of stages that are numbers", "usage", "stage = [1, 2]\n" + HEAD
    yield "stages that are a text", "usage", 'stage = "toy.noise"\n' + HEAD
    yield "a recipe that is a text", "usage", 'recipe = "x"\n' + NOISE
    yield "a sweep that is a list", "usage", "sweep = [1]\n" + GOOD
    yield "a sweep of one number", "usage", GOOD + '[sweep]\n"noise.count" = 1\n'
    yield "a sweep of tables", "usage", GOOD + '[sweep]\n"noise.count" = [{}, {}]\n'


def _keys() -> Found:
    yield "a recipe's key with a slip", "usage", GOOD.replace("seed", "sed")
    yield "a stage's key with a slip", "usage", GOOD + "cuont = 1\n"
    yield "a table with a slip", "usage", GOOD + "[[stages]]\nuses = 1\n"
    yield "a stage with a slip", "usage", GOOD.replace("toy.noise", "toy.nose")
    yield "a family that nobody has", "usage", GOOD.replace("toy.noise", "os.system")
    yield "a key that is code", "usage", GOOD + "\"__import__('os')\" = 1\n"
    yield "a key with ESC", "usage", GOOD + '"\\u001b[2J" = 1\n'
    yield "a key of 100,000 letters", "usage", GOOD + "a" * 100_000 + " = 1\n"
    yield "50,000 keys", "usage", GOOD + "".join(f"k{number} = 1\n" for number in range(50_000))
    yield "a key without letters", "usage", GOOD + '"" = 1\n'


def _graphs() -> Found:
    yield "no stages", "usage", HEAD
    yield "nothing", "usage", ""
    yield "a comment", "usage", "# nothing\n"
    yield "one stage", "ok", GOOD
    yield "a stage that reads itself", "usage", GOOD + INVERT + 'id = "a"\nfrom = "a"\n'
    yield "two stages that read each other", "usage", HEAD + INVERT + 'id = "a"\nfrom = "b"\n' + INVERT + 'id = "b"\nfrom = "a"\n'
    yield "a stage that is not there", "usage", GOOD + INVERT + 'from = "b"\n'
    yield "an output that is not there", "usage", GOOD + INVERT + 'from = "noise.b"\n'
    yield "the first reads", "usage", HEAD + INVERT
    yield "from nothing", "usage", GOOD + INVERT + "from = []\n"
    yield "a source reads", "usage", GOOD + '[[stage]]\nuses = "toy.noise"\nid = "b"\nfrom = "noise"\n'
    yield "pictures for a model", "usage", GOOD + '[[stage]]\nuses = "toy.draw"\n'
    chain = "".join(INVERT + f'id = "s{number}"\n' for number in range(10_000))
    yield "10,000 stages", "ok", GOOD + chain
    yield "10,000 sources", "ok", GOOD + INVERT + f"from = {json.dumps(['noise'] * 10_000)}\n"


def _paths() -> Found:
    for name in ("../x", "/tmp/x", "a/../../x", "..\\x", "C:\\x", "x\0y", ".x", "run.json", "//x", "."):
        yield f"saved as {name!a}", "refused", GOOD + f"save = {json.dumps(name)}\n"
    yield "saved as nothing", "refused", GOOD + 'save = ""\n'
    yield "saved as ~/x", "ok", GOOD + 'save = "~/x"\n'
    yield "saved as x.exe", "usage", GOOD + 'save = "x.exe"\n'
    yield "saved as 300 letters", "refused", GOOD + f'save = "{"x" * 300}"\n'
    for name in (
        "nowhere",
        "/dev/zero",
        "~nobody-at-all/x",
        "x\0y",
        "x" * 5000,
        "http://127.0.0.1/x.png",
        "",
        "/proc/self/fd/0",
        "$HOME",
        "*",
    ):
        yield f"read from {ascii(name)[:30]}", "usage", HEAD + f'[[stage]]\nuses = "images.folder"\npath = {json.dumps(name)}\n'
    yield "read from here", "ok", HEAD + '[[stage]]\nuses = "images.folder"\npath = "."\n'
    yield "read from two places of which one is not there", "usage", HEAD + '[[stage]]\nuses = "images.folder"\npath = [".", "x"]\n'
