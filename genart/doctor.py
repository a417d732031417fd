"""The doctor of data sets: what a folder of pictures holds, what is odd in it, and what each family of networks needs of it."""

from __future__ import annotations

import typing
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from .errors import DataError, UsageError, printable
from .listing import files_below
from .nn.train_params import TrainParams

if TYPE_CHECKING:
    from .nn.doctor import Seen
    from .nn.pictures import Unreadable
    from .stages import Stage

#: What can be odd about a picture, worst first; and which of it no training should see.
KINDS = ("corrupt", "unread", "blank", "duplicate", "near-duplicate", "tiny")
NOT_TO_SEE = ("corrupt", "blank", "duplicate", "near-duplicate")
#: Share of the pictures that have to be as large as what is trained on.
LARGE_ENOUGH = 0.9
#: So many times as many pictures in the largest class as in the smallest are unbalanced; a class with fewer than this is hardly learnt.
UNBALANCED, SMALL_CLASS = 5, 20
#: A crop to a square that takes away more than this of the pictures, on average, is told.
MUCH_CROPPED = 0.3
#: Pixels along a side with which a first training is soon done.
GOOD_START = 64
#: Pictures on a sheet.
CELLS = 60
#: Formats of a sheet, by the ends of names.
SHEETS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}


@dataclass(frozen=True)
class Odd:
    """What is odd about one picture.

    Attributes:
        file: its name within the folder.
        kind: one of KINDS.
        reason: in a few words.
        of: the picture that it repeats.
    """

    file: str
    kind: str
    reason: str
    of: str | None = None


@dataclass(frozen=True)
class Need:
    """What a stage that trains needs, and what this folder has of it.

    Attributes:
        stage: its name.
        least: pictures without which it refuses.
        enough: pictures from which on, as a rule of thumb, it learns more than the pictures themselves.
        resolutions: pixels along a side that it trains on.
        resolution: the largest of these that nearly all pictures have.
        verdict: "good", "few" or "no".
    """

    stage: str
    least: int
    enough: int
    resolutions: tuple[int, ...]
    resolution: int
    verdict: str


@dataclass
class Report:
    """What was found in a folder.

    Attributes:
        folder: the folder.
        files: pictures that were looked at.
        others: files that are no pictures.
        bytes: of the readable pictures.
        formats: readable pictures by format.
        modes: readable pictures by colour mode.
        sizes: readable pictures by (width, height), upright.
        transparent: pictures with an alpha channel or a transparent colour.
        see_through: pictures of which some pixels are transparent.
        turned: pictures that are stored turned, as their EXIF orientation says.
        moving: animations, of which the first frame is read.
        usable: pictures that training should see.
        classes: usable pictures by class; empty where there are no class folders.
        empty_classes: class folders without a picture.
        unlabelled: usable pictures in no class folder, where others are in one.
        torn: names of pictures that repeat one of another class.
        odd: what is odd, by picture.
        needs: what each stage needs.
        advice: what to do, in words.
    """

    folder: Path
    files: int = 0
    others: int = 0
    bytes: int = 0
    formats: Counter[str] = field(default_factory=Counter)
    modes: Counter[str] = field(default_factory=Counter)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    transparent: int = 0
    see_through: int = 0
    turned: int = 0
    moving: int = 0
    usable: int = 0
    classes: Counter[str] = field(default_factory=Counter)
    empty_classes: list[str] = field(default_factory=list)
    unlabelled: int = 0
    torn: list[str] = field(default_factory=list)
    odd: list[Odd] = field(default_factory=list)
    needs: list[Need] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)

    @property
    def fits(self) -> bool:
        """True if something can be trained on this folder."""
        return any(need.verdict != "no" for need in self.needs)

    def count(self, kind: str) -> int:
        """Number of pictures that are odd in one way."""
        return sum(one.kind == kind for one in self.odd)

    def share_of(self, resolution: int) -> float:
        """Share of the readable pictures of which both sides have so many pixels."""
        total = self.sizes.total()
        return sum(count for size, count in self.sizes.items() if min(size) >= resolution) / total if total else 0.0

    @property
    def cropped(self) -> float:
        """Share of their area that a crop to a square takes away, on average."""
        total = self.sizes.total()
        return sum(count * (1 - min(size) / max(size)) for size, count in self.sizes.items()) / total if total else 0.0

    def as_json(self) -> dict[str, Any]:
        """The report as plain values."""
        widths, heights = ([size[axis] for size in self.sizes.elements()] for axis in (0, 1))
        return {
            "path": str(self.folder),
            "fits": self.fits,
            "files": self.files,
            "other_files": self.others,
            "usable": self.usable,
            "bytes": self.bytes,
            "formats": dict(self.formats.most_common()),
            "modes": dict(self.modes.most_common()),
            "width": spread(widths),
            "height": spread(heights),
            "common_sizes": [[*size, count] for size, count in self.sizes.most_common(10)],
            "cropped_share": round(self.cropped, 4),
            "transparent": self.transparent,
            "see_through": self.see_through,
            "turned": self.turned,
            "moving": self.moving,
            "classes": dict(sorted(self.classes.items())),
            "empty_classes": self.empty_classes,
            "unlabelled": self.unlabelled,
            "other_class": self.torn,
            "counts": {kind: self.count(kind) for kind in KINDS},
            "odd": [vars(one) for one in self.odd],
            "families": [vars(need) for need in self.needs],
            "advice": self.advice,
        }


