"""Data-parallel training: a team of processes, of which the first leads and the others follow.

The leader runs the training as if it were alone; what it decides (sizes, ends, learning rates, going back to a state) is decided once. For
each step it tells the others, in one line of JSON, which step it is; each computes its shard of the batch, which is a function of the seed
and the step, and the gradients are averaged before an optimiser uses them. So all processes have the same weights after each step, and
N processes with a batch of B / N each do what one does with a batch of B, up to rounding.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from genart.errors import LostProcessError, ResourceError, UsageError
from genart.launch import Launch
from genart.run import Run

from . import checkpoint, mailbox, shards
from .data import Pictures, RealBatch
from .players import Trainer
from .shards import Shard

#: Bytes in which an order of a step fits; a longer one takes a second message.
LINE = 1024
#: Bytes of weights that are sent at a time.
PIECE = 64 << 20
#: A follower waits so long for an order: other stages may take long, and a leader that is gone is noticed at once.
PATIENCE = timedelta(days=30)
#: Gradients are averaged in buckets of so many numbers: the first is on its way while the others are computed.
BUCKET = 4 << 20


class FollowedError(Exception):
    """Ends a training in a process that followed: its result is the leader's."""


class Team:
    """The processes of one run.

    Args:
        launch: number of this process, of all, and where they meet.
        device: "cpu" or "cuda".
        store: where they find each other; what torchrun says, unless it is given.

    Raises:
        UsageError: if it is to compute on a GPU and finds none.
    """

    def __init__(self, launch: Launch, device: str, store: Store | None = None) -> None:
        self.rank, self.size, self.device = launch.rank, launch.size, device
        if device == "cuda":
            count = torch.cuda.device_count()
            if not count:
                words = f"--device cuda: torch finds no GPU for process {launch.rank}"
                raise UsageError(words, "install a torch for its GPU and driver there, or --device cpu")
            torch.cuda.set_device(launch.local_rank % count)  # a launcher may show each process its own alone
        if launch.on_loopback:
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo" if os.path.exists("/sys/class/net/lo") else "lo0")
        if store is None:
            # It outlives a restart, and with it the addresses of processes that are gone.
            store = PrefixStore(f"genart/{launch.attempt}/{launch.size}", next(rendezvous("env://"))[0])
        backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
        dist.init_process_group(backend, store=store, rank=launch.rank, world_size=launch.size)
        self._line: Any = dist.new_group(backend="gloo", timeout=PATIENCE)
        self._shards: dict[int, Shard] = {}

    @property
    def leads(self) -> bool:
        """True for the first process."""
        return self.rank == 0

    def close(self) -> None:
        """Leave. The leader lets the others go first."""
        with suppress(Exception):
            if self.leads:
                self.tell(None)
        for shard in self._shards.values():
            if shard.mailbox is not None:
                shard.mailbox.close()
        with suppress(Exception):
            dist.destroy_process_group()

    def shard(self, size: int) -> Shard:
        """The shard of this process among the first `size`; called by all processes alike. Those beyond have a rank of `size` or more."""
        if size not in self._shards:
            group = dist.new_group(list(range(size))) if size < self.size else None
            shared = mailbox.share(self.rank, size, self.gather) if self.device == "cpu" else None
            self._shards[size] = Shard(self.rank, size, group, shared)
        return self._shards[size]

    # what is said

    def tell(self, order: Any) -> None:
        """Tell the others something JSON-serialisable."""
        text = json.dumps(order).encode()
        head = torch.zeros(LINE, dtype=torch.uint8)
        head[:8] = torch.frombuffer(bytearray(len(text).to_bytes(8, "little")), dtype=torch.uint8)
        body = torch.frombuffer(bytearray(text), dtype=torch.uint8)
        inside = min(len(text), LINE - 8)
        head[8 : 8 + inside] = body[:inside]
        with lost_at_least_one():
            self._broadcast(head)
            if len(text) > inside:
                self._broadcast(body)

    def _broadcast(self, data: Tensor) -> None:
        shards.wait_for(dist.broadcast(data, 0, group=self._line, async_op=True), data.device)

    def hear(self) -> Any:
        """What the leader tells; waits for it."""
        head = torch.empty(LINE, dtype=torch.uint8)
        with lost_at_least_one():
            self._broadcast(head)
            count = int.from_bytes(head[:8].numpy().tobytes(), "little")
            body = head[8 : 8 + count]
            if count > LINE - 8:
                body = torch.empty(count, dtype=torch.uint8)
                self._broadcast(body)
        return json.loads(body.numpy().tobytes())

    def gather(self, answer: Any) -> list[Any]:
        """What each process answers, in their order; known to all. Called by all."""
        text = json.dumps(answer).encode()
        with lost_at_least_one():
            sizes = torch.zeros(self.size, dtype=torch.int64)
            sizes[self.rank] = len(text)
            dist.all_reduce(sizes, group=self._line)
            texts = torch.zeros(self.size, int(sizes.max()), dtype=torch.uint8)
            texts[self.rank, : len(text)] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
            dist.all_reduce(texts, group=self._line)
        return [json.loads(row[:size].numpy().tobytes()) for row, size in zip(texts, sizes.tolist(), strict=True)]

    def begin(self, task: dict[str, Any]) -> None:
        """Let the others begin a stage.

        Raises:
            ResourceError: if one of them cannot: see what it said itself.
        """
        self.tell(task)
        problems = [f"process {rank}: {told}" for rank, told in enumerate(self.gather(None)) if told]
        if problems:
            raise ResourceError("; ".join(problems), "all processes must see the same store, files, plugins and versions")

    def hand_out(self, data: Tensor) -> None:
        """Bring the leader's bytes, (n,) uint8 on the CPU, into everybody's tensor of that size."""
        with lost_at_least_one():
            for piece in data.split(PIECE):
                self._broadcast(piece)


