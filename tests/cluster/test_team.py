"""Data-parallel training: what several processes give is what one gives, and what happens when one of them is gone."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from genart import provenance
from genart.errors import UsageError
from genart.launch import Launch, launched
from genart.nn.data import Pictures
from genart.nn.shards import ALONE
from genart.nn.team import Following, Team
from genart.run import Checkpoints
from tests.cluster.one_step import CASES, SPOKEN
from tests.cluster.processes import below, is_loopback, listening, title
from tests.conftest import ROOT

#: What rounding may change of gradients, as a share of their length; and where D compares features that hardly differ, near the kinks of
#: its rectifiers.
ROUNDING, KINKED = 5e-5, 5e-3


def free_port() -> int:
    """A port that nobody has."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def environment(rank: int, size: int, port: int) -> dict[str, str]:
    """What torchrun tells a process."""
    told = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": rank, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return {**os.environ, "OMP_NUM_THREADS": "1", **{name: str(value) for name, value in told.items()}}


@pytest.fixture(scope="module")
def steps(tmp_path_factory):
    """steps(size, *arguments) -> gradients of as many processes, by case; computed once."""

    @cache
    def all_cases(size, *arguments):
        folder = tmp_path_factory.mktemp(f"steps{size}")
        port, command = free_port(), [sys.executable, "-m", "tests.cluster.one_step", str(folder), *arguments]
        environments = [environment(rank, size, port) for rank in range(size)] if size > 1 else [dict(os.environ, OMP_NUM_THREADS="1")]
        running = [subprocess.Popen(command, env=env, cwd=ROOT, stderr=subprocess.PIPE, text=True) for env in environments]
        told = [process.communicate()[1] for process in running]
        assert all(process.returncode == 0 for process in running), told
        return {path.stem: load_file(path) for path in folder.glob("*.safetensors")}

    return all_cases


def errors(alone: dict[str, torch.Tensor], together: dict[str, torch.Tensor]) -> dict[str, float]:
    """Of the gradients of G and D, of running statistics and of what was told: length of the difference, as a share of their length."""
    assert alone.keys() == together.keys()

    def kind(name: str) -> str:
        return "running" if "running" in name else name.partition("/")[0]

    kinds: dict[str, list[str]] = {}
    for name in alone:
        kinds.setdefault(kind(name), []).append(name)
    flat = {key: [torch.cat([found[name].flatten() for name in names]) for found in (alone, together)] for key, names in kinds.items()}
    return {key: float((a - b).norm() / a.norm()) for key, (a, b) in flat.items()}


@pytest.mark.parametrize("size", [2, pytest.param(4, marks=pytest.mark.slow)])
@pytest.mark.parametrize("case", CASES)
def test_processes_that_share_a_batch_find_the_gradients_that_one_finds(steps, case, size):
    found = errors(steps(1)[case], steps(size)[case])
    assert found.keys() >= {"G", "told"}
    assert max(found.values()) < (KINKED if "projected" in case else ROUNDING), found


@pytest.mark.parametrize("case", SPOKEN)
def test_processes_that_share_no_memory_find_the_same_gradients(steps, case):
    assert max(errors(steps(1)[case], steps(2, "sockets")[case]).values()) < ROUNDING


# whole runs

RECIPE = """
[recipe]
name = "team"
seed = 1
[[stage]]
uses = "images.samples"
id = "photos"
crop = 32
count = 64
[[stage]]
uses = "dcgan.train"
id = "train"
kimg = 3
width = 8
batch_size = 32
evaluations = 0
save = "g.safetensors"
[[stage]]
uses = "latent.grid"
save = "grid.png"
"""


