import wave

import numpy as np
import pytest

from genart_latent import latent_audio

from .toys import draw, metas

RATE = 22_050
STEADY = {"onsets": 0.0, "chroma": 0.0, "bands": 0.0}


def song(path, seconds=2.0, beat=None, hz=(440.0,)):
    """Tones one after another, or a beat at a moment."""
    time = np.arange(int(seconds * RATE)) / RATE
    part = np.minimum((time / seconds * len(hz)).astype(int), len(hz) - 1)
    samples = 0.5 * np.sin(2 * np.pi * np.asarray(hz)[part] * time)
    if beat is not None:
        samples *= (time >= beat) & (time < beat + 0.1)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return str(path)


def changes(film):
    array = film.array().astype(int)
    return np.abs(np.diff(array, axis=0)).mean((1, 2, 3))


def test_a_film_is_as_long_as_its_sound(tmp_path):
    film = draw(tmp_path, latent_audio, path=song(tmp_path / "a.wav", 2.5), fps=12)
    assert (film.count, film.fps) == (30, 12)
    assert metas(film)[6]["time_sec"] == 0.5


def test_a_beat_moves_the_film(tmp_path):
    film = draw(tmp_path, latent_audio, path=song(tmp_path / "a.wav", beat=1.0), fps=20, **STEADY | {"onsets": 1.0, "pace": 1.0})
    moved = changes(film)
    assert moved[:17].max() == 0
    assert moved[18:24].max() > 1


def test_pitches_colour_the_film(tmp_path):
    film = draw(tmp_path, latent_audio, path=song(tmp_path / "a.wav", hz=(440.0, 523.25)), fps=20, **STEADY | {"chroma": 1.0, "pace": 0.0})
    moved = changes(film)
    assert moved[15:25].max() > 5 * moved[5:10].max() + 0.5


def test_loudness_sways_the_film(tmp_path):
    film = draw(tmp_path, latent_audio, path=song(tmp_path / "a.wav", beat=1.0), fps=20, **STEADY | {"bands": 1.0, "pace": 0.0})
    assert changes(film)[15:30].max() > 1
    still = draw(tmp_path, latent_audio, path=song(tmp_path / "a.wav", beat=1.0), fps=20, **STEADY | {"pace": 0.0})
    assert changes(still).max() == 0


@pytest.mark.parametrize("kind", ["plain", "kinds", "styled"])
def test_every_family_follows_a_sound_and_goes_on_where_it_stopped(tmp_path, kind):
    path = song(tmp_path / "a.wav", hz=(330.0, 440.0, 550.0))
    whole, rest = (draw(tmp_path, latent_audio, kind, path=path, fps=10, start=start) for start in (0, 7))
    assert (whole.array()[7:] == rest.array()).all()
    assert metas(whole)[7:] == metas(rest)
    assert changes(whole).max() > 0.5


def test_a_film_may_be_longer_than_its_sound(tmp_path):
    film = draw(tmp_path, latent_audio, path=song(tmp_path / "a.wav", 1.0), fps=10, frames=25)
    assert film.count == 25
