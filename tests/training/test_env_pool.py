import multiprocessing
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from robot_wm.errors import UserError
from robot_wm.training.env_pool import EnvPool

COUNTER = "gym:toy_envs:toys/Counter-v0"
FAULTY = "gym:toy_envs:toys/Faulty-v0"
WALKER = "gym:toy_envs:toys/Walker-v0"


@pytest.fixture(autouse=True)
def toys(monkeypatch):
    """Makes toy_envs importable here and, as spawned processes inherit the path, in the workers."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def nothing_leaks():
    yield
    assert not [child for child in multiprocessing.active_children() if child.name.startswith("env_pool")]


def actions(pool, value=0.0):
    return np.full((pool.envs, pool.agent_spec.action_dim), value, np.float32)


@pytest.mark.parametrize("processes", [0, 2])
@pytest.mark.parametrize("ending", ["terminated", "truncated"])
def test_an_episode_ends_with_its_own_observation_and_the_next_begins_one_step_later(processes, ending):
    with EnvPool(COUNTER, {"length": 2, "ending": ending}, envs=3, processes=processes, seed=1) as pool:
        steps = [pool.reset()]
        steps += [pool.step(actions(pool, value)) for value in (0.5, 0.25, 3.0, 0.5)]
    terminal = ending == "terminated"
    #        count episode last-action reward first last terminal success camera
    table = [
        (0, 1, 0.0, 0, True, False, False, np.nan, 0),
        (1, 1, 1.0, 1, False, False, False, np.nan, 10),
        (2, 1, 0.5, 2, False, True, terminal, 0, 20),
        (0, 2, 0.0, 0, True, False, False, np.nan, 0),  # the action 3.0 is not taken
        (1, 2, 1.0, 1, False, False, False, np.nan, 10),
    ]
    for step, (count, episode, last, reward, is_first, is_last, is_terminal, success, camera) in zip(
        steps, table, strict=True
    ):
        np.testing.assert_array_equal(step.obs["state"][:, [0, 1, 3]], [[count, episode, last]] * 3)
        assert step.obs["state"].dtype == np.float32
        assert step.obs["camera"].shape == (3, 8, 8, 3)
        assert (step.obs["camera"] == camera).all()
        np.testing.assert_array_equal(step.reward, [reward] * 3)
        assert step.is_first.tolist() == [is_first] * 3
        assert step.is_last.tolist() == [is_last] * 3
        assert step.is_terminal.tolist() == [is_terminal] * 3
        np.testing.assert_array_equal(step.success, np.float32([success] * 3))


def test_success_is_told_at_the_end():
    with EnvPool(COUNTER, {"length": 1}, envs=1) as pool:
        pool.reset()
        told = [float(pool.step(actions(pool)).success[0]) for _ in range(3)]
    assert told[0] == 0.0
    assert np.isnan(told[1])
    assert told[2] == 1.0


@pytest.mark.parametrize(("processes", "ending"), [(0, "terminated"), (0, "truncated"), (2, "truncated")])
def test_figures_are_those_of_an_episodes_last_step(processes, ending):
    with EnvPool(WALKER, {"length": 4, "ending": ending}, envs=3, processes=processes) as pool:
        assert pool.figure_names == ("fall", "height_m", "late")
        steps = [pool.reset()] + [pool.step(actions(pool)) for _ in range(9)]
    nothing = [np.nan] * 3
    # Four steps, then a reset, then two steps and a fall, then a reset and one step.
    table = [nothing] * 4 + [[0, 1.5, 1]] + [nothing] * 2 + [[1, 2.25, np.nan]] + [nothing] * 2
    for step, row in zip(steps, table, strict=True):
        np.testing.assert_array_equal(step.figures, [row] * 3)
        assert step.figures.dtype == np.float64


@pytest.mark.parametrize("processes", [0, 1])
def test_an_environment_without_figures_tells_none(processes):
    with EnvPool(COUNTER, {"length": 1}, envs=2, processes=processes) as pool:
        assert pool.figure_names == ()
        assert pool.reset().figures.shape == pool.step(actions(pool)).figures.shape == (2, 0)


@pytest.mark.parametrize("forget", ["late", "figures"])
def test_a_figure_that_is_declared_but_not_told_is_left_open(forget):
    with EnvPool(WALKER, {"length": 1, "forget": forget}, envs=2) as pool:
        pool.reset()
        known = [0, 1.125, np.nan] if forget == "late" else [np.nan] * 3
        np.testing.assert_array_equal(pool.step(actions(pool)).figures, [known] * 2)


def test_simulators_that_tell_different_figures_are_refused():
    with pytest.raises(UserError, match=r"environments 1\.\.1 .*env_pool_1.*env_pool_0"):
        EnvPool("gym:toy_envs:toys/Quarrel-v0", envs=2, processes=2)


def test_the_number_of_processes_changes_no_trajectory():
    def rollout(processes):
        with EnvPool("gym:gymnasium:Pendulum-v1", {"time_limit": 4}, envs=5, processes=processes, seed=7) as pool:
            steps = [pool.reset()] + [pool.step(actions(pool, 0.1 * t)) for t in range(12)]
        return np.stack([step.obs["observation"] for step in steps]), np.stack([step.reward for step in steps])

    (obs0, reward0), (obs2, reward2), (obs3, _) = rollout(0), rollout(2), rollout(3)
    np.testing.assert_array_equal(obs0, obs2)
    np.testing.assert_array_equal(obs0, obs3)
    np.testing.assert_array_equal(reward0, reward2)
    assert len(np.unique(obs0[0], axis=0)) == 5  # every environment has a seed of its own
    assert len(np.unique(obs0[[0, 5, 10], 0], axis=0)) == 3  # and every episode another start


def test_seeds_differ_with_the_pools_seed():
    def start(seed):
        with EnvPool(COUNTER, envs=2, seed=seed) as pool:
            return pool.reset().obs["state"][:, 2].tolist()

    assert start(3) == start(3)
    assert set(start(3)).isdisjoint(start(4))


@pytest.mark.parametrize("processes", [0, 2])
def test_a_reset_takes_the_seeds_that_are_given_to_it_alone(processes):
    with EnvPool(COUNTER, envs=2, processes=processes) as pool:
        starts = [pool.reset(seeds).obs["state"][:, 2].tolist() for seeds in ((5, 6), None, (6, 5), (6, 6))]
        assert pool.step(actions(pool)).seed.tolist() == [6, 6]
    (five, six), own = starts[0], starts[1]
    assert starts[2:] == [[six, five], [six, six]]
    assert five != six
    assert {five, six}.isdisjoint(own)


def test_discrete_actions_are_one_hot():
    with EnvPool(COUNTER, {"discrete": True}, envs=3, processes=1) as pool:
        pool.reset()
        step = pool.step(np.eye(3, dtype=np.float32)[[2, 0, 1]])
    assert step.obs["state"][:, 3].tolist() == [7, 5, 6]  # the space starts at 5


def test_simulators_work_while_the_caller_does_and_results_are_copies():
    with EnvPool(COUNTER, {"length": 100}, envs=2, processes=2) as pool:
        first = pool.reset()
        pool.send(actions(pool))
        with pytest.raises(RuntimeError, match="under way"):
            pool.send(actions(pool))
        time.sleep(0.2)  # the workers have long written; the caller's arrays are its own
        assert first.obs["state"][:, 0].tolist() == [0, 0]
        assert pool.recv().obs["state"][:, 0].tolist() == [1, 1]
        with pytest.raises(RuntimeError, match="no step is under way"):
            pool.recv()
        with pytest.raises(ValueError, match="shape"):
            pool.send(np.zeros((2, 5), np.float32))


def test_stepping_needs_a_reset_and_an_open_pool():
    pool = EnvPool(COUNTER, envs=1)
    with pytest.raises(RuntimeError, match="reset"):
        pool.step(actions(pool))
    pool.close()
    pool.close()
    with pytest.raises(RuntimeError, match="closed"):
        pool.reset()


@pytest.mark.parametrize(
    ("fault", "told"), [("raise", r"step\(\) raised ZeroDivisionError: planted fault"), ("kill", "exit code -9")]
)
def test_a_failing_simulator_is_reported_and_the_rest_is_stopped(fault, told):
    pool = EnvPool(FAULTY, {"fault": fault}, envs=4, processes=2)
    pool.reset()
    pool.step(actions(pool))
    memory = Path("/dev/shm", pool._memory.name.lstrip("/"))
    assert memory.exists()
    with pytest.raises(UserError, match=told) as caught:
        pool.step(actions(pool))
    assert not memory.exists()
    assert ("environments 0..1" if fault == "kill" else "task gym:toy_envs:toys/Faulty-v0") in str(caught.value)
    with pytest.raises(RuntimeError, match="closed"):
        pool.step(actions(pool))


def test_closing_does_not_wait_for_a_stalled_simulator(monkeypatch):
    monkeypatch.setattr("robot_wm.training.env_pool.CLOSE_TIMEOUT_S", 0.2)
    pool = EnvPool(FAULTY, {"fault": "stall"}, envs=1, processes=1)
    pool.reset()
    pool.step(actions(pool))
    pool.send(actions(pool))
    began = time.monotonic()
    pool.close()
    assert time.monotonic() - began < 30  # the stall lasts 60 s


@pytest.mark.parametrize("processes", [0, 2])
def test_what_the_task_refuses_is_the_users_error(processes):
    with pytest.raises(UserError, match="unknown task 'no_such_task'"):
        EnvPool("no_such_task", envs=2, processes=processes)
    with pytest.raises(UserError, match="no_such_option"):
        EnvPool(COUNTER, {"no_such_option": 1}, envs=2, processes=processes)


@pytest.mark.parametrize(("key", "value"), [("envs", 0), ("processes", -1), ("seed", -1)])
def test_bad_numbers_are_the_users_error(key, value):
    with pytest.raises(UserError, match=f"{key} is {value}"):
        EnvPool(COUNTER, **{key: value})


ABANDON = """
import os, signal, sys
sys.path.insert(0, {folder!r})
from robot_wm.training.env_pool import EnvPool
if __name__ == "__main__":
    pool = EnvPool({task!r}, envs=2, processes=2)
    pool.reset()
    print(*[worker._process.pid for worker in pool._workers], pool._memory.name, flush=True)
    if {kill}:
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("kill", [False, True])
def test_a_learner_that_ends_without_closing_leaves_nothing_behind(tmp_path, kill):
    script = tmp_path / "abandon.py"
    script.write_text(ABANDON.format(folder=str(Path(__file__).parent), task=COUNTER, kill=kill))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60)
    *pids, memory = done.stdout.split()
    assert len(pids) == 2, done.stderr
    if not kill:
        assert done.returncode == 0
        assert done.stderr == ""
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in pids) or Path("/dev/shm", memory.lstrip("/")).exists():
        assert time.monotonic() < deadline, "processes or shared memory are left"
        time.sleep(0.05)
