"""Films play in a real browser: length, size, loops, and the right colour at the right time."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.browsers import needs_chromium, told_by

from .test_assemble import film

COLOURS = [(200, 40, 30), (40, 180, 60), (50, 70, 210)]
#: Frames of each colour, at 10 frames per second.
EACH = 5

#: What a page finds in a film, as a player would.
VIDEO = """
const video = document.createElement("video"), canvas = document.createElement("canvas");
const once = (name) => new Promise((done, fail) => {
  video.addEventListener(name, done, { once: true });
  video.onerror = () => fail(video.error.message);
});
const presented = () => new Promise((done) => video.requestVideoFrameCallback((_, frame) => done(frame.mediaTime)));
video.muted = true;
video.src = URL.createObjectURL(await (await fetch("/film")).blob());
await once("loadeddata");
canvas.width = video.videoWidth; canvas.height = video.videoHeight;
const told = { seconds: video.duration, size: [video.videoWidth, video.videoHeight], colours: [] };
for (const at of [0.25, 0.75, 1.25]) {
  let frame = presented();
  video.currentTime = at;
  while (Math.abs((await frame) - at) > 0.11) frame = presented();  // "seeked" may come before the frame can be drawn
  canvas.getContext("2d").drawImage(video, 0, 0);
  told.colours.push([...canvas.getContext("2d").getImageData(8, 8, 1, 1).data].slice(0, 3));
}
const start = once("seeked");
video.currentTime = 0;
await start;
await video.play();
await once("ended");
told.played = video.currentTime;
"""
IMAGE = """
const file = await fetch("/film");
const decoder = new ImageDecoder({ data: await file.arrayBuffer(), type: file.headers.get("Content-Type") });
await decoder.tracks.ready;
await decoder.completed;
const track = decoder.tracks.selectedTrack, canvas = document.createElement("canvas");
const told = { frames: track.frameCount, loops: track.repetitionCount === Infinity, colours: [], seconds: 0 };
for (let i = 0; i < track.frameCount; i++) {
  const { image } = await decoder.decode({ frameIndex: i });
  told.seconds += image.duration / 1e6;
  told.size = [canvas.width, canvas.height] = [image.displayWidth, image.displayHeight];
  canvas.getContext("2d").drawImage(image, 0, 0);
  told.colours.push([...canvas.getContext("2d").getImageData(8, 8, 1, 1).data].slice(0, 3));
}
"""
PAGE = """<!doctype html><title>film</title><script type="module">
const tell = (what) => fetch("/told", { method: "POST", body: JSON.stringify(what) });
try { %s tell(told); } catch (error) { tell({ error: String(error) }); }
</script>"""


def found_in(path: Path, kind: str, script: str) -> dict:
    files = {"/": ("text/html", (PAGE % script).encode()), "/film": (kind, path.read_bytes())}
    return json.loads(told_by(files, path.parent))


def coloured(tmp_path: Path, **params) -> Path:
    pictures = np.concatenate([np.full((EACH, 48, 64, 3), colour, np.uint8) for colour in COLOURS])
    return film(tmp_path, pictures, fps=10, **params).path


@needs_chromium
@pytest.mark.parametrize(
    ("name", "codec", "kind"),
    [("mp4", "h264", "video/mp4"), ("mp4", "av1", "video/mp4"), ("webm", "vp9", "video/webm"), ("webm", "av1", "video/webm")],
)
def test_films_play(tmp_path: Path, name: str, codec: str, kind: str) -> None:
    told = found_in(coloured(tmp_path, format=name, codec=codec), kind, VIDEO)
    assert told["size"] == [64, 48], told
    assert told["seconds"] == pytest.approx(1.5, abs=0.02)
    assert told["played"] == pytest.approx(1.5, abs=0.02)
    assert np.abs(np.subtract(told["colours"], COLOURS)).max() <= 8


@needs_chromium
@pytest.mark.parametrize(("name", "kind"), [("gif", "image/gif"), ("webp", "image/webp"), ("apng", "image/png")])
def test_animations_play_for_ever(tmp_path: Path, name: str, kind: str) -> None:
    told = found_in(coloured(tmp_path, format=name), kind, IMAGE)
    assert (told["size"], told["loops"]) == ([64, 48], True), told
    assert told["seconds"] == pytest.approx(1.5, abs=0.02)
    steps = np.abs(np.diff(told["colours"], axis=0)).max(1)
    changes = np.asarray(told["colours"])[[0, *(np.flatnonzero(steps > 8) + 1)]]
    assert np.abs(np.subtract(changes, COLOURS)).max() <= 8
