"""`robot-wm bench search`: its rows, its options, and that what it times plans at all."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
import torch

from robot_wm.errors import UserError
from robot_wm.search.flat import FlatConfig, FlatPlanner
from robot_wm.search.plan import PlanOutput
from robot_wm_bench.search.command import bench_search
from robot_wm_bench.search.graphs import ModelStep, graph_of, session_of
from robot_wm_bench.search.models import bench_model

FIELDS = {"model", "planner", "candidates", "simulations", "depth", "engine", "median_ms", "p99_ms"}


def bench(capsys, **settings) -> dict:
    bench_search(plans=3, threads=1, json=True, **settings)
    return json.loads(capsys.readouterr().out)


def test_planners_and_models_are_chosen(capsys):
    result = bench(capsys, models="plain", planners="flat,halving,tree", candidates="2,3", depth=2, simulations=4)
    rows = result["rows"]
    assert (result["threads"], result["plans"]) == (1, 3)
    assert all(row.keys() >= FIELDS and 0.0 < row["least_ms"] <= row["median_ms"] <= row["p99_ms"] for row in rows)
    assert [(row["planner"], row["candidates"], row["simulations"], row["depth"], row["engine"]) for row in rows] == [
        ("flat", 2, 2, 2, "onnxruntime"),
        ("flat", 3, 3, 2, "onnxruntime"),
        ("halving", 2, 2, 2, "onnxruntime"),
        ("tree", 4, 4, 2, "numpy+onnxruntime"),
    ]
    (row,) = bench(capsys, models="nano", planners="flat,tree", candidates="2", depth=1)["rows"]
    assert (row["model"], row["planner"]) == ("nano", "flat")  # a tree needs discrete actions


def test_a_whole_tree_is_one_graph_and_says_how_long_it_took_to_build(capsys):
    (row,) = bench(capsys, models="plain", planners="flat", candidates="2", depth=1)["rows"]
    assert row["nodes"] > 10
    *_, row = bench(capsys, models="plain", planners="flat", candidates="2", depth=2, whole_tree=4)["rows"]
    assert (row["planner"], row["engine"], row["simulations"]) == ("whole_tree", "onnxruntime", 4)
    assert row["build_s"] > 0.0


def test_tensorrt_is_given_the_graphs_and_different_roots(capsys, monkeypatch):
    from robot_wm_bench.search import on_tensorrt

    asked = []

    def answered(graph, inputs, **settings):
        with np.load(inputs["frames"]) as frames:
            values = dict(frames)
        asked.append((onnx.load(graph), values, settings))
        row = {"p50_us": 90.0, "p99_us": 120.0, "build_s": 2.0, "matrices": None, "graph_error": None}
        return [{"cuda_graph": True, **row}, {"cuda_graph": False, **row}]

    monkeypatch.setattr(on_tensorrt, "tensorrt_rows", answered)
    rows = bench(
        capsys, models="plain", planners="flat", candidates="2", depth=1, whole_tree=4, engines="tensorrt", matrices=0
    )["rows"]
    assert [(row["planner"], row["engine"], row["median_ms"]) for row in rows] == [
        (planner, f"tensorrt, {way}", pytest.approx(0.09))
        for planner in ("flat", "whole_tree")
        for way in ("one CUDA graph", "call by call")
    ]
    for model, values, settings in asked:
        assert {entry.name for entry in model.graph.input} == values.keys()
        assert all(len(np.unique(value.reshape(len(value), -1), axis=0)) > 32 for value in values.values())
        assert settings == {"precision": "fp32", "ticks": 3, "matrices": 0, "python": None}


@torch.no_grad()
def test_what_is_timed_is_the_planner():
    made = bench_model("muzero")
    planner = FlatPlanner(made.model, FlatConfig(candidates=4, depth=2))
    graph = graph_of(planner, {"latent": (1, 128), "noise/plan": planner.noise_shape}, PlanOutput._fields)
    latent, noise = torch.rand(1, 128), torch.randn(planner.noise_shape)
    found = session_of(graph, 1).run(None, {"latent": latent.numpy(), "noise/plan": noise.numpy()})
    for array, expected in zip(found, planner(latent, noise), strict=True):
        np.testing.assert_allclose(array, expected.numpy(), rtol=1e-4, atol=1e-4)
    assert planner(latent, noise).scores.std() > 1e-3  # random weights tell candidates apart


@torch.no_grad()
def test_the_trees_model_is_the_planners():
    made = bench_model("plain")
    graph = graph_of(ModelStep(made.model), {"latent": (2, 128), "action": (2, 16)}, ModelStep.OUTPUTS)
    latent, action = torch.rand(2, 128), torch.eye(16)[[3, 5]]
    found = session_of(graph, 1).run(None, {"latent": latent.numpy(), "action": action.numpy()})
    after, reward, discount, prediction = made.model.step(latent, action)
    for array, expected in zip(
        found, (after, reward, discount, prediction.policy.first, prediction.value), strict=True
    ):
        np.testing.assert_allclose(array, expected.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "naming"),
    [
        ({"models": "giant"}, "giant"),
        ({"planners": "oracle"}, "oracle"),
        ({"engines": "abacus"}, "--engines: 'abacus' is none of onnxruntime, tensorrt"),
        ({"candidates": "16,many"}, "many"),
        ({"models": "plain", "candidates": "1"}, "candidates must be at least 2"),
        ({"models": "plain", "planners": "halving", "depth": 1}, "depth must be at least 2"),
    ],
)
def test_bad_options_are_one_line(settings, naming):
    with pytest.raises(UserError, match=naming):
        bench_search(**settings)


def test_mctx_plans_where_it_is_installed(capsys):
    pytest.importorskip("mctx")
    (row,) = bench(capsys, models="plain", planners="mctx", depth=1, simulations=2)["rows"]
    assert (row["planner"], row["engine"], row["simulations"]) == ("mctx", "jax", 2)
