"""Recipes: whatever is wrong is refused at once, with file, line and what to do."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genart.errors import RecipeError, UsageError
from genart.params import read_value
from genart.plugins import Plugins
from genart.recipe import Override, _tables_of, load, seconds_of

from .conftest import TOYS

HEAD = '[recipe]\nname = "x"\n'
NOISE = '[[stage]]\nuses = "toy.noise"\n'

#: text, exit code, line (None: the message has no line), a part of the message
WRONG = {
    "misspelt stage": (HEAD + '[[stage]]\nuses = "dcgan.trian"\n', 2, 4, "did you mean 'dcgan.train'"),
    "unknown family": (HEAD + '[[stage]]\nuses = "nothing.at.all"\n', 2, 4, "there is no stage"),
    "misspelt parameter": (HEAD + '[[stage]]\nuses = "images.samples"\ncuont = 5\n', 2, 5, "did you mean 'count'"),
    "wrong type": (HEAD + '[[stage]]\nuses = "images.samples"\ncount = "many"\n', 2, 5, 'got "many"'),
    "a float for an integer": (HEAD + NOISE + "count = 1.5\n", 2, 5, "toy.noise.count"),
    "a truth value for an integer": (HEAD + NOISE + "count = true\n", 2, 5, "expected an integer"),
    "a number for a truth value": (HEAD + NOISE + "mixed = 1\n", 2, 5, "toy.noise.mixed"),
    "out of range": (HEAD + NOISE + "count = -1\n", 2, 5, "greater than or equal to 0, got -1"),
    "not a number": (HEAD + NOISE + "slow = nan\n", 2, 5, "toy.noise.slow"),
    "infinity": (HEAD + NOISE + "slow = inf\n", 2, 5, "toy.noise.slow"),
    "infinity for an integer": (HEAD + NOISE + "count = inf\n", 2, 5, "toy.noise.count"),
    "a date": (HEAD + NOISE + "count = 2020-01-01\n", 2, 5, "toy.noise.count"),
    "no such choice": (HEAD + NOISE + '[[stage]]\nuses = "toy.invert"\nmode = "c"\n', 2, 7, "'a' or 'b'"),
    "no duration": (HEAD + NOISE + '[[stage]]\nuses = "toy.invert"\nbudget = "soon"\n', 2, 7, "a duration such as 90s"),
    "a duration of nothing": (HEAD + NOISE + '[[stage]]\nuses = "toy.invert"\nbudget = 0\n', 2, 7, "greater than 0"),
    "required parameter": (HEAD + '[[stage]]\nuses = "toy.read"\n', 2, 4, "required"),
    "wrong kind": (HEAD + '[[stage]]\nuses = "images.samples"\n[[stage]]\nuses = "latent.walk"\n', 2, 6, "takes a model"),
    "wrong kind by from": (HEAD + NOISE + '[[stage]]\nuses = "toy.draw"\nfrom = "toy.noise"\n', 2, 7, "gives images"),
    "nothing before": (HEAD + '[[stage]]\nuses = "toy.invert"\n', 2, 4, "no stage comes before"),
    "from at a source": (HEAD + NOISE + '[[stage]]\nuses = "toy.noise"\nid = "b"\nfrom = "toy.noise"\n', 2, 8, "takes nothing"),
    "from nowhere": (HEAD + NOISE + '[[stage]]\nuses = "toy.invert"\nfrom = "toy.nois"\n', 2, 7, "did you mean 'toy.noise'"),
    "no such output": (HEAD + NOISE + '[[stage]]\nuses = "toy.invert"\nfrom = "toy.noise.progres"\n', 2, 7, "no output 'progres'"),
    "an empty from": (HEAD + NOISE + '[[stage]]\nuses = "toy.invert"\nfrom = []\n', 2, 7, "expected a text"),
    "numbers in from": (HEAD + NOISE + '[[stage]]\nuses = "toy.invert"\nfrom = [1]\n', 2, 7, "expected a text"),
    "its own input": (HEAD + '[[stage]]\nuses = "toy.invert"\nid = "a"\nfrom = "a"\n', 2, 6, "cycle"),
    "cycle": (
        HEAD + '[[stage]]\nuses="toy.invert"\nid="a"\nfrom="b"\n[[stage]]\nuses="toy.invert"\nid="b"\nfrom="a"\n',
        2,
        3,
        "cycle: a → b",
    ),
    "models do not merge": (
        HEAD + NOISE + '[[stage]]\nuses = "toy.train"\n[[stage]]\nuses = "toy.draw"\nfrom = ["toy.train", "toy.train"]\n',
        2,
        9,
        "takes one model",
    ),
    "missing file": (HEAD + '[[stage]]\nuses = "toy.read"\npath = "nowhere.jpg"\n', 2, 5, "no such file"),
    "nearly the recipe's own file": (HEAD + '[[stage]]\nuses = "toy.read"\npath = "w.tolm"\n', 2, 5, "no such file or folder: w.tolm\n"),
    "a device": (HEAD + '[[stage]]\nuses = "toy.read"\npath = "/dev/zero"\n', 2, 5, "no such file"),
    "an unknown user's file": (HEAD + '[[stage]]\nuses = "toy.read"\npath = "~nobody-at-all/x"\n', 2, 5, "no such file"),
    "a NUL in a path": (HEAD + '[[stage]]\nuses = "toy.read"\npath = "a\\u0000b"\n', 2, 5, "no such file"),
    "an endless path": (HEAD + f'[[stage]]\nuses = "toy.read"\npath = "{"x" * 5000}"\n', 2, 5, "no such file"),
    "one of several files": (HEAD + '[[stage]]\nuses = "toy.read"\npath = "w.toml"\nmore = ["w.toml", "y"]\n', 2, 6, "no such file"),
    "duplicate id": (HEAD + NOISE + 'id = "a"\n[[stage]]\nuses = "toy.invert"\nid = "a"\n', 2, 8, "taken by the stage in line 3"),
    "not an id": (HEAD + NOISE + 'id = "a b"\n', 2, 5, "is not a name"),
    "id of a wrong type": (HEAD + NOISE + "id = 1\n", 2, 5, "id: expected a text"),
    "random without an id": (HEAD + NOISE + NOISE, 2, 6, "without an `id`"),
    "duplicate save": (HEAD + NOISE + 'save = "a"\n[[stage]]\nuses = "toy.invert"\nsave = "a"\n', 2, 8, "taken by the stage in line 3"),
    "save in a save": (HEAD + NOISE + 'save = "a"\n[[stage]]\nuses = "toy.invert"\nsave = "a/b"\n', 2, 8, "taken"),
    "save outside": (HEAD + NOISE + 'save = "../evil"\n', 7, 5, "leaves the output folder"),
    "save at the root": (HEAD + NOISE + 'save = "/evil"\n', 7, 5, "leaves the output folder"),
    "save on a drive": (HEAD + NOISE + 'save = "C:evil"\n', 7, 5, "leaves the output folder"),
    "save nowhere": (HEAD + NOISE + 'save = "."\n', 7, 5, "leaves the output folder"),
    "save hidden": (HEAD + NOISE + 'save = "a/.git"\n', 7, 5, "reserved"),
    "save over run.json": (HEAD + NOISE + 'save = "run.json"\n', 7, 5, "reserved"),
    "save below run.json": (HEAD + NOISE + 'save = "run.json/a"\n', 7, 5, "reserved"),
    "save over the report": (HEAD + NOISE + 'save = "report.html/a"\n', 7, 5, "reserved"),
    "report of a wrong type": (HEAD + "report = 1\n" + NOISE, 2, 3, "recipe.report: expected true or false"),
    "save with a bell": (HEAD + NOISE + 'save = "a\\u0007"\n', 7, 5, "leaves"),
    "save with a long name": (HEAD + NOISE + f'save = "{"ä" * 130}"\n', 7, 5, "reserved"),
    "save as another kind": (HEAD + NOISE + 'save = "a.mp4"\n', 2, 5, "cannot be saved as '.mp4'"),
    "an unknown table": (HEAD + NOISE + "[stages]\n", 2, 5, "unknown table 'stages'; did you mean 'stage'"),
    "an unknown key at the top": ('name = "x"\n' + HEAD + NOISE, 2, 1, "unknown table 'name'"),
    "an unknown key of the recipe": (HEAD + "sed = 1\n" + NOISE, 2, 3, "did you mean 'seed'"),
    "an unknown table of the recipe": (HEAD + NOISE + "[recipe.sweep]\na = 1\n", 2, 5, "no key 'sweep'"),
    "no recipe": (NOISE, 2, 1, "starts with a table [recipe]"),
    "no name": ("# hello\n[recipe]\nseed = 1\n" + NOISE, 2, 2, "needs a name"),
    "a name with a slash": ('[recipe]\nname = "a/b"\n' + NOISE, 2, 2, "cannot name a folder"),
    "a name by a dotted key": ('recipe.name = "a/b"\n' + NOISE, 2, 1, "cannot name a folder"),
    "a name in an inline table": ('recipe = {name = "a/b"}\n' + NOISE, 2, 1, "cannot name a folder"),
    "a name in a quoted table": ('\n["recipe"]\nname = ".."\n' + NOISE, 2, 3, "cannot name a folder"),
    "a seed that is text": ('[recipe]\nname = "x"\nseed = "1"\n' + NOISE, 2, 3, "recipe.seed: expected an integer"),
    "a seed that is true": ('[recipe]\nname = "x"\nseed = true\n' + NOISE, 2, 3, "recipe.seed: expected an integer"),
    "no stages": (HEAD, 2, 1, "no stages"),
    "one bracket": (HEAD + '[stage]\nuses = "toy.noise"\n', 2, 3, "with two brackets"),
    "stages that are numbers": ("stage = [1]\n" + HEAD, 2, 1, "with two brackets"),
    "no uses": (HEAD + '[[stage]]\nuse = "toy.noise"\n', 2, 4, "does not say what it uses"),
    "uses of a wrong type": (HEAD + "[[stage]]\nuses = 3\n", 2, 4, "uses: expected a text"),
    "syntax error": ('[recipe\nname = "x"\n', 2, 1, "not valid TOML"),
    "syntax error at the end": (HEAD + 'description = """never closed\n\n\n', 2, 3, "not valid TOML"),
    "the same key twice": (HEAD + NOISE + "count = 1\ncount = 2\n", 2, 6, "not valid TOML"),
    "nested too deeply": (HEAD + NOISE + f"ops = {'[' * 5000}\n", 2, 5, "nested too deeply"),
    "a number of 5000 digits": (HEAD + NOISE + f"count = {'9' * 5000}\n", 2, 5, "not valid TOML"),
    "a number of 100 digits": (HEAD + NOISE + f"size = {'9' * 100}\n", 0, None, "fine"),
    # what stands before the line at fault
    "after a multi-line string": (HEAD + 'description = """\n[[stage]]\ncount = 1\n\\"""\n"""\n' + NOISE + "cuont = 1\n", 2, 10, "cuont"),
    "after a literal string": (HEAD + "description = '''\n[recipe]\nx = '\n''''\n" + NOISE + "cuont = 1\n", 2, 9, "cuont"),
    "after a list": (
        HEAD + NOISE + '[[stage]]\nuses = "toy.invert"\nops = [\n  {a = "]"}, # ]\n  {b = [\n  1]},\n]\nmod = "a"\n',
        2,
        12,
        "'mod'",
    ),
    "after an inline table": (HEAD + NOISE + '[[stage]]\nuses = "toy.invert"\nops = [{a = {b = "}"}}]\nmod = "a"\n', 2, 8, "'mod'"),
    "with Windows line ends": ((HEAD + NOISE + "\n# hello\ncuont = 1\n").replace("\n", "\r\n"), 2, 7, "cuont"),
    "with a comment after it": (HEAD + "[[stage]] # [x]\n" + 'uses = "toy.noise" # = 3\n cuont = 1 # "\n', 2, 5, "cuont"),
    "a dotted key": (HEAD + NOISE + "count.x = 1\n", 2, 5, "toy.noise.count"),
    "a quoted key": (HEAD + NOISE + '"cuont" = 1\n', 2, 5, "cuont"),
    "a quoted key with an equals sign": (HEAD + NOISE + '"a = [" = 1\n', 2, 5, "a = ["),
    "an escaped key": (HEAD + NOISE + 'count = 1\n"cu\\u006fnt" = 1\n', 2, 6, "cuont"),
    "a table in a stage": (HEAD + NOISE + "size = 4\n[stage.cuont]\na = 1\n", 2, 6, "cuont"),
    "a list of tables": (HEAD + NOISE + '[[stage]]\nuses = "toy.invert"\n[[stage.ops]]\na = 1\n[[stage.oops]]\na = 1\n', 2, 9, "oops"),
    "stages in one line": ('stage = [{uses = "toy.noise", cuont = 1}]\n' + HEAD, 2, 1, "cuont"),
    "an override of nothing": (HEAD + NOISE + "\n" * 5 + "cuont = 1", 2, 10, "cuont"),
    "terminal codes": (HEAD + NOISE + '"\\u001b[31m" = 1\n', 2, 5, "?[31m"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_recipes_are_refused_with_their_line(cli, case):
    text, code, line, words = WRONG[case]
    Path("w.toml").write_bytes(text.encode())
    result = cli("check", "w.toml", "-p", TOYS)
    said = result.err or result.out
    assert result.code == code, said
    assert words in said
    assert len(said.splitlines()) <= 3
    assert "Traceback" not in said
    assert "\x1b" not in said
    if line is not None:
        assert said.startswith(f"genart: w.toml:{line}: "), said
        assert result.out == ""
    Path("w.toml").write_bytes(b"x")
    assert not Path("out").exists()


def test_not_utf8(cli):
    Path("w.toml").write_bytes(HEAD.encode() + b"# caf\xe9\n")
    result = cli("check", "w.toml")
    assert result.code == 2
    assert "w.toml:3: not valid TOML: the text is not UTF-8" in result.err


def test_paths_that_are_no_recipes(cli):
    Path("painting.toml").write_text(HEAD)
    assert "did you mean 'painting.toml'" in cli("check", "paintnig.toml").err
    Path("folder").mkdir()
    Path("big.toml").write_text("#" * (1 << 20) + "\n")
    for path in ("nothing", "folder", "painting.toml/x", "x" * 5000, "big.toml", "no/where.toml"):
        result = cli("check", path)
        assert result.code == 2, result.err
        assert len(result.err.splitlines()) <= 3


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("gardne.png", "garden.png"),
        ("garden.pgn", "garden.png"),
        ("garden.jepg", "garden.jpg"),
        ("nothing.png", None),  # the suffix alone makes nothing alike
        ("picturse", "pictures"),
    ],
)
def test_the_nearest_file_is_named_by_more_than_its_suffix(cli, name, near):
    for file in ("garden.png", "garden.jpg", "no.png"):
        Path(file).touch()
    Path("pictures").mkdir()
    Path("r.toml").write_text(HEAD + f'[[stage]]\nuses = "toy.read"\npath = "{name}"\n')
    near = f"; did you mean '{near}'?" if near else ""
    assert (
        cli("check", "r.toml", "-p", TOYS).err.splitlines()[0] == f"genart: r.toml:5: toy.read.path: no such file or folder: {name}{near}"
    )
    assert f"--path: no such file or folder: {name}{near}\n" in cli("apply", "toy.read", "--path", name, "-p", TOYS).err


