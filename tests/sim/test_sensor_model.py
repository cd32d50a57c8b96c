"""SensorModel, and the ways of samples and commands that it describes: closed forms, refusals."""

import itertools
import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_wm.errors import UserError
from robot_wm_sim.drive import Drive
from robot_wm_sim.frames import rotate_inverse
from robot_wm_sim.sensing.ahead import Ahead
from robot_wm_sim.sensing.channel import SensorChannel
from robot_wm_sim.sensing.command_channel import CommandChannel
from robot_wm_sim.sensing.delay import DelayLine, delay_steps
from robot_wm_sim.sensing.noise import Noise
from robot_wm_sim.sensing.sensor_model import LEGGED_GYM_NOISE, SensorModel
from robot_wm_sim.sensing.sensors import Sensors

RATE_HZ = 500.0
SPEED = np.linspace(-2.0, 2.0, 12)  # [12] rad/s


class Steady:
    """Sensors of an A1 whose joints turn at constant speeds, without physics: their positions are known at any time."""

    def __init__(self, env):
        self.sim, self.task = env.sim, env.task
        self.sensors = Sensors(env.task, env.sim)

    def channel(self, model, seed=0):
        """A channel, and a function that brings the joints to a step and reads there."""
        channel = SensorChannel(self.sensors, model, RATE_HZ, np.random.default_rng(seed))

        def turn_to(step):
            self.sim.state.joint_position[:] = SPEED * step / RATE_HZ
            channel.read(step)

        turn_to(0)
        return channel, turn_to


@pytest.fixture
def steady(build_env):
    env = build_env("a1_velocity")
    env.reset(seed=0)
    return Steady(env)


@given(steps=st.integers(0, 60), period=st.integers(1, 25))
def test_a_reading_is_of_exactly_so_long_ago(steady_once, steps, period):
    """q(t - L), and q(0) until L has passed; L may be longer than the time between two samples."""
    model = SensorModel(observation_latency_s=steps / RATE_HZ)
    channel, turn_to = steady_once.channel(model)
    for step in range(0, 5 * period + 1):
        if step:
            turn_to(step)
        if step % period == 0:
            told = channel.sample(step)
            then_s = max(0, step - steps) / RATE_HZ
            np.testing.assert_allclose(told.joint_position, SPEED * then_s, rtol=0, atol=1e-12)
            assert told.time_s == pytest.approx(then_s)


@pytest.fixture(scope="module")
def steady_once():
    """Steady for tests that change nothing but where its joints are."""
    from robot_wm.tasks import make_env

    env = make_env("a1_velocity").unwrapped
    env.reset(seed=0)
    yield Steady(env)
    env.close()


@given(
    latency_steps=st.integers(0, 30),
    jitter_steps=st.integers(0, 30),
    period=st.integers(1, 12),
    drop=st.sampled_from([0.0, 0.4]),
    seed=st.integers(0, 99),
)
def test_readings_only_where_they_are_due_give_the_samples_of_readings_at_every_step(
    steady_once, latency_steps, jitter_steps, period, drop, seed
):
    """An environment reads where it must, the robot in real time at every step."""
    model = SensorModel(
        observation_latency_s=latency_steps / RATE_HZ, jitter_s=jitter_steps / RATE_HZ, drop_probability=drop
    )
    (every, turn_every), (few, turn_few) = (steady_once.channel(model, seed) for _ in range(2))
    times = [every.sample(0).time_s]
    assert few.sample(0).time_s == times[0]
    for step in range(0, 8 * period, period):
        for at in range(step + 1, step + period + 1):
            turn_every(at)
        for at in few.due(step, period):
            assert step < at <= step + period
            turn_few(at)
        one, other = every.sample(step + period), few.sample(step + period)
        assert one.time_s == other.time_s
        np.testing.assert_array_equal(one.joint_position, other.joint_position)
        times.append(one.time_s)
        assert times[-1] >= times[-2]  # nothing overtakes
        if not drop:
            late_s = (step + period) / RATE_HZ - one.time_s
            assert late_s >= min(latency_steps, step + period) / RATE_HZ - 1e-9
            assert late_s <= (latency_steps + jitter_steps) / RATE_HZ + 1e-9


