"""The nodes of many search trees in flat arrays: descend, expand, back up, for NumPy and torch alike.

A node's choice among its actions depends on its own statistics alone, and those change only when a simulation passes.
So each node keeps the choice it would make now, and the node that leads to; a descent is then a walk along pointers,
and a simulation computes the choices of the nodes it passed, all at once.

Shape letters: T trees that take part, N nodes of a tree, M all nodes (trees x N), A actions, D depth of a descent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from robot_wm.search.arrays import Array, Arrays, arrays_of, softmax
from robot_wm.search.qtransforms import NodeStatistics

UNVISITED = -1
NO_PARENT = -1
Embedding = Array | tuple[Array, ...]  # [T, ...] what a model continues from, of any type


class RecurrentOutput(NamedTuple):
    """What a model says of an action, mctx's RecurrentFnOutput."""

    reward: Array  # [T] of the transition
    discount: Array  # [T] between that reward and the value; 0 where the episode ends
    prior_logits: Array  # [T, A] where the action led
    value: Array  # [T] there


RecurrentFn = Callable[[Array, Embedding], tuple[RecurrentOutput, Embedding]]  # (action [T], embedding) -> …


class Path(NamedTuple):
    """One simulation's way down, as long for all trees: a tree that ends earlier stays at its last node."""

    nodes: Array  # [D, T]
    edges: Array  # [D, T] taken from them
    parent: Array  # [T] the last node
    action: Array  # [T] taken there: to a new node, or (at the greatest depth) perhaps to a known one


