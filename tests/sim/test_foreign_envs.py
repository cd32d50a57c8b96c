"""Environments that other people wrote and that keep to Gymnasium's interface more or less: accepted, or one line."""

import re
from pathlib import Path

import numpy as np
import pytest
from foreign_envs import IMAGE, TASK, Unreadable, begin, boom, gives, observing
from gymnasium import spaces

from robot_wm.errors import StoppedError, UserError
from robot_wm.figures import episode_figures
from robot_wm.tasks import make_env


@pytest.mark.parametrize(
    ("attributes", "told"),
    [
        ({"step": gives(10**400, False, False, {})}, "reward is 1000.*, not one number"),
        ({"step": gives(10**5000, False, False, {})}, "reward is a int that cannot be shown, not one number"),
        ({"step": gives(Unreadable(), False, False, {})}, "reward is a Unreadable that .*, not one number"),
        ({"step": gives(1.0, np.nan, False, {})}, "terminated is nan, not true or false"),
        (observing(Unreadable()), "observation: a Unreadable, .*, not numbers"),
        (observing([10**400, 0, 0]), "observation: a list, .*, not numbers"),
        (observing(Unreadable(), IMAGE), "image: a Unreadable, not an array"),
        (observing(Unreadable(), spaces.Discrete(3)), "observation: a Unreadable, .*, which is not in its space"),
        (observing(Unreadable(), spaces.Dict(a=spaces.Discrete(2))), "observation a: not in the observation that"),
        ({"step": gives(None, False, False, {})}, "reward is None, not one number"),
        ({"step": gives("1", False, False, {})}, "reward is '1', not one number"),
        ({"step": gives(np.ones(2), False, False, {})}, r"reward is an array of shape \(2,\), not one number"),
        ({"step": gives(np.nan, False, False, {})}, "reward is nan; it must be finite"),
        ({"step": gives(-1e300, False, False, {})}, r"reward is -1e\+300; it must be finite, and within float32"),
        ({"step": gives(1.0, None, False, {})}, "terminated is None, not true or false"),
        ({"step": gives(1.0, False, "no", {})}, "truncated is 'no', not true or false"),
        ({"step": gives(1.0, False)}, r"step\(\) gives 3 values, not \(observation, reward"),
        ({"step": lambda self, action: None}, r"step\(\) gives a NoneType, not \(observation"),
        (observing([0.0, np.inf, 0.0]), "observation: element 1 is inf; it must be finite"),
        (observing(np.array([0, 0, 1e300])), r"observation: element 2 is 1e\+300; .* within float32"),
        (observing(np.zeros(2)), r"observation: shape \(2,\), but its space says \(3,\)"),
        (observing(["a", "b", "c"]), "observation: a list, .*, not numbers"),
        (observing([[0.0], [0.0, 1.0]]), "observation: a list, .*, not numbers"),
        (observing(None), "observation: shape|observation: a NoneType"),
        (observing({"a": np.zeros(3)}), "observation: a dict, .*, not numbers"),
        (observing({}, spaces.Dict(a=spaces.Discrete(2))), "observation a: not in the observation that"),
        (observing(5, spaces.Discrete(3, start=2)), r"observation: a int, 5, which is not in its space Discrete\(3"),
        (observing(1.5, spaces.Discrete(3)), "observation: a float, 1.5, which is not in its space"),
        (observing("x", spaces.Discrete(3)), "observation: a str, 'x', which is not in its space"),
        (observing([0, 3], spaces.MultiBinary(2)), "observation: a list, .*, which is not in its space"),
        (observing(np.full((8, 8, 3), 0.5), IMAGE), r"image: float64 values 0\.5\.\.0\.5; pixels are uint8, 0\.\.255"),
        (observing(np.full((8, 8, 3), 300), IMAGE), r"image: int64 values 300\.\.300; pixels are uint8"),
        (observing(np.full((8, 8, 3), -1.0), IMAGE), r"image: float64 values -1\.\.-1; pixels are uint8"),
        (observing(np.full((8, 8, 3), np.nan), IMAGE), r"image: float64 values nan\.\.nan; pixels are uint8"),
        (observing(np.full((8, 8, 3), "x"), IMAGE), r"image: values of type <U1; pixels are uint8"),
        (observing(np.zeros((3, 8, 8), np.uint8), IMAGE), r"image: shape \(3, 8, 8\), but its space says \(8, 8, 3\)"),
    ],
)
def test_what_the_spaces_do_not_say_is_one_line_with_task_and_field(foreign, attributes, told):
    with pytest.raises(UserError, match=f"^task {TASK}: (observation )?({told})"):
        begin(foreign(**attributes))


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (gives(np.ones(1), False, False, {}), (1.0, False, False)),
        (gives(np.float64(2), np.bool_(True), np.array([False]), {}), (2.0, True, False)),
        (gives(1, 0, 1, None), (1.0, False, True)),
        # Gym before 0.26
        (gives(1.0, True, {}), (1.0, True, False)),
        (gives(1.0, False, {}), (1.0, False, False)),
        (gives(1.0, True, {"TimeLimit.truncated": True}), (1.0, False, True)),
    ],
)
def test_numbers_in_arrays_and_steps_of_old_gym_are_taken(foreign, step, expected):
    env = foreign(step=step)
    env.reset()
    assert env.step([0.0, 0.0])[1:4] == expected


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(-1e300, 1e300, (2,), np.float64),  # an action would be infinite as float32
        spaces.Box(0.0, 1e-60, (2,), np.float64),  # and here nothing
        spaces.Box(np.float32([-1, 0]), np.float32([1, np.inf])),
        spaces.Box(-1.0, 1.0, (0,)),
    ],
)
def test_an_action_that_float32_does_not_hold_is_refused_with_its_space(foreign, space):
    with pytest.raises(UserError, match=f"^task {TASK}: its action space Box.* is unbounded or empty"):
        foreign(action_space=space)


