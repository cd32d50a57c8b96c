"""One plan of each planner, as a function that says how long it took.

What is timed: ONNX Runtime, ``InferenceSession.run`` alone; the reference tree, a whole search from the root's latent,
its calls of the model's ONNX graph included; mctx, the jitted policy until its action is there.
Shape letters: L numbers of a latent, A action dimensions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter, perf_counter_ns
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from robot_wm.search.flat import FlatConfig, FlatPlanner
from robot_wm.search.gumbel import gumbel_muzero_policy
from robot_wm.search.halving import HalvingConfig, HalvingPlanner
from robot_wm.search.nodes import RecurrentOutput
from robot_wm.search.plan import PlanOutput
from robot_wm.search.sampled import SearchConfig
from robot_wm.search.tree import RootOutput
from robot_wm_bench.search.graphs import ModelStep, Root, WholeTree, graph_of, session_of
from robot_wm_bench.search.models import BenchModel

ROOTS = 64  # different ones, one after the other and from the start again

Plan = Callable[[int], int]  # number of the plan -> ns


@dataclass(frozen=True)
class Timed:
    """What is timed, and how it is told."""

    planner: str
    engine: str
    plan: Plan
    candidates: int
    simulations: int  # of the model from the root: rollouts of a planner, simulations of a tree
    depth: int
    nodes: int | None = None  # of the ONNX graph
    build_s: float | None = None  # export and session together


@dataclass(frozen=True)
class Unrolled:
    """A planner or a whole search as one ONNX graph."""

    planner: str
    candidates: int
    simulations: int
    depth: int
    model: onnx.ModelProto
    discrete: bool
    export_s: float

    def values(self) -> dict[str, NDArray[np.float32]]:
        """Random roots and noise by the names of the graph's inputs, [ROOTS, *shape]."""
        rng = np.random.default_rng(0)

        def drawn(name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
            shape = (ROOTS, *shape)
            if name == "latent":
                return rng.random(shape, dtype=np.float32)
            return (rng.gumbel(size=shape) if self.discrete else rng.normal(size=shape)).astype(np.float32)

        shapes = {
            entry.name: tuple(axis.dim_value for axis in entry.type.tensor_type.shape.dim)
            for entry in self.model.graph.input
        }
        return {name: drawn(name, shape) for name, shape in shapes.items()}


def planner_graph(made: BenchModel, kind: str, candidates: int, depth: int) -> Unrolled:
    """A flat or halving planner."""
    planner: FlatPlanner | HalvingPlanner
    if kind == "flat":
        planner = FlatPlanner(made.model, FlatConfig(candidates=candidates, depth=depth))
    else:
        planner = HalvingPlanner(made.model, HalvingConfig(candidates=candidates, depth=depth))
    begin_s = perf_counter()
    graph = graph_of(planner, {"latent": (1, made.latent), "noise/plan": planner.noise_shape}, PlanOutput._fields)
    took_s = perf_counter() - begin_s
    return Unrolled(kind, candidates, planner.noise_shape[1], depth, graph, made.model.discrete, took_s)


def whole_tree_graph(made: BenchModel, simulations: int, depth: int) -> Unrolled:
    """The sampled search of a discrete model."""
    config = SearchConfig(num_simulations=simulations, max_depth=depth)
    begin_s = perf_counter()
    shapes = {"latent": (1, made.latent), "noise/gumbel": (1, made.model.action_dim)}
    graph = graph_of(WholeTree(made.model, config), shapes, WholeTree.OUTPUTS)
    candidates = min(made.model.action_dim, simulations)
    return Unrolled("whole_tree", candidates, simulations, depth, graph, True, perf_counter() - begin_s)


def session_plan(unrolled: Unrolled, threads: int) -> Timed:
    """The graph in ONNX Runtime."""
    begin_s = perf_counter()
    session = session_of(unrolled.model, threads)
    build_s = unrolled.export_s + perf_counter() - begin_s
    values = unrolled.values()
    feeds = [{name: value[index] for name, value in values.items()} for index in range(ROOTS)]

    def plan(number: int) -> int:
        feed = feeds[number % ROOTS]
        begin_ns = perf_counter_ns()
        session.run(None, feed)
        return perf_counter_ns() - begin_ns

    return Timed(
        unrolled.planner, "onnxruntime", plan, unrolled.candidates, unrolled.simulations, unrolled.depth,
        len(unrolled.model.graph.node), build_s,
    )  # fmt: skip


def reference_plan(made: BenchModel, simulations: int, depth: int, threads: int) -> Timed:
    """The reference tree in NumPy, equal to mctx's, over the ONNX graph of a discrete model."""
    actions, latent = made.model.action_dim, made.latent
    considered = min(actions, simulations, 16)
    steps = {
        rows: session_of(
            graph_of(ModelStep(made.model), {"latent": (rows, latent), "action": (rows, actions)}, ModelStep.OUTPUTS),
            threads,
        )
        for rows in {1, considered}
    }
    root = session_of(graph_of(Root(made.model), {"latent": (1, latent)}, Root.OUTPUTS), threads)
    one_hot = np.eye(actions, dtype=np.float32)

    def recurrent(action: NDArray[Any], embedding: NDArray[Any]) -> tuple[RecurrentOutput, NDArray[Any]]:
        feed = {"latent": embedding, "action": one_hot[action]}
        after, reward, discount, logits, value = steps[len(action)].run(None, feed)
        return RecurrentOutput(reward, discount, logits, value), after

    rng = np.random.default_rng(0)
    latents = rng.random((ROOTS, 1, latent), dtype=np.float32)
    gumbel = rng.gumbel(size=(ROOTS, 1, actions)).astype(np.float32)

    def plan(number: int) -> int:
        at = number % ROOTS
        begin_ns = perf_counter_ns()
        logits, value = root.run(None, {"latent": latents[at]})
        gumbel_muzero_policy(
            RootOutput(logits, value, latents[at]),
            recurrent,
            simulations,
            max_depth=depth,
            gumbel=gumbel[at],
            max_num_considered_actions=considered,
            batch_first_round=True,
        )
        return perf_counter_ns() - begin_ns

    return Timed("tree", "numpy+onnxruntime", plan, considered, simulations, depth)
