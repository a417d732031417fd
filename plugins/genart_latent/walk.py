"""Films through latent space: from key to key, on closed courses, and along directions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from genart import Batch, DataError, Model, Run, UsageError
from genart.nn import latent
from genart.nn.latent_directions import directions, space_of
from genart.nn.latent_loops import angle_of, around, circle, noise_loop
from genart.nn.latent_space import Space

from ._walk import COURSES, WalkParams
from .draw import Course, Drawn, draw, open_space
from .keys import Key, key_count, keys_of, lies_in_w, records, truncation_of


def walk(model: Model, params: WalkParams, run: Run) -> Iterator[Batch]:
    """Yield the frames of a walk; see the stage."""
    run.expect(params.frames, params.fps)
    space, course = course_of(model, params, run)
    yield from draw(space, course, params.frames, run)


def course_of(model: Model, params: WalkParams, run: Run) -> tuple[Space, Course]:
    """What each frame of a walk is drawn from; frame `frames` of a loop is drawn from the same as frame 0, to the bit.

    Raises:
        DataError: if the model cannot do what is asked for, or a key does not fit it.
        UsageError: if keys, classes or rests do not go together.
    """
    found = records(params, run)
    psi = truncation_of(found, params, run)
    space = open_space(model, run, truncation_psi=psi)
    wanted = wanted_space(params, space, in_w=lies_in_w(found))
    name = params.space or wanted
    if params.direction is not None and name != wanted:
        raise UsageError(f"{run.stage_id}.space: directions of '{params.method}' lie in {wanted} of this model", "leave out `space`")
    if name == "w":
        space = Space(model, space.G, run.device, "w", psi)
    keys = keys_of(space, found, params, run.stage_id)
    if params.direction is not None:
        course = along(space, keys, params, run.stage_id)
    elif params.interpolation in COURSES:
        course = closed(space, keys, params, run)
    else:
        course = between(space, keys, params, run)
    return space, mixed(space, course, keys[0], params, run.stage_id) if params.mix_layers is not None else course


def wanted_space(params: WalkParams, space: Space, *, in_w: bool) -> str:
    """The space of a walk that names none."""
    if params.direction is not None:
        return space_of(params.method, space.styled)
    return "w" if in_w or params.mix_layers is not None else "z"


def point_of(space: Space, key: Key) -> Tensor:
    """Where a key lies in the space that is walked.

    Raises:
        DataError: if it is a style, and the walk goes in z.
    """
    if key.space == space.name:
        return key.latent
    if key.space == "w":
        raise DataError("a key is a style, and the walk goes in z, to which no way leads back", "leave out space = 'z'")
    return space.point(key.latent, space.kind(key.label))


# from key to key


def between(space: Space, keys: Sequence[Key], params: WalkParams, run: Run) -> Course:
    """From key to key, with their classes."""
    flat = space.name == "w"
    interpolation = params.interpolation or ("lerp" if flat else "slerp")
    easing = params.easing or ("linear" if interpolation == "spline" else "smooth")
    path: dict[str, Any] = {"loop": params.loop, "hold": rests(params, len(keys), run.stage_id)}
    points = torch.stack([point_of(space, key) for key in keys])

    def course(i: int) -> Drawn:
        at, t = latent.place(i, params.frames, len(keys), **path)
        point = latent.walk(points, i, params.frames, interpolation=interpolation, easing=easing, sphere=not flat, **path)
        key, after = keys[at], keys[(at + 1) % len(keys)]
        names = key.meta | {f"to_{name}": value for name, value in after.meta.items()}
        kind, labels = blended(space, key.label, after.label, latent.EASINGS[easing](t))
        return Drawn(point, kind, {"frame": i, "t": round(t, 6)} | names | labels)

    return course


def rests(params: WalkParams, keys: int, where: str) -> tuple[int, ...]:
    """Frames that the film rests at each key.

    Raises:
        UsageError: if they are not one for each key, or leave no frame to move in.
    """
    if not any(params.hold):
        return ()
    if len(params.hold) not in (1, keys):
        raise UsageError(f"{where}.hold: {len(params.hold)} rests for {keys} keys", "give one number, or one for each key")
    seconds = params.hold * (keys if len(params.hold) == 1 else 1)
    held = tuple(round(params.fps * rest) for rest in seconds)
    try:
        latent.place(0, params.frames, keys, loop=params.loop, hold=held)
    except ValueError as error:
        raise UsageError(f"{where}.hold: {error}", "give more `frames`, or shorter rests") from None
    return held


def blended(space: Space, label: str | None, after: str | None, t: float) -> tuple[Tensor | None, dict[str, Any]]:
    """Shares of the classes at `t` between two, and what metadata say of them."""
    kind, other = space.kind(label), space.kind(after)
    if kind is None or other is None:
        return None, {}
    if label == after:
        return kind, {"label": label}
    return latent.lerp(kind, other, t), {"label": label, "to_label": after}


# closed courses and directions


def closed(space: Space, keys: Sequence[Key], params: WalkParams, run: Run) -> Course:
    """On a circle, or on a loop of simplex noise.

    Raises:
        DataError: if a key is a style.
        UsageError: if rests are asked for.
    """
    if any(params.hold):
        raise UsageError(f"{run.stage_id}.hold: a {params.interpolation} passes no keys to rest at", "leave out `hold`")
    if any(key.space == "w" for key in keys[:3]):
        raise DataError(f"{run.stage_id}: a {params.interpolation} goes in z, and a key is a style", "walk from key to key instead")
    first, second, third = (key.latent for key in keys[:3])
    turns, seed = key_count(params), run.seed("noise")
    about = {} if params.interpolation == "noise" and params.radius == 1 else keys[0].meta  # which such a loop never sees

    def course(i: int) -> Drawn:
        angle = angle_of(i, params.frames)
        if params.interpolation == "noise":
            z = noise_loop(space.z_dim, angle, turns, seed) * space.truncation_psi
        else:
            z = circle(first, second, angle) if params.radius == 1 else circle(second, third, angle)
        if params.radius < 1:
            z = around(first, z, params.radius)
        kind, labels = kind_at(space, keys[0], params, i)
        return Drawn(space.point(z, kind), kind, {"frame": i} | about | labels)

    return course


def kind_at(space: Space, key: Key, params: WalkParams, frame: int) -> tuple[Tensor | None, dict[str, Any]]:
    """Classes of a frame on a course without keys: the first key's, or all of `classes` evenly over the film."""
    names = params.classes or (key.label,)
    at, t = latent.place(frame, params.frames, max(2, len(names)), loop=params.loop)
    return blended(space, names[at % len(names)], names[(at + 1) % len(names)], t)