def test_the_nearest_recipe_is_named_by_more_than_its_suffix(cli):
    Path("p.toml").write_text(HEAD)
    assert cli("plan", "nothing.toml").err == "genart: nothing.toml: no such recipe\n"


def test_all_recipes_are_checked_and_each_error_is_told(cli):
    import json

    Path("a.toml").write_text(HEAD + NOISE)
    Path("b.toml").write_text(HEAD + NOISE + 'save = "../evil"\n')
    Path("c.toml").write_text(HEAD + NOISE + "cuont = 1\n")
    Path("d.toml").write_text(HEAD + NOISE + '[[stage]]\nuses = "toy.invert"\n')
    result = cli("check", "a.toml", "b.toml", "c.toml", "d.toml", "-p", TOYS)
    assert (result.code, result.out) == (7, "a.toml: fine, 1 stage\nd.toml: fine, 2 stages\n")
    assert [line.split(": ")[1] for line in result.err.splitlines() if line.startswith("genart: ")] == ["b.toml:5", "c.toml:5"]
    assert cli("check", "c.toml", "b.toml", "-p", TOYS).code == 2
    result = cli("check", "a.toml", "c.toml", "-p", TOYS, "--json")
    rows = json.loads(result.out)
    assert result.code == 2
    assert rows[0] == {"path": "a.toml", "name": "x", "stages": 1, "valid": True}
    assert (rows[1]["path"], rows[1]["valid"], rows[1]["exit_code"]) == ("c.toml", False, 2)
    assert rows[1]["message"].startswith("c.toml:5: toy.noise has no parameter 'cuont'; did you mean 'count'?")
    assert rows[1]["hint"].startswith("it takes: ")


