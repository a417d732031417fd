import numpy as np
import pytest
import torch
from hypothesis import given as given_that
from hypothesis import settings
from hypothesis import strategies as st
from kornia.color import lab_to_rgb
from PIL import Image

from genart.artifacts import Batch, Images
from genart.errors import DataError
from genart.nn import vgg
from genart.params import ParamProblem, resolve
from genart.testing import run_stage
from genart_style import _transfer
from genart_style._compare import style_compare
from genart_style.compare import Judge, caption, colour_distance, directions, drawn, total_variation
from genart_style.compare import Judged as JudgedPicture
from genart_style.scene import Style

STYLE_LAYERS, CONTENT_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"), ("relu4_2",)
NAMES = {"style", *(f"style_{layer}" for layer in STYLE_LAYERS), "content", "tv", "color_style", "color_content"}


@pytest.fixture(scope="module")
def network():
    return vgg.vgg19()


def waves(height, width, seed=0, channels=3):
    """A smooth picture (H, W, C) uint8, different for each seed."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] * (8 / max(height, width))
    parts = [np.sin(x * a + y * b + c) for a, b, c in rng.uniform(-2, 2, (channels, 3))]
    return ((np.stack(parts, -1) * 0.4 + 0.5) * 255).astype(np.uint8)


def tensor(array):
    return torch.tensor(array).permute(2, 0, 1)[None].float() / 255


def images(*arrays, names=None):
    metas = [{"source": name} for name in names] if names else [{} for _ in arrays]
    return Images.from_batches([Batch.from_array(array[None], [meta]) for array, meta in zip(arrays, metas, strict=True)])


@pytest.fixture
def saved(tmp_path):
    """Write pictures as files: saved("name.png", array) -> path as text."""

    def save(name, array):
        Image.fromarray(array).save(tmp_path / name)
        return str(tmp_path / name)

    return save


@pytest.fixture
def style(saved):
    return saved("style.png", waves(64, 64, seed=5))


@pytest.fixture
def judged(network, tmp_path):
    """Run the stage: judged(given, style=...) -> (the sheet's metadata, events, the sheet)."""

    def run(given, **params):
        events = []
        params = {"resolution": 64, **params}
        work = tmp_path / "work"
        sheet = run_stage(style_compare, given, work=work, backbone=lambda *_: network, observer=events.append, **params)["output"]
        assert len(sheet) == 1
        return sheet[0].meta[0], events, sheet[0].array[0]

    return run


# measures


def test_total_variation_at_its_limits():
    assert total_variation(torch.full((1, 3, 5, 5), 0.3)) == 0
    assert total_variation(torch.linspace(0, 1, 5).expand(1, 3, 5, 5)) == pytest.approx(0.25)
    assert total_variation(torch.tensor([[0.0, 1.0], [1.0, 0.0]]).expand(1, 3, 2, 2)) == 2
    assert total_variation(torch.rand(1, 3, 1, 1)) == 0


@given_that(st.lists(st.floats(-1, 1), min_size=3, max_size=3).filter(lambda v: sum(x * x for x in v) > 0.01))
@settings(max_examples=30, deadline=None)
def test_the_directions_are_spread_evenly(vector):
    axes = directions(64)
    assert torch.allclose(axes.norm(dim=1), torch.ones(64, dtype=torch.float64))
    u = torch.tensor(vector, dtype=torch.float64)
    # over a sphere the mean of |cos| is a half
    assert float((axes @ (u / u.norm())).abs().mean()) == pytest.approx(0.5, abs=0.015)


@given_that(st.floats(-12, 12), st.floats(-12, 12), st.floats(-12, 12))
@settings(max_examples=20, deadline=None)
def test_colours_that_all_move_by_a_vector_are_as_far_as_it_is_long(x, y, z):
    rng = np.random.default_rng(1)
    lab = torch.tensor(rng.uniform([45, -10, -10], [60, 10, 10], (400, 3)), dtype=torch.float32).T.reshape(1, 3, 20, 20)
    moved = lab + torch.tensor([x, y, z]).view(1, 3, 1, 1)
    length = (x * x + y * y + z * z) ** 0.5
    assert colour_distance(lab_to_rgb(lab), lab_to_rgb(moved)) == pytest.approx(length, rel=0.04, abs=0.02)


def test_colour_distance_sees_colours_and_not_places():
    picture = torch.rand(1, 3, 32, 24, generator=torch.Generator().manual_seed(0))
    shuffled = picture.flatten(2)[..., torch.randperm(32 * 24)].view(1, 3, 24, 32)
    assert colour_distance(picture, picture) == 0
    assert colour_distance(picture, shuffled) < 1e-4
    assert colour_distance(picture, torch.cat([picture] * 3, 3)) < 0.5, "nor how large the picture is"
    black, white = torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 300, 500)
    assert colour_distance(black, white) == pytest.approx(100, rel=0.02)
    assert colour_distance(black, picture) == colour_distance(picture, black)


