"""dcgan.train: looks at the pictures, plans, plays, and writes the average of G."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import numpy as np
import torch

from genart import DataError, Images, Model, Run
from genart.nn import budget, ema, losses
from genart.nn.data import Pictures, all_identical, over_white, square
from genart.nn.gan import GRID, NIMG_PER_SNAPSHOT, SETTLE, SNAPSHOTS, Game, Players, Settings, Training

from . import TrainParams
from .networks import Discriminator, Generator, initialise

RESOLUTIONS = (16, 32, 64, 128, 256)
#: Time for a training that names neither a budget nor a number of images.
DEFAULT_BUDGET_SEC = 180.0
#: Widths to choose from, and the one without a budget, by kind of device.
WIDTHS = {"cpu": (16, 24, 32, 48, 64), "cuda": (64, 96, 128), "mps": (32, 48, 64)}
DEFAULT_WIDTH = {"cpu": 32, "cuda": 64, "mps": 48}
DEFAULT_BATCH_SIZE = {"cpu": 32, "cuda": 128, "mps": 64}
#: A wider network is worth it while training still sees this many images.
WANTED_NIMG = 80_000


def train(images: Images, params: TrainParams, run: Run) -> Model:
    """Train a DCGAN; see the stage."""
    array = load(images, params, run)
    began = time.monotonic()
    pictures = Pictures(array, run.generator, mirror=params.mirror, device=run.device)
    plan = run.choose("plan", lambda: make_plan(pictures, params, run, began))
    training = Training(run, new_game(pictures.resolution, plan["width"], params, run), pictures, settings(plan, params), began=began)
    training.train()
    return result(training, plan, params, run)


def load(images: Images, params: TrainParams, run: Run) -> np.ndarray:
    """Return the pictures as (N, R, R, 3) uint8.

    Raises:
        DataError: if they cannot be trained on; the message says what they are and what to do.
    """
    array = images.array()
    if len(array) < 2:
        raise DataError(f"it needs at least 2 pictures, got {len(array)}", "look at the stage before it; a few hundred make a good start")
    height, width, channels = array.shape[1:]
    if params.resolution is None and (height != width or height not in RESOLUTIONS):
        raise DataError(
            f"the pictures are {width}x{height}, but it trains on squares of 16, 32, 64, 128 or 256 pixels",
            "give it `resolution = 64` to scale and crop them, or put an images.resize stage before it",
        )
    if channels == 4:
        run.warn("the pictures have transparency, which this family cannot draw: they are laid over white")
        array = over_white(array)
    if params.resolution is not None and (height, width) != (params.resolution, params.resolution):
        array = square(array, params.resolution)
    if all_identical(array):
        raise DataError(f"all {len(array)} pictures are identical", "a GAN learns what differs between pictures: give it various ones")
    return array


def new_game(resolution: int, width: int, params: TrainParams, run: Run) -> Game:
    """Networks with their seeded first weights, and losses."""
    with torch.random.fork_rng(devices=[]):  # torch's layers draw first weights from the global stream; leave it as it was
        G = Generator(resolution, width, params.z_dim, params.upsample)
        D = Discriminator(resolution, width, smooth=params.upsample == "resize")
    initialise(G, run.generator("init_G"))
    initialise(D, run.generator("init_D"))
    return Game(G, D, partial(losses.bce_D, label_smoothing=params.label_smoothing), losses.bce_G)


def settings(plan: dict[str, Any], params: TrainParams) -> Settings:
    """Settings of the loop, from the plan and the parameters."""
    return Settings(
        total_nimg=plan["total_nimg"],
        batch_size=plan["batch_size"],
        lr_G=params.lr_G,
        lr_D=params.lr_D,
        skip_D_below=params.skip_D_below,
        ema_kimg=params.ema_kimg,
        bfloat16=plan["precision"] == "bf16",
        deadline_sec=plan["deadline_sec"],
    )


def make_plan(pictures: Pictures, params: TrainParams, run: Run, began: float) -> dict[str, Any]:
    """Choose width, batch size, precision and number of images for this device, by measuring if there is a budget."""
    seconds = params.budget or (None if params.kimg else DEFAULT_BUDGET_SEC)
    plan: dict[str, Any] = {
        "width": params.width or DEFAULT_WIDTH[run.device],
        "batch_size": batch_size(len(pictures), params, run),
        "precision": precision(params, run.device),
        "total_nimg": round(params.kimg * 1000) if params.kimg else WANTED_NIMG,
        "deadline_sec": seconds and seconds * budget.DEADLINE,
    }
    return plan if seconds is None else fitted(plan, seconds * budget.PLANNED, pictures, params, run, began)


def fitted(plan: dict[str, Any], usable_sec: float, pictures: Pictures, params: TrainParams, run: Run, began: float) -> dict[str, Any]:
    """Measure the machine on throw-away networks and fit width and number of images, where they are free, to the time."""
    measure_sec = min(2.0, 0.01 * usable_sec)

    def measured(width: int, seconds: float) -> tuple[float, float]:
        """Seconds of a step per image, and of a snapshot."""
        players = Players(new_game(pictures.resolution, width, params, run), settings(plan, params), run.device)
        n = plan["batch_size"]

        def play() -> None:
            players.step(pictures.batch(0, 0, n), torch.randn(n, params.z_dim, generator=run.generator("z", 0)).to(run.device))
            ema.update(players.G_ema, players.G, 0.5)

        step = budget.seconds_per_call(play, run.device, seconds)
        latents = torch.randn(SETTLE, params.z_dim, generator=run.generator("settle")).to(run.device)
        return step / n, budget.seconds_per_call(lambda: players.settled(latents, latents[:GRID]), run.device, 0, warmup=1)

    if params.width is None:
        widths = WIDTHS[run.device]
        plan["width"] = budget.largest_that_fits(
            widths, lambda width: 1 / measured(width, measure_sec / 2)[0], plan["total_nimg"], usable_sec
        )
    if params.kimg is None:
        image_sec, snapshot_sec = measured(plan["width"], measure_sec)
        left = usable_sec - (time.monotonic() - began)
        # A snapshot comes every so many images, but no more often than a timelapse needs.
        fits = max(left / (image_sec + snapshot_sec / NIMG_PER_SNAPSHOT), (left - SNAPSHOTS * snapshot_sec) / image_sec)
        plan["total_nimg"] = max(plan["batch_size"], int(fits))
    return plan


def batch_size(count: int, params: TrainParams, run: Run) -> int:
    """The batch size, no larger than the number of pictures."""
    wanted = params.batch_size or DEFAULT_BATCH_SIZE[run.device]
    if count < wanted:
        run.warn(f"only {count} pictures for a batch of {wanted}: training uses batches of {count}")
    return min(wanted, count)


def precision(params: TrainParams, device: str) -> str:
    """Precision of matrix products: "fp32" or "bf16"."""
    if params.precision != "auto":
        return params.precision
    return "bf16" if budget.gains_from_bfloat16(device) else "fp32"


def result(training: Training, plan: dict[str, Any], params: TrainParams, run: Run) -> Model:
    """Write the average of G."""
    resolution, log = training.pictures.resolution, training.log
    parameters = {"resolution": resolution, "width": plan["width"], "z_dim": params.z_dim, "upsample": params.upsample}
    trained = {"nimg": log.nimg, "pictures": len(training.pictures), "diversity": round(log.diversity or 0.0, 4)}
    trained |= {name: plan[name] for name in ("width", "batch_size", "precision")}
    return run.model(
        dict(training.players.G_ema.state_dict()),
        family="dcgan",
        parameters=parameters,
        z_dim=params.z_dim,
        resolution=resolution,
        history=log.history,
        trained=trained,
    )