def test_every_wrong_recipe_is_refused_by_run_and_plan_too(cli):
    text, code, line, _ = WRONG["misspelt parameter"]
    Path("w.toml").write_text(text)
    for command in ("run", "plan"):
        result = cli(command, "w.toml")
        assert (result.code, result.err.startswith(f"genart: w.toml:{line}: ")) == (code, True)


def test_errors_in_json(cli):
    import json

    Path("w.toml").write_text(WRONG["misspelt parameter"][0])
    result = cli("run", "w.toml", "--json")
    record = json.loads(result.out)
    assert (record["event"], record["exit_code"]) == ("error", 2)
    assert "did you mean 'count'" in record["message"]


def test_a_recipe_of_a_megabyte_is_read_in_time():
    """Finding lines takes time in proportion to the text."""
    text = "\n".join(f"key{i} = 1" for i in range(60_000))
    tables = _tables_of(text)
    assert tables[0].keys["key59999"] == 60_000


# --set, --seed, --budget


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("count=3", "expected ID.PARAM=VALUE"),
        ("n.count", "expected ID.PARAM=VALUE"),
        ("m.count=3", "there is no stage 'm'"),
        ("n.cuont=3", "did you mean 'count'"),
        ("n.count=many", 'got "many"'),
        ("n.count=", 'got ""'),
        ("n.save=x", "belongs to the recipe"),
        ("n.uses=x", "belongs to the recipe"),
        ("i.mode=c", "'a' or 'b'"),
        ("r.path=nowhere", "no such file"),
        (f"n.count={'9' * 5000}", "toy.noise.count"),
        (f"n.count={'[' * 5000}", "toy.noise.count"),
    ],
)
def test_wrong_overrides(cli, override, words):
    Path("r.toml").write_text(
        HEAD + NOISE + 'id = "n"\n[[stage]]\nuses = "toy.invert"\nid = "i"\n[[stage]]\nuses = "toy.read"\nid = "r"\npath = "r.toml"\n'
    )
    result = cli("plan", "r.toml", "-p", TOYS, "--device", "cpu", "--set", override)
    assert result.code == 2, result.err
    assert words in result.err
    assert "r.toml:" not in result.err, "the file is not at fault"
    assert len(result.err.splitlines()) <= 3


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a.b=3", 3),
        ("a.b=3.0", 3.0),
        ("a.b=true", True),
        ("a.b=x y", "x y"),
        ('a.b="3"', "3"),
        ("a.b=[1, 2]", [1, 2]),
        ("a.b=1m", "1m"),
        ("a.b==", "="),
    ],
)
def test_values_of_overrides(text, value):
    parsed = Override.parse(text)
    read = read_value(parsed.value, None)
    assert (parsed.target, read, type(read)) == ("a.b", value, type(value))


