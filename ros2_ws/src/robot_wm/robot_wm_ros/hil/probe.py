"""A node that listens to a robot and an agent which others have started, and logs their latency.

`python -m robot_wm_ros.hil.probe --ros-args -p rate_hz:=50.0 -p out:=hil`. Both must run with ``trace`` on, on this
computer; a probe that starts before the agent is activated also knows what became of every sample.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from rclpy.node import Node

from robot_wm.atomic import atomic_file
from robot_wm.errors import UserError
from robot_wm.runtime.bundle import Bundle
from robot_wm_ros.hil.collector import Collector
from robot_wm_ros.hil.measure import measure_agent
from robot_wm_ros.hil.report import figures
from robot_wm_ros.hil.rig import FETCH_S, SETTLE_S, WARM_UP_S
from robot_wm_ros.program import run_program

REPORT_S = 5.0
_SETTLE_NS = round(SETTLE_S * 1e9)
_FOR_EVER_NS = 2**63


class Probe:
    """The node ``hil_probe``. It keeps all that it hears, 15 kB/s at 200 Hz: meant for minutes."""

    def __init__(self) -> None:
        """Raises UserError for a bad parameter."""
        self.node = Node("hil_probe")
        declare = self.node.declare_parameter
        self._seconds: float = declare("seconds", 0.0).value  # to measure, s; 0: until it is stopped
        self._rate_hz: float = declare("rate_hz", 0.0).value  # the agent's control rate; 0: its bundle's
        bundle: str = declare("bundle", "").value
        out: str = declare("out", "").value  # folder for hil.json; empty: only log
        self._out = Path(out) / "hil.json" if out else None
        if not self._rate_hz > 0.0:
            if not bundle:
                raise UserError("parameter rate_hz: the agent's control rate in Hz is needed, or parameter bundle")
            with Bundle.open(bundle) as opened:
                self._rate_hz = opened.spec.control_rate_hz
        robot: str = declare("robot", "sim_robot").value  # names of the two nodes
        agent: str = declare("agent", "agent").value
        self._collector = Collector(self.node, robot=robot, agent=agent)
        self._stopping = False

    def run(self) -> None:
        """Listen until ``stop`` or for ``seconds``; a line in the log every few seconds, and hil.json at the end."""
        log = self.node.get_logger()
        while not self._stopping and self._collector.count("trace") == 0:
            self._sleep(FETCH_S)
        self._sleep(WARM_UP_S)
        start_ns = last_ns = time.time_ns()
        end_ns = start_ns + round(self._seconds * 1e9) if self._seconds else _FOR_EVER_NS
        while not self._stopping and last_ns < end_ns:
            settled_s = (end_ns + 2 * _SETTLE_NS - time.time_ns()) * 1e-9
            self._sleep(min(REPORT_S, settled_s))
            until_ns = min(time.time_ns() - 2 * _SETTLE_NS, end_ns)
            log.info(summary(self._figures((last_ns, until_ns))))
            last_ns = until_ns
        if self._out is not None:
            with atomic_file(self._out) as temporary:
                temporary.write_text(json.dumps(self._figures((start_ns, last_ns)), indent=2))
            log.info(f"{self._out} written")

    def _figures(self, window_ns: tuple[int, int]) -> dict[str, Any]:
        self._collector.fetch()
        # What is still under way would be paired with the wrong end.
        heard, counters = self._collector.capture().until(window_ns[1] + _SETTLE_NS), self._collector.counters
        agent = measure_agent(heard, window_ns, counters, period_s=1.0 / self._rate_hz)
        return {"rate_hz": self._rate_hz, **figures(agent, None, deadline_ms=1e3 / self._rate_hz)}

    def _sleep(self, seconds: float) -> None:
        end_s = time.monotonic() + seconds
        while not self._stopping and (left_s := end_s - time.monotonic()) > 0.0:
            time.sleep(min(left_s, FETCH_S))
            self._collector.fetch()

    def stop(self, *_: object) -> None:
        """End ``run``; a signal handler."""
        self._stopping = True

    def destroy_node(self) -> None:
        """Take the node off the network."""
        self.node.destroy_node()


def summary(result: dict[str, Any]) -> str:
    """The figures in one line."""
    if not result["end_to_end"]["count"]:
        return "no sample was answered"
    texts = [
        f"{name} p50 {values['p50_ms']:.3f}, p99 {values['p99_ms']:.3f}, max {values['max_ms']:.3f} ms"
        for name, values in (("end to end", result["end_to_end"]), ("policy", result["policy"]))
    ]
    texts.append(f"{result['deadline_misses']} deadlines of {result['deadline_ms']:.3g} ms missed")
    counts = ", ".join(f"{result[name]} {name}" for name in ("lost", "superseded", "decimated", "unaccounted"))
    return "; ".join((*texts, f"since the start {counts}"))


def main(arguments: list[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM, or for its ``seconds``; exit code 0, or 2 for bad parameters."""
    return run_program(Probe, arguments)


if __name__ == "__main__":
    sys.exit(main())
