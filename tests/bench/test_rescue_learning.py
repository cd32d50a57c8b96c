"""A pupil learns its teacher's actions, keeps what it was taught from, and rests before it learns on the new robot."""

import json

import numpy as np
import pytest
from quick_xla import unoptimised_xla

from robot_wm.baselines.settings import Algorithm
from robot_wm.dreamer.config import DreamerConfig
from robot_wm.runtime.transform import to_command
from robot_wm.tasks import agent_spec, make_env
from robot_wm.training.config import TrainConfig
from robot_wm.training.env_pool import EnvPool
from robot_wm.training.loop import Trainer

pytest.importorskip("sbx")

from robot_wm_bench.rescue import pupil
from robot_wm_bench.rescue.cloning import Cloning
from robot_wm_bench.rescue.evaluation import Evaluated, Evaluation
from robot_wm_bench.rescue.experience import Experience
from robot_wm_bench.rescue.half_buffer import HalfBuffer
from robot_wm_bench.rescue.lessons import Lessons
from robot_wm_bench.rescue.method import World
from robot_wm_bench.rescue.model_free import ModelFree
from robot_wm_bench.rescue.record import Record
from robot_wm_bench.rescue.teaching import gather

TASK = "cartpole_balance"
LESSONS = Lessons(
    history=2, robots=2, rounds=2, round_steps=40, clone_updates=1, clone_batch=8, critic_updates=1, replay_steps=500
)


@pytest.fixture(scope="module", autouse=True)
def quick_xla():
    """XLA compiles for most of these tests: it shall not optimise."""
    with unoptimised_xla():
        yield


@pytest.fixture(scope="module")
def spec():
    env = make_env(TASK)
    yield agent_spec(env)
    env.close()


def algorithm(name="SAC"):
    policy = {"net_arch": [16], **({"layer_norm": True} if name == "SAC" else {"renorm_warmup_steps": 10})}
    settings = {"batch_size": 8, "gradient_steps": 2, "policy_delay": 2, "learning_rate": 1e-2}
    return Algorithm(library="sbx", algorithm=name, source="this test", settings=settings, policy=policy)


def experience(rng, size, spec, mark=0.0):
    seen = rng.normal(size=(size, 8)).astype(np.float32)
    action = np.tanh(seen[:, :1]).astype(np.float32)
    rest = np.full(size, mark, np.float32)
    return Experience(seen=seen, action=action, label=action, reward=rest, then_seen=seen, terminal=0 * rest)


@pytest.mark.parametrize("name", ["SAC", "CrossQ"])
def test_a_clone_does_what_its_teacher_did_with_the_noise_it_is_to_explore_by(spec, name):
    model = pupil.build(algorithm(name), spec, LESSONS, seed=0)
    taught = experience(np.random.default_rng(0), 600, spec)
    unseen = experience(np.random.default_rng(1), 200, spec)
    before = model.policy.predict(unseen.seen, deterministic=True)[0]
    cloning = Cloning(model, noise=0.2, learning_rate=1e-2, batch_size=64, seed=0)
    losses = [cloning.run(taught, 250) for _ in range(4)]
    after = model.policy.predict(unseen.seen, deterministic=True)[0]
    assert losses[-1] < losses[0]
    assert np.abs(after - unseen.label).mean() < 0.1 < np.abs(before - unseen.label).mean()
    middle = np.tile(unseen.seen[np.abs(unseen.label[:, 0]).argmin()], (2000, 1))  # there the tanh is straight
    assert model.policy.predict(middle, deterministic=False)[0].std() == pytest.approx(0.2, rel=0.3)


@pytest.mark.parametrize("name", ["SAC", "CrossQ"])
def test_critics_are_judged_while_the_actor_rests_and_all_of_it_is_kept(spec, tmp_path, name):
    import jax
    from flax import serialization

    prior = experience(np.random.default_rng(0), 300, spec, mark=1.0)
    model = pupil.build(algorithm(name), spec, LESSONS, seed=0, prior=prior)
    before = pupil.states_of(model)
    pupil.judge_critics(model, 100)
    assert model.policy_delay == 2
    states = pupil.states_of(model)
    resting, learning = ((states[part].params, before[part].params) for part in ("actor", "critics"))
    jax.tree.map(np.testing.assert_array_equal, *resting)
    assert all(jax.tree.leaves(jax.tree.map(lambda a, b: bool((a != b).any()), *learning)))
    pupil.save(tmp_path, prior, states, {"falls": 1})
    loaded = pupil.load(tmp_path, algorithm(name), spec, LESSONS, seed=5)
    kept, found = (serialization.to_state_dict(one) for one in (states, pupil.states_of(loaded)))
    jax.tree.map(np.testing.assert_array_equal, kept, found)
    assert (loaded.replay_buffer.sample(8).rewards.numpy() == 1.0).all()
    assert pupil.saved(tmp_path) == {"falls": 1}


