"""Style transfer against pastiche 1.6.0 and against the machine.

    python bench/style.py [--size 512] [--pairs CONTENT:STYLE ...] [--iterations 500] [--budget 40% 120s] [--own] [--set content_weight=0.1]
    python bench/style.py --rates [--sizes 128 256 512 1024]
    python bench/style.py --memory [--size 2048] [--limit 4GB]

First: pastiche makes every pair, content start, its own defaults, and its time T is taken, from the start of its process to the last
picture. Then style.transfer makes the pair within each budget, a time or a share of T. Both run alone, one after the other, on the same
threads, in processes of their own, from the same 8-bit PNGs that were brought to size beforehand, and leave snapshots with their times;
nothing is subtracted. (pastiche's own function for saving takes up to two seconds per picture; it is given a faster one.) Only then does
a judge outside of both (bench/judge.py) look at the snapshots. pastiche's are kept in the work folder and found again.

Second, `--rates`: iterations of style.transfer beside forward and backward passes of a bare VGG19, channels last, float32, in turns.
Third, `--memory`: the peak of a process that makes one iteration of a large picture, beside the plan that was told before.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
WORK = Path(tempfile.gettempdir()) / "genart-bench-style"
#: Embedded photographs: content and style.
PAIRS = ("cat:tissue", "astronaut:hubble", "coffee:retina", "rocket:colour_wheel", "motorcycle:tissue")
THREADS = 2
#: Seconds at which pictures are laid side by side.
MOMENTS = (30, 60, 120)
SNAPSHOT_EVERY = 10


@dataclass(frozen=True)
class Pair:
    """A content and a style, as PNGs of the sizes at which they are used."""

    name: str
    content: Path
    style: Path
    folder: Path


@dataclass(frozen=True)
class Point:
    """A snapshot: seconds since its process began, and what the judge thinks of it."""

    seconds: float
    path: Path
    style: float
    content: float
    objective: float


@dataclass(frozen=True)
class Curve:
    """Snapshots of one tool for one pair, in the order of time."""

    pair: str
    tool: str
    points: Sequence[Point]

    @property
    def last(self) -> Point:
        """The result."""
        return self.points[-1]

    def first(self, wanted: Callable[[Point], bool]) -> float | None:
        """Seconds until a snapshot is as wanted; None if none is."""
        return next((point.seconds for point in self.points if wanted(point)), None)

    def at(self, seconds: float) -> Point:
        """The newest snapshot at a moment; before there is any, the first."""
        return max((point for point in self.points if point.seconds <= seconds), key=lambda p: p.seconds, default=self.points[0])


@dataclass
class Result:
    """What came of one pair: pastiche's curve, and style.transfer's by budget."""

    pair: Pair
    pastiche: Curve | None = None
    genart: dict[str, Curve] = field(default_factory=dict)

    @property
    def curves(self) -> list[Curve]:
        """All of them."""
        return [*([self.pastiche] if self.pastiche else []), *self.genart.values()]


# inputs


def prepare(text: str, size: int, work: Path) -> Pair:
    """Write a pair's pictures as PNGs: the content's longer side `size`, the style of the same area, as both tools take it by default."""
    from PIL import Image

    from genart.nn.samples import FILES, data_folder

    paths = [data_folder() / FILES[part] if part in FILES else Path(part) for part in text.split(":")]
    if len(paths) != 2 or not all(path.is_file() for path in paths):
        raise SystemExit(f"--pairs {text}: expected CONTENT:STYLE, pictures or names of embedded photographs")
    with Image.open(paths[0]) as content, Image.open(paths[1]) as style:
        factor = size / max(content.size)
        content = content.convert("RGB").resize([max(1, round(side * factor)) for side in content.size], Image.Resampling.LANCZOS)
        height = round((content.width * content.height * style.height / style.width) ** 0.5)
        style = style.convert("RGB").resize((round(style.width / style.height * height), height), Image.Resampling.LANCZOS)
    name = f"{paths[0].stem}-{paths[1].stem}-{size}"
    mark = hashlib.sha256(content.tobytes() + style.tobytes()).hexdigest()[:8]
    folder = work / f"{name}-{mark}"
    folder.mkdir(parents=True, exist_ok=True)
    pair = Pair(name, folder / "content.png", folder / "style.png", folder)
    content.save(pair.content)
    style.save(pair.style)
    return pair


# running the tools


class ChildFailed(Exception):
    """A tool did not come to its end."""


def run_alone(*arguments: str) -> str:
    """Run this file in a process of its own; returns its standard output."""
    began = time.time()
    command = [sys.executable, "-W", "ignore", __file__, "--child", str(began), *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise ChildFailed(f"{arguments[0]} failed with exit code {done.returncode}; its error stands above")
    return done.stdout


def snapshots_of(folder: Path) -> list[tuple[float, Path]]:
    """What a child noted: seconds and file of each snapshot; empty if it did not come to its end."""
    try:
        return [(seconds, folder / name) for seconds, name in json.loads((folder / "snapshots.json").read_text())]
    except FileNotFoundError:
        return []


def run_pastiche(pair: Pair, iterations: int) -> list[tuple[float, Path]]:
    """Let pastiche make a pair, or find what it made before."""
    folder = pair.folder / f"pastiche-{iterations}"
    if not snapshots_of(folder):
        folder.mkdir(exist_ok=True)
        (folder / "log.txt").write_text(run_alone("pastiche", str(pair.content), str(pair.style), str(folder), str(iterations)))
    return snapshots_of(folder)


def pastiche_child(began: float, content: str, style: str, target: str, iterations: str) -> None:
    """Pastiche's own command line, in this process; only its function for saving is another, which takes milliseconds."""
    import torch
    from pastiche import pastiche
    from PIL import Image

    folder, taken = Path(target), []

    def save(image: torch.Tensor, path: str) -> None:
        mean = torch.tensor(pastiche.VGG_MEAN).view(1, 3, 1, 1)
        rgb = (image.detach() + mean).flip(1).round().clamp(0, 255).to(torch.uint8)
        Image.fromarray(rgb[0].permute(1, 2, 0).contiguous().numpy()).save(path)
        taken.append((time.time() - began, Path(path).name))

    pastiche.save_image = save
    # the sizes that the files have: it resizes nothing
    sizes = ["--size", longer_side(content), "--style-size", longer_side(style)]
    words = ["--device", "cpu", "--seed", "0", "--num-steps", iterations, *sizes, "--info-step", str(SNAPSHOT_EVERY)]
    words += ["--workspace", target, "--workspace-step", str(SNAPSHOT_EVERY)]
    pastiche.main(["pastiche", *words, "--content", content, "--styles", style, "--output", str(folder / "result.png")])
    (folder / "snapshots.json").write_text(json.dumps(taken))