class Nodes:
    """Flat arrays of M nodes: the index of a node is its place in them, whatever its tree.

    Args: ``count`` nodes M, ``actions`` A; ``like`` is an array of the type and device of all floats; ``embedding`` one
    of the model's, whose first axis is any length.
    """

    def __init__(self, count: int, actions: int, *, like: Array, embedding: Embedding) -> None:
        self.xp: Arrays = arrays_of(like)
        self.actions = actions
        self.visits, self.values, self.raw_values, self.rewards, self.discounts = (
            self.xp.full((count,), 0.0, like)
            for _ in range(5)  # [M]
        )
        self.parents, self.action_from_parent, self.choices = (
            self.xp.full_index((count,), NO_PARENT, like)
            for _ in range(3)  # [M]
        )
        self.following = self.xp.full_index((count,), 0, like)  # [M] where the choice leads; here, if nowhere yet
        self.prior_logits, self.prior_probs = (self.xp.full((count, actions), 0.0, like) for _ in range(2))  # [M, A]
        self.children = self.xp.full_index((count * actions,), UNVISITED, like)  # [M * A]
        self.child_visits, self.child_qvalues = (self.xp.full((count * actions,), 0.0, like) for _ in range(2))
        self.embeddings = over(lambda part: self.xp.full((count, *part.shape[1:]), 0, part), embedding)

    def descend(self, roots: Array, most: int) -> Path:
        """From roots [T] along the choices until an action never taken, but at most ``most`` edges deep."""
        nodes = [roots]
        for _ in range(most - 1):
            below = self.xp.take(self.following, nodes[-1])
            if self.xp.all_same(below, nodes[-1]):
                break
            nodes.append(below)
        path = self.xp.stack(nodes)
        actions = self.xp.take(self.choices, path)
        return Path(path, path * self.actions + actions, nodes[-1], actions[-1])

    def child(self, path: Path, fresh: Array) -> Array:
        """The node [T] that a path ends in: a known one, else the ``fresh`` [T]."""
        known = self.xp.take(self.children, path.edges[-1])
        return self.xp.where(known < 0, fresh, known)

    def evaluate(self, node: Array, value: Array, reward: Array, discount: Array) -> None:
        """Write what the model says of nodes [T] and of the way there; a known node starts from its raw value again."""
        xp = self.xp
        self.raw_values = xp.put(self.raw_values, node, value)
        self.values = xp.put(self.values, node, value)
        self.visits = xp.put(self.visits, node, xp.take(self.visits, node) + 1)
        self.rewards = xp.put(self.rewards, node, reward)
        self.discounts = xp.put(self.discounts, node, discount)

    def expand(self, node: Array, prior_logits: Array, embedding: Embedding) -> None:
        """Write what is needed to go on from nodes [T]."""
        xp = self.xp
        self.prior_logits = xp.put(self.prior_logits, node, prior_logits)
        self.prior_probs = xp.put(self.prior_probs, node, softmax(prior_logits))
        self.following = xp.put(self.following, node, node)
        self.embeddings = over(lambda table, rows: xp.put(table, node, rows), self.embeddings, embedding)

    def attach(self, path: Path, node: Array) -> None:
        """Hang nodes [T] below the paths' ends."""
        xp = self.xp
        self.parents = xp.put(self.parents, node, path.parent)
        self.action_from_parent = xp.put(self.action_from_parent, node, path.action)
        self.children = xp.put(self.children, path.edges[-1], node)

    def back_up(self, path: Path, node: Array) -> None:
        """Count the value of nodes [T] into the means of all nodes on the way there."""
        xp = self.xp
        depth = path.nodes.shape[0]
        below = node[None]  # [D, T] where each edge leads
        rewards, discounts = xp.take(self.rewards, below), xp.take(self.discounts, below)
        if depth > 1:
            stays = path.nodes[1:] == path.nodes[:-1]  # [D - 1, T] the descent had ended before
            earlier = path.nodes[1:]
            rewards = xp.concat([xp.where(stays, 0.0, xp.take(self.rewards, earlier)), rewards])
            discounts = xp.concat([xp.where(stays, 1.0, xp.take(self.discounts, earlier)), discounts])
            below = xp.concat([xp.where(stays, node, earlier), below])
        returns = [xp.take(self.values, node)]
        for at in reversed(range(depth)):
            returns.append(rewards[at] + discounts[at] * returns[-1])
        passed = xp.stack(returns[:0:-1])  # [D, T] from each node of the path on
        visits = xp.take(self.visits, path.nodes)
        self.values = xp.put(
            self.values, path.nodes, (xp.take(self.values, path.nodes) * visits + passed) / (visits + 1)
        )
        self.visits = xp.put(self.visits, path.nodes, visits + 1)
        self.child_visits = xp.put(self.child_visits, path.edges, xp.take(self.visits, below))
        self.child_qvalues = xp.put(self.child_qvalues, path.edges, self._qvalues(below))

    def _qvalues(self, node: Array) -> Array:
        """Of the edges that lead to nodes [...]."""
        take = self.xp.take
        return take(self.rewards, node) + take(self.discounts, node) * take(self.values, node)

    def statistics(self, node: Array) -> NodeStatistics:
        """Of nodes [P]."""
        take = self.xp.take
        return NodeStatistics(
            visit_counts=take(self.child_visits.reshape(-1, self.actions), node),
            qvalues=take(self.child_qvalues.reshape(-1, self.actions), node),
            prior_logits=take(self.prior_logits, node),
            prior_probs=take(self.prior_probs, node),
            node_visits=take(self.visits, node)[:, None],
            node_values=take(self.values, node)[:, None],
            raw_values=take(self.raw_values, node)[:, None],
        )

    def choose(self, node: Array, action: Array) -> None:
        """Set the choices [P] of nodes [P]."""
        xp = self.xp
        self.choices = xp.put(self.choices, node, action)
        known = xp.take(self.children, node * self.actions + action)
        self.following = xp.put(self.following, node, xp.where(known < 0, node, known))


def over(function: Callable[..., Array], *embeddings: Embedding) -> Embedding:
    """Apply a function to an embedding's array, or to each of them."""
    if isinstance(embeddings[0], tuple):
        return tuple(function(*parts) for parts in zip(*embeddings, strict=True))
    return function(*embeddings)
