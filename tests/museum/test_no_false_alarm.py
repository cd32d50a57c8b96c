"""What is not wrong is not refused: every trained agent on its sound robot, in both engines, and on robots whose
sensors are late and noisy, whose motors rub and are weak, and whose zeros are off by what is usual (``sim2real``).
"""

from __future__ import annotations

import pytest
from museum_rig import Museum, zoo_bundle

from robot_wm.zoo.catalog import Zoo

ENGINES = ("pybullet", "mujoco")
SECONDS = 2.5


def require_quiet(agent: str, engine: str, seed: int, **options: str) -> None:
    bundle = zoo_bundle(agent)
    # A robot that falls is to be damped, by whoever finds that; here it is to be asked about its sensors alone.
    with Museum(bundle, options={"backend": engine} | options, seed=seed, following_s=float("inf")) as museum:
        if bundle.spec.robot == "a1":
            museum.settle(1.0)
        else:
            museum.hold()
        assert museum.look() == []
        assert museum.drive(SECONDS).detail == ""


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("agent", Zoo.shipped().names())
def test_a_sound_robot(agent, engine):
    require_quiet(agent, engine, seed=1)


@pytest.mark.parametrize(("agent", "engine"), zip(Zoo.shipped().names(), ENGINES * 3, strict=True))
def test_a_robot_as_far_from_the_simulator_as_real_ones_are(agent, engine):
    require_quiet(agent, engine, seed=2, randomisation="sim2real")


def test_such_a_robot_on_a_stand():
    with Museum(zoo_bundle("a1_velocity"), on_stand=True, options={"randomisation": "sim2real"}, seed=5) as museum:
        museum.settle(1.0)
        assert museum.look() == []
        outcome = museum.drive(20.0)
        assert outcome.detail == ""
        assert museum.controller.live is not None
        assert museum.controller.live.passed
