"""Gumbel MuZero: Sequential Halving with Gumbel at the root, deterministic choices below (Danihelka et al. 2022).

Shape letters: B roots, P nodes, A actions, S simulations.
"""

from __future__ import annotations

from robot_wm.search.array_library import arrays_of, softmax
from robot_wm.search.arrays import Array
from robot_wm.search.considered import table_of_considered_visits
from robot_wm.search.nodes import RecurrentFn
from robot_wm.search.qtransforms import NodeStatistics, QTransform, qtransform_completed_by_mix_value
from robot_wm.search.tree import PolicyOutput, RootOutput, finished, masked_argmax, masked_logits, search

_LOW_SCORE = -1e9  # so that the only action in the running is taken, however unlikely it is


def gumbel_muzero_policy(
    root: RootOutput,
    recurrent_fn: RecurrentFn,
    num_simulations: int,
    invalid_actions: Array | None = None,
    max_depth: int | None = None,
    *,
    gumbel: Array,
    qtransform: QTransform = qtransform_completed_by_mix_value,
    max_num_considered_actions: int = 16,
    gumbel_scale: float = 1.0,
    batch_first_round: bool = False,
) -> PolicyOutput:
    """Search from roots; equal to mctx's function of this name, where it draws the same noise.

    Args:
        root: what the model says of the roots.
        recurrent_fn: the model. It may be asked about an action twice (at ``max_depth``); the later answer counts.
        num_simulations: how often it is asked, one of each root at a time.
        invalid_actions: mask [B, A] of actions that are not to be taken at the root, 0 or False where they may.
        max_depth: most edges from the root; unlimited by default.
        gumbel: standard Gumbel noise [B, A]; zeros make the search greedy.
        qtransform: makes Q-values comparable with the prior's logits.
        max_num_considered_actions: that are tried at the root, or fewer where fewer are valid.
        gumbel_scale: 0 is greedy, too.
        batch_first_round: ask the model about all considered actions of a root at once, in one call with B * k rows,
            root by root. The tree is the same: which one comes next does not depend on what was said of the others,
            if ``qtransform`` treats all actions alike that were never taken. Roots with a mask are not batched.

    Raises ValueError where ``num_simulations`` or ``max_depth`` is below 1.
    """
    xp = arrays_of(root.value)
    batch, actions = xp.sizes(root.prior_logits)
    root = root._replace(prior_logits=masked_logits(root.prior_logits, invalid_actions))
    drawn = gumbel_scale * gumbel + (root.prior_logits - xp.max(root.prior_logits))  # [B, A]
    table = table_of_considered_visits(max_num_considered_actions, num_simulations)
    # A subtree that has been visited v times is v edges deep at most, so nobody needs to look for its end further down.
    if invalid_actions is None:
        rows = table[min(max_num_considered_actions, actions) :][:1]
        visits = [float(visit) for visit in rows[0]]
    else:
        rows = table[: min(max_num_considered_actions, actions) + 1]
        valid = xp.sum(1 - xp.as_type(invalid_actions, root.value))  # [B, 1]
        visits = _considered(valid, rows, root.value)
    most = num_simulations if max_depth is None else max_depth
    depths = tuple(min(most, max(column) + 1) for column in zip(*rows, strict=True))

    def select(node: NodeStatistics, roots: int, simulation: int) -> tuple[Array, Array]:
        qvalues = qtransform(node)
        scores = score_considered(visits[simulation], node.visit_counts[:roots], drawn + qvalues[:roots])
        return masked_argmax(scores, invalid_actions), interior_action(node, qvalues)

    at_once = None
    if batch_first_round and invalid_actions is None:
        at_once = xp.best_first(xp.at_least(drawn, _LOW_SCORE), rows[0].count(0))
    nodes = search(
        root, recurrent_fn, selection=select, num_simulations=num_simulations, depths=depths, at_once=at_once
    )
    known = nodes.statistics(xp.index_range(batch, root.value) * (num_simulations + 1))
    qvalues = qtransform(known)
    scores = score_considered(xp.max(known.visit_counts), known.visit_counts, drawn + qvalues)
    return PolicyOutput(
        action=masked_argmax(scores, invalid_actions),
        action_weights=softmax(masked_logits(known.prior_logits + qvalues, invalid_actions)),
        search_tree=finished(nodes, batch),
    )


def _considered(valid: Array, rows: tuple[tuple[int, ...], ...], like: Array) -> list[Array]:
    """The considered visit [B, 1] at each of S simulations, of roots with ``valid`` [B, 1] actions."""
    xp = arrays_of(like)
    chosen = xp.full((1, 1), 0.0, like) * valid
    columns = []
    for column in zip(*rows, strict=True):
        visit = chosen + column[-1]  # enough are valid
        for count, fewer in enumerate(column[:-1]):
            if fewer != column[-1]:
                visit = xp.where(valid == count, float(fewer), visit)
        columns.append(visit)
    return columns


def score_considered(considered_visit: Array | float, visit_counts: Array, scores: Array) -> Array:
    """Scores [B, A] of the actions that were visited ``considered_visit`` [B, 1] times, -inf of the others."""
    xp = arrays_of(scores)
    return xp.where(visit_counts == considered_visit, xp.at_least(scores, _LOW_SCORE), float("-inf"))


def interior_action(node: NodeStatistics, qvalues: Array) -> Array:
    """The action [P] that brings visits nearest to the improved policy (Danihelka et al. 2022, section 5)."""
    probs = softmax(node.prior_logits + qvalues)
    return arrays_of(qvalues).argmax(probs - node.visit_counts / node.node_visits)