@pytest.mark.parametrize("value", ["2024", "1.5", "true", "2024-11-29", "[value] = 3"])
def test_an_override_of_text_or_a_path_is_taken_as_it_is_written(recipe, value):
    Path(value).write_text("a file")
    path = recipe('[[stage]]\nuses = "toy.read"\npath = "r.toml"\n[[stage]]\nuses = "toy.crash"\n')
    read, crash = load(path, Plugins([TOYS]), overrides=[f"toy.read.path={value}", f"toy.crash.how={value}"]).nodes
    assert (read.params.path, crash.params.how) == (Path(value).resolve(), value)


def test_a_mark_of_the_byte_order_is_no_part_of_a_recipe(recipe):
    path = recipe(NOISE)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert load(path, Plugins([TOYS])).name == "toy"
    path.write_bytes(b"\xef\xbb\xbf[recipe]\nname = 'caf\xe9'\n")
    with pytest.raises(RecipeError, match=r"^r\.toml:2: not valid TOML: the text is not UTF-8$"):
        load(path, Plugins([TOYS]))


def test_overrides_reach_the_stage(recipe):
    path = recipe(NOISE + '[[stage]]\nuses = "toy.invert"\n[[stage]]\nuses = "toy.train"\n')
    plugins = Plugins([TOYS])
    loaded = load(path, plugins, overrides=["toy.noise.count=4", "toy.invert.mode=b"], seed=9, budget_sec=30)
    noise, invert, train = loaded.nodes
    assert (loaded.seed, noise.params.count, invert.params.mode) == (9, 4, "b")
    assert (invert.params.budget, train.params.budget) == (15, 15)
    loaded = load(path, plugins, overrides=["toy.train.budget=1m"], budget_sec=30)
    assert (loaded.nodes[1].params.budget, loaded.nodes[2].params.budget) == (30, 60), "what is set by name stays"


