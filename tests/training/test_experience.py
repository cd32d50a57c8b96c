"""Steps of several environments at once, told apart by planted marks, become each environment's own episodes."""

import numpy as np
import pytest

from robot_wm.replay.rows import bytes_per_step
from robot_wm.replay.sampler import SequenceSampler
from robot_wm.replay.store import EpisodeStore
from robot_wm.replay.stored import Stored
from robot_wm.spec import ActionSpec, AgentSpec, FirmwareProfile, ObservationField
from robot_wm.training import experience
from robot_wm.training.experience import Experience
from robot_wm.training.transition import Transition

SPEC = AgentSpec(
    task="toy",
    robot="toy",
    control_rate_hz=10,
    physics_rate_hz=10,
    observations=(
        ObservationField(name="mark", shape=(2,), unit="1"),
        ObservationField(name="camera", shape=(2, 3, 3), dtype="uint8", unit="1"),
    ),
    action=ActionSpec(mode="effort", joints=("a", "b"), unit="N"),
    firmware=FirmwareProfile(name="toy"),
)


STORED = (Stored(name="value", shape=(), dtype="float32", use="every"),)


@pytest.fixture
def taken(tmp_path):
    """Makes an Experience of N environments; its store is in a fresh folder."""

    def make(envs):
        sampler = SequenceSampler(SPEC, capacity_steps=100 * envs, length=2, streams=envs, stored=STORED)
        store = EpisodeStore.create(tmp_path / "store", SPEC)
        told = {"figure_names": ("late", "fall"), "randomisation_names": ("mass_kg", "untold")}
        return Experience(SPEC, sampler, store, streams=envs, backends=["none"] * envs, **told), store

    return make


def transition(step, first, last):
    """Step number ``step`` of N environments: every value tells (environment, step)."""
    first, last = np.array(first), np.array(last)
    envs = np.arange(len(first))
    mark = np.stack([envs, np.full(len(envs), step)], axis=1).astype(np.float32)  # [N, 2]
    return Transition(
        obs={
            "mark": mark,
            "camera": np.broadcast_to(mark[:, :1, None, None] + step, (len(envs), 2, 3, 3)).astype("u1"),
        },
        action=np.where(last[:, None], 0, mark / 100),
        reward=np.where(first, 0, 100 * envs + step).astype(np.float32),
        reward_known=np.full(len(first), True),
        is_first=first,
        is_last=last,
        is_terminal=last & (envs == 0),
        success=np.where(last, envs % 2, np.nan).astype(np.float32),
        seed=10 * envs + step,
        figures=np.stack([np.full(len(envs), float(step)), envs / 2], axis=1),
        randomisation=np.stack([envs + 0.5, np.full(len(envs), np.nan)], axis=1),
        stored={"value": envs * 100.0 + step},
        policy=str(step),
    )


def test_each_environments_episode_is_stored_as_it_ran(taken, monkeypatch):
    monkeypatch.setattr(experience, "_ROOM", 2)  # so that the arrays grow, more than once
    lengths = [3, 4, 11]  # steps of every episode, the reset included
    adds, store = taken(3)
    finished = {}
    for step in range(24):
        now = adds.add(transition(step, [step % n == 0 for n in lengths], [step % n == n - 1 for n in lengths]))
        if now:
            finished[step] = now
    for step, told in finished.items():
        ended = [n for n, length in enumerate(lengths) if step % length == length - 1]
        assert [item.length for item in told] == [lengths[n] - 1 for n in ended]
        assert [item.success for item in told] == [n % 2 for n in ended]
        assert [item.figures for item in told] == [{"late": step, "fall": n / 2} for n in ended]
        returns = [sum(100 * n + step - k for k in range(lengths[n] - 1)) for n in ended]
        assert [item.episode_return for item in told] == returns
    store.flush()
    stored = list(store.episodes())
    assert len(stored) == sum(len(told) for told in finished.values()) == 24 // 3 + 24 // 4 + 24 // 11
    for episode in stored:
        n, begin = (int(x) for x in episode.obs["mark"][0])
        steps = np.arange(begin, begin + lengths[n])
        assert episode.length == lengths[n]
        assert begin % lengths[n] == 0
        np.testing.assert_array_equal(episode.obs["mark"], np.stack([np.full(len(steps), n), steps], axis=1))
        assert (episode.obs["camera"] == (n + steps)[:, None, None, None]).all()
        np.testing.assert_array_equal(episode.action[:-1], episode.obs["mark"][:-1] / np.float32(100))
        assert episode.is_terminal[-1] == (n == 0)
        assert (episode.source.seed, episode.source.policy) == (10 * n + steps[-1], str(steps[-1]))
        assert episode.source.randomisation == {"mass_kg": n + 0.5}
        assert episode.reward_known.all()


def run_of(adds, lengths, steps, begin=0):
    """Steps of N environments whose episodes have these lengths; returns what ended."""
    ended = []
    for step in range(begin, begin + steps):
        ended += adds.add(transition(step, [step % n == 0 for n in lengths], [step % n == n - 1 for n in lengths]))
    return ended


