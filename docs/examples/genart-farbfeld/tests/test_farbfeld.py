import struct
import subprocess
import sys

import av
import genart_farbfeld
import numpy as np
from genart_farbfeld.film import WRITER
from genart_farbfeld.picture import READER

from genart.testing import check_reader, check_writer

#: Two rows of three pixels.
PIXELS = np.arange(24, dtype=np.uint8).reshape(2, 3, 4) * 11
FILE = b"farbfeld" + struct.pack(">II", 3, 2) + (PIXELS.astype(">u2") * 257).tobytes()


def test_it_reads_what_the_format_says(tmp_path):
    check_reader(genart_farbfeld.genart_readers()["farbfeld"], READER, FILE, PIXELS)


def test_it_writes_frame_after_frame(tmp_path):
    check_writer(WRITER, tmp_path / "film.y4m")


def test_a_player_sees_the_frames(tmp_path):
    frames = [np.full((48, 64, 3), colour, np.uint8) for colour in ((255, 0, 0), (0, 128, 255), (250, 250, 250))]
    WRITER.write(iter(frames), tmp_path / "film.y4m", 12.5, None)
    with av.open(str(tmp_path / "film.y4m")) as film:
        assert film.streams.video[0].average_rate == 12.5
        shown = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    assert len(shown) == 3
    for made, seen in zip(frames, shown, strict=True):
        assert np.abs(made.astype(int) - seen).max() <= 3


RECIPE = """
[recipe]
name = "plain"

[[stage]]
uses = "images.folder"
path = "pictures"

[[stage]]
uses = "video.assemble"
save = "film.y4m"
"""


def test_a_recipe_goes_from_one_to_the_other(genart_home):
    (genart_home / "pictures").mkdir()
    (genart_home / "pictures" / "one.ff").write_bytes(FILE)
    (genart_home / "pictures" / "two.ff").write_bytes(FILE[:-1])
    (genart_home / "r.toml").write_text(RECIPE)
    ran = subprocess.run(
        [sys.executable, "-m", "genart", "run", str(genart_home / "r.toml"), "--out", "out"], capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    assert "two.ff" in ran.stderr
    assert "ends early" in ran.stderr
    with open("out/film.y4m", "rb") as file:
        assert file.readline().startswith(b"YUV4MPEG2 W3 H2 F24:1 ")