def test_a_budget_for_nobody(recipe):
    with pytest.raises(UsageError, match="no stage of this recipe"):
        load(recipe(NOISE), Plugins([TOYS]), budget_sec=30)


@pytest.mark.parametrize(("text", "seconds"), [("10m", 600), ("90", 90), ("1h30m", 5400), ("1.5m", 90), ("2h 5s", 7205)])
def test_budgets(text, seconds):
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["0", "0s", "soon", "-5", "m", "1m1h", "1e3", "nan", "٣m" * 2])
def test_wrong_budgets(text):
    with pytest.raises(UsageError, match="--budget"):
        seconds_of(text)


def test_paths_are_relative_to_the_recipe_or_to_the_command_line(home):
    (home / "elsewhere").mkdir()
    (home / "elsewhere" / "a.txt").write_text("a")
    Path("b.txt").write_text("b")
    path = home / "elsewhere" / "r.toml"
    path.write_text(HEAD + '[[stage]]\nuses = "toy.read"\npath = "a.txt"\n')
    plugins = Plugins([TOYS])
    assert load(path, plugins).nodes[0].params.path == (home / "elsewhere" / "a.txt").resolve()
    assert load(path, plugins, overrides=["toy.read.path=b.txt"]).nodes[0].params.path == Path("b.txt").resolve()


