"""A run in parts by many gives what one process gives, whatever is lost on the way."""

import json
import math
import os
import shutil
import socket
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from genart import artifacts, parts, spread
from genart.commands import recipes
from genart.errors import ChangedError, GenartError, Interrupted, ResourceError, StageError, UsageError
from genart.events import Events
from genart.plan import Planner
from genart.plugins import Plugins
from genart.recipe import load
from genart.run import Stop
from genart.runner import Runner
from genart.spread import Done, Lost
from genart.store import Entry, Store
from tests.cluster.hands import Hands, apart_early, order_of, run_spread
from tests.conftest import TOYS, tree

CHAIN = """
[[stage]]
uses = "toy.noise"
id = "noise"
count = 23
fps = 5.0
[[stage]]
uses = "toy.invert"
id = "invert"
save = "inverted"
[[stage]]
uses = "toy.fade"
save = "faded"
[[stage]]
uses = "toy.film"
from = "invert"
save = "film.gif"
"""
MIXED = """
[[stage]]
uses = "toy.noise"
count = 14
mixed = true
save = "noise"
"""
TRAINED = """
[[stage]]
uses = "toy.noise"
id = "noise"
[[stage]]
uses = "toy.train"
id = "train"
save = "model.safetensors"
[[stage]]
uses = "toy.draw"
count = 9
save = "drawn"
[[stage]]
uses = "toy.invert"
from = "train.progress"
save = "progress"
"""
TINT = """
[[stage]]
uses = "toy.noise"
id = "noise"
count = 9
[[stage]]
uses = "toy.tint"
id = "tint"
by = ["noise"]
save = "tinted"
"""


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    """Parts of few pictures: the first is over at once, and the others take as long as one."""
    monkeypatch.setattr(spread, "FIRST_SEC", 0.0)
    monkeypatch.setattr(spread, "PART_SEC", 1e-9)
    monkeypatch.setattr(spread, "MOST_PER_SEC", math.inf)


def assert_same():
    """What the workers saved is what one process saved."""
    ours = tree(Path("out"))
    assert ours
    assert tree(Path("spread")) == ours


def made_of(told):
    return sorted(event["stage"] for event in told if event["event"] == "stage_finished")


@pytest.mark.parametrize("stages", [CHAIN, MIXED, TRAINED, TINT])
def test_many_make_what_one_makes(recipe, run_toy, home, stages):
    path = recipe(stages)
    result = run_toy(path)
    assert result.code == 0
    order = order_of(path, home / "another")
    _, told = run_spread(order)
    assert_same()
    assert made_of(told) == sorted(result.made()), "each is told once"
    ours, theirs = (json.loads(Path(folder, "run.json").read_text()) for folder in ("spread", "out"))
    names = ("id", "uses", "from", "params", "seed", "outputs", "choices", "cached")
    assert [[stage.get(name) for name in names] for stage in ours["stages"]] == [
        [stage.get(name) for name in names] for stage in theirs["stages"]
    ]
    assert [{**record, "mark": ""} for record in ours["outputs"]] == [{**record, "mark": ""} for record in theirs["outputs"]]
    again, told = run_spread(order)
    assert not again.tasks
    assert not made_of(told)


def test_copies_of_pictures_are_made_in_parts(recipe, run_toy, home, monkeypatch):
    monkeypatch.setattr("genart_augment.pipeline.CHUNK", 2)
    path = recipe(
        '[[stage]]\nuses = "toy.noise"\ncount = 5\n[[stage]]\nuses = "augment"\ncopies = 2\n'
        'ops = [{op = "RandomRotation", degrees = 30, p = 1.0}]\nsave = "augmented"\n'
    )
    assert run_toy(path).code == 0
    hands, _ = run_spread(order_of(path, home / "another"))
    assert_same()
    assert len([task for task in hands.tasks if task.stage == "augment" and task.part]) > 3


FILM = """
[[stage]]
uses = "toy.noise"
count = 23
fps = 5.0
[[stage]]
uses = "video.assemble"
id = "film"
save = "film.{name}"
"""


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr("genart_video.film.PIECE", 4)


