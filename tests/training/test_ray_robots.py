"""Robots that send what they recorded into one run, and get its bundles: nothing is lost, and nothing doubled."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from ray_cluster import in_no_cluster_yet, ray  # noqa: F401 - a fixture

from robot_wm import zoo
from robot_wm.cli import run as command_line
from robot_wm.errors import UserError
from robot_wm.runtime.command import Command
from robot_wm.runtime.installed import InstalledBundles
from robot_wm.runtime.modes import Mode
from robot_wm.runtime.recorder import TickRecorder
from robot_wm.runtime.signature import generate_key
from robot_wm.tasks import agent_spec, make_env
from robot_wm.training.cluster import connection, ingest
from robot_wm.training.cluster.courier import Courier
from robot_wm.training.loop import Trainer

ROBOTS, TICKS = 8, 40


def drive(folder, *, seed, task="cartpole_balance", ticks=TICKS, **spec_changes):
    """A simulated robot, moved at random and recorded as the node records a real one."""
    env = make_env(task, seed=seed)
    spec = agent_spec(env).model_copy(update=spec_changes)
    rng, period_ns = np.random.default_rng(seed), round(1e9 * spec.control_period_s)
    recorder = TickRecorder(folder, spec, bundle_sha256="5" * 64)
    observation, _ = env.reset(seed=seed)
    for tick in range(ticks):
        action = rng.uniform(-1, 1, spec.action_dim).astype(np.float32)
        command = Command(action, action, action, tick + 1, Mode.ACTIVE, damp=False, fault_bits=0)
        seen = {name: np.array(value) for name, value in observation.items()}
        stamps = dict.fromkeys(("stamp_ns", "receipt_ns", "publish_ns"), tick * period_ns)
        assert recorder.add(seen, command, **stamps)
        observation, *_ = env.step(action)
    recorder.close()
    env.close()
    return recorder.path


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """A folder of recordings for each of eight robots."""
    folders = [tmp_path_factory.mktemp(f"robot_{number}") for number in range(ROBOTS)]
    for number, folder in enumerate(folders):
        drive(folder, seed=number)
    return folders


@pytest.fixture
def couriers(fleet):
    """Makes their couriers anew, as after a restart."""

    def make(**changes):
        lines = []
        return [
            Courier(f"robot_{number}", folder, None, None, lines.append) for number, folder in enumerate(fleet)
        ], lines

    return make


def all_rounds(ray, couriers):  # noqa: F811
    with ThreadPoolExecutor(ROBOTS) as threads:
        list(threads.map(lambda courier: courier.round(ray, ingest.find(ray, None)), couriers))


def stored(trainer):
    trainer.store.refresh()
    return sorted(place.id for place in trainer.store.places().values())


def test_eight_robots_feed_one_run_and_what_restarts_loses_and_doubles_nothing(ray, tiny, couriers, fleet, tmp_path):  # noqa: F811
    config = tiny(ray_address="local", steps=100, prefill_steps=60)
    trainer = Trainer(config)
    with ingest.taking_in(config):
        with (
            pytest.raises(UserError, match="another run called run is trained on this cluster"),
            ingest.taking_in(config),
        ):
            pass
        some, lines = couriers()
        half = fleet[0] / "cartpole_balance_later.mcap.part"
        half.write_bytes(b"still growing")
        all_rounds(ray, some)
        assert len(lines) == ROBOTS
        assert all(f"1 episodes of {TICKS} steps (1 added" in line for line in lines)
        assert (
            sum(courier.tally.episodes for courier in some)
            == len(stored(trainer))
            == len(set(stored(trainer)))
            == ROBOTS
        )
        all_rounds(ray, some)
        again, said = couriers()
        all_rounds(ray, again)
        assert len(lines) == ROBOTS
        assert said == []
    with ingest.taking_in(config):  # the learner began anew, and lost what it noted when it was killed behind the store
        (trainer.run / "ingested.json").unlink()
        again, said = couriers()
        all_rounds(ray, again)
        assert all("0 added" in line for line in said)
        assert len(said) == ROBOTS
        assert [courier.tally.episodes for courier in again] == [0] * ROBOTS
        assert len(stored(trainer)) == ROBOTS
        trainer.train()
    shares = {name: part for name, part in trainer.sources.mixture.parts.items() if len(part.sampler)}
    assert len(shares["imported"].sampler) == ROBOTS * TICKS
    assert shares["imported"].drawn > 0, "the run learned from what the robots did"


def test_another_robot_s_recording_is_refused_once_and_only_a_bundle_of_the_key_is_installed(ray, tiny, tmp_path):  # noqa: F811
    config = tiny(ray_address="local")
    trainer = Trainer(config)
    drive(tmp_path / "recorded", seed=1, ticks=20)
    other = drive(tmp_path / "recorded", seed=2, ticks=20, control_rate_hz=10.0, physics_rate_hz=100.0)
    shipped = Path(zoo.__file__).parent
    (trainer.run / ingest.BUNDLES).mkdir()
    shutil.copy(shipped / "agents/cartpole_balance/agent.rwm.zip", trainer.run / ingest.BUNDLES / "step_7.rwm.zip")
    lines, strangers = [], []
    courier = Courier("odd", tmp_path / "recorded", tmp_path / "mine", shipped / "zoo.pub.pem", lines.append)
    not_mine = generate_key(tmp_path / "not_mine.pem")
    (tmp_path / "none").mkdir()
    stranger = Courier("other", tmp_path / "none", tmp_path / "theirs", not_mine, strangers.append)
    with ingest.taking_in(config):
        for _ in range(2):
            for one in (courier, stranger):
                one.round(ray, ingest.find(ray, "run"))
        with pytest.raises(UserError, match=r"^--run walk: no such run is trained on this cluster; runs there: run$"):
            ingest.find(ray, "walk")
    (refused,) = [line for line in lines if line.startswith("refused: ")]
    assert other.name in refused
    assert "control_rate_hz" in refused
    assert str(tmp_path) not in refused
    assert (courier.tally.recordings, courier.tally.refused, len(stored(trainer))) == (1, 1, 1)
    assert InstalledBundles(tmp_path / "mine").current_sha256() == courier.tally.bundle != ""
    assert InstalledBundles(tmp_path / "theirs").current_sha256() is None
    (refused,) = strangers
    assert refused.startswith("refused: step_7.rwm.zip: ")
    assert "sign" in refused


@pytest.mark.parametrize(
    ("told", "named"),
    [
        (["--ray-address", "127.0.0.1:1"], "--ray-address 127.0.0.1:1: nobody answers within 5 s"),
        (["--ray-address", "auto", "--bundles", "b"], "--bundles needs --public-key"),
        (["--ray-address", "auto", "--recordings", "nowhere"], "--recordings nowhere: no such folder"),
    ],
)
def test_the_command_line_ends_with_code_2(told, named, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(connection, "joined", in_no_cluster_yet)
    recordings = [] if "--recordings" in told else ["--recordings", "."]
    assert command_line(["collect", "--robot", "a", *recordings, *told]) == 2
    assert named in " ".join(capfd.readouterr().err.split())
