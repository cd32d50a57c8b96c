"""Identification and the MPC on a plant whose every number is known."""

import numpy as np
import pytest

from robot_wm.runtime.transform import to_command, to_policy
from robot_wm_bench.cooling.identify import (
    LinearMap,
    PlantModel,
    PowerModel,
    Recording,
    identify,
    over_ranges,
    season_of,
)
from robot_wm_bench.cooling.rollout import run_episode
from robot_wm_worlds.cooling.contract import HOME, RANGES, REACHES, agent_spec

SPEC = over_ranges(agent_spec(5))
HALL = LinearMap(
    hall=np.array([0.7, 0.6]),
    gain=np.array([[1.5, -0.4, 0.0, 0.0], [1.4, 0.0, -0.5, 0.0]]),
    feed=np.array([[0.9, 0.0, 0.0], [0.0, 0.8, 0.1]]),
    rest=np.array([9.6, 12.8]),
    high_error=0.0,
)
INLET = LinearMap(
    hall=np.array([0.1, 0.2]),
    gain=np.array([[3.5, -1.0, 0.0, 0.0], [3.0, 0.0, -1.2, 0.0]]),
    feed=np.zeros((2, 3)),
    rest=np.array([20.8, 17.6]),
    high_error=0.0,
)
VALVE = LinearMap(
    hall=np.zeros(2),
    gain=np.array([[-0.1, 0.0, 0.0, 0.2], [-0.1, 0.0, 0.0, 0.2]]),
    feed=np.full((2, 3), 0.01),
    rest=np.array([0.4, 0.4]),
    high_error=0.0,
)
POWER = PowerModel(
    hessian=np.diag([2.0, 4.0, 5.0, 3.0]) + 0.5,
    slope=np.array([-1.0, 2.0, 1.5, -2.0]),
    cross=np.arange(12.0).reshape(4, 3) / 10,
    error_kw=0.0,
)


def _after(linear, hall_c, action, other):
    return linear.hall * hall_c + action @ linear.gain.T + other @ linear.feed.T + linear.rest


def _recorded(steps=3000, hessian=POWER.hessian):
    rng = np.random.default_rng(0)
    action, other = rng.uniform(-0.3, 0.3, (steps, 4)), rng.uniform(-1.2, 1.2, (steps, 3))
    hall_c = rng.uniform(28.0, 34.0, (steps, 2))
    power = 0.5 * np.einsum("li,ij,lj->l", action, hessian, action) + 7.0 + other @ [1.0, 2.0, 3.0]
    power += np.einsum("li,li->l", action, POWER.slope + other @ POWER.cross.T)
    return Recording(
        action=action,
        other=other,
        hall_c=hall_c,
        hall_after_c=_after(HALL, hall_c, action, other),
        inlet_after_c=_after(INLET, hall_c, action, other),
        valve_after=_after(VALVE, hall_c, action, other),
        power_kw=power,
    )


def test_a_linear_plant_is_found_exactly():
    model = identify(_recorded())
    for found, truth in ((model.hall, HALL), (model.inlet, INLET), (model.valve, VALVE)):
        for name in ("hall", "gain", "feed", "rest"):
            np.testing.assert_allclose(getattr(found, name), getattr(truth, name), atol=1e-6, err_msg=name)
        assert abs(found.high_error) < 1e-6
    for power in model.power:
        np.testing.assert_allclose(power.hessian, POWER.hessian, atol=1e-6)
        np.testing.assert_allclose(power.slope, POWER.slope, atol=1e-6)
        np.testing.assert_allclose(power.cross, POWER.cross, atol=1e-6)
        assert power.error_kw < 1e-6


def test_power_that_bends_downwards_is_made_straight():
    bent = np.diag([2.0, -4.0, 5.0, 3.0])
    found = identify(_recorded(hessian=bent)).power[0]
    assert np.linalg.eigvalsh(found.hessian).min() > 0
    assert found.hessian[1, 1] == pytest.approx(0.0, abs=0.01)
    assert found.hessian[0, 0] == pytest.approx(2.0, abs=1e-6)
    assert found.error_kw > 0.05


