"""Data-parallel training: what several processes give is what one gives, and what happens when one of them is gone."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from tests.cluster.one_step import CASES
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
    """Gradients of one process, of two and of four, by their number and case."""

    def all_cases(size):
        folder = tmp_path_factory.mktemp(f"steps{size}")
        port, command = free_port(), [sys.executable, "-m", "tests.cluster.one_step", str(folder)]
        environments = [environment(rank, size, port) for rank in range(size)] if size > 1 else [dict(os.environ, OMP_NUM_THREADS="1")]
        running = [subprocess.Popen(command, env=env, cwd=ROOT, stderr=subprocess.PIPE, text=True) for env in environments]
        told = [process.communicate()[1] for process in running]
        assert all(process.returncode == 0 for process in running), told
        return {case: load_file(folder / f"{case}.safetensors") for case in CASES}

    return {size: all_cases(size) for size in (1, 2, 4)}


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


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("case", CASES)
def test_processes_that_share_a_batch_find_the_gradients_that_one_finds(steps, case, size):
    found = errors(steps[1][case], steps[size][case])
    assert found.keys() >= {"G", "told"}
    assert max(found.values()) < (KINKED if "projected" in case else ROUNDING), found
