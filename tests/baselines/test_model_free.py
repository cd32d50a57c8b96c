"""The libraries' algorithms on a real task: what is recorded is what they did."""

import inspect
import tempfile
from importlib import import_module
from importlib.util import find_spec

import numpy as np
import pytest

from robot_wm.baselines import model_free
from robot_wm.baselines.curve import EPISODES, Curve, read_rows
from robot_wm.baselines.settings import choose, load_algorithms
from robot_wm.errors import UserError
from robot_wm.tasks import agent_spec, make_env

pytest.importorskip("stable_baselines3")
STEPS = 120
no_sbx = find_spec("sbx") is None


@pytest.fixture
def learn(tmp_path, small):
    """Train a small algorithm on cartpole_balance; returns steps, why it ended and the episodes' columns."""
    env = make_env("cartpole_balance")
    spec, names = agent_spec(env), env.unwrapped.figure_names
    env.close()

    def run(name, *, seed=0, time_limit_s=None, **settings):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        with Curve(folder, rate_hz=spec.control_rate_hz, figure_names=names, trial_every_steps=None) as curve:
            steps, why = model_free.train(
                small(name, **settings),
                "cartpole_balance",
                {},
                spec,
                history=2,
                steps=STEPS,
                seed=seed,
                processes=0,
                device="cpu",
                time_limit_s=time_limit_s,
                curve=curve,
                trials=None,
            )
        return steps, why, read_rows(folder / EPISODES)

    return run


def library(name):
    return pytest.param(name, marks=pytest.mark.skipif(name in ("crossq", "droq") and no_sbx, reason="no sbx"))


@pytest.mark.parametrize("name", [library(name) for name in ("sac", "ppo", "crossq", "droq")])
def test_every_algorithm_learns_for_the_steps_asked_and_each_episode_is_recorded(learn, name):
    steps, why, rows = learn(name)
    assert STEPS <= steps < STEPS + 64  # PPO ends with a rollout
    assert why == "steps"
    assert len(rows["step"]) >= 2
    # Steps are of all environments together, and no step lies in no episode but those of the ones under way.
    envs = 2 if name == "ppo" else 1
    assert rows["length"].sum() <= steps
    assert rows["length"].sum() >= rows["step"][-1] - (envs - 1) * rows["length"].max() - 1
    if envs == 1:
        np.testing.assert_array_equal(rows["step"], np.cumsum(rows["length"]))
    # The reward is the task's own, within [0, 1] a step, also where the algorithm sees it normalised.
    assert (rows["return"] <= rows["length"]).all()
    assert (rows["return"] > 0.4 * rows["length"]).all()
    assert np.isfinite(rows["upright_share"]).all()


def test_a_seed_decides_a_run_and_another_seed_another_one(learn):
    first, again, other = learn("sac"), learn("sac"), learn("sac", seed=1)
    np.testing.assert_array_equal(first[2]["return"], again[2]["return"])
    assert not np.array_equal(first[2]["return"][:2], other[2]["return"][:2])


@pytest.mark.skipif(no_sbx, reason="no sbx")
def test_a_learner_that_diverges_ends_its_run_with_what_it_did_until_then(learn):
    steps, why, rows = learn("crossq", learning_rate=1e38)
    assert why == "diverged"
    assert rows["length"].sum() <= steps < STEPS


def test_the_settings_reach_the_algorithm(learn):
    soon, never = learn("sac")[2], learn("sac", learning_starts=STEPS + 1)[2]
    random = soon["step"] <= 60  # the first learned step comes after these, see conftest
    assert random.any()
    assert not random.all()
    np.testing.assert_array_equal(soon["return"][random], never["return"][: random.sum()])
    assert not np.array_equal(soon["return"], never["return"])


def test_a_time_limit_ends_a_run_which_leaves_no_temporary_files(learn, tmp_path_factory, monkeypatch):
    elsewhere = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(elsewhere))
    steps, why, _ = learn("sac", time_limit_s=1e-6)
    assert why == "time limit"
    assert steps < STEPS
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("name", ["sac", "ppo", "crossq", "crossq_16", "crossq_gait8", "droq"])
def test_every_setting_that_ships_is_one_that_its_library_knows(name):
    algorithm = load_algorithms()[name]
    if algorithm.library == "sbx" and no_sbx:
        pytest.skip("no sbx")
    kind = getattr(import_module(algorithm.library), algorithm.algorithm)
    keywords = algorithm.keywords(joints=12)
    assert set(keywords) <= set(inspect.signature(kind).parameters)
    policy = kind.policy_aliases["MlpPolicy"]
    assert set(keywords["policy_kwargs"]) <= set(inspect.signature(policy).parameters)


def test_the_update_ratios_are_the_papers():
    declared = load_algorithms()
    ratio = {
        name: a.settings.get("gradient_steps", 0) / a.settings.get("train_freq", 1) / a.envs
        for name, a in declared.items()
    }
    assert ratio == {"sac": 1, "ppo": 0, "crossq": 1, "crossq_16": 1, "crossq_gait8": 1, "droq": 20}
    assert {name: a.envs for name, a in declared.items() if a.envs > 1} == {"ppo": 16, "crossq_16": 16}
    assert declared["crossq"].settings["policy_delay"] == 3
    assert declared["droq"].keywords(joints=12)["target_entropy"] == -6.0


def test_names_are_checked_before_anything_runs(tmp_path):
    declared = load_algorithms()
    assert choose(["sac", "dreamer", "sac"], declared) == ["sac", "dreamer"]
    with pytest.raises(UserError, match="unknown 'td3'; known: dreamer, sac, ppo"):
        choose(["td3"], declared)
    with pytest.raises(UserError, match="names none"):
        choose([], declared)
    own = tmp_path / "own.yaml"
    own.write_text("sac: {library: rllib, algorithm: SAC, source: x}")
    with pytest.raises(UserError, match=r"own.yaml: sac.library.*rllib"):
        load_algorithms(own)
    with pytest.raises(UserError, match="cannot read"):
        load_algorithms(tmp_path / "none.yaml")
