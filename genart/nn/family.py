"""From pictures to a model, for every family: look at the pictures, plan, train, and write the average of G."""

from __future__ import annotations

import itertools
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from genart.artifacts import Batch, Images, Model
from genart.errors import DataError
from genart.run import Run

from . import budget, ema, losses, sheets
from .data import Pictures, all_identical, over_white, square
from .gan import GRID, NIMG_PER_SNAPSHOT, SETTLE, SNAPSHOTS, UNKNOWN_EPOCHS, Settings, Training
from .layers import seeded
from .pace import PARTS
from .players import Game, Penalties, Players, Rules, Trainer
from .quality import Quality
from .rebuild import BESIDE
from .shards import ALONE
from .team import FollowedError, Lead, Leading, follow
from .train_params import GanParams, TrainParams

#: Time for a training that names neither a budget nor a number of images.
DEFAULT_BUDGET_SEC = 180.0
#: Share of the time that measuring quality may take, and how often at most.
EVALUATION_SHARE, EVALUATIONS = 0.04, 10
#: Fewer measurements than this tell nothing that the pictures at the end do not.
WORTHWHILE = 2
#: Images between two measurements where no budget says what they may cost.
NIMG_PER_EVALUATION = 10_000
#: A training of so many images ends calmly, with falling learning rates in this share of it; a shorter one learns more without
#: (bench/families.py and recipes/painting.toml).
LONG_NIMG, LONG_DECAY = 500_000, 0.5
#: Weight of R1 and R2 from so many pixels along a side on, and that for smaller pictures, whose gradients are sums over fewer pixels.
LARGE, GAMMA, SMALL_GAMMA = 64, 1.0, 0.1
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