def test_order_and_until(recipe):
    path = recipe(
        '[[stage]]\nuses="toy.invert"\nid="last"\nfrom=["mid","src"]\n'
        '[[stage]]\nuses="toy.invert"\nid="mid"\nfrom="src"\n[[stage]]\nuses="toy.noise"\nid="src"\n[[stage]]\nuses="toy.fade"\nid="other"\nfrom="src"\n'
    )
    loaded = load(path, Plugins([TOYS]))
    ids = [node.id for node in loaded.nodes]
    assert ids.index("src") < ids.index("mid") < ids.index("last")
    assert [node.id for node in loaded.until("mid").nodes] == ["src", "mid"]
    with pytest.raises(UsageError, match="did you mean 'mid'"):
        loaded.until("mdi")


def test_the_same_stages_give_the_same_ids(recipe):
    loaded = load(recipe(NOISE + '[[stage]]\nuses = "toy.invert"\n' * 3), Plugins([TOYS]))
    assert [node.id for node in loaded.nodes] == ["toy.noise", "toy.invert", "toy.invert-2", "toy.invert-3"]


# hypothesis

VALID = [
    ("toy.noise", {"count": 3, "size": 4, "mixed": True, "slow": 0.5}),
    ("toy.invert", {"amount": 0.5, "mode": "b", "ops": [{"a": 1}, {"b": [1, "]"]}]}),
    ("toy.fade", {"amount": 0.25}),
    ("toy.invert", {"budget": "3m"}),
]


