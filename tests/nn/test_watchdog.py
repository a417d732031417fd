import dataclasses
import math

import pytest

from genart.errors import DivergedError
from genart.nn import watchdog
from genart.nn.watchdog import Watch, Watchdog


@pytest.fixture
def told():
    return []


def dog(told, **options):
    return Watchdog(lambda trouble, act, message, nimg: told.append((trouble, act, nimg)), **options)


def test_what_counts_as_an_explosion():
    assert not Watchdog.exploded(0.0, -3.0, 900.0)
    for loss in (math.nan, math.inf, -math.inf, 1e4, -1e4):
        assert Watchdog.exploded(0.5, loss)


def test_each_return_halves_the_rates_and_the_last_is_told_with_them(told):
    it, good = dog(told), Watch()
    for i in range(watchdog.MAX_ROLLBACKS):
        it.roll_back(800, 100, (10.0, 5.0), good)
        assert (it.watch.scale_G, it.watch.scale_D) == (0.5 ** (i + 1), 0.5 ** (i + 1))
    with pytest.raises(DivergedError, match="diverged 4 times") as caught:
        it.roll_back(900, 100, (10.0, 5.0), good)
    assert caught.value.exit_code == 8
    assert "lr_G = 10, lr_D = 5" in caught.value.hint
    assert told == [("explosion", "rolled back", 800)] * watchdog.MAX_ROLLBACKS


def test_a_watchdog_that_is_off_gives_up_at_once(told):
    with pytest.raises(DivergedError, match=r"training diverged: after 0\.8 kimg"):
        dog(told, on=False).roll_back(800, 0, (1.0, 1.0), Watch())


@pytest.mark.parametrize(
    "back", [lambda it, good: it.roll_back(800, 100, (1.0, 1.0), good), lambda it, good: it.collapsed_back(800, 100, good)]
)
def test_a_return_keeps_what_was_done_and_forgets_what_was_counted(told, back):
    """The best state is kept beside the training's own, so its KID and its place stay too."""
    it = dog(told)
    it.watch = Watch(winning=4, sparing=True, stale=3, best_kid=0.5, best_nimg=70, acts=[{"nimg": 1, "trouble": "x", "act": "y"}])
    back(it, Watch(best_kid=0.9, best_nimg=60))
    assert (it.watch.winning, it.watch.sparing, it.watch.stale, len(it.watch.acts)) == (0, False, 0, 2)
    assert (it.watch.best_kid, it.watch.best_nimg) == (0.5, 70)


def test_there_is_no_return_to_a_state_that_never_was(told):
    with pytest.raises(DivergedError, match=r"training diverged: after 0\.0 kimg"):
        dog(told).roll_back(0, 0, (1.0, 1.0), None)


def test_a_D_that_wins_is_skipped_first_and_slowed_then_and_let_go_again(told):
    it = dog(told)
    ticks = watchdog.WON_STEPS // 20
    for _ in range(ticks - 1):
        it.tick(1, 0.5, 20, {"won": 1.0, "unsure": 0.1, "r_t": 0.0})
    assert not told
    it.tick(2, 0.5, 20, {"won": 1.0, "unsure": 0.1, "r_t": 0.0})
    assert it.watch.sparing
    assert told == [("D wins", "D-skip", 2)]
    for _ in range(10 * ticks):
        it.tick(3, 0.5, 20, {"won": 1.0, "unsure": 0.1, "r_t": 0.0})
    assert watchdog.LOWEST_SCALE <= it.watch.scale_D < 0.3
    for _ in range(20):
        it.tick(4, 0.5, 20, {"won": 0.8, "unsure": 0.8, "r_t": 0.0})
    assert it.watch.scale_D == 1.0
    assert not it.watch.sparing
    assert [act for _, act, nimg in told if nimg == 4][:2] == ["D-skip ended", "lr_D raised"]


def test_an_even_game_and_a_critic_and_a_D_that_only_ranks_are_left_alone(told):
    for it, won, unsure in (
        (dog(told), 0.95, 0.1),
        (dog(told), 1.0, 0.7),
        (dog(told, critic=True), 1.0, 0.1),
        (dog(told, on=False), 1.0, 0.1),
    ):
        for _ in range(50):
            it.tick(1, 0.5, 20, {"won": won, "unsure": unsure, "r_t": 0.5})
        assert it.watch == Watch()
    assert not told


