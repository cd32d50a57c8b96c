"""Targets and masks as tables that a human can check, and against a slow reference of one window."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robot_wm.muzero import targets
from robot_wm.muzero.targets import Scalars

DISCOUNT, STEPS = 0.5, 3
# A window of eight steps: rewards arrive with these, and a target network thinks so much of these observations.
REWARD = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
VALUE = (10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0)


def window(first=(), last=(), terminal=(), unknown=()):
    """One window's tensors [1, 8] with flags at these steps."""

    def flags(*at):
        return torch.tensor([[t in at for t in range(8)]])

    way = targets.course(flags(*first), flags(*last, *terminal), flags(*terminal))
    return torch.tensor([REWARD]), ~flags(*unknown), torch.tensor([VALUE]), way


def values(story, positions=5, steps=STEPS):
    reward, known, value, way = window(**story)
    out = targets.bootstrapped(reward, known, value, way, discount=DISCOUNT, steps=steps, positions=positions)
    pairs = zip(out.target[0].tolist(), out.mask[0].tolist(), strict=True)
    return [target if mask else None for target, mask in pairs]


def test_an_episode_that_goes_on_is_bootstrapped_after_three_rewards():
    assert values({}) == [
        1 + 2 / 2 + 4 / 4 + 40 / 8,
        2 + 4 / 2 + 8 / 4 + 50 / 8,
        4 + 8 / 2 + 16 / 4 + 60 / 8,
        8 + 16 / 2 + 32 / 4 + 70 / 8,
        16 + 32 / 2 + 64 / 4 + 80 / 8,
    ]


def test_at_the_windows_end_fewer_rewards_are_summed():
    assert values({}, positions=8)[5:] == [32 + 64 / 2 + 80 / 4, 64 + 80 / 2, None]


def test_a_terminal_state_is_worth_nothing_and_so_is_all_after_it():
    # Step 3 is terminal; step 4 is the first of another episode, whose rewards count nowhere.
    assert values({"terminal": (3,), "first": (4,)}) == [1 + 2 / 2 + 4 / 4, 2 + 4 / 2, 4, 0, 0]


def test_a_truncated_end_is_bootstrapped_from_its_last_observation_and_nothing_is_known_after_it():
    assert values({"last": (2,), "first": (3,)}) == [1 + 2 / 2 + 30 / 4, 2 + 30 / 2, None, None, None]


def test_a_first_step_without_an_end_before_it_is_crossed_as_little():
    assert values({"first": (0, 2)}) == [1 + 20 / 2, None, None, None, None]


def test_a_reward_that_nobody_told_is_not_summed():
    assert values({"unknown": (3,)})[:4] == [1 + 2 / 2 + 30 / 4, 2 + 30 / 2, None, 8 + 16 / 2 + 32 / 4 + 70 / 8]


def test_one_step():
    assert values({}, steps=1)[:2] == [1 + 20 / 2, 2 + 30 / 2]
    assert values({"terminal": (1,), "first": (2,)}, steps=1)[:3] == [1, 0, 0]


@pytest.mark.parametrize(
    ("story", "reward", "cont", "seen", "choice"),
    [
        ({}, "1 2 4 8", "1 1 1 1", "1 1 1 1", "1 1 1 1 1"),
        ({"terminal": (2,), "first": (3,)}, "1 2 0 0", "1 0 0 0", "1 1 . .", "1 1 . . ."),
        ({"terminal": (0,), "first": (1,)}, "0 0 0 0", "0 0 0 0", ". . . .", ". . . . ."),
        ({"last": (2,), "first": (3,)}, "1 2 . .", "1 1 . .", "1 1 . .", "1 1 1 . ."),
        ({"first": (0,)}, "1 2 4 8", "1 1 1 1", "1 1 1 1", "1 1 1 1 1"),
        ({"unknown": (2, 3)}, "1 . . 8", "1 1 1 1", "1 1 1 1", "1 1 1 1 1"),
        # A second episode that ends within the window ends there and not for the root.
        ({"last": (1,), "first": (2,), "terminal": (3,)}, "1 . . .", "1 . . .", "1 . . .", "1 1 . . ."),
        # And one after a terminal state changes nothing of what is absorbed.
        ({"terminal": (1, 4), "first": (2,)}, "1 0 0 0", "0 0 0 0", "1 . . .", "1 . . . ."),
    ],
)
def test_what_is_told_of_four_actions_after_the_root(story, reward, cont, seen, choice):
    given, known, _, way = window(**story)

    def told(scalars):
        pairs = zip(scalars.target[0].tolist(), scalars.mask[0].tolist(), strict=True)
        return " ".join(f"{target:g}" if mask else "." for target, mask in pairs)

    def marks(mask):
        return " ".join("1" if one else "." for one in mask[0].tolist())

    assert told(targets.rewards(given, known, way, unroll=4)) == reward
    assert told(targets.continues(way, unroll=4)) == cont
    assert marks(targets.seen(way, unroll=4)) == seen
    assert marks(targets.choices(torch.ones(1, 5, dtype=torch.bool), way)) == choice


