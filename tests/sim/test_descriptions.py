"""Descriptions that other packages bring are looked for when they are loaded, and not before."""

import subprocess
import sys

import pytest

from robot_wm.errors import UserError
from robot_wm_sim.robots.description import PackageFile
from robot_wm_sim.robots.panda import PANDA
from robot_wm_sim.urdf_tree import loadable

# Every module of the tasks and robots, and the list of tasks, where neither pybullet nor what comes with it is
# installed; then an environment in the other engine.
SCRIPT = """
import importlib, importlib.machinery, pkgutil, sys
class Without(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        missing = name.partition(".")[0] in ("pybullet", "pybullet_data", "pybullet_utils")
        return None if missing else super().find_spec(name, path, target)
sys.meta_path[:] = [Without if finder is importlib.machinery.PathFinder else finder for finder in sys.meta_path]
import robot_wm_sim.robots, robot_wm_sim.tasks
for package in (robot_wm_sim.robots, robot_wm_sim.tasks):
    for found in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        importlib.import_module(found.name)
from robot_wm.tasks import known_tasks, make_env
print(sorted(name for name, line in known_tasks().items() if "cannot be used" in line))
make_env("racecar_goal", observation="proprio", backend="mujoco").reset(seed=1)
print(sorted({"pybullet", "pybullet_data", "pybullet_utils"} & set(sys.modules)))
try:
    make_env("panda_reach", backend="mujoco")
except Exception as error:
    print(type(error).__name__, error)
"""


def test_with_mujoco_alone_all_tasks_are_there_but_the_one_whose_description_is_not():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "[]",
        "[]",
        "UserError franka_panda/panda.urdf lies in pybullet_data, which is not installed: pip install 'robot-wm[sim]'",
    ]


def test_a_description_in_a_package_is_found_when_it_is_loaded():
    assert PANDA.urdf.is_file()
    assert loadable(PANDA).get("name") == "panda"


def test_a_package_that_is_not_installed_is_named():
    with pytest.raises(UserError, match=r"^a.urdf lies in no_such_package, which is not installed: pip install"):
        PackageFile("no_such_package", "a.urdf").path()
