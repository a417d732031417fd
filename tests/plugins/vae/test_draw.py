import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from genart.artifacts import Batch, Images, Model
from genart.errors import DataError
from genart.nn import latent
from genart.nn.rebuild import rebuild
from genart.testing import run_stage, tiny_images
from genart_vae import vae_reconstruct, vae_walk
from genart_vae.networks import Autoencoder


def model_of(tmp_path, classes=()):
    """An untrained model of 16 px."""
    given = {"resolution": 16, "width": 4, "z_dim": 8} | ({"classes": len(classes)} if classes else {})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        G = Autoencoder(**given)
        for step in G.prior.steps:
            torch.nn.init.normal_(step.net[-1].weight, 0, 0.1)  # a prior that does something
    path = tmp_path / "model.safetensors"
    save_file(dict(G.state_dict()), path)
    header = {"family": "vae", "parameters": given, "z_dim": 8, "resolution": 16} | ({"classes": list(classes)} if classes else {})
    return Model(path, header), G.eval()


def draw(stage, given, model, work, **more):
    """Run a stage with the model; returns its pictures and their metadata."""

    def fresh(model, device):
        return rebuild(Autoencoder, model, device)

    images = run_stage(stage, given, work=work, rebuild=fresh, sides={"train": model}, model="train", **more)["output"]
    return images.array(), [meta for batch in images for meta in batch.meta]


def reconstructed(G, array):
    """What the stage should give, plainly."""
    with torch.inference_mode():
        x = torch.from_numpy(array).permute(0, 3, 1, 2).float() / 127.5 - 1
        y = G.decoder(G.encoder(x).mean).clamp(-1, 1)
    return ((y + 1) * 127.5).round().permute(0, 2, 3, 1).numpy()


def test_a_reconstruction_is_the_decoded_mean(tmp_path):
    model, G = model_of(tmp_path)
    given = tiny_images(5)
    pixels, meta = draw(vae_reconstruct, given, model, tmp_path / "a")
    assert np.abs(pixels.astype(float) - reconstructed(G, given.array())).max() <= 1
    assert meta == [{"number": i} for i in range(5)]


def test_a_reconstruction_is_the_same_wherever_the_picture_stands_and_a_killed_run_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(latent, "batch_size_for", lambda resolution: 4)
    model, _ = model_of(tmp_path)
    given = tiny_images(10)
    whole, _ = draw(vae_reconstruct, given, model, tmp_path / "a")
    last, _ = draw(vae_reconstruct, Images.from_batches([given[9]]), model, tmp_path / "b")
    assert np.array_equal(last[0], whole[9])
    kept = Images.from_batches([Batch.from_array(whole[:3])])
    rest, _ = draw(vae_reconstruct, given, model, tmp_path / "c", kept=kept)
    assert np.array_equal(rest, whole[3:])


def test_other_sizes_and_transparency_are_brought_to_the_models(tmp_path):
    model, _ = model_of(tmp_path)
    given = Images.from_batches([*tiny_images(2, 24).batches(), *tiny_images(2, 32, 4).batches()])
    pixels, _ = draw(vae_reconstruct, given, model, tmp_path / "a")
    assert pixels.shape == (4, 16, 16, 3)


def test_a_walk_passes_through_the_reconstructions_and_closes(tmp_path, monkeypatch):
    monkeypatch.setattr(latent, "batch_size_for", lambda resolution: 4)
    model, _ = model_of(tmp_path)
    given = tiny_images(3)
    keys, _ = draw(vae_reconstruct, given, model, tmp_path / "keys")
    frames, meta = draw(vae_walk, given, model, tmp_path / "walk", frames=12)
    assert frames.shape == (12, 16, 16, 3)
    for key in range(3):
        assert np.abs(frames[4 * key].astype(int) - keys[key]).max() <= 1
    assert meta[9] == {"frame": 9, "picture": 2, "to_picture": 0, "t": 0.25}
    steps = [np.abs(a.astype(float) - b).mean() for a, b in zip(frames, np.roll(frames, -1, 0), strict=True)]
    assert max(steps) < 4 * sum(steps) / len(steps), "no jump, not even at the seam"
    there, _ = draw(vae_walk, given, model, tmp_path / "there", frames=9, loop=False, interpolation="lerp", easing="linear")
    assert np.abs(there[-1].astype(int) - keys[2]).max() <= 1


def test_a_walk_between_classes(tmp_path):
    model, G = model_of(tmp_path, ("fog", "sun"))
    array = tiny_images(2).array()

    def walked(*names):
        given = Images.from_batches([Batch.from_array(array, [{"label": name} if name else {} for name in names])])
        return draw(vae_walk, given, model, tmp_path / "-".join(map(str, names)), frames=8)[0].astype(int)

    keys, _ = draw(vae_reconstruct, tiny_images(2), model, tmp_path / "keys")
    frames = walked("fog", "sun")
    assert np.abs(frames[[0, 4]] - keys).max() <= 1
    assert not np.array_equal(frames, walked("fog", "fog")), "the class takes part in the way"
    with torch.inference_mode():
        z = G.encoder(torch.from_numpy(array).permute(0, 3, 1, 2).float() / 127.5 - 1).mean
        likely = torch.stack([G.to_noise(z, torch.full((2,), kind))[1] for kind in range(2)]).argmax(0)
    best = [("fog", "sun")[kind] for kind in likely]
    assert np.array_equal(walked(None, None), walked(*best))
    assert np.array_equal(walked("snow", None), walked(*best))


def test_one_picture_is_no_walk(tmp_path):
    model, _ = model_of(tmp_path)
    with pytest.raises(DataError, match="at least 2 pictures, got 1"):
        draw(vae_walk, tiny_images(1), model, tmp_path / "walk")


def test_a_model_of_another_family_is_refused(tmp_path):
    model, _ = model_of(tmp_path)
    other = Model(model.path, model.header | {"family": "dcgan"})
    with pytest.raises(DataError, match="family 'dcgan', which cannot encode"):
        draw(vae_reconstruct, tiny_images(2), other, tmp_path / "a")
