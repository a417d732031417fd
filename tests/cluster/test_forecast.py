"""What a run would take on many workers: simulated by the scheduler that runs, held to what a few lines of arithmetic say."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genart import forecast, spread
from genart.forecast import Costs, Crew, Past, Work, made_once, rehearse
from genart.plan import Planner
from genart.plugins import Plugins
from genart.recipe import load
from genart.store import Store
from tests.cluster.hands import apart_early, order_of, run_spread
from tests.conftest import TOYS

FREE = Costs(**dict.fromkeys(vars(Costs()), 0.0) | {"join_bytes_per_sec": math.inf, "store_bytes_per_sec": math.inf})
FILM = """
[[stage]]
uses = "toy.noise"
id = "noise"
count = 6
[[stage]]
uses = "toy.invert"
id = "invert"
save = "inverted"
[[stage]]
uses = "toy.film"
id = "film"
save = "film.gif"
"""
#: Three stages that one worker makes each: the second and third read the first.
FORK = """
[[stage]]
uses = "toy.noise"
id = "noise"
[[stage]]
uses = "toy.train"
id = "one"
from = "noise"
[[stage]]
uses = "toy.train"
id = "two"
from = "noise"
steps = 5
"""


def plan_of(text, folder):
    path = Path(folder, "r.toml")
    path.write_text(f'[recipe]\nname = "toy"\n{text}')
    plugins = Plugins([TOYS])
    planner = Planner(load(path, plugins), plugins, Store(Path(folder, "store")), "cpu")
    return planner, planner.steps()


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return plan_of(FILM, tmp_path_factory.mktemp("film"))


@pytest.fixture
def even_parts(monkeypatch):
    """A first part of a second, then parts of five seconds up to the end."""
    monkeypatch.setattr(spread, "FIRST_SEC", 1.0)
    monkeypatch.setattr(spread, "SHARE", math.inf)


# the simulation


def test_a_film_takes_what_arithmetic_says(film, even_parts):
    """The first part makes two pictures in as many seconds; 100 are left, five in a part, for each of two workers ten parts."""
    work = {"noise": Work(102.0, 102), "invert": Work(0.0, 102), "film": Work(7.0)}
    outcome = rehearse(*film, Crew(work, 2, FREE))
    assert outcome.seconds == pytest.approx(2 + 10 * 5 + 7)
    assert outcome.stages["noise"] == pytest.approx((0, 52))
    assert outcome.stages["film"] == pytest.approx((52, 59))
    assert outcome.work_sec == pytest.approx(102 + 7)
    assert len(outcome.made["noise"]) == 21
    assert outcome.tasks == 21 + 1 + len(outcome.made["invert"]) + 1 + 1, "parts and their joining, twice, and the film"


def test_what_a_run_costs_beside_its_work(film, even_parts):
    costs = Costs(start_sec=3, load_sec=2, call_sec=0.5, driver_sec=0.25, part_sec=1, join_sec=0.125, store_sec=0.0625)
    costs = forecast.replace(costs, join_bytes_per_sec=math.inf, store_bytes_per_sec=math.inf)
    work = {"noise": Work(1.5, 1), "invert": Work(0.0), "film": Work(7.0)}
    outcome = rehearse(*film, Crew({**work, "invert": Work(0.0, 1)}, 2, costs))
    task = 0.125 + 0.5 + 0.0625 + 0.5 + 0.125  # handed out, there, kept, back, heard of
    start, load = 3, 2  # the second worker comes as soon, but there is never a task for it until the first has made one
    parts = 2 * (task + 1) + 1.5
    joins = 2 * (task + 0.125)
    assert outcome.seconds == pytest.approx(start + load + parts + joins + task + 7)
    assert outcome.driver_sec == pytest.approx(5 * 0.25)
    assert outcome.store_sec == pytest.approx(5 * 0.0625)


@pytest.mark.parametrize(("workers", "seconds"), [(1, 10 + 20 + 25), (2, 10 + 25), (9, 10 + 25)])
def test_stages_that_do_not_need_each_other_are_made_side_by_side(tmp_path, workers, seconds):
    work = {"noise": Work(10.0), "one": Work(20.0), "two": Work(25.0)}
    assert rehearse(*plan_of(FORK, tmp_path), Crew(work, workers, FREE)).seconds == pytest.approx(seconds)


def test_a_stage_waits_for_all_that_it_reads(tmp_path):
    both = FORK + '[[stage]]\nuses = "toy.invert"\nid = "both"\nfrom = ["one.progress", "two.progress"]\n'
    work = {"noise": Work(10.0), "one": Work(20.0), "two": Work(25.0), "both": Work(3.0, 1)}
    outcome = rehearse(*plan_of(both, tmp_path), Crew(work, 2, FREE))
    assert outcome.stages["both"] == pytest.approx((35, 38))


@pytest.mark.parametrize(("early", "seconds"), [(True, 4 + 4 + 20), (False, 4 + 20 + 20)])
def test_nobody_waits_for_the_first_picture_of_a_stage_that_says_early_what_all_have_in_common(film, early, seconds):
    """Four pictures of ten seconds, two at once. A worker comes and loads for four, and is asked for when there is something for it."""
    work = {"noise": Work(40.0, 4, 2, early=early), "invert": Work(0.0), "film": Work(0.0)}
    outcome = rehearse(*film, Crew(work, 2, forecast.replace(FREE, start_sec=3.0, load_sec=1.0)))
    assert outcome.stages["noise"] == pytest.approx((3, seconds))
    assert outcome.made["noise"] == [range(2), range(2, 4)]


def test_a_store_that_is_slow_holds_all_up(film):
    work = {"noise": Work(100.0, 1000, bytes=10**9), "invert": Work(0.0, 0), "film": Work(1.0)}
    slow = forecast.replace(FREE, store_bytes_per_sec=1e6)
    outcome = rehearse(*film, Crew(work, 100, slow))
    assert outcome.store_sec == pytest.approx(2000, rel=1e-3), "the parts and what they are joined to"
    assert outcome.seconds == pytest.approx(2001, rel=0.01)


def test_what_is_there_takes_no_time(recipe, run_toy, home):
    path = recipe(FILM)
    run_toy(path, "--until", "invert")
    plugins = Plugins([TOYS])
    planner = Planner(load(path, plugins), plugins, Store.of_user(), "cpu")
    steps = planner.steps()
    outcome = rehearse(planner, steps, Crew({"film": Work(7.0)}, 3, FREE))
    assert outcome.stages == {"film": (0.0, 7.0)}
    assert steps["film"].entry is None, "it was not made"


frames = st.integers(1, 3000)


@settings(max_examples=60, deadline=None)
@given(frames, st.integers(1, 300), st.floats(0.0, 3.0), st.integers(1, 40), st.floats(0.0, 1.0), st.integers(0, 99), st.booleans())
def test_each_picture_is_made_once_in_no_less_than_its_time(film, count, workers, each, batch, scatter, seed, early):
    work = {"noise": Work(count * each, count, batch, early=early), "invert": Work(count * each / 2, count, 1), "film": Work(2.0)}
    outcome = rehearse(*film, Crew(work, workers, FREE, scatter=scatter, seed=seed))
    assert made_once(outcome, work)
    assert outcome.seconds * workers >= outcome.work_sec - 1e-6
    assert outcome.seconds >= 2.0
    if scatter == 0:
        assert outcome.work_sec == pytest.approx(1.5 * count * each + 2.0)
    again = rehearse(*film, Crew(work, workers, FREE, scatter=scatter, seed=seed))
    assert again == outcome, "the same seed, the same run"


@pytest.mark.parametrize("shift", [-1, 1])
def test_a_scheduler_that_makes_a_picture_twice_or_never_is_found_out(film, monkeypatch, shift):
    """What the property above would say of it."""
    following = spread.Split.next

    def wrong(self):
        task = following(self)
        if task is not None and task.part and task.start > 20:
            object.__setattr__(task, "start", task.start + shift)
        return task

    work = {"noise": Work(500.0, 500), "invert": Work(0.0, 500), "film": Work(2.0)}
    assert made_once(rehearse(*film, Crew(work, 7, FREE)), work)
    monkeypatch.setattr(spread.Split, "next", wrong)
    monkeypatch.setattr(spread.Split, "all_there", property(lambda self: not self.left and not self.running and bool(self.parts)))
    assert not made_once(rehearse(*film, Crew(work, 7, FREE)), work)


def test_ten_million_pictures_are_made_in_a_bounded_number_of_parts(film):
    work = {"noise": Work(1e6, 10**7), "invert": Work(0.0), "film": Work(2.0)}
    outcome = rehearse(*film, Crew(work, 1000, Costs(), scatter=0.3))
    assert made_once(outcome, work)
    assert len(outcome.made["noise"]) < 2 * spread.MOST_PARTS
    shortest = sorted(len(span) for span in outcome.made["noise"])[10]
    assert shortest >= 0.9 * 1000 / spread.MOST_PER_SEC / 0.1, "none of a moment: a thousand workers would keep the driver busy with them"


def test_a_first_part_that_waited_for_libraries_does_not_make_the_others_small(film):
    """It took 100 times as long for a picture as the others; those after the next are of the right size all the same."""
    work = {"noise": Work(10_000 * 0.01, 10_000), "invert": Work(0.0), "film": Work(0.0)}
    crew = Crew(work, 2, FREE)
    makes = crew._makes

    def slow_first(task):
        seconds, told = makes(task)
        if task.stage == "noise" and task.part and task.stop is None:
            seconds *= 100
            told["part"]["seconds"] = seconds
        return seconds, told

    crew._makes = slow_first
    outcome = rehearse(*film, crew)
    assert len(outcome.made["noise"]) < 60
    assert max(map(len, outcome.made["noise"])) >= 450


# what stages took before


def estimates(path, *overrides):
    plugins = Plugins([TOYS])
    planner = Planner(load(path, plugins, overrides=overrides), plugins, Store.of_user(), "cpu")
    steps = planner.steps()
    return planner, steps, Past(planner.store).estimates(steps)


def took(path, **seconds):
    """Make the results of a recipe say that they took so long."""
    plugins = Plugins([TOYS])
    store = Store.of_user()
    for name, step in Planner(load(path, plugins), plugins, store, "cpu").steps().items():
        if name in seconds:
            manifest = step.entry.folder / "manifest.json"
            told = {**step.entry.manifest, "seconds": seconds[name]}
            manifest.write_text(json.dumps({**told, "sha256": forecast_seal(told)}))


def forecast_seal(told):
    from genart.artifacts import sha256_of_json

    return sha256_of_json(told)


def test_what_a_stage_would_take_follows_from_what_it_took(recipe, run_toy, home):
    path = recipe(FILM)
    _, _, found = estimates(path)
    assert {name: (estimate.work, estimate.basis) for name, estimate in found.items()} == {
        "noise": (None, "never ran"),
        "invert": (None, "never ran"),
        "film": (None, "never ran"),
    }
    run_toy(path)
    took(path, noise=6.0, invert=3.0, film=1.5)
    _, _, found = estimates(path)
    assert found == {}, "all is there"
    _, _, found = estimates(path, "noise.count=60")
    assert [(found[name].work.seconds, found[name].work.pictures, found[name].basis) for name in found] == [
        (60.0, 60, "count = 6"),
        (30.0, 60, "6 pictures"),
        (15.0, None, "6 pictures"),
    ]
    _, _, found = estimates(path, "invert.amount=0.5")
    assert list(found) == ["invert", "film"]
    assert (found["invert"].work.seconds, found["invert"].work.pictures, found["invert"].basis) == (3.0, 6, "other parameters")
    assert found["film"].basis == "the same parameters"


@pytest.mark.parametrize("spread_out", [False, True])
def test_a_result_tells_how_many_pictures_are_made_at_once_where_that_was_said_early(recipe, run_toy, home, spread_out):
    path = recipe(FILM)
    plugin = apart_early(home)
    if spread_out:
        run_spread(order_of(path, Store.of_user().root, plugin=plugin))
    else:
        run_toy(path, plugin=plugin)
    plugins = Plugins([plugin])
    planner = Planner(load(path, plugins, overrides=["noise.size=4"]), plugins, Store.of_user(), "cpu")
    found = Past(planner.store).estimates(planner.steps())
    assert [(found[name].work.batch, found[name].work.early) for name in found] == [(1, True), (1, False), (1, False)]


def test_a_budget_is_an_estimate_unless_the_same_was_measured(recipe, run_toy, home):
    path = recipe(FILM)
    found = estimates(path, "invert.budget=90s")[2]
    assert (found["invert"].work, found["invert"].basis) == (Work(90.0), "its budget")
    assert found["noise"].work is None
    run_toy(path, "--set", "invert.budget=90s")
    took(path, noise=6.0)
    found = estimates(path, "invert.budget=30s")[2]
    assert (found["invert"].work.seconds, found["invert"].basis) == (30.0, "its budget")
    assert estimates(path, "invert.budget=90s", "noise.size=4")[2]["invert"].basis == "the same parameters"


def test_results_with_the_same_parameters_count_more_than_newer_ones(recipe, run_toy, home):
    path = recipe(FILM)
    run_toy(path)
    took(path, noise=6.0)
    run_toy(path, "--set", "noise.size=4")
    assert estimates(path, "noise.size=4")[2] == {}
    run_toy(path, "--force", "noise", "--set", "noise.size=4")
    steps = estimates(path)[1]
    assert Past(Store.of_user()).last(steps["noise"]).key == steps["noise"].entry.key


# genart plan


def test_plan_says_what_workers_would_take_and_cost(recipe, run_toy, cli, home):
    path = recipe(FILM)
    run_toy(path)
    took(path, noise=3600.0, invert=0.0, film=1800.0)
    arguments = ("plan", path, "-p", TOYS, "--device", "cpu", "--set", "noise.count=12", "--workers", "4", "--price", "0.5")
    told = json.loads(cli(*arguments, "--json").out)["forecast"]
    assert told["unknown"] == []
    assert told["seconds"] == pytest.approx(2 * 3600 / 4 + 2 * 1800, rel=0.2)
    assert told["seconds"] > 3600 + 1800
    assert told["worker_hours"] == pytest.approx(4 * told["seconds"] / 3600, rel=1e-6)
    assert told["cost"] == pytest.approx(0.5 * told["worker_hours"], rel=1e-4)
    assert list(told["stages"]) == ["noise", "invert", "film"]
    assert told["stages"]["film"]["begins_sec"] >= told["stages"]["noise"]["ends_sec"]
    last = cli(*arguments).out.splitlines()[-1]
    hours = told["worker_hours"]
    assert last.startswith("on 4 workers: about 1:")
    assert last.endswith(f"{hours:.2f} worker-hours, {told['cost']:.2f} at 0.5 an hour")


def test_plan_says_what_it_does_not_know(recipe, cli, home):
    path = recipe(FILM)
    arguments = ("plan", path, "-p", TOYS, "--device", "cpu", "--workers", "2")
    told = json.loads(cli(*arguments, "--json").out)["forecast"]
    assert told["unknown"] == ["noise", "invert", "film"]
    assert told["cost"] is None
    assert cli(*arguments).out.splitlines()[-1] == "not in these figures, since they never ran: noise, invert, film"


def test_plan_of_what_is_there_forecasts_nothing(recipe, run_toy, cli, home):
    path = recipe(FILM)
    run_toy(path)
    arguments = ("plan", path, "-p", TOYS, "--device", "cpu", "--workers", "2")
    assert cli(*arguments).out.splitlines()[-1] == "everything is cached"
    told = json.loads(cli(*arguments, "--json").out)["forecast"]
    assert (told["seconds"], told["tasks"], told["stages"]) == (0.0, 0, {})


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--price", "1"), "--price needs to know how many workers there are"),
        (("--workers", "0"), "--workers"),
        (("--workers", "100001"), "--workers"),
        (("--workers", "2", "--price", "-1"), "--price"),
        (("--workers", "2", "--price", "nan"), "--price"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(recipe, cli, home, arguments, words):
    result = cli("plan", recipe(FILM), "-p", TOYS, "--device", "cpu", *arguments)
    assert result.code == 2
    assert words in result.out + result.err
