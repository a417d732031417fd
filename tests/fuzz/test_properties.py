"""Laws of what strangers' bytes go through: recipes, keys, paths, pictures, seeds, sizes, provenance and words."""

from __future__ import annotations

import contextlib
import io
import json
import os
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from genart import provenance, recipe, tags
from genart.commands import cache
from genart.errors import GenartError, RecipeError, RefusedError, printable
from genart.events import Events
from genart.nn.pictures import Unreadable, Want, decode_bytes
from genart.params import canonical_json, parse_duration, read_value
from genart.plan import Planner
from genart.run import Run
from genart.seeds import derive
from genart.store import Store
from tests.conftest import TOYS

from . import seeds
from .targets import CONTROL, Held, plugins, stays_inside

names = st.text("abcXYZ0189._-", min_size=1, max_size=12).filter(lambda name: name[0] not in "._-" and not name.endswith("."))
seeds_of_recipes = st.integers(-(2**63), 2**63 - 1)
paths = st.lists(
    st.sampled_from(["..", ".", "a", "b.png", "film", "", " ", "a ", "...", "~", "c:", "C$", "run.json", "\u202e", "\x9b", "\\"]),
    max_size=5,
)


def toml(value: Any) -> str:
    """A value as TOML; JSON's strings are TOML's, but for DEL and pairs of surrogates."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def loaded(text: str, overrides: tuple[str, ...] = ()) -> recipe.Recipe:
    """Read a recipe that lies in memory."""
    path = Held("r.toml")
    path.data = text.encode()
    return recipe.load(path, plugins(), overrides=overrides)


# recipes

counts, crops = st.integers(1, 100_000), st.integers(4, 4096)


@settings(max_examples=60)
@given(names, seeds_of_recipes, st.text(st.characters(blacklist_categories=["Cs"]), max_size=30), counts, crops, names)
def test_a_recipe_comes_back_as_it_was_written(name, seed, description, count, crop, node_id):
    text = (
        f"[recipe]\nname = {toml(name)}\nseed = {seed}\ndescription = {toml(description)}\n"
        f'[[stage]]\nuses = "images.samples"\nid = {toml(node_id)}\ncount = {count}\ncrop = {crop}\nsave = "p"\n'
    )
    read = loaded(text)
    (node,) = read.nodes
    assert (read.name, read.seed, read.description) == (name, seed, description)
    assert (node.id, node.params.count, node.params.crop, node.save, node.line) == (node_id, count, crop, "p", 5)
    assert loaded(text.replace("\n", "\r\n")) == read
    assert loaded(text, (f"{node_id}.count={count}",)) == read
    assert (loaded(text, (f"{node_id}.count=7",)) == read) == (count == 7)


def keys_of(text: str, store: Store) -> dict[str, str]:
    """What each stage's chain is called in the store."""
    return {name: step.ancestry for name, step in Planner(loaded(text), plugins(), store, "cpu").steps().items()}


CHAIN = """
[recipe]
name = "r"
seed = {seed}
[[stage]]
uses = "images.samples"
id = "a"
count = {count}
[[stage]]
uses = "augment"
id = "b"
ops = [{{ op = "RandomHorizontalFlip" }}]
[[stage]]
uses = "images.resize"
id = "c"
resolution = {size}
"""


@settings(max_examples=40)
@given(*[st.tuples(st.integers(0, 3), st.integers(1, 3), st.sampled_from([16, 32]))] * 2)
def test_a_key_changes_exactly_if_what_it_stands_for_does(one, other):
    with tempfile.TemporaryDirectory() as place:
        before, after = (keys_of(CHAIN.format(seed=seed, count=count, size=size), Store(Path(place))) for seed, count, size in (one, other))
    samples_draw = plugins().stage("images.samples").random
    augment_draws = plugins().stage("augment").random
    same_a = one[1] == other[1] and (one[0] == other[0] or not samples_draw)
    same_b = same_a and (one[0] == other[0] or not augment_draws)
    assert (before["a"] == after["a"]) == same_a
    assert (before["b"] == after["b"]) == same_b
    assert (before["c"] == after["c"]) == (same_b and one[2] == other[2])
    assert len({*before.values()}) == 3


leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8)
json_values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3), max_leaves=8
)


@given(json_values)
def test_what_enters_a_key_is_json_and_ordered(value):
    text = canonical_json(value)
    assert canonical_json(value) == text == text.encode("ascii").decode()
    assert json.dumps(json.loads(text), sort_keys=True, separators=(",", ":")) == text


# paths


@example(["..", "a.png"])
@example(["", "a.png"])
@example([" "])
@given(paths)
def test_no_save_leaves_the_output_folder(parts):
    save = "/".join(parts)
    text = f'[recipe]\nname = "r"\n[[stage]]\nuses = "images.samples"\nsave = {toml(save)}\n'
    try:
        (node,) = loaded(text).nodes
    except RefusedError:
        return
    except RecipeError:
        return
    assert stays_inside(save)
    assert stays_inside(node.save)
    assert os.path.normpath(f"/o/{save}") == f"/o/{node.save}"


