"""A batch that several processes share: each computes its own pictures, and what spans the batch is summed over all of them.

Process r of N has every Nth picture from the rth on. So the groups of `genart.nn.layers.minibatch_stddev`, whose pictures lie a quarter
of the batch apart, stay within a process wherever N divides that quarter. Inside of `sharing` the functions here act on all processes,
which must call them in the same order; outside of it there is one process, and they give back what they are given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from .mailbox import PLACE, Mailbox, until


@dataclass(frozen=True)
class Shard:
    """Which pictures of a batch this process computes; the size of a batch is a multiple of the number of processes.

    Attributes:
        rank: number of the process, from 0.
        size: number of processes.
        group: through which they speak; torch's own if there is none.
        mailbox: memory that they share, on one machine.
    """

    rank: int = 0
    size: int = 1
    group: Any = None
    mailbox: Mailbox | None = None

    def own(self, x: Any) -> Any:
        """This process's rows of what the whole batch has: of a tensor or an array (N, ...) the (N / size, ...) that are its own."""
        return x if self.size == 1 else x[self.rank :: self.size]

    def posts(self, x: Tensor) -> Mailbox | None:
        """What takes a tensor to the others faster than the group, if something does."""
        return self.mailbox if x.device.type == "cpu" and x.dtype == torch.float32 else None


#: Of so few numbers gathering all takes half as long as summing them, through gloo.
FEW = 1 << 14
#: One process that has all pictures.
ALONE = Shard()
_active: ContextVar[Shard] = ContextVar("shard", default=ALONE)


def active() -> Shard:
    """The shard of the step that is being computed."""
    return _active.get()


@contextmanager
def sharing(shard: Shard) -> Iterator[None]:
    """Compute a step on a shard: inside, what spans the batch is summed over all processes."""
    token = _active.set(shard)
    try:
        yield
    finally:
        _active.reset(token)


def wait_for(work: Any, device: torch.device) -> None:
    """Wait for what processes do together: on CPUs by asking for a moment, since to be woken takes longer than most of it does."""
    if device.type == "cpu":
        until(work.is_completed)
    work.wait()


def _gathered(x: Tensor, shard: Shard) -> Tensor:
    """What each process has, (...) to (size, ...), at most FEW numbers; not differentiable."""
    mailbox = shard.posts(x)
    if mailbox is not None:
        return mailbox.gather(x)
    parts = list(x.new_empty(shard.size, *x.shape))
    wait_for(dist.all_gather(parts, x.contiguous(), group=shard.group, async_op=True), x.device)
    return torch.stack(parts)