def longer_side(path: str) -> str:
    """Longer side of a picture in pixels, as an argument."""
    from PIL import Image

    with Image.open(path) as picture:
        return str(max(picture.size))


def printed_loss(folder: Path) -> float:
    """The loss that pastiche printed before its first step."""
    lines = (folder / "log.txt").read_text().splitlines()
    return next(float(line.split()[2]) for line in lines if line.startswith("0 "))


def run_genart(pair: Pair, label: str, params: dict[str, Any]) -> list[tuple[float, Path]]:
    """Let style.transfer make a pair, anew each time."""
    folder = pair.folder / f"genart-{label}"
    folder.mkdir(exist_ok=True)
    run_alone("genart", str(pair.content), str(pair.style), str(folder), json.dumps(params))
    return snapshots_of(folder)


def genart_child(began: float, content: str, style: str, target: str, params: str) -> None:
    """style.transfer in this process. Its previews tell when the frames of its progress film were made."""
    import numpy as np
    from PIL import Image

    from genart import Batch, Images
    from genart.plugins import Plugins
    from genart.testing import run_stage
    from genart_style import style_transfer

    times: list[float] = []

    def observe(record: dict[str, Any]) -> None:
        if record["event"] == "preview":
            times.append(time.time() - began)

    with Image.open(content) as picture:
        given = Images.from_batches([Batch.from_array(np.asarray(picture)[None])])
    with tempfile.TemporaryDirectory() as work:
        backbone = Plugins().load_backbone
        made = run_stage(style_transfer, given, work=Path(work), observer=observe, backbone=backbone, style=style, **json.loads(params))
        frames = [batch.array[0] for batch in made["progress"].batches(1)]
    taken = [(seconds, f"{i:04d}.png") for i, seconds in enumerate(times)]
    for frame, (_, name) in zip(frames, taken, strict=True):
        Image.fromarray(frame).save(Path(target) / name)
    (Path(target) / "snapshots.json").write_text(json.dumps(taken))


# judging


def judged(pair: Pair, tool: str, snapshots: Iterable[tuple[float, Path]], judge: Callable[[Path], Sequence[float]]) -> Curve:
    """Ask the judge about every snapshot."""
    return Curve(pair.name, tool, [Point(seconds, path, *judge(path)) for seconds, path in sorted(snapshots)])


