"""Runs on Ray itself."""

import json
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from random import Random
from types import SimpleNamespace

import pytest

from genart import on_ray, worker
from genart.errors import ResourceError, UsageError
from genart.spread import Lost
from genart.stages import Needs
from tests.cluster.processes import below, is_loopback, listening, title
from tests.conftest import TOYS, tree

if sys.platform != "linux":
    pytest.skip("reads /proc", allow_module_level=True)

SLOW = """
[[stage]]
uses = "toy.noise"
id = "noise"
count = 40
slow = 0.1
[[stage]]
uses = "toy.invert"
save = "inverted"
[[stage]]
uses = "toy.film"
save = "film.gif"
"""
ARGUMENTS = ("-p", TOYS, "--device", "cpu", "--json")


def until(process, wanted):
    """Wait for something while a command runs; a command that ends before is a failure."""
    while not (found := wanted()):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    return found


def until_gone(pids):
    """Wait until none of a command's processes is left; they go by themselves, a moment after it."""
    while any(map(title, pids)):
        time.sleep(0.02)


def workers(process):
    return [pid for pid in below(process.pid) if title(pid).startswith("ray::Worker")]


def events(out):
    return [json.loads(line) for line in out.splitlines()]


def test_a_run_on_ray_that_loses_a_worker(recipe, run_toy, genart_process, home):
    """It gives the same bytes, listens nowhere but on the loopback, and leaves no process behind."""
    path = recipe(SLOW)
    run_toy(path)
    process = genart_process("run", path, "--out", "ray", "--on", "ray", *ARGUMENTS, XDG_CACHE_HOME=str(home / "another"))
    until(process, lambda: list((home / "another/genart/similar").glob("*/*/*")))  # the first part is there
    doomed = until(process, lambda: workers(process))[0]
    begun = below(process.pid)
    addresses = list(listening([process.pid, *begun]))
    os.kill(doomed, signal.SIGKILL)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert tree(Path("ray")) == tree(Path("out")) != {}
    assert addresses
    assert all(map(is_loopback, addresses)), addresses
    told = events(out)
    assert [event["event"] for event in (told[0], told[-1])] == ["run_started", "run_finished"]
    notes = [event["message"] for event in told if event["event"] == "note"]
    assert notes == ["a worker was lost (its process ended); its task of 'noise' is done again"]
    until_gone(begun)


@pytest.mark.slow
def test_twenty_workers_killed_at_random_during_a_film_of_500_frames(recipe, run_toy, genart_process, home):
    path = recipe(SLOW.replace("count = 40", "count = 500"))
    run_toy(path)
    process = genart_process("run", path, "--out", "ray", "--on", "ray", *ARGUMENTS, XDG_CACHE_HOME=str(home / "another"))
    random, killed = Random(1), set()
    while len(killed) < 20:
        doomed = random.choice(until(process, lambda: [pid for pid in workers(process) if pid not in killed]))
        time.sleep(random.uniform(0.0, 4.0))
        if title(doomed).startswith("ray::Worker"):
            os.kill(doomed, signal.SIGKILL)
            killed.add(doomed)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert tree(Path("ray")) == tree(Path("out")) != {}
    lost = [event["message"] for event in events(out) if event["event"] == "note"]
    print(len(lost), "tasks were lost with", len(killed), "workers")
    assert 1 <= len(lost) <= len(killed), "at most one task for each"


@pytest.mark.slow
def test_ctrl_c_stops_the_workers_and_the_run_goes_on(recipe, run_toy, genart_process, home):
    path = recipe(SLOW)
    run_toy(path)
    process = genart_process("run", path, "--out", "ray", "--on", "ray", *ARGUMENTS, XDG_CACHE_HOME=str(home / "another"))
    until(process, lambda: list((home / "another/genart/similar").glob("*/*/*")))
    begun = below(process.pid)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert process.returncode == 130, err
    assert events(out)[-1] == {**events(out)[-1], "event": "error", "exit_code": 130}
    until_gone(begun)
    kept = list((home / "another/genart/entries").glob("*/*"))
    assert kept
    again = genart_process("run", path, "--out", "ray", *ARGUMENTS, XDG_CACHE_HOME=str(home / "another"))
    again.communicate()
    assert again.returncode == 0
    assert tree(Path("ray")) == tree(Path("out")) != {}


