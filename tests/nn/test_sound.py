import tracemalloc
import wave

import numpy as np
import pytest

from genart.errors import DataError
from genart.nn import sound


def write(path, samples, rate=44_100, channels=1):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((np.clip(np.repeat(samples, channels), -1, 1) * 32767).astype("<i2").tobytes())
    return path


def tone(hz, seconds, rate=44_100):
    return 0.5 * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate)) / rate)


@pytest.mark.parametrize(("rate", "channels"), [(44_100, 1), (48_000, 2), (8_000, 1)])
def test_a_sound_keeps_its_length_at_any_rate(tmp_path, rate, channels):
    samples = sound.read_samples(write(tmp_path / "a.wav", tone(440, 1.5, rate), rate, channels))
    assert samples.dtype == np.float32
    assert len(samples) / sound.RATE == pytest.approx(1.5, abs=0.01)
    assert float(np.abs(samples).max()) == pytest.approx(0.6, abs=0.15)  # two channels are added at equal power


@pytest.mark.parametrize(("hz", "pitch"), [(261.63, 0), (440.0, 9), (987.77, 11)])
def test_chroma_tells_the_pitch(tmp_path, hz, pitch):
    heard = sound.listen(sound.read_samples(write(tmp_path / "a.wav", tone(hz, 1))))
    middle = heard.chroma[len(heard.chroma) // 2]
    assert int(middle.argmax()) == pitch
    assert float(np.linalg.norm(middle)) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(("hz", "band"), [(80, 0), (800, 1), (6000, 2)])
def test_bands_tell_low_from_high(tmp_path, hz, band):
    samples = np.concatenate([np.zeros(44_100), tone(hz, 1)])
    heard = sound.listen(sound.read_samples(write(tmp_path / "a.wav", samples)))
    late, early = heard.bands[heard.times > 1.3].mean(0), heard.bands[heard.times < 0.7].mean(0)
    assert late[band] > 0.9
    assert early[band] < 0.1


def test_onsets_are_where_notes_begin(tmp_path):
    beats = np.zeros(3 * 44_100)
    for second in (0.5, 1.25, 2.0):
        at = int(second * 44_100)
        beats[at : at + 13_230] = tone(660, 0.3) * np.exp(-np.arange(13_230) / 3000)
    heard = sound.listen(sound.read_samples(write(tmp_path / "a.wav", beats)))
    loud = heard.times[heard.onsets > 0.5]
    assert all(min(abs(loud - second)) < 0.06 for second in (0.5, 1.25, 2.0))
    assert all(min(abs(time - np.array([0.5, 1.25, 2.0]))) < 0.06 for time in loud)


def test_silence_has_no_onsets_and_no_pitch(tmp_path):
    heard = sound.listen(sound.read_samples(write(tmp_path / "a.wav", np.zeros(44_100))))
    assert not heard.onsets.any()
    assert not heard.chroma.any()
    assert np.isfinite(heard.bands).all()


@pytest.mark.parametrize("block", [1, 7, 1024])
def test_curves_do_not_depend_on_how_many_windows_are_held(monkeypatch, block):
    samples = np.random.default_rng(0).normal(0, 0.1, 40 * sound.WINDOW) * np.abs(np.sin(np.arange(40 * sound.WINDOW) / 5000))
    monkeypatch.setattr(sound, "BLOCK", 1 << 20)
    whole = sound.listen(samples.astype(np.float32))
    monkeypatch.setattr(sound, "BLOCK", block)
    heard = sound.listen(samples.astype(np.float32))
    for name in ("times", "onsets", "chroma", "bands"):
        np.testing.assert_allclose(getattr(heard, name), getattr(whole, name), atol=1e-5)


def test_a_long_sound_takes_little_beside_its_samples(monkeypatch):
    """Of the spectra of a minute, 10 MB, few are held."""
    monkeypatch.setattr(sound, "BLOCK", 64)
    samples = np.random.default_rng(0).normal(0, 0.1, 60 * sound.RATE).astype(np.float32)
    tracemalloc.start()
    try:
        sound.listen(samples)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 6 << 20


def test_curves_are_read_at_any_time_and_smoothed():
    curve = np.zeros((200, 1))
    curve[100] = 1
    smooth = sound.smoothed_over(curve, 0.1)
    assert smooth.shape == curve.shape
    assert float(smooth.sum()) == pytest.approx(1)
    assert int(smooth.argmax()) == 100
    assert (sound.smoothed_over(curve, 0) == curve).all()
    assert sound.at_times(np.array([[0.0], [2.0]]), np.array([0.0, 1.0]), np.array([-1.0, 0.25, 9.0])).ravel().tolist() == [0, 0.5, 2]


def test_what_is_no_sound_is_told(tmp_path):
    (tmp_path / "text.mp3").write_text("no sound")
    with pytest.raises(DataError, match=r"text\.mp3: this sound cannot be read"):
        sound.read_samples(tmp_path / "text.mp3")
    with pytest.raises(DataError, match="too short"):
        sound.read_samples(write(tmp_path / "short.wav", tone(440, 0.05)))
    whole = write(tmp_path / "whole.wav", tone(440, 2)).read_bytes()
    (tmp_path / "half.wav").write_bytes(whole[: len(whole) // 2])
    assert len(sound.read_samples(tmp_path / "half.wav")) / sound.RATE == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(
    "content",
    ["ffconcat version 1.0\nfile secret.wav\n", "#EXTM3U\n#EXTINF:1,\nsecret.wav\n#EXT-X-ENDLIST\n"],
    ids=["a list of FFmpeg's", "a playlist"],
)
def test_a_list_leads_to_no_other_file(tmp_path, content):
    write(tmp_path / "secret.wav", tone(440, 1))
    (tmp_path / "song.mp3").write_text(content)
    with pytest.raises(DataError, match=r"song\.mp3: this sound cannot be read"):
        sound.read_samples(tmp_path / "song.mp3")