def test_a_reset_without_infos_is_taken(foreign):
    assert foreign(reset=lambda self, **_: (self.observe(), None)).reset()[1] == {}


def test_a_figure_that_is_named_twice_is_one_and_unreadable_ones_are_not_told(foreign):
    env = foreign(figure_names=["x", "x", "y"], step=gives(1.0, True, False, {"figures": {"x": 2, "y": Unreadable()}}))
    assert env.figure_names == ("x", "y")
    env.reset()
    told = episode_figures(env.figure_names, env.step([0.0, 0.0])[4])
    assert told["x"] == 2
    assert np.isnan(told["y"])


def test_a_reset_of_old_gym_gives_the_observation_alone(foreign):
    observation, info = foreign(reset=lambda self, **_: self.observe()).reset()
    np.testing.assert_array_equal(observation["observation"], [0, 1, 2])
    assert info == {}


@pytest.mark.parametrize(
    ("value", "space", "expected"),
    [
        ([0.0, 1.0, 2.0], None, [0, 1, 2]),
        (np.arange(3.0).reshape(1, 3), None, [0, 1, 2]),
        (np.int8(1), spaces.Discrete(3), [0, 1, 0]),
        (np.array([1]), spaces.Discrete(3), [0, 1, 0]),
        (1.0, spaces.Discrete(3), [0, 1, 0]),
        ([True, False], spaces.MultiBinary(2), [1, 0]),
        (7, spaces.Box(0, 9, (), np.int64), [7]),
    ],
)
def test_exact_values_of_another_type_are_taken(foreign, value, space, expected):
    observation, _ = foreign(**observing(value, space)).reset()
    np.testing.assert_array_equal(observation["observation"], np.float32(expected))


def test_whole_pixels_of_another_type_are_taken(foreign):
    observation, _ = foreign(**observing(np.full((8, 8, 3), 255.0), IMAGE)).reset()
    assert (observation["image"] == 255).all()
    assert observation["image"].dtype == np.uint8


def test_an_observation_is_not_changed_by_the_next_step(foreign):
    buffer = np.zeros(3, np.float32)

    def step(self, action):
        buffer[:] += 1
        return buffer, 1.0, False, False, {}

    env = foreign(step=step, **observing(buffer))
    first, _ = env.reset()
    env.step([0.0, 0.0])
    assert not first["observation"].any()


