"""MuZero's search: PUCT everywhere, Dirichlet noise and temperature at the root (Schrittwieser et al. 2020).

Shape letters: B roots, P nodes, A actions.
"""

from __future__ import annotations

from robot_wm.search.array_library import arrays_of, softmax
from robot_wm.search.arrays import Array
from robot_wm.search.nodes import RecurrentFn
from robot_wm.search.qtransforms import NodeStatistics, QTransform, qtransform_by_parent_and_siblings
from robot_wm.search.tree import PolicyOutput, RootOutput, finished, masked_argmax, masked_logits, search

_TINY = 1.17549435e-38  # least normal float32: a probability whose logarithm is finite
# mctx divides by the least float32, and most quotients overflow. This is as good as zero for any counts of visits.
_LEAST_TEMPERATURE = 1e-30


def muzero_policy(
    root: RootOutput,
    recurrent_fn: RecurrentFn,
    num_simulations: int,
    invalid_actions: Array | None = None,
    max_depth: int | None = None,
    *,
    dirichlet: Array | None = None,
    gumbel: Array | None = None,
    qtransform: QTransform = qtransform_by_parent_and_siblings,
    dirichlet_fraction: float = 0.25,
    pb_c_init: float = 1.25,
    pb_c_base: float = 19652.0,
    temperature: float = 1.0,
) -> PolicyOutput:
    """Search from roots; equal to mctx's function of this name but for its noise.

    mctx adds noise below 1e-7 to every score; here ties go to the first action.

    Args:
        root: what the model says of the roots.
        recurrent_fn: the model. It may be asked about an action twice (at ``max_depth``); the later answer counts.
        num_simulations: how often it is asked, one of each root at a time.
        invalid_actions: mask [B, A] of actions that are not to be taken at the root, 0 or False where they may.
        max_depth: most edges from the root; unlimited by default.
        dirichlet: noise [B, A] of a Dirichlet distribution; needed unless ``dirichlet_fraction`` is 0.
        gumbel: standard Gumbel noise [B, A] that draws the action; needed unless ``temperature`` is 0, where it decides
            between equal counts.
        qtransform: makes Q-values comparable with the prior.
        dirichlet_fraction: how much of the root's prior is noise.
        pb_c_init: c1 of PUCT.
        pb_c_base: c2 of PUCT.
        temperature: the action is drawn in proportion to visits ** (1 / temperature).

    Raises ValueError where noise is needed and not given, or ``num_simulations`` or ``max_depth`` is below 1.
    """
    xp = arrays_of(root.value)
    probs = softmax(root.prior_logits)
    if dirichlet_fraction:
        if dirichlet is None:
            raise ValueError(f"dirichlet_fraction {dirichlet_fraction} needs noise: give dirichlet [B, A]")
        probs = (1 - dirichlet_fraction) * probs + dirichlet_fraction * dirichlet
    logits = xp.log(xp.at_least(probs, _TINY))
    root = root._replace(prior_logits=masked_logits(logits, invalid_actions))

    def select(node: NodeStatistics, roots: int, simulation: int) -> tuple[Array, Array]:
        scores = puct_scores(node, qtransform, pb_c_init=pb_c_init, pb_c_base=pb_c_base)
        return masked_argmax(scores[:roots], invalid_actions), xp.argmax(scores)

    most = num_simulations if max_depth is None else max_depth
    depths = tuple(min(most, simulation + 1) for simulation in range(num_simulations))
    nodes = search(root, recurrent_fn, selection=select, num_simulations=num_simulations, depths=depths)
    tree = finished(nodes, xp.sizes(root.value)[0])
    weights = tree.summary().visit_probs
    scores = xp.log(xp.at_least(weights, _TINY))
    scores = (scores - xp.max(scores)) / max(_LEAST_TEMPERATURE, temperature)
    if gumbel is not None:
        scores = scores + gumbel
    elif temperature:
        raise ValueError(f"temperature {temperature} draws an action: give gumbel [B, A]")
    return PolicyOutput(action=xp.argmax(scores), action_weights=weights, search_tree=tree)


def puct_scores(node: NodeStatistics, qtransform: QTransform, *, pb_c_init: float, pb_c_base: float) -> Array:
    """Value and prior by visits [P, A] (Schrittwieser et al. 2020, appendix B)."""
    xp = arrays_of(node.qvalues)
    pb_c = pb_c_init + xp.log((node.node_visits + (pb_c_base + 1.0)) / pb_c_base)
    explored = xp.sqrt(node.node_visits) * pb_c * node.prior_probs / (node.visit_counts + 1)
    return qtransform(node) + explored
