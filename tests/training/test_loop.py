"""The training loop end to end on a tiny agent: ratio, logs, checkpoints, resume, stops, faults."""

import json
import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from robot_wm.errors import UserError
from robot_wm.replay.store import EpisodeStore
from robot_wm.tasks import make_env
from robot_wm.training import checkpoint, loop, scalars
from robot_wm.training.checkpoint import load_agent
from robot_wm.training.device import place
from robot_wm.training.loop import Trainer, TrainingDivergedError


def test_a_run_keeps_its_train_ratio_and_leaves_everything_behind(tiny):
    config = tiny(prefill_steps=120, eval_every_steps=100, eval_episodes=2, predict_every_steps=100)
    trainer = Trainer(config)
    state = trainer.train()
    assert state.env_steps == 200
    # 80 learned steps x 8 replayed steps / (4 x 8 steps an update)
    assert state.updates == 20
    rows = scalars.read(trainer.run)
    assert [row["step"] for row in rows if "run/updates" in row] == [40, 80, 120, 160, 200]
    last = [row for row in rows if "run/updates" in row][-1]
    assert (last["run/updates"], last["run/replayed_per_step"], last["run/episodes"]) == (20, 8.0, state.episodes)
    assert last["episode/return"] == trainer.recent_return
    assert 0 < last["time/collect_share"] < 1
    assert 0 < last["run/wall_s"] <= state.wall_s == trainer.running_s
    assert [row["step"] for row in rows if "eval/return" in row] == [124, 200]  # not before an update
    board = EventAccumulator(str(trainer.run / "tensorboard")).Reload()
    assert [image.step for image in board.Images("open_loop")] == [124, 200]
    loaded = load_agent(trainer.run)
    assert loaded.spec == trainer.spec
    assert loaded.lineage["updates"] == 20
    assert loaded.lineage["steps"] == loaded.lineage["env_steps"] == 200
    assert loaded.lineage["evaluation"]["env_steps"] == 200
    # The checkpoint names the replay version that it was trained on, and that version holds its episodes.
    saved = checkpoint.read_state(checkpoint.latest_path(trainer.run))
    store = EpisodeStore.open(trainer.run / "replay", expected_spec=trainer.spec)
    assert saved.replay_version == store.version
    episodes = list(store.episodes())
    assert sum(not episode.source.goes_on for episode in episodes) == state.episodes > 0
    # Of the steps that were taken none is missing; a reset alone is no experience.
    assert state.env_steps - sum(episode.length for episode in episodes) in (0, 1, 2)
    assert {episode.source.policy for episode in episodes} >= {"random"}


def test_a_run_takes_the_threads_and_the_device_that_were_asked_for(tiny, monkeypatch):
    before = torch.get_num_threads()
    try:
        Trainer(tiny(threads=before + 1))
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)
    for there, chosen in ((True, ["cuda", "cuda", "cpu"]), (False, ["cpu", "cpu"])):
        monkeypatch.setattr("torch.cuda.is_available", lambda there=there: there)
        names = ("auto", "cuda", "cpu") if there else ("auto", "cpu")
        assert [place(name).type for name in names] == chosen
    with pytest.raises(UserError, match="--device cuda: torch sees no CUDA device"):
        Trainer(tiny(device="cuda"))


def test_pretraining_learns_from_the_random_steps_before_the_policy_acts(tiny):
    trainer = Trainer(tiny(prefill_steps=120, pretrain_updates=12))
    seen = []
    state = trainer.train(lambda run: seen.append((run.state.env_steps, run.state.updates)))
    assert state.updates == 12 + 20
    assert max(updates for steps, updates in seen if steps < 120) == 0
    assert [updates for steps, updates in seen if steps == 120][-1] == 12
    assert min(updates for steps, updates in seen if steps > 120) >= 12
    # Nobody acted meanwhile: the first steps of the policy are of the thirteenth update or later.
    policies = {episode.source.policy for episode in trainer.store.episodes()} - {"random"}
    assert all(int(policy) >= 12 for policy in policies)


def test_prefill_acts_uniformly(tiny):
    trainer = Trainer(tiny(steps=160, prefill_steps=160))
    trainer.train()
    episodes = list(trainer.store.episodes())
    assert {episode.source.policy for episode in episodes} == {"random"}
    limit = trainer.spec.action.scale[0]
    share = np.concatenate([episode.action[:-1, 0] for episode in episodes]) / limit
    # A normal policy, clipped, would lie at the limits a quarter of the time.
    assert np.abs(share).max() < 1
    assert np.abs(share).mean() == pytest.approx(0.5, abs=0.1)


def test_what_the_store_holds_is_what_the_simulator_did(tiny):
    trainer = Trainer(tiny(steps=80, prefill_steps=80))
    trainer.train()
    episode = next(iter(trainer.store.episodes()))
    assert episode.is_first[0]
    assert episode.reward[0] == 0
    assert episode.is_last[-1]
    assert (episode.action[-1] == 0).all()
    assert np.abs(episode.action[:-1]).max() > 1  # SI: newtons, not policy units
    # Physics: with the pole near upright a push to the right moves the cart to the right one step later.
    change = np.diff(episode.obs["cart_velocity"][:, 0])
    assert np.corrcoef(change, episode.action[:-1, 0])[0, 1] > 0.9