def test_the_errors_are_their_closed_forms(network):
    picture, content, style = (tensor(waves(48, 64, seed)) for seed in (1, 2, 3))
    judge = Judge(network, [Style(style, 1.0, "s")], STYLE_LAYERS, CONTENT_LAYERS, 64)
    found = judge.measure(picture, content)
    ours, theirs = (network(x, [*STYLE_LAYERS, *CONTENT_LAYERS]) for x in (picture, style))

    def gram(features):
        flat = features[0].flatten(1).double().numpy()
        return flat @ flat.T / flat.shape[1]

    errors = []
    for layer in STYLE_LAYERS:
        g, a = gram(ours[layer]), gram(theirs[layer])
        errors.append(np.sum((g - a) ** 2) / np.sum(a**2))
        assert found[f"style_{layer}"] == pytest.approx(errors[-1], rel=1e-3)
    assert found["style"] == pytest.approx(np.mean(errors), rel=1e-3)
    f, p = ours["relu4_2"].double(), network(content, CONTENT_LAYERS)["relu4_2"].double()
    assert found["content"] == pytest.approx(float((f - p).square().sum() / p.square().sum()), rel=1e-3)
    assert set(found) == NAMES


def test_what_is_the_style_and_the_content_has_no_error(network):
    picture, other = tensor(waves(48, 64)), tensor(waves(64, 64, seed=9))
    styles = [Style(picture, 1.0, "own"), Style(other, 0.0, "unused")]
    found = Judge(network, styles, STYLE_LAYERS, CONTENT_LAYERS, 64).measure(picture, picture)
    assert found["style"] < 1e-9
    assert found["content"] < 1e-9
    assert found["color_style"] == found["color_content"] == 0
    assert Judge(network, styles, STYLE_LAYERS, CONTENT_LAYERS, 64).measure(other, picture)["style"] > 0.01


def test_a_blend_is_compared_with_the_blended_gram_matrices(network):
    a, b = tensor(waves(64, 64, 1)), tensor(waves(64, 64, 2))
    layers = ("relu1_1",)

    def error(*shares):
        return Judge(network, [Style(x, s, "") for x, s in zip((a, b), shares, strict=True)], layers, layers, 64).measure(a)["style"]

    assert error(1.0, 0.0) < 1e-9
    assert 0 < error(0.9, 0.1) < error(0.5, 0.5) < error(0.0, 1.0)


# the stage


def test_the_numbers_are_in_the_sheet_and_in_the_events(judged, style, saved):
    given = images(waves(64, 64, 1), waves(64, 64, 2), names=["a.png", "b.png"])
    about, events, sheet = judged(given, style=style, content=saved("content.png", waves(64, 64, 3)))
    metrics = [event for event in events if event["event"] == "metric"]
    assert about["pictures"] == 2
    assert [row["picture"] for row in about["measures"]] == ["a.png", "b.png"]
    for i, (row, metric) in enumerate(zip(about["measures"], metrics, strict=True)):
        assert set(row) == NAMES | {"picture"}
        assert metric["picture"] == i
        assert {name: row[name] for name in NAMES} == {name: metric[name] for name in NAMES}
    assert sheet.shape[1] == 2 * 64 + 3 * 8, "side by side"
    assert np.array_equal(sheet[8:72, 8:72], waves(64, 64, 1)), "a picture of the size at which it is judged is shown as it is"
    assert sheet[72:, :].min() < 100, "text below"


