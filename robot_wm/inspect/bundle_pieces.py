"""Stored episodes through a bundle's tick: what its graph makes of them, and what its controller would let out.

Shape letters: K steps of an episode, A action.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_wm.inspect.pieces import Piece
from robot_wm.inspect.run_pieces import RunPieces, observed
from robot_wm.posed import PosedRobot
from robot_wm.replay.episode import Episode
from robot_wm.runtime.bundle import Bundle
from robot_wm.runtime.controller import Controller
from robot_wm.runtime.faults import fault_names
from robot_wm.runtime.onnx_engine import OnnxEngine
from robot_wm.runtime.safety import SafetyConfig
from robot_wm.runtime.transform import ObservationTransform, to_command, to_policy

# The robot obeyed whoever was recorded: whether it follows this controller nobody can tell, nor need it start softly.
_SAFETY = SafetyConfig(soft_start_s=0.0, following_s=inf)


class BundlePieces:
    """A piece an episode, one after the other on a clock that begins at 0.

    Of each episode the graph is told what was observed and what was done: its value and surprise are those of a robot
    that did that. What it asks for (raw) and what the safety filter makes of it (filtered) is told of a controller that
    sees those observations and takes its own commands for executed, as on a robot. Where the ``model`` behind the
    bundle is known, what it tells is there, too.
    """

    def __init__(self, bundle: Bundle, episodes: Sequence[tuple[int, Episode]], model: RunPieces | None = None) -> None:
        self.bundle, self.spec, self._episodes, self._model = bundle, bundle.spec, episodes, model
        self.task_options: Mapping[str, Any] = {}
        self.robot: PosedRobot | None = None
        self.damage: list[str] = []

    def __iter__(self) -> Iterator[Piece]:
        engine = OnnxEngine(self.bundle.read(), self.bundle.manifest.state)
        engine.activate()
        try:
            with Controller(self.bundle, config=_SAFETY) as controller:
                if self._model is not None:
                    self._model.robot = self.robot
                    for (_, episode), piece in zip(self._episodes, self._model, strict=True):
                        yield self._piece(episode, piece, engine, controller)
                    return
                begin_s = 0.0
                for number, episode in self._episodes:
                    plain = observed(self.spec, number, episode, episode.length, begin_s, self.robot)
                    yield self._piece(episode, plain, engine, controller)
                    begin_s += (episode.length + 1) * self.spec.control_period_s
        finally:
            engine.deactivate()

    def _piece(self, episode: Episode, piece: Piece, engine: OnnxEngine, controller: Controller) -> Piece:
        value, surprise = self._believed(episode, engine)
        raw, filtered, events = self._let_out(episode, piece.time_s, controller)
        numbers: dict[str, NDArray[Any]] = {**piece.numbers, "value": value, "surprise": surprise}
        for n, joint in enumerate(self.spec.action.joints):
            numbers |= {f"action/{joint}/raw": raw[:, n], f"action/{joint}/filtered": filtered[:, n]}
        return replace(piece, numbers=numbers, events=(*piece.events, *events))

    def _believed(self, episode: Episode, engine: OnnxEngine) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Value and surprise [K], in the manifest's unit."""
        spec, inputs = self.spec, engine.inputs
        transform = ObservationTransform(spec, out={f.name: inputs[f"obs/{f.name}"] for f in spec.observations})
        done = to_policy(spec.action, episode.action)  # [K, A]
        remembers = any(state.name == "action" for state in self.bundle.manifest.state)
        found = np.empty((2, episode.length))
        for k in range(episode.length):
            transform.push({field.name: episode.obs[field.name][k] for field in spec.observations}, k == 0)
            inputs["is_first"][...] = float(k == 0)
            engine.infer()
            found[:, k] = engine.outputs["value"].item(), engine.outputs["surprise"].item()
            if remembers:
                engine.write_state("action", done[k : k + 1])
        return found[0], found[1]

    def _let_out(
        self, episode: Episode, time_s: NDArray[np.float64], controller: Controller
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], list[tuple[float, str]]]:
        """Commands asked for and let out [K, A] SI, and changes of mode and of faults, in words."""
        asked, filtered = np.empty_like(episode.action), np.empty_like(episode.action)
        events: list[tuple[float, str]] = []
        before: tuple[str, str] | None = None
        controller.reset()
        controller.disable()
        controller.start_episode()
        controller.enable()
        for k in range(episode.length):
            seen = {field.name: episode.obs[field.name][k] for field in self.spec.observations}
            command = controller.step(seen, float(time_s[k]))
            asked[k], filtered[k] = command.raw_action, command.command
            now = command.mode.value, " ".join(fault_names(command.fault_bits))
            if now != before:
                why = f": {now[1]}, {command.detail}" if now[1] else ""
                events.append((float(time_s[k]), f"controller {now[0]}{why}"))
                before = now
        return to_command(self.spec.action, asked), filtered, events
