import pytest
import torch
from torch.nn import functional as F

from genart.nn.layers import smoothed
from genart_dcgan.networks import Discriminator, Generator, initialise

RESOLUTIONS = [16, 32, 64, 128, 256]


@pytest.mark.parametrize("upsample", ["resize", "transposed"])
@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_shapes_and_range(resolution, upsample):
    G, D = Generator(resolution, 4, 8, upsample), Discriminator(resolution, 4)
    images = G(torch.randn(2, 8))
    assert images.shape == (2, 3, resolution, resolution)
    assert images.abs().max() <= 1
    assert images.is_contiguous(memory_format=torch.channels_last) or resolution == 16
    assert D(images).shape == (2,)


def test_parameter_count_is_that_of_the_tutorials():
    """The widely used 64 px DCGAN of width 64 and z_dim 100, which has biases in its normalisation alone."""
    G, D = Generator(64, 64, 100, "transposed"), Discriminator(64, 64)

    def count(net):
        return sum(p.numel() for name, p in net.named_parameters() if "norms" in name or not name.endswith("bias"))

    assert count(G) == 3_576_704
    assert count(D) == 2_765_568


@torch.no_grad()
def test_first_weights_come_from_the_generator_alone():
    nets = [Generator(16, 4, 8) for _ in range(2)]
    for net in nets:
        initialise(net, torch.Generator().manual_seed(5))
    for (name, a), b in zip(nets[0].named_parameters(), nets[1].parameters(), strict=True):
        assert torch.equal(a, b), name
    assert float(nets[0].dense.weight.std()) == pytest.approx(0.02, rel=0.1)
    assert float(nets[0].norms[0].weight.mean()) == pytest.approx(1, abs=0.02)
    assert float(nets[0].norms[0].bias.abs().max()) == 0


@torch.no_grad()
def test_G_cannot_draw_and_D_cannot_see_a_pattern_of_two_pixels():
    chequer = torch.ones(16, 16)
    chequer[::2] *= -1
    kernel = torch.randn(4, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    response = F.conv2d(chequer.expand(1, 3, 16, 16), smoothed(kernel), stride=2, padding=2)[:, :, 1:-1, 1:-1]
    assert float(response.abs().max()) < 1e-5
    D = Discriminator(64, 4, smooth=True).eval()
    grey, chequered = torch.zeros(2, 3, 64, 64), torch.zeros(2, 3, 64, 64)
    chequered[:, :, 16:48, 17:47:2] = 0.5
    chequered[:, :, 16:48, 16:48:2] = -0.5
    features = [F.conv2d(x, smoothed(D.from_rgb.weight), D.from_rgb.bias, 2, 2)[:, :, 12:20, 12:20] for x in (grey, chequered)]
    torch.testing.assert_close(features[0], features[1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("norm", ["batch", "spectral", "none"])
def test_classes_change_what_both_say(norm):
    torch.manual_seed(0)
    G, D = Generator(16, 4, 8, classes=3).eval(), Discriminator(16, 4, classes=3, norm=norm)
    z = torch.randn(1, 8).expand(3, 8)
    images = G(z, torch.arange(3))
    assert float((images[0] - images[1]).detach().abs().max()) > 1e-4
    assert torch.equal(images, G(z)), "left out, classes come in turn"
    answers = D(torch.randn(1, 3, 16, 16).expand(3, 3, 16, 16), torch.arange(3))
    assert len(set(answers.tolist())) == 3


def test_a_spectral_norm_bounds_what_a_layer_does():
    torch.manual_seed(0)
    D = Discriminator(16, 4, norm="spectral")
    for _ in range(20):
        D(torch.randn(2, 3, 16, 16))
    assert float(torch.linalg.matrix_norm(D.to_logit.weight.detach().flatten(1), 2)) == pytest.approx(1, abs=0.02)


def test_a_class_cannot_drown_the_latent() -> None:
    """However small what z gives, its normalisation brings it back; beside a class's vector it would be learnt away."""
    z = torch.randn(32, 8, generator=torch.Generator().manual_seed(0))
    G = Generator(32, 8, 8, classes=3)
    initialise(G, torch.Generator().manual_seed(1))
    labels = torch.zeros(32, dtype=torch.int64)
    before = G(z, labels)
    with torch.no_grad():
        G.dense.weight.mul_(0.5)
    assert torch.allclose(G(z, labels), before, atol=0.02)
    assert before.std(0).mean() > 0.5 * G(z, None).std(0).mean()
