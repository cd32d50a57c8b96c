"""Every agent that comes with the library is what its card says, and runs."""

import math
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from robot_wm.evaluation.closed_loop import run_closed_loop
from robot_wm.evaluation.driven import driven
from robot_wm.runtime.bundle import Bundle
from robot_wm.runtime.joints import require_placed
from robot_wm.runtime.safety import SafetyConfig
from robot_wm.spec import require_same
from robot_wm.training.checkpoint import load_agent
from robot_wm.training.config import TrainConfig
from robot_wm.zoo.catalog import CARD, CURVE, PAGE, PICTURE, Zoo
from robot_wm_export.zoo_card import page
from robot_wm_export.zoo_curve import read_curve
from robot_wm_export.zoo_entry import require_present_task

ROOT = Path(__file__).resolve().parents[2]
ZOO = Zoo.shipped()
MOST_BYTES = 25_000_000
TICKS = 5

every_agent = pytest.mark.parametrize("name", ZOO.names())


def test_there_are_agents_and_they_are_small():
    assert "cartpole_balance" in ZOO.names()
    assert sum(path.stat().st_size for path in ZOO.root.rglob("*") if path.is_file()) <= MOST_BYTES


def test_nothing_of_the_zoo_is_left_out_of_the_repository_and_so_of_the_wheel():
    files = [str(path) for path in (ZOO.root / "agents").rglob("*") if path.is_file()]
    done = subprocess.run(
        ["git", "check-ignore", "--no-index", *files], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode == 128:
        pytest.skip(f"no git checkout: {done.stderr.strip()}")
    assert done.stdout == ""


def test_no_private_key_lies_about():
    assert [path.name for path in ZOO.root.rglob("*.pem")] == ["zoo.pub.pem"]
    assert "PRIVATE" not in ZOO.public_key.read_text()


@every_agent
def test_it_was_made_for_the_task_as_it_is_now(name):
    loaded = load_agent(ZOO.folder(name))
    require_present_task(name, loaded)
    assert ZOO.card(name).spec_sha256 == loaded.spec.content_hash()


@every_agent
def test_its_bundle_is_whole_signed_and_of_the_same_agent(name):
    loaded = load_agent(ZOO.folder(name))
    with Bundle.open(ZOO.bundle(name), ZOO.public_key) as opened:
        require_same(loaded.spec, opened.spec, origin=name)
        require_placed(opened.spec)  # or a robot's node refuses it
        assert opened.manifest.lineage.steps == loaded.state.env_steps
        # Settings that came with a later version have their defaults in both.
        assert TrainConfig(**opened.manifest.lineage.config) == loaded.state.config


@every_agent
def test_it_computes_what_was_exported_and_drives_its_robot(name):
    config = SafetyConfig(soft_start_s=0.0)
    with driven(Path(f"zoo:{name}"), config=config) as it:  # which replays the recording first
        period_s = it.controller.spec.control_period_s
        result = run_closed_loop(it.controller, it.env, realtime=False, max_episode_s=TICKS * period_s, seed=0)
    assert result.modes == {"active": TICKS}
    assert result.faults == {}
    assert math.isfinite(result.returns[0])


@every_agent
def test_its_card_is_complete(name):
    folder, card, state = ZOO.folder(name), ZOO.card(name), load_agent(ZOO.folder(name)).state
    assert (card.name, card.task, card.env_steps, card.updates) == (
        *(name, state.config.task),
        *(state.env_steps, state.updates),
    )
    assert card.command.startswith("robot-wm train")
    assert set(card.evaluations) >= {"pybullet", "mujoco"}
    for result in card.evaluations.values():
        assert result.episodes >= 10
    assert (folder / PAGE).read_text() == page(card), f"zoo:{name}: {PAGE} is not what {CARD} makes"
    with Image.open(folder / PICTURE) as picture:
        picture.verify()
    curve = read_curve(folder / CURVE)
    assert max(row["step"] for row in curve) > card.env_steps - state.config.log_every_steps
    assert any(row.get("episode/return") for row in curve)