def open_store(host: str) -> tuple[Store, int]:
    """A store that listens at one address alone, and its port; torch's own would listen at all."""
    with socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as server:
        port = int(server.getsockname()[1])
        store = dist.TCPStore(host, port, is_master=True, wait_for_workers=False, master_listen_fd=server.detach())  # type: ignore[attr-defined]
    return store, port


def find_store(host: str, port: int) -> Store:
    """The store that another process opened."""
    return dist.TCPStore(host, port, is_master=False)  # type: ignore[attr-defined]


@contextmanager
def lost_at_least_one() -> Iterator[None]:
    """Say in plain words that a process of the team is gone.

    Raises:
        LostProcessError: instead of what torch.distributed raises.
    """
    try:
        yield
    except (dist.DistError, RuntimeError) as error:
        if isinstance(error, torch.OutOfMemoryError) or (not isinstance(error, dist.DistError) and not _is_of_a_connection(error)):
            raise
        raise LostProcessError(
            "a process of this data-parallel training is gone", "start it again (torchrun does so with --max-restarts): it goes on"
        ) from error


def _is_of_a_connection(error: RuntimeError) -> bool:
    text = str(error).lower()
    return any(word in text for word in ("gloo", "connection", "nccl", "timed out", "peer"))


# the two sides of a training


class Lead:
    """What the leader tells about one training; nothing, where there is no team.

    Args:
        run: of the leader.
    """

    def __init__(self, run: Run) -> None:
        self.run, self.team = run, run.team
        self._begun = False

    def pictures(self, resolution: int) -> None:
        """Let the others open the stage's pictures and bring them to a resolution; the leader has read them before.

        Raises:
            GenartError: if one of them cannot.
        """
        if self.team is None:
            return
        if not self._begun:
            self.team.begin(self.run.task())
            self._begun = True
        self.team.tell({"pictures": resolution})

    def trainer(self, trainer: Trainer, plan: Mapping[str, Any]) -> Trainer:
        """A trainer that shares its steps with the others, who are to build the same of the plan."""
        if self.team is None:
            return trainer
        self.team.tell({"build": dict(plan)})
        return cast(Trainer, Leading(self.team, trainer, shared_among(self.team, trainer, int(plan["total_nimg"]), self.run)))

    def done(self) -> None:
        """The training is over."""
        if self.team is not None and self._begun:
            with suppress(ResourceError):  # the others are gone, which has been told
                self.team.tell({"done": True})