@given(st.lists(st.text("abcXYZ019_-", min_size=1, max_size=8), min_size=1, max_size=4))
def test_a_plain_save_is_taken(parts):
    save = "/".join(parts) + ".png"
    assert loaded(f'[recipe]\nname = "r"\n[[stage]]\nuses = "images.samples"\nsave = {toml(save)}\n').nodes[0].save == save


# pictures


@settings(max_examples=60)
@given(
    st.binary(max_size=60), st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"RIFF\x20\0\0\0WEBP", b"II*\0", b"BM"])
)
def test_any_bytes_are_a_picture_or_unreadable(data, magic):
    with contextlib.suppress(Unreadable):
        assert decode_bytes(magic + data, Want((8, 8))).shape == (8, 8, 3)


sides = st.integers(1, 40)


@settings(max_examples=60)
@given(sides, sides, sides, sides, st.sampled_from(["crop", "letterbox", "pad", "stretch"]), st.booleans())
def test_a_picture_has_the_size_that_is_wanted(height, width, wanted_height, wanted_width, fit, keep_alpha):
    data = seeds.encoded(Image.fromarray(np.full((height, width, 3), 90, np.uint8)), "PNG")
    array = decode_bytes(data, Want((wanted_width, wanted_height), fit, "#5a5a5a", keep_alpha))
    assert array.shape == (wanted_height, wanted_width, 4 if keep_alpha else 3)
    shown = array[..., :3][array[..., 3] > 0] if keep_alpha else array
    assert np.abs(shown.astype(int) - 90).max() <= 1, "one colour stays one, also over bars of the same"


@settings(max_examples=30)
@given(
    st.text(max_size=20),
    st.integers(1, 600),
    st.dictionaries(st.sampled_from(["Title", "Software", "Comment"]), st.text("ab \u20ac", max_size=9)),
)
def test_what_is_said_beside_the_pixels_changes_no_pixel(text, dpi, about):
    picture = Image.fromarray(seeds.noise(5, 7, 3))
    told = PngImagePlugin.PngInfo()
    for key, value in {**about, "genart": text}.items():
        told.add_itxt(key, value)
    plain, full = seeds.encoded(picture, "PNG"), seeds.encoded(picture, "PNG", pnginfo=told, dpi=(dpi, dpi))
    assert np.array_equal(decode_bytes(plain, Want()), decode_bytes(full, Want()))


def test_a_stage_gives_the_same_whatever_its_files_say_of_themselves(run_toy, recipe):
    picture = Image.fromarray(seeds.noise(20, 24, 3))
    told = PngImagePlugin.PngInfo()
    told.add_itxt("Author", "somebody")
    Path("in").mkdir()
    path = recipe('[[stage]]\nuses = "images.folder"\npath = "in"\n[[stage]]\nuses = "images.resize"\nresolution = 16\nsave = "made"\n')
    found = []
    for options in ({}, {"pnginfo": told, "dpi": (72, 72)}):
        Path("in/a.png").write_bytes(seeds.encoded(picture, "PNG", **options))
        result = run_toy(path)
        assert result.code == 0, result.err
        with Image.open("out/made/00000.png") as made:
            found.append((made.tobytes(), result.made()))
    assert found[0][0] == found[1][0]
    assert found[1][1] == ["images.folder"], "what follows is spared, since the pixels are the same"


def test_independent_stages_in_another_order_give_the_same_bytes(run_toy, recipe):
    branches = [
        f'[[stage]]\nuses = "toy.noise"\nid = "{name}"\ncount = 2\nsize = {size}\n[[stage]]\nuses = "toy.invert"\nid = "i{name}"\n'
        f'from = "{name}"\nsave = "{name}"\n'
        for name, size in (("a", 4), ("b", 5), ("c", 6))
    ]
    pixels = []
    for turn, order in enumerate(([0, 1, 2], [2, 0, 1])):
        path = recipe("".join(branches[i] for i in order))
        assert run_toy(path, "--out", f"out{turn}").code == 0
        pixels.append({str(file.relative_to(f"out{turn}")): file.read_bytes() for file in sorted(Path(f"out{turn}").rglob("*.png"))})
    assert pixels[0] == pixels[1]
    assert len(pixels[0]) == 6


# seeds

labels = st.text(max_size=5)
places = st.lists(st.tuples(labels, st.none() | st.integers(0, 2**40)), min_size=1, max_size=6)


