"""From pictures to a model, for every family: look at the pictures, plan, train, and write the average of G."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from genart.artifacts import Batch, Images, Model
from genart.errors import DataError
from genart.run import Run

from . import budget, ema, losses, sheets
from .data import Pictures, all_identical, over_white, square
from .gan import GRID, NIMG_PER_SNAPSHOT, SETTLE, SNAPSHOTS, Settings, Training
from .layers import seeded
from .players import Game, Penalties, Players, Rules, Trainer
from .quality import Quality
from .rebuild import BESIDE
from .train_params import GanParams, TrainParams

#: Time for a training that names neither a budget nor a number of images.
DEFAULT_BUDGET_SEC = 180.0
#: Share of the time that measuring quality may take, and how often at most.
EVALUATION_SHARE, EVALUATIONS = 0.04, 10
#: Fewer measurements than this tell nothing that the pictures at the end do not.
WORTHWHILE = 2
#: Images between two measurements where no budget says what they may cost.
NIMG_PER_EVALUATION = 10_000
#: Strength of the augmentation that a plan reckons with.
ASSUMED_P = {"none": 0.0, "adaptive": 0.5, "always": 1.0}
#: Seconds after the last step, for the last snapshot and the sheets, as a multiple of a snapshot's, and on top.
ENDING = (6.0, 1.5)
#: Share of the time that gradient penalties may take where their laziness is free, and the choices.
PENALTY_SHARE, LAZINESS = 0.2, (1, 2, 4, 8, 16)


@dataclass(frozen=True)
class Setup:
    """What a family makes its networks from.

    Attributes:
        params: the stage's parameters.
        run: for random streams and the device.
        pictures: real pictures.
        plan: what was chosen: width, batch_size, z_dim, precision, penalty_every, total_nimg, ...
    """

    params: TrainParams
    run: Run
    pictures: Pictures
    plan: Mapping[str, Any]

    @property
    def resolution(self) -> int:
        """Pixels along a side."""
        return self.pictures.resolution

    @property
    def width(self) -> int:
        """Channels of the finest layer."""
        return int(self.plan["width"])

    @property
    def z_dim(self) -> int:
        """Numbers in a latent vector."""
        return int(self.plan["z_dim"])

    @property
    def classes(self) -> int:
        """Number of classes; 0 where pictures have none."""
        return len(self.pictures.classes)

    @property
    def total_nimg(self) -> int:
        """Images that the training is planned to see."""
        return int(self.plan["total_nimg"])


class Family:
    """A family of networks. Subclasses say what differs.

    Attributes:
        name: under which its generator is registered.
        resolutions: pixels along a side that it can draw.
        widths: to choose from, by kind of device.
        width: without a budget, by kind of device.
        batch_sizes: by kind of device.
        wanted_nimg: a wider network is worth it while training still sees this many images.
        betas: Adam's.
        module: the generator's class.
    """

    name: str
    module: type[nn.Module]
    resolutions: Sequence[int] = (16, 32, 64, 128, 256)
    widths: Mapping[str, Sequence[int]] = {"cpu": (16, 24, 32, 48, 64), "cuda": (64, 96, 128), "mps": (32, 48, 64)}
    width: Mapping[str, int] = {"cpu": 32, "cuda": 64, "mps": 48}
    batch_sizes: Mapping[str, int] = {"cpu": 32, "cuda": 128, "mps": 64}
    wanted_nimg = 80_000
    betas = (0.0, 0.99)

    def parameters(self, setup: Setup) -> dict[str, Any]:
        """Arguments of the generator's class, which the model's header keeps."""
        raise NotImplementedError

    def arguments(self, setup: Setup) -> dict[str, Any]:
        """The same; a model that is trained further keeps its own."""
        return self.parameters(setup) | dict(setup.plan.get("given", {}))

    def discriminator(self, setup: Setup) -> nn.Module:
        """A new D."""
        raise NotImplementedError

    def game(self, G: nn.Module, D: nn.Module, setup: Setup) -> Game:
        """The two networks with their loss and their rules."""
        return Game(G, D, self.loss(setup), penalties(setup))

    def loss(self, setup: Setup) -> losses.Loss:
        """The adversarial loss."""
        return losses.named(gan_params(setup).loss)

    def trainer(self, setup: Setup) -> Trainer:
        """What the loop trains, with its seeded first weights, on the run's device."""
        generator = setup.run.generator
        G = seeded(lambda: self.module(**self.arguments(setup)), generator("init_G"))
        D = seeded(lambda: self.discriminator(setup), generator("init_D"))
        return Players(self.game(G, D, setup), self.rules(setup), setup.run.device)

    def rules(self, setup: Setup) -> Rules:
        """Learning rates and the like, from the plan and the parameters."""
        params, plan = gan_params(setup), setup.plan
        return Rules(
            batch_size=plan["batch_size"],
            lr_G=params.lr_G,
            lr_D=params.lr_D,
            betas=self.betas,
            skip_D_below=params.skip_D_below,
            bfloat16=plan["precision"] == "bf16",
            policy=() if params.augment == "none" else params.augment_policy,
        )