def spread(values: Sequence[int]) -> dict[str, float] | None:
    """Smallest, median and largest of some numbers; None of none."""
    return {"min": min(values), "median": median(values), "max": max(values)} if values else None


def examine(folder: Path, stages: Iterable[Stage], tell: Callable[[int, int], None]) -> Report:
    """Look at every picture of a folder once.

    Args:
        folder: where they are; hidden files, and what lies behind links to folders, are left out, as `images.folder` does.
        stages: those that train are asked what they need.
        tell: called with (done, total), first with (0, total), now and then; may raise to stop.

    Raises:
        DataError: if there is no such folder, no picture in it, or a folder that cannot be read.
    """
    from .nn.doctor import look_at_all, repeated
    from .nn.pictures import Unreadable, picture_files

    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder", "name a folder of pictures")
    files = picture_files(folder)
    tell(0, len(files))
    report = Report(folder, len(files), len(files_below(folder)) - len(files))
    trained = [stage for stage in stages if issubclass(stage.params, TrainParams)]
    least_side = min((min(resolutions(stage)) for stage in trained), default=1)
    seen: list[Seen] = []
    shown: list[Path] = []
    for file, one in zip(files, look_at_all(files, lambda done: tell(done, len(files))), strict=True):
        name = file.relative_to(folder).as_posix()
        if isinstance(one, Unreadable):
            report.odd.append(_unreadable(name, one))
            continue
        _count(report, one)
        if one.blank:
            report.odd.append(Odd(name, "blank", "one colour all over"))
            continue
        if min(one.header.width, one.header.height) < least_side:
            report.odd.append(Odd(name, "tiny", f"{one.header.width}x{one.header.height}"))
        seen.append(one)
        shown.append(file)
    copies = repeated(shown, seen, lambda: tell(len(files), len(files)))
    _note_copies(report, shown, copies)
    _note_classes(report, files, [file for i, file in enumerate(shown) if i not in copies])
    report.odd.sort(key=lambda one: (KINDS.index(one.kind), one.file))
    report.needs = [need_of(stage, report) for stage in trained]
    report.advice = list(advise(report))
    return report


def _unreadable(name: str, error: Unreadable) -> Odd:
    from .nn.pictures import Unread

    return Odd(name, "unread" if isinstance(error, Unread) else "corrupt", str(error))


def _count(report: Report, seen: Seen) -> None:
    header = seen.header
    report.formats[header.format] += 1
    report.modes[header.mode] += 1
    report.sizes[header.width, header.height] += 1
    report.bytes += header.bytes
    report.transparent += header.transparent
    report.see_through += seen.see_through
    report.turned += header.turned
    report.moving += header.moving


