"""Sweeps: a product of lists becomes ordinary stages that share what they can, and a labelled sheet."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genart.plugins import Plugins
from genart.recipe import load
from genart.sweep import _names

from .conftest import TOYS
from .test_recipe import HEAD, NOISE

CHAIN = """
[[stage]]
uses = "toy.noise"
id = "noise"
count = 2

[[stage]]
uses = "toy.invert"
id = "inv"

[[stage]]
uses = "toy.fade"
id = "fade"
"""
TWO = CHAIN + '[sweep]\n"inv.amount" = [0.25, 1.0]\n"fade.mode" = ["a", "b"]\n'


def loaded(text: str, **more):
    Path("r.toml").write_text('[recipe]\nname = "toy"\nseed = 3\n' + text)
    return load(Path("r.toml"), Plugins([TOYS]), **more)


def texts(node) -> list[str]:
    return [str(source) for source in node.sources]


# what it stands for


def test_each_stage_is_there_once_for_the_values_that_reach_it():
    nodes = {node.id: node for node in loaded(TWO).nodes}
    assert list(nodes) == [
        "noise",
        "inv-amount-0.25",
        "inv-amount-1.0",
        "fade-amount-0.25-mode-a",
        "fade-amount-0.25-mode-b",
        "fade-amount-1.0-mode-a",
        "fade-amount-1.0-mode-b",
        "sweep",
    ]
    assert nodes["inv-amount-0.25"].params.amount == 0.25
    assert nodes["fade-amount-1.0-mode-b"].params.mode == "b"
    assert texts(nodes["inv-amount-1.0"]) == ["noise"]
    assert texts(nodes["fade-amount-1.0-mode-a"]) == ["inv-amount-1.0"]
    sheet = nodes["sweep"]
    assert texts(sheet) == list(nodes)[3:7]
    assert sheet.params.columns == 2
    assert sheet.params.labels[1] == {"inv.amount": 0.25, "fade.mode": "b"}
    assert sheet.save == "sweep.png"


def test_the_keys_may_be_written_in_each_way_of_toml():
    wanted = [node.id for node in loaded(TWO).nodes]
    ways = [
        "[sweep]\ninv.amount = [0.25, 1.0]\nfade.mode = ['a', 'b']\n",
        "[sweep.inv]\namount = [0.25, 1.0]\n[sweep.fade]\nmode = ['a', 'b']\n",
    ]
    assert [[node.id for node in loaded(CHAIN + way).nodes] for way in ways] == [wanted, wanted]


def test_what_is_not_reached_stays_as_it_is():
    text = (
        '[[stage]]\nuses = "toy.noise"\nid = "other"\n[[stage]]\nuses = "toy.fade"\nid = "else"\n'
        + CHAIN
        + '[sweep]\nfade.mode = ["a", "b"]\n'
    )
    nodes = loaded(text).nodes
    assert [node.id for node in nodes] == ["other", "else", "noise", "inv", "fade-mode-a", "fade-mode-b", "sweep"]
    assert texts(nodes[-2]) == ["inv"]


def test_merged_inputs_side_inputs_and_further_outputs_follow():
    text = """
