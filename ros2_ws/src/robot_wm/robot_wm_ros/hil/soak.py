"""`robot-wm bench soak`: whether an agent's memory stays what it is, hour after hour."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number

from robot_wm.console import emit
from robot_wm.errors import UserError

SAMPLE_S = 5.0
SETTLE_SHARE = 0.2  # of the time, at its beginning: caches, rings and allocators fill
FLAT_KIB_PER_MIN = 32.0  # what is still called flat: 2 MiB an hour
_DOMAINS = range(100, 200)
_AGENT = b"robot_wm_ros.agent"

Positive = Number(gt=0)


def bench_soak(
    bundle: Path,
    /,
    *,
    rate: Annotated[float, Parameter(validator=Positive)] = 200.0,
    seconds: Annotated[float, Parameter(validator=Positive)] = 600.0,
    priority: int = 50,
    record: Path | None = None,
    json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Run an agent and a simulated robot over DDS for minutes, and watch the agent's memory.

    Parameters
    ----------
    bundle
        Folder agent.rwm, agent.rwm.zip, or zoo:NAME (see `robot-wm zoo list`).
    rate
        Control rate in Hz.
    seconds
        Time measured, in s.
    priority
        SCHED_FIFO priority of robot and agent; 0 leaves the scheduler alone.
    record
        Folder that the agent records every tick to.
    json
        Print one JSON object; memory (resident set) in MiB, its slope in KiB per minute.
    """
    from robot_wm.runtime.bundle import Bundle
    from robot_wm.zoo.catalog import locate_bundle
    from robot_wm_ros.hil.rig import Rig, RigConfig

    path, key = locate_bundle(bundle)
    with Bundle.open(path, key) as opened:
        spec = opened.spec
    config = RigConfig(
        bundle=path.resolve(),
        spec=spec,
        rate_hz=rate,
        sensor_rate_hz=rate,
        seconds=seconds,
        domain_id=random.choice(_DOMAINS),
        agent={} if record is None else {"record": str(record.resolve())},
        priority=priority,
    )
    with Rig(config) as rig, _MemoryWatch() as watch:
        measured = rig.measure_agent(seconds)
    result = {"bundle": str(bundle), "rate_hz": rate, "seconds": seconds, **summary(watch.samples)}
    result |= {
        "ticks": int(measured.policy.size),
        "superseded": measured.samples.superseded,
        "lost": measured.samples.lost,
        "unaccounted": measured.samples.unaccounted,
    }
    emit(result, as_json=json, title=f"soak {bundle.name}")


def summary(samples: list[tuple[float, int]]) -> dict[str, Any]:
    """Memory over time from (time in s, resident bytes): after settling, its range and a straight line's slope."""
    import numpy as np

    if len(samples) < 10:
        raise UserError(f"soak: {len(samples)} samples of the agent's memory; run for {10 * SAMPLE_S:g} s or more")
    time_s, resident = np.array(samples, dtype=np.float64).T  # [N] each
    settled = time_s >= time_s[0] + SETTLE_SHARE * (time_s[-1] - time_s[0])
    mib = resident[settled] / 2**20
    slope = float(np.polyfit(time_s[settled] / 60.0, resident[settled] / 2**10, 1)[0])
    return {
        "resident_first_mib": float(mib[0]),
        "resident_last_mib": float(mib[-1]),
        "resident_max_mib": float(mib.max()),
        "slope_kib_per_min": slope,
        "flat": slope <= FLAT_KIB_PER_MIN,
        "memory_samples": int(settled.sum()),
    }


class _MemoryWatch:
    """Looks at the agent's resident memory every few seconds, for as long as the ``with`` block lasts."""

    def __init__(self) -> None:
        self.samples: list[tuple[float, int]] = []  # time in s, bytes
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> _MemoryWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        agent = None
        while not self._end.wait(SAMPLE_S):
            agent = agent or _agent_process()
            if agent is not None and (resident := _resident_bytes(agent)):
                self.samples.append((time.monotonic(), resident))


def _agent_process() -> Path | None:
    """The /proc entry of the agent below this process."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (entry / "cmdline").read_bytes().split(b"\0")
            parents[entry.name] = ((entry / "stat").read_text().rpartition(")")[2].split()[1], arguments)
        except OSError:  # it has ended meanwhile
            continue
    me = str(Path("/proc/self").resolve().name)
    for number, (parent, arguments) in parents.items():
        if arguments[1:3] != [b"-m", _AGENT]:
            continue
        while parent in parents and parent != me:
            parent = parents[parent][0]
        if parent == me:
            return Path("/proc") / number
    return None


def _resident_bytes(process: Path) -> int:
    """0 once the process has ended."""
    try:
        lines = (process / "status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:")), 0)
