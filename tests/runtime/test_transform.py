"""Scaling, command maps and history: closed forms, round trips, and equality of robot side and learner side."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from robot_wm.runtime.transform import History, ObservationTransform, scale, to_command, to_policy
from robot_wm.spec import ActionSpec, AgentSpec, ObservationField

FLOATS = st.floats(-1e6, 1e6, width=32)


def field(**changes):
    return ObservationField(**({"name": "q", "shape": (2,), "unit": "rad"} | changes))


def test_scale_subtracts_the_offset_then_scales_then_clips():
    q = field(offset=(1.0, -1.0), scale=(2.0, 0.5), clip=3.0)
    np.testing.assert_array_equal(scale(q, [[1.5, 1.0], [9.0, -9.0]]), np.float32([[1.0, 1.0], [3.0, -3.0]]))


@pytest.mark.parametrize(
    "changes", [{}, {"offset": (1.0,)}, {"scale": (3.0,)}, {"clip": 0.5}, {"offset": (1.0,), "clip": 2.0}]
)
def test_scale_leaves_its_input_alone_and_fills_out(changes):
    raw, out = np.float32([0.25, -7.0]), np.full(2, np.nan, dtype=np.float32)
    given_out = scale(field(**changes), raw, out=out)
    assert given_out is out
    np.testing.assert_array_equal(out, scale(field(**changes), [0.25, -7.0]))
    np.testing.assert_array_equal(raw, np.float32([0.25, -7.0]))


def test_scale_keeps_nan_visible_and_images_untouched():
    assert np.isnan(scale(field(clip=1.0), [np.nan, 0.0])[0])
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    camera = ObservationField(name="camera", shape=(2, 4, 3), dtype="uint8", unit="1")
    assert scale(camera, image) is image
    np.testing.assert_array_equal(scale(camera, image, out=np.zeros_like(image)), image)


def test_command_is_offset_plus_scale_times_clip_times_action(make_spec):
    action = make_spec().action  # offset (.1, .8), scale (.25, -.5), clip 4
    np.testing.assert_allclose(to_command(action, [[1.0, 1.0], [-0.5, 0.0]]), [[1.1, -1.2], [-0.4, 0.8]], rtol=1e-6)


@given(hnp.arrays(np.float32, (3, 2), elements=st.floats(-1, 1, width=32)))
def test_policy_inverts_command(values):
    spec = ActionSpec(mode="velocity", joints=("a", "b"), unit="rad/s", scale=(0.3, -2.0), offset=(0.5, 0.0), clip=2.0)
    np.testing.assert_allclose(to_policy(spec, to_command(spec, values)), values, atol=1e-6)


def test_policy_is_cut_to_the_range_the_graph_was_trained_on(make_spec):
    np.testing.assert_array_equal(to_policy(make_spec().action, [100.0, 100.0]), [1.0, -1.0])


def test_discrete_actions_stay_one_hot():
    spec = ActionSpec(mode="discrete", joints=("left", "right"), unit="1")
    np.testing.assert_array_equal(to_command(spec, [0, 1]), [0, 1])
    np.testing.assert_array_equal(to_policy(spec, [0, 1]), [0, 1])


def test_history_is_oldest_first_and_an_episode_starts_full():
    history = History(3, 2)
    np.testing.assert_array_equal(history.push([1, 2], True), [[1, 2, 1, 2, 1, 2]])
    history.push([3, 4], False)
    np.testing.assert_array_equal(history.push([5, 6], False), [[1, 2, 3, 4, 5, 6]])
    np.testing.assert_array_equal(history.push([7, 8], True), [[7, 8, 7, 8, 7, 8]])


def test_history_resets_only_the_rows_that_start():
    history = History(2, 1, batch=2)
    history.push([[1], [10]], True)
    np.testing.assert_array_equal(history.push([[2], [20]], np.array([False, True])), [[1, 2], [20, 20]])


@given(
    hnp.arrays(np.float32, st.tuples(st.integers(1, 12), st.just(3)), elements=FLOATS),
    st.integers(1, 5),
    st.data(),
)
def test_history_equals_gathering_clamped_at_the_episode_start(frames, length, data):
    """The sampler gathers frames by index, clamped at the episode's first step; both must see the same."""
    first = data.draw(hnp.arrays(np.bool_, len(frames)))
    first[0] = True
    history = History(length, 3)
    for t, frame in enumerate(frames):
        start = np.flatnonzero(first[: t + 1])[-1]
        index = np.maximum(np.arange(t - length + 1, t + 1), start)
        np.testing.assert_array_equal(history.push(frame, bool(first[t]))[0], frames[index].reshape(-1))


