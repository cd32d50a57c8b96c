"""What comes into a run's store, or into those that it is told of, is learned from; what is taken back is not."""

import itertools
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from robot_episodes import recorded, robot_store
from test_exact_resume import arrays, differing, killed, resumed

from robot_wm.cli import run as robot_wm
from robot_wm.errors import UserError
from robot_wm.replay.store import EpisodeStore
from robot_wm.spec import AgentSpec
from robot_wm.tasks import agent_spec, make_env, reward_function
from robot_wm.training import scalars, sources, world
from robot_wm.training.loop import Trainer

MARK = 7.0  # of the first field of what a robot recorded; nothing in the simulator comes near


@pytest.fixture(scope="module")
def spec() -> AgentSpec:
    with make_env("cartpole_balance") as env:
        return agent_spec(env)


@pytest.fixture
def robot(tmp_path, spec) -> EpisodeStore:
    return robot_store(tmp_path / "robot", spec, [20, 30, 50], mark=MARK)


def of_robot(trainer, batch):
    """[B] whether each window is of what the robot recorded."""
    field = trainer.spec.observations[0]
    model = np.float32([MARK - field.offset[0]] if field.offset else [MARK]) * (field.scale[0] if field.scale else 1)
    return np.isclose(batch.obs[field.name][:, 1, 0], np.clip(model, -field.clip, field.clip)[0])


def drawn(trainer, batches=50, size=4):
    return np.concatenate([of_robot(trainer, trainer.sources.mixture.sample(size)) for _ in range(batches)])


def update(trainer):
    """As `ReplayedUpdates` does one, out of every source."""
    trainer._updates.run(1)


def everything(trainer):
    parts = trainer.sources.mixture.parts
    found = arrays(trainer)
    for name, part in parts.items():
        found |= {f"{name}/{key}": value for key, value in part.sampler.state_dict().items()}
    return found


def test_a_share_of_every_batch_is_the_robots(tiny, robot):
    trainer = Trainer(tiny(replay=[f"{robot.path}=0.25"]))
    trainer.train()
    assert trainer.sources.mixture.parts["robot"].drawn == pytest.approx(trainer.state.updates * 4 * 0.25, abs=1)
    assert drawn(trainer).mean() == pytest.approx(0.25, abs=0.01)
    last = scalars.read(trainer.run)[-1]
    assert (last["replay/robot/steps"], last["replay/robot/share"]) == (100, 0.25)
    assert last["replay/own/steps"] == 200


def test_without_a_share_all_windows_are_alike(tiny, robot):
    trainer = Trainer(tiny(replay=[str(robot.path)]))
    trainer.train()
    windows = {name: part.sampler.windows for name, part in trainer.sources.mixture.parts.items()}
    assert windows == {"own": 2 * (100 - 8), "imported": 0, "robot": 100 - 8}
    trainer.sources.mixture.sample(trainer.sampler.fresh_windows or 1)
    assert drawn(trainer).mean() == pytest.approx(1 / 3, abs=0.01)


def test_a_run_without_any_is_what_it_was(tiny):
    """Nothing of a mixture is in its checkpoint, and its batches are its own sampler's."""
    trainer = Trainer(tiny())
    trainer.train()
    assert trainer.sources.state_dict().keys() == trainer.sources.own.state_dict().keys()
    twin = Trainer(tiny(), resume=True)
    np.testing.assert_array_equal(trainer.sources.mixture.sample(8).index, twin.sampler.sample(8).index)
    assert not [name for row in scalars.read(trainer.run) for name in row if name.startswith("replay/own")]


def test_what_is_imported_into_the_runs_store_is_learned_from_after_a_resume(tiny, robot, capsys):
    trainer = Trainer(tiny())
    trainer.train()
    steps = len(trainer.sources.mixture)
    capsys.readouterr()
    assert robot_wm(["replay", "merge", str(trainer.run / "replay"), str(robot.path)]) == 0
    again = Trainer(tiny(steps=400), resume=True)
    assert "took in 3 episodes of 100 steps" in " ".join(capsys.readouterr().err.split())
    assert len(again.sources.mixture) == steps + 100
    assert differing(arrays(trainer), arrays(again)) == []
    assert drawn(again).any()
    again.train()
    assert again.sources.mixture.parts["imported"].drawn > 0
    third = Trainer(tiny(steps=400), resume=True)
    assert len(third.sources.mixture.parts["imported"].sampler) == 100
    assert len(third.sampler) == len(again.sampler), "the run's own episodes were taken for imported ones"


def test_what_is_imported_while_it_runs_is_learned_from(tiny, robot, monkeypatch):
    monkeypatch.setattr(sources, "LOOK_EVERY_S", 0.0)
    trainer = Trainer(tiny(steps=300))
    seen = []

    def report(trainer):
        if trainer.state.env_steps == 150:
            EpisodeStore.open(trainer.run / "replay").merge(EpisodeStore.open(robot.path))
        seen.append(len(trainer.sources.mixture.parts["imported"].sampler))

    trainer.train(report)
    assert seen == [0] * 75 + [100] * 75
    assert trainer.sources.mixture.parts["imported"].drawn > 0


