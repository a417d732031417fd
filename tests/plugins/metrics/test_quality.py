import json

import numpy as np
import pytest
import torch
from PIL import Image

from genart.artifacts import Batch, Images
from genart.errors import DataError
from genart.nn import vgg
from genart.nn.pictures import decode, picture_files
from genart.params import ParamProblem
from genart.testing import run_stage, tiny_images
from genart_metrics import metrics_quality
from genart_metrics.quality import covering, spread_over

NUMBERS = {"kid_x1000", "kid_error_x1000", "frechet", "precision", "recall", "density", "coverage", "copies"}


@pytest.fixture(scope="module")
def network():
    return vgg.vgg19()


def blobs(count, seed, size=16, channels=3):
    """Smooth pictures that differ in many numbers: (count, channels, size, size) in [0, 1]."""
    coarse = torch.rand(count, channels, 4, 4, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, size, mode="bilinear")


def images(*tensors, names=False):
    metas = [[{"source": f"{len(t)}-{i}.png"} for i in range(len(t))] if names else None for t in tensors]
    return Images.from_batches([Batch(tensor, meta) for tensor, meta in zip(tensors, metas, strict=True)])


@pytest.fixture
def measured(network, tmp_path):
    """Run the stage: measured(generated, real, ...) -> (metadata of the sheet, events, sheet)."""

    def run(given, real, **params):
        events = []
        sides = {"real": real} if isinstance(real, Images) else {}
        sheet = run_stage(
            metrics_quality,
            given,
            work=tmp_path / "work",
            backbone=lambda *_: network,
            observer=events.append,
            sides=sides,
            real="real" if sides else str(real),
            **params,
        )["output"]
        assert len(sheet) == 1
        return sheet[0].meta[0], events, sheet[0].array[0]

    return run


def test_the_numbers_are_told_in_three_places(measured):
    about, events, sheet = measured(images(blobs(30, 0), names=True), images(blobs(40, 1), names=True))
    assert set(about) >= NUMBERS
    assert (about["pictures"], about["real"], about["features"], about["k"]) == (30, 40, "vgg19", 5)
    told = [event for event in events if event["event"] == "metric"]
    assert len(told) == 1
    assert {name: told[0][name] for name in NUMBERS} == {name: about[name] for name in NUMBERS}
    [note] = [event["message"] for event in events if event["event"] == "note"]
    assert f"precision {about['precision']:.2f}" in note
    json.dumps(about, allow_nan=False)
    assert sheet.shape[2] == 3
    assert sheet.min() < 64, "there is text on it"


def test_fresh_pictures_are_good_and_a_collapse_is_seen(measured):
    real = images(blobs(60, 0))
    good, *_ = measured(images(blobs(60, 1)), real)
    collapsed, *_ = measured(images((blobs(1, 2) + 0.02 * (blobs(60, 3) - 0.5)).clamp(0, 1)), real)
    dark, *_ = measured(images(blobs(60, 4) * 0.2), real)
    assert abs(good["kid_x1000"]) < 4 * good["kid_error_x1000"]
    assert good["copies"] == 0
    assert collapsed["recall"] < 0.2 < good["recall"]
    assert dark["precision"] < 0.2 < good["precision"]
    assert min(collapsed["frechet"], dark["frechet"]) > 2 * good["frechet"]
    assert min(collapsed["kid_x1000"], dark["kid_x1000"]) > 5 * abs(good["kid_x1000"])


def test_copies_come_first_beside_what_they_copy(measured):
    real, fresh = blobs(40, 0), blobs(20, 1)
    fresh[7] = real[31]
    about, _, sheet = measured(images(fresh), images(real))
    assert about["copies"] == pytest.approx(1 / 20)
    assert about["nearest"][0] == {"picture": "picture 8", "real": "picture 32", "closeness": 0.0}
    shares = [pair["closeness"] for pair in about["nearest"]]
    assert shares == sorted(shares)
    assert shares[1] > 0.25
    tile = np.repeat(np.repeat(images(real)[31].array[0], 5, 0), 5, 1)
    [top] = [i for i in range(len(sheet) - 80) if (sheet[i : i + 80, 2:82] == tile).all()]
    assert (sheet[top : top + 80, 84:164] == tile).all(), "at the right of the sample is what it copies"


