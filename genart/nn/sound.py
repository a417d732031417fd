"""What a film can follow in a sound: where notes begin, which pitches sound, and how loud bass, middle and treble are.

PyAV, which films need anyway, decodes and resamples; the rest is a short-time Fourier transform in numpy. A library for music analysis
would bring a compiler and a toolkit for machine learning, for these three curves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import av
import numpy as np

from genart.errors import DataError

#: FFmpeg's readers that a sound may be read with; what a file says of other files or addresses is never followed.
READERS = "wav,w64,aiff,mp3,flac,ogg,aac,caf,au,mov,mp4,m4a,3gp,3g2,mj2,matroska,webm"
CLOSED = {"format_whitelist": READERS, "protocol_whitelist": "", "enable_drefs": "0", "use_absolute_path": "0"}
#: Samples per second that a sound is brought to, samples of a window, and from one window to the next.
RATE, WINDOW, HOP = 22_050, 2048, 512
#: Windows whose spectra are held at a time: those of an hour would take gigabytes.
BLOCK = 1024
#: Longest sound, in seconds: an hour.
LONGEST_SEC = 3600
#: Edges of bass, middle and treble in hertz.
BANDS_HZ = (20.0, 250.0, 2000.0, 10_000.0)
#: Pitches of which the chroma is taken, in hertz; below, a window does not tell semitones apart.
CHROMA_HZ = (110.0, 4200.0)
#: Frequency of C0: pitch class 0 is C.
C0_HZ = 16.3516


@dataclass(frozen=True)
class Sound:
    """Curves of a sound, a value for each window; all within [0, 1].

    Attributes:
        seconds: length of the sound.
        times: (T,), the middle of each window in seconds.
        onsets: (T,), how suddenly the spectrum grows: spectral flux (Bello et al. 2005, section III.A), its 99th percentile at 1.
        chroma: (T, 12), share of each pitch class from C to B, of unit length (Fujishima 1999); 0 in silence.
        bands: (T, 3), loudness of bass, middle and treble between their own 5th and 95th percentiles.
    """

    seconds: float
    times: np.ndarray
    onsets: np.ndarray
    chroma: np.ndarray
    bands: np.ndarray


def read_samples(path: Path) -> np.ndarray:
    """Decode a sound file, or the sound of a film, to one channel: (N,) float32 at `RATE`; at most an hour.

    Raises:
        DataError: if it cannot be read, or holds no sound.
    """
    parts: list[np.ndarray] = []
    count = 0
    try:
        with open(path, "rb") as raw, av.open(raw, "r", container_options=CLOSED, metadata_errors="replace") as file:
            if not file.streams.audio:
                raise DataError(f"{path.name}: there is no sound in this file", "give a sound file, such as WAV, FLAC, MP3 or OGG")
            resampler = av.AudioResampler("flt", "mono", RATE)
            for frame in file.decode(file.streams.audio[0]):
                for part in resampler.resample(frame):
                    parts.append(part.to_ndarray()[0])
                    count += len(parts[-1])
                if count >= LONGEST_SEC * RATE:
                    break
            parts += [part.to_ndarray()[0] for part in resampler.resample(None)]
    except (av.FFmpegError, OSError, ValueError) as error:
        if not parts:
            raise DataError(f"{path.name}: this sound cannot be read ({type(error).__name__})", "give WAV, FLAC, MP3 or OGG") from None
    samples = np.concatenate(parts)[: LONGEST_SEC * RATE] if parts else np.zeros(0, np.float32)
    if len(samples) < WINDOW:
        raise DataError(f"{path.name}: the sound is too short: {len(samples) / RATE:.2g} s", "give at least a tenth of a second")
    np.nan_to_num(samples, copy=False, posinf=0, neginf=0)
    return samples


def listen(samples: np.ndarray) -> Sound:
    """The curves of a sound, (N,) float32 at `RATE`, N at least `WINDOW`."""
    frequencies = np.fft.rfftfreq(WINDOW, 1 / RATE)
    bands = [(frequencies >= a) & (frequencies < b) for a, b in pairwise(BANDS_HZ)]
    flux: list[np.ndarray] = [np.zeros(1)]
    pitches: list[np.ndarray] = []
    loudness: list[np.ndarray] = []
    last = np.empty((0, len(frequencies)), np.float32)
    for power in spectra(samples):
        flux.append(gains(np.concatenate([last, power])))
        pitches.append(chroma(power, frequencies))
        loudness.append(np.stack([power[:, band].sum(1) for band in bands], 1))
        last = power[-1:]
    onsets = np.concatenate(flux)
    top = np.percentile(onsets, 99)
    onsets = np.clip(onsets / top, 0, 1) if top > 0 else np.zeros_like(onsets)
    times = (np.arange(len(onsets)) * HOP + WINDOW / 2) / RATE
    return Sound(len(samples) / RATE, times, onsets, np.concatenate(pitches), stretched(np.log1p(np.concatenate(loudness))))


def spectra(samples: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the power of some windows after others at each frequency: (N,) to (T, WINDOW / 2 + 1) float32, the loudest sound at about 1."""
    windows = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP]
    shape = np.hanning(WINDOW).astype(np.float32)
    for at in range(0, len(windows), BLOCK):
        yield np.abs(np.fft.rfft(windows[at : at + BLOCK] * shape)).astype(np.float32) ** 2 / (WINDOW / 4) ** 2


def gains(power: np.ndarray) -> np.ndarray:
    """Spectral flux: (T, F) to (T - 1,), the sum over frequencies of what the compressed spectrum gains; see `Sound`."""
    spectrum = np.log1p(1000 * np.sqrt(power))
    flux: np.ndarray = np.maximum(np.diff(spectrum, axis=0), 0).sum(1)
    return flux


def chroma(power: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
    """Pitch classes: (T, F) power at frequencies (F,) in hertz to (T, 12); see `Sound`."""
    heard = (frequencies >= CHROMA_HZ[0]) & (frequencies <= CHROMA_HZ[1])
    classes = np.round(12 * np.log2(frequencies[heard] / C0_HZ)).astype(int) % 12
    table = np.eye(12, dtype=np.float32)[classes]
    strength = np.sqrt(power[:, heard]) @ table
    length = np.linalg.norm(strength, axis=1, keepdims=True)
    return np.where(length > 1e-3, strength / np.maximum(length, 1e-3), 0)


def stretched(curves: np.ndarray) -> np.ndarray:
    """Each column's range from its 5th to its 95th percentile brought to [0, 1]: (T, K) to (T, K); a constant one is 0."""
    low, high = np.percentile(curves, [5, 95], axis=0)
    brought: np.ndarray = np.clip((curves - low) / np.maximum(high - low, 1e-6), 0, 1)
    return brought


def smoothed_over(curves: np.ndarray, seconds: float) -> np.ndarray:
    """Columns averaged with a normal window of a standard deviation of so many seconds: (T, K) to (T, K)."""
    sigma = seconds * RATE / HOP
    if sigma <= 0:
        return curves
    reach = min(int(np.ceil(3 * sigma)), len(curves))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    padded = np.pad(curves, ((reach, reach), (0, 0)), mode="edge")
    return np.stack([np.convolve(column, weights / weights.sum(), "valid") for column in padded.T], 1)


def at_times(curves: np.ndarray, times: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Columns (T, K), known at times (T,), read at other times (M,): (M, K)."""
    return np.stack([np.interp(wanted, times, column) for column in curves.T], 1)