def _note_copies(report: Report, files: Sequence[Path], copies: dict[int, tuple[int, bool]]) -> None:
    from .nn.pictures import class_of

    for i, (of, exact) in copies.items():
        name, original = (files[place].relative_to(report.folder).as_posix() for place in (i, of))
        kind, like = ("duplicate", "equals") if exact else ("near-duplicate", "looks like")
        report.odd.append(Odd(name, kind, f"{like} {original}", original))
        if class_of(files[i], report.folder) != class_of(files[of], report.folder):
            report.torn.append(name)
    report.torn.sort()


def _note_classes(report: Report, files: Sequence[Path], usable: Sequence[Path]) -> None:
    from .nn.pictures import class_of, empty_classes

    report.usable = len(usable)
    classes = Counter(class_of(file, report.folder) for file in usable)
    report.unlabelled = classes.pop(None, 0)
    report.classes = Counter({name: count for name, count in classes.items() if name is not None})
    if not report.classes:
        report.unlabelled = 0
    report.empty_classes = empty_classes(report.folder, files)


# what the families need


def resolutions(stage: Stage) -> tuple[int, ...]:
    """Pixels along a side that a stage trains on, ascending, as the type of its parameter `resolution` says."""
    return tuple(sorted(_numbers(stage.params.model_fields["resolution"].annotation)))


def _numbers(annotation: Any) -> set[int]:
    if isinstance(annotation, int):
        return {annotation}
    return set().union(*(_numbers(part) for part in typing.get_args(annotation)))


def need_of(stage: Stage, report: Report) -> Need:
    """What a stage needs of a folder, and whether it is there."""
    params = stage.params
    assert issubclass(params, TrainParams)
    sizes = resolutions(stage)
    fitting = [size for size in sizes if report.share_of(size) >= LARGE_ENOUGH]
    verdict = "no" if report.usable < params.least_pictures else "few" if report.usable < params.enough_pictures else "good"
    return Need(stage.name, params.least_pictures, params.enough_pictures, sizes, max(fitting, default=sizes[0]), verdict)


# what to do


def advise(report: Report) -> Iterable[str]:
    """Say in whole sentences what to do about what was found, the most urgent first."""
    yield from _about_odd(report)
    yield from _about_number(report)
    yield from _about_size(report)
    yield from _about_classes(report)
    yield from _about_kinds(report)


def _about_odd(report: Report) -> Iterable[str]:
    if n := report.count("corrupt"):
        yield f"Not to be read, {_pictures(n)}: copy them anew from where they came, or move them away (--quarantine); training skips them."
    if n := report.count("unread"):
        yield f"Not to be read this time, {_pictures(n)}, which may be whole: look at their permissions, and at the disk."
    if n := report.count("blank"):
        yield f"One colour all over, {_pictures(n)}: nothing is learnt of them. Move them away (--quarantine)."
    if n := report.count("duplicate") + report.count("near-duplicate"):
        yield f"Shown already by others, {_pictures(n)}: what a model sees too often it memorises. Keep one of each (--quarantine)."


def _about_number(report: Report) -> Iterable[str]:
    few = [need for need in report.needs if need.verdict == "few"]
    if report.needs and not report.fits:
        yield f"To train on, {_pictures(report.usable)}: that is nothing yet. Collect a few hundred that have something in common."
    elif few:
        names = ", ".join(need.stage for need in few)
        yield (
            f"To train on, {_pictures(report.usable)}: few for {names}, which would soon memorise them. Collect more, give "
            "`mirror = true` if left and right may be exchanged, put an `augment` stage in between, or go on from a model (`init`)."
        )


def _about_size(report: Report) -> Iterable[str]:
    if not report.sizes:
        return
    best = max((need.resolution for need in report.needs), default=0)
    if best:
        smaller = " Smaller is faster: 64 is a good start." if best > GOOD_START else ""
        yield f"Train at `resolution = {best}` at most: {report.share_of(best):.0%} of the pictures have that many pixels.{smaller}"
    if n := report.count("tiny"):
        yield f"Smaller than anything that is trained on, {_pictures(n)}: enlarged they are blurred, and what is learnt of them is too."
    if report.cropped > MUCH_CROPPED:
        yield (
            f"Far from square: a crop takes away {report.cropped:.0%} of the pictures on average. Cut out yourself what matters, or give "
            'images.folder `fit = "letterbox"` with a `resolution`.'
        )


