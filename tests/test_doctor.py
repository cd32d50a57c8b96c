"""The doctor on machines of our making: a Jetson, a workstation with a GPU, a bare one, one that lacks the core."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata

import pytest

from robot_wm.cli import run
from robot_wm.doctor import Machine, examine, installed_version

JETSON = "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64"
DRIVER = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\nGCC version: 12"


def machine(root, files=(), **environment):
    for name, content in dict(files).items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return Machine(root=root, environment=environment)


def named(findings):
    return {finding.name: finding for finding in findings}


def test_a_bare_machine_lacks_and_is_told_how_to_mend(tmp_path):
    found = named(examine(machine(tmp_path)))
    for name in ("NVIDIA driver", "CUDA driver library", "ROS 2", "PREEMPT_RT kernel"):
        assert found[name].status == "lacking"
        assert found[name].mend
    assert found["CPU governor"].status == "unknown"
    assert found["memory"].status == "unknown"


def test_a_jetson_ready_to_run(tmp_path):
    files = {
        "/etc/nv_tegra_release": JETSON,
        "/usr/lib/aarch64-linux-gnu/nvidia/libcuda.so.1.1": "",
        "/sys/kernel/realtime": "1\n",
        "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "performance\n",
        "/sys/devices/system/cpu/cpu1/cpufreq/scaling_governor": "performance\n",
        "/proc/meminfo": "MemTotal:       16777216 kB\nMemFree: 1 kB",
        "/opt/ros/humble/setup.bash": "",
    }
    found = named(examine(machine(tmp_path, files, ROS_DISTRO="humble")))
    assert found["NVIDIA driver"].found == "R36 (release), REVISION: 4.3"
    assert found["memory"].found == "16.0 GiB"
    for name in ("NVIDIA driver", "CUDA driver library", "PREEMPT_RT kernel", "CPU governor", "ROS 2"):
        assert found[name].status == "ok", name
        assert found[name].mend == ""


def test_what_is_installed_but_not_in_use(tmp_path):
    files = {
        "/proc/driver/nvidia/version": DRIVER,
        "/proc/version": "Linux version 6.8.1-rt PREEMPT_RT",
        "/opt/ros/jazzy/setup.bash": "",
        "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "performance",
        "/sys/devices/system/cpu/cpu1/cpufreq/scaling_governor": "powersave",
    }
    found = named(examine(machine(tmp_path, files)))
    assert found["NVIDIA driver"].found == "550.54.15"
    assert found["PREEMPT_RT kernel"].status == "ok"
    assert found["ROS 2"].mend == "source /opt/ros/jazzy/setup.bash"
    assert (found["CPU governor"].status, found["CPU governor"].found) == ("lacking", "performance, powersave")
    assert "scaling_governor" in found["CPU governor"].mend


@pytest.mark.parametrize(
    ("files", "mend"),
    [({}, "pip install tensorrt"), ({"/etc/nv_tegra_release": JETSON}, "sudo apt install nvidia-jetpack")],
)
def test_what_engines_on_a_gpu_need(tmp_path, monkeypatch, files, mend):
    def gone(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", gone)
    found = named(examine(machine(tmp_path, files)))
    assert (found["tensorrt"].status, found["tensorrt"].mend) == ("lacking", mend)
    assert (found["cuda-bindings"].status, found["cuda-bindings"].mend) == (
        "lacking",
        "pip install 'robot-wm[tensorrt]'",
    )
    lean = {"tensorrt-lean": "10.3.0", "cuda-python": "12.2.0"}
    monkeypatch.setattr(metadata, "version", lambda name: lean.get(name) or gone(name))
    found = named(examine(machine(tmp_path, files)))
    assert (found["tensorrt"].found, found["cuda-bindings"].found) == ("10.3.0", "12.2.0")


@pytest.mark.parametrize(("version", "status"), [("2.13.0+cpu", "lacking"), ("2.13.0+cu126", "ok"), ("2.13.0", "ok")])
def test_a_torch_that_cannot_use_the_gpu(tmp_path, monkeypatch, version, status):
    real = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: version if name == "torch" else real(name))
    found = named(examine(machine(tmp_path, {"/proc/driver/nvidia/version": DRIVER})))
    assert found["torch"].status == status
    assert bool(found["torch"].mend) is (status == "lacking")


def test_a_required_lack_is_flagged_and_the_exit_code_stays_0(monkeypatch, capsys):
    def gone(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", gone)
    assert run(["doctor", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["healthy"] is False
    assert {"onnxruntime", "numpy"} <= set(result["required_but_lacking"])
    rows = {row["name"]: row for row in result["rows"]}
    assert rows["onnxruntime"]["mend"] == "pip install onnxruntime"
    assert rows["torch"]["status"] == "lacking"
    assert not rows["torch"]["required"]
    assert run(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "REQUIRED" in out
    assert "onnxruntime: pip install onnxruntime\n" in out


def test_this_environment_is_healthy_and_nothing_heavy_is_imported():
    script = (
        "import sys, robot_wm.doctor as d\n"
        "rows = d.examine()\n"
        "assert not [r.name for r in rows if r.required and r.status != 'ok']\n"
        "print(sorted({'torch', 'pybullet', 'lance', 'onnx', 'gymnasium', 'mujoco', 'tensorrt'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[]"


def test_versions_without_an_import():
    assert installed_version("no-such-distribution-at-all") is None
    assert installed_version("no-such-distribution-at-all", "numpy") == metadata.version("numpy")
    assert installed_version("no-such-distribution-at-all", module="json") == "version unknown"
    assert installed_version("no-such-distribution-at-all", module="no_such_module.inner") is None