def written(value: object) -> st.SearchStrategy[str]:
    """TOML for a value, in one of the ways of writing it."""
    if isinstance(value, bool):
        return st.just(str(value).lower())
    if isinstance(value, str):
        return st.sampled_from([f'"{value}"', f"'{value}'", f'"""\n{value}"""', f"'''{value}'''"])
    if isinstance(value, dict):
        return st.tuples(*(written(v) for v in value.values())).map(
            lambda vs: "{" + ", ".join(f"{k} = {v}" for k, v in zip(value, vs, strict=True)) + "}"
        )
    if isinstance(value, list):
        breaks = st.sampled_from([" ", "\n  ", "  # ] } [[stage]]\n\n"])
        return st.tuples(breaks, *(written(v) for v in value)).map(lambda vs: f"[{vs[0]}" + f",{vs[0]}".join(vs[1:]) + f"{vs[0]}]")
    return st.just(str(value))


@st.composite
def recipes(draw: st.DrawFn) -> tuple[str, int, str]:
    """A recipe, the line of one wrong key in it, and the key."""
    chain = [VALID[0], *draw(st.lists(st.sampled_from(VALID[1:]), max_size=3))]
    at_fault = draw(st.integers(0, len(chain) - 1))
    wrong = draw(
        st.from_regex(r"[a-z]{3,12}", fullmatch=True).filter(
            lambda k: k not in {"uses", "save", "from", *(n for _, p in VALID for n in p), "fps"}
        )
    )
    lines = ["[recipe]", 'name = "x"', *draw(st.sampled_from([[], ["# hello", ""], ['description = """', "[[stage]]", 'uses = 1"""']]))]
    fault = 0
    for i, (uses, params) in enumerate(chain):
        lines += draw(st.sampled_from([[], [""], ["# [[stage]]"]]))
        lines.append(draw(st.sampled_from(["[[stage]]", "[[ stage ]]  # x", "  [[stage]]"])))
        items = [(k, draw(written(v))) for k, v in params.items() if draw(st.booleans())]
        items.append(("uses", f'"{uses}"'))
        items = draw(st.permutations(items))
        place = draw(st.integers(0, len(items)))
        for j in range(len(items) + 1):
            if i == at_fault and j == place:
                fault = "\n".join(lines).count("\n") + 2
                lines.append(f"{wrong} = {draw(written([1, {'a': 'x'}]))}")
            if j < len(items):
                lines.append(draw(st.sampled_from(["{} = {}", "  {}={}", '"{}" = {}'])).format(*items[j]))
    return "\n".join(lines) + "\n", fault, wrong


@settings(max_examples=80, deadline=None)
@given(recipes())
def test_a_single_wrong_key_is_named_with_its_line(case):
    text, line, key = case
    path = Path("h.toml")
    path.write_text(text)
    with pytest.raises(RecipeError) as error:
        load(path, PLUGINS)
    assert error.value.line == line, text
    assert f"has no parameter '{key}'" in error.value.message


PLUGINS = Plugins([TOYS])

names = st.from_regex(r"[A-Za-z0-9_-]{1,8}", fullmatch=True)
values = st.recursive(
    st.one_of(
        st.integers(-99, 99),
        st.booleans(),
        st.text(st.characters(codec="ascii", exclude_characters="\"\\'\r\x7f", min_codepoint=32), max_size=8),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=2),
    max_leaves=6,
)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["one", "many"]), st.dictionaries(names, values, min_size=1, max_size=4)), min_size=1, max_size=4),
    st.data(),
)
def test_every_key_is_found_on_its_line(tables, data):
    """Against tomllib: cutting the text after the line of a key leaves the key in; cutting before it leaves it out."""
    lines: list[str] = []
    expected: list[dict[str, int]] = []
    for i, (form, table) in enumerate(tables):
        lines += data.draw(st.sampled_from([[], [""], ["# x = 1", '# """']]))
        lines.append(f"[t{i}]" if form == "one" else f"[[t{i}]]")
        expected.append({})
        for key, value in table.items():
            expected[-1][key] = "\n".join(lines).count("\n") + 2
            lines.append(f"{key} = {data.draw(written(value))}")
    text = "\n".join(lines) + "\n"
    tomllib.loads(text)
    assert [table.keys for table in _tables_of(text)[1:]] == expected