def budgets_of(texts: Sequence[str], total: float | None) -> dict[str, float]:
    """Read budgets such as 60s and 33%, the latter of pastiche's time."""
    from genart.params import parse_duration

    found = {}
    for text in texts:
        if text.endswith("%") and total is None:
            raise SystemExit(f"--budget {text}: a share needs pastiche's time; run without --only genart")
        found[text] = float(text[:-1]) / 100 * (total or 0) if text.endswith("%") else float(parse_duration(text))
    return found


def make(text: str, args: argparse.Namespace) -> Result:
    """Let the tools make one pair, and judge."""
    from judge import PairJudge

    pair = prepare(text, args.size, args.work)
    judge = PairJudge(pair.content, pair.style)
    result = Result(pair)
    if args.only != "genart" or snapshots_of(pair.folder / f"pastiche-{args.iterations}"):
        snapshots = run_pastiche(pair, args.iterations)
        if not judge.agrees_with(printed_loss(snapshots[0][1].parent)):
            raise SystemExit("the judge's version of pastiche's objective differs from what pastiche printed")
        result.pastiche = judged(pair, "pastiche", snapshots, judge)
    if args.only != "pastiche":
        total = result.pastiche.last.seconds if result.pastiche else None
        for label, seconds in budgets_of(args.budget, total).items():
            params = {"resolution": args.size, "budget": seconds, **(judge.own_weights() if args.own else {}), **settings(args.set)}
            try:
                result.genart[label] = judged(pair, f"genart {label}", run_genart(pair, label, params), judge)
            except ChildFailed as error:  # such as a budget that is too small for this pair
                print(f"{pair.name}, budget {label}: {error}", flush=True)
    return result


def settings(texts: Sequence[str]) -> dict[str, Any]:
    """Read parameters such as content_weight=0.1 or scales=5."""
    found = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            found[name] = tomllib.loads(f"v = {value}")["v"]
        except tomllib.TOMLDecodeError:
            found[name] = value
    return found


# the first table


def report(result: Result) -> None:
    """Print the curves of one pair at some moments, and the times at which pastiche's results are reached."""
    print(f"\n{result.pair.name}: style error / content error / pastiche's objective")
    for curve in result.curves:
        moments = [*(m for m in MOMENTS if m < curve.last.seconds), curve.last.seconds]
        points = [curve.at(moment) for moment in moments]
        print(f"  {curve.tool:16} " + "   ".join(f"{p.seconds:.0f} s {p.style:.3f} / {p.content:.2f} / {p.objective:,.0f}" for p in points))
    for label, (seconds, shares) in reached(result).items():
        style, total = (told(*both) for both in zip(seconds, shares, strict=True))
        print(f"  genart {label:9} pastiche's style error at no higher content error: {style}; pastiche's total: {total}")


def told(seconds: float | None, share: float | None) -> str:
    """Say when something was reached."""
    return "never" if seconds is None else f"after {seconds:.0f} s ({share:.2f} T)"


def reached(result: Result) -> dict[str, tuple[list[float | None], list[float | None]]]:
    """By budget: seconds until pastiche's style error at no higher content error, and until its total; and their shares of its time."""
    if result.pastiche is None:
        return {}
    goal, found = result.pastiche.last, {}
    for label, curve in result.genart.items():
        seconds = [
            curve.first(lambda p: p.style <= goal.style and p.content <= goal.content),
            curve.first(lambda p: p.objective <= goal.objective),
        ]
        found[label] = seconds, [None if s is None else s / goal.seconds for s in seconds]
    return found


def summarise(results: Sequence[Result]) -> None:
    """Print medians over the pairs, where a result that was never reached counts as the worst."""
    by_budget: dict[str, list[list[float | None]]] = {}
    for result in results:
        for label, (_, shares) in reached(result).items():
            by_budget.setdefault(label, []).append(shares)
    for label, shares in by_budget.items():
        medians = [statistics.median(float("inf") if s is None else s for s in column) for column in zip(*shares, strict=True)]
        words = ["never" if m == float("inf") else f"{m:.2f} T" for m in medians]
        print(f"median of {len(shares)} pairs, genart {label}: style {words[0]}, total {words[1]}")


