"""The geometry of a run's page: where the lines of its drawings go. Numbers in, numbers out; the page's template draws them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

#: Of the graph of stages, in pixels: height of a row, widest distance of two lanes, width of all lanes together.
ROW, LANE, LANES = 52, 18, 140
#: Of a chart, in its own units: size, and the room for the numbers at its axes.
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 360, 210, 46, 8, 8, 24
#: Numbers that differ by less are the same in a chart.
LEAST = 1e-300


# the graph of stages


@dataclass(frozen=True)
class Graph:
    """Stages below each other, each on a lane, with lines from what they read.

    Attributes:
        width: of the lanes, in pixels.
        height: of all rows.
        places: (x, y) of each stage.
        edges: (path of SVG, index of the stage that is read) for each line.
    """

    width: int
    height: int
    places: tuple[tuple[float, float], ...]
    edges: tuple[tuple[str, int], ...]


def graph(sources: Sequence[Sequence[int]]) -> Graph:
    """Lay stages out one below the other, as the history of branches is drawn.

    A stage takes over the lane of the first thing that it reads and nobody reads below it, or else the first lane that is free.

    Args:
        sources: for each stage the indices of those that it reads, all of them above it.
    """
    last = {source: row for row, found in enumerate(sources) for source in found}
    lanes: list[int] = []
    open_until: dict[int, int] = {}  # lane -> the last row that reads what stands on it
    for row, found in enumerate(sources):
        free = {lane for lane, until in open_until.items() if until <= row}
        ending = [lanes[source] for source in found if last[source] == row]
        lane = ending[0] if ending else next(i for i in range(len(sources)) if i in free or i not in open_until)
        lanes.append(lane)
        open_until[lane] = last.get(row, row)
    pitch = min(LANE, LANES / (max(lanes, default=0) + 1))
    places = [((lane + 0.5) * pitch, (row + 0.5) * ROW) for row, lane in enumerate(lanes)]
    edges = [(_edge(places[source], place), source) for place, found in zip(places, sources, strict=True) for source in found]
    return Graph(math.ceil(pitch * (max(lanes, default=0) + 1)), ROW * len(sources), tuple(places), tuple(edges))


def _edge(start: tuple[float, float], end: tuple[float, float]) -> str:
    """Straight down the lane of what is read, and over to the reader within its row."""
    (x, y), (to_x, to_y) = start, end
    if x == to_x:
        return f"M{x:g} {y:g}V{to_y:g}"
    bend = to_y - ROW / 2
    return f"M{x:g} {y:g}V{bend:g}C{x:g} {to_y:g} {to_x:g} {bend:g} {to_x:g} {to_y:g}"


# charts


@dataclass(frozen=True)
class Curve:
    """One number over the course of a training.

    Attributes:
        name: what it is.
        path: of SVG.
        x: where it was measured.
        y: what it was.
    """

    name: str
    path: str
    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True)
class Chart:
    """Curves with their axes.

    Attributes:
        title: what is drawn.
        unit: of the x axis.
        curves: in the order of their colours.
        across: (place, text) of the numbers below.
        up: (place, text) of the numbers at the left.
        marks: (place, words) of what happened on the way.
        span: smallest and largest x.
    """

    title: str
    unit: str
    curves: tuple[Curve, ...]
    across: tuple[tuple[float, str], ...]
    up: tuple[tuple[float, str], ...]
    marks: tuple[tuple[float, str], ...]
    span: tuple[float, float]


def chart(title: str, unit: str, series: Mapping[str, Sequence[tuple[float, float]]], marks: Sequence[tuple[float, str]] = ()) -> Chart:
    """Draw numbers over the course of a training.

    Args:
        title: what is drawn.
        unit: of the x axis.
        series: (x, y) by name, at least one, none beyond 1e300.
        marks: (x, words) of what happened; those outside of the curves are left out.
    """
    points = [point for found in series.values() for point in found]
    left, right = min(x for x, _ in points), max(x for x, _ in points)
    low, high = _widened(min(y for _, y in points), max(y for _, y in points))
    scale_x = (WIDTH - LEFT - RIGHT) / max(right - left, LEAST)
    scale_y = (HEIGHT - TOP - BOTTOM) / max(high - low, LEAST)

    def place(x: float, y: float) -> tuple[float, float]:
        return round(LEFT + (x - left) * scale_x, 1), round(HEIGHT - BOTTOM - (y - low) * scale_y, 1)

    curves = [
        Curve(name, _polyline([place(x, y) for x, y in found]), tuple(x for x, _ in found), tuple(y for _, y in found))
        for name, found in series.items()
    ]
    return Chart(
        title,
        unit,
        tuple(curves),
        tuple((place(x, low)[0], f"{x:g}") for x in ticks(left, right)),
        tuple((place(left, y)[1], f"{y:g}") for y in ticks(low, high)),
        tuple((place(x, low)[0], words) for x, words in marks if left <= x <= right),
        (left, right),
    )


def _widened(low: float, high: float) -> tuple[float, float]:
    """A range with some room above and below, also where all is the same."""
    room = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return (0.0 if 0 <= low < room else low - room), high + room


def _polyline(places: Sequence[tuple[float, float]]) -> str:
    (x, y), *rest = places
    if not rest:
        return f"M{x - 2:g} {y:g}H{x + 2:g}"  # a single measurement is a dash
    return f"M{x:g} {y:g}L" + " ".join(f"{x:g} {y:g}" for x, y in rest)


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers between two numbers: multiples of 1, 2 or 5 times a power of ten, at most `most` of them."""
    if high - low < LEAST:
        return [low]
    step = next(step for step in _steps((high - low) / most) if math.floor(high / step) - math.ceil(low / step) < most)
    return [float(f"{i * step:.12g}") for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _steps(at_least: float) -> Iterator[float]:
    power = 10.0 ** math.floor(math.log10(at_least))
    while True:
        yield from (factor * power for factor in (1, 2, 5))
        power *= 10