def test_a_store_that_is_followed_gives_what_comes_and_a_version_does_not(tiny, robot, spec):
    version = robot.version
    trainer = Trainer(tiny(replay=[str(robot.path), f"{robot.path}@{version}"]))
    robot_store(robot.path, spec, [40], mark=MARK)
    trainer.sources.look()
    assert sorted(len(part.sampler) for part in trainer.sources.mixture.parts.values()) == [0, 0, 100, 140]


def test_what_was_checked_out_is_all_that_an_import_left(tiny, robot, spec, capsys):
    trainer = Trainer(tiny(replay=[str(robot.path)]))
    robot_store(robot.path, spec, [40], mark=MARK)
    trainer.sources.look()
    EpisodeStore.open(robot.path).checkout(robot.version)
    trainer.sources.look()
    assert len(trainer.sources.mixture.parts["robot"].sampler) == 100
    assert "now has 3 episodes of 100 steps" in " ".join(capsys.readouterr().err.split())


def test_what_a_quota_drops_stays_in_memory(tiny, robot, spec, capsys):
    trainer = Trainer(tiny(replay=[str(robot.path)]))
    robot_store(robot.path, spec, [40], mark=MARK)
    EpisodeStore.open(robot.path).enforce_quota(max_steps=90)
    capsys.readouterr()
    trainer.sources.look()
    assert len(trainer.sources.mixture.parts["robot"].sampler) == 140
    assert "took in 1 episodes of 40 steps" in " ".join(capsys.readouterr().err.split())


def test_a_resume_goes_on_with_the_version_of_its_store_that_was_checked_out(tiny, capsys):
    options = {"length": 11, "observation": "proprio"}
    trainer = Trainer(tiny(envs=1, task="gym:toy_envs:toys/Walker-v0", task_options=options, episodes_per_commit=1))
    trainer.train()
    store = EpisodeStore.open(trainer.run / "replay")
    assert len(store.index.number) > 5
    version = next(entry["version"] for entry in store.log() if entry["episodes"] == 5)
    steps = store.checkout(version) and int(store.index.steps.sum())
    again = Trainer(trainer.config, resume=True)
    assert len(again.sources.mixture) == len(again.sampler) == steps
    assert "an older version" in capsys.readouterr().err
    assert again.sampler.rings.rows["deter"].any()


def test_a_resume_is_exact_with_sources_too(tiny, robot, tmp_path):
    config = tiny(steps=300, replay=[f"{robot.path}=0.3"])
    trainer = Trainer(config)
    EpisodeStore.open(trainer.run / "replay").merge(EpisodeStore.open(robot.path))
    killed(trainer, tmp_path / "image", after=2)
    again = resumed(config, tmp_path / "image")
    assert differing(everything(trainer), everything(again)) == []
    for _ in range(3):
        update(trainer)
        update(again)
    assert differing(everything(trainer), everything(again)) == []


def test_a_store_that_lost_what_was_drawn_is_read_anew(tiny, robot, spec, capsys):
    config = tiny(replay=[f"{robot.path}=0.3"])
    Trainer(config).train()
    shutil.rmtree(robot.path)
    robot_store(robot.path, spec, [30], mark=-MARK)
    again = Trainer(config, resume=True)
    assert "reading it anew" in " ".join(capsys.readouterr().err.split())
    assert len(again.sources.mixture.parts["robot"].sampler) == 30


def test_a_store_that_goes_away_ends_no_run(tiny, robot, monkeypatch, capsys):
    monkeypatch.setattr(sources, "LOOK_EVERY_S", 0.0)
    trainer = Trainer(tiny(replay=[f"{robot.path}=0.5"]))

    def report(trainer):
        if trainer.state.env_steps == 50:
            shutil.rmtree(robot.path)

    trainer.train(report)
    assert trainer.state.env_steps == 200
    assert capsys.readouterr().err.count("going on with what is in memory") == 1
    assert drawn(trainer).mean() == pytest.approx(0.5, abs=0.01)


def test_memory_is_asked_for_before_any_is_taken(tiny, robot, monkeypatch):
    trainer = Trainer(tiny())
    each = sum(rows[:1].nbytes for rows in trainer.sampler.rings.rows.values())
    config = tiny(run_dir=trainer.run.with_name("other"), replay=[str(robot.path)])
    for free, fits in ((2100 * each, True), (2100 * each - 1, False)):
        monkeypatch.setattr(sources, "free_bytes", lambda free=free: free)
        if fits:
            Trainer(config)
        else:
            with pytest.raises(UserError, match="100 steps and the run's own 2000 take"):
                Trainer(config)


def test_what_does_not_fit_is_refused_by_name(tiny, robot, tmp_path, spec):
    def refused(*replay):
        with pytest.raises(UserError) as refusal:
            Trainer(tiny(replay=replay))
        return str(refusal.value)

    assert "no replay store here" in refused(str(tmp_path / "nothing"))
    assert "no tag 'best'" in refused(f"{robot.path}@best")
    assert "version 1 has 0 steps, no window of 9" in refused(f"{robot.path}@1")
    other = spec.model_copy(update={"robot": "another"})
    robot_store(tmp_path / "other", other, [20])
    assert "robot" in refused(str(tmp_path / "other"))
    trainer = Trainer(tiny())
    assert "this run's own store" in refused(str(trainer.run))


