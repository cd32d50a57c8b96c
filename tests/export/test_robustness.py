"""``robot-wm robustness``: the grid is what was asked, what a world does is seen, and the page tells it."""

import json

import numpy as np
import pytest

from robot_wm.errors import UserError
from robot_wm_export.robustness.command import robustness
from robot_wm_export.robustness.grid import LATE_S, Cell, cells
from robot_wm_export.robustness.measure import Outcome, measure
from robot_wm_export.robustness.summary import summary
from robot_wm_sim.randomisation.ranges import Randomisation

RANGES = Randomisation.model_validate(
    {
        "friction": [0.5, 1.0],
        "armature_s2": {"log": [0.001, 0.1]},
        "joint_offset_rad": {"plus_minus": 0.02},
        "observation_latency_s": [0.0, 0.02],
        "noise_std": {"gravity": [0.0, 0.1]},
        "push_speed_m_s": [0.5, 1.0],
        "push_interval_s": [5.0, 15.0],
    }
)
NAMES = (
    *("friction", "armature_s2", "joint_offset_rad/a", "joint_offset_rad/b", "observation_latency_s"),
    *("noise_std/gravity", "push_speed_m_s", "push_interval_s", "push_seed"),
)
POLE = "zoo:cartpole_balance"


def draws(found, quantity):
    return [dict(cell.draw) for cell in found if cell.kind == "single" and cell.quantities == (quantity,)]


def test_each_quantity_goes_through_its_range():
    found = cells(RANGES, NAMES, backends=["pybullet"], points=3, pairs=[])
    assert draws(found, "friction") == [{"friction": value} for value in (0.5, 0.75, 1.0)]
    logs = [draw["armature_s2"] for draw in draws(found, "armature_s2")]
    assert logs == pytest.approx([0.001, 0.01, 0.1])
    offsets = draws(found, "joint_offset_rad")
    assert offsets[0] == {"joint_offset_rad/a": -0.02, "joint_offset_rad/b": -0.02}
    assert draws(found, "observation_latency_s")[-1] == {"observation_latency_s": LATE_S}
    assert [draw["noise_std/gravity"] for draw in draws(found, "noise_std/gravity")] == [0.0, 0.05, 0.1]
    assert draws(found, "push_speed_m_s")[1] == {"push_speed_m_s": 0.75, "push_interval_s": 10.0, "push_seed": 1.0}
    assert draws(found, "push_interval_s") == draws(found, "push_seed") == []


def test_every_engine_has_the_same_worlds_and_pairs_have_every_combination():
    found = cells(RANGES, NAMES, backends=["pybullet", "mujoco"], points=2, pairs=[("friction", "noise_std/gravity")])
    here, there = ([(c.kind, c.quantities, c.values) for c in found if c.backend == b] for b in ("pybullet", "mujoco"))
    assert here == there
    values = [values for kind, _, values in here if kind == "pair"]
    assert values == [(0.5, 0.0), (0.5, 0.1), (1.0, 0.0), (1.0, 0.1)]
    assert [kind for kind, *_ in here].count("plain") == 1


def test_a_pair_of_what_is_not_moved_is_named():
    with pytest.raises(UserError, match="--pair friction:weather: weather is not moved; there are friction, "):
        cells(RANGES, NAMES, backends=["pybullet"], points=2, pairs=[("friction", "weather")])


def test_a_world_is_the_one_that_was_asked_for():
    """Half of the motor's strength still holds a pole; pictures of it 0.3 s late do not."""
    plain, weak, late = (
        measure(pole, None, Cell(kind="single", backend="mujoco", draw=draw), episodes=2, seed=3).return_mean
        for pole in [POLE]
        for draw in ({}, {"motor_strength": 0.5}, {"observation_latency_s": 0.3})
    )
    assert plain > 400
    assert weak > 0.5 * plain
    assert late < 0.5 * plain


def test_what_an_engine_cannot_do_is_left_blank_with_its_reason():
    cell = Cell(kind="single", backend="pybullet", draw={"armature_s2": 0.01})
    told = measure(POLE, None, cell, episodes=1, seed=0)
    assert told.return_mean is None
    assert "armature" in told.refused


def outcome(kind, backend, mean, *, falls=0, episodes=100, **cell):
    return Outcome(Cell(kind=kind, backend=backend, **cell), episodes, mean, 0.0, falls, None)


def test_goals_are_judged_by_their_own_worlds():
    late = {"quantities": ("observation_latency_s",), "values": (LATE_S,), "draw": {"observation_latency_s": LATE_S}}
    worlds = [
        outcome("plain", "pybullet", 100.0),
        outcome("plain", "mujoco", 79.0),
        outcome("single", "pybullet", 70.0, **late),
        outcome("single", "mujoco", 50.0, **late),
        outcome("joint", "pybullet", 90.0, falls=1, randomisation="sim2real"),
        outcome("joint", "mujoco", 90.0, falls=2, randomisation="sim2real"),
        outcome("joint", "mujoco", 10.0, falls=99, randomisation="harsh"),
    ]
    told = summary(worlds)
    assert list(told["goals"].values()) == [True, False, True, False, False]
    assert told["worst"][0] == {
        "backend": "mujoco", "observation_latency_s": LATE_S, "return_mean": 50.0, "falls": 0, "episodes": 100,
        "success_rate": None,
    }  # fmt: skip


def test_the_command_writes_a_page_with_every_world(tmp_path, capsys):
    moved = {"quantity": ("motor_strength", "friction"), "pair": ("motor_strength:friction",), "points": 2}
    robustness(POLE, out=tmp_path, **moved, episodes=1, joint_episodes=1, backend="mujoco", json=True)
    printed = json.loads(capsys.readouterr().out)
    saved = json.loads((tmp_path / "robustness.json").read_text())
    assert {key: saved[key] for key in printed} == printed
    kinds = [world["cell"]["kind"] for world in saved["worlds"]]
    assert kinds == ["plain"] + ["single"] * 4 + ["pair"] * 4 + ["joint"] * 3
    assert all(np.isfinite(world["return_mean"]) for world in saved["worlds"])
    page = (tmp_path / "robustness.html").read_text()
    assert page.count("data:image/png;base64,") == len(list(tmp_path.glob("*.png"))) == 3


def test_a_quantity_without_a_range_is_named(tmp_path):
    with pytest.raises(UserError, match="--quantity weather: mild has no range of it"):
        robustness(POLE, out=tmp_path / "out", ranges="mild", quantity=("weather",))
    assert not (tmp_path / "out").exists()


def test_ranges_without_latencies_need_no_pair(tmp_path, capsys):
    ranges = tmp_path / "grip.yaml"
    ranges.write_text("motor_strength: [0.9, 1.1]\n")
    robustness(POLE, out=tmp_path / "out", ranges=str(ranges), points=2, episodes=1, joint_episodes=1, backend="mujoco")
    assert sorted(path.name for path in (tmp_path / "out").glob("*.png")) == ["overview.png", "singles.png"]
