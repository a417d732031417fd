import pytest
import torch
from torch import nn

from genart.nn import losses
from genart.nn.data import RealBatch
from genart.nn.players import Game, Penalties, Players, Rules
from genart_msggan.networks import Discriminator as MsgganD
from genart_msggan.networks import Generator as Msggan
from genart_msggan.train import MultiScale
from genart_progan.networks import Discriminator as ProganD
from genart_progan.networks import Generator as Progan
from genart_progan.train import Growth
from genart_stylegan.networks import Discriminator as StyleganD
from genart_stylegan.networks import Generator as Stylegan
from genart_stylegan.train import Styled


class G(nn.Module):
    z_dim, resolution = 4, 8

    def __init__(self):
        super().__init__()
        self.dense = nn.Linear(4, 3 * 64)
        nn.init.normal_(self.dense.weight, generator=torch.Generator().manual_seed(1))
        nn.init.zeros_(self.dense.bias)

    def forward(self, z, labels=None):
        return torch.tanh(self.dense(z)).view(-1, 3, 8, 8)


class D(nn.Module):
    def __init__(self):
        super().__init__()
        self.dense = nn.Linear(3 * 64, 1)
        nn.init.normal_(self.dense.weight, std=0.1, generator=torch.Generator().manual_seed(2))
        nn.init.zeros_(self.dense.bias)

    def forward(self, seen, labels=None):
        return self.dense(seen.flatten(1)).flatten()


NONE = Penalties()


def real(n=8):
    return RealBatch(torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(3)) * 2 - 1)


def z(n=8):
    return torch.randn(n, 4, generator=torch.Generator().manual_seed(4))


def players(loss="bce", penalties=NONE, game=Game, **rules):
    return Players(game(G(), D(), losses.named(loss), penalties), Rules(8, **rules), "cpu")


def play(it, steps=1, p=1.0):
    return [it.step(i, real(), z(), torch.Generator().manual_seed(i), p) for i in range(steps)]


@pytest.mark.parametrize("loss", losses.LOSS_NAMES)
def test_each_player_gets_better_against_a_still_opponent(loss):
    slow = {"lr_G": 0.0, "lr_D": 1e-3}
    told = play(players(loss, **slow), 30)
    assert float(told[-1][0]) < float(told[0][0])
    told = play(players(loss, lr_G=1e-3, lr_D=0.0), 30)
    assert float(told[-1][1]) < float(told[0][1])


def test_what_a_step_tells():
    it = players(lr_G=0.0, lr_D=0.0)
    told = dict(zip(it.told, play(it)[0].tolist(), strict=True))
    with torch.no_grad():
        real_logits, gen_logits = it.D(real().images), it.D(it.G(z()))
    assert told["loss_D"] == pytest.approx(float(losses.bce_D(real_logits, gen_logits)), rel=1e-5)
    assert told["loss_G"] == pytest.approx(float(losses.bce_G(gen_logits)), rel=1e-5)
    assert told["won"] == pytest.approx(float((real_logits > gen_logits).float().mean()))
    assert told["r_t"] == pytest.approx(float(real_logits.sign().mean()))
    relative = players("relativistic_paired", lr_G=0.0, lr_D=0.0)
    told = dict(zip(relative.told, play(relative)[0].tolist(), strict=True))
    assert told["r_t"] == pytest.approx(2 * told["won"] - 1), "an answer alone means nothing there"


@pytest.mark.parametrize("kind", ["r1_gamma", "r2_gamma", "gp_lambda"])
def test_a_penalty_flattens_D(kind):
    """Of a linear D the gradient is its weights, wherever it is taken: a strong penalty brings their length to 0, or to 1."""
    it = players(penalties=Penalties(**{kind: 1000.0}), lr_G=0.0, lr_D=1e-2)
    play(it, 300)
    length = float(it.D.dense.weight.detach().norm())
    assert length == pytest.approx(1.0 if kind == "gp_lambda" else 0.0, abs=0.1)


def test_a_lazy_penalty_weighs_the_same_in_the_mean(monkeypatch):
    """Gradients of steps with and without it, summed over a round, are those of a penalty in each step."""
    totals = []
    for every in (1, 4):
        it = players(penalties=Penalties(r1_gamma=2.0, every=every), lr_G=0.0, lr_D=0.0)
        gradient = torch.zeros(192)
        for i in range(4):
            it.step(i, real(), z(), torch.Generator(), 1.0)
            gradient += it.D.dense.weight.grad.flatten()
        totals.append(gradient)
    torch.testing.assert_close(totals[0], totals[1])


def test_D_is_skipped_below_a_loss_or_when_it_wins_every_pair():
    it = players(skip_D_below=1e9)
    before = it.D.dense.weight.detach().clone()
    assert float(play(it)[0][2]) == 1
    assert torch.equal(it.D.dense.weight, before)

    sure = players(lr_G=0.0, lr_D=1e-2)
    while float(play(sure)[0][3]) < 1:
        pass
    before = sure.D.dense.weight.detach().clone()
    sure.rates(1.0, 1.0, sparing=True)
    assert float(play(sure)[0][2]) == 1
    assert torch.equal(sure.D.dense.weight, before)