def write_csv(results: Sequence[Result], path: Path) -> None:
    """Write every point of every curve."""
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["pair", "tool", "seconds", "style", "content", "objective", "snapshot"])
        for curve in (curve for result in results for curve in result.curves):
            for p in curve.points:
                numbers = [f"{p.seconds:.2f}", *(f"{value:.6g}" for value in (p.style, p.content, p.objective))]
                writer.writerow([curve.pair, curve.tool, *numbers, p.path.name])


def write_sheet(results: Sequence[Result], path: Path) -> None:
    """Lay the pictures of all tools out: a row each, with the content or the style, the moments and the result."""
    import torch
    from judge import read

    from genart.nn.images import grid, to_uint8
    from genart_style.compare import drawn
    from genart_style.scene import resized
    from genart_style.schedule import fitted

    tiles = []
    side = max(max(read(result.pair.content).shape[2:]) for result in results)

    def tile(picture: Path, *lines: str) -> None:
        image = read(picture)
        image = to_uint8(resized(image, fitted((image.shape[2], image.shape[3]), side)))
        cell = torch.full((1, 3, side, side), 255, dtype=torch.uint8)
        cell[:, :, : image.shape[2], : image.shape[3]] = image
        tiles.append(torch.cat([cell, torch.from_numpy(drawn(lines, side)).permute(2, 0, 1)[None]], 2))

    for result in results:
        for i, curve in enumerate(result.curves):
            tile(result.pair.style if i % 2 else result.pair.content, "style" if i % 2 else "content", result.pair.name, "")
            for moment in (*MOMENTS, curve.last.seconds):
                p = curve.at(moment)
                tile(p.path, f"{curve.tool}, {p.seconds:.0f} s", f"style {p.style:.3f}", f"content {p.content:.2f}")
    from PIL import Image

    Image.fromarray(grid(torch.cat(tiles), 2 + len(MOMENTS), 8, 255).permute(1, 2, 0).contiguous().numpy()).save(path)


def against_pastiche(args: argparse.Namespace) -> None:
    """The first table."""
    results = []
    for text in args.pairs:
        results.append(make(text, args))
        report(results[-1])
        write_csv(results, args.work / f"curves-{args.size}.csv")
        write_sheet(results, args.work / f"sheet-{args.size}.png")
    print()
    summarise(results)
    print(f"curves and contact sheet: {args.work}/curves-{args.size}.csv, sheet-{args.size}.png")


# the second table


def bare_pass(size: int) -> Callable[[], None]:
    """Forward and backward pass of a plain VGG19 to relu5_1, channels last, float32, for a square picture."""
    import torch
    from torch import nn

    from genart.nn.vgg import embedded_file, embedded_weights

    layers: list[nn.Module] = []
    for name, (weight, bias) in embedded_weights(embedded_file()).items():
        if name > "5_1":
            break
        if name.endswith("_1") and name != "1_1":
            layers.append(nn.MaxPool2d(2))
        convolution = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1)
        convolution.weight.data, convolution.bias.data = weight, bias
        layers += [convolution, nn.ReLU()]
    net = nn.Sequential(*layers).requires_grad_(False).to(memory_format=torch.channels_last)
    image = torch.rand(1, 3, size, size).contiguous(memory_format=torch.channels_last).requires_grad_()

    def work() -> None:
        torch.autograd.grad(net(image).sum(), image)

    return work


def seconds_per_pass(work: Callable[[], None], count: int) -> float:
    """Mean seconds of some calls, after one to warm up."""
    work()
    began = time.perf_counter()
    for _ in range(count):
        work()
    return (time.perf_counter() - began) / count


def seconds_per_iteration(size: int, count: int, params: dict[str, Any]) -> float:
    """Mean seconds of style.transfer's iterations at one size, all that belongs to them included, between its reports."""
    import numpy as np

    from genart import Batch, Images
    from genart.plugins import Plugins
    from genart.testing import run_stage
    from genart_style import style_transfer

    times: list[tuple[float, int]] = []

    def observe(record: dict[str, Any]) -> None:
        if record["event"] == "metric" and "iteration" in record:
            times.append((time.perf_counter(), record["iteration"]))

    picture = np.random.default_rng(0).integers(0, 256, (1, size, size, 3), np.uint8)
    with tempfile.TemporaryDirectory() as work:
        given = Images.from_batches([Batch.from_array(picture)])
        wanted = {"scales": 1, "iterations": count + 1, "style_photos": "tissue", "resolution": size, **params}
        run_stage(style_transfer, given, work=Path(work), observer=observe, backbone=Plugins().load_backbone, **wanted)
    (first, a), (last, b) = times[0], times[-1]
    return (last - first) / (b - a)