@pytest.mark.parametrize("adaptive", [False, True])
def test_a_planted_overfit_is_told_once(told, adaptive):
    it = dog(told, adaptive=adaptive)
    for i in range(40):
        it.tick(i, 0.5, 20, {"won": 0.8, "unsure": 0.8, "r_t": 0.95})
    assert told == [("D overfits", "told", watchdog.OVERFIT_STEPS // 20 - 1)]


def test_a_D_that_is_sure_at_the_start_does_not_overfit(told):
    it = dog(told)
    for i in range(40):
        it.tick(i, 0.1, 20, {"won": 0.8, "unsure": 0.8, "r_t": 0.95})
    assert not told


def test_what_D_cannot_know_yet_it_does_not_overfit(told):
    it = dog(told)
    for i in range(40):
        it.tick(i, 0.5, 20, {"won": 0.8, "unsure": 0.8, "r_t": 0.95}, known=False)
    assert not told


def test_where_the_rates_fall_there_is_no_plateau(told):
    for calming in (False, True):
        it = dog(told, calming=calming)
        for number in range(20):
            it.evaluated(number, 0.6, 0.5)
        assert it.watch.stopped == ("" if calming else "plateau")


def test_a_D_that_stood_still_learns_again_after_a_return_from_a_collapse(told):
    it = dog(told)
    it.collapsed_back(40, 20, Watch(varied=True, sparing=True))
    assert not it.watch.sparing


def test_collapse_is_told_then_returned_from_and_not_for_ever(told):
    it = dog(told)
    assert not it.snapshot(10, 0.1, 0.0), "at the start all pictures are alike"
    assert not it.snapshot(20, 0.2, 0.6)
    assert not it.snapshot(30, 0.3, 0.05)
    assert it.snapshot(40, 0.4, 0.05)
    it.collapsed_back(40, 20, Watch(varied=True))
    assert it.watch.scale_G == 0.5
    assert it.watch.scale_D == 1.0
    for _ in range(20):
        if it.snapshot(50, 0.5, 0.05):
            it.collapsed_back(50, 20, Watch(varied=True))
    assert it.watch.rollbacks == watchdog.MAX_ROLLBACKS
    assert [act for _, act, _ in told].count("told") == 1


def test_pictures_that_never_were_varied_are_told_and_trained_on(told):
    it = dog(told)
    assert not any(it.snapshot(i, i / 100, 0.05) for i in range(100))
    assert told == [("mode collapse", "told", 26)]


def test_a_plateau_stops_late_and_remembers_the_best(told):
    it = dog(told)
    assert it.evaluated(10, 0.1, 0.5)
    assert it.evaluated(20, 0.2, 0.3)
    for i in range(watchdog.PATIENCE):
        assert not it.evaluated(30 + i, 0.3, 0.31)
    assert not it.watch.stopped, "half of the training comes first"
    it.evaluated(60, 0.6, 0.31)
    assert it.watch.stopped == "plateau"
    assert (it.watch.best_kid, it.watch.best_nimg) == (0.3, 20)
    assert told == [("plateau", "stopped", 60)]


def test_a_new_phase_forgets_the_best_of_the_one_before(told):
    """Small pictures of a GAN that grows may well be nearer to small real ones than its large ones ever get."""
    it = dog(told)
    assert it.evaluated(10, 0.1, 0.3, 0)
    for i in range(watchdog.PATIENCE - 1):
        assert not it.evaluated(20 + i, 0.3, 0.4, 0)
    assert it.evaluated(60, 0.6, 0.5, 1), "the first of its phase"
    assert (it.watch.best_kid, it.watch.best_nimg, it.watch.stale) == (0.5, 60, 0)
    assert not it.evaluated(70, 0.7, 0.6, 1)
    assert not told
    it.collapsed_back(75, 60, Watch(phase=0, best_kid=0.3))
    assert (it.watch.phase, it.watch.best_kid) == (1, 0.5), "the best state stays, and what it belongs to"


def test_getting_better_slowly_is_no_plateau(told):
    it, kid = dog(told), 1.0
    for i in range(40):
        kid *= 0.98  # two of these are a clear step
        it.evaluated(i, 0.9, kid)
    assert not told


def test_memorisation_is_told_above_a_share(told):
    it = dog(told)
    it.copies(5, watchdog.MEMORISED)
    assert not told
    it.copies(5, 0.3)
    assert told == [("memorisation", "told", 5)]


def test_its_memory_survives_json():
    watch = Watch(scale_D=0.49, said=["overfit"], acts=[{"nimg": 1, "trouble": "x", "act": "y"}], best_kid=-0.001)
    assert Watch(**dataclasses.asdict(watch)) == watch
