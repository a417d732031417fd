"""Parameters that the families share. Light: declarations alone, no torch."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from genart.params import Duration, LossName, ModelInput, Params

from .kornia_table import DIFFERENTIABLE, NAMED, read_change

Resolution = Literal[16, 32, 64, 128, 256]
#: Augmentations of what D sees, by name; those that change no colour are the default.
Policy = Literal["translation", "cutout", "scale", "rotate", "mirror", "color"]
#: One of these, or an augmentation of Kornia through which gradients pass.
Change = Annotated[
    str | dict[str, Any],
    BeforeValidator(read_change),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": [*NAMED, *sorted(DIFFERENTIABLE)]},
                {"type": "object", "required": ["op"], "properties": {"op": {"enum": sorted(DIFFERENTIABLE)}}},
            ]
        }
    ),
]


class TrainParams(Params):
    """Parameters of every stage that trains a generator.

    Attributes:
        least_pictures: with fewer it refuses to train.
        enough_pictures: with fewer, as a rule of thumb, it memorises the pictures rather than learning what they have in common.
    """

    least_pictures: ClassVar[int] = 2
    enough_pictures: ClassVar[int] = 500

    resolution: Annotated[
        Resolution | Literal["auto"] | None,
        Field(
            description="Pixels along a side, to which other pictures are scaled and cropped; auto: as large as the budget allows. "
            "Default: that of the pictures."
        ),
    ] = None
    budget: Annotated[Duration | None, Field(description="Time for the whole training. Default: 3m, unless kimg is given.")] = None
    kimg: Annotated[
        float | None, Field(gt=0, description="Thousands of real images to train on, instead of (or, as a limit, beside) a budget.")
    ] = None
    width: Annotated[
        int | None,
        Field(
            ge=4,
            le=512,
            description="Channels of the finest layer; coarser ones have up to 8 times as many. Default: what the budget allows.",
        ),
    ] = None
    batch_size: Annotated[int | None, Field(ge=2, le=1024, description="Pictures per step. Default: what suits the device.")] = None
    z_dim: Annotated[int, Field(ge=2, le=1024, description="Numbers in a latent vector.")] = 64
    ema_kimg: Annotated[
        float,
        Field(
            ge=0,
            description="Half-life, in thousands of images, of the exponential moving average (EMA) of G; shorter at the start.",
        ),
    ] = 10.0
    lr_decay: Annotated[
        float | None,
        Field(
            ge=0,
            le=1,
            description="Share of the training, its end, in which the learning rates fall, to a twentieth. It calms a long training; a "
            "short one learns less. Default: 0.5 of a training planned for half a million images or more, else 0.",
        ),
    ] = None
    mirror: Annotated[bool, Field(description="Flip half of the real pictures left to right.")] = False
    precision: Annotated[
        Literal["auto", "fp32", "bf16"], Field(description="Precision of matrix products; auto takes bf16 where the device gains from it.")
    ] = "auto"
    init: Annotated[
        ModelInput | None,
        Field(description="Go on from this model of the same family and resolution, on new pictures: a file, or the id of another stage."),
    ] = None
    watch: Annotated[
        bool,
        Field(
            description="Act when training explodes (return to the last good state), collapses, when D wins, or when nothing gets better; "
            "keep the best state by KID."
        ),
    ] = True
    evaluations: Annotated[
        int | None,
        Field(ge=0, le=100, description="How often the quality (KID) is measured during training. Default: what costs a few hundredths."),
    ] = None


class GanParams(TrainParams):
    """Parameters of every family in which a discriminator takes part."""

    lr_G: Annotated[float, Field(gt=0, le=1000, description="Learning rate of the generator.")] = 2e-4
    lr_D: Annotated[float, Field(gt=0, le=1000, description="Learning rate of the discriminator.")] = 2e-4
    loss: Annotated[LossName, Field(description="What the two play for; plugins may bring others.")] = "non_saturating"
    r1_gamma: Annotated[
        float | None, Field(ge=0, description="Weight of the penalty on D's gradient at real pictures (R1); more of it calms training.")
    ] = 0.0
    r2_gamma: Annotated[float | None, Field(ge=0, description="Weight of the penalty on D's gradient at generated pictures (R2).")] = 0.0
    gp_lambda: Annotated[
        float,
        Field(ge=0, description='Weight of the gradient penalty between real and generated pictures; 10 is usual for "wgan".'),
    ] = 0.0
    penalty_every: Annotated[
        int | None,
        Field(
            ge=1,
            le=64,
            description="Compute the penalties in every n-th step only (lazy regularisation). Default: what the device can afford.",
        ),
    ] = None
    skip_D_below: Annotated[float, Field(ge=0, description="D does not learn in steps where its loss is below this; 0 never skips.")] = 0.0
    augment: Annotated[
        Literal["none", "always", "adaptive"],
        Field(description="Change what D sees, real and generated pictures alike: never, always, or the more the more D overfits."),
    ] = "adaptive"
    augment_policy: Annotated[
        tuple[Change, ...],
        Field(
            min_length=1,
            description="What is changed, a list: translation, cutout, scale, rotate, mirror, and color, which alone changes colours; "
            "and those of Kornia's augmentations through which gradients pass, such as "
            '{op = "RandomGaussianBlur", kernel_size = 3, sigma = [0.1, 1.0]}.',
        ),
    ] = ("translation", "cutout", "scale")


class RelativisticParams(GanParams):
    """Parameters of families that play for the loss of Huang et al. (2024): answers count only against each other, and R1 and R2 calm D."""

    # the best of what docs/decisions/0022 tried
    lr_G: Annotated[float, Field(gt=0, le=1000, description="Learning rate of the generator.")] = 6e-3
    lr_D: Annotated[float, Field(gt=0, le=1000, description="Learning rate of the discriminator.")] = 8e-3
    loss: Annotated[LossName, Field(description="What the two play for; plugins may bring others.")] = "relativistic_paired"
    r1_gamma: Annotated[
        float | None,
        Field(
            ge=0,
            description="Weight of the penalty on D's gradient at real pictures (R1); more of it calms training. "
            "Default: 1, and 0.1 for pictures below 64 px.",
        ),
    ] = None
    r2_gamma: Annotated[
        float | None,
        Field(ge=0, description="Weight of the penalty on D's gradient at generated pictures (R2). Default: as for R1."),
    ] = None