def shared_among(team: Team, trainer: Trainer, total_nimg: int, run: Run | None = None) -> Shard:
    """The shard of this process: among as many as divide every batch of the training."""
    sizes = {trainer.batch_size(nimg) for _, nimg in trainer.probes(total_nimg)}
    size = max(n for n in range(1, team.size + 1) if all(batch % n == 0 for batch in sizes))
    if run is not None and size < team.size:
        batches = " and ".join(map(str, sorted(sizes)))
        run.warn(f"a batch of {batches} can be shared by {size} of the {team.size} processes; a multiple of {team.size} would use all")
    shard = team.shard(size)
    if shard.rank < size and size > 1:
        for module in (trainer.G, getattr(trainer, "D", None)):
            if isinstance(module, nn.Module):
                shards.share_statistics(module)
        for part in trainer.parts.values():
            if isinstance(part, torch.optim.Optimizer):
                part.register_step_pre_hook(lambda optimizer, args, kwargs: average_gradients(optimizer, shard))
    return shard


class Leading:
    """A trainer, as the leader has it: each step is a step of all.

    Args:
        team: the processes.
        trainer: this process's own.
        shard: what it computes.
    """

    def __init__(self, team: Team, trainer: Trainer, shard: Shard) -> None:
        self.team, self.inner, self.shard = team, trainer, shard
        self.stale = True  # the others have other weights
        self._nimg = 0
        self._rates: tuple[float, float, bool] | None = None
        self.returns = 0  # to a good state, so far

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def schedule(self, nimg: int) -> None:
        """Set what depends on the images seen."""
        self._nimg = nimg
        self.inner.schedule(nimg)

    def rates(self, scale_G: float, scale_D: float, *, sparing: bool = False) -> None:
        """Set the learning rates."""
        self._rates = (scale_G, scale_D, sparing)
        self.inner.rates(scale_G, scale_D, sparing=sparing)

    def step(self, step: int, real: RealBatch, z: Tensor, generator: torch.Generator, augment_p: float) -> Tensor:
        """One step of all; `real` and `z` are this process's own."""
        if self.shard.size == 1:
            return self.inner.step(step, real, z, generator, augment_p)
        if self.stale:
            self._send_state()
        order = {"step": step, "batch": real.place, "nimg": self._nimg, "rates": self._rates, "p": augment_p}
        order["returns"] = self.returns
        self.team.tell(order)
        return shared_step(self.inner, self.shard, step, real, z, generator, augment_p)

    def _send_state(self) -> None:
        tensors, state = checkpoint.pack(taught(self.inner))
        data = torch.frombuffer(bytearray(b"".join(checkpoint.written(tensors, {"parts": state}))), dtype=torch.uint8)
        self.team.tell({"state": len(data)})
        self.team.hand_out(data)
        self.stale = False


def taught(trainer: Trainer) -> dict[str, checkpoint.Part]:
    """The parts of a trainer that all processes have alike: all but the average of G, which the leader alone keeps."""
    return {name: part for name, part in trainer.parts.items() if part is not trainer.G_ema}


def shared_step(
    trainer: Trainer, shard: Shard, step: int, real: RealBatch, z: Tensor, generator: torch.Generator, augment_p: float
) -> Tensor:
    """A step of all, as each process makes it; returns the numbers of the whole batch."""
    with shards.sharing(shard), lost_at_least_one():
        return shards.mean(trainer.step(step, real, z, generator, augment_p))


