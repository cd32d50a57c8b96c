"""What golden cases do not show: noise, batches, tuples, bad arguments, and life without torch."""

import subprocess
import sys
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tabular import Tables

from robot_wm.search.array_library import arrays_of
from robot_wm.search.gumbel import gumbel_muzero_policy
from robot_wm.search.nodes import RecurrentOutput
from robot_wm.search.puct import muzero_policy
from robot_wm.search.qtransforms import (
    NodeStatistics,
    completed_qvalues,
    mixed_value,
    qtransform_by_parent_and_siblings,
    qtransform_completed_by_mix_value,
)
from robot_wm.search.tree import RootOutput

STATES, ACTIONS = 40, 5
seeds = st.integers(0, 10**6)


def searched(policy, seed, state, *, tables=None, **arguments):
    tables = tables or Tables.random(seed, states=STATES, actions=ACTIONS)
    return policy(tables.root(state), tables.recurrent_fn, **{"num_simulations": 20} | arguments)


def test_a_robot_needs_no_torch():
    script = (
        "import sys, robot_wm.search.gumbel, robot_wm.search.puct\nprint(sorted({'torch', 'jax'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


@settings(max_examples=30)
@given(seeds, st.sampled_from((None, 1, 3)))
def test_roots_do_not_know_each_other(seed, max_depth):
    rng = np.random.default_rng(seed)
    state, gumbel = rng.integers(0, STATES, 4), rng.gumbel(size=(4, ACTIONS)).astype(np.float32)
    invalid = rng.random((4, ACTIONS)) < 0.3
    for policy, noise in (
        (gumbel_muzero_policy, {}),
        (muzero_policy, {"dirichlet_fraction": 0.0, "temperature": 0.0}),
    ):
        together = searched(policy, seed, state, gumbel=gumbel, invalid_actions=invalid, max_depth=max_depth, **noise)
        for at in range(4):
            one = slice(at, at + 1)
            alone = searched(
                policy, seed, state[one], gumbel=gumbel[one], invalid_actions=invalid[one], max_depth=max_depth, **noise
            )
            np.testing.assert_array_equal(together.search_tree.children_index[one], alone.search_tree.children_index)
            np.testing.assert_array_equal(together.action[one], alone.action)
            np.testing.assert_allclose(together.action_weights[one], alone.action_weights, atol=1e-5)


@settings(max_examples=30)
@given(seeds)
def test_invalid_actions_are_never_taken(seed):
    rng = np.random.default_rng(seed)
    gumbel = rng.gumbel(size=(8, ACTIONS)).astype(np.float32)
    invalid = rng.random((8, ACTIONS)) < 0.5
    invalid[:, 2] = False
    state = rng.integers(0, STATES, 8)
    for out in (
        searched(gumbel_muzero_policy, seed, state, gumbel=gumbel, invalid_actions=invalid.astype(np.int32)),
        searched(muzero_policy, seed, state, gumbel=gumbel, invalid_actions=invalid, dirichlet_fraction=0.0),
    ):
        assert (out.search_tree.summary().visit_counts[invalid] == 0).all()
        assert (out.action_weights[invalid] == 0).all()
        assert not invalid[np.arange(8), out.action].any()
        np.testing.assert_allclose(out.action_weights.sum(-1), 1.0, atol=1e-6)


def test_a_masked_root_keeps_the_logits_that_mctx_keeps():
    tables, invalid = Tables.random(0, states=STATES, actions=ACTIONS), np.array([[True, False, False, True, False]])
    state = np.zeros(1, np.int64)
    out = searched(gumbel_muzero_policy, 0, state, gumbel=np.zeros((1, ACTIONS), np.float32), invalid_actions=invalid)
    logits = tables.prior_logits[:1]
    want = np.where(invalid, np.finfo(np.float32).min, logits - logits.max())
    np.testing.assert_array_equal(out.search_tree.children_prior_logits[:, 0], want)


@pytest.mark.parametrize("batch_first_round", [False, True])
def test_an_action_without_prior_is_tried_in_its_turn(batch_first_round):
    tables = Tables.random(0, states=STATES, actions=3)
    tables.prior_logits[0] = [0.0, -1e12, -1e11]  # as good as none: the first comes first
    noise = np.array([[0.0, 1.0, 2.0]], np.float32)
    out = searched(
        gumbel_muzero_policy,
        0,
        np.zeros(1, np.int64),
        tables=tables,
        gumbel=noise,
        num_simulations=3,
        batch_first_round=batch_first_round,
    )
    assert out.search_tree.children_index[0, 0].tolist() == [1, 2, 3]


def test_noise_of_muzero_explores_and_draws():
    state = np.zeros(1, np.int64)
    only_fourth = np.eye(ACTIONS, dtype=np.float32)[3:4]
    prior = Tables.random(0, states=STATES, actions=ACTIONS)
    flat = prior._replace(reward=prior.reward * 0, value=prior.value * 0)  # nothing to find: visits follow the prior
    out = searched(muzero_policy, 0, state, tables=flat, dirichlet=only_fourth, dirichlet_fraction=1.0, temperature=0.0)
    assert out.search_tree.summary().visit_counts[0].tolist() == [0, 0, 0, 20, 0]
    half = searched(
        muzero_policy, 0, state, tables=flat, dirichlet=only_fourth, dirichlet_fraction=0.5, temperature=0.0
    )
    plain = searched(muzero_policy, 0, state, tables=flat, dirichlet_fraction=0.0, temperature=0.0)
    visits = [out.search_tree.summary().visit_counts[0, 3] for out in (plain, half)]
    assert visits[0] < visits[1] < 20

    many = np.zeros(4000, np.int64)
    noise = np.random.default_rng(0).gumbel(size=(4000, ACTIONS)).astype(np.float32)
    for temperature in (1.0, 0.5):
        drawn = searched(muzero_policy, 0, many, gumbel=noise, dirichlet_fraction=0.0, temperature=temperature)
        weights = drawn.action_weights[0] ** (1 / temperature)
        share = np.bincount(drawn.action, minlength=ACTIONS) / 4000
        np.testing.assert_allclose(share, weights / weights.sum(), atol=0.03)
    coldest = searched(muzero_policy, 0, many, gumbel=noise, dirichlet_fraction=0.0, temperature=0.0)
    assert (coldest.action == coldest.action_weights[0].argmax()).all()


@pytest.mark.parametrize(
    ("policy", "arguments", "message"),
    [
        (muzero_policy, {}, "dirichlet_fraction 0.25 needs noise"),
        (muzero_policy, {"dirichlet_fraction": 0.0}, "temperature 1.0 draws an action"),
        (muzero_policy, {"dirichlet_fraction": 0.0, "temperature": 0.0, "num_simulations": 0}, "num_simulations"),
        (gumbel_muzero_policy, {"gumbel": np.zeros((1, ACTIONS), np.float32), "num_simulations": 0}, "num_simulations"),
        (gumbel_muzero_policy, {"gumbel": np.zeros((1, ACTIONS), np.float32), "max_depth": 0}, "max_depth"),
    ],
)
def test_bad_arguments_are_named(policy, arguments, message):
    with pytest.raises(ValueError, match=message):
        searched(policy, 0, np.zeros(1, np.int64), **arguments)


@pytest.mark.parametrize("array", [np.asarray, torch.as_tensor])
def test_the_first_of_equals_is_best(array):
    scores = array(np.array([[1.0, 3.0, 3.0, 2.0, -np.inf], [-np.inf, 0.0, 0.0, 0.0, 0.0]]))
    best = arrays_of(scores).best_first
    assert best(scores, 3).tolist() == [[1, 2, 3], [1, 2, 3]]
    assert best(scores, 5).tolist() == [[1, 2, 3, 0, 4], [1, 2, 3, 4, 0]]


@pytest.mark.parametrize("array", [np.asarray, torch.as_tensor])
@settings(max_examples=30)
@given(seeds, st.sampled_from((1, 3, 5, 20, 33)), st.sampled_from((1, 2, 4, 16)), st.sampled_from((None, 1, 2)))
def test_a_batched_first_round_grows_the_same_tree(array, seed, simulations, considered, max_depth):
    rng = np.random.default_rng(seed)
    tables = Tables(*map(array, Tables.random(seed, states=STATES, actions=ACTIONS)))
    state, gumbel = array(rng.integers(0, STATES, 3)), array(rng.gumbel(size=(3, ACTIONS)).astype(np.float32))
    calls = []

    def counted(action, embedding):
        calls.append(len(action))
        return tables.recurrent_fn(action, embedding)

    arguments = {"gumbel": gumbel, "max_num_considered_actions": considered, "max_depth": max_depth}
    one_by_one = gumbel_muzero_policy(tables.root(state), counted, simulations, **arguments)
    assert calls == [3] * simulations
    calls.clear()
    at_once = gumbel_muzero_policy(tables.root(state), counted, simulations, batch_first_round=True, **arguments)
    together = min(considered, simulations, ACTIONS)
    assert calls == [3 * together, *[3] * (simulations - together)]
    for field in ("children_index", "parents", "action_from_parent", "children_visits", "node_visits"):
        one, other = (np.asarray(getattr(out.search_tree, field)) for out in (one_by_one, at_once))
        np.testing.assert_array_equal(one, other, err_msg=field)
    for field in ("node_values", "children_values", "children_rewards", "raw_values"):
        one, other = (np.asarray(getattr(out.search_tree, field)) for out in (one_by_one, at_once))
        np.testing.assert_allclose(one, other, atol=1e-5, err_msg=field)
    np.testing.assert_array_equal(np.asarray(one_by_one.action), np.asarray(at_once.action))
    np.testing.assert_allclose(np.asarray(one_by_one.action_weights), np.asarray(at_once.action_weights), atol=1e-5)


class Parts(NamedTuple):
    halves: Any  # [B, 2] a state in two numbers
    depth: Any  # [B]


@pytest.mark.parametrize("kind", [Parts, lambda halves, depth: {"halves": halves, "depth": (depth,)}])
@pytest.mark.parametrize("array", [np.asarray, torch.as_tensor])
def test_an_embedding_may_have_parts(array, kind):
    tables = Tables(*map(array, Tables.random(1, states=STATES, actions=ACTIONS)))
    state, gumbel = array(np.array([3, 8])), array(np.zeros((2, ACTIONS), np.float32))

    def apart(embedding):
        return embedding if kind is Parts else Parts(embedding["halves"], embedding["depth"][0])

    def embedded(state, depth):
        return kind(array(np.stack([np.asarray(state) // 2, np.asarray(state) % 2], -1)), depth)

    def recurrent_fn(action, embedding):
        halves, depth = apart(embedding)
        output, after = tables.recurrent_fn(action, halves[:, 0] * 2 + halves[:, 1])
        return output, embedded(after, depth + 1)

    root = tables.root(state)._replace(embedding=embedded(state, array(np.zeros(2, np.float32))))
    out = gumbel_muzero_policy(root, recurrent_fn, 20, gumbel=gumbel).search_tree
    want = gumbel_muzero_policy(tables.root(state), tables.recurrent_fn, 20, gumbel=gumbel).search_tree
    np.testing.assert_array_equal(np.asarray(out.children_index), np.asarray(want.children_index))
    halves, depth = map(np.asarray, apart(out.embeddings))
    np.testing.assert_array_equal(halves[..., 0] * 2 + halves[..., 1], np.asarray(want.embeddings))
    parents = np.asarray(out.parents)
    np.testing.assert_array_equal(depth[:, 1:], np.take_along_axis(depth, parents, 1)[:, 1:] + 1)


def test_a_leaf_at_max_depth_is_asked_again_and_the_later_answer_counts():
    """A model that says another value at each call: only what it said last is kept of a node."""
    values = iter(range(1, 9))

    def recurrent_fn(action, embedding):
        one = np.ones(1, np.float32)
        return RecurrentOutput(0 * one, one, np.zeros((1, 1), np.float32), next(values) * one), embedding

    root = RootOutput(np.zeros((1, 1), np.float32), np.zeros(1, np.float32), np.zeros((1, 1), np.float32))
    out = gumbel_muzero_policy(root, recurrent_fn, 8, max_depth=2, gumbel=np.zeros((1, 1), np.float32))
    tree = out.search_tree
    assert tree.node_visits[0].tolist() == [9, 8, 7, 0, 0, 0, 0, 0, 0]
    assert tree.raw_values[0, :3].tolist() == [0, 1, 8]
    np.testing.assert_allclose(tree.node_values[0, :3], [sum(range(9)) / 9, sum(range(1, 9)) / 8, 8.0])
    assert tree.children_visits[0, :3, 0].tolist() == [8, 7, 0]


def node(**changes):
    """Two visited actions and one never taken, whose numbers a human can follow."""
    known = {
        "visit_counts": [[1.0, 3.0, 0.0]],
        "qvalues": [[2.0, 6.0, 0.0]],
        "prior_logits": [[0.0, 0.0, 0.0]],
        "prior_probs": [[0.25, 0.25, 0.5]],
        "node_visits": [[5.0]],
        "node_values": [[5.0]],
        "raw_values": [[9.0]],
    } | changes
    return NodeStatistics(**{name: np.array(value, np.float32) for name, value in known.items()})


def test_mixed_value():
    """(9 + 4 visits * (2 + 6) / 2) / 5; of a node without visits its raw value."""
    assert mixed_value(node()).tolist() == [[5.0]]
    fresh = node(visit_counts=[[0.0] * 3], qvalues=[[0.0] * 3], node_visits=[[1.0]])
    assert mixed_value(fresh).tolist() == [[9.0]]
    unlikely = node(prior_probs=[[0.0, 0.0, 1.0]])
    assert mixed_value(unlikely).tolist() == [[5.0]]  # and not 0 / 0
    assert completed_qvalues(node()).tolist() == [[2.0, 6.0, 5.0]]
    assert completed_qvalues(node(), use_mixed_value=False).tolist() == [[2.0, 6.0, 9.0]]


def test_completed_qvalues_are_scaled_by_visits():
    """(50 + 3) * 0.1 * (q - 2) / 4."""
    np.testing.assert_allclose(qtransform_completed_by_mix_value(node()), [[0.0, 5.3, 5.3 * 0.75]], rtol=1e-6)
    plain = qtransform_completed_by_mix_value(node(), rescale_values=False, value_scale=1.0, maxvisit_init=0.0)
    np.testing.assert_allclose(plain, [[6.0, 18.0, 15.0]])
    floor = qtransform_completed_by_mix_value(node(), epsilon=40.0)
    np.testing.assert_allclose(floor, [[0.0, 0.53, 0.53 * 0.75]], rtol=1e-6)


def test_qvalues_between_parent_and_siblings():
    assert qtransform_by_parent_and_siblings(node()).tolist() == [[0.0, 1.0, 0.0]]
    np.testing.assert_allclose(qtransform_by_parent_and_siblings(node(node_values=[[1.0]])), [[0.2, 1.0, 0.0]])
    np.testing.assert_allclose(qtransform_by_parent_and_siblings(node(node_values=[[10.0]])), [[0.0, 0.5, 0.0]])
    np.testing.assert_allclose(qtransform_by_parent_and_siblings(node(), epsilon=8.0), [[0.0, 0.5, 0.0]])
