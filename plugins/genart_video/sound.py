"""The sound of a film: a file decoded as the film is written, coded anew, cut to its length or followed by silence."""

from __future__ import annotations

from collections.abc import Generator
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np
from av.audio.fifo import AudioFifo
from av.audio.stream import AudioStream
from av.codec.context import Flags
from av.container import OutputContainer

from genart import DataError, Run
from genart.nn.sound import CLOSED

#: Samples per second: what Opus takes, and all other codecs too.
RATE = 48_000
#: Samples written at once where the codec leaves that open.
FRAME = 1024
READ = "it reads WAV, MP3, FLAC, OGG, Opus, AAC, M4A and the sound of films"
#: Difference in seconds that nobody hears and nobody is told of.
TOLERANCE_SEC = 0.05


class Sound:
    """Writes a sound file into a film.

    Args:
        path: the sound file.
        container: the film, in which its pictures have a stream already.
        codec: FFmpeg's name of the encoder.

    Raises:
        DataError: if the file cannot be read or has no sound.
    """

    def __init__(self, path: Path, container: OutputContainer, codec: str) -> None:
        self.path = path
        self._container = container
        if not path.is_file():
            raise DataError(f"audio: {path.name} is not a file", READ)
        self._file = open(path, "rb")  # noqa: SIM115 - closed by __exit__
        try:
            self._samples = self._decoded()
            self._fifo = AudioFifo()
            self._more = True
            self._read()  # tells whether there is any sound at all
        except BaseException:
            self._file.close()
            raise
        self._stream: AudioStream = container.add_stream(codec, rate=RATE, layout="stereo")
        self._stream.codec_context.flags |= Flags.bitexact
        self._written = 0
        self._had = 0

    def __enter__(self) -> Sound:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._samples.close()
        self._file.close()

    def write_until(self, seconds: float) -> None:
        """Write what is heard before a time, in whole frames of the codec."""
        size = self._stream.codec_context.frame_size or FRAME
        while self._written + size <= round(seconds * RATE):
            self._write(size)

    def end(self, run: Run, seconds: float) -> None:
        """Write what is left of a film that lasts so long, and warn if there was silence at its end."""
        self.write_until(seconds)
        rest = round(seconds * RATE) - self._written
        if rest > 0:
            self._write(rest)
        self._container.mux(self._stream.encode(None))
        if self._had < self._written - TOLERANCE_SEC * RATE:
            run.warn(f"the sound {self.path.name} lasts {self._had / RATE:.1f} s, the film {seconds:.1f} s: it ends in silence")

    def _write(self, size: int) -> None:
        while self._more and self._fifo.samples < size:
            self._read()
        frame = self._fifo.read(size, partial=True)
        had = 0 if frame is None else frame.samples
        if frame is None or had < size:
            samples = np.zeros((2, size), np.float32)
            if frame is not None:
                samples[:, :had] = frame.to_ndarray()
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="stereo")
            frame.sample_rate = RATE
        frame.pts, frame.time_base = self._written, Fraction(1, RATE)
        self._had += had
        self._written += size
        self._container.mux(self._stream.encode(frame))

    def _read(self) -> None:
        frame = next(self._samples, None)
        if frame is None:
            self._more = False
        else:
            frame.pts = None
            self._fifo.write(frame)

    def _decoded(self) -> Generator[av.AudioFrame, None, None]:
        """Yield the sound in stereo, 48 kHz; a broken end is left out."""
        resampler = av.AudioResampler(format="fltp", layout="stereo", rate=RATE)
        some = False
        try:
            with av.open(self._file, "r", container_options=CLOSED, metadata_errors="replace") as source:
                if not source.streams.audio:
                    raise DataError(f"audio: there is no sound in {self.path.name}", READ)
                for frame in source.decode(audio=0):
                    for part in resampler.resample(frame):
                        some = True
                        yield part
                yield from resampler.resample(None)
        except (av.FFmpegError, ValueError) as error:
            if not some:
                raise DataError(
                    f"audio: {self.path.name} cannot be read as sound ({getattr(error, 'strerror', None) or 'damaged'})", READ
                ) from error