class Torchrun:
    """`genart run` in several processes.

    Args:
        folder: where it works; the store is in it.
        size: number of processes.
        more: arguments of genart.
        restarts: how often torchrun may begin again.
        launched: by torchrun; else alone.
    """

    def __init__(self, folder: Path, size: int = 2, more: tuple[str, ...] = (), restarts: int = 0, *, launched: bool = True) -> None:
        folder.mkdir(exist_ok=True)
        (folder / "recipe.toml").write_text(RECIPE, encoding="utf-8")
        self.folder, self.told = folder, folder / "told.txt"
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={size}", f"--max-restarts={restarts}"]
        command = [sys.executable, *(launcher if launched else ()), "-m", "genart", "run", "recipe.toml", "--json", *more]
        env = {**os.environ, "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(folder / "cache"), "PYTHONPATH": os.pathsep.join(sys.path)}
        with open(self.told, "wb") as told:
            self.process = subprocess.Popen(command, cwd=folder, env=env, stdout=told, stderr=subprocess.STDOUT)

    @property
    def events(self) -> list[dict]:
        """What was told so far."""
        return [json.loads(line) for line in self.told.read_text("utf-8").splitlines() if line.startswith("{") and line.endswith("}")]

    def members(self) -> list[int]:
        """Processes of genart, in the order of their ranks."""
        ranks = {}
        for pid in below(self.process.pid):
            if " genart run " in title(pid):
                told = dict(item.split("=", 1) for item in Path(f"/proc/{pid}/environ").read_text().split("\0") if "=" in item)
                ranks[int(told["RANK"])] = pid
        return [ranks[rank] for rank in sorted(ranks)]

    def trains(self) -> bool:
        """True while pictures are being learned from."""
        return any(event["event"] == "progress" and event["stage"] == "train" and event["done"] > 1000 for event in self.events)

    def wait_until(self, what) -> None:
        """Wait for something, while it runs."""
        while not what():
            assert self.process.poll() is None, self.told.read_text("utf-8")
            time.sleep(0.05)

    def kill(self) -> None:
        """Kill all at once, first what would start them again."""
        doomed = [self.process.pid, *below(self.process.pid)]
        for pid in doomed:
            with suppress(ProcessLookupError):  # it went with the one before
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        while any(map(title, doomed)):
            time.sleep(0.05)

    def done(self) -> dict[str, bytes]:
        """Wait for the end; what was saved."""
        assert self.process.wait() == 0, self.told.read_text("utf-8")
        return {path.name: path.read_bytes() for path in sorted((self.folder / "out" / "team").iterdir()) if path.name != "run.json"}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What two processes make, and what they told."""
    run = Torchrun(tmp_path_factory.mktemp("undisturbed"))
    return run.done(), run.events


def test_processes_of_torchrun_train_one_model_and_one_of_them_does_all_else(undisturbed):
    saved, events = undisturbed
    assert sorted(saved) == ["g.safetensors", "grid.png"]
    counts = [sum(event["event"] == name for event in events) for name in ("run_started", "run_finished", "saved")]
    assert counts == [1, 1, 2], "the others say nothing"
    assert not any(event["event"] == "warning" for event in events)


def test_a_model_says_how_many_processes_trained_it(undisturbed, tmp_path):
    (tmp_path / "g.safetensors").write_bytes(undisturbed[0]["g.safetensors"])
    with safe_open(tmp_path / "g.safetensors", "pt") as file:
        told = json.loads(file.metadata()["genart"])
    assert told["model"]["trained"]["processes"] == 2
    assert [stage.get("made_with", {}).get("processes") for stage in provenance.read(tmp_path / "g.safetensors")[1]["stages"]] == [None, 2]


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.slow
def test_a_lost_process_costs_what_came_after_the_last_checkpoint(undisturbed, tmp_path, rank):
    run = Torchrun(tmp_path, restarts=2)
    run.wait_until(run.trains)
    os.kill(run.members()[rank], signal.SIGKILL)
    assert run.done() == undisturbed[0]
    assert sum(event["event"] == "run_started" for event in run.events) == 2


@pytest.mark.slow
def test_ctrl_c_keeps_what_was_trained_and_lets_all_processes_go(undisturbed, tmp_path):
    run = Torchrun(tmp_path)
    run.wait_until(run.trains)
    members = run.members()
    run.process.send_signal(signal.SIGINT)
    assert run.process.wait() != 0
    assert not any(title(pid) for pid in members)
    assert list((tmp_path / "cache").glob("**/checkpoint-*.safetensors"))
    again = Torchrun(tmp_path)
    assert again.done() == undisturbed[0]
    assert any(event.get("reason") == "going on from its checkpoint" for event in again.events)


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
def test_another_number_of_processes_goes_on_where_all_were_killed(tmp_path, before, after):
    run = Torchrun(tmp_path, before, launched=before > 1)
    run.wait_until(lambda: run.trains() and list((tmp_path / "cache").glob("**/checkpoint-*.safetensors")))
    run.kill()
    (folder,) = {path.parent for path in (tmp_path / "cache").glob("**/checkpoint-*.safetensors")}
    _, kept = Checkpoints(folder).load()
    course, nimg = kept["log"]["history"], kept["log"]["nimg"]
    assert course
    again = Torchrun(tmp_path, after, launched=after > 1)
    assert sorted(again.done()) == ["g.safetensors", "grid.png"]
    with safe_open(tmp_path / "out/team/g.safetensors", "pt") as file:
        model = json.loads(file.metadata()["genart"])["model"]
    assert model["history"][: len(course)] == course
    assert len(model["history"]) > len(course)
    assert (model["trained"]["nimg"], model["trained"].get("processes", 1)) == (3008, after)
    assert any(event.get("reason") == "going on from its checkpoint" for event in again.events)
    assert min(event["nimg"] for event in again.events if event["event"] == "metric") > nimg, "nothing is learned twice"


def test_workers_of_ray_train_the_same_model_and_are_started_again_when_one_is_lost(undisturbed, tmp_path):
    run = Torchrun(tmp_path, launched=False, more=("--on", "ray", "--data-parallel", "2"))
    run.wait_until(run.trains)
    begun = below(run.process.pid)
    workers = [pid for pid in begun if "TrainWorker" in title(pid)]
    addresses = list(listening([run.process.pid, *begun]))
    assert len(workers) == 2
    os.kill(workers[1], signal.SIGKILL)
    assert run.done() == undisturbed[0]
    assert not any(event["event"] == "error" for event in run.events)
    assert addresses
    assert all(map(is_loopback, addresses)), "nobody else may speak to them"


def test_more_workers_than_there_are_cores_are_refused(tmp_path):
    run = Torchrun(tmp_path, launched=False, more=("--on", "ray", "--data-parallel", "999"))
    assert run.process.wait() == 2
    assert "--data-parallel 999: Ray has " in run.told.read_text("utf-8")


def test_a_shared_training_needs_somebody_who_starts_the_processes(cli, tmp_path):
    (tmp_path / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    result = cli("run", tmp_path / "recipe.toml", "--data-parallel", "2")
    assert (result.code, result.err.splitlines()[0]) == (2, "genart: --data-parallel 2 needs --on")


@pytest.mark.slow
def test_processes_beyond_those_that_divide_the_batch_sit_out(undisturbed, tmp_path):
    run = Torchrun(tmp_path, size=3)
    assert run.done() == undisturbed[0], "two of them share it"
    (warning,) = [event["message"] for event in run.events if event["event"] == "warning"]
    assert warning == "a batch of 32 can be shared by 2 of the 3 processes; a multiple of 3 would use all"


def test_a_process_that_would_train_on_something_else_is_told(tmp_path):
    (tmp_path / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    (tmp_path / "other.toml").write_text(RECIPE.replace("count = 64", "count = 63"), encoding="utf-8")
    port, running = free_port(), []
    for rank, recipe in enumerate(("recipe.toml", "other.toml")):
        env = environment(rank, 2, port) | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
        command = [sys.executable, "-m", "genart", "run", recipe]
        running.append(subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True))
    told = [process.communicate()[1] for process in running]
    assert running[0].returncode == 5
    assert f"process 1: on {socket.gethostname()} 'train' would be something else" in told[0]


def test_what_a_launcher_tells_is_read_or_refused():
    told = {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500"}
    assert launched(told) == Launch(1, 4, 1, "10.0.0.1", 0)
    assert launched(told | {"TORCHELASTIC_RESTART_COUNT": "2"}).attempt == 2
    assert launched({**told, "RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}) is None
    assert launched({"RANK": "1", "WORLD_SIZE": "4"}) is None, "nobody says where they meet"
    for wrong in ({"RANK": "4"}, {"RANK": "x"}, {"LOCAL_RANK": "-1"}):
        with pytest.raises(UsageError, match="which cannot be"):
            launched(told | wrong)


def test_a_process_that_is_to_have_a_gpu_and_finds_none_says_so(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(UsageError, match="torch finds no GPU for process 1"):
        Team(Launch(1, 2), "cuda")


def test_two_launchers_are_one_too_many(cli, monkeypatch, tmp_path):
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    result = cli("run", tmp_path / "recipe.toml", "--on", "ray")
    assert result.code == 2
    assert "is one of 2 processes of torchrun" in result.err


def test_the_next_batch_is_made_ready_and_another_is_made_where_training_goes_back():
    asked, learned = [], []

    class Drawn(Pictures):
        def batch(self, step, first, count, shard=ALONE):
            asked.append((step, first, count))
            return super().batch(step, first, count, shard)

    def generator(label, index=None):
        return torch.Generator().manual_seed(hash((label, index)) % 1000)

    def step(number, real, z, generator, p):
        learned.append((number, real.images.clone(), z))
        return torch.zeros(1)

    pictures = Drawn(np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8), generator)
    trainer = SimpleNamespace(step=step, schedule=lambda nimg: None, rates=lambda *rates, **more: None)
    following = Following(trainer, ALONE, pictures, 3, SimpleNamespace(generator=generator, device="cpu"))
    places = [(0, 0, 4), (1, 4, 4), (2, 8, 4), (1, 4, 4), (2, 8, 4)]
    for place in places:
        following.step({"step": place[0], "batch": list(place), "nimg": place[1], "rates": (1.0, 1.0, False), "p": 0.0, "returns": 0})
    assert asked == [(0, 0, 4), (1, 4, 4), (2, 8, 4), (3, 12, 4), (1, 4, 4), (2, 8, 4), (3, 12, 4)]
    for (number, first, count), (told, images, z) in zip(places, learned, strict=True):
        assert told == number
        assert torch.equal(images, Pictures.batch(pictures, number, first, count).images)
        assert torch.equal(z, torch.randn(count, 3, generator=generator("z", number)))
