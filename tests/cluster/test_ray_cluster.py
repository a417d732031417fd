"""Runs on a cluster of Ray, whose machines are all this one: the driver is a client that reaches it by an address."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.cluster.processes import below, title
from tests.conftest import ROOT, TOYS, tree
from tests.test_painting import PAINTING, SMALL

pytestmark = pytest.mark.slow
if sys.platform != "linux":
    pytest.skip("reads /proc", allow_module_level=True)

FILM = """
[[stage]]
uses = "images.samples"
count = 120
crop = 128
[[stage]]
uses = "style.instant"
id = "film"
preset = 4
[[stage]]
uses = "video.assemble"
fps = 12
save = "film.mp4"
"""
ONE = '[[stage]]\nuses = "toy.noise"\nsave = "noise"\n'
BUDGET = 'budget = "4m"\n'
CPU = ("--device", "cpu", "--json")
#: Parts of a second, so that there are many.
SMALL_PARTS = "import genart.spread; genart.spread.PART_SEC = 1.0; "
#: Ray puts the machine's own address in the place of the loopback's where there are several machines.
HERE = "127.0.0.1"


def free_ports(count: int) -> list[int]:
    """Ports that nobody has."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Cluster:
    """A Ray of several machines, all of them this one, of one core each. Whoever reaches it needs its token.

    Args:
        log: where they write what they say.
    """

    def __init__(self, log: Path) -> None:
        self.log, self.nodes, self.begun = log, [], 0
        self.token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        self.folder = tempfile.mkdtemp(prefix="ray-")  # names of sockets are to be short
        port, client = free_ports(2)
        self.head, self.address = f"{HERE}:{port}", f"ray://{HERE}:{client}"
        self.start("--head", f"--port={port}", f"--ray-client-server-port={client}", "--include-dashboard=false")

    def start(self, *more: str) -> subprocess.Popen:
        """Start a machine."""
        agent, agent_http = free_ports(2)
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus=1", f"--node-ip-address={HERE}"]
        command += ["--object-store-memory=100000000", "--min-worker-port=0", "--max-worker-port=0", "--disable-usage-stats"]
        command += [f"--dashboard-agent-grpc-port={agent}", f"--dashboard-agent-listen-port={agent_http}", *more]
        env = {**os.environ, **self.token, "RAY_TMPDIR": self.folder, "OMP_NUM_THREADS": "1"}
        env["PYTHONPATH"] = os.pathsep.join([str(ROOT), *sys.path])
        with open(self.log, "ab") as log:
            node = subprocess.Popen(command, env=env, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
        self.nodes.append(node)
        self.begun += 1
        while self.log.read_text().count("Ray runtime started.") < self.begun:
            assert node.poll() is None, self.log.read_text()
            time.sleep(0.1)
        return node

    def join(self, *more: str) -> subprocess.Popen:
        """Start a further machine."""
        return self.start(f"--address={self.head}", *more)

    def kill(self, node: subprocess.Popen) -> None:
        """What a power cut does to a machine."""
        for pid in (node.pid, *below(node.pid)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        node.wait()
        self.nodes.remove(node)

    def close(self) -> None:
        """Nothing of it is left, the head last."""
        for node in reversed(list(self.nodes)):
            self.kill(node)
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster of two machines."""
    found = Cluster(tmp_path_factory.mktemp("cluster") / "log.txt")
    try:
        found.join()
        yield found
    finally:
        found.close()


def workers(node: subprocess.Popen) -> list[int]:
    return [pid for pid in below(node.pid) if title(pid).startswith("ray::Worker")]


def is_busy(node: subprocess.Popen) -> bool:
    """True while a worker of a machine has a task: else it is not asked what happens."""
    return any(title(pid).startswith(("ray::Worker.make", "ray::Worker.told")) for pid in workers(node))


def finished(process: subprocess.Popen) -> list[dict]:
    """The events of a run that ends well."""
    out, err = process.communicate()
    assert process.returncode == 0, out[-2000:] + err
    return [json.loads(line) for line in out.splitlines()]


def test_the_main_recipe_on_a_cluster(cluster, genart_process, home):
    text = PAINTING.read_text()
    assert BUDGET in text
    Path("painting.toml").write_text(text.replace(BUDGET, ""))  # what it decides is another thing each time, and told in the outputs
    command = ("run", "painting.toml", *SMALL, "--set", "train.precision=fp32", *CPU)
    more = {**cluster.token, "XDG_CACHE_HOME": str(home / "another")}
    finished(genart_process(*command, "--out", "out"))
    told = finished(genart_process(*command, "--out", "far", "--on", cluster.address, **more))
    assert tree(Path("far")) == tree(Path("out")) != {}
    assert {"progress", "metric", "stage_finished"} <= {event["event"] for event in told}
    again = finished(genart_process(*command, "--out", "far", "--on", cluster.address, **more))
    assert not any(event["event"] in ("stage_started", "stage_finished") for event in again)


def test_a_machine_that_goes_while_it_works_on_a_film(cluster, genart_process, recipe, home):
    path = recipe(FILM)
    finished(genart_process("run", path, "--out", "out", *CPU))
    doomed = cluster.join()
    process = genart_process(
        "run",
        path,
        "--out",
        "far",
        "--on",
        cluster.address,
        *CPU,
        prelude=SMALL_PARTS,
        XDG_CACHE_HOME=str(home / "another"),
        **cluster.token,
    )

    def styled() -> bool:
        """A part of the film is there."""
        with suppress(FileNotFoundError):  # one that was joined this moment
            return any("style.instant (part)" in kept.read_text() for kept in (home / "another/genart/entries").glob("*/*/manifest.json"))
        return False

    while not (styled() and is_busy(doomed)):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    cluster.kill(doomed)
    told = finished(process)
    assert tree(Path("far")) == tree(Path("out")) != {}
    notes = [event["message"] for event in told if event["event"] == "note" and "was lost" in event["message"]]
    assert len(notes) == 1, notes
    assert notes[0].endswith("; its task of 'film' is done again")


#: A plugin that is here when the driver loads it, and nowhere when workers do.
TAKEN_AWAY = "import os; from genart import on_ray; begin = on_ray.connect; "
TAKEN_AWAY += "on_ray.connect = lambda *arguments: (os.unlink('gone.py'), begin(*arguments))[1]; "


def test_a_plugin_that_is_missing_on_the_workers(cluster, genart_process, recipe):
    Path("gone.py").write_text(TOYS.read_text())
    process = genart_process(
        "run", recipe(ONE), "-p", "gone.py", "--device", "cpu", "--on", cluster.address, "-q", prelude=TAKEN_AWAY, **cluster.token
    )
    out, err = process.communicate()
    assert process.returncode == 2, (out, err)
    assert err.startswith(f"genart: the worker on {socket.gethostname()}: ")
    assert "gone.py: no such plugin file" in err


def test_a_gpu_of_the_cluster_is_used_by_a_driver_without_one(cluster, genart_process, recipe):
    """Here torch cannot use it, since there is none; the worker says so."""
    node = cluster.join("--num-gpus=1")
    try:
        process = genart_process("run", recipe(ONE), "-p", TOYS, "--on", cluster.address, "-q", **cluster.token)
        while process.poll() is None and not workers(node):
            time.sleep(0.1)
        out, err = process.communicate()
    finally:
        cluster.kill(node)
    assert process.returncode == 2, (out, err)
    assert err.startswith(f"genart: the worker on {socket.gethostname()}: --device cuda: torch finds no GPU")