class _Summed(torch.autograd.Function):
    """A sum over processes. Its gradient is the sum of their gradients, and so on: differentiable as often as one likes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, shard: Shard) -> Tensor:
        ctx.shard = shard
        if x.numel() <= FEW:
            return _gathered(x, shard).sum(0)
        total = x.clone(memory_format=torch.contiguous_format)
        mailbox = shard.posts(total)
        if mailbox is not None:
            for piece in total.view(-1).split(PLACE):
                mailbox.average_([piece], 1)
        else:
            wait_for(dist.all_reduce(total, group=shard.group, async_op=True), x.device)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _Summed.apply(gradients[0], ctx.shard), None


def summed(x: Tensor) -> Tensor:
    """Sum over the processes of what each has: any shape, float32; differentiable with respect to what every process gives."""
    shard = active()
    if shard.size == 1:
        return x
    total: Tensor = _Summed.apply(x, shard)
    return total


def mean(x: Tensor) -> Tensor:
    """Mean over the processes; of means over shards it is that over the batch."""
    return summed(x) / active().size


def whole(x: Tensor) -> Tensor:
    """What all processes have, in the order of the batch: (n, ...) to (n * size, ...)."""
    shard = active()
    if shard.size == 1:
        return x
    if not torch.is_grad_enabled() and x.numel() <= FEW:
        return _gathered(x, shard).transpose(0, 1).flatten(0, 1)
    spread = x.new_zeros(len(x), shard.size, *x.shape[1:])
    return summed(torch.cat([spread[:, : shard.rank], x[:, None], spread[:, shard.rank + 1 :]], 1)).flatten(0, 1)


def drawn(make: Callable[[int], Tensor], count: int) -> Tensor:
    """Random numbers of this process's pictures, the same as if one process drew those of the batch.

    Args:
        make: called with the number of pictures in the whole batch, draws for all of them: (N, ...).
        count: pictures of this process.
    """
    shard = active()
    own: Tensor = shard.own(make(count * shard.size))
    return own


# batch normalisation


class _Normalised(torch.autograd.Function):
    """Batch normalisation over all processes, by torch's own kernels: their sums are local, and corrected afterwards."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor, eps: float) -> Tensor:
        ctx.save_for_backward(x, weight, bias, mean, var)
        ctx.eps, ctx.shard = eps, active()
        return F.batch_norm(x, mean, var, weight, bias, training=False, eps=eps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, mean, var = ctx.saved_tensors
        (dy,) = gradients
        with sharing(ctx.shard):
            if torch.is_grad_enabled():  # a gradient penalty is going to be derived from this gradient
                with torch.enable_grad():
                    y = _plainly_normalised(x, weight, bias, ctx.eps)
                    wanted = [value for value in (x, weight, bias) if value.requires_grad]
                    found = iter(torch.autograd.grad(y, wanted, dy, create_graph=True))
                return *(next(found) if value.requires_grad else None for value in (x, weight, bias)), None, None, None
            rstd = (var + ctx.eps).rsqrt()
            dx, dweight, dbias = torch.ops.aten.native_batch_norm_backward(
                dy, x, weight, None, None, mean, rstd, True, ctx.eps, [True, True, True]
            )
            # dx = rstd * weight * (dy - mean(dy) - xhat * mean(dy * xhat)), with means over this process; they are to be over all.
            count = x.numel() // x.shape[1]
            local = torch.stack([dbias, dweight]) / count
            dy_off, xhat_off = rstd * weight * (local - summed(local) / ctx.shard.size)
            scale = xhat_off * rstd
            dx.add_(_affine(x, scale, dy_off - scale * mean))
        return dx, dweight, dbias, None, None, None


def _affine(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Each channel times a number, plus another: by the kernel of batch normalisation, which takes bfloat16 with float32."""
    return F.batch_norm(x, torch.zeros_like(scale), torch.ones_like(scale), scale, shift, training=False, eps=0.0)


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each channel over the pictures and places of all processes: (N, C, ...) to (C,) each."""
    if x.device.type == "cpu" and not torch.is_grad_enabled():  # torch's variance takes up to 40 times as long there
        own_mean, own_var = torch.zeros(2, x.shape[1])
        mean_, var = torch.batch_norm_update_stats(x, own_mean, own_var, 1.0)
    else:
        var, mean_ = torch.var_mean(x.float(), [0, *range(2, x.ndim)], correction=0)
    all_ = whole(torch.stack([mean_, var])[None])  # (size, 2, C)
    middle = all_[:, 0].mean(0)
    return middle, (all_[:, 1] + (all_[:, 0] - middle).square()).mean(0)


def _plainly_normalised(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    middle, var = _moments(x)
    shape = (1, -1, *[1] * (x.ndim - 2))
    return ((x - middle.view(shape)) * (var + eps).rsqrt().view(shape) * weight.view(shape) + bias.view(shape)).to(x.dtype)


class SharedBatchNorm(nn.BatchNorm2d):
    """Batch normalisation whose statistics are those of the whole batch while it is shared (torch's SyncBatchNorm needs GPUs)."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same."""
        shard = active()
        if shard.size == 1 or not self.training:
            return super().forward(x)
        with torch.no_grad():
            middle, var = _moments(x)
            if self.track_running_stats:
                self._follow(middle, var, x.numel() // x.shape[1] * shard.size)
        normalised: Tensor = _Normalised.apply(x, self.weight, self.bias, middle, var, self.eps)
        return normalised

    def _follow(self, middle: Tensor, var: Tensor, count: int) -> None:
        """Move the running statistics as torch does."""
        mean, running_var = self.running_mean, self.running_var
        assert mean is not None
        assert running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        mean.lerp_(middle, momentum)
        running_var.lerp_(var * count / max(1, count - 1), momentum)


def share_statistics(module: nn.Module) -> None:
    """Let the batch normalisation inside a network span all processes; parameters and names stay as they are."""
    for name, child in module.named_children():
        if type(child) is nn.BatchNorm2d:
            shared = SharedBatchNorm(child.num_features, child.eps, child.momentum, child.affine, child.track_running_stats, device="meta")
            vars(shared).update(vars(child))
            setattr(module, name, shared)
        else:
            share_statistics(child)
