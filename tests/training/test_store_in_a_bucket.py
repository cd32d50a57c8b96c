"""A run whose own episodes are in a bucket, beside those of others."""

import pytest
from s3_server import S3Server

from robot_wm.errors import UserError
from robot_wm.inspect.agents_replay import store_of
from robot_wm.learning.ranks import Ranks
from robot_wm.replay.store import EpisodeStore
from robot_wm.training.checkpoint import load_agent
from robot_wm.training.loop import Trainer
from robot_wm.training.shares import own_config


@pytest.fixture
def bucket(monkeypatch):
    server = S3Server()
    server.make_bucket("lab")
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    yield "s3://lab"
    server.close()


def test_a_run_keeps_its_episodes_there_and_goes_on_with_them(tiny, bucket):
    config = tiny(replay_store=f"{bucket}/balance", episodes_per_commit=4, steps=120)
    state = Trainer(config).train()
    store = EpisodeStore.open(f"{bucket}/balance")
    assert len(store.index.number) >= state.episodes > 0  # and what had begun when it ended
    assert store.version == state.replay_version
    assert not (config.folder / "replay").exists()
    assert store_of(load_agent(config.folder, "latest"), None, config.folder, 0).location == store.location
    more = Trainer(config.model_copy(update={"steps": 200}), resume=True)
    assert more.train().env_steps == 200
    assert len(EpisodeStore.open(f"{bucket}/balance").index.number) > len(store.index.number)
    # Another run learns from it, as from any store.
    other = tiny(run_dir=config.folder.with_name("other"), replay=[f"{bucket}/balance=0.5"], steps=100)
    assert Trainer(other).sources.sources[1].name == "balance"
    with pytest.raises(UserError, match="is this run's own store"):
        Trainer(config.model_copy(update={"replay": (f"{bucket}/balance/",)}), resume=True)


def test_what_it_cannot_be_is_refused(tiny, monkeypatch):
    with pytest.raises(ValueError, match="replay_store: s3://lab: not s3://bucket/prefix"):
        tiny(replay_store="s3://lab")

    class Two(Ranks):
        size = 2

    with pytest.raises(UserError, match="of a run of one process"):
        own_config(tiny(replay_store="somewhere"), Two())
