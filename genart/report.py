"""A run's page: `genart report DIR` writes report.html, one file that needs no network.

What it says comes from run.json, from the headers of the models (in the folder, or in the store) and from the pictures and films in the
folder. All of these may come from somebody else: they are read within bounds, nothing outside of the folder is shown, and whatever is
text is escaped by the template.
"""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
import json
import mimetypes
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, get_args
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from . import __version__, charts
from .artifacts import Kind, Model, open_regular
from .charts import Chart, Curve, Graph, chart, graph
from .display import duration, size
from .errors import DataError, GenartError, RefusedError, UsageError, did_you_mean
from .folders import Folder
from .plan import safe_name
from .provenance import sweep
from .store import Store

PAGE = "report.html"
#: Largest run.json that is read, in bytes.
MAX_RUN_BYTES = 32 << 20
#: Bytes of a picture or film that are put into the page, and of all together; what is larger is linked beside it.
MAX_EMBEDDED, MAX_PAGE = 8 << 20, 48 << 20
#: Of a folder of pictures: how many are shown, and the longer side of each in pixels.
MOST_SHOWN, THUMBNAIL = 24, 240
#: Kinds of film that browsers play; other films are linked.
PLAYED = (".mp4", ".webm")
SEEN = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".apng")

#: Largest number of a header that is drawn.
MOST = 1e300
#: Numbers of a training that stand in charts of their own; all others are losses.
SHARES = ("diversity", "recall", "won", "skipped", "augment_p", "r_t")
QUALITY = ("kid",)


# what run.json holds


