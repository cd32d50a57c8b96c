"""`robot-wm cluster render`: what it writes, and what it refuses in a line."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_wm.cli import run as robot_wm
from robot_wm.cluster.plan import KubernetesPlan

KUBERNETES = ["cluster", "render", "kubernetes", "--image", "a/b:1", "--namespace", "robots", "--claim", "runs",
              "--ray-version", "2.60.0", "--run-dir", "/runs/a1"]  # fmt: skip
SLURM = ["cluster", "render", "slurm", "--interface", "ib0", "--run-dir", "/shared/a1"]
TRAIN = ["--", "--preset", "a1_velocity", "--steps", "1000"]


@pytest.mark.parametrize(
    ("line", "files"),
    [
        (KUBERNETES, ["README.md", "learner.yaml", "network-policy.yaml", "ray-cluster.yaml"]),
        (SLURM, ["README.md", "run.sbatch"]),
    ],
)
def test_writes_a_folder_once_and_again_by_force(tmp_path, capsys, line, files):
    out = tmp_path / "out"
    assert robot_wm([*line, "--out", str(out), *TRAIN]) == 0
    assert sorted(path.name for path in out.iterdir()) == files
    readme = (out / "README.md").read_text()
    assert "never on the internet" in readme
    assert all(f"`{name}`" in readme for name in files[1:])
    assert robot_wm([*line, "--out", str(out), *TRAIN]) == 2
    assert robot_wm([*line, "--out", str(out), "--force", *TRAIN]) == 0
    (tmp_path / "other").mkdir()
    (tmp_path / "other/README.md").write_text("Rendered by `robot-wm firmware`")
    assert robot_wm([*line, "--out", str(tmp_path / "other"), "--force", *TRAIN]) == 2
    assert "was not rendered by robot-wm cluster" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "given", "said"),
    [
        (KUBERNETES, {"--name": "A1"}, r"name: String should match"),
        (KUBERNETES, {"--name": "a" * 54}, r"name: .*at most 53"),
        (KUBERNETES, {"--namespace": "robots: {}"}, r"namespace: String should match"),
        (KUBERNETES, {"--image": "a/b:1\n  privileged"}, r"image: String should match"),
        (KUBERNETES, {"--gpus": "0"}, r"gpus: .*greater than or equal to 1 \(got '0'\)"),
        (KUBERNETES, {"--gpus": "3"}, r"8 collectors .* evenly among the ranks of gpus 3"),
        (KUBERNETES, {"--grace-s": "10"}, r"grace_s: .*greater than or equal to 30"),
        (KUBERNETES, {"--ray-version": "2.51.9"}, r"ray_version: Ray 2.51.9 lets in whoever"),
        (KUBERNETES, {"--uid": "0"}, r"uid: .*greater than or equal to 1"),
        (KUBERNETES, {"--run-dir": "runs/a1"}, r"run_dir: an absolute path"),
        (KUBERNETES, {"--run-dir": "/runs/$(id)"}, r"run_dir: an absolute path"),
        (KUBERNETES, {"--replay-store": "s3://bucket/a1"}, r"replay_store s3://bucket/a1 needs s3_secret"),
        (SLURM, {"--interface": "ib0; id"}, r"interface: String should match"),
        (SLURM, {"--partition": "gpu\nexit"}, r"partition: String should match"),
        (SLURM, {"--venv": "venv"}, r"venv: an absolute path"),
        (SLURM, {"--time-limit-min": "5", "--grace-s": "300"}, r"grace_s 300 s is no less than time_limit_min 5 min"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_its_name(tmp_path, capsys, line, given, said):
    options = dict(zip(line[3::2], line[4::2], strict=True)) | given
    words = [word for option in options.items() for word in option]
    assert robot_wm([*line[:3], *words, "--out", str(tmp_path / "out"), *TRAIN]) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert re.search(said, error), error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("train", "said"),
    [
        (["--preset", "a1_velocty"], "unknown preset 'a1_velocty'"),
        (["--envz", "3"], "--envz"),
        (["--envs", "0"], "envs"),
        (["--run-dir", "/elsewhere"], "--run-dir: comes from the rendered files"),
        (["--actor=inline"], "--actor=inline: comes from the rendered files"),
        (["--seed", "1\n"], "characters that are not printed"),
    ],
)
def test_what_no_run_takes_is_refused_before_it_queues(tmp_path, capsys, train, said):
    assert robot_wm([*SLURM, "--out", str(tmp_path / "out"), "--", *train]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@given(st.text())
def test_no_name_brings_yaml_of_its_own(name):
    """Whatever passes as a name is one: nothing of it can end a value or begin a key."""
    values = dict(image="a/b:1", namespace="robots", claim="runs", ray_version="2.60.0", run_dir="/runs/a1")
    for field in ("name", "namespace", "claim", "image", "run_dir"):
        try:
            plan = KubernetesPlan(**(values | {field: name}))
        except ValueError:
            continue
        text = str(getattr(plan, field))
        assert not set(text) & set(" \t\n\r\"'{}[],#&*!|>%`$;"), text
