"""Bugs of resuming, each of which forgets one thing: planted in a running process, to see that the matrix finds them."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any


@dataclass(frozen=True)
class Mutant:
    """A bug.

    Attributes:
        what: is forgotten.
        work: of the matrix, in which it ought to show.
        module: whose source it is in.
        function: its qualified name.
        old: text of the function.
        new: what it is replaced by.
        kill: where the bug shows, if not at the first special place of the work.
        crashes: the resumed run ends in an error, rather than with another result.
    """

    what: str
    work: str
    module: str
    function: str
    old: str
    new: str
    kill: tuple[int, str] | None = None
    crashes: bool = False


GAN, PLAYERS, CHECKPOINT = "genart.nn.gan", "genart.nn.players", "genart.nn.checkpoint"
PARTS = '"G": self.G, "D": self.D, "G_ema": self.G_ema, "opt_G": self.opt_G, "opt_D": self.opt_D'


def _without(name: str) -> tuple[str, str, str, str]:
    kept = ", ".join(part for part in PARTS.split(", ") if not part.startswith(f'"{name}"'))
    return PLAYERS, "Players.parts", PARTS, kept


def _since(what: str) -> str:
    """What is counted from where this process began."""
    return f'({what} - vars(self).setdefault("since {what}", {what}))'


MUTANTS = (
    Mutant("optimiser of D", "dcgan", *_without("opt_D")),
    Mutant("optimiser of G", "dcgan", *_without("opt_G")),
    Mutant("average of G", "dcgan", *_without("G_ema")),
    Mutant(
        "steps of the optimisers",
        "dcgan",
        CHECKPOINT,
        "_unpack_optimizer",
        "optimizer.state[parameter][key] = _like(value, parameter,",
        'optimizer.state[parameter][key] = _like(value * (key != "step"), parameter,',
    ),
    Mutant(
        "place in the schedule of learning rates",
        "dcgan",
        CHECKPOINT,
        "_unpack_optimizer",
        'if key != "params"}',
        'if key not in ("params", "lr")}',
    ),
    Mutant(
        "random stream",
        "dcgan",
        GAN,
        "Training.train",
        'generator=run.generator(stream("z", returns), log.step)',
        'generator=vars(self).setdefault("stream", run.generator("z"))',
    ),
    Mutant(
        "strength of the augmentation",
        "dcgan",
        GAN,
        "Training._restore",
        '| {"elapsed_sec": self.log.elapsed_sec}',
        '| {"elapsed_sec": self.log.elapsed_sec, "augment_p": 0.0}',
    ),
    Mutant(
        "sums for r_t and the log",
        "dcgan",
        GAN,
        "Training._restore",
        'self.trainer.parts | {"sums": self.sums}',
        "self.trainer.parts",
        (16, ""),
    ),
    Mutant(
        "position among the pictures",
        "dcgan",
        GAN,
        "Training.train",
        "self.pictures.batch(log.step, log.nimg, batch_size, self.shard)",
        f"self.pictures.batch(log.step, {_since('log.nimg')}, batch_size, self.shard)",
    ),
    Mutant(
        "order of the pictures",
        "dcgan",
        "genart.nn.data",
        "Pictures._epoch",
        'self.generator("order", epoch)',
        'vars(self).setdefault("stream", self.generator("order", 0))',
    ),
    Mutant(
        "mirroring",
        "dcgan",
        "genart.nn.data",
        "Pictures._flips",
        'self.generator("mirror", step)',
        f'self.generator("mirror", {_since("step")})',
    ),
    Mutant(
        "step of the lazy penalties",
        "dcgan",
        GAN,
        "Training.train",
        'trainer.step(log.step, real, z, run.generator(stream("step", returns), log.step)',
        f'trainer.step({_since("log.step")}, real, z, run.generator(stream("step", returns), log.step)',
    ),
    Mutant(
        "history", "dcgan", GAN, "Training._resume", "self._restore(tensors, state)", "self._restore(tensors, state); self.log.history = []"
    ),
    Mutant("number of pictures in the film", "dcgan", GAN, "Training._resume", ".truncate(self.log.snapshots)", ".sync()", (14, "rename")),
    Mutant(
        "best state and watchdog",
        "dcgan measured",
        GAN,
        "Training._resume",
        "self.watchdog.watch = Watch(**self.log.watch)",
        "pass",
    ),
    Mutant("best average", "dcgan measured", GAN, "Training._resume", "self.best = {name:", "self.best = {} and {name:"),
    Mutant(
        "checkpoint after a return to an earlier state",
        "dcgan collapsed",
        GAN,
        "Training._roll_back",
        "self.save()",
        "pass",
        crashes=True,
    ),
    Mutant(
        "place of the growth, within a fade-in",
        "progan",
        GAN,
        "Training.train",
        "trainer.schedule(int(place))",
        f"trainer.schedule(int({_since('place')}))",
    ),
    Mutant(
        "warm-up of the divergence",
        "vae",
        "genart_vae.train",
        "Autoencoding.schedule",
        "min(1.0, nimg / self.warm_up_nimg)",
        f"min(1.0, {_since('nimg')} / self.warm_up_nimg)",
    ),
    Mutant(
        "average of the weights",
        "style.learn",
        "genart_style.learn",
        "Training.parts",
        '"painter": self.painter, "average": self.average',
        '"painter": self.painter',
    ),
    Mutant(
        "optimiser of a projection",
        "latent.project",
        "genart_latent.project",
        "_parts",
        ', "adam": work.optimizer',
        "",
    ),
)


def plant(what: str) -> None:
    """Plant a bug in this process, wherever its function is used already."""
    mutant = next(mutant for mutant in MUTANTS if mutant.what == what)
    module = importlib.import_module(mutant.module)
    path = Path(str(module.__file__))
    source = path.read_text(encoding="utf-8")
    name = mutant.function.rpartition(".")[2]
    before, begin, rest = source.partition(f"def {name}(")
    assert mutant.old in rest, f"{mutant.module} has changed: {mutant.old!r} is not in {mutant.function}"
    changed = before + begin + rest.replace(mutant.old, mutant.new, 1)
    code = next(code for code in _codes(compile(changed, str(path), "exec")) if code.co_qualname == mutant.function)
    _function(module, mutant.function).__code__ = code


def _codes(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _codes(constant)


def _function(module: Any, qualified: str) -> FunctionType:
    found: Any = module
    for name in qualified.split("."):
        found = vars(found)[name]
    function: FunctionType = found.fget if isinstance(found, property) else found
    return function