def _about_classes(report: Report) -> Iterable[str]:
    if len(report.classes) >= 2:
        names = sorted(report.classes, key=lambda name: (report.classes[name], name))
        (least, fewest), (most, largest) = ((name, report.classes[name]) for name in (names[0], names[-1]))
        if largest >= UNBALANCED * fewest:
            yield (
                f"Unbalanced classes, from {_pictures(fewest)} ({least}) to {largest:,} ({most}): the small ones are drawn worse. "
                "Add to them, or leave them out."
            )
        elif fewest < SMALL_CLASS:
            yield f"A small class, {least}, of {_pictures(fewest)}: too few to learn what they have in common."
        if report.unlabelled:
            yield f"In no class folder, {_pictures(report.unlabelled)}: the classes are ignored for it. Move them into one, or away."
    if report.empty_classes:
        yield f"Class folders without a picture: {', '.join(report.empty_classes)}. Nothing is learnt of them."
    if report.torn:
        yield f"In one class and shown in another, {_pictures(len(report.torn))}, such as {report.torn[0]}: which is it?"


def _about_kinds(report: Report) -> Iterable[str]:
    if report.see_through:
        yield f"Transparent in part, {_pictures(report.see_through)}: they are laid on white, or on the `background` that is given."
    if report.turned:
        yield f"Stored turned, as cameras do, {_pictures(report.turned)}: they are read upright, nothing is to be done."
    if report.moving:
        yield f"Animated, {_pictures(report.moving)}: the first frame is read; images.video reads them all."


def _pictures(count: int) -> str:
    return f"{count:,} picture{'s' * (count != 1)}"


# the sheet


def draw_sheet(report: Report, path: Path) -> None:
    """Write a contact sheet: what is odd, some of each kind in turn, with words below, and sound pictures in the room that is left.

    Raises:
        UsageError: if the name has no ending of a picture, or lies within the folder.
        DataError: if there is nothing to show.
    """
    from .artifacts import write_atomically
    from .nn.doctor import encoded, sheet

    check_sheet(report.folder, path)
    odd = [[one for one in report.odd if one.kind == kind] for kind in KINDS]
    chosen = [one for some in zip_longest(*odd) for one in some if one is not None][:CELLS]
    chosen.sort(key=lambda one: (KINDS.index(one.kind), one.file))
    cells = [(report.folder / one.file, (one.kind, one.reason, Path(one.file).name)) for one in chosen]
    cells += [(file, ("", "", file.name)) for file in _sound(report, CELLS - len(cells))]
    picture = encoded(sheet([(file, [printable(line) for line in lines]) for file, lines in cells]), SHEETS[path.suffix.lower()])
    write_atomically(path.absolute(), picture)


def check_sheet(folder: Path, path: Path) -> None:
    """Refuse a name for the sheet that is no picture's, or that would make it one of the pictures.

    Raises:
        UsageError: with the reason.
    """
    if path.suffix.lower() not in SHEETS:
        raise UsageError(f"--sheet {path}: expected a name that ends in {', '.join(SHEETS)}")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"--sheet {path}: no such folder: {path.parent}")
    if path.resolve().is_relative_to(folder.resolve()):
        raise UsageError(f"--sheet {path}: there it would be one of the pictures", "name a place outside the folder")


def _sound(report: Report, count: int) -> list[Path]:
    """Some pictures without anything odd, spread over the folder."""
    from .nn.pictures import picture_files

    odd = {one.file for one in report.odd}
    sound = [file for file in picture_files(report.folder) if file.relative_to(report.folder).as_posix() not in odd]
    step = max(1, -(-len(sound) // max(1, count)))
    return sound[::step][: max(0, count)]
