"""What is declared of dependencies: all that is imported, each with a floor that a checkout's pins agree with."""

import ast
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from xml.etree import ElementTree

from floors import ROOT, constraints, extras, floor, pinned, requirements
from packaging.requirements import Requirement

PACKAGE = ROOT / "ros2_ws/src/robot_wm"
STANDARD = set(sys.stdlib_module_names)
OURS = {"robot_wm", "robot_wm_sim", "robot_wm_export", "robot_wm_ros", "firmware_configs"}
# From NVIDIA's own index or JetPack, found by hand where it is; and what a needed distribution always brings.
ELSEWHERE = {"tensorrt"}


def imported(*folders):
    """Every module, by its first name, that code below ``folders`` imports."""
    for folder in folders:
        for file in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Import):
                    yield from ((alias.name.partition(".")[0], file) for alias in node.names)
                elif isinstance(node, ast.ImportFrom) and not node.level:
                    yield (node.module or "").partition(".")[0], file


def test_every_dependency_declares_a_floor():
    without = [str(one) for one in requirements(*extras()) if floor(one) is None]
    assert without == []


def test_the_pins_of_a_checkout_are_within_what_is_declared():
    for one in requirements(*extras()):
        if pin := pinned().get(one.name):
            exact = [spec.version for spec in pin.specifier if spec.operator == "=="]
            assert all(one.specifier.contains(version) for version in exact), f"{pin} is not {one}"


def test_one_floor_holds_for_one_distribution_where_all_is_installed():
    lines = constraints(extras())
    names = [Requirement(line).name for line in lines]
    assert len(set(names)) == len(names) > 30
    assert all(re.fullmatch(r"[\w.-]+==\d[\w.]*", line) for line in lines)
    # An extra may ask for more than the core does.
    core, exporting = constraints([]), constraints(["export"])
    assert "onnxruntime==1.18" in core
    assert "onnxruntime==1.23" in exporting


def test_everything_that_is_imported_is_declared():
    declared = {re.sub(r"[-_.]+", "-", one.name).lower() for one in requirements(*extras())}
    by_module = packages_distributions()
    undeclared = {
        (module, str(file.relative_to(ROOT)))
        for module, file in imported("robot_wm", "sim/robot_wm_sim", "export/robot_wm_export")
        if module not in STANDARD | OURS | ELSEWHERE
        and not declared & {re.sub(r"[-_.]+", "-", name).lower() for name in by_module.get(module, [module])}
    }
    assert undeclared == set()


def test_a_run_in_a_simulator_imports_no_mcap():
    """A GPU machine without it trains, evaluates and exports."""
    code = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(('mcap', 'mcap_ros2', 'lz4', 'zstandard')))\n"  # importing them fails
        "from robot_wm.cli import run\n"
        "for word in ('train', 'eval', 'export'):\n"
        "    assert run([word, '--help']) == 0\n"
        "import robot_wm.training.loop, robot_wm.training.cluster.ingest, robot_wm.training.cluster.publisher\n"
        "import robot_wm_export.export, robot_wm.evaluation.playing\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_ros_package_declares_what_its_nodes_and_launch_files_import():
    depends = {element.text for element in ElementTree.parse(PACKAGE / "package.xml").findall("exec_depend")}
    # Of the library and of what it brings, pip takes care: setup.py asks for it.
    brought = {re.sub(r"[-_.]+", "_", one.name).lower() for one in requirements("all")} | {"yaml", "PIL"}
    undeclared = {
        (module, str(file.relative_to(PACKAGE)))
        for module, file in imported(PACKAGE / "robot_wm_ros", PACKAGE / "launch")
        if module not in STANDARD | OURS | brought | depends
    }
    assert undeclared == set()
    (asked,) = re.findall(r"install_requires=(\[.*\])", (PACKAGE / "setup.py").read_text())
    assert all(floor(Requirement(text)) for text in ast.literal_eval(asked))
