"""The nodes of many search trees in flat arrays: descend, expand, back up, for NumPy and torch alike.

A node's choice among its actions depends on its own statistics alone, and those change only when a simulation passes.
So each node keeps the choice it would make now, and the node that leads to; a descent is then a walk along pointers,
and a simulation computes the choices of the nodes it passed, all at once.

Shape letters: T trees that take part, N nodes of a tree, M all nodes (trees x N), A actions, D depth of a descent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from robot_wm.search.array_library import arrays_of, softmax
from robot_wm.search.arrays import Array, Arrays
from robot_wm.search.qtransforms import NodeStatistics

UNVISITED = -1
NO_PARENT = -1
Embedding = Any  # an array [T, ...] of any type, what a model continues from; or (named) tuples or dicts of such


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
    edges: Array  # [D, T] taken from them, the last to a new node, or (at the greatest depth) perhaps to a known one
    stays: Array | None  # [D - 1, T] where the next node is the same; None where it never is
    parent: Array  # [T] the last node
    depth: int  # D


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
        self.edges = self.xp.full_index((count,), NO_PARENT, like)  # [M] that leads here
        self.choices = self.xp.full_index((count,), 0, like)  # [M] actions
        self.following = self.xp.index_range(count, like)  # [M] where the choice leads; here, if nowhere yet
        self.prior_logits = self.xp.full((count, actions), 0.0, like)  # [M, A]
        self.children = self.xp.full_index((count * actions,), UNVISITED, like)  # [M * A]
        self.child_visits, self.child_qvalues = (self.xp.full((count * actions,), 0.0, like) for _ in range(2))
        self.embeddings = over(lambda part: self.xp.full((count, *self.xp.sizes(part)[1:]), 0, part), embedding)

    def descend(self, roots: Array, most: int) -> Path:
        """From roots [T] along the choices until an action never taken, but at most ``most`` edges deep."""
        nodes, stays = [roots], []
        for _ in range(most - 1):
            below = self.xp.take(self.following, nodes[-1])
            same = below == nodes[-1]
            if self.xp.surely_all(same):
                break
            nodes.append(below)
            stays.append(same)
        moved = all(self.xp.surely_none(same) for same in stays)
        path = self.xp.stack(nodes)
        edges = path * self.actions + self.xp.take(self.choices, path)
        return Path(path, edges, None if moved else self.xp.stack(stays), nodes[-1], len(nodes))

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
        self.embeddings = over(lambda table, rows: xp.put(table, node, rows), self.embeddings, embedding)

    def back_up(self, path: Path, node: Array) -> Array:
        """Hang evaluated nodes [T] below the paths' ends, and count their values into the means of all on the way.

        Gives the returns [D, T] that were counted in, from each node of the paths on.
        """
        xp = self.xp
        self.edges = xp.put(self.edges, node, path.edges[-1])
        self.children = xp.put(self.children, path.edges[-1], node)
        below = node[None]  # [D, T] where each edge leads
        if path.depth > 1:
            earlier = path.nodes[1:]
            below = xp.concat([earlier if path.stays is None else xp.where(path.stays, node, earlier), below])
        rewards, discounts = xp.take(self.rewards, below), xp.take(self.discounts, below)
        value = xp.take(self.values, node)
        returns = [rewards[-1] + discounts[-1] * value]  # from each node on, the last first
        for at in reversed(range(path.depth - 1)):
            passed = rewards[at] + discounts[at] * returns[-1]
            returns.append(passed if path.stays is None else xp.where(path.stays[at], returns[-1], passed))
        counted = xp.stack(returns[::-1])
        visits = xp.take(self.visits, path.nodes)
        values = (xp.take(self.values, path.nodes) * visits + counted) / (visits + 1)
        self.values = xp.put(self.values, path.nodes, values)
        self.visits = xp.put(self.visits, path.nodes, visits + 1)
        self.child_visits = xp.put(self.child_visits, path.edges, xp.take(self.visits, below))
        self.child_qvalues = xp.put(self.child_qvalues, path.edges, rewards + discounts * xp.take(self.values, below))
        return counted

    def fan_out(self, roots: Array, edges: Array, node: Array) -> None:
        """Hang evaluated nodes [B * k] at edges [B * k] of roots [B] that had none, and count their values in."""
        xp = self.xp
        self.edges = xp.put(self.edges, node, edges)
        self.children = xp.put(self.children, edges, node)
        qvalues = xp.take(self.rewards, node) + xp.take(self.discounts, node) * xp.take(self.values, node)
        self.child_visits = xp.put(self.child_visits, edges, xp.take(self.visits, node))
        self.child_qvalues = xp.put(self.child_qvalues, edges, qvalues)
        of_root = qvalues.reshape(xp.sizes(roots)[0], -1)  # [B, k]
        visits = xp.sizes(of_root)[1] + 1.0
        values = (xp.take(self.values, roots) + xp.sum(of_root)[:, 0]) / visits
        self.values = xp.put(self.values, roots, values)
        self.visits = xp.put(self.visits, roots, xp.full(xp.sizes(roots), visits, values))

    def statistics(self, node: Array) -> NodeStatistics:
        """Of nodes [P]."""
        take = self.xp.take
        logits = take(self.prior_logits, node)
        return NodeStatistics(
            visit_counts=take(self.child_visits.reshape(-1, self.actions), node),
            qvalues=take(self.child_qvalues.reshape(-1, self.actions), node),
            prior_logits=logits,
            prior_probs=softmax(logits),
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
    """Apply a function to an embedding's array, or to each of its parts, of several embeddings of one kind."""
    first = embeddings[0]
    if isinstance(first, dict):
        return {name: over(function, *(embedding[name] for embedding in embeddings)) for name in first}
    if isinstance(first, tuple):
        parts = (over(function, *parts) for parts in zip(*embeddings, strict=True))
        return type(first)(*parts) if hasattr(first, "_fields") else tuple(parts)
    return function(*embeddings)