def rates(args: argparse.Namespace) -> None:
    """The second table: in turns, medians."""
    import torch

    torch.set_num_threads(THREADS)
    print("      px   bare s/pass   style.transfer s/iteration   rate against bare")
    for size in args.sizes:
        work, count = bare_pass(size), max(3, min(24, round(6 * (256 / size) ** 2)))
        turns = [(seconds_per_pass(work, count), seconds_per_iteration(size, count, settings(args.set))) for _ in range(args.repeat)]
        bare, ours = (statistics.median(column) for column in zip(*turns, strict=True))
        ratios = ", ".join(f"{a / b:.2f}" for a, b in turns)
        print(f"  {size:6} {bare:13.3f} {ours:28.3f} {bare / ours:14.2f}   ({ratios})", flush=True)


# the third table


def memory_against_plan(size: int, params: dict[str, Any]) -> tuple[float, float]:
    """Peak memory of a process in which style.transfer makes an iteration at `size`, and what it had planned, both in MB."""
    told = json.loads(run_alone("memory", str(size), json.dumps(params)).splitlines()[-1])
    return told["peak_mb"], told["planned_mb"]


def memory_child(began: float, size: str, params: str) -> None:
    """Make the picture, and print this process's peak and what the stage planned."""
    import numpy as np
    from skimage import data

    from genart import Batch, Images
    from genart.plugins import Plugins
    from genart.testing import run_stage
    from genart_style import style_transfer

    del began
    given = Images.from_batches([Batch.from_array(np.asarray(data.astronaut())[None])])
    events: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as work:
        wanted = {"scales": 1, "iterations": 2, "style_photos": "tissue", "resolution": int(size), **json.loads(params)}
        run_stage(style_transfer, given, work=Path(work), observer=events.append, backbone=Plugins().load_backbone, **wanted)
    planned = max(event["planned_mb"] for event in events if "planned_mb" in event)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e6 / 1024)
    print(json.dumps({"peak_mb": peak, "planned_mb": planned}))


def memory(args: argparse.Namespace) -> None:
    """The third table."""
    print("      px   limit   planned MB   peak MB   peak / planned   (bound 0.85 to 1.15)")
    peak, planned = memory_against_plan(args.size, {"memory": args.limit, **settings(args.set)})
    print(f"  {args.size:6} {args.limit:>7} {planned:12.0f} {peak:9.0f} {peak / planned:16.2f}")


CHILDREN: dict[str, Callable[..., None]] = {"pastiche": pastiche_child, "genart": genart_child, "memory": memory_child}


def child(name: str, began: float, *rest: str) -> None:
    """Do one thing in this process, on so many threads."""
    import torch

    from genart import GenartError

    torch.set_num_threads(THREADS)
    try:
        CHILDREN[name](began, *rest)
    except GenartError as error:
        raise SystemExit(str(error)) from None


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size", type=int, help="longer side in pixels: 512 by default, 2048 with --memory")
    parser.add_argument("--pairs", nargs="+", default=PAIRS, metavar="CONTENT:STYLE", help="pictures, or names of embedded photographs")
    parser.add_argument("--iterations", type=int, default=500, help="of pastiche")
    parser.add_argument("--budget", nargs="+", default=["33%"], metavar="TIME", help="of style.transfer: 60s, or 33%% of pastiche's time")
    parser.add_argument("--set", nargs="+", default=[], metavar="PARAM=VALUE", help="further parameters of style.transfer")
    parser.add_argument("--own", action="store_true", help="let style.transfer minimise pastiche's objective instead of its own")
    parser.add_argument("--only", choices=("pastiche", "genart"), help="run one tool; pastiche's earlier snapshots are used all the same")
    parser.add_argument("--work", type=Path, default=WORK, help="where snapshots are kept")
    parser.add_argument("--rates", action="store_true", help="the second table")
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256, 512, 1024], help="of the second table")
    parser.add_argument("--repeat", type=int, default=3, help="turns of the second table")
    parser.add_argument("--memory", action="store_true", help="the third table")
    parser.add_argument("--limit", default="4GB", help="memory that the third table allows")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        began, name, *rest = args.child
        child(name, float(began), *rest)
        return
    args.size = args.size or (2048 if args.memory else 512)
    args.work.mkdir(parents=True, exist_ok=True)
    (rates if args.rates else memory if args.memory else against_pastiche)(args)


if __name__ == "__main__":
    main()
