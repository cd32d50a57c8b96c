"""Monte Carlo tree search over a learned model, batched over roots and equal to mctx 0.0.71.

The same code runs on NumPy arrays (one root on a robot: a descent stops when it has ended) and on torch tensors
(static: no wait for the device, no branch on values, so that a search can be captured in a CUDA graph, or exported
without Loop or If). Nothing is drawn here: noise is an argument.

Shape letters: B roots, N = num_simulations + 1 nodes, A actions.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from robot_wm.search.array_library import arrays_of
from robot_wm.search.arrays import Array
from robot_wm.search.nodes import NO_PARENT, Embedding, Nodes, RecurrentFn, over
from robot_wm.search.qtransforms import NodeStatistics


class RootOutput(NamedTuple):
    """What a model says of where the search starts, mctx's RootFnOutput."""

    prior_logits: Array  # [B, A]
    value: Array  # [B]
    embedding: Embedding  # [B, ...]


class SearchSummary(NamedTuple):
    """Of the roots."""

    visit_counts: Array  # [B, A] int32
    visit_probs: Array  # [B, A]
    value: Array  # [B] mean of the returns, the raw value among them
    qvalues: Array  # [B, A], 0 where never visited


class Tree(NamedTuple):
    """A finished search, mctx's Tree. Node 0 is the root; simulation i creates node i + 1.

    A simulation that ends at a known node (at max_depth) creates none: its node stays empty.
    """

    node_visits: Array  # [B, N] int32
    raw_values: Array  # [B, N]
    node_values: Array  # [B, N]
    parents: Array  # [B, N], -1 for none
    action_from_parent: Array  # [B, N], -1 for none
    children_index: Array  # [B, N, A], -1 for none
    children_prior_logits: Array  # [B, N, A]
    children_visits: Array  # [B, N, A] int32
    children_rewards: Array  # [B, N, A]
    children_discounts: Array  # [B, N, A]
    children_values: Array  # [B, N, A]
    embeddings: Embedding  # [B, N, ...]

    def summary(self) -> SearchSummary:
        """Statistics of the roots."""
        visits = self.children_visits[:, 0]
        xp = arrays_of(self.node_values)
        counts = xp.as_type(visits, self.node_values)
        qvalues = self.children_rewards[:, 0] + self.children_discounts[:, 0] * self.children_values[:, 0]
        return SearchSummary(visits, counts / xp.sum(counts), self.node_values[:, 0], qvalues)


class PolicyOutput(NamedTuple):
    """What a search says."""

    action: Array  # [B]
    action_weights: Array  # [B, A] sum to 1: what the policy is to learn
    search_tree: Tree


class Selection(Protocol):
    """How a search chooses actions. The first B of P nodes are the roots."""

    def __call__(self, node: NodeStatistics, roots: int, simulation: int) -> tuple[Array, Array]:
        """Actions of the roots [B] for a simulation, and of all nodes [P], where those of the roots do not count."""


