"""Declares latent.audio."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

import genart

from ._params import Fps, Seed, TruncationPsi, with_class

Share = Annotated[float, Field(ge=0, le=1)]


class _AudioParams(genart.Params):
    """Parameters of latent.audio."""

    path: Annotated[genart.InputPath, Field(description="A sound file (WAV, FLAC, MP3, OGG, M4A), or a film with sound; at most an hour.")]
    fps: Fps = 24.0
    frames: Annotated[int | None, Field(ge=1, description="Number of frames. Default: as long as the sound.")] = None
    keys: Annotated[int, Field(ge=3, le=10_000, description="Key latents that the film passes through in turn, again and again.")] = 8
    seeds: Annotated[
        tuple[Seed, ...] | None,
        Field(min_length=3, description="Seeds of the key latents, such as latent.sample writes into its pictures."),
    ] = None
    pace: Annotated[float, Field(ge=0, le=60, description="Keys that the film passes per second, on average.")] = 0.5
    onsets: Annotated[Share, Field(description="Share of the motion that the beginnings of notes drive; the rest is steady.")] = 0.8
    chroma: Annotated[Share, Field(description="How much the pitches that sound, from C to B, colour each picture.")] = 0.3
    bands: Annotated[Share, Field(description="How much the loudness of bass, middle and treble sways each picture.")] = 0.3
    smooth: Annotated[float, Field(ge=0, le=60, description="Seconds over which pitches and loudness are averaged.")] = 0.15
    truncation_psi: TruncationPsi = 1.0


class AudioParams(with_class("_AudioParamsWithClass", _AudioParams)):  # type: ignore[misc]
    """Parameters of latent.audio."""


@genart.stage("latent.audio", random=True, pointwise=True, depends=("av",))
def latent_audio(model: genart.Model, params: AudioParams, run: genart.Run) -> Iterator[genart.Batch]:
    """Draw a film that moves through latent space as a sound does.

    The film runs through its keys faster where notes begin; each of the twelve pitch classes draws it towards a latent of its own, and so
    do bass, middle and treble. Frame i shows what is heard at i / fps: a film with the same sound as its track is in time with it.

    Example:
        [[stage]]
        uses = "latent.audio"
        path = "song.mp3"
        fps = 24
    """
    from .audio import film

    yield from film(model, params, run)