def test_steps_with_an_open_valve_or_hot_air_are_left_out():
    recording = _recorded()
    recording.valve_after[:50] = 0.99
    recording.inlet_after_c[:50] -= 3.0  # as no linear map has it
    recording.inlet_after_c[50:100] = 35.0
    np.testing.assert_allclose(identify(recording).inlet.gain, INLET.gain, atol=1e-6)


def test_too_few_steps_are_refused():
    recording = _recorded(12)
    with pytest.raises(ValueError, match=r"steps do not tell \d+ parameters apart"):
        identify(recording)


@pytest.mark.parametrize(("wet_bulb_c", "season"), [(-5.0, 0), (6.9, 0), (10.0, 1), (16.0, 2)])
def test_a_season_is_a_range_of_the_wet_bulb(wet_bulb_c, season):
    assert season_of(wet_bulb_c) == season


# ---- the MPC


@pytest.fixture
def mpc_of():
    pytest.importorskip("osqp")
    from robot_wm_bench.cooling.mpc import LinearMpc, MpcConfig

    def make(power=POWER, reach=1.0, **options):
        return LinearMpc(
            SPEC,
            PlantModel(HALL, INLET, VALVE, (power,) * 3, span=np.array([-np.ones(4), np.ones(4)]) * reach),
            MpcConfig(**options),
        )

    return make


def _seen(hall_c=(30.0, 30.0), set_points=(0.0, 0.0, 0.0, 0.0), inlet_c=(24.0, 24.0), valve=(0.4, 0.4)):
    return {
        "inlet_temperature": np.array(inlet_c, np.float32),
        "valve": np.array(valve, np.float32),
        "hall_temperature": np.array(hall_c, np.float32),
        "it_power": np.full(2, 100e3, np.float32),
        "weather": np.array([18.0, 15.0], np.float32),
        "set_points": to_command(SPEC.action, np.array(set_points, np.float32)),
    }


def _settled(mpc, steps=40, warmer_k=0.0):
    """Policy units [A] where it settles, and inlet air [H]; the plant answers, warmer than the model has it."""
    action, hall_c = np.zeros(4), np.array([30.0, 30.0])
    inlet_c, valve = _after(INLET, hall_c, action, np.zeros(3)), _after(VALVE, hall_c, action, np.zeros(3))
    for _ in range(steps):
        seen = _seen(hall_c, action, inlet_c, valve)
        action = to_policy(SPEC.action, mpc.act(seen)).astype(np.float64)
        inlet_c = _after(INLET, hall_c, action, np.zeros(3)) + warmer_k
        valve = _after(VALVE, hall_c, action, np.zeros(3))
        hall_c = _after(HALL, hall_c, action, np.zeros(3))
    return action, inlet_c


def test_where_nothing_binds_it_settles_at_the_least_power(mpc_of):
    action, _ = _settled(mpc_of(inlet_limit_c=60.0))
    least = -np.linalg.solve(POWER.hessian, POWER.slope)
    assert np.abs(least).max() < 1.0
    np.testing.assert_allclose(action, least, atol=0.01)


def test_air_is_kept_below_the_limit_and_the_margin(mpc_of):
    """Warm air is cheap, so it goes to the limit, and no further."""
    eager = PowerModel(POWER.hessian, np.array([-20.0, 1.0, 1.0, 0.0]), POWER.cross, 0.0)
    _, free_c = _settled(mpc_of(eager, inlet_limit_c=60.0))
    _, inlet_c = _settled(mpc_of(eager, inlet_limit_c=25.3, margin_k=0.3))
    assert free_c.max() > 25.5
    assert inlet_c.max() == pytest.approx(25.0, abs=0.05)


