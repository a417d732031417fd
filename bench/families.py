"""Every family on the same pictures for the same time, beside the tutorials' DCGAN: how good and how varied is what each draws.

    python bench/families.py --data DIR|fashion [--resolution 32] [--minutes 2 5 10 20] [--families dcgan vae ...] [--out FOLDER]
    python bench/families.py --data DIR --families dcgan --variants '' augment='"none"'       other parameters beside the defaults
    python bench/families.py --data DIR|fashion --rates      images/s, GFLOP/image, share of the peak, what a training does beside its steps
    python bench/families.py --data DIR|fashion --growth     images/s over resolution and width, with exponents, and a plot

Each family trains with its stage's defaults and a budget. There are two baselines, both the DCGAN of the tutorials (see plain.py).
`tutorial` reads its pictures at 64 px and width 64 through a DataLoader, and its samples are reduced to the resolution; `plain` is the same
at the resolution itself, width 32, its pictures in memory. Every training has a process of its own, and the judge has another: it compares
2,000 samples with 2,000 real pictures by features of VGG19 (genart.nn.metrics). Fashion-MNIST is the Debian package dataset-fashion-mnist,
or any folder with the same files, its 28 px padded to 32; the real pictures are then those of its test set, and else part of those that
were trained on, where `copied` tells what was learnt by heart. The row `training pictures`, none of which the judge holds, is what
perfection would score. What is in FOLDER is kept: a benchmark that was stopped goes on.
"""

from __future__ import annotations

import argparse
import gzip
import importlib
import json
import re
import time
import tomllib
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import plain
import torch
from PIL import Image, ImageDraw
from rates import growth, rates, stage_of

from genart.artifacts import Batch, Images, Model
from genart.nn import metrics
from genart.nn.data import square
from genart.nn.images import grid, to_uint8, to_unit
from genart.nn.rebuild import rebuild
from genart.plugins import Plugins
from genart.testing import run_stage

FASHION = Path("/usr/share/datasets/fashion-mnist")
FAMILIES = ("dcgan", "progan", "msggan", "stylegan", "projected", "vae")
BASELINES = ("tutorial", "plain")
TUTORIAL_R, TUTORIAL_WIDTH, PLAIN_WIDTH = 64, 64, 32
#: Samples of each contestant on the sheet, and pixels of a row's label.
ON_SHEET, LABEL = 16, 150
COLUMNS = ("kid", "frechet", "precision", "recall", "density", "coverage", "copied")


# pictures


