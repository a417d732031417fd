"""Parameters: typed identity, durations, messages, help."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from genart import Duration, InputPath, Params
from genart.params import ParamProblem, canonical_json, input_paths, parse_duration, plain_value, resolve, rows

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


def typed(value: Any) -> str:
    """What makes two values the same: type and content, by Python's own words."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{k!r}:{typed(v)}" for k, v in sorted(value.items())) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(typed, value)) + "]"
    return f"{type(value).__name__} {value!r}"


@given(plain, plain)
def test_canonical_json_is_the_same_exactly_for_the_same_values(a, b):
    assert (canonical_json(a) == canonical_json(b)) == (typed(a) == typed(b))


def test_lookalikes_differ():
    values = [
        1,
        1.0,
        True,
        "1",
        "true",
        None,
        "null",
        [1],
        {"int": "1"},
        {"int": 1},
        {"1": None},
        -0.0,
        0.0,
        0,
        "",
        [],
        {},
        {"map": {}},
        {"float": (1.0).hex()},
    ]
    assert len({canonical_json(value) for value in values}) == len(values)


@given(st.dictionaries(st.text(), st.integers(), max_size=5), st.randoms())
def test_the_order_of_keys_does_not_matter(table, random):
    items = list(table.items())
    random.shuffle(items)
    assert canonical_json(dict(items)) == canonical_json(table)
    assert canonical_json(table).isascii()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [1.0, {"a": float("-inf")}]])
def test_nothing_that_equals_nothing_enters_a_key(value):
    with pytest.raises(ValueError):
        canonical_json(value)


@given(st.integers(0, 99), st.integers(0, 59), st.integers(0, 59))
def test_durations_round_trip(hours, minutes, seconds):
    total = hours * 3600 + minutes * 60 + seconds
    for text in (f"{hours}h{minutes}m{seconds}s", f"{hours}h {minutes}m {seconds}", f"{total}s", f"{total}", f" {total / 60!r}m "):
        if "e" not in text:
            assert parse_duration(text) == pytest.approx(total)
    assert parse_duration(total) == total


@pytest.mark.parametrize("text", ["", "h", "m", "1x", "1m2h", "-1s", "1.s", ".5s", "1e2", "ten", "1h30m10s5"])
def test_what_is_no_duration(text):
    with pytest.raises(ValueError):
        parse_duration(text)


class Many(Params):
    """All kinds of fields."""

    path: InputPath = Field(description="A file.")
    paths: tuple[InputPath, ...] = Field((), description="Files.")
    maybe: InputPath | None = Field(None, description="A file, or none.")
    count: Annotated[int, Field(ge=1, le=9)] = Field(3, description="A number.")
    time: Duration | None = Field(None, description="A time.")
    mode: Literal["a", "b"] = Field("a", description="A choice.")
    pair: tuple[float, float] = Field((0.0, 1.0), description="Two numbers.")


def test_resolve_and_paths():
    params = resolve(Many, "s", {"path": "a", "paths": ["b", "c"], "pair": [1, 2.5], "time": "1m"})
    assert [(name, str(path)) for name, path in input_paths(params)] == [("path", "a"), ("paths", "b"), ("paths", "c")]
    assert (params.pair, params.time) == ((1.0, 2.5), 60.0)
    assert plain_value(params.pair) == [1.0, 2.5]


@pytest.mark.parametrize(
    ("table", "name", "words"),
    [
        ({}, "path", "s.path: this parameter is required"),
        ({"path": "a", "count": 10}, "count", "s.count: expected less than or equal to 9, got 10"),
        ({"path": "a", "count": "3"}, "count", 's.count: expected an integer, got "3"'),
        ({"path": "a", "mode": "c"}, "mode", "s.mode: expected 'a' or 'b', got \"c\""),
        ({"path": "a", "pair": [1.0]}, "pair", "s.pair"),
        ({"path": "a", "pair": [1.0, "x"]}, "pair", "s.pair[1]: expected a number"),
        ({"path": 3}, "path", "s.path"),
        ({"path": "a", "conut": 1}, "conut", "did you mean 'count'"),
        ({"path": "a", "mode": "x" * 1000}, "mode", "..."),
        ({"path": "a", "paths": [[[]]]}, "paths", "s.paths[0]"),
    ],
)
def test_messages(table, name, words):
    with pytest.raises(ParamProblem) as problem:
        resolve(Many, "s", table)
    assert problem.value.name == name
    assert words in str(problem.value)
    assert "\n" not in str(problem.value)
    assert len(str(problem.value)) < 200


class Choosy(Params):
    """Choices that can be misspelt."""

    upsample: Literal["resize", "transposed"] = Field("resize", description="A word.")
    sizes: tuple[Literal["small", "large"], ...] = Field((), description="Words.")
    level: Literal[1, 2] = Field(1, description="A number.")


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"upsample": "resise"}, "s.upsample: expected 'resize' or 'transposed', got \"resise\"; did you mean 'resize'?"),
        ({"sizes": ["small", "lagre"]}, "s.sizes[1]: expected 'small' or 'large', got \"lagre\"; did you mean 'large'?"),
        ({"upsample": "xyz"}, "s.upsample: expected 'resize' or 'transposed', got \"xyz\""),
        ({"upsample": 1}, "s.upsample: expected 'resize' or 'transposed', got 1"),
        ({"level": "1"}, 's.level: expected 1 or 2, got "1"'),
    ],
)
def test_the_nearest_choice_is_named(table, words):
    with pytest.raises(ParamProblem) as problem:
        resolve(Choosy, "s", table)
    assert str(problem.value) == words


def test_parameters_cannot_be_changed():
    params = resolve(Many, "s", {"path": "a"})
    with pytest.raises(Exception, match="frozen"):
        params.count = 4


def test_help_rows():
    about = {row["name"]: row for row in rows(Many)}
    assert {name: row["type"] for name, row in about.items()} == {
        "path": "path",
        "paths": "list of path",
        "maybe": "path",
        "count": "integer",
        "time": "duration",
        "mode": '"a" | "b"',
        "pair": "list of number",
    }
    assert about["path"]["required"]
    assert about["count"]["range"] == "≥ 1, ≤ 9"
    assert about["pair"]["default"] == [0.0, 1.0]
    json.dumps(about, allow_nan=False)
