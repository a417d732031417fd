"""Montage, fades, titles, rates and transparency, seen in the frames that `video.frames` gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genart import Batch, DataError, Images
from genart.artifacts import JoinedImages
from genart.testing import run_stage
from genart_video import make_frames
from genart_video.caption import FIELD, _show, render

from .test_assemble import smooth


def flat(*levels: int, fps: float | None = 10, size: tuple[int, int] = (16, 16)) -> Images:
    """Grey pictures of one level each."""
    pictures = np.broadcast_to(np.array(levels, np.uint8)[:, None, None, None], (len(levels), *size, 3))
    return Images.from_batches([Batch.from_array(pictures.copy()[i : i + 2]) for i in range(0, len(levels), 2)], fps)


def shown(given: Images, work: Path, **params: object) -> tuple[np.ndarray, Images]:
    """All frames, (N, H, W, C), and the artifact."""
    made = run_stage(make_frames, given, work=work, **params)["output"]
    assert isinstance(made, Images)
    return made.array(), made


def levels(array: np.ndarray) -> list[int]:
    return [round(float(frame.mean())) for frame in array]


def test_frames_are_what_a_film_shows(tmp_path: Path) -> None:
    pictures = smooth(5)
    array, made = shown(Images.from_batches([Batch.from_array(pictures, [{"seed": i} for i in range(5)])], 12), tmp_path)
    assert np.array_equal(array, pictures)
    assert made.fps == 12
    assert [meta["seed"] for batch in made for meta in batch.meta] == [0, 1, 2, 3, 4]


def test_fps_drops_and_repeats_by_time(tmp_path: Path) -> None:
    film = flat(0, 40, 80, 120, 160, 200)
    assert levels(shown(film, tmp_path / "a", fps=5)[0]) == [0, 80, 160]
    assert levels(shown(film, tmp_path / "b", fps=20)[0]) == [0, 0, 40, 40, 80, 80, 120, 120, 160, 160, 200, 200]
    assert levels(shown(film, tmp_path / "c", speed=3)[0]) == [0, 120]
    pictures = flat(0, 40, 80, fps=None)
    array, made = shown(pictures, tmp_path / "d", fps=5)
    assert (levels(array), made.fps) == ([0, 40, 80], 5)


@pytest.mark.parametrize("ping_pong", [False, True])
@pytest.mark.parametrize("hold", [{}, {"hold": "0.5s"}])
def test_a_timelapse_of_any_length_lasts_as_long_as_asked(tmp_path: Path, hold: dict, ping_pong: bool) -> None:
    found = levels(shown(flat(*range(200)), tmp_path, seconds=2, ping_pong=ping_pong, **hold)[0])
    assert len(found) == 20
    assert found[0] == 0
    assert found.count(199) == (5 if hold else 1)
    assert (found[-1] == 199) != ping_pong


@pytest.mark.parametrize("hold", [{}, {"hold": "0.5s"}])
def test_a_timelapse_that_fades_into_its_beginning_lasts_as_long_as_asked(tmp_path: Path, hold: dict) -> None:
    assert len(shown(flat(*range(200)), tmp_path, seconds=2, loop_fade="0.3s", **hold)[0]) == 20


def test_a_hold_longer_than_the_film_leaves_one_picture(tmp_path: Path) -> None:
    assert levels(shown(flat(*range(9)), tmp_path, seconds=0.2, hold="0.5s")[0]) == [0] * 5


def test_crossfades_follow_each_part_at_its_own_rate(tmp_path: Path) -> None:
    parts = JoinedImages([flat(*[0] * 6), flat(*[100] * 12, fps=20)])
    array, _ = shown(parts, tmp_path, crossfade="0.3s")
    assert levels(array) == [0, 0, 0, 25, 50, 75, 100, 100, 100]


def test_loop_fade_mixes_the_end_into_the_beginning(tmp_path: Path) -> None:
    array, _ = shown(flat(*[0] * 4, *[90] * 4), tmp_path, loop_fade="0.2s")
    assert levels(array) == [60, 30, 0, 0, 90, 90]


def test_a_crossfade_without_parts_is_told(tmp_path: Path) -> None:
    told: list[str] = []

    def observe(record: dict) -> None:
        if record["event"] == "warning":
            told.append(record["message"])

    run_stage(make_frames, flat(0, 1, 2), work=tmp_path, crossfade=0.1, observer=observe)
    assert any("loop_fade" in text for text in told)


def test_beside_shows_several_inputs_at_the_same_time(tmp_path: Path) -> None:
    Image.new("RGB", (16, 16), (250, 250, 250)).save(tmp_path / "still.png")
    made = run_stage(
        make_frames,
        flat(0, 40),
        work=tmp_path / "w",
        sides={"other": flat(100, 110, 120, 130, fps=20)},
        beside=["other", str(tmp_path / "still.png")],
        columns=2,
        gap=4,
        background="#ff0000",
        fps=20,
    )["output"]
    array = made.array()
    assert array.shape == (4, 36, 36, 3)
    assert [int(frame[5, 5, 0]) for frame in array] == [0, 0, 40, 40]
    assert [int(frame[5, 25, 0]) for frame in array] == [100, 110, 120, 130]
    assert (array[:, 25, 5] == 250).all()
    assert (array[:, :, 17] == (255, 0, 0)).all()


def test_beside_fits_pictures_of_another_shape(tmp_path: Path) -> None:
    array = run_stage(make_frames, flat(0), work=tmp_path, sides={"o": flat(200, size=(8, 32))}, beside="o")["output"].array()
    column = array[0, :, 24, 0]
    assert array.shape == (1, 16, 32, 3)
    assert (column == 200).sum() == 4
    assert (column == 255).sum() == 12


def test_beside_names_what_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"beside: x\.png"):
        run_stage(make_frames, flat(0), work=tmp_path / "w", beside=[str(tmp_path / "x.png")])


def test_a_title_stands_on_top_of_each_picture(tmp_path: Path) -> None:
    array = run_stage(
        make_frames, flat(90, size=(64, 96)), work=tmp_path, sides={"o": flat(90, size=(64, 96))}, beside="o", title=["left"]
    )["output"].array()[0]
    changed = (array != 90).any(axis=2)
    assert changed[:20, :96].any()
    assert not changed[20:].any()
    assert not changed[:, 96:].any()
    columns = np.flatnonzero(changed.any(axis=0))
    assert abs(int(columns[0]) + int(columns[-1]) - 95) <= 3  # in the middle


def test_transparency_is_kept_and_blended_as_it_is_seen(tmp_path: Path) -> None:
    clear, red = np.zeros((8, 8, 4), np.uint8), np.zeros((8, 8, 4), np.uint8)
    red[...] = (200, 0, 0, 255)
    film = Images.from_batches([Batch.from_array(np.stack([red] * 3 + [clear] * 3))], 10)
    array, _ = shown(film, tmp_path / "a", loop_fade="0.1s", caption="")
    assert array.shape[3] == 4
    assert array[0, 0, 0].tolist() == [200, 0, 0, 128]  # half seen, not half black
    assert shown(film, tmp_path / "b", background="#0000ff")[0][-1, 0, 0].tolist() == [0, 0, 255]


def test_losses_stand_beside_the_kimg_where_there_is_room(tmp_path: Path) -> None:
    metas = [{"kimg": 0.0, "loss_G": None}, {"kimg": 3.2, "loss_G": 1.25}]
    pictures = np.full((2, 240, 240, 3), 90, np.uint8)
    array, _ = shown(Images.from_batches([Batch.from_array(pictures, metas)]), tmp_path / "a")
    plain, _ = shown(Images.from_batches([Batch.from_array(pictures, [{"kimg": m["kimg"]} for m in metas])]), tmp_path / "b")
    width = [np.flatnonzero((x[1] != 90).any(axis=(0, 2)))[-1] for x in (plain, array)]
    assert width[0] < width[1] < 200


def test_a_loss_that_is_not_there_yet_is_written_with_a_sign_that_the_font_has() -> None:
    field = FIELD.search("{loss_G:.2f}")
    assert field is not None
    missing = render("\U0010ffff", 99, 99)
    assert np.array_equal(missing, render("\ue000", 99, 99)), "signs that the font lacks look alike"
    assert not np.array_equal(render(_show({"loss_G": None}, field, 0), 99, 99), missing)


@pytest.mark.parametrize("params", [{}, {"hold": 1}, {"ping_pong": True}])
def test_no_pictures(tmp_path: Path, params: dict) -> None:
    with pytest.raises(DataError, match="no pictures"):
        shown(Images.from_batches([]), tmp_path, **params)
