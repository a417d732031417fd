"""Memory that processes share: what comes out of it, and what happens when one of them is gone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from genart.nn import mailbox, shards
from genart.nn.mailbox import PLACE, Mailbox
from genart.nn.shards import Shard
from genart.nn.team import buckets
from tests.cluster.sharers import tensors
from tests.conftest import ROOT

pytestmark = pytest.mark.skipif(not mailbox.usable(), reason="no memory is shared here: it needs /dev/shm and x86-64")


def shared_by(folder: Path, size: int, script: str, rounds: int) -> list[subprocess.CompletedProcess[str]]:
    """Let so many processes do the same."""
    (folder / "memory").mkdir()
    command = [sys.executable, "-m", "tests.cluster.sharers", str(folder)]
    arguments = [[*command, str(rank), str(size), script, str(rounds)] for rank in range(size)]
    running = [subprocess.Popen(argument, cwd=ROOT, stderr=subprocess.PIPE, text=True) for argument in arguments]
    told = [process.communicate()[1] for process in running]
    return [subprocess.CompletedProcess(process.args, process.returncode, "", text) for process, text in zip(running, told, strict=True)]


@pytest.mark.parametrize(("size", "rounds"), [(3, 200), pytest.param(2, 20_000, marks=pytest.mark.slow)])
def test_all_have_the_same_sums_of_what_each_gave(tmp_path, size, rounds):
    done = shared_by(tmp_path, size, "mixed", rounds)
    assert [process.returncode for process in done] == [0] * size, done
    first, *others = [load_file(tmp_path / f"{rank}.safetensors") for rank in range(size)]
    assert len(first) == rounds
    for number in range(rounds):
        given = [tensors(rank, number) for rank in range(size)]
        if number % 3:
            expected = torch.stack([torch.cat(each) for each in given]).sum(0) / 2
            assert torch.equal(first[f"{number}"], expected)
        else:
            expected = torch.stack([torch.stack(each).sum(0).sum() for each in zip(*given, strict=True)])
            torch.testing.assert_close(first[f"{number}"], expected, rtol=1e-4, atol=1e-3)
        assert all(torch.equal(first[f"{number}"], other[f"{number}"]) for other in others)
    assert list((tmp_path / "memory").iterdir()) == [], "nothing is left"


def test_those_who_wait_for_one_that_is_gone_are_told(tmp_path):
    *others, last = shared_by(tmp_path, 3, "dies", 10)
    assert last.returncode == 9
    for process in others:
        assert process.returncode == 1
        assert re.search(r"process [012], a peer of this one, is gone", process.stderr), "of the last, or of one that was told before"
    assert any("process 2, a peer of this one, is gone" in process.stderr for process in others)


def test_one_that_takes_its_time_is_waited_for(tmp_path):
    assert [process.returncode for process in shared_by(tmp_path, 2, "sleeps", 2)] == [0, 0]
    got = load_file(tmp_path / "1.safetensors")["got"]
    assert got.tolist() == [[[0.0] * 3] * 2, [[1.0] * 3] * 2]


@pytest.mark.parametrize("answers", [[True, False], [False, True]])
def test_memory_that_one_cannot_open_is_used_by_none(answers, tmp_path, monkeypatch):
    monkeypatch.setattr(mailbox, "FOLDER", str(tmp_path))
    told = []

    def gather(answer):
        told.append(answer)
        return [answer, "nothing"] if len(told) == 1 else answers

    assert mailbox.share(0, 2, gather) is None
    assert told[1] is True
    assert list(tmp_path.iterdir()) == []


def test_without_a_folder_or_room_for_it_no_memory_is_shared(tmp_path, monkeypatch):
    def none(answer):
        assert not answer
        return [answer, answer]

    monkeypatch.setattr(mailbox, "FOLDER", str(tmp_path / "nowhere"))
    assert mailbox.share(0, 2, none) is None

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(mailbox, "FOLDER", str(tmp_path))
    monkeypatch.setattr(os, "posix_fallocate", full)
    assert mailbox.share(0, 2, none) is None
    assert list(tmp_path.iterdir()) == []


def test_a_process_beyond_those_who_share_has_none(tmp_path):
    path = tmp_path / "memory"
    path.write_bytes(bytes(mailbox.room(2)))
    assert mailbox.share(2, 2, lambda answer: [str(path), "", ""] if answer is None else [True, True, False]) is None


@pytest.mark.parametrize("content", [b"", b"something else"])
def test_a_file_of_another_size_is_not_taken_for_shared_memory(content, tmp_path):
    (tmp_path / "other").write_bytes(content)
    with pytest.raises(OSError, match="other"):
        Mailbox(str(tmp_path / "other"), 0, 2)


def test_a_link_is_not_followed_to_shared_memory(tmp_path):
    (tmp_path / "memory").write_bytes(bytes(mailbox.room(2)))
    (tmp_path / "link").symlink_to(tmp_path / "memory")
    with pytest.raises(OSError, match="link"):
        Mailbox(str(tmp_path / "link"), 0, 2)


def test_only_float32_of_the_cpu_goes_through_shared_memory(tmp_path):
    path = tmp_path / "memory"
    path.write_bytes(bytes(mailbox.room(1)))
    shard = Shard(0, 1, None, Mailbox(str(path), 0, 1))
    assert shard.posts(torch.zeros(3)) is shard.mailbox
    assert shard.posts(torch.zeros(3, dtype=torch.float64)) is None
    assert shard.posts(torch.zeros(3, device="meta")) is None


def test_a_sum_larger_than_the_memory_goes_through_it_in_pieces(tmp_path):
    path = tmp_path / "memory"
    path.write_bytes(bytes(mailbox.room(1)))
    box = Mailbox(str(path), 0, 1)
    x = torch.randn(3, PLACE - 1).requires_grad_()
    total = shards._Summed.apply(x, Shard(0, 1, None, box))
    assert torch.equal(total, x)
    assert box._count == 2 * 3


def test_buckets_hold_what_fits_and_lose_nothing():
    sizes = [5, 5, 3, 20, 1, 1, 8]
    found = buckets([torch.zeros(size) for size in sizes], 10)
    assert [[len(tensor) for tensor in bucket] for bucket in found] == [[5, 5], [3], [20], [1, 1, 8]]
