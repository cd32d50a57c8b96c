"""Ranges of randomised quantities: what is read, what is drawn of them, and the line with which the rest is refused."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_wm.errors import UserError
from robot_wm.tasks import make_env
from robot_wm_sim.randomisation.draw import Draw, Parts, draw, drawn_names
from robot_wm_sim.randomisation.ranges import BOUNDS, NONE, Randomisation, Range, load_randomisation
from robot_wm_sim.scene import Scene
from robot_wm_sim.sensing.sensor_model import SensorModel

PRESETS = ("none", "mild", "sim2real", "harsh", "rough")
PARTS = Parts(
    links=("body", "arm"),
    base="body",
    gravity=9.81,
    effort={"hinge": 10.0, "rail": 40.0},
    damping={"hinge": 0.5, "rail": 0.0},
    friction={"hinge": 0.0, "rail": 0.25},
    joints=("hinge", "rail", "loose"),
    rotating=("hinge", "loose"),
    elements={
        **dict.fromkeys(("joint_position", "joint_velocity", "joint_effort", "angular_velocity"), 3),
        "gravity": 2,
    },
)
shares = st.floats(0.0, 1.0, exclude_max=True)


def drawn(randomisation, seed=0):
    return draw(randomisation, np.random.default_rng(seed), PARTS).numbers


@given(low=st.floats(-1e3, 1e3), width=st.floats(0.0, 1e3), share=shares)
def test_a_uniform_value_is_within_its_range_and_where_its_share_says(low, width, share):
    value = Range(low, low + width).at(share)
    assert low <= value <= low + width
    assert value == pytest.approx(low + share * width, rel=1e-9, abs=1e-9)


@given(low=st.floats(1e-6, 1e3), factor=st.floats(1.0, 1e6), share=shares)
def test_the_logarithm_of_a_log_uniform_value_is_uniform(low, factor, share):
    value = Range(low, low * factor, log=True).at(share)
    assert low <= value <= low * factor
    assert math.log(value) == pytest.approx(math.log(low) + share * math.log(factor), abs=1e-9)


@pytest.mark.parametrize("preset", PRESETS)
@given(seed=st.integers(0, 2**32 - 1))
def test_every_number_of_a_preset_is_within_its_range_and_within_physics(preset, seed):
    randomisation = load_randomisation(preset)
    numbers = drawn(randomisation, seed)
    for name, value in numbers.items():
        if name == "terrain_level":
            assert value == randomisation.terrain_levels
            continue
        if name in ("push_seed", "terrain_seed"):
            assert value == int(value)
            assert 0 <= value < 2**32
            continue
        low, high, _ = randomisation.range_of(name)
        bounds = BOUNDS[name.split("/")[0]]
        assert bounds.low <= low <= value <= high <= bounds.high
    found = Draw.from_numbers(numbers, PARTS)
    assert found.numbers == numbers
    found.dynamics(PARTS)  # refuses what physics does not have
    found.sensor_model(SensorModel(), PARTS)


def test_draws_fill_their_range():
    spread = [drawn(Randomisation(friction=[0.3, 1.25]), seed)["friction"] for seed in range(400)]
    assert 0.3 <= min(spread) < 0.32
    assert 1.23 < max(spread) <= 1.25
    assert np.mean(spread) == pytest.approx(0.775, abs=0.04)


def test_elements_and_joints_are_drawn_each_for_itself():
    numbers = drawn(Randomisation(joint_offset_rad={"plus_minus": 0.02}, bias={"gravity": {"plus_minus": 0.02}}))
    assert set(numbers) == {"joint_offset_rad/hinge", "joint_offset_rad/loose", "bias/gravity/0", "bias/gravity/1"}
    assert len(set(numbers.values())) == 4


def test_another_range_of_one_quantity_changes_no_other():
    sim2real = load_randomisation("sim2real")
    ours = drawn(sim2real)
    fewer = drawn(sim2real.model_copy(update={"friction": None, "bias": {}}))
    assert {**ours, **fewer} == ours
    assert len(fewer) == len(ours) - 1 - 5
    wider = drawn(sim2real.model_copy(update={"friction": Range(0.3, 2.2)}))
    assert wider["friction"] - 0.3 == pytest.approx(2 * (ours["friction"] - 0.3))


def test_ranges_are_read_in_all_their_forms():
    found = Randomisation.model_validate(
        {
            "friction": [0.5, 1],
            "mass_scale": 1.1,
            "armature_s2": {"log": [0.001, 0.01]},
            "joint_offset_rad": {"plus_minus": 0.02},
        }
    )
    assert found.friction == Range(0.5, 1.0)
    assert found.mass_scale == Range(1.1, 1.1)
    assert found.armature_s2 == Range(0.001, 0.01, log=True)
    assert found.joint_offset_rad == Range(-0.02, 0.02)
    assert Randomisation.model_validate("none").is_none


def test_presets_widen_from_none_to_harsh():
    sim2real, harsh = load_randomisation("sim2real"), load_randomisation("harsh")
    assert drawn_names(NONE, PARTS) == drawn_names(load_randomisation("none"), PARTS) == ()
    assert set(drawn_names(load_randomisation("mild"), PARTS)) < set(drawn_names(sim2real, PARTS))
    assert drawn_names(sim2real, PARTS) == drawn_names(harsh, PARTS)
    for name in drawn_names(sim2real, PARTS):
        if not name.startswith("push"):
            wide, narrow = harsh.range_of(name), sim2real.range_of(name)
            assert wide.low <= narrow.low <= narrow.high <= wide.high


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("friction: [1.2, 0.3]", "friction: the range is inverted: 1.2 is above 0.3, unit 1"),
        ("base_mass_scale: [-1, 2]", "base_mass_scale: -1 is not within [0.05, 20], unit 1"),
        ("observation_latency_s: [0, 20]", "observation_latency_s: 20 is not within [0, 1], unit s"),
        ("armature_s2: {log: [0, 0.1]}", "armature_s2: a logarithmic range begins above 0, not at 0, unit s²"),
        ("friction: much", "friction: 'much' is not a number"),
        ("friction: [0.5, .nan]", "friction: nan is not within [0, 10], unit 1"),
        ("friction: [1]", "friction: a range has two ends"),
        ("friction: {normal: [1, 2]}", "friction: a range is [low, high], {log: [low, high]}"),
        ("frictoin: [0.5, 1]", "frictoin: Extra inputs are not permitted"),
        ("torque_limit: [0.5, 1]", "torque_limit: Extra inputs are not permitted"),
        ("noise_std: {gravity: [-0.1, 0.1]}", "noise_std: gravity: -0.1 is not within [0, 1000], unit the sensor's"),
        ("noise_std: 0.1", "noise_std: ranges by the names of sensors are needed"),
        ("push_speed_m_s: [0.5, 1]", "push_speed_m_s (m/s) and push_interval_s (s) go together"),
        ("terrain_height_m: [0, 2]", "terrain_height_m: 2 is not within [0, 0.5], unit m"),
        ("terrain_levels: 3", "terrain_levels are those of terrain_height_m (m), which is not given"),
        ("terrain_height_m: 0.1\nterrain_levels: 0", "terrain_levels: Input should be greater than or equal to 1"),
        ("extends: gentle", "extends: 'gentle' is not a preset (harsh, mild, none, rough, sim2real, stumbles)"),
        ("extends: mild\nfriction: [1, 0]", "friction: the range is inverted"),
        ("skip_where_impossible: [friction]", "skip_where_impossible: 'friction' is not among armature_s2"),
    ],
)
def test_a_bad_file_is_refused_in_one_line_that_names_it(tmp_path, text, message):
    path = tmp_path / "mine.yaml"
    path.write_text(text + "\n")
    with pytest.raises(UserError) as refusal:
        make_env("cartpole_balance", randomisation=str(path))
    told = str(refusal.value)
    assert told.startswith(f"{path}: {message}")
    assert "\n" not in told


def test_what_is_no_preset_and_no_file_is_refused(tmp_path):
    presets = r"\(harsh, mild, none, rough, sim2real, stumbles\)"
    with pytest.raises(UserError, match=f"randomisation 'hard' is neither a preset {presets}"):
        load_randomisation("hard")
    with pytest.raises(UserError, match=r"absent\.yaml: cannot read it: No such file"):
        load_randomisation(str(tmp_path / "absent.yaml"))


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        (3, "a draw is numbers by name, got 3"),
        ({"frictoin": 1.0}, "frictoin: no such quantity here"),
        ({"joint_offset_rad/rail": 0.01}, "joint_offset_rad/rail: no such quantity here"),
        ({"bias/gravity/2": 0.01}, "bias/gravity/2: no such quantity here"),
        ({"mass_scale": -1.0}, r"mass_scale: -1 is not within \[0.05, 20\], unit 1"),
        ({"friction": True}, "friction: True is not a number"),
        ({"push_speed_m_s": 1.0}, "push_speed_m_s: pushes need push_speed_m_s, push_interval_s, push_seed"),
        ({"terrain_height_m": 0.1}, "a terrain needs terrain_height_m and terrain_seed"),
        ({"terrain_seed": 1.0, "terrain_level": 1.0}, "a terrain needs terrain_height_m and terrain_seed"),
        (
            {"terrain_seed": -1.0, "terrain_height_m": 0.1},
            r"terrain_seed: -1 is not within \[0, 4.2",
        ),
    ],
)
def test_a_logged_draw_that_cannot_be_is_refused(numbers, message):
    with pytest.raises(UserError, match=f"^randomisation: {message}"):
        Draw.from_numbers(numbers, PARTS)


def test_a_logged_nan_is_a_quantity_that_was_not_drawn():
    assert Draw.from_numbers({"friction": 0.5, "mass_scale": math.nan}, PARTS).numbers == {"friction": 0.5}


def test_physics_is_told_absolute_values():
    numbers = {
        "friction": 0.4,
        "mass_scale": 1.1,
        "base_mass_scale": 1.5,
        "com_offset_m/x": 0.01,
        "com_offset_m/y": -0.02,
        "com_offset_m/z": 0.03,
        "joint_friction": 0.02,
        "joint_damping_s": 0.001,
        "armature_s2": 0.0005,
        "gravity_offset_m_s2": 0.19,
    }
    dynamics = Draw(numbers).dynamics(PARTS)
    assert dynamics.friction == 0.4
    assert dynamics.mass_scale == {"body": pytest.approx(1.65), "arm": 1.1}
    assert dynamics.com_offset == {"body": (0.01, -0.02, 0.03)}
    assert dynamics.joint_friction == {"hinge": pytest.approx(0.2), "rail": pytest.approx(1.05)}
    assert dynamics.joint_damping == {"hinge": pytest.approx(0.51), "rail": pytest.approx(0.04)}
    assert dynamics.armature == {"hinge": pytest.approx(0.005), "rail": pytest.approx(0.02)}
    assert dynamics.gravity == (0.0, 0.0, pytest.approx(-10.0))


def test_the_way_to_the_agent_is_the_draw_s_where_drawn_and_else_the_task_s():
    base = SensorModel(observation_latency_s=0.1, jitter_s=0.2, noise_std={"gravity": 0.3, "joint_velocity": 0.4})
    numbers = {
        "observation_latency_s": 0.01,
        "action_latency_s": 0.02,
        "drop_probability": 0.03,
        "noise_std/gravity": 0.05,
        "bias/joint_position/2": 0.5,
        "joint_offset_rad/hinge": 0.02,
    }
    assert Draw(numbers).sensor_model(base, PARTS) == SensorModel(
        observation_latency_s=0.01,
        action_latency_s=0.02,
        jitter_s=0.2,
        drop_probability=0.03,
        noise_std={"gravity": 0.05, "joint_velocity": 0.4},
        bias={"joint_position": (0.02, 0.0, 0.5)},
    )


def test_a_robot_s_parts_are_those_of_its_description(build_env):
    env = build_env("a1_velocity")
    scene: Scene = env.task.scene
    parts = Parts.of(scene, env._sensors)
    assert parts.base == "trunk"
    assert {"trunk", "FR_toe", "imu_link"} <= set(parts.links)
    assert parts.rotating == parts.joints == scene.robot.joint_names
    assert set(parts.effort.values()) == {33.5}
    panda = build_env("panda_reach")
    arm = Parts.of(panda.task.scene, panda._sensors)
    assert arm.base is None
    assert len(arm.joints) - len(arm.rotating) == 2  # its fingers slide


def test_an_extended_preset_has_its_ranges_and_leaves_out_what_either_leaves_out(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("extends: mild\nfriction: [0.5, 0.7]\nskip_where_impossible: [terrain_height_m]\n")
    found, mild = load_randomisation(str(path)), load_randomisation("mild")
    assert found.friction == Range(0.5, 0.7)
    assert found.skip_where_impossible == mild.skip_where_impossible | {"terrain_height_m"}
    own = {"friction", "skip_where_impossible"}
    assert found.model_dump(exclude=own) == mild.model_dump(exclude=own)
    assert found.kp_scale is not None


def test_a_terrain_changes_no_other_number_of_a_seed():
    rough, sim2real = drawn(load_randomisation("rough"), 7), drawn(load_randomisation("sim2real"), 7)
    assert rough.items() >= sim2real.items()
    assert sim2real["push_seed"] == 3780997810.0  # as it was before there were terrains
    assert rough.keys() - sim2real.keys() == {"terrain_height_m", "terrain_seed", "terrain_level"}


@given(seed=st.integers(0, 2**32 - 1), level=st.integers(0, 8))
def test_a_level_is_a_share_of_the_range_and_changes_nothing_else(seed, level):
    ranges = Randomisation(terrain_height_m=[0.01, 0.09], terrain_levels=8, friction=[0.1, 0.9])
    whole = drawn(ranges, seed)
    found = draw(ranges, np.random.default_rng(seed), PARTS, terrain_level=level).numbers
    assert found["terrain_level"] == level
    assert whole["terrain_level"] == 8
    share = (whole["terrain_height_m"] - 0.01) / 0.08
    assert found["terrain_height_m"] == pytest.approx(0.01 + 0.08 * share * level / 8, abs=1e-12)
    for name in ("terrain_seed", "friction"):
        assert found[name] == whole[name]


def test_zeros_of_encoders_may_have_ranges_of_their_own(tmp_path):
    """By joint; those of other joints stay where they are, and a joint that is not there is refused by name."""
    path = tmp_path / "own.yaml"
    path.write_text("joint_offset_rad: {FR_hip_joint: [0.01, 0.02], RL_lower_joint: {plus_minus: 0.03}}\n")
    with make_env("a1_velocity", randomisation=str(path)) as env:
        drawn = env.reset(seed=0)[1]["randomisation"]
    assert drawn.keys() == {"joint_offset_rad/FR_hip_joint", "joint_offset_rad/RL_lower_joint"}
    assert 0.01 <= drawn["joint_offset_rad/FR_hip_joint"] <= 0.02
    path.write_text("joint_offset_rad: {FR_knee: 0.01}\n")
    with pytest.raises(UserError, match=r"own.yaml: joint_offset_rad: FR_knee: no turning joint of this robot"):
        make_env("a1_velocity", randomisation=str(path))
    path.write_text("joint_offset_rad: {FR_hip_joint: 0.9}\n")
    with pytest.raises(UserError, match=r"joint_offset_rad: FR_hip_joint: 0.9 is not within \[-0.5, 0.5\], unit rad"):
        make_env("a1_velocity", randomisation=str(path))


@pytest.mark.parametrize("quantity", ["joint_friction", "joint_damping_s", "armature_s2"])
def test_what_goes_by_the_motor_s_effort_may_have_ranges_by_joint(quantity, tmp_path):
    """One draw is all joints'; by name each has its own, others are as built, and no other number differs for it."""
    one, two = sorted(PARTS.effort)[:2]
    everywhere = drawn(Randomisation(**{quantity: [0.1, 0.3]}, friction=[0.1, 0.9]), 5)
    named = drawn(Randomisation(**{quantity: {one: [0.1, 0.3]}}, friction=[0.1, 0.9]), 5)
    assert everywhere.keys() == {quantity, "friction"}
    assert named.keys() == {f"{quantity}/{one}", "friction"}
    assert named["friction"] == everywhere["friction"]
    field = {"joint_damping_s": "joint_damping", "armature_s2": "armature"}.get(quantity, quantity)
    built = {"joint_damping_s": PARTS.damping, "joint_friction": PARTS.friction}.get(quantity, {})
    found = getattr(Draw({quantity: 0.1, f"{quantity}/{one}": 0.2}).dynamics(PARTS), field)
    assert found == {
        name: pytest.approx(built.get(name, 0.0) + (0.2 if name == one else 0.1) * effort)
        for name, effort in PARTS.effort.items()
    }
    assert set(getattr(Draw({f"{quantity}/{two}": 0.2}).dynamics(PARTS), field)) == {two}
    path = tmp_path / "own.yaml"
    path.write_text(f"{quantity}: {{FR_knee: 0.01}}\nskip_where_impossible: [armature_s2]\n")
    with pytest.raises(UserError, match=rf"own.yaml: {quantity}: FR_knee: no motor of this robot; there are FR_hip"):
        make_env("a1_velocity", randomisation=str(path))
