"""What the unrolled model is to predict, and where it is told anything at all. Pure, of static shapes.

A window's step 0 is here the root of the unroll. Rewards and flags arrive *with* an observation, so ``reward[:, t]``
is what the action of step t - 1 earned. Three things end what is known of a root's future: its episode's terminal
state, after which all is absorbing (reward and value 0, nothing to choose); its truncation or the first step of another
episode, after which nothing is known; a reward that nobody told.
Shape letters: B windows, T steps of a window, K unroll, K1 = K + 1 positions, n bootstrap.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Course(NamedTuple):
    """How an episode goes on from a root; all [B, T] bool."""

    inside: Tensor  # the step belongs to the root's episode
    absorbed: Tensor  # the episode came to its terminal state before this step, which is not of it any more
    terminal: Tensor  # the step is that terminal state
    goes_on: Tensor  # the next step is of the same episode, and was not cut off by the window


class Scalars(NamedTuple):
    """What a scalar is to be at each position, and how much that counts: both [B, ...] float32."""

    target: Tensor
    mask: Tensor  # 1.0 or 0.0


def course(is_first: Tensor, is_last: Tensor, is_terminal: Tensor) -> Course:
    """How the episode of step 0 goes on over T steps; flags [B, T] bool."""
    crossed = is_first.clone()
    crossed[:, 0] = False  # the root may be a first step itself
    uncut = crossed.cumsum(1) == 0
    terminal = uncut & is_terminal
    absorbed = _shifted_later(terminal).cumsum(1) > 0
    inside = uncut & ~absorbed
    return Course(inside, absorbed, terminal, goes_on=inside & _shifted_earlier(uncut) & ~is_last & ~is_terminal)


def _shifted_earlier(x: Tensor) -> Tensor:
    """Each step's successor [B, T], 0 behind the last."""
    return torch.cat([x[:, 1:], torch.zeros_like(x[:, :1])], 1)


def _shifted_later(x: Tensor) -> Tensor:
    """Each step's predecessor [B, T], 0 before the first."""
    return torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], 1)


def bootstrapped(
    reward: Tensor, known: Tensor, bootstrap: Tensor, way: Course, *, discount: float, steps: int, positions: int
) -> Scalars:
    """n-step returns of the first ``positions`` steps: [B, K1] out of [B, T].

    ``sum(discount ** (i - 1) * reward[t + i], i = 1..m) + discount ** m * bootstrap[t + m]`` with the largest m up to
    ``steps`` that lies within the window and the episode and whose rewards are all ``known``; the bootstrap of a
    terminal state is 0, that of a truncated end is its last observation's. Where m is 0 nothing is known but of a
    terminal state and what is absorbed in it, which are worth 0.
    """
    goes_on = way.goes_on & _shifted_earlier(known)
    worthless = way.terminal | way.absorbed
    start = torch.where(worthless, 0.0, bootstrap)  # [B, T]
    earned = _shifted_earlier(reward)  # [B, T] by the action of each step
    value = start
    for _ in range(steps):
        value = torch.where(goes_on, earned + discount * _shifted_earlier(value), start)
    return Scalars(value[:, :positions], (worthless | goes_on)[:, :positions].float())


def mixed_with_search(
    fresh: Scalars, searched: Tensor, was_searched: Tensor, stale: Tensor, way: Course
) -> tuple[Scalars, Tensor]:
    """Search-based value estimation (EfficientZero-V2, Wang et al. 2024): what a search made of a state in place of
    rewards that an older policy earned after it.

    ``searched`` [B, K1] are root values of searches, ``was_searched`` [B, K1] bool where there was one, ``stale`` [B]
    bool the windows to be told by them. Also returns where they were taken [B, K1] bool.
    """
    positions = searched.shape[1]
    open_state = (way.inside & ~way.terminal)[:, :positions]
    taken = stale[:, None] & was_searched & open_state
    target = torch.where(taken, searched, fresh.target)
    return Scalars(target, torch.where(taken, 1.0, fresh.mask)), taken


def rewards(reward: Tensor, known: Tensor, way: Course, *, unroll: int) -> Scalars:
    """Rewards of the K actions after the root, [B, K]; 0 in a terminal state."""
    absorbed, inside = way.absorbed[:, 1 : unroll + 1], way.inside[:, 1 : unroll + 1]
    target = torch.where(absorbed, 0.0, reward[:, 1 : unroll + 1])
    return Scalars(target, (absorbed | (inside & known[:, 1 : unroll + 1])).float())


def continues(way: Course, *, unroll: int) -> Scalars:
    """Whether the episode goes on where each of the K actions after the root leads, [B, K]."""
    over = (way.terminal | way.absorbed)[:, 1 : unroll + 1]
    return Scalars((~over).float(), (over | way.inside[:, 1 : unroll + 1]).float())


def seen(way: Course, *, unroll: int) -> Tensor:
    """[B, K] float32: whether an observation tells what the state after each of the K actions is."""
    return way.inside[:, 1 : unroll + 1].float()


def choices(was_searched: Tensor, way: Course) -> Tensor:
    """[B, K1] float32: whether there is a choice to learn, and a search that made it."""
    return (was_searched & (way.inside & ~way.terminal)[:, : was_searched.shape[1]]).float()
