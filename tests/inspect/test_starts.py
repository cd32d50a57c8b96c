"""Which real states an audit begins from."""

from dataclasses import replace

import numpy as np
import pytest
from knowing import DRIFT

from robot_wm.errors import UserError
from robot_wm.inspect.reliving import relive
from robot_wm.inspect.starts import draw_starts
from robot_wm.inspect.world import World
from robot_wm.replay.store import EpisodeStore


def rng():
    return np.random.default_rng(0)


def test_every_state_but_an_episodes_last_can_be_drawn_once(drift_store):
    episodes = list(drift_store.episodes())
    starts = draw_starts(drift_store, 10_000, rng())
    expected = {(n, step) for n, episode in enumerate(episodes) for step in range(episode.length - 1)}
    assert {(start.number, start.step) for start in starts.chosen} == expected
    assert len(starts.chosen) == len(expected)


def test_newest_steps_leave_out_older_episodes(drift_store):
    chosen = draw_starts(drift_store, 10_000, rng(), newest_steps=60).chosen
    newest = [int(n) for n in drift_store.index.number][-2:]
    assert {start.number for start in chosen} <= set(newest)


def test_a_robots_episodes_are_left_out_and_counted(tmp_path, drift_store):
    simulated, recorded = list(drift_store.episodes())[:2]
    source = recorded.source.model_copy(update={"kind": "robot", "seed": None, "rewards_told": True})
    with EpisodeStore.create(tmp_path / "mixed", drift_store.spec) as store:
        store.append([simulated, replace(recorded, source=source)])
        store.flush()
        starts = draw_starts(store, 10_000, rng())
        assert {start.number for start in starts.chosen} == {0}
        assert starts.left_out == recorded.length - 1


def test_of_an_episode_in_pieces_only_the_first_can_be_come_back_to(tmp_path, drift_store):
    whole = next(iter(drift_store.episodes()))
    later = whole.source.model_copy(update={"first_step": 40})
    piece = replace(whole, source=later, is_first=np.zeros_like(whole.is_first))
    with EpisodeStore.create(tmp_path / "pieces", drift_store.spec) as store:
        store.append([piece])
        store.flush()
        with pytest.raises(UserError, match="no episode that a simulator could come back to"):
            draw_starts(store, 10, rng())


def test_a_state_of_our_own_simulator_is_the_recorded_one_again(tmp_path):
    """Bit by bit: else the gap of a sound model could be the simulator's."""
    from robot_wm.tasks import agent_spec, make_env
    from robot_wm.training.checkpoint import load_agent
    from robot_wm.training.playing import play
    from robot_wm.zoo.catalog import locate_weights

    agent = load_agent(locate_weights("zoo:cartpole_balance")).agent
    with make_env("cartpole_balance") as env:
        spec = agent_spec(env)
    options = {"randomisation": "mild"}
    with EpisodeStore.create(tmp_path / "replay", spec) as store:
        play(agent, "cartpole_balance", options, store, steps=120, seed=1, envs=2)
    starts = [start for start in draw_starts(store, 6, rng()).chosen if start.step > 5]
    assert starts
    for lived in relive(agent, spec, World("cartpole_balance", options), starts, steps=3, seed=0):
        assert lived.deviation == 0.0
        assert lived.steps == lived.start.step + 3


def test_the_episodes_own_draw_is_the_world_unless_another_is_asked_for(drift_spec):
    asked = []

    class Env:
        def reset(self, *, seed, options):
            asked.append((seed, options))
            return {}, {}

    from robot_wm.replay.episode import EpisodeSource

    source = EpisodeSource(kind="sim", task=DRIFT, robot="r", seed=7, randomisation={"friction": 0.5})
    episode = type("Told", (), {"source": source})()
    World("cartpole_balance", {}).restart(Env(), episode)
    World("cartpole_balance", {}, {"randomisation": "harsh"}).restart(Env(), episode)
    assert asked == [(7, {"randomisation": {"friction": 0.5}}), (7, None)]