@pytest.mark.parametrize("told", [False, True])
def test_rewards_are_the_tasks_own_where_recorded_fields_tell_them(tiny, robot, monkeypatch, told):
    def reward_from(obs, action):
        step = np.arange(len(action))
        return np.where(step % 2, 0.5, np.nan).astype(np.float32), step % 2 == 1

    monkeypatch.setattr(world, "reward_function", lambda env: reward_from if told else None)
    trainer = Trainer(tiny(replay=[f"{robot.path}=0.5"]))
    rows = trainer.sources.mixture.parts["robot"].sampler.rings.rows
    step = rows["age"][:100]
    np.testing.assert_array_equal(rows["reward_known"][:100], (step % 2 == 1) & told | (step == 0))
    np.testing.assert_array_equal(rows["reward"][:100], np.where((step % 2 == 1) & told, np.float32(0.5), 0))
    trainer.train()
    again = Trainer(trainer.config, resume=True)  # read from the store again, and told again
    for name in ("reward", "reward_known"):
        again_rows = again.sources.mixture.parts["robot"].sampler.rings.rows
        np.testing.assert_array_equal(again_rows[name][:100], rows[name][:100])


def test_the_first_step_of_a_later_piece_is_no_reset_whose_reward_is_known(spec):
    def reward_from(obs, action):
        return np.zeros(len(action), np.float32), np.ones(len(action), np.bool_)

    whole = recorded(spec, 6, 0)
    source = whole.source.model_copy(update={"first_step": 3})
    later = replace(whole, source=source, is_first=np.zeros(6, np.bool_), reward_known=np.zeros(6, np.bool_))
    assert sources.with_rewards(whole, reward_from).reward_known.all()
    assert sources.with_rewards(later, reward_from).reward_known.tolist() == [False] + [True] * 5


def test_the_poles_own_reward_is_what_its_recorded_fields_tell(tiny, tmp_path, spec):
    robot = robot_store(tmp_path / "robot", spec, [40, 60])
    trainer = Trainer(tiny(replay=[f"{robot.path}=0.5"]))
    rows = trainer.sources.mixture.parts["robot"].sampler.rings.rows
    with make_env("cartpole_balance") as env:
        told = reward_function(env)
        each = [told(episode.obs, episode.action) for episode in robot.episodes()]
    wanted, known = (np.concatenate(parts) for parts in zip(*each, strict=True))
    assert wanted.any()
    np.testing.assert_array_equal(rows["reward"][:100], wanted)
    np.testing.assert_array_equal(rows["reward_known"][:100], known)


def test_stored_latents_are_computed_at_the_start_and_when_updates_have_doubled(tiny, robot, monkeypatch):
    monkeypatch.setattr(sources, "_FIRST_REFRESH_UPDATES", 8)
    trainer = Trainer(tiny(replay=[f"{robot.path}=0.5"]))
    rows = trainer.sources.mixture.parts["robot"].sampler.rings.rows
    assert rows["deter"][:100][rows["age"][:100] > 0].any(axis=1).all()
    at = []
    monkeypatch.setattr(sources, "recompute", lambda *args, **kwargs: at.append(trainer.state.updates))
    trainer.train()
    doubled = sorted(set(at))
    assert len(at) == len(doubled) * len(trainer.sources.sources)
    assert doubled[0] >= 8
    assert all(later >= 1.5 * before for before, later in itertools.pairwise(doubled))
    assert 2 * doubled[-1] > trainer.state.updates


def test_offline_learns_from_stores_alone(tiny, robot):
    trainer = Trainer(
        tiny(replay=[str(robot.path)], offline=True, steps=30, log_every_steps=10, checkpoint_every_steps=20)
    )
    before = {name: value.clone() for name, value in trainer.agent.state_dict().items()}
    trainer.train()
    after = trainer.agent.state_dict()
    for part in ("rssm.", "actor.", "critic."):
        assert any(not torch.equal(before[name], after[name]) for name in before if name.startswith(part)), part
    assert (trainer.state.env_steps, trainer.state.updates, trainer.state.progress) == (0, 30, 30)
    assert [row["step"] for row in scalars.read(trainer.run)] == [10, 20, 30]
    assert {path.name for path in (trainer.run / "checkpoints").glob("step_*")} == {"step_000000020", "step_000000030"}
    assert len(trainer.store.index.number) == 0
    again = Trainer(trainer.config.model_copy(update={"steps": 50}), resume=True)
    again.train()
    assert again.state.updates == 50
    online = Trainer(trainer.config.model_copy(update={"steps": 150, "offline": False}), resume=True)
    online.train()
    assert (online.state.env_steps, online.state.offline_updates, online.state.progress) == (100, 50, 150)