def test_errors_of_workers_end_the_run_as_errors_of_this_process(recipe, genart_process):
    path = recipe('[[stage]]\nuses = "toy.noise"\n[[stage]]\nuses = "toy.crash"\nid = "crash"\nsave = "x"')
    process = genart_process("run", path, "--on", "ray", "-p", TOYS, "-q")
    _, err = process.communicate()
    assert process.returncode == 4
    assert err.splitlines() == [
        "genart: stage 'crash' (toy.crash) failed: ValueError: the toy broke",
        "  run with --debug for the traceback",
    ]


def test_a_cached_run_starts_no_ray(recipe, run_toy, monkeypatch):
    path = recipe(SLOW)
    run_toy(path, "--set", "noise.slow=0")
    monkeypatch.setattr(on_ray, "connect", lambda *arguments: pytest.fail("it was started"))
    result = run_toy(path, "--set", "noise.slow=0", "--on", "ray")
    assert result.code == 0
    assert result.made() == []


# what goes wrong before anything runs


@pytest.mark.parametrize("on", ["dask", "ray://", "ray://host", "ray://host:x", "http://host:1", "ray://host:1/path", ""])
def test_an_address_of_another_form_is_refused(recipe, run_toy, on):
    result = run_toy(recipe(SLOW), "--on", on)
    assert result.code == 2
    assert f"--on {on}: expected ray, or the address of a cluster such as ray://head:10001" in result.out