class Family(ABC):
    """A family of networks. Subclasses say what differs.

    Attributes:
        name: under which its generator is registered.
        resolutions: pixels along a side that it can draw.
        widths: to choose from, by kind of device.
        width: without a budget, by kind of device.
        batch_sizes: to choose from, by kind of device, ascending; the first without a budget.
        wanted_nimg: a wider network is worth it while training still sees this many images of 64 px; of smaller ones it is to see more.
        betas: Adam's.
        module: the generator's class.
    """

    name: str
    module: type[nn.Module]
    resolutions: Sequence[int] = (16, 32, 64, 128, 256)
    widths: Mapping[str, Sequence[int]] = {"cpu": (16, 24, 32, 48, 64), "cuda": (64, 96, 128), "mps": (32, 48, 64)}
    width: Mapping[str, int] = {"cpu": 32, "cuda": 64, "mps": 48}
    batch_sizes: Mapping[str, Sequence[int]] = {"cpu": (32, 64), "cuda": (64, 128, 256), "mps": (32, 64, 128)}
    wanted_nimg = 80_000
    betas = (0.0, 0.99)

    def wanted_at(self, resolution: int) -> int:
        """Images that training is to see at least, before it is worth a wider network."""
        return self.wanted_nimg * max(1, 64 // resolution)

    def widths_at(self, resolution: int, device: str) -> Sequence[int]:
        """Widths to choose from for pictures of this size."""
        return self.widths[device]

    def parameters(self, setup: Setup) -> dict[str, Any]:
        """Arguments of the generator's class, which the model's header keeps; a family whose class takes more adds them."""
        named = {"resolution": setup.resolution, "width": setup.width, "z_dim": setup.z_dim}
        return named | ({"classes": setup.classes} if setup.classes else {})

    def arguments(self, setup: Setup) -> dict[str, Any]:
        """The same; a model that is trained further keeps its own, and what it does not name is as it was when it was made."""
        return dict(setup.plan.get("given", {})) or self.parameters(setup)

    @abstractmethod
    def trainer(self, setup: Setup) -> Trainer:
        """What the loop trains, with its seeded first weights, on the run's device."""


class GanFamily(Family):
    """A family in which a discriminator D takes part."""

    @abstractmethod
    def discriminator(self, setup: Setup) -> nn.Module:
        """A new D."""

    def game(self, G: nn.Module, D: nn.Module, setup: Setup) -> Game:
        """The two networks with their loss and their rules."""
        return Game(G, D, self.loss(setup), penalties(setup))

    def loss(self, setup: Setup) -> losses.Loss:
        """The adversarial loss, one of `genart.nn.losses` or a plugin's."""
        name = gan_params(setup).loss
        if name in losses.LOSS_NAMES:
            return losses.named(name)
        loss: losses.Loss = setup.run.extension("genart_losses", name)
        return loss

    def trainer(self, setup: Setup) -> Trainer:
        """The two players, with their seeded first weights, on the run's device."""
        generator = setup.run.generator
        G = seeded(lambda: self.module(**self.arguments(setup)), generator("init_G"))
        D = seeded(lambda: self.discriminator(setup), generator("init_D"))
        return Players(self.game(G, D, setup), self.rules(setup), setup.run.device)

    def rules(self, setup: Setup) -> Rules:
        """Learning rates and the like, from the plan and the parameters."""
        params, plan = gan_params(setup), setup.plan
        policy = () if params.augment == "none" else params.augment_policy
        return Rules(
            batch_size=plan["batch_size"],
            lr_G=params.lr_G,
            lr_D=params.lr_D,
            betas=self.betas,
            skip_D_below=params.skip_D_below,
            bfloat16=plan["precision"] == "bf16",
            policy=tuple(change for change in policy if isinstance(change, str)),
            changes=tuple(change for change in policy if not isinstance(change, str)),
        )


def gan_params(setup: Setup) -> GanParams:
    """The parameters of a family that has a discriminator."""
    assert isinstance(setup.params, GanParams)
    return setup.params


def penalties(setup: Setup) -> Penalties:
    """Gradient penalties as the parameters and the plan say; weights of R1 and R2 that are left open follow the resolution."""
    params = gan_params(setup)
    gamma = GAMMA if setup.resolution >= LARGE else SMALL_GAMMA
    r1_gamma, r2_gamma = (gamma if given is None else given for given in (params.r1_gamma, params.r2_gamma))
    return Penalties(r1_gamma, r2_gamma, params.gp_lambda, setup.plan["penalty_every"])


def train(family: Family, images: Images, params: TrainParams, run: Run) -> Model:
    """Train a generator of a family on pictures, and return its average.

    Raises:
        DataError: if the pictures or `init` cannot be used.
        DivergedError: if training explodes again and again.
    """
    if run.team is not None and not run.team.leads:
        follow_along(family, images, params, run)
    lead = Lead(run)
    try:
        return led(family, images, params, run, lead)
    finally:
        lead.done()


def follow_along(family: Family, images: Images, params: TrainParams, run: Run) -> NoReturn:
    """Take part in a training that another process leads.

    Raises:
        FollowedError: when it is over.
    """

    def load_at(resolution: int) -> Pictures:
        return picture_set(family, images, params.model_copy(update={"resolution": resolution}), run)

    def build(pictures: Pictures, plan: dict[str, Any]) -> Trainer:
        return family.trainer(Setup(params.model_copy(update={"resolution": pictures.resolution}), run, pictures, plan))

    assert run.team is not None
    follow(run.team, run, load_at, build)
    raise FollowedError


def picture_set(family: Family, images: Images, params: TrainParams, run: Run) -> Pictures:
    """The pictures, as training draws them."""
    array, labels, classes = load(family, images, params, run)
    return Pictures(array, run.generator, mirror=params.mirror, device=run.device, labels=labels, classes=classes)


def led(family: Family, images: Images, params: TrainParams, run: Run, lead: Lead) -> Model:
    """Train, alone or at the head of a team; see `train`."""
    began = time.monotonic()
    if params.resolution == "auto":
        resolution = run.choose("resolution", lambda: resolution_that_fits(family, images, params, run, lead))
        params = params.model_copy(update={"resolution": resolution})
    pictures = picture_set(family, images, params, run)
    lead.pictures(pictures.resolution)
    init = opened(family, pictures, params, run)
    quality = Quality(run, pictures)
    plan = run.choose("plan", lambda: make_plan(family, pictures, init, params, run, quality, began, lead))
    setup = Setup(params, run, pictures, plan)
    trainer = lead.trainer(family.trainer(setup), plan)
    if init is not None:
        take_over(trainer, init, run)
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
    if len(array) < params.least_pictures:
        least = params.least_pictures
        raise DataError(
            f"it needs at least {least} pictures, got {len(array)}", "look at the stage before it; a few hundred make a good start"
        )
    height, width, channels = array.shape[1:]
    if params.resolution is None and (height != width or height not in family.resolutions):
        *others, last = map(str, family.resolutions)
        raise DataError(
            f"the pictures are {width}x{height}, but it trains on squares of {', '.join(others)} or {last} pixels",
            "give it `resolution = 64` to scale and crop them, or put an images.resize stage before it",
        )
    if channels == 4:
        run.warn("the pictures have transparency, which this family cannot draw: they are laid over white")
    resolution = height if params.resolution is None else int(params.resolution)
    if min(height, width) < resolution:
        run.warn(
            f"the pictures, of {width}x{height} pixels, are enlarged to {resolution}, and a GAN learns little from enlarged ones: train "
            f'smaller, or let the stage that reads them put a border around them (`resolution = {resolution}` and `fit = "pad"` there)'
        )
    array = sized(array, resolution)
    if all_identical(array):
        raise DataError(f"all {len(array)} pictures are identical", "a GAN learns what differs between pictures: give it various ones")
    return array, *classes_of(images, run)


def sized(array: np.ndarray, resolution: int) -> np.ndarray:
    """(N, H, W, 3 or 4) to (N, resolution, resolution, 3), uint8; what is transparent is laid over white."""
    if array.shape[3] == 4:
        array = over_white(array)
    return array if array.shape[1:3] == (resolution, resolution) else square(array, resolution)


def resolution_that_fits(family: Family, images: Images, params: TrainParams, run: Run, lead: Lead) -> int:
    """Choose the largest resolution, up to that of the pictures, at which the smallest network sees as many images as the family wants."""
    if params.init is not None:
        return int(run.open_model(params.init).header["resolution"])
    array = images.array()
    side = min(array.shape[1:3])
    candidates = [size for size in family.resolutions if size <= side] or [family.resolutions[0]]
    seconds = params.budget or (None if params.kimg else DEFAULT_BUDGET_SEC)
    if seconds is None:
        return candidates[-1]

    def rate(resolution: int) -> float:
        smallest = params.width or family.widths_at(resolution, run.device)[0]
        given = params.model_copy(update={"resolution": resolution, "width": smallest})
        pictures = Pictures(sized(array, resolution), run.generator, device=run.device)
        lead.pictures(resolution)
        setup = Setup(given, run, pictures, first_plan(family, pictures, {}, given, run))
        fitting = Fitting(family, setup, Quality(run, pictures), seconds * budget.PLANNED, 0.0, lead)
        return 1 / mean_cost(fitting.costs(dict(setup.plan), fitting.measure_sec / 2, free_laziness=True)[0])

    wanted = params.kimg * 1000 if params.kimg else family.wanted_at(candidates[-1])
    return budget.largest_that_fits(candidates, rate, wanted, seconds * budget.PLANNED)


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
    for name, own in model.header["parameters"].items():
        if name in params.model_fields_set - {"resolution"} and (wanted := getattr(params, name)) not in (None, own):
            run.warn(f"init keeps what it was made with: {name} = {own}, not {wanted}")
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


def make_plan(
    family: Family,
    pictures: Pictures,
    init: Model | None,
    params: TrainParams,
    run: Run,
    quality: Quality,
    began: float,
    lead: Lead,
) -> dict[str, Any]:
    """Choose width, batch size, precision and number of images for this device, by measuring if there is a budget."""
    seconds = params.budget or (None if params.kimg else DEFAULT_BUDGET_SEC)
    given = init.header["parameters"] if init is not None else {}
    plan = first_plan(family, pictures, given, params, run) | {"deadline_sec": seconds and seconds * budget.DEADLINE}
    if seconds is None:
        return plan
    fitting = Fitting(family, Setup(params, run, pictures, plan), quality, seconds * budget.PLANNED, began, lead)
    return fitting.fitted(
        free_width=params.width is None and "width" not in given,
        free_batch=params.batch_size is None,
        free_laziness=getattr(params, "penalty_every", None) is None,
    )


def first_plan(family: Family, pictures: Pictures, given: Mapping[str, Any], params: TrainParams, run: Run) -> dict[str, Any]:
    """The plan without measuring; `given`: arguments of the model that is trained further."""
    total_nimg = round(params.kimg * 1000) if params.kimg else family.wanted_at(pictures.resolution)
    return {
        "width": given.get("width") or params.width or family.width[run.device],
        "z_dim": given.get("z_dim") or params.z_dim,
        "batch_size": batch_size(family, len(pictures), params, run),
        "precision": precision(params, run.device),
        "penalty_every": getattr(params, "penalty_every", None) or 1,
        "total_nimg": total_nimg,
        "evaluations": min(EVALUATIONS, total_nimg // NIMG_PER_EVALUATION) if params.evaluations is None else params.evaluations,
        **({"given": given} if given else {}),
    }


class Fitting:
    """Measures the machine on throw-away networks, and fits what is free in a plan to the time.

    Args:
        family: what to train.
        setup: with the plan so far.
        quality: what measures quality during the training.
        usable_sec: time for the training.
        began: `time.monotonic()` at its start.
        lead: of the processes that are going to train, and are measured together.
    """

    trainer: Trainer  # the last that was measured

    def __init__(self, family: Family, setup: Setup, quality: Quality, usable_sec: float, began: float, lead: Lead) -> None:
        self.family, self.setup, self.quality, self.usable_sec, self.began, self.lead = family, setup, quality, usable_sec, began, lead
        self.measure_sec = min(2.0, 0.01 * usable_sec)

    def fitted(self, *, free_width: bool, free_batch: bool, free_laziness: bool) -> dict[str, Any]:
        """The plan with batch size, width, laziness, evaluations and number of images that fit."""
        params, device = self.setup.params, self.setup.run.device
        plan = dict(self.setup.plan)

        def rate(name: str, value: int) -> float:
            return 1 / mean_cost(self.costs(plan | {name: value}, self.measure_sec / 2, free_laziness=free_laziness)[0])

        if free_batch:
            sizes = [size for size in self.family.batch_sizes[device] if size <= len(self.setup.pictures)]
            plan["batch_size"] = budget.batch_that_pays(sizes or [plan["batch_size"]], lambda size: rate("batch_size", size))
        if free_width:
            widths, nimg = self.family.widths_at(self.setup.resolution, device), plan["total_nimg"]
            plan["width"] = budget.largest_that_fits(widths, lambda width: rate("width", width), nimg, self.usable_sec)
        costs, plan["penalty_every"] = self.costs(plan, self.measure_sec, free_laziness=free_laziness)
        image_sec = mean_cost(costs)
        snapshot_sec, evaluation_sec, reals_sec = self.other_secs(plan)
        if params.evaluations is None:
            affordable = (EVALUATION_SHARE * self.usable_sec - reals_sec) / evaluation_sec if evaluation_sec else 0.0
            plan["evaluations"] = int(min(EVALUATIONS, affordable)) if affordable >= WORTHWHILE else 0
        ending = ENDING[0] * snapshot_sec + ENDING[1]
        if params.kimg is None:
            plan["usable_sec"] = self.usable_sec - ending - (evaluation_sec if plan["evaluations"] else 0.0)  # the last comes after it
            measuring = plan["evaluations"] * evaluation_sec + reals_sec if plan["evaluations"] else 0.0
            left = self.usable_sec - (time.monotonic() - self.began) - measuring - ending
            # A snapshot comes every so many images, but no more often than a timelapse needs.
            fits = max(left / (image_sec + snapshot_sec / NIMG_PER_SNAPSHOT), (left - SNAPSHOTS * snapshot_sec) / image_sec)
            plan["total_nimg"] = max(PARTS * plan["batch_size"], int(fits))  # a step in each part at least, to measure again
            plan["costs"] = costs
        plan["deadline_sec"] = max(0.5 * plan["deadline_sec"], plan["deadline_sec"] - ending)
        return plan

    def costs(self, plan: dict[str, Any], seconds: float, *, free_laziness: bool) -> tuple[list[tuple[float, float]], int]:
        """Shares of the schedule with the seconds of a step per image in each, and how lazy the penalties are to be."""
        # With these penalties, step 0 computes them and step 1 does not.
        measured = plan | {"penalty_every": 2}
        self.trainer = trainer = self.lead.trainer(self.family.trainer(replace(self.setup, plan=measured)), measured)
        probes = trainer.probes(plan["total_nimg"])
        kinds = (False, True) if trainer.penalised else (False,)
        each = seconds / len(probes) / len(kinds)
        costs = [[self.step_sec(nimg, each, penalised=penalised) for penalised in kinds] for _, nimg in probes]
        extra = [max(0.0, cost[-1] - cost[0]) for cost in costs]
        every = int(plan["penalty_every"])
        if free_laziness:
            usual, more = (sum(share * x for (share, _), x in zip(probes, xs, strict=True)) for xs in ([c[0] for c in costs], extra))
            every = next((k for k in LAZINESS if more / k <= PENALTY_SHARE * usual), LAZINESS[-1])
        return [(share, cost[0] + x / every) for (share, _), cost, x in zip(probes, costs, extra, strict=True)], every

    def step_sec(self, nimg: int, seconds: float, *, penalised: bool) -> float:
        """Seconds of a step per image after `nimg` images, with or without the penalties that come in some steps only."""
        setup, device, trainer = self.setup, self.setup.run.device, self.trainer
        trainer.schedule(nimg)
        n = trainer.batch_size(nimg)
        shard = trainer.shard if isinstance(trainer, Leading) else ALONE
        z = shard.own(torch.randn(n, setup.z_dim, generator=setup.run.generator("z", 0))).to(device)
        p = assumed_p(setup)
        numbers = itertools.count()

        def play() -> None:
            number = next(numbers)
            real = setup.pictures.batch(number, number * n, n, shard)  # other pictures each time, as in training
            trainer.step(0 if penalised else 1, real, z, setup.run.generator("step", 0), p)
            ema.update(trainer.G_ema, trainer.G, 0.5)

        return budget.seconds_per_call(play, device, seconds, warmup=1) / n

    def other_secs(self, plan: dict[str, Any]) -> tuple[float, float, float]:
        """Seconds of a snapshot, of a measurement of quality, and of what measuring needs once."""
        setup, trainer = self.setup, self.trainer
        trainer.schedule(plan["total_nimg"])
        latents = torch.randn(SETTLE, setup.z_dim, generator=setup.run.generator("settle")).to(setup.run.device)
        snapshot = budget.seconds_per_call(lambda: trainer.settled(latents, latents[:GRID], None), setup.run.device, 0, warmup=1)
        if self.usable_sec * EVALUATION_SHARE < 1 or setup.params.evaluations == 0:
            return snapshot, 0.0, 0.0
        return snapshot, *self.quality.seconds(trainer)


def mean_cost(costs: Sequence[tuple[float, float]]) -> float:
    """Seconds per image over a whole schedule, from its shares and what an image costs in each."""
    return sum(share * image_sec for share, image_sec in costs)


def batch_size(family: Family, count: int, params: TrainParams, run: Run) -> int:
    """The batch size, no larger than the number of pictures."""
    wanted = params.batch_size or family.batch_sizes[run.device][0]
    if count < wanted:
        run.warn(f"only {count} pictures for a batch of {wanted}: training uses batches of {count}")
    return min(wanted, count)


def precision(params: TrainParams, device: str) -> str:
    """Precision of matrix products: "fp32" or "bf16"."""
    if params.precision != "auto":
        return params.precision
    return "bf16" if budget.gains_from_bfloat16(device) else "fp32"


def augmentation(params: TrainParams) -> str:
    """Whether what D sees is changed: "none", "always" or "adaptive"."""
    if not isinstance(params, GanParams):
        return "none"
    # What a critic says of real pictures alone means nothing, so nothing can follow it.
    return "none" if params.loss == "wgan" and params.augment == "adaptive" else params.augment


def assumed_p(setup: Setup) -> float:
    """Strength of the augmentation that a plan reckons with: none where training ends before D can know the pictures."""
    kind = augmentation(setup.params)
    too_short = setup.total_nimg < UNKNOWN_EPOCHS * len(setup.pictures)
    return 0.0 if kind == "adaptive" and too_short else ASSUMED_P[kind]


def settings(setup: Setup) -> Settings:
    """Settings of the loop, from the plan and the parameters."""
    params, plan = setup.params, setup.plan
    gan = params if isinstance(params, GanParams) else None
    strength = {"none": 0.0, "always": 1.0, "adaptive": None}
    return Settings(
        total_nimg=plan["total_nimg"],
        ema_kimg=params.ema_kimg,
        augment_p=strength[augmentation(params)],
        evaluations=plan["evaluations"],
        watch=params.watch,
        critic=gan is not None and gan.loss == "wgan",
        rates=(gan.lr_G, gan.lr_D) if gan else (getattr(params, "lr", 0.0),) * 2,
        costs=plan.get("costs", ((1.0, 1.0),)),
        usable_sec=plan.get("usable_sec"),
        deadline_sec=plan["deadline_sec"],
        lr_decay=(LONG_DECAY if plan["total_nimg"] >= LONG_NIMG else 0.0) if params.lr_decay is None else params.lr_decay,
    )


def result(family: Family, training: Training, setup: Setup) -> Model:
    """Write the average of G, and beside it D, for whoever goes on from here."""
    log, plan, trainer = training.log, setup.plan, training.trainer
    trained: dict[str, Any] = {"nimg": log.nimg, "pictures": len(setup.pictures), "diversity": round(log.diversity or 0.0, 4)}
    trained |= {name: plan[name] for name in ("width", "batch_size", "precision")}
    if isinstance(trainer, Leading):
        trained["processes"] = setup.run.processes = trainer.shard.size
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