def gan_params(setup: Setup) -> GanParams:
    """The parameters of a family that has a discriminator."""
    assert isinstance(setup.params, GanParams)
    return setup.params


def penalties(setup: Setup) -> Penalties:
    """Gradient penalties as the parameters and the plan say."""
    params = gan_params(setup)
    return Penalties(params.r1_gamma, params.r2_gamma, params.gp_lambda, setup.plan["penalty_every"])


def train(family: Family, images: Images, params: TrainParams, run: Run) -> Model:
    """Train a generator of a family on pictures, and return its average.

    Raises:
        DataError: if the pictures or `init` cannot be used.
        DivergedError: if training explodes again and again.
    """
    array, labels, classes = load(family, images, params, run)
    began = time.monotonic()
    pictures = Pictures(array, run.generator, mirror=params.mirror, device=run.device, labels=labels, classes=classes)
    init = opened(family, pictures, params, run)
    plan = run.choose("plan", lambda: make_plan(family, pictures, init, params, run, began))
    setup = Setup(params, run, pictures, plan)
    trainer = family.trainer(setup)
    if init is not None:
        take_over(trainer, init, run)
    quality = Quality(run, pictures)
    training = Training(run, trainer, pictures, settings(setup), measure=quality.measure, began=began)
    training.train()
    if plan["evaluations"]:
        training.watchdog.copies(training.log.nimg, quality.copied_share(trainer))
    keep("plot", sheets.plot(training.log.history, training.watchdog.watch.acts), run)
    keep("nearest", quality.nearest_sheet(trainer, training.grid_z, training.grid_labels), run)
    return result(family, training, setup)


def keep(output: str, sheet: Tensor, run: Run) -> None:
    """Give one picture, (1, 3, H, W) in [0, 1], as a further output."""
    sink = run.sink(output)
    sink.truncate(0)
    sink.append(Batch(sheet))


# pictures


def load(family: Family, images: Images, params: TrainParams, run: Run) -> tuple[np.ndarray, list[int], list[str]]:
    """Return the pictures as (N, R, R, 3) uint8, the class of each, and the classes' names; both empty without classes.

    Raises:
        DataError: if they cannot be trained on; the message says what they are and what to do.
    """
    array = images.array()
    if len(array) < 2:
        raise DataError(f"it needs at least 2 pictures, got {len(array)}", "look at the stage before it; a few hundred make a good start")
    height, width, channels = array.shape[1:]
    if params.resolution is None and (height != width or height not in family.resolutions):
        *others, last = map(str, family.resolutions)
        raise DataError(
            f"the pictures are {width}x{height}, but it trains on squares of {', '.join(others)} or {last} pixels",
            "give it `resolution = 64` to scale and crop them, or put an images.resize stage before it",
        )
    if channels == 4:
        run.warn("the pictures have transparency, which this family cannot draw: they are laid over white")
        array = over_white(array)
    if params.resolution is not None and (height, width) != (params.resolution, params.resolution):
        array = square(array, params.resolution)
    if all_identical(array):
        raise DataError(f"all {len(array)} pictures are identical", "a GAN learns what differs between pictures: give it various ones")
    return array, *classes_of(images, run)


