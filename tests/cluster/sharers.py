"""One of several processes that share memory: what it is told to do with it, and what it has then.

python -m tests.cluster.sharers FOLDER RANK SIZE SCRIPT ROUNDS

They meet through files in FOLDER, and the memory is one in FOLDER/memory. The result is FOLDER/RANK.safetensors.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from genart.nn import mailbox


class Meeting:
    """gather(answer) -> all answers, for processes that have but a folder in common."""

    def __init__(self, folder: Path, rank: int, size: int) -> None:
        self.folder, self.rank, self.size, self.turn = folder, rank, size, 0

    def __call__(self, answer: Any) -> list[Any]:
        """Called by all."""
        self.turn += 1
        own = self.folder / f"{self.turn}-{self.rank}"
        own.with_suffix(".new").write_text(json.dumps(answer), "utf-8")
        own.with_suffix(".new").replace(own)
        paths = [self.folder / f"{self.turn}-{rank}" for rank in range(self.size)]
        while not all(path.exists() for path in paths):
            time.sleep(0.005)
        return [json.loads(path.read_text("utf-8")) for path in paths]


def tensors(rank: int, number: int) -> list[torch.Tensor]:
    """What a process gives in a round: of the same sizes for all, from one number to all that there is room for."""
    sizes = random.Random(number)
    counts = [sizes.choice((1, 7, 512, 30_000, mailbox.PLACE // 4)) for _ in range(sizes.randint(1, 4))]
    generator = torch.Generator().manual_seed(1000 * number + rank)
    return [torch.randn(count, generator=generator) for count in counts]


def mixed(shared: mailbox.Mailbox, rounds: int) -> dict[str, torch.Tensor]:
    """Sums and gathered tensors in turn, each process late at other times."""
    late, found = random.Random(shared.rank), {}
    for number in range(rounds):
        given = tensors(shared.rank, number)
        if late.random() < 0.1:
            time.sleep(0.002)
        if number % 3:
            shared.average_(given, 2.0)
            found[f"{number}"] = torch.cat(given)
        else:
            found[f"{number}"] = torch.stack([shared.gather(x).flatten(1).sum(0).sum() for x in given])
    return found


def dies(shared: mailbox.Mailbox, rounds: int) -> dict[str, torch.Tensor]:
    """The last one is gone after some rounds."""
    for number in range(rounds):
        if shared.rank == shared.size - 1 and number == rounds // 2:
            os._exit(9)
        shared.gather(torch.ones(3))
    return {}


def sleeps(shared: mailbox.Mailbox, rounds: int) -> dict[str, torch.Tensor]:
    """The first one does something else, longer than the others look for whether it exists."""
    for _ in range(rounds):
        if shared.rank == 0:
            time.sleep(5 * mailbox.LOOK_SEC)
        got = shared.gather(torch.full((2, 3), float(shared.rank)))
    return {"got": got}


def main() -> None:
    """Do it."""
    folder, rank, size, script, rounds = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], int(sys.argv[5])
    torch.set_num_threads(1)
    mailbox.FOLDER = str(folder / "memory")
    shared = mailbox.share(rank, size, Meeting(folder, rank, size))
    assert shared is not None
    found = {"mixed": mixed, "dies": dies, "sleeps": sleeps}[script](shared, rounds)
    save_file(found, folder / f"{rank}.safetensors")


if __name__ == "__main__":
    main()
