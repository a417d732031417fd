"""The sound of a film: there, in time, cut or padded, and refused where it cannot be."""

from __future__ import annotations

import wave
from pathlib import Path

import av
import numpy as np
import pytest

from genart import Batch, DataError, Images
from genart.params import ParamProblem, resolve
from genart.testing import run_stage
from genart_video import AssembleParams, assemble

from .test_assemble import film, smooth


def beep(path: Path, seconds: float, rate: int = 22_050) -> str:
    """A mono WAV of a 440 Hz tone."""
    tone = (12_000 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(tone.tobytes())
    return str(path)


def heard(path: Path) -> tuple[np.ndarray, float, str]:
    """Samples of the left channel, their rate, and the codec."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        frames = [(frame.format.is_planar, frame.to_ndarray()) for frame in container.decode(stream)]
        samples = np.concatenate([data[0] if planar else data[0, ::2] for planar, data in frames])
        samples = samples.astype(np.float64) / (32768 if samples.dtype == np.int16 else 1)
        return samples, stream.rate, stream.codec_context.name


@pytest.mark.parametrize(("name", "codec"), [("mp4", "aac"), ("webm", "opus"), ("mov", "pcm_s16le")])
def test_a_sound_goes_with_the_film(tmp_path: Path, name: str, codec: str) -> None:
    path = film(tmp_path, smooth(20), fps=20, format=name, audio=beep(tmp_path / "a.wav", 3)).path
    samples, rate, found = heard(path)
    assert found.startswith(codec) or found == "lib" + codec
    assert len(samples) / rate == pytest.approx(1.0, abs=0.06)  # cut to the film's second
    middle = samples[round(0.3 * rate) : round(0.7 * rate)]
    spectrum = np.abs(np.fft.rfft(middle))
    assert np.argmax(spectrum) * rate / len(middle) == pytest.approx(440, abs=5)
    again = film(tmp_path / "b", smooth(20), fps=20, format=name, audio=str(tmp_path / "a.wav")).path
    assert again.read_bytes() == path.read_bytes()


def test_a_sound_shorter_than_the_film_ends_in_silence_and_a_warning(tmp_path: Path) -> None:
    told: list[str] = []

    def observe(record: dict) -> None:
        if record["event"] == "warning":
            told.append(record["message"])

    images = Images.from_batches([Batch.from_array(smooth(30))], 15)
    video = run_stage(assemble, images, work=tmp_path / "w", audio=beep(tmp_path / "short.wav", 0.5), observer=observe)["output"]
    samples, rate, _ = heard(video.path)
    assert len(samples) / rate == pytest.approx(2.0, abs=0.06)
    assert np.abs(samples[: round(0.4 * rate)]).max() > 0.2
    assert np.abs(samples[round(0.7 * rate) :]).max() < 0.01
    assert told == ["the sound short.wav lasts 0.5 s, the film 2.0 s: it ends in silence"]


@pytest.mark.parametrize("content", [b"", b"not a sound", b"#EXTM3U\n#EXTINF:1,\n/etc/hostname\n", b"RIFF\x00\x00\x00\x00WAVE"])
def test_what_is_no_sound(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.wav").write_bytes(content)
    with pytest.raises(DataError, match=r"x\.wav") as caught:
        film(tmp_path / "w", smooth(4), audio=str(tmp_path / "x.wav"))
    assert caught.value.exit_code == 3
    assert "WAV" in str(caught.value.hint)
    assert str(tmp_path) not in str(caught.value)


def test_a_film_without_sound_is_no_sound(tmp_path: Path) -> None:
    silent = film(tmp_path / "a", smooth(4)).path
    with pytest.raises(DataError, match="there is no sound in"):
        film(tmp_path / "b", smooth(4), audio=str(silent))


@pytest.mark.parametrize("name", ["gif", "webp", "apng"])
def test_animations_have_no_sound(name: str) -> None:
    with pytest.raises(ParamProblem, match="has no sound") as caught:
        resolve(AssembleParams, "video.assemble", {"format": name, "audio": "a.wav"})
    assert caught.value.name == "audio"
