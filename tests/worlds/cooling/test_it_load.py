"""The servers' load: seeded, within what servers take, of a known shape."""

import numpy as np

from robot_wm_worlds.cooling.it_load import DESIGN_W, IDLE_SHARE, draw_load


def _load(seed=0, **options):
    return draw_load(np.random.default_rng(seed), **{"first_day": 0, "days": 28, **options})


def test_a_seed_is_a_load():
    assert np.array_equal(_load(3), _load(3))
    assert not np.array_equal(_load(3), _load(4))


def test_servers_take_between_idle_and_all_busy():
    load = _load(days=365)
    assert load.shape == (365 * 288, 2)
    assert load.min() >= IDLE_SHARE * DESIGN_W
    assert load.max() <= DESIGN_W


def test_halls_peak_at_their_hours_and_rest_at_weekends():
    days = np.mean([_load(seed, days=7) for seed in range(30)], axis=0).reshape(7, 24, 12, 2).mean(2)  # [day, hour, 2]
    assert abs(days[:5, :, 0].mean(0).argmax() - 15) <= 1
    assert abs(days[:5, :, 1].mean(0).argmax() - 21) <= 1
    assert (days[5:].mean((0, 1)) < days[:5].mean((0, 1)) - 0.05 * (1 - IDLE_SHARE) * DESIGN_W).all()


def test_the_week_goes_on_where_an_episode_begins():
    """Day 5 of an episode from 1 January is the first of one from day 5: both are a Saturday, less loaded."""
    whole = np.mean([_load(seed, days=7) for seed in range(30)], axis=0)[5 * 288 :]
    late = np.mean([_load(seed, first_day=5, days=2) for seed in range(30)], axis=0)
    assert np.abs(whole.mean() - late.mean()) < 0.02 * DESIGN_W


def test_no_job_comes_at_once():
    """Jobs of up to 0.25 are taken up in four steps; two at a time and the noise beside them are rare."""
    jump = np.abs(np.diff(_load(days=365), axis=0)) / ((1 - IDLE_SHARE) * DESIGN_W)
    assert np.quantile(jump, 0.9999) < 0.25 / 4 * 2 + 0.06
