"""The environment over a plant in closed form: ranges, ramps, seeds, episodes and figures."""

import numpy as np
import pytest
from closed_form_plant import COP, WET_BULB_C, closed_form_env
from gymnasium.utils.env_checker import check_env

from robot_wm.errors import UserError
from robot_wm.runtime.modes import Event
from robot_wm.runtime.safety import Safety, SafetyConfig
from robot_wm_worlds.cooling.contract import HOME, RANGES, REACHES
from robot_wm_worlds.cooling.plant import it_flow
from robot_wm_worlds.cooling.reward import reward
from robot_wm_worlds.cooling.weather import HELD_OUT, TRAINING, parse_cities

WARM = np.array([25.0, 1.0, 1.0, 18.0], np.float32)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_gymnasium_finds_nothing_wrong():
    check_env(closed_form_env(), skip_render_check=True)


def test_commands_are_those_that_the_robots_filter_lets_through():
    env = closed_form_env()
    rng, spec = np.random.default_rng(0), env.agent_spec
    safety = Safety(spec, SafetyConfig(soft_start_s=0.0))
    safety.request(Event.ENABLE)
    observation, _ = env.reset(seed=0)
    for _ in range(100):
        wanted = rng.uniform([10, 0, 0, 0], [40, 3, 3, 40]).astype(np.float32)
        filtered = safety.decide(wanted, 0, None).copy()
        observation, *_ = env.step(wanted)
        np.testing.assert_array_equal(observation["set_points"], filtered)
        low, high = np.float32(RANGES).T
        assert (observation["set_points"] >= low).all()
        assert (observation["set_points"] <= high).all()


def test_an_agent_may_ask_for_what_lies_about_home_and_inside_the_ranges():
    """Its zero action is where episodes begin, whatever the draw."""
    env = closed_form_env()
    observation, _ = env.reset(seed=1)
    assert observation["set_points"] == pytest.approx(HOME)
    low, high = np.transpose(RANGES)
    assert (low < env.action_space.low).all()
    assert (env.action_space.high <= high).all()
    assert env.action_space.low == pytest.approx(np.subtract(HOME, REACHES))
    assert env.action_space.high == pytest.approx(np.add(HOME, REACHES))


def test_the_plant_is_told_the_ramped_command_and_the_load():
    env = closed_form_env(first_day=3)
    env.reset(seed=0)
    observation, *_ = env.step(np.array([22.0, 1.1, 0.9, 18.0], np.float32))
    supply_c, east, west, chilled_c = observation["set_points"]
    told = env._engine.told[-1]
    assert supply_c == pytest.approx(24.0, abs=1e-3)  # 25 less a kelvin
    assert told[0] == supply_c
    assert told[3] == chilled_c
    assert told[1:3] * 13.0 == pytest.approx(np.array([east, west]) * it_flow(told[6:8]))
    assert observation["it_power"] == pytest.approx(told[6:8])


def test_a_step_pays_for_what_the_plant_takes():
    env = closed_form_env()
    env.reset(seed=0)
    observation, paid, terminated, _, info = env.step(WARM)
    assert not terminated
    hvac_w, it_w, wet_bulb_c = observation["power"].sum(), observation["it_power"].sum(), observation["weather"][1]
    assert paid == pytest.approx(float(reward(hvac_w, observation["inlet_temperature"], it_w, wet_bulb_c)), rel=1e-4)
    assert info["figures"]["pue"] == pytest.approx(
        1 + observation["power"].sum() / observation["it_power"].sum(), rel=1e-6
    )
    assert observation["power"][3] == pytest.approx(observation["it_power"].sum() / COP, rel=1e-6)


def test_hot_air_is_counted_and_no_success():
    env = closed_form_env()
    env.reset(seed=0)
    env.step(np.array([22.0, 1.2, 1.2, 12.0], np.float32))
    over, info = False, {}
    hot = np.array([26.0, 0.8, 0.8, 21.0], np.float32)
    while not over:
        _, _, _, over, info = env.step(hot)
    assert info["success"] is False
    assert 0.9 < info["figures"]["outside_share"] < 1.0  # all but the ramp's first minutes
    assert info["figures"]["inlet_max_c"] > 27.0


def test_an_episode_is_its_days_and_a_seed_is_an_episode():
    def play(seed):
        env = closed_form_env(first_day=40)
        observation, info = env.reset(seed=seed)
        seen, over = [observation], False
        while not over:
            observation, _, _, over, _ = env.step(WARM)
            seen.append(observation)
        return seen, info["randomisation"]

    (one, told), (same, _), (other, _) = play(5), play(5), play(6)
    assert len(one) == 288
    assert all(np.array_equal(a["it_power"], b["it_power"]) for a, b in zip(one, same, strict=True))
    assert not all(np.array_equal(a["it_power"], b["it_power"]) for a, b in zip(one, other, strict=True))
    assert told["first_day"] == 40


def test_a_drawn_episode_can_be_asked_for_again():
    env = closed_form_env()
    _, info = env.reset(seed=11)
    env.reset(seed=12, options=info["randomisation"])
    city = ("chicago", "miami")[int(info["randomisation"]["city"])]
    assert env._engine.started[-1] == env._engine.started[0] == (city, int(info["randomisation"]["first_day"]), 1)


def test_a_quarter_of_an_hour_is_three_timesteps_and_their_mean():
    env = closed_form_env(control_minutes=15)
    env.reset(seed=0)
    assert len(env._engine.told) == 3
    observation, *_ = env.step(WARM)
    assert len(env._engine.told) == 6
    assert observation["it_power"] == pytest.approx(np.mean(env._engine.told[3:], axis=0)[6:8])
    assert env.agent_spec.physics_steps == 3
    steps = 1
    while not env.step(WARM)[3]:
        steps += 1
    assert steps + 1 == 95


def test_time_of_day_is_that_of_the_reading():
    env = closed_form_env()
    observation, _ = env.reset(seed=0)
    for _ in range(71):  # to six in the morning
        observation, *_ = env.step(WARM)
    assert observation["time_of_day"] == pytest.approx([1.0, 0.0], abs=1e-6)
    assert observation["weather"][1] == WET_BULB_C


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"control_minutes": 7}, "control_minutes 7: not a multiple of 5 min that fits a day"),
        ({"days": 0}, "days 0: an episode lasts 1 to 365 days"),
        ({"days": 30, "first_day": 340}, "first_day 340: 30 days from there are not within 0 to 364"),
    ],
)
def test_options_out_of_range_are_named(options, line):
    with pytest.raises(UserError, match=f"^{line}$"):
        closed_form_env(**options)


@pytest.mark.parametrize("action", [np.full(4, np.nan, np.float32), np.zeros(3, np.float32)])
def test_no_command_is_refused(action):
    env = closed_form_env()
    env.reset(seed=0)
    with pytest.raises(ValueError, match="is not 4 finite numbers, °C, 1, 1, °C"):
        env.step(action)


def test_cities_are_named_and_held_out_ones_are_not_learned_on():
    assert parse_cities("held_out") == HELD_OUT
    assert parse_cities("miami, training")[0] == "miami"
    assert not set(HELD_OUT) & set(TRAINING)
    with pytest.raises(UserError, match="weather 'atlantis' is not one of training, held_out, boulder"):
        parse_cities("chicago,atlantis")
