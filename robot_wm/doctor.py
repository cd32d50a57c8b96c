"""`robot-wm doctor`: what this machine has and lacks, and the command that mends each lack.

Nothing heavy is imported: packages are found by their metadata, the rest is read from /proc and /sys; only what other
distributions add to robot-wm is imported, to see whether it can be. Works with the light core alone and ends with exit
code 0 whatever it finds.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from robot_wm.console import emit
from robot_wm.firmware.shipped import known
from robot_wm.plugins import GROUPS, broken, brought_by, entries, is_ours
from robot_wm.runtime.trt.api import mend
from robot_wm.runtime.trt.driver import driver_version

Status = Literal["ok", "lacking", "unknown"]

_GIB = 2**30
_MIN_FREE_GIB = 10  # a training run's replay and checkpoints
_MIN_RTPRIO = 50  # of SCHED_FIFO: above the kernel's threaded interrupts
_LIMITS_FILE = "/etc/security/limits.d/90-robot-wm.conf"
# ROS 2 distribution that the tested PyPI wheels are of.
_ROS_WHEELS = "pip install 'ros-kilted-rclpy[fastrtps]'"


@dataclass(frozen=True)
class Finding:
    """One thing looked at."""

    name: str
    status: Status
    found: str  # version or value, with its unit
    needed_for: str
    required: bool = False  # nothing of robot-wm works without it
    mend: str = ""  # a command; empty if there is nothing to mend


@dataclass(frozen=True)
class Machine:
    """Where to look; another root and environment stand for another machine."""

    root: Path = Path("/")
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)

    def text(self, path: str) -> str | None:
        """Content of a file of the machine, None if it has no such file."""
        try:
            return (self.root / path.lstrip("/")).read_text(errors="replace").strip("\0\n ")
        except OSError:
            return None

    @property
    def is_jetson(self) -> bool:
        """Whether this is an NVIDIA Jetson."""
        return self.text("/etc/nv_tegra_release") is not None


def examine(machine: Machine | None = None) -> list[Finding]:
    """Look at everything, in the order of a report."""
    machine = machine or Machine()
    checks: tuple[Callable[[Machine], Iterator[Finding]], ...] = (
        _core, _plugins, _learning, _simulation, _gpu, _ros, _realtime,
    )  # fmt: skip
    return [finding for check in checks for finding in check(machine)]


def doctor(*, json: Annotated[bool, Parameter(name="--json", negative="")] = False) -> None:
    """Tell what this machine has and lacks, with the command that mends each lack.

    Parameters
    ----------
    json
        Print the result as one JSON object.
    """
    findings = examine()
    lacking = [finding for finding in findings if finding.required and finding.status == "lacking"]
    names = [finding.name for finding in lacking]
    result: dict[str, Any] = {
        "healthy": not lacking,
        "required_but_lacking": names if json else ", ".join(names) or "nothing",
        "machine": f"{platform.system()} {platform.release()} {platform.machine()}",
    }
    rows = [asdict(finding) for finding in findings]
    if json:
        emit(result | {"rows": rows}, as_json=True)
        return
    for row, finding in zip(rows, findings, strict=True):
        row["status"] = "REQUIRED" if finding in lacking else finding.status
        del row["required"], row["mend"]
    emit(result | {"rows": rows}, as_json=False, title="robot-wm doctor")
    for finding in findings:  # not in the table: a command is for copying, so it must not be folded
        if finding.mend:
            print(f"{finding.name}: {finding.mend}")


def installed_version(*distributions: str, module: str | None = None) -> str | None:
    """Version of the first of ``distributions`` that is installed, without importing it.

    A ``module`` without metadata, as apt installs them, counts too, as "version unknown". None if there is neither.
    """
    for name in distributions:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    if module is None:
        return None
    try:
        return "version unknown" if importlib.util.find_spec(module) is not None else None
    except (ImportError, ValueError):
        return None


def _package(
    name: str,
    needed_for: str,
    mend: str,
    *,
    module: str | None = None,
    also: tuple[str, ...] = (),
    required: bool = False,
) -> Finding:
    version = installed_version(name, *also, module=module)
    return Finding(
        name=name,
        status="lacking" if version is None else "ok",
        found=version or "not installed",
        needed_for=needed_for,
        required=required,
        mend="" if version else mend,
    )


def _core(machine: Machine) -> Iterator[Finding]:
    supported = sys.version_info >= (3, 10)
    yield Finding(
        "python",
        "ok" if supported else "lacking",
        platform.python_version(),
        "everything",
        required=True,
        mend="" if supported else "sudo apt install python3.11  # 3.10 or newer",
    )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    yield Finding("cpu cores", "ok" if cores > 1 else "lacking", f"{cores} usable", "training beside simulation")
    memory_gib = _memory_gib(machine)
    yield Finding(
        "memory",
        "unknown" if memory_gib is None else "ok",
        "unknown" if memory_gib is None else f"{memory_gib:.1f} GiB",
        "replay in memory",
    )
    free_gib = shutil.disk_usage(Path.cwd()).free / _GIB
    enough = free_gib >= _MIN_FREE_GIB
    yield Finding(
        "free disk",
        "ok" if enough else "lacking",
        f"{free_gib:.0f} GiB here",
        f"training runs ({_MIN_FREE_GIB} GiB)",
        mend="" if enough else "robot-wm train --replay-quota-mib 2000  # or free some space",
    )
    for name in ("numpy", "pydantic", "cryptography", "cyclopts", "rich"):
        yield _package(name, "everything", "pip install robot-wm", required=True)
    runtime = _package(
        "onnxruntime", "running an agent", "pip install onnxruntime", also=("onnxruntime-gpu",), required=True
    )
    if runtime.status == "lacking":
        yield runtime
        return
    providers = _providers()
    yield Finding(
        "onnxruntime",
        "ok" if providers else "lacking",
        f"{runtime.found}: {', '.join(providers) or 'installed, but it cannot be imported'}",
        "running an agent",
        required=True,
        mend="" if providers else "pip install --force-reinstall onnxruntime",
    )


def _plugins(_: Machine) -> Iterator[Finding]:
    """Each group that other distributions add to, with what is of whom; then what of theirs cannot be imported."""
    files = {"robot_wm.robots": known("robots")}  # ours are found as files, and win as entry points of ours do
    for group in GROUPS:
        found = entries(group)
        ours = {name for name, entry in found.items() if is_ours(entry)}.union(files.get(group, ()))
        theirs = [f"{name} ({brought_by(entry)})" for name, entry in found.items() if name not in ours]
        yield Finding(group, "ok", ", ".join([f"{len(ours)} of robot-wm", *theirs]), "what other distributions add")
    for entry, reason in broken():
        dist = entry.dist.name if entry.dist is not None else entry.value
        yield Finding(
            f"{entry.group} {entry.name}",
            "lacking",
            reason,
            f"what {dist} adds",
            mend=f"pip install --upgrade {dist}  # or: pip uninstall {dist}",
        )


def _memory_gib(machine: Machine) -> float | None:
    for line in (machine.text("/proc/meminfo") or "").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) / 2**20  # it is given in KiB
    return None


def _providers() -> list[str]:
    try:
        import onnxruntime
    except ImportError:
        return []
    return [name.removesuffix("ExecutionProvider") for name in onnxruntime.get_available_providers()]


def _learning(machine: Machine) -> Iterator[Finding]:
    train = "pip install 'robot-wm[train]'"
    torch = _package("torch", "training", train)
    # A build's own tag: 2.13.0+cpu, 2.13.0+cu126; PyPI's Linux wheel has none and comes with CUDA.
    if torch.status == "ok" and torch.found.endswith("+cpu") and driver_version(machine.root) is not None:
        torch = Finding(
            "torch",
            "lacking",
            f"{torch.found}: cannot use this machine's GPU",
            "training",
            mend="pip install --force-reinstall torch",
        )
    yield torch
    yield _package("pylance", "the replay store", train)
    yield _package("safetensors", "checkpoints", train)
    yield _package("tensorboard", "training curves", train)
    yield _package("onnx", "export", "pip install 'robot-wm[export]'")
    has_ffmpeg = shutil.which("ffmpeg") or installed_version("imageio-ffmpeg")
    yield Finding(
        "ffmpeg",
        "ok" if has_ffmpeg else "lacking",
        str(shutil.which("ffmpeg") or f"imageio-ffmpeg {has_ffmpeg}") if has_ffmpeg else "not installed",
        "videos",
        mend="" if has_ffmpeg else "pip install 'imageio[ffmpeg]'",
    )


def _simulation(_: Machine) -> Iterator[Finding]:
    yield _package("pybullet", "simulation", "pip install 'robot-wm[sim]'")
    yield _package("gymnasium", "simulation", "pip install 'robot-wm[sim]'")
    yield _package("mujoco", "simulation, DeepMind Control", "pip install 'robot-wm[sim]'")


def _gpu(machine: Machine) -> Iterator[Finding]:
    driver = driver_version(machine.root)
    yield Finding(
        "NVIDIA driver",
        "ok" if driver else "lacking",
        driver or "not loaded",
        "CUDA, TensorRT",
        mend="" if driver else "sudo ubuntu-drivers install  # only with an NVIDIA GPU",
    )
    library = next(
        (
            folder
            for folder in (
                "usr/lib/x86_64-linux-gnu",
                "usr/lib/aarch64-linux-gnu",
                "usr/lib64",
                "usr/local/nvidia/lib64",
            )
            if any((machine.root / folder).glob("libcuda.so*")) or any((machine.root / folder).glob("*/libcuda.so*"))
        ),
        None,
    )
    yield Finding(
        "CUDA driver library",
        "ok" if library else "lacking",
        f"libcuda.so in /{library}" if library else "no libcuda.so",
        "CUDA, TensorRT",
        mend="" if library else "docker run --gpus all  # in a container; else it comes with the driver",
    )
    needed_for = "engines on a robot's GPU"
    yield _package(
        "tensorrt", needed_for, mend(is_jetson=machine.is_jetson), also=("tensorrt-lean",), module="tensorrt"
    )
    yield _package("cuda-bindings", needed_for, "pip install 'robot-wm[tensorrt]'", also=("cuda-python",))


def _ros(machine: Machine) -> Iterator[Finding]:
    distributions = sorted(path.name for path in (machine.root / "opt/ros").glob("*") if path.is_dir())
    sourced = machine.environment.get("ROS_DISTRO")
    if sourced:
        yield Finding("ROS 2", "ok", sourced, "the ROS 2 node")
    elif distributions:
        mend = f"source /opt/ros/{distributions[-1]}/setup.bash"
        yield Finding(
            "ROS 2", "lacking", f"{', '.join(distributions)} installed, not sourced", "the ROS 2 node", mend=mend
        )
    else:
        mend = "sudo apt install ros-jazzy-ros-base  # Ubuntu 24.04; 22.04: ros-humble-ros-base"
        yield Finding("ROS 2", "lacking", "not installed", "the ROS 2 node", mend=mend)
    mend = f"source /opt/ros/{distributions[-1]}/setup.bash" if distributions else _ROS_WHEELS
    yield _package("rclpy", "the ROS 2 node", mend, also=("ros-kilted-rclpy",), module="rclpy")


def _realtime(machine: Machine) -> Iterator[Finding]:
    yield from _limits()
    realtime = machine.text("/sys/kernel/realtime") == "1" or "PREEMPT_RT" in (machine.text("/proc/version") or "")
    kernel = "sudo apt install nvidia-l4t-rt-kernel" if machine.is_jetson else "sudo pro enable realtime-kernel"
    yield Finding(
        "PREEMPT_RT kernel",
        "ok" if realtime else "lacking",
        "yes" if realtime else "no",
        "bounded latency on a robot",
        mend="" if realtime else kernel,
    )
    cpus = (machine.root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor")
    governors = {path.read_text().strip() for path in cpus}
    fast = governors == {"performance"}
    command = "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
    yield Finding(
        "CPU governor",
        "unknown" if not governors else "ok" if fast else "lacking",
        ", ".join(sorted(governors)) or "not shown (virtual machine or container)",
        "steady latency",
        mend=("sudo jetson_clocks" if machine.is_jetson else command) if governors and not fast else "",
    )


def _limits() -> Iterator[Finding]:
    try:
        import resource
    except ImportError:  # not on Windows
        yield Finding("real-time limits", "unknown", "this system has none", "bounded latency on a robot")
        return
    linux = hasattr(resource, "RLIMIT_RTPRIO")
    priority = resource.getrlimit(resource.RLIMIT_RTPRIO)[1] if linux else 0
    memory = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]
    unlimited = resource.RLIM_INFINITY
    for name, found, enough, text, line in (
        ("RLIMIT_RTPRIO", priority, _MIN_RTPRIO, "", "rtprio 80"),
        ("RLIMIT_MEMLOCK", memory, unlimited, " bytes", "memlock unlimited"),
    ):
        good = found == unlimited or (enough != unlimited and found >= enough)
        yield Finding(
            name,
            "ok" if good else "lacking",
            "unlimited" if found == unlimited else f"{found}{text}",
            "SCHED_FIFO and locked memory on a robot",
            mend="" if good else f'echo "$USER - {line}" | sudo tee -a {_LIMITS_FILE}  # then log in again',
        )
