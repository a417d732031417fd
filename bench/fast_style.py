"""style.learn and style.apply against style.transfer: a style learnt once, then each picture in a moment.

    python bench/fast_style.py [--budget 240] [--size 512] [--style PICTURE] [--content PICTURE ...] [--keep FOLDER]

A network is trained for the budget on crops of the embedded photographs. Then style.apply paints each content picture (the longer side
brought to --size), timed without the reading of the model, and style.transfer paints the same with growing budgets until its style
error is no larger: that is the time to beat. The style error is scale-free (squared distance of Gram matrices over the style's own), the
mean over relu1_1 to relu5_1, of the 8-bit pictures, with the style brought to --size too; the content error is that of relu4_2.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from genart.artifacts import Batch, Images
from genart.errors import DataError
from genart.events import Events
from genart.nn.samples import FILES, data_folder
from genart.nn.vgg import vgg19
from genart.run import Run
from genart.testing import run_stage
from genart_images import images_samples
from genart_style import style_transfer
from genart_style._learn import style_apply, style_learn
from genart_style.scene import read_picture, resized
from genart_style.schedule import fitted
from genart_style.statistics import gram, relative_error

LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
CONTENT_LAYER = "relu4_2"
#: Budgets of style.transfer in seconds, tried one after another.
BUDGETS = (2, 3, 4, 6, 8, 12, 16, 30, 60, 120, 240)
REPEATS = 5


class Judge:
    """Measures pictures against one style.

    Args:
        style: (1, 3, H, W) in [0, 1].
    """

    def __init__(self, style: Tensor) -> None:
        self.network = vgg19()
        with torch.no_grad():
            self.style = {layer: gram(x)[0] for layer, x in self.network(style, LAYERS).items()}

    @torch.no_grad()
    def __call__(self, picture: Tensor, content: Tensor) -> tuple[float, float]:
        """Style error and content error of (1, 3, H, W)."""
        features = self.network(picture, [*LAYERS, CONTENT_LAYER])
        wanted = self.network(content, [CONTENT_LAYER])[CONTENT_LAYER]
        style = [float(relative_error(gram(features[layer])[0], target)) for layer, target in self.style.items()]
        return sum(style) / len(style), float(relative_error(features[CONTENT_LAYER], wanted))


def read(path: Path, size: int, run: Run) -> Tensor:
    """Read a picture with its longer side brought to `size`: (1, 3, H, W) in [0, 1]."""
    picture = read_picture(path, run)
    return resized(picture, fitted((picture.shape[2], picture.shape[3]), size))


def backbone(name: str, device: str) -> Any:
    """The embedded network, fresh: a stage may change its precision."""
    return vgg19(device)


def learn(style: Path, work: Path, options: argparse.Namespace) -> Any:
    """Train for the budget; returns the model."""
    crops = run_stage(images_samples, None, work=work / "samples", crop=256, count=1000, scale=[0.3, 0.9])["output"]
    began = time.perf_counter()
    sized = {"style": str(style), "style_resolution": options.size, "budget": options.budget}
    model: Any = run_stage(style_learn, crops, work=work / "learn", backbone=backbone, **sized)["output"]
    done = model.header["trained"]["iterations"]
    print(f"trained on crops of photographs: {done} iterations in {time.perf_counter() - began:.0f} s of {options.budget:.0f}")
    return model


def apply_seconds(model: Any, content: Tensor, work: Path) -> tuple[Tensor, float]:
    """Paint one picture several times; returns it and the median of the seconds of one."""
    times: list[float] = []
    given = Images.from_batches([Batch(content)] * (REPEATS + 1))
    last = [time.perf_counter()]

    def observe(event: dict[str, Any]) -> None:
        if event["event"] == "progress":
            times.append(time.perf_counter() - last[0])
            last[0] = time.perf_counter()

    began = time.perf_counter()
    result = run_stage(style_apply, given, work=work, sides={"learn": model}, model="learn", observer=observe)["output"]
    seconds = (time.perf_counter() - began) / (REPEATS + 1) if len(times) <= REPEATS else sorted(times[1:])[len(times[1:]) // 2]
    return result[0].pixels, seconds


def transfer_until(error: float, style: Path, content: Tensor, judge: Judge, work: Path) -> tuple[Tensor, float, float, float]:
    """Let style.transfer paint with growing budgets until its style error is at most `error`; returns picture, seconds and errors."""
    for seconds in BUDGETS:
        began = time.perf_counter()
        given = Images.from_batches([Batch(content)])
        sized = {"style": str(style), "resolution": max(content.shape[2:]), "budget": seconds}
        try:
            result = run_stage(style_transfer, given, work=work / f"{seconds:g}", backbone=backbone, **sized)["output"]
        except DataError:  # too little time for one iteration
            continue
        took = time.perf_counter() - began
        picture: Tensor = result[0].pixels
        errors = judge(picture, content)
        if errors[0] <= error:
            break
    return picture, took, *errors


def keep(folder: Path | None, name: str, picture: Tensor) -> None:
    """Save a picture to look at."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(Batch(picture).array[0]).save(folder / f"{name}.png")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=float, default=240, help="seconds of training")
    parser.add_argument("--size", type=int, default=512, help="longer side of the pictures in pixels")
    parser.add_argument("--style", type=Path, default=data_folder() / FILES["tissue"], help="the style")
    parser.add_argument("--content", type=Path, nargs="+", default=[data_folder() / FILES[name] for name in ("astronaut", "coffee")])
    parser.add_argument("--keep", type=Path, help="folder for the pictures")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        model = learn(options.style, work, options)
        run = Run(stage_id="bench", seed=0, device="cpu", work=work / "read", events=Events())
        judge = Judge(read(options.style, options.size, run))
        print(f"{'':16}{'style.apply':>30}{'style.transfer':>30}")
        print(f"{'':16}{'seconds':>10}{'style':>10}{'content':>10}{'seconds':>10}{'style':>10}{'content':>10}{'ratio':>8}")
        for path in options.content:
            content = read(path, options.size, run)
            fast, seconds = apply_seconds(model, content, work / path.stem / "apply")
            errors = judge(fast, content)
            slow, took, *others = transfer_until(errors[0], options.style, content, judge, work / path.stem)
            keep(options.keep, f"{path.stem}-apply", fast)
            keep(options.keep, f"{path.stem}-transfer", slow)
            numbers = "".join(f"{value:10.3f}" for value in (seconds, *errors, took, *others))
            print(f"{path.stem:16.16}{numbers}{took / seconds:8.0f}{' or more' if others[0] > errors[0] else ''}")
    print("aim: a ratio of at least 100; 'or more': style.transfer did not come to that style error")


if __name__ == "__main__":
    main()
