"""What an agent keeps beside each step: handed out as it was declared, written back, and kept apart by name."""

from __future__ import annotations

import numpy as np
import pytest
from marked_steps import STORED, D, Feeder, S, make, marks, one_step, stored

from robot_wm.replay.stored import Stored


def test_written_latents_are_what_the_next_sequence_starts_from(make_spec):
    sampler = make(make_spec(), capacity_steps=40)
    feeder = Feeder(sampler.spec, sampler)
    feeder.episode(0, 15)
    feeder.step(1, first=True, last=False, latents=False)
    batch = sampler.sample(16)
    _, step = marks(batch)
    fresh = np.repeat((step * 2 + 1)[:, 1:, None] / 16, D, axis=2)
    assert sampler.write_back(batch.index[:, 1:], {"deter": fresh, "stoch": np.full((16, 4, S), 9, np.uint8)}) == 64
    again = sampler.sample(64)
    written = set(step[:, 1:].ravel().tolist())
    assert written & set(marks(again)[1][:, 0].tolist())
    for b, start in enumerate(marks(again)[1][:, 0].tolist()):
        assert again.stored["deter"][b, 0] == ((start * 2 + 1) / 16 if start in written else start / 8)
        assert again.stored["stoch"][b, 0] == (9 if start in written else start)


def test_latents_of_steps_overwritten_since_are_dropped(make_spec):
    sampler = make(make_spec(history=3), capacity_steps=10, streams=1)
    feeder = Feeder(sampler.spec, sampler)
    feeder.episode(0, 10)
    old = sampler.sample(4).index[:, 1:]
    feeder.episode(0, 6)  # 12 rows with the history margin: steps 0-3 are gone
    gone = int((old < 4).sum())
    assert gone
    written = sampler.write_back(old, stored(-1, 255, rows=(4, 4)))
    assert written == 16 - gone
    batch = sampler.sample(200)
    rewritten = np.isin(batch.index[:, 0], old)
    assert (batch.stored["deter"][rewritten] == -1).all()
    assert (batch.stored["deter"][~rewritten, 0] == batch.index[~rewritten, 0] / 8).all()


def test_state_of_a_version_that_knew_latents_by_heart_is_taken(make_spec):
    first, second = make(make_spec()), make(make_spec())
    Feeder(first.spec, first).episode(0, 12)
    state = first.state_dict()
    second.load_state_dict(state | {"layout": np.append(state["layout"], [D, S])})
    np.testing.assert_array_equal(first.sample(9).stored["deter"], second.sample(9).stored["deter"])


def test_what_is_wanted_at_every_step_comes_at_every_step(make_spec):
    """As a search's targets: beside the latent of the context step, a value and a policy at each."""
    declared = (
        STORED[1],
        Stored(name="value", shape=(), dtype="float32", use="every"),
        Stored(name="visits", shape=(4,), dtype="float16", use="every"),
    )
    sampler = make(make_spec(), streams=1, stored=declared)
    for step in range(20):
        row = (np.array([step], np.float32), np.array([step / 2], np.float32))
        values = {"value": row[0], "visits": np.repeat(row[1][:, None], 4, axis=1)}
        obs = {"mark": np.float32([0, step]), "angle": np.zeros(3, np.float32)}
        sampler.add_episode(one_step(obs, np.zeros(2), 0, step == 0, False, False), stream=0, stored=values)
    batch = sampler.sample(8)
    _, step = marks(batch)
    assert batch.stored["stoch"].shape == (8, S)
    assert not batch.stored["stoch"].any()  # nobody has computed it
    np.testing.assert_array_equal(batch.stored["value"], step)
    np.testing.assert_array_equal(batch.stored["visits"], np.repeat(step[..., None] / 2, 4, axis=2))
    assert batch.stored["visits"].dtype == np.float32
    sampler.write_back(batch.index[:, 1:], {"value": -step[:, 1:].astype(np.float32)})
    again = sampler.look(30, np.random.default_rng(0))
    written = np.isin(again.index, batch.index[:, 1:])
    np.testing.assert_array_equal(again.stored["value"], np.where(written, -marks(again)[1], marks(again)[1]))


@pytest.mark.parametrize("name", ["reward", "obs/mark", "age"])
def test_what_is_stored_has_a_name_of_its_own(make_spec, name):
    with pytest.raises(ValueError, match=f"stored {name}: a column of every step has that name"):
        make(make_spec(), stored=(Stored(name=name, shape=(), dtype="float32", use="every"),))
    with pytest.raises(ValueError, match="not unique"):
        make(make_spec(), stored=(STORED[0], STORED[0]))
