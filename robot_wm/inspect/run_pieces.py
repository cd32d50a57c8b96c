"""Stored episodes as an agent sees them: what was observed, what it makes of it, and what it expects without looking.

Shape letters: K steps of an episode, H steps without looking, M draws, L numbers of a latent, O of a field.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from robot_wm.inspect.believing import Believed, believe
from robot_wm.inspect.mcap_pieces import element_names
from robot_wm.inspect.pieces import Piece
from robot_wm.learning.agent import Agent
from robot_wm.posed import PosedRobot
from robot_wm.replay.episode import Episode
from robot_wm.runtime.transform import to_policy
from robot_wm.spec import AgentSpec

_DRAWS = 16
_BAND = (10.0, 90.0)  # percentiles of the draws

Floats = NDArray[np.float64]


class _Without(NamedTuple):
    """What is expected of an episode's K steps without looking."""

    vectors: dict[str, tuple[Floats, Floats, Floats]]  # by field mean and band [K, O], NaN at the reset
    pictures: dict[str, dict[int, NDArray[np.uint8]]]  # by image field and step [H, W, C]


class RunPieces:
    """A piece an episode, one after the other on a clock that begins at 0."""

    def __init__(
        self, agent: Agent, spec: AgentSpec, episodes: Sequence[tuple[int, Episode]], *, horizon: int, seed: int
    ) -> None:
        """Every ``horizon`` steps it looks away for as many. UserError for an agent without a model."""
        self.agent, self.spec, self._episodes, self._horizon, self._seed = agent, spec, episodes, horizon, seed
        self.task_options: Mapping[str, Any] = {}
        self.robot: PosedRobot | None = None
        self.damage: list[str] = []

    def __iter__(self) -> Iterator[Piece]:
        begin_s = 0.0
        for number, episode in self._episodes:
            (one,) = believe(self.agent, self.spec, [(number, episode)])
            yield self._piece(one, begin_s)
            begin_s += (len(one.latent) + 1) * self.spec.control_period_s

    def _piece(self, one: Believed, begin_s: float) -> Piece:
        spec, length = self.spec, len(one.latent)
        plain = observed(spec, one.number, one.episode, length, begin_s, self.robot)
        numbers: dict[str, NDArray[Any]] = {
            "value": one.value,
            "surprise": one.surprise,
            **plain.numbers,
            "reward/predicted": self._predicted_reward(one),
        }
        pictures: dict[str, Mapping[int, NDArray[np.uint8]]] = dict(plain.pictures)
        seen = self._decoded(torch.from_numpy(one.latent))
        without = self._looking_away(one)
        for field in spec.observations:
            if field.name not in seen:
                continue
            if field.is_image:
                pictures[f"camera/{field.name}/reconstructed"] = dict(enumerate(_picture(seen[field.name])))
                pictures[f"camera/{field.name}/open_loop"] = without.pictures[field.name]
                continue
            for n, name in enumerate(element_names(field.name, field.labels, field.shape[0])):
                numbers[f"observation/{name}/reconstructed"] = seen[field.name][:, n]
                for kind, values in zip(("open_loop", "low", "high"), without.vectors[field.name], strict=True):
                    numbers[f"observation/{name}/{kind}"] = values[:, n]
        robots = dict(plain.robots)
        if self.robot is not None and without.vectors:
            robots["imagined"] = self.robot.poses({name: mean for name, (mean, _, _) in without.vectors.items()})
        ahead = np.r_[0, np.arange(length - 1) % self._horizon + 1]
        return replace(plain, numbers=numbers, pictures=pictures, robots=robots, ahead=ahead)

    @torch.inference_mode()
    def _predicted_reward(self, one: Believed) -> Floats:
        """A step ahead, of the recorded commands; NaN at the reset [K]."""
        imagination = self.agent.imagination()
        assert imagination is not None
        latent = torch.from_numpy(one.latent[:-1])
        action = torch.from_numpy(to_policy(self.spec.action, one.episode.action[:-1]))
        reward = imagination.model.outcome(imagination.model.lead(latent, action)[1]).reward
        return np.concatenate([[np.nan], reward.double().numpy()])

    @torch.inference_mode()
    def _decoded(self, latent: torch.Tensor) -> dict[str, NDArray]:
        """Observation fields [N, *shape] that latents [N, L] stand for, raw SI, images 0..1; none without a decoder."""
        imagination = self.agent.imagination()
        assert imagination is not None
        if imagination.decode is None:
            return {}
        found = {}
        told = imagination.decode(latent)
        for field in self.spec.observations:
            values = told[field.name].double().numpy()
            if not field.is_image:
                newest = values[:, -field.shape[0] :]  # of a history
                values = newest / np.asarray(field.scale) + np.asarray(field.offset)
            found[field.name] = values
        return found

    @torch.inference_mode()
    def _looking_away(self, one: Believed) -> _Without:
        """What draws that follow the recorded commands expect without looking."""
        generator = torch.Generator().manual_seed(self._seed)
        imagination = self.agent.imagination(generator)
        assert imagination is not None
        found = _Without({}, {})
        if imagination.decode is None:
            return found
        length = len(one.latent)
        fields = self.spec.observations
        for field in fields:
            if field.is_image:
                found.pictures[field.name] = {}
            else:
                mean, low, high = (np.full((length, field.shape[0]), np.nan) for _ in range(3))
                found.vectors[field.name] = (mean, low, high)
        starts = np.arange(0, length - 1, self._horizon)
        latent = torch.from_numpy(one.latent[starts]).repeat_interleave(_DRAWS, 0)  # [starts * M, L]
        actions = to_policy(self.spec.action, one.episode.action)
        for h in range(self._horizon):
            at = np.minimum(starts + h, length - 2)
            latent, _ = imagination.model.lead(latent, torch.from_numpy(actions[at]).repeat_interleave(_DRAWS, 0))
            there = starts + h + 1 < length
            told = self._decoded(latent)
            rows = (starts + h + 1)[there]
            for field in fields:
                draws = told[field.name].reshape(len(starts), _DRAWS, *field.shape)[there]
                if field.is_image:  # of one draw: a mean of pictures is none that could be seen
                    found.pictures[field.name] |= dict(zip(rows.tolist(), _picture(draws[:, 0]), strict=True))
                    continue
                low, high = np.percentile(draws, _BAND, axis=1)
                for into, values in zip(found.vectors[field.name], (draws.mean(1), low, high), strict=True):
                    into[rows] = values
        return found


