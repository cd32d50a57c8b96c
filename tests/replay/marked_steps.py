"""Steps that say which stream and step they are, with latents that do, and a sampler to put them in."""

from __future__ import annotations

import numpy as np

from robot_wm.replay.episode import Episode, EpisodeSource
from robot_wm.replay.sampler import SequenceSampler
from robot_wm.replay.stored import Stored

D, S = 3, 2
STORED = (
    Stored(name="deter", shape=(D,), dtype="float16", use="context"),
    Stored(name="stoch", shape=(S,), dtype="uint8", use="context"),
)
SOURCE = EpisodeSource(kind="sim", task="toy_task", robot="toy")


def one_step(obs, action, reward, is_first, is_last, is_terminal, reward_known=True):
    """A single step as `add_episode` takes it, which need not be a whole episode."""
    return Episode(
        obs={name: np.asarray(value)[None] for name, value in obs.items()},
        action=np.float32([action]),
        reward=np.float32([reward]),
        reward_known=np.array([reward_known]),
        is_first=np.array([is_first]),
        is_last=np.array([is_last]),
        is_terminal=np.array([is_terminal]),
        source=SOURCE,
    )


class Feeder:
    """Feeds single streams step by step and remembers which episode every step belonged to."""

    def __init__(self, spec, sampler):
        self.spec, self.sampler = spec, sampler
        self.steps = [0] * sampler.streams
        self.begun = [[] for _ in range(sampler.streams)]  # per stream and step: first step of its episode
        self.ended = [[] for _ in range(sampler.streams)]

    def episode(self, stream, length):
        for k in range(length):
            self.step(stream, first=k == 0, last=k == length - 1)

    def step(self, stream, *, first, last, latents=True):
        step = self.steps[stream]
        obs = {
            "mark": np.array([stream, step], np.float32),
            "angle": np.array([step % 7, -step % 5, stream], np.float32),
        }
        if any(field.is_image for field in self.spec.observations):
            obs["camera"] = np.full((4, 5, 3), (stream * 50 + step) % 256, np.uint8)
        action = np.array([stream * 1000 + step, 0.5], np.float32)
        self.sampler.add_episode(
            one_step(obs, action, stream * 1000 + step, first, last, last and step % 2 == 0, step % 3 > 0),
            stream=stream,
            stored=stored((stream * 300 + step) / 8, (stream * 50 + step) % 256, rows=(1,)) if latents else None,
        )
        self.begun[stream].append(step if first else self.begun[stream][-1])
        self.ended[stream].append(last)
        self.steps[stream] += 1


def stored(deter, stoch, *, rows):
    """Latents of so many rows, every number of them the same."""
    return {"deter": np.full((*rows, D), deter, np.float32), "stoch": np.full((*rows, S), stoch, np.uint8)}


def marks(batch):
    """[B, T1] stream and [B, T1] step, out of the newest frame."""
    newest = batch.obs["mark"][..., -2:].astype(int)
    return newest[..., 0], newest[..., 1]


def make(spec, **options):
    options = {"capacity_steps": 60, "length": 4, "streams": 2, "stored": STORED, "seed": 7} | options
    return SequenceSampler(spec, **options)