def test_a_stored_episode_can_be_simulated_again_from_its_seed_and_actions(tiny):
    trainer = Trainer(tiny(steps=120, prefill_steps=120))
    trainer.train()
    env = make_env("cartpole_balance")
    episodes = list(trainer.store.episodes())
    assert len({episode.source.seed for episode in episodes}) == len(episodes)
    for episode in episodes[-2:]:
        observation, _ = env.reset(seed=episode.source.seed)
        for t, action in enumerate(episode.action[:-1]):
            assert all(np.array_equal(observation[name], values[t]) for name, values in episode.obs.items())
            observation, reward, *_ = env.step(action)
            assert np.float32(reward) == episode.reward[t + 1]


def test_a_resumed_run_goes_on_to_its_end_without_repeating_rows(tiny):
    Trainer(tiny(steps=120)).train()
    trainer = Trainer(tiny(steps=200), resume=True)
    state = trainer.train()
    assert (state.env_steps, state.updates) == (200, 35)
    steps = [row["step"] for row in scalars.read(trainer.run) if "run/updates" in row]
    assert steps == sorted(set(steps))
    episodes = list(trainer.store.episodes())
    assert sum(not episode.source.goes_on for episode in episodes) == state.episodes
    assert len({episode.source.seed for episode in episodes}) == len(episodes), "episodes of the start were replayed"
    # A tag keeps a version of the store for each checkpoint that is kept, and for no other.
    assert set(trainer.store.tags()) == {path.name for path in checkpoint.paths(trainer.run)}
    assert len(trainer.store.tags()) == 2


@pytest.mark.parametrize("actor", ["inline", "process"])
def test_a_resume_goes_on_with_the_actors_noise(tiny, actor):
    config = tiny(steps=80, prefill_steps=80, actor=actor)
    trainer = Trainer(config)
    trainer.train()
    (left,) = trainer._source.rng_states()
    assert not torch.equal(left, torch.Generator().manual_seed(config.seed).get_state())
    collector = Trainer(config, resume=True)._collector()
    collector.close()
    (goes_on,) = collector.rng_states()
    assert torch.equal(goes_on, left)


def test_a_run_stops_at_the_wanted_return(tiny):
    trainer = Trainer(tiny(steps=200, eval_every_steps=80, eval_episodes=1, stop_at_return=0.5))
    assert trainer.train().env_steps == 80
    assert trainer.stopped_by == "return"
    assert trainer.state.best_return > 0.5


def test_the_store_of_a_run_has_the_quota_that_was_asked_for(tiny):
    trainer = Trainer(tiny(replay_quota_mib=3))
    assert trainer.store.options.quota_bytes == 3 * 2**20
    assert Trainer(tiny()).store.options.quota_bytes is None


def test_predictions_change_nothing_of_what_is_learned(tiny, tmp_path):
    def learned(name, every):
        trainer = Trainer(tiny(steps=120, predict_every_steps=every, run_dir=tmp_path / name))
        trainer.train()
        return trainer.learner.state_dict(), trainer.sampler.state_dict()

    (left, ours), (right, theirs) = learned("with", 20), learned("without", None)
    assert [name for name in left if not torch.equal(left[name], right[name])] == []
    assert [name for name in ours if not np.array_equal(ours[name], theirs[name])] == []


@pytest.mark.parametrize(
    ("fault", "told"),
    [("raise", "planted fault"), ("nan", "observation state: element 0 is nan"), ("kill", r"died \(exit code -9\)")],
)
def test_what_is_sound_is_saved_when_a_simulator_fails(tiny, monkeypatch, fault, told):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    options = {"fault": fault, "observation": "proprio"}
    trainer = Trainer(tiny(task="gym:toy_envs:toys/Faulty-v0", task_options=options, envs=1, processes=1))
    with pytest.raises(UserError, match=told):
        trainer.train()
    saved = checkpoint.read_state(checkpoint.latest_path(trainer.run))
    assert saved.env_steps == 2
    # The episode that was running is kept as well.
    assert trainer.store.index.steps.tolist() == [2]
    assert saved.replay_version == trainer.store.version


def test_a_learner_that_is_not_sound_is_not_saved_over_one_that_is(tiny):
    trainer = Trainer(tiny(steps=1000))

    def fail(running: Trainer) -> None:
        if running.state.env_steps == 150:
            with torch.no_grad():
                next(running.agent.critic.parameters())[0] = torch.nan
        if running.state.env_steps == 152:  # the update has seen it, nothing else has
            raise OSError("planted fault")

    with pytest.raises(OSError, match="planted fault"):
        trainer.train(fail)
    assert checkpoint.latest_path(trainer.run).name == "step_000000100"


