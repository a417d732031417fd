"""Films of every format say what made them, and are made again from that, to the byte."""

from __future__ import annotations

import json
import wave
from pathlib import Path

import numpy as np
import pytest

FORMATS = {
    "film.gif": 'palette = "frame"\nmax_mb = 0.1',
    "film.webp": "loop_fade = 0.1",
    "film.apng": 'title = "cats"',
    "film.mp4": 'audio = "tone.wav"',
    "av1.mp4": 'codec = "av1"',
    "film.webm": 'audio = "tone.wav"\nspeed = 2.0',
    "film.mov": "ping_pong = true",
}
PHOTOS = """
[recipe]
name = "films"
seed = 3
[[stage]]
uses = "images.samples"
id = "photos"
photos = ["cat"]
crop = 48
count = 6
"""


@pytest.fixture
def recipe() -> str:
    tone = np.sin(np.arange(8000) * 0.3) * 9000
    with wave.open("tone.wav", "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(tone.astype("<i2").tobytes())
    stages = [
        f'[[stage]]\nuses = "video.assemble"\nid = "{name}"\nfrom = "photos"\nfps = 12\nsave = "{name}"\n{more}\n'
        for name, more in FORMATS.items()
    ]
    Path("films.toml").write_text(PHOTOS + "".join(stages), encoding="utf-8")
    return "films.toml"


def test_films_are_made_again_to_the_byte(cli, recipe: str) -> None:
    done = cli("run", recipe)
    assert done.code == 0, done.err
    for name, more in FORMATS.items():
        path = Path("out/films") / name
        shown = cli("show", path, "--json")
        assert json.loads(shown.out)["provenance"]["stages"][-1]["uses"] == "video.assemble", shown.err
        sound = ("--input", "tone.wav=tone.wav") if "audio" in more else ()
        again = cli("remake", path, *sound, "--json")
        report = json.loads(again.out.splitlines()[-1])
        assert again.code == 0, (name, again.err, again.out)
        assert (again.code, report["verdict"], report["reasons"]) == (0, "identical", []), name