def test_jitter_is_uniform(steady):
    model = SensorModel(observation_latency_s=0.01, jitter_s=0.04)
    channel, turn_to = steady.channel(model)
    late_steps = []
    for step in range(1, 40 * 300 + 1):  # so rarely asked that none could overtake another
        turn_to(step)
        if step % 40 == 0:
            late_steps.append(step - round(channel.sample(step).time_s * RATE_HZ))
    counts = np.bincount(late_steps, minlength=26)
    assert counts[:5].sum() == 0
    assert len(counts) == 26  # 5 to 25 steps
    assert counts[6:25].min() > 0
    assert np.mean(late_steps) == pytest.approx(15.0, abs=4 * 20 / math.sqrt(12 * 300))


def test_a_lost_sample_is_the_last_one_once_more_and_nothing_else_of_the_rest_changes(steady):
    noise = {"joint_position": 0.1}
    lossy, turn_lossy = steady.channel(SensorModel(drop_probability=0.3, noise_std=noise))
    told = []
    for step in range(0, 1001):
        if step:
            turn_lossy(step)
        told.append(lossy.sample(step))
    lost = [b.time_s == a.time_s for a, b in itertools.pairwise(told)]
    assert np.mean(lost) == pytest.approx(0.3, abs=4 * math.sqrt(0.3 * 0.7 / 1000))
    for was_lost, before, now, step in zip(lost, told, told[1:], range(1, 1001), strict=False):
        assert np.array_equal(before.joint_position, now.joint_position) == was_lost
        assert was_lost or now.time_s == step / RATE_HZ


def test_the_k_th_sample_has_the_k_th_draws_whatever_is_drawn_ahead(steady):
    """Logged episodes come again: noise, delays and losses are those of a generator that is asked sample by sample."""
    model = SensorModel(
        jitter_s=0.02, drop_probability=0.3, noise_std={"joint_position": 0.1}, bias={"joint_position": 0.5}
    )
    channel, turn_to = steady.channel(model, seed=9)
    noise, fate = np.random.default_rng(9).spawn(2)
    elements = sum(steady.sensors.elements.values())
    read_at, told = 0, None
    for step in range(300):
        if step:
            turn_to(step)
        jitter, loss = fate.random(2)
        if told is None or loss >= 0.3:
            read_at = max(read_at, step - math.floor(jitter * 0.02 * RATE_HZ + 0.5))
            told = SPEED * read_at / RATE_HZ + (noise.standard_normal(elements)[:12] * 0.1 + 0.5)
        sample = channel.sample(step)
        assert sample.time_s == read_at / RATE_HZ
        assert sample.joint_position.tobytes() == told.tobytes()


def test_commands_jitter_as_those_of_a_generator_that_is_asked_one_by_one():
    model = SensorModel(action_latency_s=0.004, jitter_s=0.03)
    channel, rng = CommandChannel(model, RATE_HZ, np.random.default_rng(5)), np.random.default_rng(5)
    expected, arrived = [], {}
    for step in range(1100):
        if step % 10 == 0 and step < 1000:
            channel.send(step, step)
            expected.append(step + math.floor((0.004 + 0.03 * rng.random()) * RATE_HZ + 0.5))
        arrived |= dict.fromkeys(channel.take(step), step)
    assert [*arrived] == [*range(0, 1000, 10)]
    assert [*arrived.values()] == np.maximum.accumulate(expected).tolist()  # none overtakes