def test_half_of_every_batch_is_the_sources_and_all_of_it_while_nothing_is_new(spec):
    prior = experience(np.random.default_rng(0), 50, spec, mark=1.0)
    model = pupil.build(algorithm(), spec, LESSONS, seed=0, prior=prior)
    buffer = model.replay_buffer
    assert isinstance(buffer, HalfBuffer)
    assert (buffer.sample(64).rewards.numpy() == 1.0).all()
    one = np.zeros((1, 8), np.float32)
    for _ in range(20):
        buffer.add(one, one, np.zeros((1, 1)), np.full(1, 7.0), np.zeros(1), [{}])
    batch = buffer.sample(400)
    old = batch.rewards.numpy().ravel() == 1.0
    assert old.sum() == 200
    # The learner cuts it: each part must be of both, and what belongs together stays together.
    assert 20 < old[:100].sum() < 80
    np.testing.assert_array_equal(batch.observations.numpy().any(axis=1), old)


class Teacher:
    """Wants half of what the pole's angle says, and remembers what it was told."""

    def __init__(self, spec):
        self.spec, self.wanted, self.told, self.firsts = spec, [], [], []

    def act(self, obs, is_first):
        self.firsts.append(is_first.copy())
        action = np.clip(0.5 * np.asarray(next(iter(obs.values())))[:, :1], -1, 1).astype(np.float32)
        self.wanted.append(action)

        class Acted:
            command = to_command(self.spec.action, action)

        return Acted

    def executed(self, action):
        self.told.append(action)


def test_the_teacher_labels_what_the_pupil_does_and_is_told_of_it(spec):
    pool = EnvPool(TASK, {}, envs=2, processes=0, seed=0)
    try:
        teacher = Teacher(spec)

        def pushes(seen):
            return np.full((len(seen), 1), 0.9, np.float32)  # over the pole goes

        found, falls = gather(pool, teacher, pushes, history=2, steps=200, noise=0.01, seed=3)
    finally:
        pool.close()
    assert found.terminal.sum() == falls > 10
    # The step in which the pool starts an episode is no transition; who falls last may still lie there.
    assert falls - 2 <= 2 * 200 - len(found) <= falls
    np.testing.assert_allclose(np.concatenate(teacher.told).mean(), 0.9, atol=0.01)
    assert 0.85 < found.action.min() <= found.action.max() < 0.95
    assert np.abs(found.label).max() < 0.85
    # What is seen next is where the episode goes on from: all but its end and its start, two steps apart.
    goes_on = (found.seen[2:] == found.then_seen[:-2]).all(axis=1)
    assert 0 < (~goes_on).sum() <= 2 * falls


def test_without_a_pupil_the_teacher_drives(spec):
    pool = EnvPool(TASK, {}, envs=2, processes=0, seed=0)
    try:
        found, _ = gather(pool, Teacher(spec), None, history=2, steps=30, noise=0.0, seed=3)
    finally:
        pool.close()
    np.testing.assert_allclose(found.action, found.label, atol=1e-6)


def test_a_look_is_the_same_for_the_same_policy_and_counts_whole_episodes(spec):
    home = np.asarray(spec.action.offset, np.float32)

    def still(obs, is_first):
        return np.tile(home, (3, 1)).astype(np.float32)

    with Evaluation(TASK, {}, episodes=3, processes=0) as evaluation:
        first, again = evaluation.run(still), evaluation.run(still)
    np.testing.assert_array_equal(first.returns, again.returns)
    assert len(np.unique(first.returns)) == 3
    assert np.isnan(first.falls)  # this task tells of none


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """The checkpoint of an agent that has learned nothing."""
    folder = tmp_path_factory.mktemp("teacher") / "run"
    settings = DreamerConfig(size="nano", batch_size=2, batch_length=4)
    common = dict(task=TASK, steps=24, envs=12, prefill_steps=24, device="cpu", eval_every_steps=None)
    Trainer(TrainConfig(run_dir=folder, dreamer=settings, **common)).train()
    return folder


def test_a_method_is_taught_once_rests_and_then_learns_on_the_new_robot(teacher, tmp_path, monkeypatch):
    method = ModelFree(algorithm(), teacher, lessons=LESSONS, seed=0, rest_s=0.4)
    told = method.prepare(World(TASK), tmp_path)
    assert told["source_steps"] <= 2 * 2 * 40
    monkeypatch.setattr(pupil, "teach", lambda *_, **__: pytest.fail("it is taught again"))
    again = ModelFree(algorithm(), teacher, lessons=LESSONS, seed=0, rest_s=0.4)
    assert again.prepare(World(TASK), tmp_path) == json.loads(json.dumps(told))
    learned = []
    real = type(again._model).train
    monkeypatch.setattr(
        type(again._model),
        "train",
        lambda self, gradient_steps, batch_size: (
            learned.append((self.num_timesteps, gradient_steps)),
            real(self, gradient_steps, batch_size),
        ),
    )
    looked = []

    def evaluate(policy):
        looked.append(policy)
        return Evaluated(np.zeros(2), 0.0)

    with Record(tmp_path, rate_hz=50.0, source_return=1.0, evaluate=evaluate, robots=2, limit_s=2.0) as record:
        again.rescue(World(TASK, {"backend": "mujoco"}), record)
    assert [look.target_s for look in record.looks] == [0.0, 2.0]
    assert len(looked) == 2
    # The first 0.4 s are rest; the library does not learn any more once its callback has ended it.
    assert learned == [(step, 2) for step in range(20, 100)]
    assert record.episodes >= 1  # what has learned nothing does not balance for 2 s