def test_a_film_is_coded_in_pieces_by_all(recipe, run_toy, home, small_pieces):
    path = recipe(FILM.format(name="mp4"))
    assert run_toy(path).code == 0
    hands, told = run_spread(order_of(path, home / "another"), size=3)
    assert_same()
    spans = sorted((task.start, task.stop) for task in hands.tasks if task.stage == "film" and task.part)
    assert spans[0] == (0, None)
    assert [start % 4 for start, _ in spans] == [0] * len(spans)
    assert len(spans) > 3
    assert [event["unit"] for event in told if event["event"] == "progress" and event["stage"] == "film"][-1] == "frames"
    assert sorted(entry.manifest["stage"] for entry in Store(home / "another").entries()) == ["toy.noise", "video.assemble"]


@pytest.mark.parametrize(("name", "size"), [("gif", 4), ("mp4", 240)])
def test_a_film_that_is_one_piece_is_made_by_one(recipe, run_toy, home, monkeypatch, name, size):
    monkeypatch.setattr("genart_video.film.PIECE", size)
    path = recipe(FILM.format(name=name))
    assert run_toy(path).code == 0
    hands, _ = run_spread(order_of(path, home / "another"), size=3)
    assert_same()
    assert [task.part for task in hands.tasks if task.stage == "film"][-1] is False
    assert not [task for task in hands.tasks if task.join and task.stage == "film"]


def test_pieces_that_are_gone_are_coded_again(recipe, run_toy, home, small_pieces):
    path = recipe(FILM.format(name="webm"))
    assert run_toy(path).code == 0
    store = Store(home / "another")

    def fate(task):
        if task.stage == "film" and task.join and not gone:
            parts_there = [entry for entry in store.entries() if entry.manifest["stage"] == "video.assemble (part)"]
            shutil.rmtree(parts_there[1].folder)
            gone.append(task)
        return

    gone = []
    run_spread(order_of(path, home / "another"), size=3, fate=fate)
    assert gone
    assert_same()


def test_pictures_are_made_in_parts_and_nothing_is_left_of_these(recipe, home):
    hands, told = run_spread(order_of(recipe(CHAIN), home / "store"))
    of_noise = sorted((task.start, task.stop) for task in hands.tasks if task.stage == "noise")
    assert of_noise[0] == (0, None)
    assert len(of_noise) > 4
    assert [task.part for task in hands.tasks if task.stage in ("toy.fade", "toy.film")] == [False, False]
    stored = [entry.manifest["stage"] for entry in Store(home / "store").entries()]
    assert sorted(stored) == ["toy.fade", "toy.film", "toy.invert", "toy.noise"]
    assert len(list((home / "store/ancestry").glob("*/*"))) == 4
    assert not list((home / "store").glob("scratch/*/*"))
    progress = [event for event in told if event["event"] == "progress" and event["stage"] == "noise"]
    assert [event["total"] for event in progress] == [23] * len(progress)
    assert max(event["done"] for event in progress) == 23


def test_parts_become_smaller_towards_the_end(recipe, home, monkeypatch):
    monkeypatch.setattr(spread, "PART_SEC", 1e9)
    hands, _ = run_spread(order_of(recipe(CHAIN.replace("count = 23", "count = 101")), home / "store"))
    sizes = [len(range(*span)) for span in sorted((task.start, task.stop) for task in hands.tasks if task.stage == "noise" and task.stop)]
    assert sizes == [25, 19, 14, 10, 8, 6, 4, 4, 2, 2, 2, 1, 1, 1, 1]


def test_nobody_waits_for_the_first_picture_of_a_stage_that_says_early_what_all_have_in_common(recipe, run_toy, home, monkeypatch):
    """The others begin with one each, since nobody knows yet how long one takes; then parts are as large as ever."""
    path, plugin = recipe(CHAIN), apart_early(home)
    assert run_toy(path, plugin=plugin).code == 0
    monkeypatch.setattr(spread, "PART_SEC", 1e9)
    heard = []
    begin, add = spread.Split.begin, spread.Split._add
    monkeypatch.setattr(spread.Split, "begin", lambda self, task: (heard.append(("begins", task.stage, task.start)), begin(self, task))[1])
    monkeypatch.setattr(
        spread.Split, "_add", lambda self, part: (heard.append(("there", self.step.node.id, part.start)), add(self, part))[1]
    )
    hands, _ = run_spread(order_of(path, home / "another", plugin=plugin), size=3)
    assert_same()
    of_noise = [(what, start) for what, stage, start in heard if stage == "noise"]
    assert of_noise[:3] == [("begins", 0), ("begins", 1), ("begins", 2)]
    spans = sorted((task.start, task.stop) for task in hands.tasks if task.stage == "noise" and task.part)
    assert spans[:3] == [(0, None), (1, 2), (2, 3)]
    assert max(stop - start for start, stop in spans[1:]) > 1
    assert [later for _, later in spans[1:-1]] == [start for start, _ in spans[2:]], "each once"


