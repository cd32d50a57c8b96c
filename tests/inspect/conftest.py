"""A store of what an agent that explores has seen of a drifting point."""

import pytest
from knowing import DRIFT, Knowing

from robot_wm.inspect.audit import AuditPlan, audit
from robot_wm.inspect.world import World
from robot_wm.replay.store import EpisodeStore
from robot_wm.tasks import agent_spec, make_env
from robot_wm.training.playing import play


@pytest.fixture(scope="session")
def drift_spec():
    env = make_env(DRIFT)
    yield agent_spec(env)
    env.close()


@pytest.fixture(scope="session")
def drift_store(tmp_path_factory, drift_spec):
    """About 30 episodes of 20 steps, with the policy's noise."""
    with EpisodeStore.create(tmp_path_factory.mktemp("drift") / "replay", drift_spec) as store:
        play(Knowing(), DRIFT, {}, store, steps=600, seed=3, envs=2)
    return EpisodeStore.open(store.path)


@pytest.fixture
def audited(drift_store):
    """Audits an agent in the world of the store, or in one with other options."""

    def run(agent, *, changed=None, **plan):
        settings = {"states": 24, "steps": 12, "draws": 2} | plan
        return audit(agent, drift_store, World(DRIFT, {}, changed or {}), AuditPlan(**settings))

    return run