def test_an_environment_that_changes_its_action_gets_the_same_one_again(foreign):
    taken = []

    def step(self, action):
        taken.append(action.tolist())
        action[:] = 99
        return self.observe(), 1.0, False, False, {}

    env = foreign({"action_repeat": 2}, step=step)
    env.reset()
    env.step(np.float32([0.5, -0.5]))
    assert taken == [[0.5, -0.5]] * 2


def leave(*_, **__):
    raise SystemExit(0)


class PanicError(BaseException):
    """As Rust's in Python is no Exception."""

    def __str__(self):
        raise RuntimeError("no text")


def leave_in_panic(*_, **__):
    raise PanicError


@pytest.mark.parametrize(
    ("attributes", "told"),
    [
        ({"__init__": boom}, "making it raised ValueError: joint exploded"),
        ({"observation_space": property(boom)}, "its spaces raised ValueError: joint exploded"),
        ({"reset": boom}, r"reset\(\) raised ValueError: joint exploded"),
        ({"step": boom}, r"step\(\) raised ValueError: joint exploded"),
        ({"step": leave}, r"step\(\) raised SystemExit: 0"),
        ({"step": leave_in_panic}, r"step\(\) raised PanicError: a PanicError that cannot be shown"),
        ({"render": boom}, r"render\(\) raised ValueError: joint exploded"),
        (
            {"get_action_meanings": boom, "action_space": spaces.Discrete(2)},
            r"get_action_meanings\(\) raised ValueError",
        ),
    ],
)
def test_what_an_environment_raises_is_one_line_and_its_traceback_a_file(foreign, attributes, told):
    with pytest.raises(UserError, match=f"^task {TASK}: {told}") as caught:
        begin(foreign({"observation": "image"} if "render" in attributes else None, **attributes))
    log = Path(re.search(r"traceback: (\S+\.log)\)$", str(caught.value))[1])
    assert "Traceback" in log.read_text()
    assert "in boom" in log.read_text() or "in leave" in log.read_text()
    log.unlink()


def test_a_module_that_raises_at_import_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "raises_at_import.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UserError, match="importing raises_at_import raised ZeroDivisionError") as caught:
        make_env("gym:raises_at_import:X-v0")
    Path(re.search(r"traceback: (\S+)\)", str(caught.value))[1]).unlink()


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, "stopped"])
def test_a_users_stop_is_not_taken_for_the_environments_fault(foreign, interruption):
    kind = StoppedError if interruption == "stopped" else interruption

    def step(self, action):
        raise kind

    env = foreign(step=step)
    env.reset()
    with pytest.raises(kind):
        env.step([0.0, 0.0])


def test_a_close_that_raises_ends_nothing(foreign, caplog):
    foreign(close=boom).close()
    assert "close() raised ValueError: joint exploded" in caplog.text


TEXT = spaces.Dict(image=IMAGE, direction=spaces.Discrete(4), mission=spaces.Text(9), none=spaces.Box(0, 1, (0,)))
SEEN = {"image": np.zeros((8, 8, 3), np.uint8), "direction": 1, "mission": "go", "none": np.zeros(0)}


def test_fields_can_be_chosen_and_those_without_an_element_are_left_out(foreign):
    with pytest.raises(UserError, match=r"observation mission of space Text.*no fixed size; .*--task-options\.fields"):
        foreign(**observing(SEEN, TEXT))
    env = foreign({"fields": "direction, none,image"}, **observing(SEEN, TEXT))
    observation, _ = env.reset()
    assert list(observation) == ["image", "direction"]
    with pytest.raises(
        UserError, match="option fields: no observation 'Mission'; there are: image, direction, mission"
    ):
        foreign({"fields": "Mission"}, **observing(SEEN, TEXT))
    with pytest.raises(UserError, match="no element to learn from"):
        foreign({"fields": "none"}, **observing(SEEN, TEXT))


def test_names_in_any_script_stay_apart(foreign):
    env = foreign(observation_space=spaces.Dict({name: spaces.Discrete(2) for name in ("угол", "角度", "ä b")}))
    assert set(env.observation_space) == {"u0443u0433u043eu043b", "u89d2u5ea6", "u00e4_b"}
    with pytest.raises(UserError, match="the same name a_b: a/b and a b"):
        foreign(observation_space=spaces.Dict({"a b": spaces.Discrete(2), "a": spaces.Dict({"b": spaces.Discrete(2)})}))