def test_what_the_model_is_wrong_by_is_found_out(mpc_of):
    eager = PowerModel(POWER.hessian, np.array([-20.0, 1.0, 1.0, 0.0]), POWER.cross, 0.0)
    _, inlet_c = _settled(mpc_of(eager, inlet_limit_c=25.3, margin_k=0.3), warmer_k=1.5)
    assert inlet_c.max() == pytest.approx(25.0, abs=0.1)


def test_no_step_is_longer_than_the_ramps(mpc_of):
    ramp = np.array([1 / 3, 0.75, 0.75, 1 / 5.5])
    action = to_policy(SPEC.action, mpc_of(inlet_limit_c=60.0).act(_seen(set_points=(1, 1, 1, 1))))
    assert (np.abs(action - 1.0) <= ramp + 1e-3).all()
    assert np.abs(action - 1.0).max() > 0.17  # it is on its way


def test_set_points_stay_where_the_plant_was_learned(mpc_of):
    action, _ = _settled(mpc_of(inlet_limit_c=60.0, reach=0.2))
    assert np.abs(-np.linalg.solve(POWER.hessian, POWER.slope)).max() > 0.3
    assert np.abs(action).max() == pytest.approx(0.2, abs=1e-3)


def test_what_cannot_be_met_still_has_an_answer(mpc_of):
    action, _ = _settled(mpc_of(inlet_limit_c=0.0))
    assert np.isfinite(action).all()
    assert action[0] == pytest.approx(-1.0, abs=0.02)  # as cold
    assert action[1] == pytest.approx(1.0, abs=0.02)  # and as much as there is


def test_it_saves_on_a_plant_that_it_was_identified_on():
    """In closed form, from excitation to comparison: less than constants take, and no hour outside."""
    pytest.importorskip("osqp")
    from closed_form_plant import closed_form_env

    from robot_wm_bench.cooling.controller import Constant
    from robot_wm_bench.cooling.identify import record
    from robot_wm_bench.cooling.mpc import LinearMpc

    env = closed_form_env(days=2)
    recording = record(env, SPEC, episodes=4, seed=0)
    assert to_command(SPEC.action, recording.action)[:, 3].min() < HOME[3] - REACHES[3], "beyond an agent's reach"
    model = identify_one_season(recording)
    mpc = run_episode(env, LinearMpc(SPEC, model), seed=99, settling_h=12.0)
    constant = run_episode(env, Constant([22.0, 1.2, 1.2, 12.0]), seed=99, settling_h=12.0)
    assert mpc.outside_h == 0.0
    assert mpc.hvac_kwh < 0.95 * constant.hvac_kwh


def identify_one_season(recording):
    """The closed-form plant has one weather, which tells no cross term of the wet bulb: it is shaken a little."""
    rng = np.random.default_rng(0)
    shaken = recording.other.copy()
    shaken[:, 2] = rng.uniform(-1.2, 1.2, len(shaken))
    return identify(Recording(**{**vars(recording), "other": shaken}))


def test_an_mpc_may_command_whatever_the_plant_can_bear():
    low, high = np.transpose(RANGES)
    np.testing.assert_allclose(to_command(SPEC.action, np.full(4, -1.0, np.float32)), low, rtol=1e-6)
    np.testing.assert_allclose(to_command(SPEC.action, np.full(4, 1.0, np.float32)), high, rtol=1e-6)


def test_the_horizon_is_the_model_step_by_step():
    pytest.importorskip("osqp")
    from robot_wm_bench.cooling.mpc import Horizon

    rng = np.random.default_rng(1)
    actions, other, hall_c = rng.uniform(-1, 1, (5, 4)), rng.uniform(-1, 1, 3), np.array([31.0, 33.0])
    horizon = Horizon(HALL, INLET, 5)
    found = (horizon.forced @ actions.ravel()).reshape(5, 2) + horizon.free(hall_c, other)
    for k, action in enumerate(actions):
        np.testing.assert_allclose(found[k], _after(INLET, hall_c, action, other))
        hall_c = _after(HALL, hall_c, action, other)