def test_history_of_joined_fields_equals_theirs_apart():
    rng = np.random.default_rng(0)
    joined, apart = History(3, [2, 1, 4]), [History(3, size) for size in (2, 1, 4)]
    for first in (True, False, False, False, True, False):
        frame = rng.normal(size=7).astype(np.float32)
        expected = [h.push(part, first)[0] for h, part in zip(apart, np.split(frame, [2, 3]), strict=True)]
        np.testing.assert_array_equal(joined.push(frame, first)[0], np.concatenate(expected))


@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("gap", [0, 5])
def test_buffers_of_one_block_are_filled_like_scattered_ones(make_spec, frames, gap):
    """End to end in one block, as an engine may lay them, or with something in between."""
    spec = make_spec(history_length=frames)
    sizes = [entry.shape[0] for entry in spec.model_inputs().values()]
    block = np.zeros(2 + sum(sizes) + gap * len(sizes), np.float32)
    starts = 2 + np.cumsum([0, *(size + gap for size in sizes)])
    out = {n: block[s : s + k].reshape(1, k) for n, s, k in zip(spec.model_inputs(), starts, sizes, strict=False)}
    into, plain = ObservationTransform(spec, out=out), ObservationTransform(spec)
    rng = np.random.default_rng(0)
    for first in (True, False, False, True):
        raw = {f.name: rng.normal(size=f.shape).astype(np.float32) for f in spec.observations}
        into.push(raw, first)
        for name, value in plain.push(raw, first).items():
            np.testing.assert_array_equal(out[name], value)
    assert not block[:2].any()


def test_transform_writes_the_engines_own_buffers(make_spec):
    spec: AgentSpec = make_spec()
    buffers = {name: np.zeros((1, *entry.shape), entry.dtype) for name, entry in spec.model_inputs().items()}
    transform = ObservationTransform(spec, out=buffers)
    q, gyro, last = np.float32([0.3, 0.2]), np.float32([1, 2, 3]), np.float32([0, 1])
    transform.push({"joint_position": q, "gyro": gyro, "last_action": last}, True)
    np.testing.assert_array_equal(buffers["joint_position"][0], np.tile(scale(spec.observations[0], q), 3))
    transform.push({"joint_position": q * 2, "gyro": gyro, "last_action": last}, False)
    np.testing.assert_array_equal(buffers["joint_position"][0, 4:], scale(spec.observations[0], q * 2))
    np.testing.assert_array_equal(buffers["joint_position"][0, :4], np.tile(scale(spec.observations[0], q), 2))


def test_transform_of_a_batch_equals_its_rows_one_by_one(make_spec):
    spec: AgentSpec = make_spec()
    rng = np.random.default_rng(0)
    together, apart = ObservationTransform(spec, batch=2), [ObservationTransform(spec) for _ in range(2)]
    for first in ([True, True], [False, False], [False, True], [False, False]):
        raw = {f.name: rng.normal(size=(2, *f.shape)).astype(np.float32) for f in spec.observations}
        batch = together.push(raw, np.array(first))
        for row in range(2):
            single = apart[row].push({name: value[row] for name, value in raw.items()}, first[row])
            for name, value in single.items():
                np.testing.assert_array_equal(batch[name][row], value[0])


def test_an_agent_that_only_sees_needs_no_vectors(make_spec):
    spec = make_spec(observations=(ObservationField(name="camera", shape=(4, 4, 3), dtype="uint8", unit="1"),))
    image = np.ones((4, 4, 3), np.uint8)
    transform = ObservationTransform(spec)
    for first in (True, False):
        np.testing.assert_array_equal(transform.push({"camera": image}, first)["camera"][0], image)


def test_transform_refuses_buffers_and_fields_that_do_not_fit(make_spec):
    with pytest.raises(ValueError, match="obs/joint_position"):
        ObservationTransform(make_spec(), out={"joint_position": np.zeros((1, 5), np.float32)})
    transform = ObservationTransform(make_spec())
    raw = {f.name: np.zeros(f.shape, np.float32) for f in make_spec().observations}
    with pytest.raises(KeyError):
        transform.push({}, True)
    with pytest.raises(ValueError, match="gyro"):
        transform.push(raw | {"gyro": np.float32([1])}, True)
    with pytest.raises(TypeError):
        transform.push(raw | {"gyro": np.zeros(3, complex)}, True)
