"""Flags over YAML over preset over defaults, and refusals that name the field."""

import math
import shlex

import pytest
import yaml

from robot_wm import cli
from robot_wm.dreamer.config import DreamerConfig
from robot_wm.errors import UserError
from robot_wm.tasks import make_env
from robot_wm.training.config import TrainConfig, preset_path
from robot_wm.training.loop import Trainer


@pytest.fixture
def parsed(monkeypatch):
    """Parse `robot-wm train …` and return the TrainConfig that the trainer would get."""
    seen = []

    class StopError(Exception):
        pass

    def trainer(config, *, resume, ranks):
        seen.append(config)
        raise StopError

    def parse(*arguments) -> TrainConfig:
        import robot_wm.training.loop

        monkeypatch.setattr(robot_wm.training.loop, "Trainer", trainer)
        with pytest.raises(StopError):
            cli.run(["train", *arguments])
        return seen[-1]

    return parse


def test_flags_win_over_yaml_over_preset_over_defaults(parsed, tmp_path):
    preset = yaml.safe_load(preset_path("quickstart").read_text())
    file = tmp_path / "mine.yaml"
    file.write_text("seed: 7\nsteps: 1234\ndreamer:\n  units: 48\n")
    config = parsed("--preset", "quickstart", "--config", str(file), "--steps", "99", "--dreamer.horizon", "5")
    assert config.steps == 99  # flag
    assert config.seed == 7  # YAML
    assert config.settings.units == 48  # YAML
    assert config.settings.horizon == 5  # flag
    assert config.settings.size == preset["dreamer"]["size"]  # preset
    assert config.checkpoints_kept == TrainConfig().checkpoints_kept  # default


def test_task_options_keep_their_types(parsed):
    config = parsed("--task-options.observation", "image", "--task-options.action_repeat", "2")
    assert config.task_options == {"observation": "image", "action_repeat": 2}


def test_the_backend_has_a_flag_of_its_own_and_keeps_the_other_options(parsed, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("task_options:\n  observation: proprio\n  backend: pybullet\n")
    assert parsed("--backend", "mujoco").task_options == {"backend": "mujoco"}
    config = parsed("--config", str(file), "--backend", "mujoco")
    assert config.task_options == {"observation": "proprio", "backend": "mujoco"}


@pytest.mark.parametrize("named_by", ["flag", "file", "task"])
def test_however_a_resume_names_the_run_its_settings_hold(parsed, tiny, tmp_path, monkeypatch, named_by):
    monkeypatch.chdir(tmp_path)
    config = tiny(steps=60, checkpoints_kept=7, run_dir=None)
    Trainer(config).train()
    (tmp_path / "mine.yaml").write_text(f"run_dir: {config.folder}\nlog_every_steps: 33\n")
    flags = {"flag": ["--run-dir", str(config.folder)], "file": ["--config", "mine.yaml"], "task": []}[named_by]
    again = parsed("--resume", *flags)
    assert again.checkpoints_kept == 7
    assert again.settings == config.settings
    assert again.log_every_steps == (33 if named_by == "file" else config.log_every_steps)
    assert again.folder == config.folder


def test_resume_takes_the_settings_of_the_run_where_no_flag_says_otherwise(parsed, tiny):
    config = tiny(steps=64, task_options={"observation": "proprio"})
    Trainer(config).train()
    again = parsed("--resume", "--run-dir", str(config.folder), "--steps", "999")
    assert again == config.model_copy(update={"steps": 999})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(steps=0), "greater than 0"),
        (dict(train_ratio=-1.0), "greater than 0"),
        (dict(replay_capacity_steps=10), "holds no window of 65 steps"),
        (dict(realtime=True), "actor=process"),
        (dict(stop_at_return=1.0), "eval_every_steps"),
        (dict(stepz=3), "stepz"),
    ],
)
def test_nonsense_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(**change)


def numbers(model):
    """Names of the settings that a number can be, outermost first."""
    return [name for name, field in model.model_fields.items() if "float" in str(field.annotation)]


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_every_number_is_finite(value):
    """An infinite train ratio became a checkpoint that nobody could read."""
    names = [*numbers(TrainConfig), *(f"dreamer.{name}" for name in numbers(DreamerConfig))]
    assert {"train_ratio", "early_train_ratio", "stop_at_return", "time_limit_s", "dreamer.learning_rate"} <= {*names}
    for name in set(names) - {"task_options"}:
        within, _, inner = name.rpartition(".")
        change = {inner: value} | ({"eval_every_steps": 5} if inner == "stop_at_return" else {})
        with pytest.raises(ValueError, match=inner):
            TrainConfig(**({"dreamer": change} if within else change))


@pytest.mark.parametrize("name", sorted(path.stem for path in preset_path("quickstart").parent.glob("*.yaml")))
def test_every_preset_is_valid_and_fits_its_task(parsed, name):
    config = parsed("--preset", name)
    preset = yaml.safe_load(preset_path(name).read_text())
    own = {name: value for name, value in preset.items() if name != config.agent}
    assert config.model_dump(include=set(own)) == own
    for setting, value in preset[config.agent].items():
        assert getattr(config.settings, setting) == value
    if "task" in preset:  # else the user names it
        make_env(config.task, **config.task_options).close()


def test_unknown_preset_names_the_known_ones():
    with pytest.raises(UserError, match="quickstart"):
        preset_path("nothing")


def test_what_a_stopped_run_tells_to_paste_is_its_own_folder(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "a run's [red]"
    monkeypatch.setattr(Trainer, "train", lambda self, report: self.stop("signal"))
    flags = ["--run-dir", str(folder), "--steps", "9", "--dreamer.size", "nano"]
    assert cli.run(["train", *flags]) == 130
    stopped, interrupted = capsys.readouterr().err.splitlines()[-2:]
    assert interrupted == "interrupted"
    words = shlex.split(stopped.partition("continue with: ")[2])
    assert words == ["robot-wm", "train", "--resume", "--run-dir", str(folder)]