def test_without_ray_it_says_how_to_get_it(recipe, run_toy, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    result = run_toy(recipe(SLOW), "--on", "ray")
    assert result.code == 2
    assert (result.events[-1]["message"], result.events[-1]["hint"]) == (
        "--on needs Ray, which is not installed",
        "pip install 'genart[ray]'",
    )


def test_an_address_where_nothing_answers(recipe, run_toy):
    result = run_toy(recipe(SLOW), "--on", "ray://127.0.0.1:1")
    assert result.code == 5
    assert "--on ray://127.0.0.1:1: nothing answers there (Connection refused)" in result.out


# what goes wrong with workers


def about(**changes):
    return {"host": "node7", "versions": worker.versions(), "problem": None, **changes}


def test_versions_that_differ_are_told_by_name(recipe, home):
    from tests.cluster.hands import order_of

    pool, member = on_ray.RayPool(order_of(recipe(SLOW), home / "store")), on_ray.Member(None, Needs(), None)
    pool._greet(member, about())
    assert member.is_ready
    theirs = {**worker.versions(), "torch": "1.0", "genart": "0.0.9"}
    with pytest.raises(UsageError) as caught:
        pool._greet(member, about(versions=theirs))
    ours = worker.versions()
    assert caught.value.message == f"the worker on node7 has genart 0.0.9 (here {ours['genart']}), torch 1.0 (here {ours['torch']})"


def test_a_plugin_that_a_worker_lacks(recipe, home):
    from tests.cluster.hands import order_of

    order = order_of(recipe(SLOW), home / "store", plugin=home / "gone.py")
    told = worker.Worker(order.as_json()).about()
    pool = on_ray.RayPool(order)
    member = on_ray.Member(None, Needs(), None)
    with pytest.raises(UsageError, match=r"^the worker on .*: .*gone\.py: no such plugin file"):
        pool._greet(member, told)
    assert not member.is_ready


class Ray:
    """What the pool asks of Ray, without one: a cluster of two machines with four and eight cores, and a GPU each."""

    def __init__(self):
        self.killed = []

    def cluster_resources(self):
        return {"CPU": 12.0, "GPU": 2.0, "memory": 100.0}

    def nodes(self):
        return [{"Alive": True, "Resources": {"CPU": 4.0}}, {"Alive": True, "Resources": {"CPU": 8.0}}]

    def remote(self, kind):
        class Actor:
            @staticmethod
            def options(**options):
                class Ready:
                    @staticmethod
                    def remote(order, threads, gpus):
                        class Handle:
                            class about:
                                remote = staticmethod(lambda: "ready")

                        return Handle

                return Ready

        return Actor

    def kill(self, handle):
        self.killed.append(handle)

    def shutdown(self):
        self.killed.append("all")


@pytest.fixture
def pool(recipe, home, monkeypatch):
    from tests.cluster.hands import order_of

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(on_ray, "connect", lambda address, cpus: Ray())
    return on_ray.RayPool(order_of(recipe(SLOW), home / "store"))


def test_as_many_workers_come_as_there_is_work_and_room_for(pool):
    assert pool.capacity(Needs()) == 12
    pool.want({Needs(): 3})
    assert len(pool.members) == 3
    pool.want({Needs(): 2})
    assert len(pool.members) == 3, "three are on their way"
    pool.want({Needs(): 100})
    assert len(pool.members) == 12
    assert not pool.has_room(Needs()), "none is ready"


def test_idle_workers_make_room_for_those_of_another_kind(pool):
    pool.want({Needs(): 12})
    pool.members[0].task = "busy"
    pool.want({Needs(cpus=6): 2})
    assert [member.needs.cpus for member in pool.members].count(6) == 1
    assert sum(member.needs.cpus for member in pool.members) <= 12
    assert pool.members[0].task == "busy"


def test_kinds_that_are_wanted_at_once_do_not_drive_each_other_out(pool):
    """What needs a GPU comes in the place of what needs none, as far as there are GPUs; both stay."""
    pool.order = replace(pool.order, device="cuda")
    pool.want({Needs(gpus=0): 50})
    assert len(pool.members) == 12
    kinds = []
    for demand in ({Needs(gpus=0): 50, Needs(): 3, Needs(cpus=2): 1}, {Needs(cpus=2): 1, Needs(): 3, Needs(gpus=0): 50}) * 3:
        pool.want(demand)
        kinds.append(sorted((member.needs.gpus, member.needs.cpus) for member in pool.members))
    assert kinds == [[(0, 1)] * 9 + [(1.0, 1), (1.0, 2)]] * 6
    assert len(pool._ray.killed) == 4


def test_nobody_goes_for_room_that_is_still_too_little(pool):
    pool.want({Needs(): 12})
    for member in pool.members[:9]:
        member.task = "busy"
    pool.want({Needs(): 50, Needs(cpus=5): 1})
    assert pool._ray.killed == []
    pool.members[0].task = pool.members[1].task = None
    pool.want({Needs(): 50, Needs(cpus=5): 1})
    assert len(pool._ray.killed) == 5
    assert [member.needs.cpus for member in pool.members].count(5) == 1


def test_more_cores_than_any_machine_has_are_all_of_one(pool, monkeypatch):
    pool.want({Needs(cpus=64): 1})
    assert pool.members[0].needs.cpus == 8
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    pool.want({Needs(cpus=64): 1})
    assert pool.members[-1].needs.cpus == 2


def test_many_workers_are_asked_in_turn_what_happens(pool, monkeypatch):
    """Not each of them all the time: the driver would do nothing else."""
    clock, asked = [0.0], []

    def news():
        asked.append(clock[0])
        return f"news {len(asked)}"

    monkeypatch.setattr(on_ray, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(on_ray, "MOST_ASKED_PER_SEC", 4.0)
    pool.want({Needs(): 12})
    ray = pool._ray
    ray.wait = lambda refs, **options: ([ref for ref in refs if ref.startswith("news")], [])
    ray.get = lambda ref: [{"event": "progress"}]
    for number, member in enumerate(pool.members):
        member.handle = SimpleNamespace(told=SimpleNamespace(remote=news))
        member.is_ready, member.task, member.made = True, "a task", f"made {number}"
    told = 0
    for tick in range(1, 1001):
        clock[0] = tick / 100
        told += len(list(pool.wait()))
    assert told == len(asked)
    assert 30 <= told <= 4 * 10 + 12


def test_memory_is_room_too(pool):
    assert pool.capacity(Needs(memory_bytes=30)) == 3
    pool.want({Needs(memory_bytes=60): 5})
    assert len(pool.members) == 1


def test_what_needs_no_gpu_waits_for_none(pool):
    pool.order = replace(pool.order, device="cuda")
    assert [pool.capacity(Needs(gpus=gpus)) for gpus in (1, 0.5, 0)] == [2, 4, 12]
    assert pool.capacity(Needs(cpus=4, gpus=0)) == 3
    pool.want({Needs(): 5})
    assert [member.needs.gpus for member in pool.members] == [1.0, 1.0]
    pool.want({Needs(): 2, Needs(gpus=0): 100})
    assert [member.needs.gpus for member in pool.members] == [1.0] * 2 + [0] * 10


@pytest.mark.parametrize(("gpus", "device"), [({"GPU": 1.0}, "cuda"), ({}, "cpu")])
def test_a_cluster_says_what_it_computes_with(monkeypatch, gpus, device):
    """Not the machine that drives it, which may have no GPU."""
    reached = []
    ray = SimpleNamespace(cluster_resources=lambda: {"CPU": 4.0, **gpus})
    monkeypatch.setattr(on_ray, "connect", lambda address, cpus: (reached.append(address), ray)[1])
    assert on_ray.device_on("ray://head:10001", "auto") == device
    assert reached == ["ray://head:10001"]
    assert on_ray.device_on("ray://head:10001", "cuda") == "cuda"
    assert len(reached) == 1, "nobody has to be asked"


def test_a_gpu_that_is_wanted_need_not_be_here(recipe, run_toy):
    result = run_toy(recipe(SLOW), "--device", "cuda", "--on", "ray://127.0.0.1:1")
    assert result.code == 5
    assert "nothing answers there" in result.out


def test_a_cluster_without_a_gpu_is_told_from_one_that_has_lost_its_own(pool):
    pool.order, totals = replace(pool.order, device="cuda"), {"CPU": 4.0}
    pool._begin()
    pool._ray.cluster_resources = lambda: totals
    pool.want({Needs(): 1})
    pool._looked = 0.0
    pool.want({Needs(): 1})
    assert pool._totals == totals, "a machine with a GPU may come back"
    pool._most_gpus = 0.0
    pool.want({Needs(gpus=0): 1})
    with pytest.raises(UsageError, match=r"^--device cuda: a task asks for 1 GPU, and Ray has 0\n"):
        pool.want({Needs(): 1})


@pytest.mark.parametrize(("gpus", "there", "problem"), [(1.0, False, True), (1.0, True, False), (0.0, False, False)])
def test_a_worker_sees_whether_torch_can_use_its_gpu(recipe, home, monkeypatch, gpus, there, problem):
    import torch

    from tests.cluster.hands import order_of

    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    told = worker.Worker(order_of(recipe(SLOW), home / "store").as_json(), gpus=gpus).about()["problem"]
    assert (told["message"] if told else None) == ("--device cuda: torch finds no GPU" if problem else None)


def test_threads_that_are_set_leave_room_for_fewer_workers(pool, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert pool.capacity(Needs()) == 3


def test_workers_that_never_begin_end_the_run(pool):
    from ray.exceptions import RayActorError

    pool.want({Needs(): 3})
    members = list(pool.members)
    assert not list(pool._gone(members[0], RayActorError()))
    assert not list(pool._gone(members[1], RayActorError()))
    with pytest.raises(ResourceError, match="no worker begins on Ray"):
        list(pool._gone(members[2], RayActorError()))


def test_workers_without_genart(pool):
    from ray.exceptions import ActorDiedError, RayTaskError

    pool.want({Needs(): 1})
    cause = RayTaskError("__init__", "ModuleNotFoundError: No module named 'genart'", ModuleNotFoundError())
    with pytest.raises(UsageError, match="the workers have no genart"):
        list(pool._gone(pool.members[0], ActorDiedError(cause)))


def test_a_lost_worker_gives_its_task_back(pool):
    from ray.exceptions import NodeDiedError, OutOfMemoryError, RayActorError

    pool.want({Needs(): 3})
    first, second, third = pool.members
    for name, member in zip("abc", pool.members, strict=True):
        member.is_ready, member.task = True, name
    first.since = time.monotonic() - 30
    lost = list(pool._gone(first, RayActorError()))
    assert lost == [Lost("a", "its process ended")]
    assert 30 <= lost[0].seconds < 3600
    assert list(pool._gone(second, OutOfMemoryError("too much"))) == [Lost("b", "out of memory", memory=True)]
    assert list(pool._gone(third, NodeDiedError("no heartbeat"))) == [Lost("c", "its machine is gone", machine=True)]
    assert pool.members == []
    pool.close()
    pool.close()