@given(asked=st.lists(st.tuples(st.integers(0, 50), st.integers(0, 3)), max_size=40))
def test_events_ahead_are_those_that_come(asked):
    """Looking any distance ahead, and taking now and then, in any order."""
    rng = np.random.default_rng(3)
    ahead, past = Ahead(lambda count: rng.random(count).tolist()), 0
    events = np.random.default_rng(3).random(500)
    for distance, takes in asked:
        assert ahead.peek(distance) == events[past + distance]
        for _ in range(takes):
            assert ahead.take() == events[past]
            past += 1


def test_a_sample_is_the_caller_s_own(steady):
    channel, _ = steady.channel(SensorModel(drop_probability=0.999))
    channel.sample(0).joint_position[:] = math.nan
    assert np.isfinite(channel.sample(0).joint_position).all()


def test_an_accelerometer_tells_the_mean_of_the_steps_since_the_last_look(build_env):
    """The steps of an environment are taken several at once: free fall is felt as nothing all the same."""
    env = build_env("a1_velocity")
    env.reset(seed=0)
    env.sim.place(joint_position=env.sim.state.joint_position.copy(), base_position=(0.0, 0.0, 2.0))
    sensors = Sensors(env.task, env.sim)
    sensors.before_run(10)
    env.sim.run(Drive.braking(env.task.scene.robot), 10)
    np.testing.assert_allclose(sensors.sample(sensors.read(0.02)).linear_acceleration, 0.0, atol=0.3)


def test_a_bias_is_in_every_sample_and_tilts_the_imu(steady):
    bias = {"joint_position": np.arange(12) / 100, "gravity": (0.02, -0.01), "linear_velocity": 0.5}
    (biased, _), (true, _) = (steady.channel(SensorModel(bias=given)) for given in (bias, {}))
    base = steady.sim.state.base_quaternion
    base[:] = (0.0, 0.0, 0.0, 1.0)
    for channel in (biased, true):
        channel.read(1)
    for _ in range(3):
        told, truth = biased.sample(1), true.sample(1)
        np.testing.assert_allclose(told.joint_position - truth.joint_position, np.arange(12) / 100, atol=1e-15)
        np.testing.assert_allclose(told.linear_velocity - truth.linear_velocity, 0.5)
        # Turned by a about x and b about y, level ground's down (0, 0, -1) is (b, -a, -1) to first order.
        down = rotate_inverse(told.orientation, (0.0, 0.0, -1.0))
        np.testing.assert_allclose(down, (-0.01, -0.02, -1.0), atol=3e-4)
        np.testing.assert_array_equal(told.joint_velocity, truth.joint_velocity)


def test_noise_is_white(steady):
    noisy, _ = steady.channel(SensorModel(noise_std={"joint_velocity": 1.5}))
    errors = np.array([noisy.sample(0).joint_velocity for _ in range(2000)])
    errors -= steady.sim.state.joint_velocity
    assert errors.std(axis=0) == pytest.approx(1.5, rel=0.09)  # five standard errors
    assert abs(errors.mean(axis=0)).max() < 5 * 1.5 / math.sqrt(2000)
    together = np.corrcoef(np.hstack([errors[:-1], errors[1:]]).T)  # [24, 24]: of joints, and of two samples in turn
    assert abs(together - np.eye(24)).max() < 5 / math.sqrt(2000)


def test_a_coupling_has_the_noise_of_its_joints_mean(build_env):
    env = build_env("racecar_goal", observation="proprio")
    env.reset(seed=0)
    model = SensorModel(noise_std={"joint_velocity": 1.0})
    channel = SensorChannel(Sensors(env.task, env.sim), model, RATE_HZ, np.random.default_rng(0))
    channel.read(0)
    speeds = np.array([channel.sample(0).joint_velocity for _ in range(2000)])
    np.testing.assert_allclose(speeds[:, -2], speeds[:, :4].mean(axis=1), atol=1e-12)
    assert speeds[:, -2].std() == pytest.approx(0.5, rel=0.09)