class Forgetful(Hands):
    """Workers of which the first is lost with the first part, when others have begun."""

    def wait(self):
        for news in super().wait():
            lost = isinstance(news, Done) and news.task is self.tasks[0]
            yield Lost(news.task, "its process ended") if lost else news


def test_a_first_part_that_is_lost_when_others_have_begun_is_its_first_batch_and_no_more(recipe, run_toy, home, monkeypatch):
    path, plugin = recipe(CHAIN), apart_early(home)
    assert run_toy(path, plugin=plugin).code == 0
    monkeypatch.setattr("tests.cluster.hands.Hands", Forgetful)
    hands, told = run_spread(order_of(path, home / "another", plugin=plugin), size=3)
    assert_same()
    assert isinstance(hands, Forgetful)
    spans = sorted((task.start, task.stop) for task in hands.tasks if task.stage == "noise" and task.part and task.stop)
    assert spans[0] == (0, 1)
    assert [later for _, later in spans[:-1]] == [start for start, _ in spans[1:]]
    assert "a worker was lost (its process ended); its task of 'noise' is done again" in [e.get("message") for e in told]


def test_who_begins_early_and_chooses_otherwise_is_made_again_with_what_the_first_part_chose(recipe, home, monkeypatch):
    """As where a stage measures something although it has said that all is chosen."""
    plugin = apart_early(home, '    run.choose("late", lambda: run.start)\n')
    path = recipe(CHAIN)
    hands, _ = run_spread(order_of(path, home / "store", plugin=plugin), size=3)
    chosen = json.loads(Path("spread/run.json").read_text())["stages"][0]["choices"]
    assert chosen == {"late": 0}
    asked = [task.choices for task in hands.tasks if task.stage == "noise" and task.part and task.start == 1]
    assert asked == [{}, {"late": 0}]


def test_pictures_that_need_each_other_after_all_are_made_by_one_though_others_have_begun(recipe, run_toy, home, toy_log):
    path, plugin = recipe(TINT), apart_early(home)
    assert run_toy(path, plugin=plugin).code == 0
    toy_log()
    hands, _ = run_spread(order_of(path, home / "store", plugin=plugin), size=3)
    assert_same()
    assert sum(not task.part for task in hands.tasks if task.stage == "tint") == 1
    assert toy_log().count("tint 8") == 1


def test_pictures_that_need_each_other_are_made_by_one(recipe, home, toy_log):
    hands, told = run_spread(order_of(recipe(TINT), home / "store"))
    assert sum(not task.part for task in hands.tasks if task.stage == "tint") == 1
    assert toy_log().count("tint 8") == 1
    assert made_of(told) == ["noise", "tint"]


def test_branches_run_side_by_side(recipe, home):
    """Two that do not need each other are handed out before the first comes back."""
    stages = TRAINED + TRAINED.replace('id = "noise"', 'id = "noise2"\ncount = 5').replace('"train', '"other').replace(
        'save = "', 'save = "2'
    )
    hands, _ = run_spread(order_of(recipe(stages), home / "store"), size=8)
    order = [task.stage for task in hands.tasks if not (task.part or task.join)]
    assert set(order[:2]) == {"train", "other"}


def test_what_is_lost_is_made_again_and_gives_the_same(recipe, run_toy, home):
    path = recipe(CHAIN)
    run_toy(path)
    seen = []

    def fate(task):
        seen.append(task)
        return Lost(task, "its process ended") if seen.count(task) <= 2 and len(seen) % 3 else None

    _, told = run_spread(order_of(path, home / "store"), fate=fate)
    assert_same()
    notes = [event["message"] for event in told if event["event"] == "note"]
    assert "a worker was lost (its process ended); its task of 'noise' is done again" in notes


