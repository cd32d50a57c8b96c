"""Planners as ONNX graphs of opset 17: the same numbers, and neither control flow nor randomness inside."""

import io
import warnings

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from hand_models import Quadratic, Tabular, draw

from robot_wm.search.flat import FlatConfig, FlatPlanner
from robot_wm.search.halving import HalvingConfig, HalvingPlanner
from robot_wm.search.plan import PlanOutput


def exported(planner, latent):
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            planner,
            (latent, torch.zeros(planner.noise_shape)),
            buffer,
            dynamo=False,
            opset_version=17,
            input_names=["latent", "noise"],
            output_names=list(PlanOutput._fields),
        )
    return onnx.load_from_string(buffer.getvalue())


@pytest.mark.parametrize("planner", ["flat", "flat, best", "halving"])
@pytest.mark.parametrize("kind", [Tabular, Quadratic], ids=["discrete", "continuous"])
@torch.no_grad()
def test_an_exported_planner_is_the_planner(planner, kind):
    model = kind()
    made = {
        "flat": lambda: FlatPlanner(model, FlatConfig(interior=0.5)),
        "flat, best": lambda: FlatPlanner(model, FlatConfig(temperature=0.0)),
        "halving": lambda: HalvingPlanner(model, HalvingConfig()),
    }[planner]()
    width = model.states if model.discrete else model.action_dim
    graph = exported(made, torch.zeros(1, width))
    operators = {node.op_type for node in graph.graph.node}
    assert not operators & {"Loop", "If", "Scan"}
    assert not any(operator.startswith(("Random", "Multinomial", "Bernoulli")) for operator in operators)
    session = ort.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    different = set()
    for seed in range(20):
        latent = model.root(seed % 5) if model.discrete else draw((1, width), seed=seed, discrete=False)
        noise = draw(made.noise_shape, seed=seed, discrete=model.discrete)
        found = session.run(None, {"latent": latent.numpy(), "noise": noise.numpy()})
        for name, expected, array in zip(PlanOutput._fields, made(latent, noise), found, strict=True):
            assert array.dtype == np.float32
            np.testing.assert_allclose(array, expected.numpy(), rtol=1e-5, atol=1e-5, err_msg=name)
        different.add(found[0].tobytes())
    assert len(different) > 1