def classes_of(images: Images, run: Run) -> tuple[list[int], list[str]]:
    """The class of each picture and the classes' names, if every picture has a `label` and there are two at least."""
    names = [meta.get("label") for batch in images.batches() for meta in batch.meta]
    known = sorted({name for name in names if name is not None})
    if len(known) < 2:
        return [], []
    if None in names:
        run.warn(f"{names.count(None)} of {len(names)} pictures are in no class folder: the classes are ignored")
        return [], []
    return [known.index(name) for name in names], known


# going on from a model


def opened(family: Family, pictures: Pictures, params: TrainParams, run: Run) -> Model | None:
    """The model to go on from, if there is one and it fits.

    Raises:
        DataError: if it is of another family or resolution, or knows other classes.
    """
    if params.init is None:
        return None
    model = run.open_model(params.init)
    if model.family != family.name:
        raise DataError(
            f"init: {params.init} is a model of the family '{model.family}', not '{family.name}'",
            f"go on from it with {model.family}.train, or name a model that {family.name}.train made",
        )
    if model.header["resolution"] != pictures.resolution:
        size = model.header["resolution"]
        raise DataError(
            f"init: {params.init} draws {size} px, and the pictures are {pictures.resolution} px", f"give it `resolution = {size}`"
        )
    known = model.header.get("classes", [])
    if len(known) != len(pictures.classes):
        raise DataError(
            f"init: {params.init} knows {len(known) or 'no'} classes, and the pictures have {len(pictures.classes) or 'none'}",
            "go on with as many class folders as it was trained on, or without init",
        )
    return model


def take_over(trainer: Trainer, model: Model, run: Run) -> None:
    """Begin with the weights of a model: of G, its average, and D where the model has them."""
    tensors = load_file(model.path)
    G = {name: value for name, value in tensors.items() if not name.startswith(BESIDE)}
    for module in (trainer.G, trainer.G_ema):
        module.load_state_dict(G)
    beside = {name.removeprefix(BESIDE): value for name, value in tensors.items() if name.startswith(BESIDE)}
    other = beside_of(trainer)
    if other is not None and _shapes(beside) == _shapes(other.state_dict()):
        other.load_state_dict(beside)
    elif other is not None:
        run.warn("init has no discriminator that fits: a new one begins from nothing, and may spoil G at first")


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in tensors.items()}


def beside_of(trainer: Trainer) -> nn.Module | None:
    """The network that learns beside G and that going on needs: D, or an encoder."""
    other: nn.Module | None = getattr(trainer, "D", None)
    return other


# the plan