def average_gradients(optimizer: torch.optim.Optimizer, shard: Shard) -> None:
    """Replace the gradients of an optimiser's parameters by their means over the processes."""
    with torch.no_grad():
        gradients = [as_it_lies(p) for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if shard.mailbox is not None:
            for bucket in buckets([piece for gradient in gradients for piece in gradient.split(mailbox.PLACE)], mailbox.PLACE):
                shard.mailbox.average_(bucket, shard.size)
            return
        sent = [
            (bucket, flat := torch.cat(bucket), dist.all_reduce(flat, group=shard.group, async_op=True))
            for bucket in buckets(gradients, BUCKET)
        ]
        for bucket, flat, work in sent:
            shards.wait_for(work, flat.device)
            torch._foreach_copy_(bucket, list((flat / shard.size).split([len(gradient) for gradient in bucket])))


def buckets(tensors: Sequence[Tensor], most: int) -> list[list[Tensor]]:
    """Tensors (n,) in their order, so many numbers together; one that has more is alone."""
    found: list[list[Tensor]] = [[]]
    for tensor in tensors:
        if found[-1] and sum(map(len, found[-1])) + len(tensor) > most:
            found.append([])
        found[-1].append(tensor)
    return found


def as_it_lies(parameter: Tensor) -> Tensor:
    """A view of a parameter's gradient in the order in which it lies in memory, (n,): in that of the parameter, as torch sees to."""
    gradient = parameter.grad
    assert gradient is not None
    if not gradient.is_contiguous() and not (gradient.ndim == 4 and gradient.is_contiguous(memory_format=torch.channels_last)):
        gradient = parameter.grad = gradient.contiguous()
    return gradient.as_strided((gradient.numel(),), (1,))


def stream(label: str, returns: int) -> str:
    """Name of a random stream of a training that returned so often to a good state: what collapsed once is not drawn a second time."""
    return f"{label} after {returns} returns" if returns else label


class Following:
    """A trainer in a process that follows.

    Args:
        trainer: this process's own.
        shard: what it computes; nothing, where its rank is beyond.
        pictures: real pictures.
        z_dim: numbers in a latent.
        run: of this process.
    """

    def __init__(self, trainer: Trainer, shard: Shard, pictures: Pictures, z_dim: int, run: Run) -> None:
        self.trainer, self.shard, self.pictures, self.z_dim, self.run = trainer, shard, pictures, z_dim, run
        self._next: tuple[RealBatch, Tensor] | None = None
        self._returns = 0

    def step(self, order: Mapping[str, Any]) -> None:
        """A step, as the leader tells it. While that one does what it does alone, the next batch is made ready."""
        if self.shard.rank >= self.shard.size:
            return
        trainer, place = self.trainer, tuple(order["batch"])
        trainer.schedule(order["nimg"])
        if order["rates"] is not None:
            scale_G, scale_D, sparing = order["rates"]
            trainer.rates(scale_G, scale_D, sparing=sparing)
        ready, self._next = self._next, None
        returns = order["returns"]
        fits = ready is not None and ready[0].place == place and self._returns == returns
        self._returns = returns
        real, z = ready if ready is not None and fits else self._batch(*place)
        generator = self.run.generator(stream("step", returns), order["step"])
        shared_step(trainer, self.shard, order["step"], real, z, generator, order["p"])
        number, first, count = place
        self._next = self._batch(number + 1, first + count, count)

    def _batch(self, number: int, first: int, count: int) -> tuple[RealBatch, Tensor]:
        z = torch.randn(count, self.z_dim, generator=self.run.generator(stream("z", self._returns), number))
        return self.pictures.batch(number, first, count, self.shard), self.shard.own(z).to(self.run.device)

    def take(self, data: Tensor) -> None:
        """Take the leader's state, as the bytes of a file of safetensors."""
        if self.shard.rank < self.shard.size:
            tensors, state = checkpoint.read(bytearray(data.numpy().tobytes()))
            checkpoint.unpack(taught(self.trainer), tensors, state["parts"])


def follow(team: Team, run: Run, load: Callable[[int], Pictures], build: Callable[[Pictures, dict[str, Any]], Trainer]) -> None:
    """Do what the leader of a training says, until it is over.

    Args:
        team: the processes.
        run: of this process.
        load: gives the pictures at a resolution.
        build: gives a trainer by pictures and plan.
    """
    pictures: Pictures | None = None
    following: Following | None = None
    while not (order := team.hear()).get("done"):
        if "pictures" in order:
            pictures = load(order["pictures"])
        elif "build" in order:
            assert pictures is not None
            plan = order["build"]
            trainer = build(pictures, plan)
            shard = shared_among(team, trainer, int(plan["total_nimg"]))
            following = Following(trainer, shard, pictures, int(plan["z_dim"]), run)
        elif "state" in order:
            assert following is not None
            data = torch.empty(order["state"], dtype=torch.uint8)
            team.hand_out(data)
            following.take(data)
        else:
            assert following is not None
            following.step(order)
