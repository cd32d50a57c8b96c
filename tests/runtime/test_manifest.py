"""The manifest says the same after a round trip, and contradicts itself nowhere."""

from __future__ import annotations

import json

import numpy as np
import pytest

from robot_wm.errors import UserError
from robot_wm.runtime.manifest import Manifest, StateTensor, json_lineage


@pytest.fixture
def manifest(make_agent, make_spec) -> Manifest:
    return make_agent(make_spec()).manifest


def test_round_trip(manifest):
    again = Manifest.from_json(manifest.to_json())
    assert again == manifest
    assert again.to_json() == manifest.to_json()


def test_tensors_come_in_the_order_of_the_graph(manifest):
    assert [tensor.name for tensor in manifest.inputs()] == [
        "obs/joint_position",
        "obs/gyro",
        "obs/last_action",
        "is_first",
        "state/deter",
        "state/stoch",
        "state/action",
        "noise/latent",
        "noise/action",
    ]
    assert manifest.inputs()[0].shape == (1, 6)  # three frames of two joints
    assert [tensor.name for tensor in manifest.all_outputs()][-3:] == ["next/deter", "next/stoch", "next/action"]


def test_initial_state_is_one_value_or_one_an_element():
    tensor = {"name": "s", "input": "state/s", "output": "next/s", "shape": (1, 2, 2)}
    assert np.array_equal(StateTensor(**tensor).initial_array(), np.zeros((1, 2, 2), np.float32))
    four = StateTensor(**tensor, initial=(1, 2, 3, 4)).initial_array()
    assert np.array_equal(four, np.float32([[[1, 2], [3, 4]]]))
    four[:] = 9  # the caller's own
    with pytest.raises(ValueError, match="3 initial values"):
        StateTensor(**tensor, initial=(1, 2, 3))


def _set(*path, value):
    def change(body):
        for key in path[:-1]:
            body = body[key]
        body[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "naming"),
    [
        (_set("schema_version", value=2), "schema_version"),
        (_set("kind", value="other"), "kind"),
        (_set("spec_sha256", value="0" * 64), "spec_sha256"),
        (_set("spec", "action", "scale", value=[0.26, -0.5]), "spec_sha256"),
        (_set("spec", "action", "joints", value=["elbow", "shoulder"]), "spec_sha256"),
        (_set("files", "../evil", value={"sha256": "0" * 64, "size_bytes": 1}), "files"),
        (_set("files", "manifest.json", value={"sha256": "0" * 64, "size_bytes": 1}), "manifest.json"),
        (_set("files", "PARITY.npz", value={"sha256": "0" * 64, "size_bytes": 1}), "case"),
        (_set("files", "x.bin", value={"sha256": "0" * 64, "size_bytes": 10**12}), "size_bytes"),
        (_set("files", "x.bin", value={"sha256": "0" * 63, "size_bytes": 1}), "sha256"),
        (_set("state", 0, "shape", value=[1, 10**10]), "state"),
        (_set("state", 0, "shape", value=[2, 4]), "batch axis"),
        (_set("state", 0, "input", value="state/stoch"), "not unique"),
        (_set("state", 0, "output", value="action"), "not unique"),
        (_set("state", 0, "initial", value=[float("inf")]), "initial"),
        (_set("outputs", 0, "shape", value=[1, 3]), "action must have shape"),
        (_set("outputs", 1, "name", value="values"), "value must have shape"),
        (_set("parity", "ticks", value=10**9), "parity.ticks"),
        (_set("parity", "thresholds", "tolerance", value=0), "tolerance"),
        (_set("surplus", value=1), "surplus"),
    ],
)
def test_contradictions_are_refused(manifest, change, naming):
    body = json.loads(manifest.to_json())
    change(body)
    with pytest.raises(UserError, match=naming) as caught:
        Manifest.from_json(json.dumps(body).encode(), origin="bundle: manifest.json")
    assert str(caught.value).startswith("bundle: manifest.json: ")


def test_both_needed_files_must_be_listed(manifest):
    for name in ("parity.npz", "policy.op17.onnx"):
        body = json.loads(manifest.to_json())
        del body["files"][name]
        with pytest.raises(UserError, match=name):
            Manifest.from_json(json.dumps(body).encode())


def test_a_renamed_topic_is_the_same_agent(manifest):
    body = json.loads(manifest.to_json())
    body["spec"]["observations"][0]["topic"] = "/left/joint_states"
    assert Manifest.from_json(json.dumps(body).encode()).spec_sha256 == manifest.spec_sha256


def test_lineage_takes_what_json_can_hold():
    lineage = json_lineage({"git_commit": "abc", "steps": 5, "updates": 7, "evaluation": {"return_mean": 1.5}})
    assert lineage.model_dump()["updates"] == 7
    with pytest.raises(UserError, match="updates"):
        json_lineage({"updates": object()})
