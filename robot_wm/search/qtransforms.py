"""How a node's Q-values become comparable with its prior: min-max, or completed by the mixed value.

Shape letters: P nodes side by side, A actions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from robot_wm.search.array_library import arrays_of
from robot_wm.search.arrays import Array

_TINY = 1.17549435e-38  # least normal float32


class NodeStatistics(NamedTuple):
    """What a search knows of P nodes: all that their next choice may depend on."""

    visit_counts: Array  # [P, A] of the actions, float
    qvalues: Array  # [P, A] reward + discount * value of the node an action leads to; 0 where it was never taken
    prior_logits: Array  # [P, A]
    prior_probs: Array  # [P, A]
    node_visits: Array  # [P, 1] float, 1 + those of its actions
    node_values: Array  # [P, 1] mean of the returns through the node, its raw value among them
    raw_values: Array  # [P, 1] what the model said of the node


QTransform = Callable[[NodeStatistics], Array]  # -> [P, A], growing with the Q-values


def qtransform_by_parent_and_siblings(node: NodeStatistics, *, epsilon: float = 1e-8) -> Array:
    """Q-values [P, A] in [0, 1] between the least and the greatest of the node's value and its visited actions'.

    Actions that were never taken have 0. ``epsilon`` (reward units) is the least range that is stretched to [0, 1].
    Source: Schrittwieser et al. 2020, appendix B, but over one node instead of the tree, as mctx has it.
    """
    xp = arrays_of(node.qvalues)
    visited = node.visit_counts > 0
    safe = xp.where(visited, node.qvalues, node.node_values)
    least, greatest = xp.extremes(safe)
    least, greatest = xp.smaller(node.node_values, least), xp.larger(node.node_values, greatest)
    return (xp.where(visited, node.qvalues, least) - least) / xp.at_least(greatest - least, epsilon)


def qtransform_completed_by_mix_value(
    node: NodeStatistics,
    *,
    value_scale: float = 0.1,
    maxvisit_init: float = 50.0,
    rescale_values: bool = True,
    use_mixed_value: bool = True,
    epsilon: float = 1e-8,
) -> Array:
    """Completed Q-values [P, A], times ``(maxvisit_init + greatest visit count) * value_scale``.

    ``rescale_values`` first stretches them to [0, 1]; ``epsilon`` (reward units) is the least range that is stretched
    so far. Source: sigma of Danihelka et al. 2022 (equation 8), c_visit and c_scale there.
    """
    completed = completed_qvalues(node, use_mixed_value=use_mixed_value)
    return scaled_qvalues(
        completed,
        node.visit_counts,
        value_scale=value_scale,
        maxvisit_init=maxvisit_init,
        rescale_values=rescale_values,
        epsilon=epsilon,
    )


def scaled_qvalues(
    completed: Array,
    visit_counts: Array,
    *,
    value_scale: float,
    maxvisit_init: float,
    epsilon: float,
    rescale_values: bool = True,
    extremes: tuple[Array, Array] | None = None,
) -> Array:
    """``qtransform_completed_by_mix_value`` of completed Q-values [P, A] and visit counts [P, A].

    ``extremes``, two of [P, 1] in reward units, are stretched to 0 and 1 instead of the least and the greatest of a
    node's own; what lies beyond them becomes 0 or 1.
    """
    xp = arrays_of(completed)
    scale = (xp.max(visit_counts) + maxvisit_init) * value_scale
    if not rescale_values:
        return scale * completed
    least, greatest = xp.extremes(completed) if extremes is None else extremes
    stretched = (completed - least) / xp.at_least(greatest - least, epsilon)
    return scale * (stretched if extremes is None else xp.at_most(xp.at_least(stretched, 0.0), 1.0))


def completed_qvalues(node: NodeStatistics, *, use_mixed_value: bool = True) -> Array:
    """Q-values [P, A], reward units, with a value of the node where an action was never taken.

    That is the mixed value (Danihelka et al. 2022, appendix D), or the raw one.
    """
    xp = arrays_of(node.qvalues)
    visited = xp.at_most(node.visit_counts, 1.0)
    value = _mixed_value(node, visited) if use_mixed_value else node.raw_values
    return node.qvalues + (1 - visited) * value


def mixed_value(node: NodeStatistics) -> Array:
    """The raw value and the visited actions' Q-values by their prior, weighted 1 : visits [P, 1]."""
    return _mixed_value(node, arrays_of(node.qvalues).at_most(node.visit_counts, 1.0))


def _mixed_value(node: NodeStatistics, visited: Array) -> Array:
    xp = arrays_of(node.qvalues)
    # An action of no prior may have been visited (all of them invalid): its weight must not be 0 / 0.
    probs = xp.at_least(node.prior_probs, _TINY)
    weights = probs / xp.at_least(xp.sum(probs * visited), _TINY)  # what is not visited has no Q-value to weigh
    return (node.raw_values + (node.node_visits - 1) * xp.sum(weights * node.qvalues)) / node.node_visits