def test_a_long_episode_is_stored_in_pieces_and_told_as_one(taken, monkeypatch):
    monkeypatch.setattr(experience, "PIECE_STEPS", 8)
    adds, store = taken(2)
    (told,) = run_of(adds, [20, 10**6], 20)
    assert (told.length, told.episode_return) == (19, sum(range(1, 20)))
    assert store.index.steps.tolist() == [8, 8, 8, 8, 4]  # before anything has ended, and with nothing left to flush
    stored = list(store.episodes())
    for n, before, goes_on in [(0, 0, 1), (1, 0, 1), (0, 8, 1), (1, 8, 1), (0, 16, 0)]:
        episode = stored.pop(0)
        length = episode.length
        assert (episode.source.first_step, episode.source.goes_on) == (before, bool(goes_on))
        assert episode.obs["mark"].tolist() == [[n, before + k] for k in range(length)]
        assert episode.is_first.tolist() == [before + k == 0 for k in range(length)]
        assert episode.is_last.tolist() == [not goes_on and k == length - 1 for k in range(length)]
        assert episode.is_terminal.tolist() == episode.is_last.tolist()
        # What was done at a piece's end is kept: the episode went on from there.
        assert episode.action[-1].any() == bool(goes_on)
    assert store.summary()["return_mean"] == pytest.approx((sum(range(1, 20)) + sum(101 + k for k in range(15))) / 2)
    assert (store.summary()["episodes"], store.summary()["of_these_later_pieces"]) == (5, 3)


def test_memory_does_not_grow_with_an_episode_that_never_ends(taken, monkeypatch):
    monkeypatch.setattr(experience, "PIECE_STEPS", 8)
    adds, _ = taken(1)
    run_of(adds, [10**6], 100)
    assert all(array.shape[1] <= 8 for array in adds._running._columns.values())


def test_pieces_of_large_pictures_are_shorter(taken, monkeypatch):
    monkeypatch.setattr(experience, "_PIECE_BYTES", 5 * bytes_per_step(SPEC))
    adds, store = taken(1)
    run_of(adds, [10**6], 12)
    assert store.index.steps.tolist() == [5, 5]


def test_what_has_begun_is_stored_at_the_end_of_a_run_as_going_on(taken):
    adds, store = taken(3)
    run_of(adds, [4, 10**6, 6], 6)  # 0: one whole, then two steps; 1: six steps; 2: one whole
    adds.add(transition(6, [False, False, True], [False] * 3))  # a reset alone is no experience
    adds.close()
    adds.close()
    pieces = [episode for episode in store.episodes() if episode.source.goes_on]
    assert [episode.obs["mark"][:, 1].tolist() for episode in pieces] == [[4, 5, 6], [0, 1, 2, 3, 4, 5, 6]]
    assert not any(episode.is_last.any() for episode in pieces)
    assert store.pending == 0


def test_a_sampler_that_is_filled_from_the_pieces_holds_what_the_live_one_did(taken, monkeypatch):
    monkeypatch.setattr(experience, "PIECE_STEPS", 8)
    lengths = [20, 10**6, 5]
    adds, store = taken(3)
    run_of(adds, lengths, 60)
    adds.close()
    live = adds._sampler
    filled = SequenceSampler(SPEC, capacity_steps=live.capacity_steps, length=2, streams=3, stored=STORED)
    for episode in store.episodes():
        filled.add_episode(episode)
    ours, theirs = live.state_dict(), filled.state_dict()
    steps = {}
    for state in (ours, theirs):
        rows = [state[f"rings/rows/{name}"] for name in ("obs/mark", "action", "reward", "is_first", "is_last", "age")]
        steps[id(state)] = sorted(tuple(np.concatenate([np.ravel(row[k]) for row in rows])) for k in range(180))
    assert steps[id(ours)] == steps[id(theirs)]


def test_what_the_agent_keeps_lies_beside_its_own_step(taken):
    adds, _ = taken(3)
    run_of(adds, [4, 7, 5], 20)
    rows = adds._sampler.state_dict()
    environment, step = rows["rings/rows/obs/mark"].T
    np.testing.assert_array_equal(rows["rings/rows/value"], 100 * environment + step)


def test_a_piece_without_its_predecessor_begins_anew_and_cuts_what_ran(taken, monkeypatch):
    monkeypatch.setattr(experience, "PIECE_STEPS", 8)
    adds, store = taken(1)
    run_of(adds, [10**6], 24)
    first, _, third = store.episodes()
    filled = SequenceSampler(SPEC, capacity_steps=100, length=2, stored=STORED)
    for episode in (first, third):
        filled.add_episode(episode)
    rows = filled.state_dict()
    assert np.flatnonzero(rows["rings/rows/is_first"]).tolist() == [0, 8]
    assert np.flatnonzero(rows["rings/rows/is_last"]).tolist() == [7]


def test_what_ran_before_a_restart_is_dropped_from_the_store(taken):
    adds, store = taken(2)
    for step in range(3):
        adds.add(transition(step, [step == 0] * 2, [False] * 2))
    adds.add(transition(3, [True, False], [False, False]))  # environment 0 starts anew, 1 goes on
    told = adds.add(transition(4, [False] * 2, [True, True]))
    assert [item.length for item in told] == [1, 4]
    store.flush()
    assert [episode.obs["mark"][:, 1].tolist() for episode in store.episodes()] == [[3, 4], [0, 1, 2, 3, 4]]
