"""The store: a result is there whole or not at all, and what is damaged is made again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from genart.artifacts import digest_of
from genart.plugins import Plugins
from genart.store import Store, check_place, own_name, sealed_manifest, sha256_of

from .conftest import TOYS, tree

CHAIN = """
[[stage]]
uses = "toy.noise"
count = 4
[[stage]]
uses = "toy.train"
id = "train"
steps = 2
save = "m.safetensors"
[[stage]]
uses = "toy.draw"
count = 2
save = "pics"
[[stage]]
uses = "toy.film"
from = "train.progress"
save = "x.gif"
"""


class Crash(GeneratorExit):
    """Stands for the death of the process: of all exceptions it alone is caught by nobody."""


def is_sound(store: Store) -> bool:
    return all(not entry.damaged() for entry in store.entries())


@pytest.mark.parametrize("function", ["rename", "replace", "fsync", "link"])
def test_a_crash_at_every_step_leaves_nothing_half_written(run_toy, recipe, store, home, monkeypatch, function):
    """For every k: die at the k-th call; then nothing that is found is damaged, and a second run gives the same bytes."""
    path = recipe(CHAIN)
    assert run_toy(path).code == 0
    wanted = tree(Path("out"))
    real = getattr(os, function)
    k = 0
    while True:
        k += 1 if k < 10 else 4
        shutil.rmtree(store)
        shutil.rmtree("out")
        calls = 0

        def crashing(*arguments, _at=k, **named):
            nonlocal calls
            calls += 1
            if calls == _at:
                raise Crash
            return real(*arguments, **named)

        with monkeypatch.context() as context:
            context.setattr(os, function, crashing)
            try:
                from genart.cli import main

                main(["run", str(path), "-p", str(TOYS), "--quiet", "--device", "cpu", "--out", "out"])
            except Crash:
                pass
            except SystemExit:
                break  # it came to its end
        assert is_sound(Store(store)), k
        for name, data in tree(Path("out")).items() if Path("out").exists() else ():
            if not name.startswith(".") and "/." not in name:
                assert data == wanted[name], (k, name)
        assert run_toy(path).code == 0, k
        assert tree(Path("out")) == wanted, k
    assert calls >= 4


@pytest.mark.parametrize("harm", ["flip", "cut", "remove", "empty"])
def test_damage_in_any_file_is_found_and_mended(run_toy, recipe, store, harm):
    path = recipe(CHAIN)
    assert run_toy(path).code == 0
    wanted = tree(Path("out"))
    files = [file for file in sorted(store.glob("entries/**/*")) if file.is_file()]
    assert len(files) >= 10
    for file in files:
        data = file.read_bytes()
        if harm == "remove":
            file.unlink()
        else:
            middle = len(data) // 2
            file.write_bytes(
                {"flip": data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :], "cut": data[:middle], "empty": b""}[harm]
            )
        shutil.rmtree("out")
        result = run_toy(path)
        assert result.code == 0, (file.name, result.err)
        assert tree(Path("out")) == wanted, file.name
    run_toy(path, "--force")
    assert tree(Path("out")) == wanted
    assert is_sound(Store(store))


def test_verify_finds_damage_and_removes_it(run_toy, cli, recipe, store):
    run_toy(recipe(CHAIN))
    assert json.loads(cli("cache", "verify", "--json").out) == {"sound": 4, "damaged": []}
    file = next(store.glob("entries/??/*/output/pixels.bin"))
    file.write_bytes(b"?" + file.read_bytes()[1:])
    next(p for p in store.glob("entries/??/*/manifest.json") if p.parent != file.parent.parent).write_text("{")
    result = json.loads(cli("cache", "verify", "--json").out)
    assert result["sound"] == 2
    assert sorted(item["files"][0] for item in result["damaged"]) == ["manifest.json", "output/pixels.bin"]
    assert json.loads(cli("cache", "verify", "--json").out) == {"sound": 2, "damaged": []}


def test_info(run_toy, cli, recipe, store):
    assert json.loads(cli("cache", "info", "--json").out)["entries"] == 0
    run_toy(recipe(CHAIN))
    about = json.loads(cli("cache", "info", "--json").out)
    assert (about["path"], about["entries"], about["work_bytes"]) == (str(store), 4, 0)
    assert about["bytes"] == sum(s["bytes"] for s in about["stages"].values()) > 0
    assert "4 results" in cli("cache", "info").out


def test_gc_removes_the_longest_unused_first(run_toy, cli, recipe, store):
    run_toy(recipe(CHAIN))
    entries = sorted(Store(store).entries(), key=lambda e: e.manifest["stage"])
    for age, entry in enumerate(entries):
        os.utime(entry.folder, (time.time() - 86400 * age,) * 2)
    limit = entries[0].bytes + entries[1].bytes
    result = cli("cache", "gc", "--max-size", f"{limit}B", "--json")
    assert json.loads(result.out)["removed"] == 2, result.err
    assert {e.key for e in Store(store).entries()} == {e.key for e in entries[:2]}
    assert json.loads(cli("cache", "gc", "--older-than", "0.5", "--json").out)["removed"] == 1
    assert json.loads(cli("cache", "gc", "--max-size", "0", "--json").out)["removed"] == 1
    for kind in ("entries", "ancestry", "similar"):
        assert not any(p.is_file() for p in (store / kind).rglob("*")), kind
    for option, value in (
        ("--max-size", "much"),
        ("--max-size", "-1GB"),
        *(("--older-than", days) for days in ("x", "", "-1", "nan", "inf")),
    ):
        result = cli("cache", "gc", option, value)
        assert (result.code, f"{option} {value}: expected" in result.err) == (2, True)


def test_gc_removes_all_that_is_older_than_now(run_toy, cli, recipe, store):
    run_toy(recipe(CHAIN))
    assert json.loads(cli("cache", "gc", "--json").out)["removed"] == 0
    assert json.loads(cli("cache", "gc", "--older-than", "0", "--json").out)["removed"] == 4
    assert list(Store(store).entries()) == []


def test_gc_forgets_what_nobody_came_back_to_for_a_week(cli, store):
    for name, days in (("work/old", 8), ("work/new", 6), ("remakes/old", 8), ("remakes/new", 6)):
        (store / name).mkdir(parents=True)
        os.utime(store / name, (time.time() - 86400 * days,) * 2)
    assert cli("cache", "gc").code == 0
    assert sorted(path.relative_to(store).as_posix() for path in store.glob("*/*")) == ["remakes/new", "work/new"]


def aged(path: Path, days: float) -> None:
    """Let a file or folder, and all in it, be so many days old."""
    for one in (*path.rglob("*"), path):
        os.utime(one, (time.time() - 86400 * days,) * 2)


@pytest.mark.parametrize("fresh", ["checkpoints/checkpoint-00000000.safetensors", "outputs/progress/pixels.bin", "choices.json"])
def test_gc_leaves_work_in_which_anything_is_new(cli, store, fresh):
    file = store / "work" / "old" / fresh
    file.parent.mkdir(parents=True)
    file.write_text("a moment ago")
    aged(store / "work" / "old", 8)
    os.utime(file)
    assert cli("cache", "gc").code == 0
    assert file.exists()
    aged(store / "work" / "old", 8)
    assert cli("cache", "gc").code == 0
    assert list(store.glob("work/*")) == []


def test_gc_leaves_work_that_a_process_holds(store):
    pytest.importorskip("fcntl", reason="this system has no flock")
    places = [store / "work" / "old", store / "work" / "old.lock", store / "remakes" / "old", store / "work" / "remake-old.lock"]
    for folder in places[::2]:
        folder.mkdir(parents=True)

    def never():
        raise AssertionError("nobody else holds it")

    with Store(store).lock("old", never, never), Store(store).lock("remake-old", never, never):
        for place in places:
            aged(place, 8)
        Store(store).collect(0)
        assert all(place.exists() for place in places)
    for lock in places[1::2]:  # as a kill leaves them
        lock.touch()
        aged(lock, 8)
    Store(store).collect(0)
    assert not any(place.exists() for place in places)


def test_gc_drops_what_other_machines_left_long_ago(store):
    for kind in ("tmp", "scratch"):
        for name, days in ((own_name(), 40), ("elsewhere.1", 40), ("elsewhere.2", 8)):
            (store / kind / name / "x").mkdir(parents=True)
            aged(store / kind / name, days)
    Store(store).collect(0)
    left = {path.relative_to(store).as_posix() for kind in ("tmp", "scratch") for path in store.glob(f"{kind}/*")}
    assert left == {f"scratch/{own_name()}", "scratch/elsewhere.2", "tmp/elsewhere.2"}


def test_a_film_of_a_stranger_s_store_is_one_of_its_files(run_toy, recipe, store, home):
    """The manifest is sealed anew, as somebody who can write to a shared store may do it."""
    path = recipe(CHAIN)
    assert run_toy(path).code == 0
    wanted = tree(Path("out"))
    (home / "secret.gif").write_bytes(Path("out/x.gif").read_bytes())
    entry = next(entry for entry in Store(store).entries() if entry.manifest["stage"] == "toy.film")
    film, about = entry.folder / "output" / "video.json", entry.manifest["outputs"]["output"]
    film.write_text(json.dumps({"file": str(home / "secret.gif"), "fps": 10.0, "count": 2}))
    about["files"]["video.json"], about["sizes"]["video.json"] = sha256_of(film), film.stat().st_size
    about["digest"] = digest_of(about["files"])
    (entry.folder / "manifest.json").write_bytes(sealed_manifest(entry.manifest))
    shutil.rmtree("out")
    result = run_toy(path)
    assert (result.code, "names a film that is not its own" in result.err) == (7, True), result.err
    assert run_toy(path, "--force", "toy.film").code == 0
    assert tree(Path("out")) == wanted


def test_gc_sweeps_what_killed_processes_left(cli, store):
    import socket

    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    ours, theirs = (store / "tmp" / f"{host}.{gone.pid}" for host in (socket.gethostname(), "elsewhere"))
    for folder in (ours, theirs):
        folder.mkdir(parents=True)
    wreck = store / "entries" / "ab" / ("ab" * 32)
    wreck.mkdir(parents=True)
    assert cli("cache", "gc").code == 0
    assert (ours.exists(), theirs.exists(), wreck.exists()) == (False, True, False)


def test_a_result_outlives_its_inputs(run_toy, recipe, store, toy_log):
    """Intermediates that were collected are not made again while everything made of them is there."""
    path = recipe(CHAIN)
    run_toy(path)
    wanted = tree(Path("out"))
    for entry in list(Store(store).entries()):
        if entry.manifest["stage"] == "toy.noise":
            Store(store).discard(entry.key)
    toy_log()
    assert run_toy(path).made() == []
    assert toy_log() == []
    shutil.rmtree("out")
    assert run_toy(path).made() == []
    assert tree(Path("out")) == wanted
    result = run_toy(path, "--set", "train.steps=3")
    assert {"toy.noise", "train"} <= set(result.made()), "made again when it is needed"


def test_early_cut_off(run_toy, recipe, store):
    """A stage whose code changed and whose pictures did not: what follows is spared."""
    path = recipe(
        '[[stage]]\nuses = "toy.read"\npath = "a.txt"\n[[stage]]\nuses = "toy.invert"\n[[stage]]\nuses = "toy.fade"\nsave = "x"\n'
    )
    Path("a.txt").write_text("abc")
    assert len(run_toy(path).made()) == 3
    Path("a.txt").write_text("xyz")  # other content, but the toy looks at the length alone
    result = run_toy(path)
    assert result.made() == ["toy.read"]
    assert [e["stage"] for e in result.events if e["event"] == "stage_cached"] == ["toy.invert", "toy.fade"]
    assert run_toy(path).made() == []


def test_leftovers_of_killed_writes_do_not_enter_a_result(run_toy, recipe, store, home):
    path = recipe('[[stage]]\nuses = "toy.noise"\n[[stage]]\nuses = "toy.crash"\nat = 4\nsave = "x"\n')
    assert run_toy(path).code == 4
    for work in store.glob("work/*/outputs/output"):
        (work / ".sync.json.123.abcd.tmp").write_bytes(b"half")
    os.environ["TOY_CRASH"] = "0"
    try:
        assert run_toy(path).code == 0
    finally:
        del os.environ["TOY_CRASH"]
    assert not [p for p in store.glob("entries/**/*") if p.name.startswith(".")]


def test_two_processes_at_once_make_it_once(recipe, genart_process, home):
    path = recipe(
        '[[stage]]\nuses = "toy.noise"\ncount = 12\nslow = 0.05\n[[stage]]\nuses = "toy.train"\nslow = 0.05\nsave = "m.safetensors"\n'
    )
    log = home / "log"
    started = [
        genart_process("run", path, "-p", TOYS, "--device", "cpu", "--out", name, "--json", TOY_LOG=str(log))
        for name in ("one", "two", "three")
    ]
    outs = [process.communicate() for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], outs
    assert tree(Path("one")) == tree(Path("two")) == tree(Path("three"))
    made = log.read_text().splitlines()
    assert sorted(made) == sorted(set(made)), "nothing is made twice"


def test_the_lock_is_one_persons_after_many_hands(store):
    """Processes that take turns at a lock whose file is removed in between never hold it together."""
    code = (
        "import sys, time; from pathlib import Path; from genart.store import Store\n"
        "store, proof = Store(Path(sys.argv[1])), Path(sys.argv[2])\n"
        "for _ in range(40):\n"
        "    with store.lock('a', lambda: None, lambda: None):\n"
        "        proof.mkdir(); proof.rmdir()\n"
    )
    prelude = "import genart.store, time; genart.store.time.sleep = lambda _s, _real=time.sleep: _real(0.0005)\n"
    hands = [
        subprocess.Popen([sys.executable, "-c", prelude + code, str(store), str(store.parent / "proof")], stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    errors = [process.communicate()[1] for process in hands]
    assert [process.returncode for process in hands] == [0, 0, 0], errors


def test_a_lock_waits_and_can_be_interrupted(store):
    class Enough(Exception):
        pass

    waited = []

    def enough():
        raise Enough

    first, second = Store(store).lock("a", lambda: None, lambda: None), Store(store).lock("a", lambda: waited.append(1), enough)
    with first, pytest.raises(Enough), second:
        raise AssertionError("held by two")
    assert waited == [1]
    assert list((store / "work").iterdir()) == []


def test_a_wreck_in_the_place_of_an_entry_gives_way(run_toy, recipe, store):
    path = recipe(CHAIN)
    run_toy(path)
    for manifest in store.glob("entries/??/*/manifest.json"):
        manifest.write_text("[]")
    assert run_toy(path).code == 0
    assert len(list(Store(store).entries())) == 4


def test_a_read_only_or_missing_store_is_said(cli, recipe, home):
    (home / "cache" / "genart").write_text("a file")
    result = cli("run", recipe('[[stage]]\nuses = "toy.noise"\n'), "-p", TOYS, "--device", "cpu", "--quiet")
    assert result.code == 5, result.err
    assert len(result.err.splitlines()) <= 3


def test_checkpoints_survive_damage(home):
    import torch

    from genart.run import Checkpoints

    folder = home / "c"
    checkpoints = Checkpoints(folder)
    assert checkpoints.load() is None
    for i in range(4):
        checkpoints.save({"w": torch.full((3,), float(i))}, {"i": i})
    assert len(list(folder.iterdir())) == 2
    newest = max(folder.iterdir())
    data = newest.read_bytes()
    newest.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    tensors, state = Checkpoints(folder).load()
    assert (state, tensors["w"].tolist()) == ({"i": 2}, [2.0] * 3)
    for path in folder.iterdir():
        path.write_bytes(b"")
    again = Checkpoints(folder)
    assert again.load() is None
    again.save({"w": torch.zeros(3)}, {"i": 9})
    assert Checkpoints(folder).load()[1] == {"i": 9}, "damaged ones do not outlive a new one"
    again.save({"w": torch.zeros(3)}, {"i": 10})
    assert Checkpoints(folder).load()[1] == {"i": 10}
    assert len(list(folder.iterdir())) == 2


def test_a_checkpoint_takes_its_share_of_the_time_with_all_that_is_done_for_it(home, monkeypatch):
    from types import SimpleNamespace

    from genart import run

    clock = [100.0]
    monkeypatch.setattr(run, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    checkpoints, spent, saves = run.Checkpoints(home / "c"), 0.0, []
    for _ in range(4000):
        clock[0] += 0.1
        if checkpoints.due():
            clock[0] += 0.3  # what its owner does for it: copies, looks whether all is finite
            spent += 0.3
            checkpoints.save({}, {})
            saves.append(clock[0])
    assert len(saves) > 10
    assert spent / (clock[0] - 100) <= run.CHECKPOINT_SHARE
    assert saves[-1] - saves[-2] < 1.1 * 0.3 / run.CHECKPOINT_SHARE, "and no less"


def test_plugins_are_found_without_being_loaded():
    assert all(plugin.module is None for plugin in Plugins().plugins.values())


def test_a_place_that_goes_while_it_is_looked_at_is_left_to_writing(tmp_path, monkeypatch):
    place = tmp_path / "out"
    place.mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: place.rmdir())  # None, as if it could not be written
    check_place(place)
    assert not place.exists()
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(OSError, match="Permission denied"):
        check_place(tmp_path)