@pytest.mark.parametrize(
    ("stage", "why", "seconds", "times", "hint"),
    [
        ("train", "its process ended", 20, 3, "the system may have ended them for want of memory: use a smaller"),
        ("train", "its process ended", 10, 6, "the system may have ended them for want of memory: use a smaller"),
        ("train", "its process ended", 1, 10, "the system may have ended them for want of memory: use a smaller"),
        ("noise", "its process ended", 20, 10, "the system may have ended them for want of memory: use a smaller"),
        ("train", "its machine is gone", 3600, 10, "see the logs of Ray"),
        ("train", "out of memory", 1, 2, "use a smaller resolution"),
        ("noise", "out of memory", 1, 2, "use a smaller resolution"),
    ],
)
def test_a_task_that_loses_every_worker_is_given_up(recipe, home, stage, why, seconds, times, hint):
    """A whole training sooner than a part of some seconds or a small film, unless its machine went: that says nothing of the task."""
    tasks = []

    def fate(task):
        tasks.append(task)
        return Lost(task, why, memory="memory" in why, machine="machine" in why, seconds=seconds) if task.stage == stage else None

    with pytest.raises(ResourceError, match=f"^stage '{stage}': {times} workers were lost at it: {why}\n") as caught:
        run_spread(order_of(recipe(TRAINED), home / "store"), fate=fate)
    assert caught.value.hint.startswith(hint)
    assert max(map(tasks.count, tasks)) == times


