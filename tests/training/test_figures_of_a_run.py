"""What a task tells of its episodes, from the simulators to the logs, the checkpoint and the bundle's lineage."""

import inspect
import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from robot_wm.cli import run as robot_wm
from robot_wm.console import progress
from robot_wm.evaluation.bounds import LONGEST_EPISODE_STEPS
from robot_wm.evaluation.eval_command import evaluate_bundle
from robot_wm.training import checkpoint, scalars
from robot_wm.training.batched_evaluation import evaluate
from robot_wm.training.command import RoundReport
from robot_wm.training.config import TrainConfig
from robot_wm.training.loop import Trainer

# Of 8 steps of an environment 2 are resets; it walks 4, is reset, walks 2 and falls, is reset.
WALKER = dict(
    task="gym:toy_envs:toys/Walker-v0", task_options={"observation": "proprio"}, envs=2, log_every_steps=80, steps=80
)


@pytest.fixture(autouse=True)
def toys(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


def test_figures_and_falls_are_logged_from_the_first_step_and_go_on_after_a_resume(tiny):
    config = tiny(**WALKER, prefill_steps=1000)
    trainer = Trainer(config)
    trainer.train()
    first = scalars.read(trainer.run)[0]
    assert first["step"] == 80
    assert (first["run/falls"], first["run/robot_minutes"]) == (10, pytest.approx(60 / 10 / 60))  # at 10 Hz
    assert first["run/falls_per_robot_minute"] == pytest.approx(100)
    # The last ten episodes are numbers 6 to 10 of both environments; even ones last 2 steps, odd ones 4.
    lengths = {number: 2 if number % 2 == 0 else 4 for number in range(6, 11)}
    height = sum(n * (number + n / 8) for number, n in lengths.items()) / sum(lengths.values())
    assert first["episode/height_m"] == pytest.approx(height)
    assert first["episode/late"] == 8  # defined in episodes 7 and 9 only
    assert first["episode/falls_per_episode"] == pytest.approx(6 / 10)
    assert first["episode/falls_per_robot_minute"] == pytest.approx(6 / (28 / 10 / 60))
    assert "episode/fall" not in first
    assert first["episode/success"] == pytest.approx(6 / 10)  # every second episode
    board = EventAccumulator(str(trainer.run / "tensorboard")).Reload()
    assert board.Scalars("episode/height_m")[0].value == pytest.approx(height)
    again = Trainer(config.model_copy(update={"steps": 160}), resume=True)
    assert (again.falls, again.robot_minutes) == (10, pytest.approx(0.1))
    again.train()
    assert again.falls == 20
    assert scalars.read(trainer.run)[-1]["run/robot_minutes"] == pytest.approx(0.2)


def test_an_episode_that_never_ends_is_cut_off_where_it_is_evaluated_and_told(tiny, capsys):
    endless = WALKER | {"task": "gym:toy_envs:toys/Counter-v0", "steps": 10}
    endless["task_options"] = {"observation": "proprio", "length": 10**9}
    trainer = Trainer(tiny(**endless, prefill_steps=1000))
    trainer.train()
    arguments = ["eval", "--checkpoint", str(trainer.run), "--episodes", "2", "--json"]
    assert robot_wm([*arguments, "--episode-steps", "7"]) == 0
    told = capsys.readouterr()
    result = json.loads(told.out)
    assert (result["lengths"], result["cut_off"], result["success_rate"]) == ([7, 7], 2, None)
    assert result["returns"] == [1 + 2 + 3 + 4 + 5 + 6 + 7] * 2
    assert "2 of 2 episodes had not ended after 7 steps" in told.err
    assert robot_wm([*arguments, "--episode-steps", "7", "--option.length", "7"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["cut_off"] == 0
    assert "had not ended" not in told.err


@pytest.mark.parametrize("function", [evaluate, evaluate_bundle])
def test_no_evaluation_is_without_a_bound(function):
    assert inspect.signature(function).parameters["longest"].default == LONGEST_EPISODE_STEPS
    assert TrainConfig().eval_episode_steps == LONGEST_EPISODE_STEPS


def test_an_actor_beside_the_learner_tells_them_too(tiny):
    trainer = Trainer(tiny(**WALKER, prefill_steps=1000, actor="process", processes=2))
    state = trainer.train()
    rounds = state.env_steps // 2  # how many there were is the actor's affair
    assert rounds >= 40
    assert state.falls == 2 * (rounds // 8)
    assert state.robot_steps == 2 * sum(number % 8 not in (0, 5) for number in range(rounds))
    assert 1 < scalars.read(trainer.run)[0]["episode/height_m"] < 2 + rounds / 4


def test_evaluations_tell_figures_and_they_travel_with_the_agent(tiny, capsys):
    options = {"steps": 120, "task_options": {"observation": "proprio", "spread": 8}}
    trainer = Trainer(tiny(**WALKER | options, prefill_steps=60, eval_every_steps=80, eval_episodes=4))
    trainer.train()
    told = checkpoint.load_agent(trainer.run).lineage["evaluation"]
    lengths = told["lengths"]
    assert len(set(lengths)) > 1  # they end at different times
    # Each is its environment's first episode, at whose last step the height was 1 + length / 8.
    height = sum(n * (1 + n / 8) for n in lengths) / sum(lengths)
    assert told["figures"] == {"height_m": pytest.approx(height), "late": 1}
    assert (told["falls"], told["length_mean"]) == (0, sum(lengths) / 4)
    # Step n pays n; an episode that ends before the others earns nothing while they go on.
    assert told["returns"] == [n * (n + 1) / 2 for n in lengths]
    assert told["success_rate"] == 0  # that of a second episode would be 1
    row = next(row for row in scalars.read(trainer.run) if "eval/return" in row)
    assert row["eval/height_m"] == pytest.approx(height)
    assert (row["eval/late"], row["eval/falls_per_episode"], row["eval/falls_per_robot_minute"]) == (1, 0, 0)
    # `eval` runs the same agent in the same episodes.
    capsys.readouterr()
    assert robot_wm(["eval", "--checkpoint", str(trainer.run), "--episodes", "4", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert {name: again[name] for name in told} == told
    assert (told["env_steps"], told["updates"]) == (80, 5)  # it is the evaluation of that step
    assert {
        "figures",
        "falls",
        "falls_per_episode",
        "falls_per_robot_minute",
        "robot_minutes",
        "lengths",
    } <= told.keys()


def test_a_log_file_gets_lines_that_say_how_the_run_does(tiny, capsys):
    config = tiny(**WALKER | {"steps": 120}, prefill_steps=60, eval_every_steps=80, eval_episodes=1)
    with progress() as bar:
        trainer = Trainer(config)
        trainer.train(RoundReport(bar, "train"))
    last = capsys.readouterr().err.splitlines()[-1]
    assert re.sub(r"elapsed .*?, |, \d+\.\d updates/s$", "", last) == (
        f"train: 120/120, return {trainer.recent_return:.1f}, best 10.0, 14 falls, "
        f"{90 / 10 / 60:.1f} robot-minutes, 15 updates"
    )


def test_the_rate_of_updates_is_that_of_the_last_half_minute():
    def at(running_s, updates):
        return report._updates_per_s(SimpleNamespace(running_s=running_s, state=SimpleNamespace(updates=updates)))

    report = RoundReport(None, "train")
    assert at(10.0, 0) == 0
    assert at(12.0, 10) == 5
    for second in range(13, 100):  # 20 a second from now on
        rate = at(float(second), 10 + 20 * (second - 12))
    assert rate == 20
    assert at(200.0, 1750) == 0  # nothing for 101 s


def test_a_task_without_figures_logs_robot_minutes_only(tiny):
    trainer = Trainer(tiny(steps=80, prefill_steps=80, log_every_steps=80))
    trainer.train()
    row = scalars.read(trainer.run)[0]
    resets = trainer.state.episodes + 2
    assert row["run/robot_minutes"] == pytest.approx((80 - resets) / 50 / 60)
    assert trainer.falls is None
    assert not [name for name in row if "fall" in name]


def test_a_checkpoint_from_before_figures_still_resumes(tiny):
    config = tiny(**WALKER, prefill_steps=1000)
    trainer = Trainer(config)
    trainer.train()
    file = checkpoint.latest_path(trainer.run) / "state.json"
    state = json.loads(file.read_text())
    del state["falls"], state["robot_steps"]
    file.write_text(json.dumps(state))
    again = Trainer(config.model_copy(update={"steps": 160}), resume=True)
    again.train()
    assert (again.falls, again.robot_minutes) == (10, pytest.approx(0.1))