def test_no_picture_depends_on_the_others_or_on_the_order(judged, style):
    arrays = [waves(64, 48, 1), waves(40, 64, 2), waves(64, 64, 3)]
    content = style

    def rows(order):
        about, _, _ = judged(images(*(arrays[i] for i in order), names=[str(i) for i in order]), style=style, content=content)
        return {row["picture"]: row for row in about["measures"]}

    forth = rows([0, 1, 2])
    assert rows([2, 0, 1]) == forth
    assert rows([1])["1"] == forth["1"]


def test_all_are_judged_at_one_size(judged, style):
    small = waves(64, 64, 1)
    large = np.asarray(Image.fromarray(small).resize((256, 256), Image.Resampling.BICUBIC))
    about, _, sheet = judged(images(small, large), style=style)
    a, b = about["measures"]
    assert b["style"] == pytest.approx(a["style"], rel=0.02)
    assert b["tv"] == pytest.approx(a["tv"], rel=0.05)
    assert sheet.shape[1] == 2 * 64 + 3 * 8


def test_without_a_content_there_is_no_content_error(judged):
    about, _, _ = judged(images(waves(64, 64)), style_photos="tissue", columns=3)
    assert set(about["measures"][0]) == NAMES - {"content", "color_content"} | {"picture"}
    assert about["measures"][0]["picture"] == "picture 1"


def test_one_content_for_each(judged, style, saved):
    a, b = waves(64, 64, 1), waves(64, 64, 2)
    paths = [saved("a.png", a), saved("b.png", b)]
    about, _, _ = judged(images(a, b), style=style, content=paths)
    assert [row["content"] < 1e-9 for row in about["measures"]] == [True, True]
    about, _, _ = judged(images(a, b), style=style, content=paths[::-1])
    assert all(row["content"] > 0.01 for row in about["measures"])


def test_the_content_can_be_what_another_stage_gave(judged, style):
    a, b = waves(64, 64, 1), waves(64, 64, 2)
    about, _, _ = judged(images(a, b), style=style, content="before", sides={"before": images(a, b)})
    assert all(row["content"] < 1e-9 for row in about["measures"])


def test_contents_that_do_not_fit(judged, style, saved):
    paths = [saved(f"{i}.png", waves(64, 64, i)) for i in range(2)]
    with pytest.raises(DataError, match=r"style.compare.content: 2 contents for 3 pictures"):
        judged(images(*(waves(64, 64, i) for i in range(3))), style=style, content=paths)
    _, events, _ = judged(images(waves(64, 64)), style=style, content=saved("wide.png", waves(32, 64)))
    assert any("other proportions" in event["message"] for event in events if event["event"] == "warning")
    _, events, _ = judged(images(waves(61, 83)), style=style, content=saved("near.png", waves(122, 167)))
    assert not [event for event in events if event["event"] == "warning" and "proportions" in event["message"]]


def test_transparency_lies_over_white(judged, style):
    picture = np.concatenate([waves(64, 64, 1), np.full((64, 64, 1), 255, np.uint8)], 2)
    picture[:, 32:, 3] = 0
    white = picture[..., :3].copy()
    white[:, 32:] = 255
    a, b = judged(images(picture, white, names="xx"), style=style)[0]["measures"]
    assert a == b


@pytest.mark.parametrize(
    ("given", "params", "message"),
    [
        ([], {}, "there is no picture"),
        ([waves(2, 64)], {}, "picture 1: a picture of 64x2 pixels is 64x2 where all are judged"),
        ([waves(64, 64)], {"style_layers": "relu3_9"}, r"style.compare.style_layers: vgg19 has no layer 'relu3_9'; did you mean"),
        ([waves(64, 64)], {"content_layers": ["relu9_1"]}, r"style.compare.content_layers: vgg19 has no layer 'relu9_1'"),
    ],
)
def test_bad_input_is_named(judged, style, given, params, message, monkeypatch):
    monkeypatch.setattr(_transfer, "BLOCKS", {})  # layers of a plugin's backbone are known when it is loaded
    with pytest.raises(DataError, match=message):
        judged(images(*given), style=style, **params)


