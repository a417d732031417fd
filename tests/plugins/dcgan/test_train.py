import json
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from genart.artifacts import Batch, Images, Model, write_sealed
from genart.errors import DataError, DivergedError, Interrupted
from genart.nn import family, gan, losses, watchdog
from genart.nn.diffaugment import Adaptive
from genart.nn.players import Game, Players, Rules
from genart.nn.rebuild import rebuild
from genart.run import Checkpoints, Run, Stop
from genart.testing import run_stage, tiny_images
from genart_dcgan import dcgan_train
from genart_dcgan.networks import Discriminator, Generator
from tests import trainings
from tests.trainings import Killed, at_step, bytes_of, kill

TINY = {"width": 4, "batch_size": 8, "kimg": 0.16, "precision": "fp32", "evaluations": 0}  # 20 steps


def attempt(work, given=None, **options):
    """Train in `work`; returns (model, run)."""
    return trainings.attempt(dcgan_train, work, given, **{**TINY, **options})


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Bytes of an uninterrupted training."""
    work = tmp_path_factory.mktemp("whole")
    attempt(work)
    return bytes_of(work)


def test_a_training_gives_a_model_that_can_be_rebuilt_and_a_timelapse(tmp_path):
    outputs = run_stage(dcgan_train, tiny_images(12), work=tmp_path, **TINY)
    model = outputs["output"]
    assert isinstance(model, Model)
    assert model.family == "dcgan"
    assert model.header["resolution"] == 16
    assert model.header["trained"]["nimg"] == 160
    assert len(model.header["history"]) == 20
    G = rebuild(Generator, model, "cpu")
    assert G(torch.randn(3, model.header["z_dim"])).shape == (3, 3, 16, 16)
    progress = outputs["progress"]
    meta = [m for batch in progress for m in batch.meta]
    assert meta[0] == {"kimg": 0.0, "nimg": 0, "loss_G": None, "loss_D": None}
    assert (meta[-1]["kimg"], meta[-1]["nimg"]) == (0.16, 160)
    assert meta[-1]["loss_G"] == model.header["history"][-1]["loss_G"]
    assert progress.array().shape[1:] == (110, 110, 3)  # 6 x 6 pictures of 16 px, 2 px apart


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path, whole):
    attempt(tmp_path / "a")
    attempt(tmp_path / "b", seed=1)
    assert bytes_of(tmp_path / "a") == whole
    assert bytes_of(tmp_path / "b")[0] != whole[0]


def test_training_leaves_the_global_random_stream_alone(tmp_path):
    torch.manual_seed(4)
    expected = torch.rand(3)
    torch.manual_seed(4)
    attempt(tmp_path)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("step", [1, 2, 7, 13, 20])
def test_after_ctrl_c_the_same_command_gives_the_same_bytes(tmp_path, monkeypatch, whole, step):
    stop = Stop()
    with monkeypatch.context() as patch:
        at_step(patch, step, lambda: setattr(stop, "signal", 2))
        with pytest.raises(Interrupted):
            attempt(tmp_path, stop=stop)
    assert Checkpoints(tmp_path / "checkpoints").load()[1]["log"]["step"] == step
    attempt(tmp_path)
    assert bytes_of(tmp_path) == whole


@pytest.mark.parametrize(("every", "kills"), [(1, (6,)), (4, (11,)), (3, (5, 4, 9)), (100, (12,))])
def test_after_kills_the_same_command_gives_the_same_bytes(tmp_path, monkeypatch, whole, every, kills):
    turns = []
    monkeypatch.setattr(Checkpoints, "due", lambda self: turns.append(1) or len(turns) % every == 0)
    for step in kills:
        with monkeypatch.context() as patch:
            at_step(patch, step, kill)
            with pytest.raises(Killed):
                attempt(tmp_path)
    attempt(tmp_path)
    assert bytes_of(tmp_path) == whole


def test_a_kill_during_the_last_snapshot(tmp_path, monkeypatch, whole):
    monkeypatch.setattr(Checkpoints, "due", lambda self: True)
    with monkeypatch.context() as patch:
        patch.setattr(Run, "model", lambda *args, **kwargs: kill())
        with pytest.raises(Killed):
            attempt(tmp_path)
    attempt(tmp_path)
    assert bytes_of(tmp_path) == whole


def test_resume_with_mirroring_smoothing_skipping_and_mixed_precision(tmp_path, monkeypatch):
    options = {"mirror": True, "label_smoothing": 0.2, "skip_D_below": 0.9, "precision": "bf16", "upsample": "transposed"}
    attempt(tmp_path / "whole", **options)
    monkeypatch.setattr(Checkpoints, "due", lambda self: True)
    with monkeypatch.context() as patch:
        at_step(patch, 9, kill)
        with pytest.raises(Killed):
            attempt(tmp_path / "killed", **options)
    attempt(tmp_path / "killed", **options)
    assert bytes_of(tmp_path / "killed") == bytes_of(tmp_path / "whole")


def poison(monkeypatch, calls_to_poison):
    """Make a weight of G NaN after some steps, counted over all of this process."""
    step, calls = Players.step, []

    def poisoned(self, *args):
        losses = step(self, *args)
        calls.append(1)
        if len(calls) in calls_to_poison:
            with torch.no_grad():
                self.G.dense.weight[0] = float("nan")
        return losses

    monkeypatch.setattr(Players, "step", poisoned)


def test_a_planted_NaN_returns_to_the_last_good_state_with_half_the_rates(tmp_path, monkeypatch):
    poison(monkeypatch, {7})
    model, run = attempt(tmp_path)
    acts = [event for event in run.events_seen if event["event"] == "watchdog"]
    assert [(act["trouble"], act["act"]) for act in acts if act["trouble"] == "explosion"] == [("explosion", "rolled back")]
    assert model.header["trained"]["watchdog"][0]["trouble"] == "explosion"
    assert model.header["trained"]["nimg"] == 160
    assert all(bool(torch.isfinite(value).all()) for value in load_file(tmp_path / "model.safetensors").values())
    nimg = [entry["kimg"] for entry in model.header["history"] if "loss_D" in entry]
    assert nimg == sorted(set(nimg)), "what was undone is not in the history"
    seen = [json.loads(line)["nimg"] for line in (tmp_path / "outputs" / "progress" / "meta.jsonl").read_text().splitlines()]
    assert seen == sorted(set(seen)), "nor in the timelapse"
    rates = [event["images_per_sec"] for event in run.events_seen if "images_per_sec" in event]
    assert min(rates) > 0


def test_what_is_NaN_from_the_start_has_nothing_to_return_to(tmp_path, monkeypatch):
    monkeypatch.setattr(Generator, "forward", lambda self, z, labels=None: z.new_full((len(z), 3, 16, 16), float("nan")))
    with pytest.raises(DivergedError, match=r"training diverged: after 0\.0 kimg"):
        attempt(tmp_path)


def test_NaN_again_and_again_ends_with_exit_code_8_and_keeps_the_last_good_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(Checkpoints, "due", lambda self: True)
    poison(monkeypatch, range(7, 100))
    with pytest.raises(DivergedError) as caught:
        attempt(tmp_path)
    assert caught.value.exit_code == 8
    assert "lr_G" in caught.value.hint
    tensors, _ = Checkpoints(tmp_path / "checkpoints").load()
    assert all(bool(torch.isfinite(value).all()) for value in tensors.values())


def test_without_the_watch_the_first_NaN_ends_it(tmp_path, monkeypatch):
    poison(monkeypatch, {7})
    with pytest.raises(DivergedError, match=r"training diverged: after 0\.1 kimg"):
        attempt(tmp_path, watch=False)


def test_a_kill_after_a_return_changes_nothing(tmp_path, monkeypatch):
    """The bytes of a training that exploded once are those of one that exploded, was killed, and went on."""
    with monkeypatch.context() as patch:
        poison(patch, {7})
        attempt(tmp_path / "whole")
    monkeypatch.setattr(Checkpoints, "due", lambda self: True)
    with monkeypatch.context() as patch:
        poison(patch, {7})
        at_step(patch, 12, kill)
        with pytest.raises(Killed):
            attempt(tmp_path / "killed")
    attempt(tmp_path / "killed")
    assert bytes_of(tmp_path / "killed") == bytes_of(tmp_path / "whole")


def test_a_learning_rate_that_explodes(tmp_path):
    with pytest.raises(DivergedError, match="diverged 4 times"):
        attempt(tmp_path, lr_G=10, lr_D=10)


def test_a_planted_collapse_is_told_once(tmp_path, monkeypatch):
    def same(self, z, labels=None):
        return torch.tanh(self.to_rgb.bias)[None, :, None, None].expand(len(z), 3, 16, 16)

    monkeypatch.setattr(Generator, "forward", same)
    _, run = attempt(tmp_path)
    assert [event["act"] for event in run.events_seen if event.get("trouble") == "mode collapse"] == ["told"]


def test_a_healthy_training_is_not_called_collapsed(tmp_path):
    _, run = attempt(tmp_path, tiny_images(64), width=8, kimg=2.4)
    assert not [event for event in run.events_seen if event.get("trouble") in ("mode collapse", "explosion", "plateau")]
    assert all(isinstance(event["diversity"], float) for event in run.events_seen if "diversity" in event)


@pytest.mark.parametrize(("share", "acts"), [(0.3, ["told"]), (0.05, [])])
def test_samples_that_are_nearly_training_pictures_are_told(tmp_path, monkeypatch, share, acts):
    monkeypatch.setattr(family.Quality, "measure", lambda self, trainer: {"kid": 0.1, "recall": 0.5})
    monkeypatch.setattr(family.Quality, "copied_share", lambda self, trainer: share)
    model, run = attempt(tmp_path, evaluations=1)
    told = [event for event in run.events_seen if event.get("trouble") == "memorisation"]
    assert [event["act"] for event in told] == acts
    assert all(event["nimg"] == 160 and event["message"].startswith("30% of the samples") for event in told)
    kept = [act["trouble"] for act in model.header["trained"]["watchdog"]]
    assert kept.count("memorisation") == len(acts)


def test_a_D_that_is_sure_of_every_real_picture_is_told_once_G_had_its_time(tmp_path, monkeypatch):
    forward = Discriminator.forward
    monkeypatch.setattr(Discriminator, "forward", lambda self, *args: 1 + forward(self, *args).square())
    monkeypatch.setattr(watchdog, "OVERFIT_STEPS", 10)
    monkeypatch.setattr(gan, "UNKNOWN_EPOCHS", 0)
    _, run = attempt(tmp_path, loss="bce")
    told = [event for event in run.events_seen if event.get("trouble") == "D overfits"]
    assert [(event["act"], event["nimg"]) for event in told] == [("told", 120)], "ten steps after the first quarter of twenty"
    assert "r_t = 1.00" in told[0]["message"]


def test_learning_rates_fall_at_the_end_if_asked_or_if_there_is_time(tmp_path, monkeypatch):
    scales, rates = [], Players.rates
    monkeypatch.setattr(Players, "rates", lambda self, G, D, **more: scales.append((G, D)) or rates(self, G, D, **more))
    attempt(tmp_path / "falling", lr_decay=0.5)
    assert [G for G, _ in scales] == pytest.approx([1.0] * 11 + [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]), "each step has its own"
    assert all(G == D for G, D in scales)
    scales.clear()
    attempt(tmp_path / "level")
    assert scales == [(1.0, 1.0)] * 20
    scales.clear()
    monkeypatch.setattr(family, "LONG_NIMG", 160)  # so long is this one
    attempt(tmp_path / "long")
    assert [G for G, _ in scales][10:13] == pytest.approx([1.0, 0.9, 0.8])
    scales.clear()
    attempt(tmp_path / "told", lr_decay=0.0)
    assert scales == [(1.0, 1.0)] * 20


def test_D_cannot_know_by_heart_what_it_saw_a_few_times(tmp_path, monkeypatch):
    monkeypatch.setattr(Adaptive, "update", lambda self, r_t, nimg: self.p + 0.01)
    model, _ = attempt(tmp_path)  # 160 images: the 12 pictures are seen 13 times
    known = [entry["kimg"] for entry in model.header["history"] if entry["augment_p"] > 0]
    assert 0.12 <= known[0] <= 0.12 + 4 * 0.008


def test_D_learns_nothing_while_its_loss_is_below_the_threshold(tmp_path):
    model, _ = attempt(tmp_path, skip_D_below=1e9)
    assert {entry["skipped"] for entry in model.header["history"]} == {1.0}
    never, _ = attempt(tmp_path / "never")
    assert {entry["skipped"] for entry in never.header["history"]} == {0.0}


def test_a_step_of_G_computes_no_gradient_of_D_and_D_none_of_G():
    game = Game(Generator(16, 4, 8), Discriminator(16, 4), losses.named("bce"))
    players = Players(game, Rules(8, lr_G=0.0, lr_D=0.0), "cpu")
    z, real = torch.randn(8, 8), torch.rand(8, 3, 16, 16)
    gen_img = players.G(z)
    players.step_G((gen_img,), (real,), None)
    assert all(p.grad is None for p in players.D.parameters())
    assert all(p.grad is not None for p in players.G.parameters())
    players.opt_G.zero_grad()
    players.step_D(0, (real,), (players.G(z).detach(),), None, torch.Generator())
    assert all(p.grad is not None for p in players.D.parameters())
    assert all(p.grad is None for p in players.G.parameters())


def test_a_budget_chooses_and_remembers(tmp_path):
    model, _ = attempt(tmp_path, kimg=None, width=None, budget="1.5s")
    plan = json.loads((tmp_path / "choices.json").read_text())["plan"]
    assert plan["width"] in (16, 24, 32, 48, 64)
    assert model.header["trained"]["width"] == plan["width"]
    assert model.header["trained"]["nimg"] % plan["batch_size"] == 0
    first = bytes_of(tmp_path)
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "choices.json").write_bytes((tmp_path / "choices.json").read_bytes())
    attempt(tmp_path / "again", kimg=None, width=None, budget="1.5s")
    assert bytes_of(tmp_path / "again") == first


def test_a_deadline_stops_early_and_a_remake_stops_at_the_same_place(tmp_path, monkeypatch):
    clock = [0.0]  # a second passes whenever somebody looks
    monkeypatch.setattr(gan.Training, "elapsed_sec", property(lambda self: clock.__setitem__(0, clock[0] + 1) or clock[0]))
    monkeypatch.setattr(Checkpoints, "due", lambda self: False)  # each one looks, and how many there are depends on the machine
    model, run = attempt(tmp_path / "a", budget="13.7s")
    stopped = run.choices["ended_at"]
    assert stopped == 56, "which is also the place of a snapshot: it must not come twice"
    assert model.header["trained"]["nimg"] == stopped
    (tmp_path / "b").mkdir()
    write_sealed(tmp_path / "b" / "choices.json", run.choices)
    monkeypatch.undo()
    attempt(tmp_path / "b", budget="13.7s")
    assert bytes_of(tmp_path / "b") == bytes_of(tmp_path / "a")


def test_a_budget_that_measuring_has_eaten_up_still_gives_a_step(tmp_path, monkeypatch):
    monkeypatch.setattr(gan.Training, "elapsed_sec", property(lambda self: 1e9))
    model, run = attempt(tmp_path, budget="10s")
    assert model.header["trained"]["nimg"] == run.choices["ended_at"] == 8


class Clock:
    """A clock that each step moves on by so many seconds, beside a plan that was made with steps of 0.01 s (at batch 8)."""

    def __init__(self, monkeypatch, step_sec):
        self.now = 0.0
        step = Players.step

        def timed(players, *args):
            self.now += step_sec(self.now)
            return step(players, *args)

        monkeypatch.setattr(Players, "step", timed)
        monkeypatch.setattr(family.Fitting, "step_sec", lambda *args, **kwargs: 0.01 / 8)
        for module in (gan, family):
            monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: self.now))


PACED = {"kimg": None, "budget": "4s", "evaluations": 0}


@pytest.mark.parametrize(
    ("step_sec", "least", "most"), [(0.002, 4.0, 5.5), (0.01, 0.9, 1.1), (0.04, 0.2, 0.3)], ids=["fast", "as planned", "slow"]
)
def test_a_plan_made_in_a_busy_moment_does_not_end_a_training(tmp_path, monkeypatch, step_sec, least, most):
    with monkeypatch.context() as patch:
        clock = Clock(patch, lambda now: step_sec)
        model, run = attempt(tmp_path / "a", **PACED)
    planned, nimg = run.choices["plan"]["total_nimg"], model.header["trained"]["nimg"]
    assert least < nimg / planned < most
    assert clock.now <= 4
    assert clock.now > 1.8, "the time is used; some of it is kept for the end"
    snapshots = [json.loads(line)["nimg"] for line in (tmp_path / "a/outputs/progress/meta.jsonl").read_text().splitlines()]
    assert snapshots == sorted(set(snapshots))
    assert snapshots[-1] == nimg
    assert len(snapshots) >= 8
    assert 100 <= len([entry for entry in model.header["history"] if "loss_D" in entry]) <= 2 * gan.TICKS or nimg < 800
    (tmp_path / "b").mkdir()
    write_sealed(tmp_path / "b" / "choices.json", run.choices)
    with monkeypatch.context() as patch:
        Clock(patch, lambda now: 0.0123)
        attempt(tmp_path / "b", **PACED)
    assert bytes_of(tmp_path / "b") == bytes_of(tmp_path / "a"), "made again at another speed, it is the same"


@pytest.mark.parametrize("step_sec", [0.004, 0.01, 0.04], ids=["fast", "as planned", "slow"])
def test_what_is_told_of_the_time_left_at_a_third_of_it_is_right_within_a_tenth(tmp_path, monkeypatch, step_sec):
    clock, told = Clock(monkeypatch, lambda now: step_sec), []
    monkeypatch.setattr(Run, "progress", lambda self, done, total, *, eta_sec: told.append((clock.now, eta_sec)))
    attempt(tmp_path, **PACED)
    then, eta_sec = next(row for row in told if row[0] >= clock.now / 3)
    assert eta_sec == pytest.approx(clock.now - then, rel=0.1)


def test_a_busy_moment_in_the_middle_is_made_up_for(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        clock = Clock(patch, lambda now: 0.05 if 0.5 < now < 1.2 else 0.01)
        model, run = attempt(tmp_path, **PACED)
    assert 1.8 < clock.now <= 4
    assert model.header["trained"]["nimg"] > 0.5 * run.choices["plan"]["total_nimg"]


def test_a_kill_keeps_the_changes_of_a_plan(tmp_path, monkeypatch):
    monkeypatch.setattr(Checkpoints, "due", lambda self: True)
    with monkeypatch.context() as patch:
        Clock(patch, lambda now: 0.004)
        at_step(patch, 300, kill)
        with pytest.raises(Killed):
            attempt(tmp_path / "killed", **PACED)
    with monkeypatch.context() as patch:
        Clock(patch, lambda now: 0.004)
        _, run = attempt(tmp_path / "killed", **PACED)
    assert [name for name in run.choices if name.startswith("pace")] == [f"pace_{part}" for part in range(1, 8)]
    (tmp_path / "whole").mkdir()
    write_sealed(tmp_path / "whole" / "choices.json", run.choices)
    attempt(tmp_path / "whole", **PACED)
    assert bytes_of(tmp_path / "killed") == bytes_of(tmp_path / "whole")


def test_a_number_of_images_is_kept_to_although_there_is_time(tmp_path, monkeypatch):
    Clock(monkeypatch, lambda now: 0.0001)
    model, run = attempt(tmp_path, budget="10s")
    assert model.header["trained"]["nimg"] == 160
    assert not [name for name in run.choices if name.startswith("pace")]


def test_measuring_does_not_disturb_the_seeded_start(tmp_path):
    attempt(tmp_path / "kimg")
    attempt(tmp_path / "both", budget="1h")
    a, b = (load_file(tmp_path / name / "model.safetensors") for name in ("kimg", "both"))
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_a_small_set_shrinks_the_batch_with_a_warning(tmp_path):
    model, run = attempt(tmp_path, tiny_images(5))
    assert model.header["trained"]["batch_size"] == 5
    assert "only 5 pictures" in run.warnings[0]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (tiny_images(1), "at least 2 pictures, got 1"),
        (tiny_images(4, 20), "20x20"),
        (Images.from_batches([Batch(torch.full((4, 3, 16, 16), 0.5))]), "all 4 pictures are identical"),
        (Images.from_batches([Batch(torch.rand(4, 3, 16, 32))]), "32x16"),
    ],
    ids=["one", "size", "identical", "oblong"],
)
def test_pictures_that_cannot_be_trained_on(tmp_path, given, words):
    with pytest.raises(DataError, match=words):
        attempt(tmp_path, given)


def test_other_sizes_are_resized_when_asked(tmp_path):
    model, _ = attempt(tmp_path, Images.from_batches([Batch(torch.rand(4, 3, 20, 40))]), resolution=16, batch_size=4)
    assert model.header["resolution"] == 16


def test_transparent_pictures_are_laid_over_white_with_a_warning(tmp_path):
    _, run = attempt(tmp_path, tiny_images(12, channels=4))
    assert "transparency" in run.warnings[0]


@pytest.mark.parametrize("resolution", [32, 64])
def test_other_resolutions(tmp_path, resolution):
    model, _ = attempt(tmp_path, tiny_images(8, resolution), kimg=0.016)
    assert model.header["parameters"]["resolution"] == resolution