def along(space: Space, keys: Sequence[Key], params: WalkParams, where: str) -> Course:
    """To and fro about the first key along a direction; an open film leads from one end to the other."""
    assert params.direction is not None
    step = directions(space, params.method).step(params.direction, where)
    centre = point_of(space, keys[0])
    easing = latent.EASINGS[params.easing or "smooth"]

    def course(i: int) -> Drawn:
        offset = params.strength * swing(i, params.frames, easing, loop=params.loop)
        kind, labels = kind_at(space, keys[0], params, i)
        about = {"frame": i, "direction": params.direction, "offset": round(offset, 6)}
        return Drawn(centre + offset * step, kind, about | keys[0].meta | labels)

    return course


def swing(frame: int, frames: int, easing: Callable[[float], float], *, loop: bool) -> float:
    """Where a frame is between the ends of a direction, -1 and 1: a loop begins in the middle and returns, an open film leads across."""
    if loop:
        return math.sin(angle_of(frame, frames))
    return 2 * easing(frame / max(1, frames - 1)) - 1


# style mixing


def mixed(space: Space, course: Course, key: Key, params: WalkParams, where: str) -> Course:
    """A course whose styles only some layers follow (Karras et al. 2019, section 3.1); the others keep one.

    Raises:
        UsageError: if the model has no such layer.
    """
    assert params.mix_layers is not None
    first, last = params.mix_layers
    if last >= space.layers:
        raise UsageError(f"{where}.mix_layers: there is no layer {last}: the model has {space.layers}, from 0", "0 is the coarsest")
    kind = space.kind(key.label)
    kept = point_of(space, key) if params.mix_seed is None else space.point(space.drawn(params.mix_seed), kind)
    about = {"mix_seed": params.mix_seed} if params.mix_seed is not None else {}

    def mixing(i: int) -> Drawn:
        drawn = course(i)
        styles = kept.repeat(space.layers, 1)
        styles[first : last + 1] = drawn.point
        return Drawn(styles, drawn.kind, drawn.meta | about)

    return mixing