def test_a_part_that_was_lost_is_halved(recipe, run_toy, home, monkeypatch):
    """Until the picture that ends its worker is alone; of that no more is tried than of any task, and all others are made before."""
    path = recipe('[[stage]]\nuses = "toy.noise"\nid = "noise"\ncount = 60\nsave = "noise"\n')
    run_toy(path)
    monkeypatch.setattr(spread, "PART_SEC", 1000.0)
    asked = []

    def fate(task):
        if task.stage != "noise" or task.stop is None:
            return None
        asked.append((task.start, task.stop))
        return Lost(task, "its process ended") if task.start <= 30 < task.stop and asked.count((30, 31)) <= 5 else None

    run_spread(order_of(path, home / "store"), fate=fate)
    assert_same()
    lost = [span for span in dict.fromkeys(asked) if span[0] <= 30 < span[1]]
    sizes = [stop - start for start, stop in lost]
    assert sizes[0] > 4
    assert sizes[-1] == 1
    assert all(after <= -(-before // 2) for before, after in pairwise(sizes)), "each is half of the one before, or less"
    assert asked.count((30, 31)) == 6, "a single picture is asked for again as it is"


def test_machines_that_go_do_not_count_as_losses_of_the_task(recipe, home):
    fates = [{"why": "its machine is gone", "machine": True, "seconds": 100}] * 5 + [{"why": "its process ended", "seconds": 100}] * 2

    def fate(task):
        return Lost(task, **fates.pop(0)) if task.stage == "train" and fates else None

    run_spread(order_of(recipe(TRAINED), home / "store"), fate=fate)
    assert not fates


def test_a_driver_that_is_lost_costs_no_finished_part(recipe, run_toy, home, toy_log):
    path = recipe(CHAIN)
    run_toy(path)
    toy_log()
    count = 0

    def fate(task):
        nonlocal count
        count += task.stage == "noise"
        if count == 5:
            raise KeyboardInterrupt
        return

    order = order_of(path, home / "store")
    with pytest.raises(KeyboardInterrupt):
        run_spread(order, fate=fate)
    before = toy_log()
    run_spread(order)
    after = toy_log()
    kept = {line for line in before if line.startswith("noise")} - {line for line in after if line.startswith("noise")}
    assert len(kept) >= 4, "what was made in order is not made again"
    assert_same()


def test_all_parts_are_there_but_were_not_joined(recipe, run_toy, home, toy_log, monkeypatch):
    path = recipe(CHAIN)
    run_toy(path)
    order = order_of(path, home / "store")
    with monkeypatch.context() as patched:
        patched.setattr(parts, "_join_output", lambda *arguments: (_ for _ in ()).throw(MemoryError))
        with pytest.raises(ResourceError, match="out of memory"):
            run_spread(order)
    toy_log()
    run_spread(order)
    assert not [line for line in toy_log() if line.startswith("noise")]
    assert_same()


def unjoined(order, patch):
    """Make all parts of the first stage and join none; returns their entries, in order."""
    with patch.context() as patched:
        patched.setattr(parts, "_join_output", lambda *arguments: (_ for _ in ()).throw(MemoryError))
        with pytest.raises(ResourceError, match="out of memory"):
            run_spread(order)
    found = [entry for entry in Store(Path(order.store)).entries() if entry.manifest["stage"].endswith(parts.SUFFIX)]
    return sorted(found, key=lambda entry: entry.manifest["start"])


def cut(path, where):
    """Leave of a file what a power cut may: a piece of its beginning, zeros in the place of its end, or nothing at all."""
    data = path.read_bytes()
    if where == "gone":
        path.unlink()
    elif where == "zeros":
        path.write_bytes(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))
    else:
        path.write_bytes(data[: {"empty": 0, "byte": 1, "half": len(data) // 2, "last": len(data) - 1}[where]])


@pytest.mark.parametrize("where", ["gone", "empty", "byte", "half", "last", "zeros"])
@pytest.mark.parametrize("name", ["manifest.json", "output/pixels.bin", "output/index.json", "output/meta.jsonl"])
def test_a_part_of_which_a_power_cut_left_less_is_made_again(recipe, run_toy, home, toy_log, monkeypatch, name, where):
    path = recipe(CHAIN)
    run_toy(path)
    order = order_of(path, home / "store")
    found = unjoined(order, monkeypatch)
    damaged = found[:: len(found) // 2]
    for entry in damaged:
        cut(entry.folder / name, where)
    toy_log()
    run_spread(order)
    wanted = [i for entry in damaged for i in range(entry.manifest["start"], entry.manifest["stop"])]
    made = [int(line.split()[1]) for line in toy_log() if line.startswith("noise")]
    assert sorted(set(made)) == wanted, "these, and no others"
    assert_same()
    assert not [entry for entry in Store(home / "store").entries() if entry.manifest["stage"].endswith(parts.SUFFIX)]


@pytest.mark.parametrize("where", ["gone", "half"])
def test_parts_that_are_lost_before_they_are_joined_are_made_again_in_the_same_run(recipe, run_toy, home, monkeypatch, where):
    """As after a power cut of the machine that holds the store, while the driver lives."""
    path = recipe(CHAIN)
    run_toy(path)
    joined, lost = parts.join, []

    def join(runner, step):
        if not lost:
            made = parts.found(runner, step)
            lost.extend(made[1:3])
            cut(runner.store.find(made[1].key).folder / "output/pixels.bin", where)
            runner.store.discard(made[2].key)
        return joined(runner, step)

    monkeypatch.setattr(parts, "join", join)
    hands, _ = run_spread(order_of(path, home / "store"))
    assert_same()
    spans = [(task.start, task.stop) for task in hands.tasks if task.part]
    assert lost
    assert all(spans.count((part.start, part.stop)) >= 2 for part in lost)


def test_parts_of_other_choices_are_not_joined(recipe, home, monkeypatch):
    """As of a first part that was lost and of one that chose anew: what chose otherwise is made again."""
    text = TOYS.read_text().replace(
        '        log(f"noise {i}")\n', '        run.choose("noise", lambda: os.environ["CHOICE"])\n        log(f"noise {i}")\n'
    )
    plugin = home / "toys.py"
    plugin.write_text(text)
    order = order_of(recipe(CHAIN), home / "store", plugin=plugin)
    monkeypatch.setenv("CHOICE", "one")
    found = unjoined(order, monkeypatch)
    assert {entry.manifest["choices"]["noise"] for entry in found} == {"one"}
    store = Store(home / "store")
    about = found[1].manifest
    made = store.commit_part(
        "0" * 64,
        shelf=next(iter((home / "store/similar").glob("*/*"))).name,
        kinds={"output": "images"},
        work=_work_of(found[1], home / "work"),
        about={name: value for name, value in about.items() if name not in ("key", "format", "outputs")} | {"choices": {"noise": "two"}},
    )
    store.discard(found[1].key)
    assert store.verified(made)
    hands, _ = run_spread(order)
    assert (found[1].manifest["start"], found[1].manifest["stop"]) in [(task.start, task.stop) for task in hands.tasks]
    assert next(task.choices for task in hands.tasks if task.stage == "noise") == {"noise": "one"}


def _work_of(entry, folder):
    """A work folder whose outputs are those of an entry."""
    shutil.copytree(entry.folder, folder / "outputs")
    (folder / "outputs/manifest.json").unlink()
    return folder


def test_what_is_read_is_verified_once_in_a_run_and_not_by_each_worker(recipe, home, monkeypatch):
    monkeypatch.setattr(artifacts, "BATCH_BYTES", 1)
    order = order_of(recipe(CHAIN), home / "store")
    run_spread(order)
    store, looked = Store(home / "store"), []
    key = next(entry.key for entry in store.entries() if entry.manifest["stage"] == "toy.noise")
    for entry in store.entries():
        if entry.manifest["stage"] == "toy.invert":
            store.discard(entry.key)
    monkeypatch.setattr(Entry, "damaged", lambda entry, damaged=Entry.damaged: (looked.append(entry.key), damaged(entry))[1])
    hands, _ = run_spread(order, size=4, out="again")
    assert sum(task.stage == "invert" for task in hands.tasks) > 4
    assert looked.count(key) == 1
    looked.clear()
    pixels = store.find(key).folder / "output/pixels.bin"
    pixels.write_bytes(b"\0" + pixels.read_bytes()[1:])
    for entry in store.entries():
        if entry.manifest["stage"] == "toy.invert":
            store.discard(entry.key)
    hands, _ = run_spread(order, size=4, out="again")
    assert any(task.stage == "noise" for task in hands.tasks), "what is damaged is made again"
    assert tree(Path("again")) == tree(Path("spread"))


def test_nothing_waits_for_the_disk_while_parts_are_made(recipe, home, monkeypatch):
    synced = []
    monkeypatch.setattr(parts, "make", _watched(parts.make, synced, monkeypatch))
    run_spread(order_of(recipe(CHAIN), home / "store"))
    assert synced
    assert sum(synced) == 0


def _watched(make, synced, patch):
    """Count what is synced to the disk while a part is made."""

    def made(*arguments):
        calls = []
        with patch.context() as patched:
            patched.setattr(os, "fsync", calls.append)
            part = make(*arguments)
        synced.append(len(calls))
        return part

    return made


def test_after_a_signal_what_runs_may_end_and_nothing_begins(recipe, home):
    stop, order = Stop(), order_of(recipe(CHAIN), home / "store")
    tasks = []

    def fate(task):
        tasks.append(task)
        if len(tasks) == 3:
            stop.signal = 2
        return

    with pytest.raises(Interrupted):
        run_spread(order, fate=fate, stop=stop)
    assert len(tasks) <= 5


@pytest.mark.parametrize(
    ("how", "kind", "words"),
    [
        ("value", StageError, "stage 'crash' (toy.crash) failed: ValueError: the toy broke"),
        ("memory", ResourceError, "out of memory (on "),
        ("disk", ResourceError, "the disk is full: /somewhere (on "),
        ("data", GenartError, "this picture cannot be used"),
    ],
)
def test_errors_of_workers_are_told_as_those_of_this_process(recipe, home, how, kind, words):
    stages = f'[[stage]]\nuses = "toy.noise"\n[[stage]]\nuses = "toy.crash"\nid = "crash"\nhow = "{how}"\nsave = "x"'
    with pytest.raises(kind) as caught:
        run_spread(order_of(recipe(stages), home / "store"))
    assert words in caught.value.message
    assert "stage 'crash'" in caught.value.message


def test_a_bug_of_ours_in_a_worker_is_told_as_one_and_not_tried_again(recipe, home, monkeypatch):
    calls = []

    def make(*arguments):
        calls.append(arguments)
        raise AssertionError("what never is")

    monkeypatch.setattr(parts, "make", make)
    with pytest.raises(GenartError, match=r"^this is a bug in genart: AssertionError: what never is") as caught:
        run_spread(order_of(recipe(CHAIN), home / "store"))
    assert caught.value.exit_code == 1
    assert len(calls) == 1


def test_the_recipe_is_the_one_that_was_read(recipe, home):
    order = order_of(recipe(CHAIN), home / "store")
    recipe("[[stage]]\nuses = 'toy.noise'")
    _, told = run_spread(order)
    assert len(made_of(told)) == 4


def test_workers_are_handed_the_text_that_the_driver_has_read(recipe):
    path = recipe(CHAIN)
    read = path.read_text()
    planner, _ = recipes.plan_of(path, None, None, None, "cpu", None, None, [TOYS], None)
    path.write_text("something else by now")
    executor = recipes.executor_on(planner, None, path, None, None, None, [TOYS], None)
    assert executor.pool.order.text == read


def test_a_worker_whose_files_differ_makes_nothing(recipe, home, toy_log):
    Path("a.txt").write_text("one")
    order = order_of(recipe('[[stage]]\nuses = "toy.read"\nid = "read"\npath = "a.txt"\nsave = "x"'), home / "store")

    def fate(task):
        Path("a.txt").write_text("another")
        return

    with pytest.raises(UsageError, match=r"would make something else of 'read': content of path changed"):
        run_spread(order, fate=fate)
    assert toy_log() == []


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        ("invert", r"the result of 'noise' is not in the store .*elsewhere"),
        ("noise", r"stage 'noise': a worker has made it, but its result is not in the store"),
    ],
)
def test_a_worker_with_another_store_says_so(recipe, home, monkeypatch, stage, words):
    """At the first task that shows it."""
    of_stage = []

    def fate(task):
        if task.stage == stage:
            of_stage.append(task)
            for worker in hands_of.workers:
                worker.runner.store.root = home / "elsewhere"
                for step in worker.runner.steps.values():
                    step.entry = None
        return

    hands_of = None
    original = spread.Spread.__init__

    def remember(self, pool):
        nonlocal hands_of
        hands_of = pool
        original(self, pool)

    monkeypatch.setattr(spread.Spread, "__init__", remember)
    with pytest.raises(ResourceError, match=words):
        run_spread(order_of(recipe(CHAIN), home / "store"), fate=fate)
    assert len(of_stage) == 1


def test_force_makes_again_what_is_there(recipe, home, toy_log):
    order = order_of(recipe(TRAINED), home / "store")
    run_spread(order)
    toy_log()
    _, told = run_spread(order, force=["train"])
    assert made_of(told) == ["train"]
    assert sum(line.startswith("train") for line in toy_log()) == 8


def test_one_worker_makes_no_parts(recipe, home):
    hands, _ = run_spread(order_of(recipe(CHAIN), home / "store"), size=1)
    assert not any(task.part for task in hands.tasks)


def test_a_task_asks_for_what_its_stage_declares(recipe, home):
    text = TOYS.read_text().replace('"toy.fade")', '"toy.fade", needs=genart.Needs(cpus=3, gpus=0.5, memory_bytes=1 << 20))')
    plugin = home / "toy.py"
    plugin.write_text(text)
    hands, _ = run_spread(order_of(recipe(CHAIN), home / "store", plugin=plugin))
    assert [(n.cpus, n.gpus, n.memory_bytes) for n in dict.fromkeys(hands.needs)] == [(1, 1.0, 0), (3, 0.5, 1 << 20)]


def test_a_stage_that_needs_no_gpu_computes_on_the_cpu(recipe, home, toy_log):
    """In parts and whole alike, so that it gives what it gives on one machine."""
    plugin = home / "toys.py"
    text = TOYS.read_text().replace('"toy.noise", ', '"toy.noise", needs=genart.Needs(gpus=0), ')
    for stage in ("noise", "invert"):
        text = text.replace(f'log(f"{stage} {{i}}")', f'log(f"{stage} on {{run.device}}")')
    plugin.write_text(text)
    for size in (1, 2):
        order = replace(order_of(recipe(CHAIN), home / f"store{size}", plugin=plugin), device="cuda")
        hands, _ = run_spread(order, size=size)
        assert any(task.part for task in hands.tasks) == (size == 2)
        assert set(toy_log()) >= {"noise on cpu", "invert on cuda"}


def test_what_fits_only_once_is_made_by_one(recipe, home, monkeypatch):
    """As on a cluster of many cores and one GPU."""
    plugin = home / "toys.py"
    plugin.write_text(TOYS.read_text().replace('"toy.noise", ', '"toy.noise", needs=genart.Needs(gpus=0), '))
    monkeypatch.setattr(Hands, "capacity", lambda self, needs: 1 if needs.gpus else 2)
    hands, _ = run_spread(order_of(recipe(CHAIN), home / "store", plugin=plugin))
    assert {task.stage for task in hands.tasks if task.part} == {"noise"}


def test_warnings_of_parts_are_told_once(recipe, home):
    text = TOYS.read_text().replace(
        '        log(f"noise {i}")\n',
        '        log(f"noise {i}")\n        run.warn("all is noise")\n        run.skip("x.png", "not there")\n',
    )
    plugin = home / "toys.py"
    plugin.write_text(text)
    _, told = run_spread(order_of(recipe(CHAIN), home / "store", plugin=plugin))
    assert [event["message"] for event in told if event["event"] == "warning"] == ["all is noise"]
    stages = json.loads(Path("spread/run.json").read_text())["stages"]
    assert stages[0]["warnings"] == ["all is noise"]
    assert stages[0]["skipped"] == [{"file": "x.png", "reason": "not there"}]


def test_a_training_on_a_worker_shows_what_one_here_shows(recipe, home):
    """Its numbers and pictures, in their order."""
    plugin = home / "toys.py"
    plugin.write_text(TOYS.read_text().replace("        run.metric(", "        run.preview(w[None])\n        run.metric("))
    path, here = recipe(TRAINED), []
    planner = Planner(load(path, plugins := Plugins([plugin])), plugins, Store(home / "store"), "cpu")
    Runner(planner, planner.steps(), Path("out"), Events(here.append), Stop()).run()
    _, told = run_spread(order_of(path, home / "another", plugin=plugin))
    ours, theirs = ([event for event in events if event["event"] in ("metric", "preview")] for events in (told, here))
    assert [event["event"] for event in ours] == ["preview", "metric"] * 8
    assert {event["stage"] for event in ours} == {"train"}
    assert ours == theirs


def test_what_a_stage_prints_on_a_worker_is_told_by_the_driver(recipe, home, monkeypatch):
    monkeypatch.setenv("TOY_PRINT", "1")
    stages = '[[stage]]\nuses = "toy.noise"\ncount = 2\n[[stage]]\nuses = "toy.invert"\nsave = "x"\n'
    _, told = run_spread(order_of(recipe(stages), home / "store"), size=1)
    where = socket.gethostname()
    assert [event["message"] for event in told if event["event"] == "note"] == [f"{where}: the toy prints"]


def test_a_file_that_is_edited_while_parts_are_made_gives_no_result(recipe, run_toy, home):
    path = recipe(TINT.replace('by = ["noise"]', 'by = ["v.txt"]'))
    Path("v.txt").write_text("old")
    assert run_toy(path).code == 0

    def edit(task):
        if task.stage == "tint" and task.start:
            Path("v.txt").write_text("edited")

    order = order_of(path, home / "another")
    with pytest.raises(ChangedError, match=r"stage 'tint' \(toy\.tint\): .*v\.txt: it was changed while the run went on"):
        run_spread(order, fate=edit)
    assert [entry.manifest["stage"] for entry in Store(home / "another").entries()] == ["toy.noise"]
    Path("v.txt").write_text("old")
    run_spread(order)
    assert_same()


def test_parts_that_vanish_before_they_are_joined(recipe, home, monkeypatch):
    order = order_of(recipe(CHAIN), home / "store")
    monkeypatch.setattr(parts, "join", _emptied(parts.join))
    with pytest.raises(ResourceError, match="a part of the result was taken out of the store"):
        run_spread(order)


def _emptied(join):
    def joined(runner, step):
        runner.store.discard(parts.found(runner, step)[1].key)
        return join(runner, step)

    return joined
