"""style.apply: rebuilds a painter from its file and paints pictures of any size with it, one after another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from genart import Batch, DataError, Images, Model, Run
from genart.nn import budget, checkpoint
from genart.nn.side_by_side import each_picture

from . import colour, memory, schedule, strips
from ._learn import ApplyParams
from .networks import StyleNetwork, framed
from .scene import over_mean, resized
from .schedule import Size
from .strips import paint_in_strips

#: Arguments of a painter that a file may ask for, with their bounds: a file must not make a network that fills the memory.
BOUNDS = {"width": range(8, 129, 8), "blocks": range(1, 17)}
#: Bytes per pixel that painting in strips takes at its peak, and those for each channel of `width`, in bfloat16 or not; as measured.
PIXEL_BYTES, CHANNEL_BYTES = 55, {False: 6.0, True: 4.5}


def apply(images: Images, params: ApplyParams, run: Run) -> Iterator[Batch]:
    """Paint every picture; see the stage."""
    painter = load_painter(run.open_model(params.model), run)
    bfloat16 = takes_bfloat16(params.precision, run)
    run.expect(images.count, images.fps)
    run.apart(1)

    def alone(batch: Batch) -> Batch:  # a batch's size changes the last bits of its pictures, and gains nothing at such sizes
        pixels = batch.pixels.to(run.device)
        if params.resolution is not None:
            pixels = resized(pixels, schedule.fitted((pixels.shape[2], pixels.shape[3]), params.resolution))
        size: Size = (pixels.shape[2], pixels.shape[3])
        if size[0] * size[1] > strips.MOST_WHOLE:
            per_pixel = PIXEL_BYTES + CHANNEL_BYTES[bfloat16] * painter.width
            memory.check(per_pixel, size, run, "give a smaller `resolution`, or a network of a smaller `width`")
        return batch.with_pixels(applied(painter, pixels, params, bfloat16=bfloat16).cpu())

    yield from each_picture(alone, images, run.workers, params.resolution)


def applied(painter: StyleNetwork, pixels: Tensor, params: ApplyParams, *, bfloat16: bool) -> Tensor:
    """Paint a picture (1, 3 or 4, H, W) in [0, 1] as the parameters say; its transparency stays."""
    content, alpha = over_mean(pixels[:, :3], pixels[:, 3:])
    image = content
    if params.strength > 0:
        image = colour.kept_colours(paint(painter, content, bfloat16), content, params.preserve_color)
        image = content.lerp(image, params.strength)
    return image if alpha is None else torch.cat([image, alpha], 1)


@torch.inference_mode()
def paint(painter: StyleNetwork, images: Tensor, bfloat16: bool = False) -> Tensor:
    """Paint pictures of any one size: (N, 3, H, W) in [0, 1] to the same."""
    height, width = images.shape[2:]
    frame = framed(images).contiguous(memory_format=torch.channels_last)
    with torch.autocast(images.device.type, torch.bfloat16, enabled=bfloat16):
        painted = paint_in_strips(painter, frame) if height * width > strips.MOST_WHOLE else painter(frame)
    return painted[:, :, :height, :width].clamp(0, 1).contiguous()


def takes_bfloat16(wanted: str, run: Run) -> bool:
    """True if the networks multiply in bfloat16: as told, or where the device gains from it, which is remembered."""
    if wanted != "auto":
        return wanted == "bf16"
    return bool(run.choose("bfloat16", lambda: budget.gains_from_bfloat16(run.device)))


# reading a model


def load_painter(model: Model, run: Run) -> StyleNetwork:
    """Rebuild the painter of a model on the run's device, in evaluation mode, frozen.

    Raises:
        DataError: if the model is of another family, damaged, or not what its header says.
    """
    name = model.path.name
    if model.family != "style":
        raise DataError(
            f"{run.stage_id}: {name} holds a model of the family '{model.family}', which doesn't paint over pictures",
            "give a model that style.learn has trained; latent.sample draws pictures with a generator",
        )
    arguments = checked(model.header["parameters"], name, run)
    with torch.random.fork_rng(devices=[]):  # torch's layers draw first weights from the global stream; leave it as it was
        painter = StyleNetwork(**arguments)
    tensors = read_weights(model, {key: tuple(value.shape) for key, value in painter.state_dict().items()}, run)
    painter.load_state_dict(tensors, strict=True)
    return painter.train(False).requires_grad_(False).to(run.device).to(memory_format=torch.channels_last)


def checked(parameters: Any, name: str, run: Run) -> dict[str, int]:
    """Arguments of a painter out of a header.

    Raises:
        DataError: if they are not exactly the known ones, or out of bounds.
    """
    if not isinstance(parameters, dict) or set(parameters) != set(BOUNDS):
        raise _damaged(name, run, "its header doesn't say how to rebuild it")
    for key, allowed in BOUNDS.items():
        if type(parameters[key]) is not int or parameters[key] not in allowed:
            raise _damaged(name, run, f"{key} is {str(parameters[key])[:20]}, not between {allowed[0]} and {allowed[-1]}")
    return {key: parameters[key] for key in BOUNDS}


def read_weights(model: Model, shapes: dict[str, tuple[int, ...]], run: Run) -> dict[str, Tensor]:
    """Read the weights of a model: exactly those of `shapes`, which is seen to before any is read.

    Raises:
        DataError: if the file is damaged, or its weights are of other names or shapes, or not finite.
    """
    name = model.path.name
    try:
        with safe_open(model.path, "pt") as file:
            found = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118  (not a dict)
            if found != shapes:
                odd = sorted(key for key in {*found, *shapes} if found.get(key) != shapes.get(key))
                raise _damaged(name, run, f"{odd[0]} is missing or of another shape")
            tensors = {key: file.get_tensor(key).float() for key in shapes}
    except (SafetensorError, OSError) as error:
        raise _damaged(name, run, str(error).splitlines()[0]) from error
    if not checkpoint.all_finite(tensors):
        raise _damaged(name, run, "a weight is not a finite number")
    return tensors


def _damaged(name: str, run: Run, reason: str) -> DataError:
    return DataError(f"{run.stage_id}: {name} is no painter of style.learn, or damaged: {reason}", "train it again, or take another copy")
