"""One declaration of a step: every kind of record has its columns, and arrays are laid out by them."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_wm.learning.batch import TensorBatch
from robot_wm.replay.batch import SequenceBatch
from robot_wm.replay.episode import Episode
from robot_wm.replay.rings import StreamRings
from robot_wm.spec import ActionSpec, AgentSpec, FirmwareProfile, ObservationField
from robot_wm.step import Steps, as_fields, column, column_names, each, step_columns
from robot_wm.training.pool_slots import Contract, PoolSlots, PoolStep
from robot_wm.training.transition import Transition

SPEC = AgentSpec(
    task="toy",
    robot="toy",
    control_rate_hz=10,
    physics_rate_hz=10,
    observations=(
        ObservationField(name="angle", shape=(3,), unit="rad"),
        ObservationField(name="camera", shape=(2, 5, 3), dtype="uint8", unit="1"),
    ),
    action=ActionSpec(mode="effort", joints=("a", "b"), unit="N"),
    firmware=FirmwareProfile(name="toy"),
)


def test_the_columns_of_a_step():
    assert {name: (shape, str(dtype)) for name, (shape, dtype) in step_columns(SPEC).items()} == {
        "obs/angle": ((3,), "float32"),
        "obs/camera": ((2, 5, 3), "uint8"),
        "action": ((2,), "float32"),
        "reward": ((), "float32"),
        "reward_known": ((), "bool"),
        "is_first": ((), "bool"),
        "is_last": ((), "bool"),
        "is_terminal": ((), "bool"),
    }
    # The stored order, and that of an export.
    assert list(step_columns(SPEC))[:5] == ["obs/angle", "obs/camera", "action", "reward", "reward_known"]


@pytest.mark.parametrize("kind", [Transition, PoolSlots, Episode, SequenceBatch, TensorBatch])
def test_every_kind_of_record_has_them(kind):
    assert set(column_names(Steps)) <= set(column_names(kind))
    assert set(StreamRings(SPEC, streams=1, capacity=4).rows) == {*step_columns(SPEC), "age"}


def test_a_pools_step_has_all_but_the_action_that_follows_it():
    assert set(column_names(PoolSlots)) - set(column_names(PoolStep)) == {"action"}
    own = {entry.name for entry in fields(Transition)} - {entry.name for entry in fields(PoolSlots)}
    assert own == {"stored", "policy", "first_stream"}  # which no simulator knows


@dataclass(frozen=True, kw_only=True)
class Wired(Steps[np.ndarray]):
    """A kind with a column more and a field that is none."""

    current: np.ndarray = field(metadata=column("float64", "phases", "action"))
    label: str = ""


def test_a_column_is_one_line():
    assert step_columns(SPEC, Wired, phases=3)["current"] == ((3, 2), np.dtype(np.float64))
    with pytest.raises(KeyError, match="phases"):
        step_columns(SPEC, Wired)
    arrays = {name: np.ones(shape, dtype) for name, (shape, dtype) in step_columns(SPEC, Wired, phases=3).items()}
    made = Wired(**as_fields(arrays))
    assert made.columns().keys() == step_columns(SPEC).keys()
    assert column_names(Wired) == (*column_names(Steps), "current")  # the label is none
    cleared = Steps(**each(np.zeros_like, made, Steps)).columns()
    assert cleared.keys() == step_columns(SPEC).keys()
    assert not any(array.any() for array in cleared.values())
    assert all(array.all() for array in made.columns().values())


@given(envs=st.integers(1, 5), figures=st.integers(0, 3), draws=st.integers(0, 3))
def test_slots_share_no_byte_and_no_cache_line(envs, figures, draws):
    names = [f"n{k}" for k in range(3)]
    contract = Contract(SPEC, tuple(names[:figures]), tuple(names[:draws]))
    assert Contract.from_bytes(contract.to_bytes(), origin="a worker") == contract
    buffer = bytearray(PoolSlots.nbytes(contract, envs))
    slots = PoolSlots.over(contract, envs, buffer)
    assert (slots.figures.shape, slots.randomisation.shape) == ((envs, figures), (envs, draws))
    arrays = [*slots.columns().values(), slots.success, slots.seed, slots.figures, slots.randomisation]
    base = np.frombuffer(buffer, np.uint8).ctypes.data
    for array in arrays:
        if array.size:
            assert (array.ctypes.data - base) % 64 == 0
            array.reshape(-1).view(np.uint8)[:] += 1
    assert sum(buffer) == sum(array.nbytes for array in arrays)
    assert max(buffer) == 1