class _Told(BaseModel):
    """Read from a file that anybody may have written: what is not asked for is passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True)


Text = Annotated[str, Field(max_length=10_000)]


class StageTold(_Told):
    """One stage of the run."""

    id: Text
    uses: Text
    reads: tuple[Text, ...] = ()
    params: dict[str, Any] = {}
    gives: dict[str, Text] = {}
    seed: int | None = None
    key: Text = ""
    cached: bool = False
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    choices: dict[str, Any] = {}
    warnings: tuple[Text, ...] = ()


class OutputTold(_Told):
    """One saved output."""

    path: Text
    stage: Text = ""
    bytes: Annotated[int, Field(ge=0)] = 0


class RunTold(_Told):
    """What run.json says."""

    recipe: Text
    description: Text = ""
    seed: int = 0
    genart: Text = ""
    device: Text = ""
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    versions: dict[str, Text] = {}
    stages: tuple[StageTold, ...] = ()
    outputs: tuple[OutputTold, ...] = ()


def read_run(folder: Path) -> RunTold:
    """Read what a run left of itself in its output folder.

    Raises:
        DataError: if there is no run.json, or it is not what genart writes.
    """
    path = folder / "run.json"
    try:
        with open_regular(path) as file:  # a pipe in its place would never end
            if os.fstat(file.fileno()).st_size > MAX_RUN_BYTES:
                raise DataError(f"{path}: larger than 32 MiB; that is not what genart writes")
            return RunTold.model_validate_json(file.read())
    except FileNotFoundError:
        raise DataError(f"{folder}: holds no run.json, so no run of genart ended here", "give the output folder of `genart run`") from None
    except (ValidationError, OSError, ValueError) as error:
        raise DataError(
            f"{path}: not what genart writes ({type(error).__name__})", "run the recipe again: `genart run` writes it"
        ) from None


def folder_of(run: str) -> Path:
    """The output folder that a user means: a folder, or the name of a recipe whose folder is below `out`.

    Raises:
        UsageError: if there is none.
    """
    for folder in (Path(run), Path("out") / run, Path("out") / safe_name(run)):
        if folder.is_dir():
            return folder
    made = sorted(path.name for path in Path("out").glob("*") if path.is_dir())
    raise UsageError(f"{run}: no such output folder{did_you_mean(run, made)}", "give a folder that `genart run` wrote, or a recipe's name")


# what the page shows


@dataclass(frozen=True)
class Thumbnail:
    """One picture of a folder."""

    name: str
    href: str
    src: str


@dataclass(frozen=True)
class Shown:
    """One output.

    Attributes:
        name: its path in the folder.
        stage: id of the stage that made it.
        kind: "picture", "film", "folder", "file" or "missing".
        href: where it lies, from the page.
        src: the same, or the content itself.
        size: in words.
        thumbnails: some pictures of a folder.
        more: how many others it has.
    """

    name: str
    stage: str
    kind: str
    href: str = ""
    src: str = ""
    size: str = ""
    thumbnails: tuple[Thumbnail, ...] = ()
    more: int = 0


@dataclass(frozen=True)
class Act:
    """Something that the watch over a training found, and did."""

    stage: str
    when: str
    trouble: str
    act: str
    message: str


@dataclass(frozen=True)
class Trained:
    """A training: its charts, and what the watch over it did."""

    stage: str
    charts: tuple[Chart, ...]
    acts: tuple[Act, ...]


class Gallery:
    """Looks at outputs, and puts into the page what there is room for.

    Args:
        folder: the output folder; nothing outside of it is shown, and no link is followed.
    """

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self.room = MAX_PAGE

    def shown(self, output: OutputTold) -> Shown:
        """How one output is shown."""
        path = PurePosixPath(output.path)
        missing = Shown(output.path, output.stage, "missing")
        if not path.parts or path.is_absolute() or ".." in path.parts:
            return missing
        try:
            with self.folder.below(path.parts[:-1]) as folder:
                kind = folder.kind(path.name)
                return self._shown(output, folder, path, kind) if kind in ("file", "folder") else missing
        except (OSError, ValueError, RefusedError):  # too long, a NUL, gone meanwhile, a link on the way
            return missing

    def _shown(self, output: OutputTold, folder: Folder, path: PurePosixPath, kind: str) -> Shown:
        href, told = _href(output.path), size(output.bytes)
        if kind == "folder":
            with folder.below([path.name]) as inside:
                names = [name for name in inside.names() if PurePosixPath(name).suffix.lower() in SEEN and not name.startswith(".")]
                thumbnails = self._thumbnails(inside, names[:MOST_SHOWN], output.path)
            return Shown(output.path, output.stage, "folder", href + "/", "", told, thumbnails, max(0, len(names) - MOST_SHOWN))
        suffix = path.suffix.lower()
        seen = "picture" if suffix in SEEN else "film" if suffix in PLAYED else "file"
        return Shown(output.path, output.stage, seen, href, self._source(folder, path.name, href) if seen != "file" else "", told)

    def _source(self, folder: Folder, name: str, href: str) -> str:
        """The content of a file as an address, or where it lies if it is too large."""
        count = folder.size(name)
        if count > min(MAX_EMBEDDED, self.room):
            return href
        self.room -= count
        return _data_uri(_content(folder, name, count), mimetypes.guess_type(name)[0] or "application/octet-stream")

    def _thumbnails(self, folder: Folder, names: Sequence[str], where: str) -> tuple[Thumbnail, ...]:
        made = []
        for name in names:
            small = thumbnail(folder, name)
            if small is not None and len(small) <= self.room:
                self.room -= len(small)
                made.append(Thumbnail(name, _href(f"{PurePosixPath(where)}/{name}"), _data_uri(small, "image/webp")))
        return tuple(made)


def _content(folder: Folder, name: str, most: int) -> bytes:
    with folder.read(name) as file:
        return file.read(most)


def thumbnail(folder: Folder, name: str) -> bytes | None:
    """A small WebP of a picture, or None if it cannot be read."""
    from PIL import Image

    from .nn.pictures import MAX_FILE_BYTES, Unreadable, Want, decode_bytes

    try:
        picture = Image.fromarray(decode_bytes(_content(folder, name, MAX_FILE_BYTES), Want()))
    except (OSError, Unreadable):
        return None
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    data = io.BytesIO()
    picture.save(data, "WEBP", quality=82)
    return data.getvalue()


def _href(name: str) -> str:
    return "./" + quote(name)


def _data_uri(data: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


# trainings


def trained(stage: StageTold, folder: Path, outputs: Sequence[OutputTold], store: Store) -> Trained | None:
    """The course of a training, from the header of the model that it gave; None if there is no such model any more.

    Args:
        stage: of the run.
        folder: the output folder.
        outputs: of the run.
        store: where the model may lie if it was not saved.
    """
    header = _header(stage, folder, outputs, store)
    if header is None:
        return None
    told = header.get("trained")
    entries, acts = _tables(header.get("history")), _tables(told.get("watchdog") if isinstance(told, dict) else None)
    charts = tuple(_charts(entries, [(_number(act.get("nimg")) / 1000, f"{act.get('trouble')}: {act.get('act')}") for act in acts]))
    return Trained(stage.id, charts, tuple(_act(stage.id, act) for act in acts)) if charts or acts else None


def _header(stage: StageTold, folder: Path, outputs: Sequence[OutputTold], store: Store) -> Mapping[str, Any] | None:
    saved = [_inside(folder.resolve(), output.path) for output in outputs if output.stage == stage.id]
    for path in itertools.chain(saved, _stored(stage.key, store)):
        try:
            if path is not None and path.is_file():
                return Model.open(path).header
        except GenartError:  # a damaged model has no curves to show
            continue
    return None


def _stored(key: str, store: Store) -> Iterator[Path]:
    """The model of a result that may be in the store, held until the store is released."""
    entry = store.find(key) if key.isalnum() else None
    held = store.hold(entry) if entry is not None else None
    if held is not None:
        yield held.folder / "output" / "model.safetensors"


def _inside(folder: Path, name: str) -> Path | None:
    try:
        path = (folder / name).resolve()
        return path if path.is_relative_to(folder) else None
    except (OSError, ValueError, RuntimeError):
        return None


def _tables(value: Any) -> list[dict[str, Any]]:
    """The tables of a list; none of anything else."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _number(value: Any) -> float:
    return float(value) if _finite(value) else 0.0