def test_it_is_the_same_again(measured):
    one, two = (measured(images(blobs(20, 0)), images(blobs(20, 1))) for _ in range(2))
    assert one[0] == two[0]
    assert (one[2] == two[2]).all()


def test_sizes_meet_at_the_smaller_one(measured):
    """A data set of 32 px pictures and a generator of 16 px ones, and the other way round; and pictures of several sizes."""
    small, large = blobs(30, 0), blobs(30, 1, size=32)
    halved = torch.nn.functional.interpolate(large, 16, mode="bilinear", antialias=True)
    reference, *_ = measured(images(small), images(halved))
    about, *_ = measured(images(small), images(large))
    assert about["kid_x1000"] == pytest.approx(reference["kid_x1000"], abs=1)
    turned, *_ = measured(images(large), images(small))
    assert turned["kid_x1000"] == pytest.approx(about["kid_x1000"], abs=1)
    mixed, *_ = measured(images(small[:20], large[:10]), images(large))
    assert mixed["pictures"] == 30


def test_a_wide_picture_is_scaled_and_cropped_in_the_middle():
    array = np.zeros((1, 8, 24, 3), np.uint8)
    array[:, :, 8:16] = 255
    assert (covering(array, (4, 4)).float().mean((0, 1, 2))[1:3] > 250).all()
    assert covering(array, (4, 4)).shape == (1, 3, 4, 4)
    assert (covering(array, (8, 24)).permute(0, 2, 3, 1).numpy() == array).all()
    assert covering(array, (16, 3)).shape == (1, 3, 16, 3)


def test_transparency_is_laid_over_white(measured):
    colours = blobs(12, 0)
    clear = torch.cat([colours, torch.ones(12, 1, 16, 16)], 1)
    clear[:6, 3] = 0
    white = torch.cat([torch.ones(6, 3, 16, 16), colours[6:]])
    real = images(blobs(20, 1))
    assert measured(images(clear), real)[0]["frechet"] == pytest.approx(measured(images(white), real)[0]["frechet"])


def test_many_pictures_are_compared_evenly():
    assert spread_over(10, 4) == [0, 2, 5, 7]
    assert spread_over(3, 4) == [0, 1, 2]


def test_the_count_bounds_both_sides(measured):
    about, *_ = measured(images(blobs(30, 0)), images(blobs(40, 1)), count=12)
    assert (about["pictures"], about["real"]) == (12, 12)


def test_pictures_are_read_as_they_are_looked_at(network, tmp_path, monkeypatch):
    """When the network looks at a batch, none of the next has been read; the pairs of the sheet are read once more."""
    read, looks = [], []

    def open_batches(start, size):
        for i in range(start, 70):
            read.append("gen")
            yield Batch(blobs(70, 0)[i : i + 1], start=i)

    def decoded(*given):
        read.append("real")
        return decode(*given)

    def backbone(pictures, layers):
        looks.append((read.count("real"), read.count("gen") - 1))  # the first tells the size
        return network(pictures, layers)

    (tmp_path / "photos").mkdir()
    for i, array in enumerate(images(blobs(70, 1)).array()):
        Image.fromarray(array).save(tmp_path / "photos" / f"{i}.png")
    monkeypatch.setattr("genart_metrics.quality.decode", decoded)
    given = {"work": tmp_path / "work", "backbone": lambda *_: backbone, "real": str(tmp_path / "photos")}
    run_stage(metrics_quality, Images(open_batches, count=70), **given)
    assert looks == [(32, 0), (64, 0), (70, 0), (70, 32), (70, 64), (70, 70)]
    assert (read.count("real"), read.count("gen") - 1) == (70 + 24, 70 + 24)