def test_a_ratio_changed_on_resume_holds_for_the_steps_that_come(tiny):
    def to(steps, ratio):
        rounds = []
        trainer = Trainer(tiny(steps=steps, train_ratio=ratio), resume=steps > 120)
        rounds.append(trainer.state.updates)
        trainer.train(lambda run: rounds.append(run.state.updates))
        return trainer.state, max(np.diff(rounds))

    assert to(120, 8.0)[0].updates == 15  # a quarter of the 60 learned steps
    state, most = to(130, 64.0)
    assert (state.updates, most) == (15 + 20, 4)  # two a step, of which there are two a round
    state, _ = to(136, 4.0)
    assert (state.updates, state.update_credit) == (35, 0.75)  # an eighth a step
    assert to(138, 4.0)[0].updates == 36  # what was earned before the resume counts


def test_a_checkpoint_that_counted_no_credit_owes_none_but_the_rest_of_pretraining(tiny, monkeypatch):
    monkeypatch.setattr(loop, "_ROUND_S", 1000.0)  # three updates are within one round, however slow the machine
    trainer = Trainer(tiny(steps=80, prefill_steps=80, pretrain_updates=3))
    trainer.train()
    path = checkpoint.latest_path(trainer.run) / "state.json"
    state = json.loads(path.read_text())
    assert (state.pop("update_credit"), state["updates"]) == (0, 3)
    path.write_text(json.dumps(state))
    assert Trainer(tiny(steps=90, train_ratio=64.0), resume=True).train().updates == 3 + 20
    path.write_text(json.dumps(state | {"updates": 1}))
    assert Trainer(tiny(), resume=True).state.update_credit == 0


@pytest.mark.parametrize("reason", ["stop", "signal", "time limit"])
def test_a_run_ends_inside_a_round_and_what_is_owed_is_kept(tiny, monkeypatch, reason):
    # 200 updates are due after every step of both environments.
    trainer = Trainer(tiny(prefill_steps=70, train_ratio=3200.0, time_limit_s=1000.0))
    real, now_s, updates = trainer.learner.update, [0.0], []
    clock = SimpleNamespace(monotonic=lambda: now_s[0], perf_counter=time.perf_counter)
    monkeypatch.setattr("robot_wm.training.loop.time", clock)

    def update(batch):
        updates.append(batch)
        if len(updates) == 6:
            if reason == "signal":
                os.kill(os.getpid(), signal.SIGTERM)
            elif reason == "stop":
                trainer.stop("stop")
            else:
                now_s[0] = 1000.0
        return real(batch)

    monkeypatch.setattr(trainer.learner, "update", update)
    state = trainer.train()
    assert trainer.stopped_by == reason
    assert (state.env_steps, state.updates, state.update_credit) == (72, 6, 194)
    assert Trainer(tiny(), resume=True).state.update_credit == 194


def test_a_used_folder_an_empty_one_and_another_architecture_are_refused(tiny):
    with pytest.raises(UserError, match="no checkpoint to resume"):
        Trainer(tiny(), resume=True)
    config = tiny(steps=70)
    Trainer(config).train()
    with pytest.raises(UserError, match="--resume"):
        Trainer(config)
    other = config.model_copy(update={"settings": config.settings.model_copy(update={"units": 24})})
    with pytest.raises(UserError, match=r"--dreamer\.units 16 \(got 24\), which a run keeps"):
        Trainer(other, resume=True)


def test_a_planted_nan_stops_the_run_names_the_tensor_and_keeps_the_last_good_checkpoint(tiny):
    trainer = Trainer(tiny(steps=1000))

    def plant(running: Trainer) -> None:
        if running.state.env_steps == 150:
            with torch.no_grad():
                running.agent.critic.get_parameter(next(iter(dict(running.agent.critic.named_parameters()))))[0] = (
                    torch.nan
                )

    with pytest.raises(TrainingDivergedError, match=r"critic.*last good checkpoint .*step_000000100") as caught:
        trainer.train(plant)
    assert isinstance(caught.value, UserError)  # one line: the cure is a setting
    saved = checkpoint.read_learner(checkpoint.latest_path(trainer.run))
    assert all(torch.isfinite(value).all() for value in saved.values() if value.is_floating_point())


def test_ctrl_c_saves_and_the_run_goes_on(tiny):
    trainer = Trainer(tiny(steps=100_000))

    def interrupt(running: Trainer) -> None:
        if running.state.env_steps == 90:
            os.kill(os.getpid(), signal.SIGINT)

    state = trainer.train(interrupt)
    assert trainer.stopped_by == "signal"
    assert 90 <= state.env_steps < 100
    assert Trainer(tiny(steps=100), resume=True).train().env_steps == 100


def test_a_simulated_actor_process_keeps_to_the_train_ratio_also_after_a_resume(tiny):
    arrived = []

    def watch(running: Trainer) -> None:
        arrived.append(running.state.env_steps)

    config = tiny(steps=400, actor="process", envs=1)
    Trainer(config).train(watch)
    Trainer(config.model_copy(update={"steps": 800}), resume=True).train(watch)
    # 64 steps ahead are allowed, and a few more may be under way: no round of the loop finds more than these.
    assert max(np.diff(arrived)) <= 64 + 8