@given(delays=st.lists(st.floats(0.0, 0.2), min_size=1, max_size=20))
def test_commands_come_in_order_and_no_earlier_than_sent(delays):
    line = DelayLine()
    for sent, delay_s in enumerate(delays):
        line.put(sent, sent + delay_steps(delay_s, RATE_HZ))
    arrived = []
    for step in range(200):
        for sent in line.take(step):
            assert step >= sent + delay_steps(delays[sent], RATE_HZ)
            arrived.append(sent)
        assert line.next_step is None or line.next_step > step
    assert arrived == list(range(len(delays)))


def test_a_command_s_jitter_is_within_its_bounds():
    model = SensorModel(action_latency_s=0.01, jitter_s=0.02)
    channel = CommandChannel(model, RATE_HZ, np.random.default_rng(0))
    late = []
    for number in range(400):
        channel.send(number, 100 * number)
        late.append(channel.next_step - 100 * number)
        channel.take(channel.next_step)
    assert (min(late), max(late)) == (5, 15)
    assert set(late) == set(range(5, 16))


@pytest.mark.parametrize(("delay_s", "steps"), [(0.0, 0), (0.0009, 0), (0.001, 1), (0.006, 3), (0.007, 4), (0.0069, 3)])
def test_a_delay_is_rounded_to_physics_steps(delay_s, steps):
    assert delay_steps(delay_s, RATE_HZ) == steps


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"observation_latency_s": -0.1}, r"observation_latency_s must be within \[0, 10\] s, got -0.1"),
        ({"action_latency_s": math.nan}, r"action_latency_s must be within \[0, 10\] s, got nan"),
        ({"jitter_s": 11}, r"jitter_s must be within \[0, 10\] s, got 11"),
        ({"jitter_s": True}, r"jitter_s must be within \[0, 10\] s, got True"),
        ({"drop_probability": 1.0}, "drop_probability must be at least 0 and below 1, got 1.0"),
        ({"noise_std": {"gravity": -0.1}}, "noise_std gravity must be at least 0, got -0.1"),
        ({"noise_std": {"gravity": [0.1, math.inf]}}, "noise_std gravity must be at least 0, got inf"),
        ({"noise_std": {"gravity": "a"}}, "noise_std gravity must be at least 0, got 'a'"),
        ({"bias": {"gravity": math.nan}}, "bias gravity must be finite, got nan"),
        ({"bias": {"gravity": ()}}, r"bias gravity must be finite, got \(\)"),
        ({"bias": 0.1}, "bias must go by the names of what is read, got 0.1"),
    ],
)
def test_a_model_that_cannot_be_is_refused(given, message):
    with pytest.raises(UserError, match=f"^{message}"):
        SensorModel(**given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"noise_std": {"tool_position": 0.1}}, "noise_std tool_position: no sensor of this task reads it; they read "),
        ({"bias": {"joint_position": [0.1] * 11}}, "bias joint_position: 11 numbers for 12 elements"),
    ],
)
def test_a_model_that_does_not_fit_the_task_is_refused(build_env, given, message):
    env = build_env("a1_velocity")
    with pytest.raises(UserError, match=message):
        Noise(SensorModel(**given), Sensors(env.task, env.sim))
    with pytest.raises(UserError, match=message):
        env.reset(options={"sensor_model": SensorModel(**given)})


def test_a_model_is_frozen_compared_by_value_and_sent_to_other_processes():
    given = {"joint_position": [0.1, 0.2]}
    model = SensorModel(noise_std=given, bias={"gravity": np.array([0.1, 0.2])})
    given["joint_position"][0] = 5.0
    assert model == pickle.loads(pickle.dumps(model))
    assert model.noise_std == {"joint_position": (0.1, 0.2)}
    assert model != SensorModel()
    with pytest.raises(AttributeError):
        model.jitter_s = 1.0
    assert SensorModel().is_exact
    assert SensorModel().is_prompt
    assert not SensorModel(noise_std=LEGGED_GYM_NOISE).is_exact