def _picture(values: Floats) -> NDArray[np.uint8]:
    """Images 0..1 as pictures."""
    return (np.clip(values, 0, 1) * 255).astype(np.uint8)


def observed(
    spec: AgentSpec, number: int, episode: Episode, length: int, begin_s: float, robot: PosedRobot | None
) -> Piece:
    """What was recorded of the first ``length`` steps of an episode, of which no model knows."""
    time_s = begin_s + np.arange(length, dtype=np.float64) * spec.control_period_s
    reward = np.where(episode.reward_known, episode.reward, np.nan)
    numbers: dict[str, NDArray[Any]] = {"reward/recorded": reward[:length]}
    for n, joint in enumerate(spec.action.joints):
        numbers[f"action/{joint}/recorded"] = episode.action[:length, n]
    pictures: dict[str, dict[int, NDArray[np.uint8]]] = {}
    vectors = {}
    for field in spec.observations:
        values = episode.obs[field.name][:length]
        if field.is_image:
            pictures[f"camera/{field.name}/recorded"] = dict(enumerate(values))
            continue
        vectors[field.name] = values
        for n, name in enumerate(element_names(field.name, field.labels, field.shape[0])):
            numbers[f"observation/{name}/recorded"] = values[:, n]
    events = [(float(time_s[0]), f"episode {number}, policy {episode.source.policy}")]
    if episode.is_terminal[-1]:
        events.append((float(time_s[-1]), "ended for good"))
    robots = {} if robot is None else {"recorded": robot.poses(vectors)}
    return Piece(time_s, numbers, pictures, tuple(events), robots)