def test_a_folder_of_pictures_serves_too(measured, tmp_path):
    folder = tmp_path / "photos"
    (folder / "cats").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    for i, array in enumerate(images(blobs(8, 1, size=24)).array()):
        Image.fromarray(array).save(folder / ("cats" if i % 2 else ".") / f"{i}.png")
    Image.new("RGB", (4, 4)).save(folder / ".hidden" / "x.png")
    (folder / "notes.txt").write_text("no picture")
    (folder / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\nand nothing")
    assert len(picture_files(folder)) == 9
    about, events, _ = measured(images(blobs(10, 0)), folder)
    assert about["real"] == 8
    [warning] = [event["message"] for event in events if event["event"] == "warning" and "skipped" in event["message"]]
    assert "torn.png" in warning
    assert str(tmp_path) not in json.dumps(about)


def test_a_folder_without_pictures_is_refused(measured, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty: no picture in this folder"):
        measured(images(blobs(10, 0)), tmp_path / "empty")
    (tmp_path / "empty" / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\nand nothing")
    with pytest.raises(DataError, match=r"none can be read, such as torn.png"):
        measured(images(blobs(10, 0)), tmp_path / "empty")


def test_too_few_pictures_are_refused_with_what_to_do(measured):
    with pytest.raises(DataError, match="5 generated pictures, and k = 5 needs at least 6") as caught:
        measured(images(blobs(5, 0)), images(blobs(9, 1)))
    assert "smaller `k`" in caught.value.hint
    with pytest.raises(DataError, match="1 training picture, and k = 1 needs at least 3"):
        measured(images(blobs(5, 0)), images(blobs(1, 1)), k=1)
    with pytest.raises(DataError, match="gave no picture"):
        measured(Images.from_batches([]), images(blobs(9, 1)))
    assert measured(images(blobs(4, 0)), images(blobs(4, 1)), k=3)[0]["pictures"] == 4


def test_few_pictures_are_warned_of(measured):
    _, events, _ = measured(images(blobs(10, 0)), images(blobs(10, 1)))
    assert any("10 pictures are few" in event.get("message", "") for event in events)


def test_equal_pictures_are_measured_without_a_stumble(measured):
    one = blobs(1, 0).expand(8, -1, -1, -1)
    about, *_ = measured(images(one), images(one))
    assert (about["copies"], about["recall"]) == (1, 1)
    assert about["frechet"] == pytest.approx(0, abs=1e-6)
    other, *_ = measured(images(blobs(8, 1)), images(one))
    assert (other["copies"], other["precision"]) == (0, 0)
    assert all(np.isfinite(pair["closeness"]) for pair in other["nearest"])


def test_features_without_an_embedding_are_refused(measured):
    with pytest.raises(ParamProblem, match="expected one of vgg19, inception"):
        measured(tiny_images(), tiny_images(), features="vgg16-torchvision")


def test_inception_is_asked_for_its_last_pooling_at_its_own_size(tmp_path):
    asked = []

    def network(pictures, layers):
        asked.append((tuple(pictures.shape[2:]), layers))
        return {"pool3": pictures.mean((2, 3), keepdim=True)}

    def backbone(name, device):
        asked.append((name, device))
        return network

    sides = {"real": images(blobs(12, 1))}
    given = images(blobs(10, 0))
    run_stage(metrics_quality, given, work=tmp_path, backbone=backbone, sides=sides, real="real", features="inception")
    assert asked == [("inception", "cpu"), ((299, 299), ("pool3",)), ((299, 299), ("pool3",))]


RECIPE = """
[[stage]]
uses = "images.samples"
id = "photos"
crop = 16
count = 20

[[stage]]
uses = "images.samples"
id = "fresh"
crop = 16
count = 12

[[stage]]
uses = "metrics.quality"
from = "fresh"
real = "{real}"
save = "quality.png"
"""


def test_a_recipe_names_the_stage_of_the_training_pictures(cli, recipe):
    result = cli("run", recipe(RECIPE.format(real="photos")), "--device", "cpu", "--json", "--out", "out")
    assert result.code == 0, result.err
    [told] = [event for event in result.events if event["event"] == "metric"]
    assert set(told) >= NUMBERS
    again = cli("run", recipe(RECIPE.format(real="photos")), "--device", "cpu", "--json", "--out", "out")
    assert again.made() == []
    wrong = cli("check", recipe(RECIPE.format(real="photo")))
    assert wrong.code == 2
    assert "metrics.quality.real: no such file or folder: photo" in wrong.err
