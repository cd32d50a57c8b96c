"""The walls of the house stand: who may import whom, how long a file may be, what is never used."""

import re
import subprocess
import sys
from pathlib import Path

from robot_wm.plugins import entries
from robot_wm.tasks import DEFAULT_BACKEND

ROOT = Path(__file__).resolve().parent.parent
SOURCES = [path for room in ("robot_wm", "sim", "export") for path in (ROOT / room).rglob("*.py")]


def test_import_contracts_hold():
    lint = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run([lint], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout


def test_the_runtime_runs_without_torch():
    script = (
        "import sys, pkgutil, importlib, robot_wm.spec, robot_wm.runtime as r\n"
        "for m in pkgutil.iter_modules(r.__path__): importlib.import_module('robot_wm.runtime.' + m.name)\n"
        "print(sorted({'torch', 'gymnasium', 'pybullet', 'lance', 'rclpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[]"


def test_files_stay_small_and_named_for_one_concept():
    long = {str(path.relative_to(ROOT)): n for path in SOURCES if (n := len(path.read_text().splitlines())) > 400}
    assert long == {}
    assert [path for path in SOURCES if path.stem in {"utils", "util", "helpers", "misc", "common"}] == []


def test_nothing_is_pickled_evaluated_or_left_undone():
    forbidden = re.compile(
        r"^\s*(import|from) pickle|yaml\.load\(|shell=True|allow_pickle=True|\bTODO\b|\bFIXME\b"
        r"|raise NotImplementedError",
        re.M,
    )
    assert [str(path) for path in SOURCES if forbidden.search(path.read_text())] == []


def test_the_default_backend_is_written_once():
    """And used from there by tasks, environments, and the packages that an import writes."""
    rooms = ("robot_wm", "sim", "export", "ros2_ws")
    files = [path for room in rooms for kind in ("*.py", "*.j2") for path in (ROOT / room).rglob(kind)]
    written = re.compile(r"(?<!`)backend\w*(: *str)? *= *[\"']\w+[\"']", re.IGNORECASE)
    found = [path.relative_to(ROOT).as_posix() for path in files for _ in written.finditer(path.read_text())]
    assert found == ["robot_wm/tasks.py"]
    assert DEFAULT_BACKEND in entries("robot_wm.backends")
