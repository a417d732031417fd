import contextlib
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from genart.artifacts import Batch, Images
from genart.events import Events
from genart.nn import ema, losses
from genart.nn.data import Pictures, RealBatch
from genart.nn.efficientnet import efficientnet_lite0
from genart.nn.family import Setup
from genart.nn.players import Penalties, Players, Rules
from genart.nn.rebuild import BESIDE, rebuild
from genart.params import resolve
from genart.run import Checkpoints, Run
from genart.testing import tiny_images
from genart_projected import projected_train, train
from genart_projected.features import Frozen
from genart_projected.networks import Discriminator, Generator
from genart_projected.train import Projected, ProjectedGame
from tests import trainings
from tests.trainings import Killed, at_step, bytes_of, kill

from .backbone import Small, load

#: 20 steps; the small network sees pictures at three scales.
TINY = {"width": 4, "batch_size": 8, "kimg": 0.16, "precision": "fp32", "evaluations": 0, "features_px": 64, "augment": "none"}


def attempt(work, given=None, *, backbone=load, **options):
    """Train in `work`; returns the model."""
    return trainings.attempt(projected_train, work, given, backbone=backbone, **{**TINY, **options})[0]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Bytes of an uninterrupted training."""
    work = tmp_path_factory.mktemp("whole")
    attempt(work)
    return bytes_of(work)


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def game_on(device="cpu", backbone=None):
    frozen = Frozen(backbone or Small(device), 64, device)
    torch.manual_seed(0)
    D = Discriminator(frozen.channels, frozen.sizes, [8] * len(frozen.sizes))
    return ProjectedGame(Generator(16, 4, 8), D, losses.named("hinge"), Penalties(), frozen)


def test_a_training_gives_a_model_that_can_be_rebuilt(tmp_path):
    model = attempt(tmp_path)
    assert model.family == "projected"
    assert model.header["trained"]["nimg"] == 160
    G = rebuild(Generator, model, "cpu")
    assert G(torch.randn(3, model.header["z_dim"])).shape == (3, 3, 16, 16)


def test_the_model_holds_the_projections_that_D_learned_to_read_but_not_the_frozen_network(tmp_path):
    names = set(load_file(attempt(tmp_path).path))
    assert {f"{BESIDE}projection.{name}" for name in ("channels0", "channels1", "channels2", "scales0", "scales1")} <= names
    assert not [name for name in names if "backbone" in name or "frozen" in name or name.endswith(Small.layers)]


@pytest.mark.parametrize(("augment", "mirror"), [("none", False), ("none", True), ("always", False), ("adaptive", True)])
def test_after_kills_the_same_command_gives_the_same_bytes(tmp_path, monkeypatch, augment, mirror):
    """What is remembered of real pictures is forgotten in between."""
    options = {"augment": augment, "mirror": mirror}
    attempt(tmp_path / "whole", **options)
    turns = []
    monkeypatch.setattr(Checkpoints, "due", lambda self: turns.append(1) or len(turns) % 3 == 0)
    for step in (5, 9):
        with monkeypatch.context() as patch:
            at_step(patch, step, kill)
            with pytest.raises(Killed):
                attempt(tmp_path / "killed", **options)
    attempt(tmp_path / "killed", **options)
    assert bytes_of(tmp_path / "killed") == bytes_of(tmp_path / "whole")


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path, whole):
    attempt(tmp_path / "a")
    attempt(tmp_path / "b", seed=1)
    assert bytes_of(tmp_path / "a") == whole
    assert bytes_of(tmp_path / "b")[0] != whole[0]


def test_with_the_real_network_in_mixed_precision_a_resume_gives_the_same_bytes(tmp_path, monkeypatch):
    options = {"backbone": lambda name, device: efficientnet_lite0(device)}
    settings = {"precision": "bf16", "kimg": 0.064, "features_px": 32}
    attempt(tmp_path / "whole", **options, **settings)
    monkeypatch.setattr(Checkpoints, "due", lambda self: True)
    with monkeypatch.context() as patch:
        at_step(patch, 5, kill)
        with pytest.raises(Killed):
            attempt(tmp_path / "killed", **options, **settings)
    attempt(tmp_path / "killed", **options, **settings)
    assert bytes_of(tmp_path / "killed") == bytes_of(tmp_path / "whole")


def test_classes(tmp_path):
    pictures = tiny_images(12).array()
    batch = Batch(torch.from_numpy(pictures).permute(0, 3, 1, 2) / 255, [{"label": "ab"[i % 2]} for i in range(12)])
    model = attempt(tmp_path, Images.from_batches([batch]))
    assert model.header["classes"] == ["a", "b"]
    G = rebuild(Generator, model, "cpu")
    z = torch.randn(1, model.header["z_dim"], generator=torch.Generator().manual_seed(0)).expand(2, -1)
    assert not torch.equal(*G(z, torch.tensor([0, 1])))


def test_going_on_from_a_model_with_another_seed_takes_its_projections_over(tmp_path, whole):
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "model.safetensors").write_bytes(whole[0])
    first = load_file(tmp_path / "first" / "model.safetensors")
    second = load_file(attempt(tmp_path / "second", seed=5, init=str(tmp_path / "first" / "model.safetensors")).path)
    fresh = load_file(attempt(tmp_path / "third", seed=5).path)
    name = f"{BESIDE}projection.scales0"
    assert torch.equal(second[name], first[name])
    assert not torch.equal(second[name], fresh[name])


def test_both_players_share_one_look_and_the_frozen_network_learns_nothing():
    game, looks = game_on(), []
    game.frozen.backbone.register_forward_hook(lambda *args: looks.append(1))
    players = Players(game, Rules(batch_size=4), "cpu")
    before = {name: value.clone() for name, value in game.frozen.backbone.state_dict().items()}
    projection = {name: value.clone() for name, value in game.projection.state_dict().items()}
    players.step(0, RealBatch(noise(4, 3, 16, 16)), torch.randn(4, 8), torch.Generator())
    assert len(looks) == 2, "one at generated pictures, one at real ones"
    assert all(torch.equal(value, before[name]) for name, value in game.frozen.backbone.state_dict().items())
    assert all(torch.equal(value, projection[name]) for name, value in game.projection.state_dict().items())
    assert players.D.projection is game.projection


def test_loss_of_both_is_the_mean_over_scales_of_the_hinge():
    game = game_on()
    seen = game.see((noise(4, 3, 16, 16),))
    answers = game.judge(seen, None)
    assert [tuple(answer.shape) for answer in answers] == [(4, 4, 4)] * 3
    loss = torch.stack([game.loss.G(answer, answer) for answer in answers]).mean()
    torch.testing.assert_close(loss, -torch.stack([answer.mean() for answer in answers]).mean())


def setup_of(tmp_path, count, kimg, **params):
    given = resolve(projected_train.params, "projected.train", {**TINY, **params})
    array = np.random.default_rng(0).integers(0, 256, (count, 16, 16, 3), np.uint8)
    run = Run(stage_id="train", seed=0, device="cpu", work=tmp_path, events=Events(), backbone=load)
    plan = {"width": 4, "z_dim": 8, "batch_size": 8, "precision": "fp32", "total_nimg": kimg * 1000, "penalty_every": 1}
    return Setup(given, run, Pictures(array, run.generator, mirror=given.mirror), plan)


@pytest.mark.parametrize(
    ("count", "kimg", "params", "memory", "remembers"),
    [
        (100, 1, {}, train.MEMORY, True),
        (300, 1, {}, train.MEMORY, False),  # each picture would be used three times only
        (200, 1, {"mirror": True}, train.MEMORY, False),
        (100, 1, {}, 100, False),  # no room
    ],
    ids=["often", "seldom", "mirrored", "large"],
)
def test_features_are_remembered_where_that_pays_and_fits(tmp_path, monkeypatch, count, kimg, params, memory, remembers):
    monkeypatch.setattr(train, "MEMORY", memory)
    game = Projected().trainer(setup_of(tmp_path, count, kimg, **params)).game
    assert (game.remembered is not None) == remembers


def test_remembered_features_are_those_of_the_pictures_and_augmented_ones_are_looked_at(tmp_path):
    setup = setup_of(tmp_path, 20, 1, mirror=True)
    game = Projected().trainer(setup).game
    batch = setup.pictures.batch(0, 0, 8)
    found, expected = game.see_real((batch.images,), batch.versions), game.see((batch.images,))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)
    changed = game.see_real((batch.images * 0.5,), None)
    assert not torch.allclose(changed[0], found[0])


def test_a_training_step_stays_on_the_device(monkeypatch):
    monkeypatch.setattr(Players, "autocast", lambda self: contextlib.nullcontext())  # there is none for the meta device
    players = Players(game_on("meta", efficientnet_lite0("meta")), Rules(batch_size=4), "meta")
    told = players.step(0, RealBatch(torch.randn(4, 3, 16, 16, device="meta")), torch.randn(4, 8, device="meta"), torch.Generator())
    ema.update(players.G_ema, players.G, 0.5)
    everything = [told, *players.G_ema.parameters(), *players.D.parameters(), *players.D.buffers(), *players.game.frozen.backbone.buffers()]
    assert {tensor.device.type for tensor in everything} == {"meta"}


def test_a_budget_chooses_and_remembers(tmp_path):
    model = attempt(tmp_path, kimg=None, width=None, budget="2s")
    plan = json.loads((tmp_path / "choices.json").read_text())["plan"]
    assert plan["width"] in Projected.widths["cpu"]
    assert model.header["trained"]["width"] == plan["width"]
