import contextlib

import pytest
import torch
from safetensors.torch import load_file

from genart.artifacts import Batch, Images
from genart.nn import ema
from genart.nn.data import RealBatch
from genart.nn.rebuild import rebuild
from genart.run import Checkpoints
from genart.testing import tiny_images
from genart_vae import vae_train
from genart_vae.networks import Autoencoder
from genart_vae.train import Autoencoding
from tests import trainings
from tests.trainings import Killed, at_step, bytes_of, kill

TINY = {"width": 4, "z_dim": 8, "batch_size": 8, "kimg": 0.16, "precision": "fp32", "evaluations": 0}  # 20 steps


def attempt(work, given=None, **options):
    """Train in `work`; returns the model."""
    return trainings.attempt(vae_train, work, given, **{**TINY, **options})[0]


def two_classes(count=12):
    array = tiny_images(count).array()
    return Images.from_batches([Batch.from_array(array, [{"label": "day" if i % 2 else "night"} for i in range(count)])])


def new(device="cpu", classes=0, **given):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        G = Autoencoder(16, 4, 8, classes)
    return Autoencoding(G, device, **{"batch_size": 4, "lr": 1e-3, "beta": 1.0, "warm_up_nimg": 0.0, "bfloat16": False} | given)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Bytes of an uninterrupted training."""
    work = tmp_path_factory.mktemp("whole")
    attempt(work)
    return bytes_of(work)


def test_a_training_gives_a_model_that_draws_and_encodes(tmp_path):
    model = attempt(tmp_path)
    assert model.family == "vae"
    assert model.header["trained"]["nimg"] == 160
    assert {"loss_rec", "loss_kl", "diversity"} <= set(model.header["history"][-1])
    G = rebuild(Autoencoder, model, "cpu")
    images = G(torch.randn(3, 8, generator=seeded()))
    assert images.shape == (3, 3, 16, 16)
    assert G.encoder(images).mean.shape == (3, 8)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path, whole):
    attempt(tmp_path / "a")
    attempt(tmp_path / "b", seed=1)
    assert bytes_of(tmp_path / "a") == whole
    assert bytes_of(tmp_path / "b")[0] != whole[0]


@pytest.mark.parametrize(("every", "kills"), [(1, (6,)), (3, (5, 4, 9)), (100, (12,))])
def test_after_kills_the_same_command_gives_the_same_bytes(tmp_path, monkeypatch, whole, every, kills):
    turns = []
    monkeypatch.setattr(Checkpoints, "due", lambda self: turns.append(1) or len(turns) % every == 0)
    for step in kills:
        with monkeypatch.context() as patch:
            at_step(patch, step, kill, Autoencoding)
            with pytest.raises(Killed):
                attempt(tmp_path)
    attempt(tmp_path)
    assert bytes_of(tmp_path) == whole


def test_resume_with_classes_mirroring_and_mixed_precision(tmp_path, monkeypatch):
    options = {"mirror": True, "precision": "bf16", "beta": 0.5, "warm_up": 0.5}
    attempt(tmp_path / "whole", two_classes(), **options)
    monkeypatch.setattr(Checkpoints, "due", lambda self: True)
    with monkeypatch.context() as patch:
        at_step(patch, 9, kill, Autoencoding)
        with pytest.raises(Killed):
            attempt(tmp_path / "killed", two_classes(), **options)
    attempt(tmp_path / "killed", two_classes(), **options)
    assert bytes_of(tmp_path / "killed") == bytes_of(tmp_path / "whole")


def test_class_folders_make_a_model_that_knows_classes(tmp_path):
    model = attempt(tmp_path, two_classes())
    assert model.header["classes"] == ["day", "night"]
    G = rebuild(Autoencoder, model, "cpu")
    z = torch.randn(1, 8, generator=seeded()).expand(2, 8)
    day, night = G(z, torch.arange(2))
    assert not torch.equal(day, night)


def test_going_on_begins_with_both_networks(tmp_path):
    attempt(tmp_path / "a")
    model = attempt(tmp_path / "b", init=str(tmp_path / "a" / "model.safetensors"), kimg=0.008, lr=1e-9)
    before, after = (load_file(path) for path in (tmp_path / "a" / "model.safetensors", model.path))
    assert before.keys() == after.keys()
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, atol=1e-6, rtol=0)


def test_a_budget_chooses_a_width_and_ends_in_time(tmp_path):
    model = attempt(tmp_path, kimg=None, width=None, budget="1.5s")
    assert model.header["trained"]["width"] in (16, 24, 32, 48, 64)
    assert model.header["trained"]["nimg"] >= 8


def test_steps_bring_the_pictures_nearer():
    trainer = new(lr=3e-3)
    real = RealBatch(torch.from_numpy(tiny_images(4).array()).permute(0, 3, 1, 2).float() / 127.5 - 1)
    told = []
    for step in range(120):
        trainer.schedule(4 * step)
        told.append(trainer.step(step, real, torch.randn(4, 8, generator=seeded(step)), seeded(), 0.0))
    assert float(told[-1][0]) < 0.3 * float(told[0][0])
    assert all(bool(torch.isfinite(numbers).all()) for numbers in told)


def test_the_divergence_is_held_down_by_beta():
    real = RealBatch(torch.rand(4, 3, 16, 16, generator=seeded()) * 2 - 1)

    def divergence(beta):
        trainer = new(beta=beta, lr=3e-3)
        trainer.schedule(0)
        told = [trainer.step(i, real, torch.randn(4, 8, generator=seeded(i)), seeded()) for i in range(100)]
        return float(torch.stack(told)[-20:, 1].mean())

    assert divergence(100.0) < 0.1 * divergence(0.01)


def test_the_weight_of_the_divergence_rises_from_0_to_beta():
    trainer = new(beta=2.0, warm_up_nimg=1000.0)
    weights = []
    for nimg in (0, 250, 1000, 5000):
        trainer.schedule(nimg)
        weights.append(trainer._weight)
    assert weights == [0.0, 0.5, 2.0, 2.0]


def test_rates_are_multiples_of_the_stages_own():
    trainer = new(lr=0.01)
    trainer.rates(0.25, 1.0, sparing=True)
    assert [group["lr"] for group in trainer.opt_G.param_groups] == [0.0025]


@pytest.mark.parametrize("classes", [0, 2])
def test_a_training_step_stays_on_the_device(monkeypatch, classes):
    monkeypatch.setattr(torch, "autocast", lambda *args, **kwargs: contextlib.nullcontext())  # there is none for the meta device
    trainer = new("meta", classes)
    labels = torch.zeros(4, dtype=torch.int64, device="meta") if classes else None
    real = RealBatch(torch.randn(4, 3, 16, 16, device="meta"), labels)
    told = trainer.step(0, real, torch.randn(4, 8, device="meta"), seeded(), 0.0)
    ema.update(trainer.G_ema, trainer.G, 0.5)
    drawn = trainer.settled(torch.randn(4, 8, device="meta"), torch.randn(4, 8, device="meta"), labels)
    assert {tensor.device.type for tensor in (told, drawn, *trainer.G_ema.parameters())} == {"meta"}
    assert (tuple(told.shape), tuple(drawn.shape)) == ((2,), (4, 3, 16, 16))