def _act(stage: str, act: Mapping[str, Any]) -> Act:
    when = f"{_number(act.get('nimg')) / 1000:.1f} kimg"
    return Act(stage, when, str(act.get("trouble", "")), str(act.get("act", "")), str(act.get("message", "")))


def _charts(entries: Sequence[Mapping[str, Any]], marks: Sequence[tuple[float, str]]) -> Iterator[Chart]:
    """Losses, shares and quality over what was seen, where there are any."""
    unit = next((unit for unit in ("kimg", "iteration") if any(unit in entry for entry in entries)), None)
    if unit is None:
        return
    names = list(dict.fromkeys(name for entry in entries for name in entry if name != unit))
    series = {
        name: [(entry[unit], entry[name]) for entry in entries if _finite(entry.get(unit)) and _finite(entry.get(name))] for name in names
    }
    losses = [name for name in names if name not in (*SHARES, *QUALITY)]
    for title, wanted in (("Loss", losses), ("Diversity and shares", SHARES), ("KID, lower is better", QUALITY)):
        drawn = {name: series[name] for name in wanted if series.get(name)}
        if drawn:
            yield chart(title, unit, drawn, marks if unit == "kimg" else ())


def _finite(value: Any) -> bool:
    """True for a number that can be reckoned with: sums and differences of two are finite, too."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MOST


# the page


def write_report(folder: Path, store: Store) -> Path:
    """Write report.html into an output folder; an old one stays until the new one is whole.

    Args:
        folder: where `genart run` ended.
        store: for the courses of trainings whose models were not saved.

    Raises:
        DataError: if there is no run.json, or it is not what genart writes.
    """
    target = folder / PAGE
    with Folder.open(folder) as out:
        sweep(out, PAGE)
        out.write(PAGE, render(folder, store).encode("utf-8"))
    return target


def is_stale(folder: Path) -> bool:
    """True if there is no page, or the run ended after it was written."""
    page, run = folder / PAGE, folder / "run.json"
    return not page.is_file() or page.stat().st_mtime_ns < run.stat().st_mtime_ns


def render(folder: Path, store: Store) -> str:
    """The page as text; the same for the same folder and store.

    Raises:
        DataError: if there is no run.json, or it is not what genart writes.
    """
    from jinja2 import Environment, StrictUndefined

    run = read_run(folder)
    with Folder.open(folder) as opened:
        gallery = Gallery(opened)
        shown = [gallery.shown(output) for output in run.outputs]
    try:
        trainings = [found for stage in run.stages if (found := trained(stage, folder, run.outputs, store))]
    finally:
        store.release()
    style, script, text = (_part(f"report.{kind}") for kind in ("css", "js", "html"))
    page = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    page.filters |= {"duration": duration, "plain": _plain, "numbers": _numbers, "kind": _kind}
    return page.from_string(text).render(
        run=run,
        version=__version__,
        style=style,
        script=script,
        hashes={"style": _csp_hash(style), "script": _csp_hash(script)},
        shown=shown,
        graph=graph_of(run.stages),
        frame=charts,
        trainings=trainings,
        acts=[act for training in trainings for act in training.acts],
        slowest=max((stage.seconds for stage in run.stages), default=0.0) or 1.0,
        numbers={stage.id: i for i, stage in enumerate(run.stages)},
    )


def graph_of(stages: Sequence[StageTold]) -> Graph:
    """Lay the stages of a run out as a graph."""
    place = {stage.id: i for i, stage in enumerate(stages)}
    sources = []
    for i, stage in enumerate(stages):
        found = [place.get(text, place.get(text.rpartition(".")[0], i)) for text in stage.reads]
        sources.append(list(dict.fromkeys(source for source in found if source < i)))
    return graph(sources)


def _part(name: str) -> str:
    return resources.files("genart").joinpath("page", name).read_text(encoding="utf-8")


def _csp_hash(text: str) -> str:
    """How a page's own policy names the one style and the one script that it has."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def _kind(name: str) -> str:
    """The kind of an artifact as the style knows it."""
    return name if name in get_args(Kind) else ""


def _numbers(curves: Sequence[Curve]) -> str:
    """The numbers of curves as JSON, for whoever points at them."""
    return json.dumps([{"x": curve.x, "y": curve.y} for curve in curves])


def _plain(value: Any) -> str:
    """A parameter's value as JSON, cut where it is long."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 400 else text[:400] + " …"