def test_rates_are_multiples_of_those_given():
    it = players(lr_G=0.02, lr_D=0.01)
    it.rates(0.5, 0.25)
    assert it.opt_G.param_groups[0]["lr"] == 0.01
    assert it.opt_D.param_groups[0]["lr"] == 0.0025


def test_what_is_seen_is_made_once_and_serves_both():
    calls = []

    class Watched(Game):
        def see(self, pictures):
            calls.append(pictures[0].requires_grad)
            return pictures

    play(players(game=Watched))
    assert calls == [True, False], "generated pictures once, with their graph, and real ones without"


def test_versions_reach_see_real_unless_augmentation_changed_the_pictures():
    seen = []

    class Watched(Game):
        def see_real(self, pictures, versions):
            seen.append(versions)
            return pictures

    batch = RealBatch(real().images, versions=torch.arange(8))
    it = players(game=Watched, policy=("translation",))
    for p in (0.0, 1.0):
        it.step(0, batch, z(), torch.Generator().manual_seed(0), p)
    assert torch.equal(seen[0], torch.arange(8))
    assert seen[1] is None


def test_D_sees_real_and_generated_pictures_augmented_and_learns_from_them():
    plain, changed = players(lr_G=1e-3), players(lr_G=1e-3, policy=("translation", "cutout"))
    assert not torch.equal(play(plain)[0], play(changed)[0])
    assert torch.equal(play(players(policy=("translation",)), p=0.0)[0], play(players())[0])
    assert float(changed.G.dense.weight.grad.abs().sum()) > 0


def test_a_step_is_a_function_of_its_generator():
    rules = {"policy": ("translation", "cutout")}
    a, b, c = (players(penalties=Penalties(gp_lambda=10.0), **rules) for _ in range(3))
    told = [it.step(0, real(), z(), torch.Generator().manual_seed(seed), 0.5) for it, seed in ((a, 1), (b, 1), (c, 2))]
    assert torch.equal(told[0], told[1])
    assert not torch.equal(told[0], told[2])


def test_the_penalty_between_real_and_generated_pictures_takes_them_in_two_precisions():
    it = players(penalties=Penalties(gp_lambda=10.0), bfloat16=True)
    generated = it.G(z())

    class Half(type(it.game)):
        def generate(self, z, labels, generator):
            return (self.G(z, labels).bfloat16(),)

    it.game.__class__ = Half
    assert bool(play(it)[0].isfinite().all())
    assert generated.dtype == torch.float32


def test_several_scales_are_judged_together():
    class Scales(Game):
        def generate(self, z, labels, generator):
            return self.real(self.G(z))

        def real(self, real_img):
            return real_img, nn.functional.avg_pool2d(real_img, 2)

    class TwoScales(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = D(), nn.Linear(3 * 16, 1)

        def forward(self, seen, labels=None):
            return self.a(seen[0]), self.b(seen[1].flatten(1))

    game = Scales(G(), TwoScales(), losses.named("hinge"), Penalties(r1_gamma=1.0, r2_gamma=1.0, gp_lambda=1.0))
    it = Players(game, Rules(8, policy=("translation",)), "cpu")
    before = it.D.b.weight.detach().clone()
    assert bool(torch.isfinite(play(it)[0]).all())
    assert not torch.equal(it.D.b.weight, before)


JOINT = {
    "progan": lambda classes: Growth(
        Progan(16, 4, 8, classes), ProganD(16, 4, classes=classes), losses.named("hinge"), NONE, total_nimg=100, start=2.0
    ),
    "msggan": lambda classes: MultiScale(Msggan(16, 4, 8, classes), MsgganD(16, 4, classes=classes), losses.named("hinge"), NONE),
    "stylegan": lambda classes: Styled(
        Stylegan(16, 4, 8, classes=classes), StyleganD(16, 4, classes=classes), losses.named("relativistic_paired"), NONE
    ),
}


@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("family", JOINT)
def test_one_pass_of_D_answers_as_two_do(family, classes):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        it = Players(JOINT[family](classes), Rules(8), "cpu")
    assert it.game.joint
    draw = torch.Generator().manual_seed(5)
    labels = torch.randint(classes, (8,), generator=draw) if classes else None
    pictures = it.game.real(torch.rand(8, 3, 16, 16, generator=draw) * 2 - 1)
    gen_seen = tuple(part.detach() for part in it.game.generate(torch.randn(8, 8, generator=draw), labels, draw))
    asked = []
    judge = it.game.judge
    it.game.judge = lambda seen, labels: asked.append(len(seen[0])) or judge(seen, labels)
    for ours, theirs in zip(*(it._judged(pictures, gen_seen, labels, apart=apart) for apart in (False, True)), strict=True):
        torch.testing.assert_close(ours[0], theirs[0], atol=1e-5, rtol=1e-4)
    assert asked == [16, 8, 8]
    odd = tuple(part[:6] for part in pictures)
    assert len(it._judged(odd, odd, None if labels is None else labels[:6], apart=False)[0][0]) == 6
    assert asked[3:] == [6, 6], "groups that do not fit are not laid together"