def search(
    root: RootOutput,
    recurrent_fn: RecurrentFn,
    *,
    selection: Selection,
    num_simulations: int,
    depths: tuple[int, ...],
    at_once: Array | None = None,
) -> Nodes:
    """Run the simulations; node i of root b is b * N + i of the result.

    ``depths`` [num_simulations] bounds each simulation's edges. The first k simulations take the actions ``at_once``
    [B, k] from the root, in one call of the model.
    Raises ValueError for fewer than 1 simulation, or a depth below 1.
    """
    if min(depths, default=0) < 1:
        raise ValueError(f"a search needs num_simulations and max_depth >= 1 (got {num_simulations} and {depths[:1]})")
    xp = arrays_of(root.value)
    batch, actions = xp.sizes(root.prior_logits)
    count = num_simulations + 1
    nodes = Nodes(batch * count, actions, like=root.value, embedding=root.embedding)
    roots = xp.index_range(batch, root.value) * count
    nothing = xp.full((batch,), 0.0, root.value)
    nodes.evaluate(roots, root.value, nothing, nothing)
    nodes.expand(roots, root.prior_logits, root.embedding)
    if at_once is None:
        done = 0
        nodes.choose(roots, selection(nodes.statistics(roots), batch, 0)[0])
    else:
        done = xp.sizes(at_once)[1]
        node = (roots[:, None] + (1 + xp.index_range(done, root.value))).reshape(-1)  # [B * k]
        parent = (roots[:, None] + 0 * at_once).reshape(-1)
        action = at_once.reshape(-1)
        step, embedding = recurrent_fn(action, over(lambda table: xp.take(table, parent), nodes.embeddings))
        nodes.evaluate(node, step.value, step.reward, step.discount)
        nodes.expand(node, step.prior_logits, embedding)
        nodes.fan_out(roots, parent * actions + action, node)
        passed = xp.concat([roots, node])
        first, others = selection(nodes.statistics(passed), batch, min(done, num_simulations - 1))
        nodes.choose(passed, xp.concat([first, others[batch:]]))
    for simulation in range(done, num_simulations):
        path = nodes.descend(roots, depths[simulation])
        node = nodes.child(path, roots + (simulation + 1))
        parent = path.parent
        embedding = over(lambda table, parent=parent: xp.take(table, parent), nodes.embeddings)
        step, embedding = recurrent_fn(path.edges[-1] - parent * actions, embedding)
        nodes.evaluate(node, step.value, step.reward, step.discount)
        nodes.expand(node, step.prior_logits, embedding)
        nodes.back_up(path, node)
        if simulation + 1 < num_simulations:
            passed = xp.concat([path.nodes.reshape(-1), node])
            first, others = selection(nodes.statistics(passed), batch, simulation + 1)
            chosen = xp.concat([first, others[batch:]])
            if path.stays is not None:  # a root that stayed is among the others once more
                at_root = passed.reshape(-1, batch) == roots
                chosen = xp.where(at_root, first, chosen.reshape(-1, batch)).reshape(-1)
            nodes.choose(passed, chosen)
    return nodes


def finished(nodes: Nodes, batch: int) -> Tree:
    """The trees of a search, in mctx's arrays."""
    xp, actions = nodes.xp, nodes.actions
    count = xp.sizes(nodes.visits)[0] // batch
    offset = (xp.index_range(batch, nodes.visits) * count)[:, None]  # [B, 1]
    child = nodes.children  # [B * N * A]
    visited = child >= 0
    at = xp.where(visited, child, 0)

    def of_child(table: Array) -> Array:
        return xp.where(visited, xp.take(table, at), 0).reshape(batch, count, actions)

    def within(index: Array) -> Array:
        index = index.reshape(batch, -1)
        return xp.where(index < 0, index, index - offset)

    hangs = nodes.edges >= 0  # -1 // A is 0 in an exported graph
    parents = xp.where(hangs, nodes.edges // actions, NO_PARENT)
    action_from_parent = xp.where(hangs, nodes.edges - parents * actions, NO_PARENT)
    return Tree(
        node_visits=xp.as_count(nodes.visits.reshape(batch, count)),
        raw_values=nodes.raw_values.reshape(batch, count),
        node_values=nodes.values.reshape(batch, count),
        parents=within(parents),
        action_from_parent=action_from_parent.reshape(batch, count),
        children_index=within(child).reshape(batch, count, actions),
        children_prior_logits=nodes.prior_logits.reshape(batch, count, actions),
        children_visits=xp.as_count(nodes.child_visits.reshape(batch, count, actions)),
        children_rewards=of_child(nodes.rewards),
        children_discounts=of_child(nodes.discounts),
        children_values=of_child(nodes.values),
        embeddings=over(lambda table: table.reshape(batch, count, *xp.sizes(table)[1:]), nodes.embeddings),
    )


def masked_logits(logits: Array, invalid_actions: Array | None) -> Array:
    """Logits [B, A] with no mass on invalid actions (mask [B, A]), finite even where none is valid."""
    if invalid_actions is None:
        return logits
    xp = arrays_of(logits)
    return xp.where(invalid_actions > 0, LEAST, logits - xp.max(logits))


LEAST = -3.4028234663852886e38  # float32


def masked_argmax(scores: Array, invalid_actions: Array | None) -> Array:
    """The best valid action [B]; the first of equals, 0 where none is valid."""
    xp = arrays_of(scores)
    if invalid_actions is not None:
        scores = xp.where(invalid_actions > 0, float("-inf"), scores)
    return xp.argmax(scores)