def prepare(data: str, resolution: int, count: int, folder: Path) -> None:
    """Write pictures, (N, R, R, 3) uint8.

    train.npy is for the contestants, large.npy for the tutorial, real.npy for the judge, and reference.npy holds as many training pictures.
    """
    names = ("train", "large", "real", "reference")
    if all((folder / f"{name}.npy").exists() for name in names):
        return
    path = FASHION if data == "fashion" else Path(data)
    folder.mkdir(parents=True, exist_ok=True)
    if (path / "train-images-idx3-ubyte.gz").exists():
        large, held_out = (read_idx(path / f"{part}-images-idx3-ubyte.gz") for part in ("train", "t10k"))
        real = held_out[:count]
        reference = large[np.random.default_rng(0).permutation(len(large))[: len(real)]]
    else:
        large = read_folder(path, max(resolution, TUTORIAL_R), folder)
        order = np.random.default_rng(0).permutation(len(large))
        half = min(count, len(large) // 2)
        real, reference = large[order[:half]], large[order[half : 2 * half]]
    for name, array in zip(names, (square(large, resolution), large, square(real, resolution), square(reference, resolution)), strict=True):
        np.save(folder / f"{name}.npy", array)


def read_idx(path: Path) -> np.ndarray:
    """Grey pictures of an IDX file, padded by two black pixels on each side: (N, 32, 32, 3) uint8."""
    data = gzip.decompress(path.read_bytes())
    count, height, width = np.frombuffer(data, ">u4", 3, offset=4)
    grey = np.frombuffer(data, np.uint8, offset=16).reshape(count, height, width)
    return np.repeat(np.pad(grey, ((0, 0), (2, 2), (2, 2)))[..., None], 3, 3)


def read_folder(path: Path, resolution: int, work: Path) -> np.ndarray:
    """Pictures of a folder as images.folder reads them: (N, R, R, 3) uint8."""
    from genart_images import images_folder

    images: Any = run_stage(images_folder, work=work / "folder", path=str(path), resolution=resolution)["output"]
    return np.asarray(images.array())


# contestants


def train_family(name: str, minutes: float, folder: Path, work: Path, device: str, seed: int, count: int) -> dict[str, Any]:
    """Train a family and draw its samples to samples.npy; returns how long it took and what it saw.

    Args:
        name: the family, and parameters that are not its defaults as TOML: "dcgan augment='none'".
        minutes: time for it.
        folder: where the pictures are.
        work: where it leaves everything.
        device: "cpu", "cuda" or "mps".
        seed: of everything random.
        count: samples to draw.
    """
    from genart_latent import latent_sample

    name, _, variant = name.partition(" ")
    images = Images.from_batches([Batch.from_array(np.load(folder / "train.npy"))])
    began = time.perf_counter()
    model: Any = run_stage(
        stage_of(name),
        images,
        work=work / "train",
        seed=seed,
        device=device,
        rebuild=rebuilt,
        extension=Plugins().load_extension,
        budget=minutes * 60,
        **tomllib.loads(variant.replace(" ", "\n")),
    )["output"]
    seconds = time.perf_counter() - began
    drawn: Any = run_stage(latent_sample, model, work=work / "sample", seed=seed, device=device, rebuild=rebuilt, count=count)["output"]
    np.save(work / "samples.npy", drawn.array())
    trained = model.header["trained"]
    return {"seconds": seconds, "nimg": trained["nimg"], "width": trained["width"], "watchdog": trained["watchdog"]}


def rebuilt(model: Model, device: str) -> torch.nn.Module:
    """A model's generator, by what its family's plugin registers."""
    module, _, name = importlib.import_module(f"genart_{model.family}").genart_generators()[model.family].partition(":")
    return rebuild(getattr(importlib.import_module(module), name), model, device)


def train_baseline(name: str, minutes: float, folder: Path, work: Path, device: str, seed: int, count: int) -> dict[str, Any]:
    """Train a DCGAN as the tutorials do and write its samples to samples.npy."""
    torch.manual_seed(seed)
    train = np.load(folder / "train.npy")
    began = time.perf_counter()
    if name == "tutorial":
        width, batches = TUTORIAL_WIDTH, plain.loaded(np.load(folder / "large.npy"), TUTORIAL_R)
        G, D = plain.networks(TUTORIAL_R, width)
    else:
        width, batches = PLAIN_WIDTH, plain.in_memory(train)
        G, D = plain.networks(train.shape[1], width)
    nimg = plain.train(G, D, batches, minutes * 60, device)
    seconds = time.perf_counter() - began
    drawn = to_uint8(plain.samples(G, count, device)).permute(0, 2, 3, 1).contiguous().numpy()
    work.mkdir(parents=True, exist_ok=True)
    np.save(work / "samples.npy", square(drawn, train.shape[1]))
    return {"seconds": seconds, "nimg": nimg, "width": width, "watchdog": []}


def alone(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a new process, so that no contestant finds what another has left behind."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


# the judge


def judge(samples: Path, real: Path, device: str) -> dict[str, float]:
    """Compare two files of pictures, (N, R, R, 3) uint8: KID and its standard error, Fréchet distance, precision and so on."""
    backbone = Plugins().load_backbone("vgg19", device)

    def features(path: Path) -> torch.Tensor:
        parts = torch.split(torch.from_numpy(np.load(path)).permute(0, 3, 1, 2), 256)
        return torch.cat([metrics.embed(backbone, to_unit(part).to(device), batch_size=64) for part in parts])

    gen, known = features(samples), features(real)
    numbers = {"kid": metrics.kid(known, gen), "kid_error": metrics.kid_error(known, gen), "frechet": metrics.frechet(known, gen)}
    numbers |= asdict(metrics.prdc(known, gen))
    return numbers | {"copied": float(metrics.copied(gen, known).double().mean())}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The results as a table in Markdown."""
    lines = ["| contestant | minutes | kimg | images/s | KID x 1000 | Fréchet | precision | recall | density | coverage | copied |"]
    lines.append("|---" * 11 + "|")
    for row in rows:
        seen = f"{row['minutes']:g} | {row['nimg'] / 1000:.1f} | {row['nimg'] / row['seconds']:.0f}" if "nimg" in row else "| |"
        kid = f"{1000 * row['kid']:.2f} ± {1000 * row['kid_error']:.2f}"
        lines.append(f"| {row['contestant']} | {seen} | {kid} | " + " | ".join(f"{row[name]:.3f}" for name in COLUMNS[1:]) + " |")
    return "\n".join(lines)


def sheet(rows: Sequence[tuple[str, Path]], path: Path) -> None:
    """Write the first samples of each contestant, one row each with its label at the left."""
    strips = []
    for label, samples in rows:
        images = torch.from_numpy(np.load(samples, mmap_mode="r")[:ON_SHEET].copy()).permute(0, 3, 1, 2)
        strip = grid(images, ON_SHEET, background=255).permute(1, 2, 0).numpy()
        canvas = Image.new("RGB", (LABEL + strip.shape[1], strip.shape[0]), "white")
        canvas.paste(Image.fromarray(strip), (LABEL, 0))
        ImageDraw.Draw(canvas).text((4, strip.shape[0] // 2 - 6), label, fill="black")
        strips.append(np.asarray(canvas))
    Image.fromarray(np.concatenate(strips)).save(path)


def contest(args: argparse.Namespace, folder: Path) -> None:
    """Train and judge every contestant for every time; print the table, write sheet.png and results.json."""
    rows: list[dict[str, Any]] = []
    shown = [("real pictures", folder / "real.npy")]
    rows.append({"contestant": "training pictures", **alone(judge, folder / "reference.npy", folder / "real.npy", args.device)})
    for minutes in args.minutes:
        for name in [*args.baselines, *(f"{name} {variant}".strip() for name in args.families for variant in args.variants)]:
            work = folder / f"{re.sub('[^a-zA-Z0-9.]+', '-', name).strip('-')}-{minutes:g}m"
            result = work / "result.json"
            if not result.exists():
                train_one = train_baseline if name in BASELINES else train_family
                told = alone(train_one, name, minutes, folder, work, args.device, args.seed, args.count)
                told |= alone(judge, work / "samples.npy", folder / "real.npy", args.device)
                result.write_text(json.dumps({"contestant": name, "minutes": minutes, **told}, indent=1))
            rows.append(json.loads(result.read_text()))
            shown.append((f"{name}, {minutes:g} min", work / "samples.npy"))
            print(table(rows[-1:]).rpartition("\n")[2], flush=True)
    print(f"\n{table(rows)}")
    sheet(shown, folder / "sheet.png")
    (folder / "results.json").write_text(json.dumps(rows, indent=1))


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", required=True, help="a folder of pictures, a folder of Fashion-MNIST's files, or fashion")
    parser.add_argument("--resolution", type=int, default=32, help="pixels along a side")
    parser.add_argument("--minutes", type=float, nargs="+", default=[2, 5, 10, 20], help="time for each training")
    parser.add_argument("--families", nargs="*", default=list(FAMILIES), help="which families")
    parser.add_argument("--variants", nargs="*", default=[""], help="parameters of the stages, as TOML, a space between two; '' for none")
    parser.add_argument("--baselines", nargs="*", default=list(BASELINES), choices=BASELINES, help="which baselines")
    parser.add_argument("--count", type=int, default=2000, help="samples, and real pictures, that the judge compares")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path("out/families"), help="folder of everything that it writes")
    parser.add_argument("--rates", action="store_true", help="measure the speed of training instead")
    parser.add_argument("--growth", action="store_true", help="measure how the speed falls with resolution and width instead")
    parser.add_argument("--seconds", type=float, default=10.0, help="time for each measurement of --rates and --growth")
    args = parser.parse_args()
    prepare(args.data, args.resolution, args.count, args.out)
    if not (args.rates or args.growth):
        contest(args, args.out)
        return
    array = np.load(args.out / "train.npy")
    if args.rates:
        (args.out / "rates.json").write_text(json.dumps(rates(array, args.families, args.device, args.seconds), indent=1))
    if args.growth:
        told = growth(array, args.families, args.device, args.seconds, args.out / "growth.png")
        (args.out / "growth.json").write_text(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