@pytest.mark.parametrize("name", ["style_layers", "content_layers"])
def test_unknown_layers_of_our_backbones_are_refused_beforehand(name):
    with pytest.raises(ParamProblem, match=rf"style\.compare\.{name}: vgg19 has no layer 'relu3_9'; did you mean 'relu3_"):
        resolve(style_compare.params, "style.compare", {"style": "a.png", name: "relu3_9"})


def test_a_style_must_be_given_and_be_a_picture(judged, tmp_path):
    with pytest.raises(ParamProblem, match="give a style"):
        judged(images(waves(64, 64)))
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(DataError, match=r"text.png cannot be read"):
        judged(images(waves(64, 64)), style=str(tmp_path / "text.png"))


def test_a_picture_of_one_pixel_is_judged_as_the_flat_picture_that_it_is(judged, style):
    about, _, _ = judged(images(np.full((1, 1, 3), 90, np.uint8), np.full((64, 64, 3), 90, np.uint8), names="xx"), style=style)
    assert about["measures"][0] == about["measures"][1]
    assert about["measures"][0]["tv"] == 0


# films


def frames(count, shimmer=0.0):
    """A texture that drifts by a pixel per frame; with a brightness that changes from frame to frame."""
    wide = waves(64, 96, seed=4).astype(float)
    return [np.clip(wide[:, i : i + 64] + shimmer * (-1) ** i, 0, 255).astype(np.uint8) for i in range(count)]


def test_a_film_that_shimmers_flickers(judged, style):
    still, _, _ = judged(images(*[waves(64, 64)] * 3), style=style, film=True)
    calm, _, _ = judged(images(*frames(4)), style=style, film=True)
    restless, events, _ = judged(images(*frames(4, shimmer=20)), style=style, film=True)
    assert still["flicker"] == pytest.approx(0, abs=1e-6)
    assert calm["flicker"] < 0.03
    assert restless["flicker"] > calm["flicker"] + 0.05
    assert {"event": "metric", "stage": "style.compare", "flicker": restless["flicker"]} in events
    assert "flicker" not in judged(images(*frames(4)), style=style)[0]


def test_the_motion_is_that_of_the_contents(judged, style):
    """Noise that moves with the frames does not flicker, though no flow can be seen in a flat result."""
    shown = frames(3, shimmer=20)
    about, _, _ = judged(images(*shown), style=style, film=True, content="before", sides={"before": images(*frames(3))})
    assert about["flicker"] == pytest.approx(40 / 255, rel=0.2)


# the command line


def test_the_command_line_prints_the_numbers_and_saves_the_sheet(cli, style, saved):
    a, b = (saved(f"{name}.png", waves(64, 64, i)) for i, name in enumerate("ab"))
    arguments = ("apply", "style.compare", "-i", a, "-i", b, "--style", style, "--content", a, "--resolution", "64", "--device", "cpu")
    result = cli(*arguments, "-q")
    assert result.code == 0, result.err
    header, first, second = [line.split() for line in result.out.splitlines()[-3:]]
    assert set(header) == NAMES | {"picture"}
    assert (first[0], second[0]) == ("a.png", "b.png")
    assert float(first[header.index("content")]) < 1e-6 < float(second[header.index("content")])
    again = cli(*arguments, "-q", "-o", "sheet.png")
    assert again.out == result.out, "from the store, the same"
    with Image.open("sheet.png") as sheet:
        assert sheet.width == 2 * 64 + 3 * 8


# the sheet


def test_a_line_that_is_too_long_is_cut(network):
    short, long = drawn(["a"], 200), drawn(["a very long line " * 9], 200)
    assert short.shape == long.shape == (20, 200, 3)
    assert short.min() < 100
    assert long[:, 60:].min() < 100
    assert (drawn([""], 40) == 255).all()
    assert (drawn(["mmm"], 2)[:, 2:] == 255).all()


def test_the_caption_says_the_numbers():
    measures = {"style": 0.0821, "style_relu1_1": 0.05, "style_relu2_1": 0.11, "content": 1.224, "tv": 0.03, "color_style": 4.25}
    lines = caption(JudgedPicture(torch.zeros(1, 3, 8, 8), "a.png", measures))
    assert lines == ["a.png", "style 0.0821   content 1.22   variation 0.03", "layers 0.05  0.11", "colours: from style 4.25"]
