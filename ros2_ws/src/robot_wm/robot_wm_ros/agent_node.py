"""The agent's lifecycle node.

============  ==========================================================  ====================================
callback      does                                                        undone by
============  ==========================================================  ====================================
configure     verifies the bundle, starts and warms the engine, makes      cleanup, shutdown, error
              publishers, subscriptions and the recording
activate      enables the controller: soft start, commands go out          deactivate, shutdown, error
deactivate    holds for hold_s, damps until the command rests, falls silent
shutdown      damps at once, then as cleanup
============  ==========================================================  ====================================

A callback that fails says why in the log, gives back what it had taken and leaves the node in the state it was in.
rclpy itself would say nothing.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter

from robot_wm.errors import UserError
from robot_wm.runtime.modes import Mode
from robot_wm_ros import parameters
from robot_wm_ros.operator_requests import Operator
from robot_wm_ros.outputs import ModeTopic
from robot_wm_ros.running_agent import RunningAgent
from robot_wm_ros.spin import Spinner
from robot_wm_ros.supervisor import Supervisor

REPORT_S = 1.0


class AgentNode(LifecycleNode):
    """The node ``agent``. ``spin`` is its loop; nothing of it but ``stop`` may be called from elsewhere."""

    def __init__(self, name: str = "agent", **arguments: Any) -> None:
        """Raises UserError for a start value of a parameter that is of the wrong type or out of range."""
        super().__init__(name, **arguments)
        self.agent: RunningAgent | None = None
        self.stopping = False
        self.lifecycle = "unconfigured"
        self._undo = ExitStack()
        self._report_s = 0.0  # steady clock
        parameters.declare_all(self)
        self.add_on_set_parameters_callback(self._on_parameters)
        self._operator = Operator(self, self)
        self._spinner = Spinner(self)
        self._mode = ModeTopic(self)
        self._supervisor = Supervisor()

    # -- the loop ---------------------------------------------------------------------------------------------------

    def spin(self) -> None:
        """Run until ``stop``."""
        self._spinner.run(self)

    def stop(self) -> None:
        """End ``spin``, soon; for signal handlers."""
        self.stopping = True

    def close(self) -> None:
        """Damp the robot if it is driven, wait until that is sent, and give everything back."""
        if self.agent is not None:
            self.agent.damp.insist()  # first, and whatever comes of the rest
        if self.lifecycle != "finalized":
            self.trigger_shutdown()
        self._spinner.shutdown()
        self._supervisor.close()
        self.destroy_node()

    @property
    def ticks(self) -> int:
        """Ticks since the node was configured."""
        return 0 if self.agent is None else self.agent.ticker.ticks

    def patience_s(self) -> float:
        """How long the loop may wait for messages alone."""
        return REPORT_S if self.agent is None else self.agent.ticker.patience_s()

    def watch(self) -> None:
        """Tick if the sensors are silent, and tell those who watch over the agent that it is there."""
        now_s = time.monotonic()
        self._supervisor.alive(now_s)
        if self.agent is not None:
            self.agent.ticker.watch()
            self.agent.beat(now_s)
        self.tell_mode()

    def tell_mode(self, *, anew: bool = False) -> None:
        """Publish ~/mode, if it is a change, or in any case ``anew``."""
        idle = Mode.ESTOP if self._operator.estopped else Mode.INACTIVE
        self._mode.set(idle if self.agent is None else self.agent.controller.mode, anew=anew)

    def report(self) -> None:
        """Once a second, on the steady clock: a simulation that is paused still has an operator."""
        now_s = time.monotonic()
        if self.agent is not None and now_s >= self._report_s:
            self._report_s = now_s + REPORT_S
            self.agent.report(now_s, self.lifecycle)

    # -- lifecycle --------------------------------------------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load, verify, warm up, connect."""
        return self._attempt("configure", self._configure, "inactive")

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Begin to drive."""
        return self._attempt("activate", self._activate, "active")

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Hold, then damp, then fall silent."""
        # An agent that could not be stopped properly is not active any more, either: on_error takes all of it down.
        return self._attempt("deactivate", self._deactivate, "inactive", TransitionCallbackReturn.ERROR)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give back what configure took."""
        return self._attempt("cleanup", self._release, "unconfigured", TransitionCallbackReturn.ERROR)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Damp at once and give everything back."""
        return self._attempt("shutdown", self._shut_down, "finalized", TransitionCallbackReturn.ERROR)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give everything back, whatever is wrong."""
        result = self._attempt("error handling", self._shut_down, "unconfigured")
        if result is not TransitionCallbackReturn.SUCCESS:
            self.lifecycle = "finalized"
        return result

    def _attempt(
        self,
        what: str,
        action: Callable[[], None],
        lifecycle: str,
        otherwise: TransitionCallbackReturn = TransitionCallbackReturn.FAILURE,
    ) -> TransitionCallbackReturn:
        try:
            action()
        except UserError as error:
            self.get_logger().error(f"{what} failed: {error}")
        except Exception:
            self.get_logger().error(f"{what} failed:\n{traceback.format_exc()}")
        else:
            self.lifecycle = lifecycle
            return TransitionCallbackReturn.SUCCESS
        return otherwise

    def _configure(self) -> None:
        with self._supervisor.patient(), ExitStack() as undo:
            agent = RunningAgent(self, parameters.read(self), undo)
            self._spinner.listen(0.0)  # to what was said meanwhile
            if self._operator.estopped:
                agent.controller.estop()
            self._undo = undo.pop_all()
        self.agent = agent

    def _activate(self) -> None:
        assert self.agent is not None
        self.agent.require_clear()
        self.agent.ticker.start()
        self.agent.controller.enable()
        if self._operator.estopped:
            self.get_logger().warning("active, but the e-stop is latched: ~/reset, then ~/enable")

    def _deactivate(self) -> None:
        assert self.agent is not None
        self.agent.stop(self._listen, hold=True, hurry=lambda: self.stopping)

    def _shut_down(self) -> None:
        try:
            if self.agent is not None:
                self.agent.stop(self._listen, hold=False, hurry=lambda: True)
        finally:
            self._release()

    def _release(self) -> None:
        self.agent = None
        self._undo.pop_all().close()

    def _listen(self, duration_s: float) -> None:
        """Let time pass without being deaf to an e-stop."""
        end_s = time.monotonic() + duration_s
        while (left_s := end_s - time.monotonic()) > 0.0:
            if self.agent is not None:
                self.agent.beat(time.monotonic())
            self.tell_mode()
            self._spinner.listen(left_s)

    # -- parameters -------------------------------------------------------------------------------------------------

    def _on_parameters(self, changes: list[Parameter[Any]]) -> SetParametersResult:
        reason = parameters.refusal(changes, self.lifecycle)
        if not reason and self.agent is not None:
            for change in changes:
                if change.name == "trace":
                    self.agent.ticker.tracing = change.value
        return SetParametersResult(successful=not reason, reason=reason)
