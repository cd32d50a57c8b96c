"""Brings robot, agent and echo up, one measured segment after the other, and hears them.

The robot runs throughout. The agent and the bare echo take turns, each in a process that lives for its turn: whoever
is measured has the machine to itself, and both see the machine in the same minutes.
"""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from robot_wm.console import messages
from robot_wm.errors import UserError
from robot_wm.spec import AgentSpec
from robot_wm_ros.hil.child import Child, node_command, over_ssh, tethered
from robot_wm_ros.hil.collector import Collector
from robot_wm_ros.hil.lifecycle import LifecycleClient
from robot_wm_ros.hil.measure import Measurement, measure_agent, measure_echo
from robot_wm_ros.hil.requests import Requests
from robot_wm_ros.hil.services import Services

SEGMENT_S = 15.0  # the agent and the echo take turns of about this
WARM_UP_S = 2.0  # of a segment, before anything counts; at most as long as what counts
SETTLE_S = 0.5  # after its last command, in which everything about it arrives
FETCH_S = 0.1  # between looks at the messages
START_S = 60.0  # for a process to come up
CONFIGURE_S = 900.0  # an engine may have to be built
BY_HAND_S = 600.0  # for somebody to start the agent


@dataclass(frozen=True, kw_only=True)
class RigConfig:
    """One measurement: who runs where, and how fast."""

    bundle: Path
    spec: AgentSpec
    rate_hz: float  # of the agent
    sensor_rate_hz: float  # of the robot
    seconds: float  # of the agent, in all segments together; the echo has as many
    domain_id: int
    task_options: Mapping[str, object] = field(default_factory=dict)
    agent: Mapping[str, object] = field(default_factory=dict)  # more parameters of the agent: engine, planner, ...
    priority: int = 0  # SCHED_FIFO of all three processes
    cpus: tuple[int, ...] = ()  # of agent and echo
    robot_host: str | None = None  # run agent and echo there, over ssh
    robot_python: str = "python3"  # there
    robot_bundle: str | None = None  # the bundle's path there
    by_hand: bool = False  # somebody else starts the agent

    @property
    def one_clock(self) -> bool:
        """Whether the agent's times can be compared with the robot's."""
        return self.robot_host is None and not self.by_hand

    @property
    def environment(self) -> dict[str, str]:
        """ROS 2's environment variables, the same for everyone."""
        reach = {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST" if self.one_clock else "SUBNET"}
        if os.environ.get("ROS_DISTRO") == "humble":  # which knows no range
            reach = {"ROS_LOCALHOST_ONLY": "1" if self.one_clock else "0"}
        return {"ROS_DOMAIN_ID": str(self.domain_id), **reach}

    @property
    def robot_parameters(self) -> dict[str, object]:
        """Of the simulated robot: what adds latency of its own is off."""
        return {
            "task": self.spec.task,
            "task_options": [f"{name}={value}" for name, value in self.task_options.items()],
            "sensor_rate_hz": float(self.sensor_rate_hz),
            "trace": True,
            "fifo_priority": self.priority,
        }

    @property
    def agent_parameters(self) -> dict[str, object]:
        """Of the agent's node."""
        overridden = self.rate_hz != self.spec.control_rate_hz
        return {
            "bundle": self.robot_bundle or str(self.bundle),
            "rate_override_hz": float(self.rate_hz) if overridden else 0.0,
            "trace": True,
            "deadline_miss_limit": 0,  # an agent that is too slow is to be measured, not stopped
            **self._realtime,
            **self.agent,
        }

    @property
    def echo_parameters(self) -> dict[str, object]:
        """Of the bare echo."""
        controller = f"forward_{self.spec.action.mode}_controller"
        return {"controller": controller, "length": self.spec.action_dim, **self._realtime}

    @property
    def _realtime(self) -> dict[str, object]:
        return {"fifo_priority": self.priority, "cpu_affinity": list(self.cpus)}

    def command_by_hand(self) -> str:
        """What to type on the robot's computer."""
        variables = [f"{name}={value}" for name, value in self.environment.items()]
        command = node_command(self.robot_python, "robot_wm_ros.agent", self.agent_parameters)
        return shlex.join(["env", *variables, *command])


class Rig:
    """The simulated robot and whoever answers it. Use as a context: nothing of it outlives the ``with`` block."""

    def __init__(self, config: RigConfig) -> None:
        self._config = config
        self._stack = ExitStack()
        self.realtime: dict[str, str] = {}  # process -> what the kernel said to SCHED_FIFO
        self.modes: list[str] = []  # the agent's at the end of each of its segments
        self.reports: list[dict[str, str]] = []  # and its last diagnostics: key -> value

    def __enter__(self) -> Rig:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def _start(self) -> None:
        self._stack.enter_context(_environment(self._config.environment))
        context = Context()
        rclpy.init(context=context, signal_handler_options=SignalHandlerOptions.NO)
        self._stack.callback(rclpy.try_shutdown, context=context)
        ears, self._node = (Node(name, context=context) for name in ("hil_collector", "hil"))
        self._stack.callback(ears.destroy_node)
        self._stack.callback(self._node.destroy_node)
        self._collector = Collector(ears)
        self._requests = Requests(self._node, self._config.spec)
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self._node)
        self._stack.callback(self._executor.shutdown)
        self._robot = self._stack.enter_context(
            Child("robot", self._here("robot_wm_ros.sim_robot", self._config.robot_parameters))
        )
        self._wait(lambda: self._collector.count("sampled") > 0, "the robot's ~/sampled", self._robot)
        self._note(self._robot)

    # -- segments --------------------------------------------------------------------------------------------------

    def measure_agent(self, seconds: float) -> Measurement:
        """One segment of the agent."""
        config = self._config
        with ExitStack() as stack:
            self._require_silence()
            children = [self._robot]
            if config.by_hand:
                messages().print(f"on the robot's computer, run: {config.command_by_hand()}")
            else:
                children.append(stack.enter_context(self._other("agent", config.agent_parameters)))
            patience_s = BY_HAND_S if config.by_hand else CONFIGURE_S
            services = Services(
                self._node, lambda until, what: self._wait(until, what, *children, patience_s=patience_s)
            )
            stack.callback(services.close)
            agent = LifecycleClient(services, "agent")
            try:
                agent.bring_up()
            except UserError as error:
                if config.by_hand:
                    raise
                children[-1].require_running()
                raise UserError(f"{error}: {children[-1].cause()}") from None
            self._wait(lambda: self._collector.count("trace") > 0, "the agent's ~/trace", *children)
            self._wait(self._requests.are_heard, "the agent to listen to what is asked of it", *children)
            self._requests.send()
            self._drive(agent, *children)
            window_ns = self._listen(seconds, *children)
            self.modes.append(self._next_mode(*children))
            self.reports.append(dict(self._collector.report))
            counters = self._collector.counters
            agent.deactivate()
            self._sleep(SETTLE_S, *children)
            self._note(*children)
            return measure_agent(
                self._collector.capture(),
                window_ns,
                counters,
                period_s=1.0 / config.rate_hz,
                one_clock=config.one_clock,
            )

    def measure_echo(self, seconds: float) -> Measurement:
        """One segment of the bare echo."""
        self._require_silence()
        with self._other("echo", self._config.echo_parameters) as echo:
            self._wait(lambda: self._collector.count("applied") > 0, "the echo's commands", self._robot, echo)
            window_ns = self._listen(seconds, self._robot, echo)
            self._note(echo)
        self._sleep(SETTLE_S, self._robot)
        return measure_echo(self._collector.capture(), window_ns)

    def _drive(self, agent: LifecycleClient, *children: Child) -> None:
        """Wait until the policy drives. An agent whose first samples came late has damped and wants an operator."""
        end_s = time.monotonic() + START_S
        while (mode := self._next_mode(*children)) != "active":
            if time.monotonic() > end_s:
                raise UserError(f"the agent does not drive, its mode is {mode}: {children[-1].cause()}")
            if mode == "damp":
                agent.enable()

    def _next_mode(self, *children: Child) -> str:
        """The agent's mode by its next diagnostics, of which there is one a second."""
        before_ns = self._collector.report_ns
        self._wait(lambda: self._collector.report_ns > before_ns, "the agent's /diagnostics", *children)
        return self._collector.report.get("mode", "unknown")

    def _require_silence(self) -> None:
        """Nobody commands the robot."""
        topic = f"forward_{self._config.spec.action.mode}_controller/commands"
        self._wait(
            lambda: self._node.count_publishers(topic) == 0,
            f"silence on {topic} in domain {self._config.domain_id}: who else commands this robot?",
            self._robot,
        )
        self._collector.clear()

    def _listen(self, seconds: float, *children: Child) -> tuple[int, int]:
        """Hear a segment out; returns its begin and end in ns of this machine's clock."""
        self._sleep(min(WARM_UP_S, seconds), *children)
        start_ns = time.time_ns()
        self._sleep(seconds, *children)
        return start_ns, time.time_ns()

    def _sleep(self, seconds: float, *children: Child) -> None:
        end_s = time.monotonic() + seconds
        while (left_s := end_s - time.monotonic()) > 0.0:
            time.sleep(min(left_s, FETCH_S))
            self._collector.fetch()
            for child in children:
                child.require_running()

    # -- processes -------------------------------------------------------------------------------------------------

    def _here(self, module: str, parameters: dict[str, object]) -> list[str]:
        return tethered(node_command(sys.executable, module, parameters))

    def _other(self, name: str, parameters: dict[str, object]) -> Child:
        """The agent or the echo, on the robot's computer if it is another one."""
        config, module = self._config, f"robot_wm_ros.{name}"
        if config.robot_host is None:
            return Child(name, self._here(module, parameters))
        command = node_command(config.robot_python, module, parameters)
        ssh = over_ssh(config.robot_host, command, config.environment, python=config.robot_python)
        return Child(f"{name} on {config.robot_host}", ssh)

    def _wait(self, until: Callable[[], bool], what: str, *children: Child, patience_s: float = START_S) -> None:
        """Wait with the node spinning; raises UserError when a child ends or ``patience_s`` passes."""
        end_s = time.monotonic() + patience_s
        while not until():
            for child in children:
                child.require_running()
            if time.monotonic() > end_s:
                said = "; ".join(f"{child.name}: {child.cause()}" for child in children)
                raise UserError(f"waited {patience_s:g} s for {what} ({said})")
            self._executor.spin_once(timeout_sec=FETCH_S)
            self._collector.fetch()

    def _note(self, *children: Child) -> None:
        for child in children:
            for line in child.lines:
                if "SCHED_FIFO" in line:
                    self.realtime[child.name.split()[0]] = line[line.index("SCHED_FIFO") :]


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """The middleware reads its settings from this process's environment, and children inherit it."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