[[stage]]
uses = "toy.noise"
id = "a"
[[stage]]
uses = "toy.noise"
id = "b"
[[stage]]
uses = "toy.train"
id = "train"
from = ["a", "b"]
[[stage]]
uses = "toy.tint"
id = "tint"
from = ["a", "train.progress"]
by = ["b", "train.progress"]
model = "train"
save = "t/tinted"
[sweep]
"b.count" = [2, 3]
"train.steps" = [1, 2]
columns = 4
gap = 1
save = "sheets/all.png"
"""
    nodes = {node.id: node for node in loaded(text).nodes}
    tint = nodes["tint-count-3-steps-1"]
    assert texts(tint) == ["a", "train-count-3-steps-1.progress", "b-count-3", "train-count-3-steps-1.progress", "train-count-3-steps-1"]
    assert [str(path) for path in tint.params.by] == ["b-count-3", "train-count-3-steps-1.progress"]
    assert tint.save == "t/tinted-count-3-steps-1"
    assert (nodes["sweep"].params.columns, nodes["sweep"].params.gap, nodes["sweep"].save) == (4, 1, "sheets/all.png")
    assert len(nodes) == 1 + 2 + 4 + 4 + 1


def test_a_stage_may_be_what_varies():
    text = (
        CHAIN
        + '[[stage]]\nuses = "toy.tint"\nid = "tint"\nfrom = "noise"\nby = ["noise"]\n[sweep]\n"tint.by" = [["inv"], ["r.toml", "fade"]]\n'
    )
    nodes = {node.id: node for node in loaded(text).nodes}
    assert [id_ for id_ in nodes if id_.startswith("tint")] == ["tint-by-inv", "tint-by-r.toml-fade"]
    assert texts(nodes["tint-by-r.toml-fade"]) == ["noise", "fade"]
    assert [label["tint.by"] for label in nodes["sweep"].params.labels] == [["inv"], ["r.toml", "fade"]]


def test_values_become_names():
    values = [0.1, -1, True, "a/b c", [0.2, 0.6], [], {"op": "x"}, "ü", "-1", "x" * 40]
    assert list(_names(values)) == ["0.1", "-1", "true", "a-b-c", "0.2-0.6", "empty", "op-x", "empty-2", "1", "x" * 24]


def test_names_are_told_apart_and_paths_stay_out_of_them(home):
    (home / "x").mkdir()
    for name in ("x/a b.txt", "x/a-b.txt"):
        (home / name).write_text(name)
    files = [str(home / "x" / "a b.txt"), str(home / "x" / "a-b.txt")]
    text = f'[[stage]]\nuses = "toy.read"\nid = "r"\npath = "r.toml"\n[sweep]\nr.path = {json.dumps(files)}\n'
    nodes = loaded(text).nodes
    assert [node.id for node in nodes[:-1]] == ["r-path-a-b.txt", "r-path-a-b.txt-2"]
    assert [str(node.params.path) for node in nodes[:-1]] == files
    assert nodes[-1].params.labels == ({"r.path": "a b.txt"}, {"r.path": "a-b.txt"})


def test_two_parameters_of_one_name_are_told_apart():
    nodes = loaded(CHAIN + '[sweep]\n"inv.amount" = [0.5]\n"fade.amount" = [0.25]\n').nodes
    assert nodes[-2].id == "fade-inv.amount-0.5-fade.amount-0.25"


@pytest.mark.parametrize(
    ("lists", "show", "columns", "pictures"),
    [
        ('"inv.amount" = [0, 1.0, 0.5]', None, 3, 3),
        ('"inv.amount" = [0, 1.0]\n"fade.mode" = ["a", "b"]\n"noise.size" = [4, 5, 6]', None, 3, 12),
        ('"inv.amount" = [0, 1.0]\n"fade.mode" = ["a", "b"]', "inv", 2, 2),
        ('"noise.size" = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]', None, None, 10),
        ('"inv.amount" = [0, 1.0]\n"fade.mode" = ["a", "b"]', "fade", 2, 4),
    ],
)
def test_rows_and_columns_are_the_parameters(lists, show, columns, pictures):
    shown = f'show = "{show}"\n' if show else ""
    sheet = loaded(CHAIN.replace('id = "inv"\n', 'id = "inv"\nmode = "a"\n') + f"[sweep]\n{shown}{lists}\n").nodes[-1]
    assert (sheet.params.columns, len(sheet.params.pictures)) == (columns, pictures)


def test_random_numbers_are_those_of_the_stage_as_written(run_toy, recipe):
    """A branch of a sweep is the run with the same value set by hand, to the byte, and the store knows it."""
    text = '[[stage]]\nuses = "toy.noise"\nid = "n"\nsize = 4\nsave = "pics"\n'
    assert run_toy(recipe(text + '[sweep]\n"n.count" = [1, 2]\n')).code == 0
    branch = {path.name: np.array(Image.open(path)) for path in Path("out/pics-count-2").iterdir()}
    by_hand = run_toy(recipe(text), "--set", "n.count=2", "--out", "hand")
    assert by_hand.made() == []
    for name, pixels in branch.items():
        assert np.array_equal(pixels, np.array(Image.open(Path("hand/pics", name))))


# running


def test_what_is_shared_is_made_once_and_the_sheet_is_labelled(run_toy, recipe, toy_log):
    done = run_toy(recipe(TWO.replace("count = 2", "count = 2\nsize = 40")))
    assert done.code == 0, done.err
    log = toy_log()
    assert (log.count("noise 0"), log.count("invert 0"), log.count("fade 0")) == (1, 2, 4)
    with Image.open("out/sweep.png") as sheet:
        provenance = json.loads(sheet.text["genart"])
        pixels = np.array(sheet)
    cells = provenance["picture"]["cells"]
    assert cells == [{"inv.amount": a, "fade.mode": m} for a in (0.25, 1.0) for m in ("a", "b")]
    assert len([stage for stage in provenance["stages"] if stage["uses"] == "toy.fade"]) == 4
    assert {path.name for path in Path("out").iterdir()} == {"sweep.png", "run.json"}
    height, width = pixels.shape[0] // 2, pixels.shape[1] // 2
    assert np.array_equal(pixels[8:48, :width], pixels[8:48, width - 4 : 2 * width - 4]), "toy.fade makes the same of both modes"
    assert not np.array_equal(pixels[8:48, :width], pixels[height + 4 : height + 44, :width])
    below = pixels[48 : height + 4, :width]
    assert (below < 100).any(), "something is written there"
    again = run_toy(recipe(TWO.replace("count = 2", "count = 2\nsize = 40")))
    assert (again.made(), toy_log()) == ([], [])


def test_another_value_computes_only_its_own_branch(run_toy, recipe):
    run_toy(recipe(TWO))
    made = run_toy(recipe(TWO.replace('["a", "b"]', '["a"]').replace("[0.25,", "[0.75,"))).made()
    assert made == ["inv-amount-0.75", "fade-amount-0.75-mode-a", "sweep"]


def test_until_force_and_set_take_the_id_as_written(run_toy, recipe):
    path = recipe(TWO)
    assert sorted(run_toy(path, "--until", "inv").made()) == ["inv-amount-0.25", "inv-amount-1.0", "noise"]
    run_toy(path)
    assert sorted(run_toy(path, "--force", "inv").made()) == ["inv-amount-0.25", "inv-amount-1.0"]
    assert run_toy(path, "--force", "inv-amount-0.25").made() == ["inv-amount-0.25"]
    one = loaded(TWO, overrides=["inv.amount=0.5"])
    assert [node.id for node in one.nodes if node.origin == "inv"] == ["inv-amount-0.5"]
    assert one.node("inv-amount-0.5").params.amount == 0.5
    assert loaded(TWO, overrides=["noise.count=3"]).nodes[0].params.count == 3
    assert loaded(TWO, overrides=["sweep.gap=3"]).nodes[-1].params.gap == 3


def test_a_budget_is_shared_by_all_branches():
    nodes = loaded(CHAIN + '[sweep]\n"inv.amount" = [0.25, 1.0]\n', budget_sec=40).nodes
    assert [node.params.budget for node in nodes if node.stage.name != "toy.noise" and node.id != "sweep"] == [10.0] * 4
    swept = loaded(CHAIN + '[sweep]\n"inv.budget" = ["5s", "1m"]\n', budget_sec=40).nodes
    assert [node.params.budget for node in swept if node.origin] == [5.0, 60.0, 20.0, 20.0]


def test_plan_and_check_know_the_branches(cli):
    Path("r.toml").write_text('[recipe]\nname = "toy"\n' + TWO)
    assert "fine, 8 stages" in cli("check", "r.toml", "-p", TOYS).out
    rows = json.loads(cli("plan", "r.toml", "-p", TOYS, "--json", "--device", "cpu").out)["stages"]
    assert [row["id"] for row in rows][1:3] == ["inv-amount-0.25", "inv-amount-1.0"]


# what is wrong

S = HEAD + NOISE + 'id = "n"\n'
TRAIN = '[[stage]]\nuses = "toy.train"\nid = "t"\n'
READ = '[[stage]]\nuses = "toy.read"\nid = "r"\npath = "w.toml"\n'
#: text, exit code, line, words
WRONG = {
    "unknown stage": (S + '[sweep]\n"nn.count" = [1]\n', 2, 7, "there is no stage 'nn'; did you mean 'n'"),
    "unknown parameter": (S + '[sweep]\n"n.cuont" = [1]\n', 2, 7, "did you mean 'count'"),
    "unknown parameter by a dotted key": (S + "[sweep]\nn.count = [1]\nn.cuont = [1]\n", 2, 8, "did you mean 'count'"),
    "unknown parameter in a table": (S + "[sweep.n]\ncount = [1]\ncuont = [1]\n", 2, 8, "did you mean 'count'"),
    "a value of a wrong kind": (S + '[sweep]\n"n.count" = [1, "many"]\n', 2, 7, 'got "many"'),
    "a value out of range": (S + '[sweep]\n"n.count" = [1, -1]\n', 2, 7, "got -1"),
    "not a number": (S + '[sweep]\n"n.slow" = [nan]\n', 2, 7, "toy.noise.slow"),
    "no list": (S + '[sweep]\n"n.count" = 3\n', 2, 7, "expected a list of values, got 3"),
    "an empty list": (S + '[sweep]\n"n.count" = []\n', 2, 7, "got an empty list"),
    "a value twice": (S + '[sweep]\n"n.count" = [1, 2, 1]\n', 2, 7, "1 stands there twice"),
    "a key of the recipe": (S + '[sweep]\n"n.save" = ["a", "b"]\n', 2, 7, "belongs to the recipe"),
    "nothing varies": (S + '[sweep]\nshow = "n"\n', 2, 6, "varies nothing"),
    "no table": ("sweep = 3\n" + S, 2, 1, "a table [sweep]"),
    "a list of tables": (S + '[[sweep]]\n"n.count" = [1]\n', 2, 6, "a table [sweep]"),
    "too many": (S + f'[sweep]\n"n.count" = {list(range(11))}\n"n.size" = {list(range(1, 11))}\n', 2, 6, "--set sweep.limit=110"),
    "a limit of its own": (S + '[sweep]\n"n.count" = [1]\nlimit = 1000\n', 2, 8, "cannot raise its own limit"),
    "show nothing": (S + '[sweep]\n"n.count" = [1]\nshow = "nn"\n', 2, 8, "there is no stage 'nn'; did you mean 'n'"),
    "show no text": (S + '[sweep]\n"n.count" = [1]\nshow = 1\n', 2, 8, "expected the id of a stage"),
    "show what stays": (S + NOISE + 'id = "o"\n[sweep]\n"n.count" = [1]\nshow = "o"\n', 2, 11, "is the same for all values"),
    "show a model": (S + TRAIN + '[sweep]\n"t.steps" = [1]\nshow = "t"\n', 2, 11, "not images"),
    "nothing to show": (S + TRAIN + '[sweep]\n"t.steps" = [1]\n', 2, 9, "leads to pictures"),
    "unknown key": (S + '[sweep]\n"n.count" = [1]\ncolums = 2\n', 2, 8, "did you mean 'columns'"),
    "pictures": (S + '[sweep]\n"n.count" = [1]\npictures = ["n"]\n', 2, 8, "sets `pictures` by itself"),
    "save as a film": (S + '[sweep]\n"n.count" = [1]\nsave = "a.mp4"\n', 2, 8, "cannot be saved as '.mp4'"),
    "save outside": (S + '[sweep]\n"n.count" = [1]\nsave = "../a.png"\n', 7, 8, "leaves the output folder"),
    "save no text": (S + '[sweep]\n"n.count" = [1]\nsave = 1\n', 2, 8, "expected a text"),
    "id taken by a stage": (S + NOISE + 'id = "sweep"\n[sweep]\n"n.count" = [1]\n', 2, 9, "id 'sweep' is taken"),
    "id taken by a branch": (S + NOISE + 'id = "n-count-1"\n[sweep]\n"n.count" = [1]\n', 2, 8, "makes a stage 'n-count-1'"),
    "another table": (S + "[sweeps]\n", 2, 6, "did you mean 'sweep'"),
    "a missing file": (S + READ + '[sweep]\n"r.path" = ["nowhere.txt"]\n', 2, 11, "no such file"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_sweeps_are_refused_with_their_line(cli, case):
    text, code, line, words = WRONG[case]
    Path("w.toml").write_text(text)
    result = cli("check", "w.toml", "-p", TOYS)
    assert result.code == code, result.err
    assert words in result.err
    assert result.err.startswith(f"genart: w.toml:{line}: "), result.err
    assert len(result.err.splitlines()) <= 3


def test_the_command_line_alone_raises_the_limit():
    text = '[[stage]]\nuses = "toy.noise"\nid = "n"\n' + f'[sweep]\n"n.size" = {list(range(1, 102))}\n'
    assert len(loaded(text, overrides=["sweep.limit=101"]).nodes) == 102
    with pytest.raises(Exception, match="expected a number of combinations"):
        loaded(text, overrides=["sweep.limit=many"])