def test_a_choice_that_no_search_made_is_not_learned():
    _, _, _, way = window()
    assert targets.choices(torch.tensor([[True, False, True]]), way).tolist() == [[1, 0, 1]]


def test_stale_windows_are_told_by_their_searches_and_fresh_ones_by_their_rewards():
    reward, known, value, way = window(terminal=(3,), first=(4,), unknown=(2,))
    two = [torch.cat([one, one]) for one in (reward, known, value)]
    both = targets.Course(*(torch.cat([one, one]) for one in way))
    fresh = targets.bootstrapped(*two, both, discount=DISCOUNT, steps=STEPS, positions=5)
    assert fresh.target[0].tolist() == [1 + 20 / 2, 20, 4, 0, 0]  # the second is its bootstrap alone
    assert fresh.mask[0].tolist() == [1, 0, 1, 1, 1]
    searched = torch.full((2, 5), 7.0)
    was = torch.tensor([[True, True, False, True, True]] * 2)
    mixed, taken = targets.mixed_with_search(fresh, searched, was, torch.tensor([False, True]), both)
    assert mixed.target.tolist() == [[11, 20, 4, 0, 0], [7, 7, 4, 0, 0]]
    assert mixed.mask.tolist() == [[1, 0, 1, 1, 1], [1, 1, 1, 1, 1]]  # the search knows what no reward told
    assert taken.tolist() == [[False] * 5, [True, True, False, False, False]]


def one_window(reward, known, first, last, terminal, value, *, discount, steps, positions):
    """(target, mask) of each position, by walking along."""
    found = []
    for start in range(positions):
        if any(terminal[t] and not any(first[1 : t + 1]) for t in range(start + 1)):
            found.append((0.0, 1.0))
            continue
        total, scale, at, done = 0.0, 1.0, start, 0
        while done < steps and at + 1 < len(reward):
            if last[at] or terminal[at] or first[at + 1] or not known[at + 1]:
                break
            at, done = at + 1, done + 1
            total += scale * reward[at]
            scale *= discount
            if terminal[at]:
                break
        boot = 0.0 if terminal[at] else value[at]
        inside = not any(first[1 : start + 1])
        found.append((total + scale * boot, float(inside and done > 0)))
    return found


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 9),
    st.integers(1, 6),
    st.floats(0.1, 0.999),
    st.sampled_from([0.0, 0.15, 0.5]),
)
@settings(max_examples=150, deadline=None)
def test_batches_equal_windows_walked_along_one_by_one(seed, length, steps, discount, often):
    rng = np.random.default_rng(seed)
    rows = 6
    terminal = rng.random((rows, length)) < often / 2
    last = terminal | (rng.random((rows, length)) < often)
    first = np.concatenate([rng.random((rows, 1)) < 0.3, last[:, :-1] | (rng.random((rows, length - 1)) < 0.1)], 1)
    known = rng.random((rows, length)) > 0.1
    reward, value = (rng.normal(size=(rows, length)).astype(np.float32) for _ in range(2))
    way = targets.course(*(torch.from_numpy(flags) for flags in (first, last, terminal)))
    out = targets.bootstrapped(
        *(torch.from_numpy(array) for array in (reward, known, value)),
        way,
        discount=discount,
        steps=steps,
        positions=length,
    )
    assert isinstance(out, Scalars)
    for b in range(rows):
        expected = one_window(
            reward[b], known[b], first[b], last[b], terminal[b], value[b],
            discount=discount, steps=steps, positions=length,
        )  # fmt: skip
        for t, (target, mask) in enumerate(expected):
            assert out.mask[b, t] == mask, (b, t)
            if mask:
                assert out.target[b, t] == pytest.approx(target, rel=1e-4, abs=1e-5)
