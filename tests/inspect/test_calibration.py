"""Means with their errors, reliability curves, lags and probes: closed forms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_wm.inspect.calibration import Mean, lag_errors, reliability
from robot_wm.inspect.probe import fit_probe


def test_a_mean_of_independent_numbers_has_the_usual_error():
    values = np.arange(10.0)
    mean = Mean.of(values, np.arange(10))
    assert mean.value == pytest.approx(4.5)
    assert mean.error == pytest.approx(values.std(ddof=1) / np.sqrt(10))


def test_numbers_that_were_only_repeated_make_a_mean_no_surer():
    values, group = np.arange(10.0), np.arange(10)
    assert Mean.of(np.repeat(values, 7), np.repeat(group, 7)).error == pytest.approx(Mean.of(values, group).error)


def test_of_one_group_no_error_is_known():
    assert np.isnan(Mean.of(np.arange(3.0), np.zeros(3, int)).error)


@given(st.integers(1, 200), st.integers(0, 100))
def test_bins_hold_every_prediction_once_and_their_means_are_the_mean(count, seed):
    rng = np.random.default_rng(seed)
    predicted, real = rng.normal(size=count), rng.normal(size=count)
    curve = reliability(predicted, real, np.arange(count))
    assert curve.counts.sum() == count
    assert (curve.predicted * curve.counts).sum() / count == pytest.approx(predicted.mean())
    assert (curve.real * curve.counts).sum() / count == pytest.approx(real.mean())
    assert (np.diff(curve.predicted) >= 0).all()


def test_what_is_said_too_boldly_is_off_in_its_bins_though_not_on_average():
    real = np.linspace(-1, 1, 1000)
    curve = reliability(2 * real, real, np.arange(1000))
    assert curve.bias.value == pytest.approx(0, abs=1e-9)
    assert curve.calibration_error == pytest.approx(0.5, abs=0.01)  # mean of |2x - x|
    assert curve.rms == pytest.approx(np.sqrt(1 / 3), rel=0.01)


def test_a_lag_is_where_errors_are_least():
    real = np.random.default_rng(0).normal(size=(3, 50))
    for lag in (-2, 0, 3):
        predicted = np.roll(real, -lag, axis=1)  # what comes lag steps later
        errors = lag_errors(list(predicted), list(real), 3)
        assert min(errors, key=errors.get) == lag
        assert errors[lag] == pytest.approx(0)


def test_rows_too_short_for_any_lag_tell_nothing():
    assert np.isnan(list(lag_errors([np.zeros(4)], [np.zeros(4)], 3).values())).all()


def test_a_probe_finds_what_is_linear_and_not_what_is_not_there():
    rng = np.random.default_rng(0)
    latents, group = rng.normal(size=(400, 6)).astype(np.float32), np.arange(400) // 20
    told = 3.0 * latents[:, 2] - latents[:, 5] + 7.0
    values = np.stack([told, rng.normal(size=400), np.ones(400)], 1)
    probe = fit_probe(("told", "noise", "still"), latents, values, group)
    assert probe.r2[0] > 0.99
    assert probe.r2[1] < 0.05
    assert np.isnan(probe.r2[2])
    np.testing.assert_allclose(probe.predict(latents)[:, 0], told, atol=0.2)  # a ridge shrinks by its hundredth


def test_a_probe_is_scored_on_other_episodes_than_it_saw():
    """A latent that only names its episode tells nothing of a quantity that belongs to the episode."""
    group = np.repeat(np.arange(20), 10)
    latents = np.eye(20, dtype=np.float32)[group]
    values = np.random.default_rng(0).normal(size=20)[group][:, None]
    assert fit_probe(("of the episode",), latents, values, group).r2[0] < 0.1
    with pytest.raises(ValueError, match="two episodes"):
        fit_probe(("x",), latents[:5], values[:5], np.zeros(5, int))