@given(st.integers(0, 2**63 - 1), places, st.randoms())
def test_a_draw_depends_on_seed_label_and_index_and_not_on_what_was_drawn_before(seed, wanted, random):
    with tempfile.TemporaryDirectory() as work:
        first, second = (Run(stage_id="s", seed=seed, device="cpu", work=Path(work), events=Events()) for _ in range(2))
    before = {place: int(first.generator(*place).get_state().sum()) for place in wanted}
    mixed = list(wanted)
    random.shuffle(mixed)
    assert {place: int(second.generator(*place).get_state().sum()) for place in mixed} == before
    assert len({first.seed(*place) for place in wanted}) == len(set(wanted))
    assert all(first.seed(*place) == derive(seed, *(part for part in place if part is not None)) for place in wanted)


# sizes and durations


@given(st.integers(0, 10**12), st.sampled_from(["", "k", "M", "G", "T"]), st.sampled_from(["", "B", "iB"]))
def test_sizes_are_what_they_say(count, factor, unit):
    assert cache.bytes_of(f"{count}{factor}{unit}") == int(float(count) * 1000 ** " kMGT".index(factor or " "))


@given(st.integers(0, 99), st.integers(0, 59), st.integers(0, 59))
def test_durations_add_up(hours, minutes, seconds):
    assume(hours or minutes or seconds)
    text = "".join(f"{count}{unit}" for count, unit in ((hours, "h"), (minutes, "m"), (seconds, "s")) if count)
    assert parse_duration(text) == 3600 * hours + 60 * minutes + seconds == recipe.seconds_of(text)


@settings(max_examples=40)
@given(st.floats(0.001, 10**7), st.integers(1, 4), st.integers(0, 4))
def test_a_budget_is_shared_evenly_by_those_that_have_none_of_their_own(budget, trainings, given_one):
    given_one = min(given_one, trainings - 1)
    text = '[recipe]\nname = "r"\n[[stage]]\nuses = "images.samples"\nid = "s"\n'
    text += "".join(f'[[stage]]\nuses = "dcgan.train"\nid = "t{i}"\nfrom = "s"\nbudget = "9m"\n' for i in range(trainings))
    path = Held("r.toml")
    path.data = text.encode()
    overrides = tuple(f"t{i}.budget=7" for i in range(given_one))
    read = recipe.load(path, plugins(), overrides=overrides, budget_sec=budget)
    budgets = [node.params.budget for node in read.nodes if node.id != "s"]
    assert budgets[:given_one] == [7] * given_one
    assert len(set(budgets[given_one:])) == 1
    assert sum(budgets[given_one:]) == pytest.approx(budget)


# provenance

KINDS = {
    "png": lambda: seeds.pictures()[0],
    "rgba.png": lambda: seeds.pictures()[1],
    "jpg": lambda: seeds.pictures()[2],
    "webp": lambda: seeds.pictures()[3],
    "gif": lambda: seeds.encoded(Image.fromarray(seeds.noise(4, 4, 3)).quantize(4), "GIF"),
    "mp4": lambda: seeds.bare_films()[0],
    "mov": lambda: seeds.bare_films()[1],
    "webm": lambda: seeds.bare_films()[2],
    "safetensors": lambda: seeds.safetensors({"__metadata__": {"genart": json.dumps({"model": seeds.model_head()})}}),
}


@settings(max_examples=25)
@given(st.sampled_from(sorted(KINDS)), st.dictionaries(st.sampled_from(["count", "text", "<b>", "--"]), json_values, max_size=3))
def test_provenance_comes_out_of_every_kind_of_file_as_it_went_in(kind, params):
    told = seeds.told()
    told["stages"][0]["params"] = params
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, f"a.{kind}")
        source = io.BytesIO(KINDS[kind]())
        with open(path, "w+b") as out:
            provenance.write_into(source, out, told, path.name)
        read, plain = provenance.read(path)
    assert {name: value for name, value in plain.items() if name not in ("content", "seal")} == json.loads(json.dumps(told))
    assert read.stages[0].params == json.loads(json.dumps(params))
    source.seek(0)
    assert read.content == tags.scan(source).content


# words


@given(st.text(max_size=40), st.sampled_from(["", "\n", "\n\t"]))
def test_printable_words_obey_nobody(text, keep):
    clean = printable(text, keep)
    assert not CONTROL.search("".join(sign for sign in clean if sign not in keep))
    assert printable(clean, keep) == clean
    assert len(clean) == len(text)
    assert all(new in (old, "?") for old, new in zip(text, clean, strict=True))


@given(st.text(max_size=30))
def test_an_override_that_is_no_toml_is_text(value):
    parsed = recipe.Override.parse(f"a.b={value}")
    assert parsed.target == "a.b"
    read = read_value(parsed.value, None)
    try:
        assert read == tomllib.loads(f"v = {value}")["v"] or read != read
    except (ValueError, KeyError):
        assert read == value


def test_toys_are_no_part_of_what_is_fuzzed():
    with pytest.raises(GenartError, match="toy"):
        plugins().stage("toy.noise")
    assert TOYS.is_file()