def make_plan(family: Family, pictures: Pictures, init: Model | None, params: TrainParams, run: Run, began: float) -> dict[str, Any]:
    """Choose width, batch size, precision and number of images for this device, by measuring if there is a budget."""
    seconds = params.budget or (None if params.kimg else DEFAULT_BUDGET_SEC)
    given = init.header["parameters"] if init is not None else {}
    total_nimg = round(params.kimg * 1000) if params.kimg else family.wanted_nimg
    lazy = getattr(params, "penalty_every", None)
    plan: dict[str, Any] = {
        "width": given.get("width") or params.width or family.width[run.device],
        "z_dim": given.get("z_dim") or params.z_dim,
        "batch_size": batch_size(family, len(pictures), params, run),
        "precision": precision(params, run.device),
        "penalty_every": lazy or 1,
        "total_nimg": total_nimg,
        "evaluations": min(EVALUATIONS, total_nimg // NIMG_PER_EVALUATION) if params.evaluations is None else params.evaluations,
        "deadline_sec": seconds and seconds * budget.DEADLINE,
        **({"given": given} if given else {}),
    }
    if seconds is None:
        return plan
    free = params.width is None and "width" not in given
    fitting = Fitting(family, Setup(params, run, pictures, plan), seconds * budget.PLANNED, began)
    return fitting.fitted(free_width=free, free_laziness=not lazy)


class Fitting:
    """Measures the machine on throw-away networks, and fits what is free in a plan to the time.

    Args:
        family: what to train.
        setup: with the plan so far.
        usable_sec: time for the training.
        began: `time.monotonic()` at its start.
    """

    def __init__(self, family: Family, setup: Setup, usable_sec: float, began: float) -> None:
        self.family, self.setup, self.usable_sec, self.began = family, setup, usable_sec, began
        self.measure_sec = min(2.0, 0.01 * usable_sec)

    def fitted(self, *, free_width: bool, free_laziness: bool) -> dict[str, Any]:
        """The plan with width, laziness, evaluations and number of images that fit."""
        params, run = self.setup.params, self.setup.run
        plan = dict(self.setup.plan)
        if free_width:
            plan["width"] = budget.largest_that_fits(
                self.family.widths[run.device],
                lambda width: 1 / self.image_sec(plan | {"width": width}, self.measure_sec / 2, free_laziness=free_laziness)[0],
                plan["total_nimg"],
                self.usable_sec,
            )
        image_sec, plan["penalty_every"] = self.image_sec(plan, self.measure_sec, free_laziness=free_laziness)
        snapshot_sec, evaluation_sec, reals_sec = self.other_secs(plan)
        if params.evaluations is None:
            affordable = (EVALUATION_SHARE * self.usable_sec - reals_sec) / evaluation_sec if evaluation_sec else 0.0
            plan["evaluations"] = int(min(EVALUATIONS, affordable)) if affordable >= WORTHWHILE else 0
        if params.kimg is None:
            measuring = plan["evaluations"] * evaluation_sec + reals_sec if plan["evaluations"] else 0.0
            left = self.usable_sec - (time.monotonic() - self.began) - measuring - ENDING[0] * snapshot_sec - ENDING[1]
            # A snapshot comes every so many images, but no more often than a timelapse needs.
            fits = max(left / (image_sec + snapshot_sec / NIMG_PER_SNAPSHOT), (left - SNAPSHOTS * snapshot_sec) / image_sec)
            plan["total_nimg"] = max(plan["batch_size"], int(fits))
        ending = ENDING[0] * snapshot_sec + ENDING[1]
        plan["deadline_sec"] = max(0.5 * plan["deadline_sec"], plan["deadline_sec"] - ending)
        return plan

    def image_sec(self, plan: dict[str, Any], seconds: float, *, free_laziness: bool) -> tuple[float, int]:
        """Seconds of a step per image, over the whole schedule, and how lazy the penalties are to be."""
        trainer = self.family.trainer(replace(self.setup, plan=plan | {"penalty_every": 2}))  # step 0 computes them, step 1 does not
        probes = trainer.probes(plan["total_nimg"])
        usual = lazy = 0.0
        kinds = (False, True) if trainer.penalised else (False,)
        for share, nimg in probes:
            for penalised in kinds:
                cost = share * self.step_sec(trainer, nimg, seconds / len(probes) / len(kinds), penalised=penalised)
                usual, lazy = (usual, lazy + cost) if penalised else (usual + cost, lazy)
        extra = max(0.0, lazy - usual) if trainer.penalised else 0.0
        every = int(plan["penalty_every"])
        if free_laziness:
            every = next((k for k in LAZINESS if extra / k <= PENALTY_SHARE * usual), LAZINESS[-1])
        return usual + extra / every, every

    def step_sec(self, trainer: Trainer, nimg: int, seconds: float, *, penalised: bool) -> float:
        """Seconds of a step per image after `nimg` images, with or without the penalties that come in some steps only."""
        setup, device = self.setup, self.setup.run.device
        trainer.schedule(nimg)
        n = trainer.batch_size(nimg)
        z = torch.randn(n, setup.z_dim, generator=setup.run.generator("z", 0)).to(device)
        p = ASSUMED_P[getattr(setup.params, "augment", "none")]
        numbers = itertools.count()

        def play() -> None:
            number = next(numbers)
            real = setup.pictures.batch(number, number * n, n)  # other pictures each time, as in training
            trainer.step(0 if penalised else 1, real, z, setup.run.generator("step", 0), p)
            ema.update(trainer.G_ema, trainer.G, 0.5)

        return budget.seconds_per_call(play, device, seconds, warmup=1) / n

    def other_secs(self, plan: dict[str, Any]) -> tuple[float, float, float]:
        """Seconds of a snapshot, of a measurement of quality, and of what measuring needs once."""
        setup = replace(self.setup, plan=plan)
        trainer = self.family.trainer(setup)
        trainer.schedule(plan["total_nimg"])
        latents = torch.randn(SETTLE, setup.z_dim, generator=setup.run.generator("settle")).to(setup.run.device)
        snapshot = budget.seconds_per_call(lambda: trainer.settled(latents, latents[:GRID], None), setup.run.device, 0, warmup=1)
        if self.usable_sec * EVALUATION_SHARE < 1 or setup.params.evaluations == 0:
            return snapshot, 0.0, 0.0
        return snapshot, *Quality(setup.run, setup.pictures).seconds(trainer)


def batch_size(family: Family, count: int, params: TrainParams, run: Run) -> int:
    """The batch size, no larger than the number of pictures."""
    wanted = params.batch_size or family.batch_sizes[run.device]
    if count < wanted:
        run.warn(f"only {count} pictures for a batch of {wanted}: training uses batches of {count}")
    return min(wanted, count)


def precision(params: TrainParams, device: str) -> str:
    """Precision of matrix products: "fp32" or "bf16"."""
    if params.precision != "auto":
        return params.precision
    return "bf16" if budget.gains_from_bfloat16(device) else "fp32"


def settings(setup: Setup) -> Settings:
    """Settings of the loop, from the plan and the parameters."""
    params, plan = setup.params, setup.plan
    gan = params if isinstance(params, GanParams) else None
    strength = {"none": 0.0, "always": 1.0, "adaptive": None}
    return Settings(
        total_nimg=plan["total_nimg"],
        ema_kimg=params.ema_kimg,
        # What a critic says of real pictures alone means nothing, so nothing can follow it.
        augment_p=strength["none" if gan.loss == "wgan" and gan.augment == "adaptive" else gan.augment] if gan else 0.0,
        evaluations=plan["evaluations"],
        watch=params.watch,
        critic=gan is not None and gan.loss == "wgan",
        rates=(gan.lr_G, gan.lr_D) if gan else (getattr(params, "lr", 0.0),) * 2,
        deadline_sec=plan["deadline_sec"],
    )


def result(family: Family, training: Training, setup: Setup) -> Model:
    """Write the average of G, and beside it D, for whoever goes on from here."""
    log, plan, trainer = training.log, setup.plan, training.trainer
    trained: dict[str, Any] = {"nimg": log.nimg, "pictures": len(setup.pictures), "diversity": round(log.diversity or 0.0, 4)}
    trained |= {name: plan[name] for name in ("width", "batch_size", "precision")}
    trained["watchdog"] = training.watchdog.watch.acts
    beside = beside_of(trainer)
    other = {f"{BESIDE}{name}": value for name, value in beside.state_dict().items()} if beside is not None else {}
    return setup.run.model(
        {**trainer.G_ema.state_dict(), **other},
        family=family.name,
        parameters=family.arguments(setup),
        z_dim=setup.z_dim,
        resolution=setup.resolution,
        history=log.history,
        trained=trained,
        **({"classes": list(setup.pictures.classes)} if setup.classes else {}),
    )
