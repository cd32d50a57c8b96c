"""The manifest says the same after a round trip, and contradicts itself nowhere."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from pydantic import ValidationError

from robot_wm.errors import UserError
from robot_wm.runtime.graph_tensors import StateTensor
from robot_wm.runtime.manifest import Manifest, json_lineage
from robot_wm.runtime.parity_section import MAX_RESOLUTION, Parity, ParityThresholds


@pytest.fixture
def manifest(make_agent, make_spec) -> Manifest:
    return make_agent(make_spec()).manifest


def test_round_trip(manifest):
    again = Manifest.from_json(manifest.to_json())
    assert again == manifest
    assert again.to_json() == manifest.to_json()


def test_without_a_monitor_there_is_no_key_that_an_older_reader_would_refuse(manifest):
    assert manifest.monitor is None
    assert "monitor" not in json.loads(manifest.to_json())


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


def test_a_shown_state_is_an_output_only_once(manifest):
    *others, action = manifest.state
    state = (*others, action.model_copy(update={"output": "action", "shown": True}))
    shown = Manifest.from_json(manifest.model_copy(update={"state": state}).to_json())
    assert shown.all_outputs() == tuple(tensor for tensor in manifest.all_outputs() if tensor.name != "next/action")


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


def _shown(name, output, *, again=False):
    def change(body):
        state = next(entry for entry in body["state"] if entry["name"] == name)
        state |= {"output": output, "shown": True}
        if again:
            body["state"].append(state | {"name": "again", "input": "state/again"})

    return change


@pytest.mark.parametrize(
    ("change", "naming"),
    [
        (
            _set("schema_version", value=1),
            "schema_version is 1, this robot_wm reads 2: an older .* export the agent again",
        ),
        (_set("schema_version", value=3), "schema_version is 3, this robot_wm reads 2: a newer .* update this one"),
        (_set("schema_version", value="2.0"), "schema_version"),
        (_set("kind", value="Other kind"), "kind"),
        (_set("surprise_unit", value="bit"), "surprise_unit"),
        (_set("draws", 0, "logits", value="logits"), "draw next/stoch: logits is none of the graph's outputs"),
        (_set("draws", 0, "noise", value="state/stoch"), "state/stoch is none of the graph's noise inputs"),
        (_set("draws", 0, "noise", value="noise/action"), "must have one shape"),
        (_set("draws", 0, "drawn", value="next/deter"), "next/deter: post_logits is computed before it, and itself is"),
        (_set("draws", 0, "before", value=["next/deter"]), "post_logits is computed before it"),
        (_set("draws", 0, "before", value=["post_logits", "nowhere"]), "nowhere is none of the graph's outputs"),
        (_set("draws", 0, "before", value=[]), "draws.0.before"),
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
        (_set("state", 2, "shown", value=True), "outputs must have next/action"),
        (_shown("deter", "action"), r"outputs must have action \(1, 4\)"),
        (_shown("stoch", "post_logits", again=True), "two states come from one output"),
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


RESULT = {
    "ticks": 256,
    "near_tie_ticks": 3,
    "largest_error": {"action": 0.01},
    "free_running_flips": 1,
    "free_running_draws": 512,
    "free_running_action_divergence": 0.1,
}
THRESHOLDS = {"tolerance": 0.01, "tensor_tolerance": {"value": 0.02}, "max_differing_draws": 0.05}


def with_fp16(manifest: Manifest, **thresholds) -> bytes:
    body = json.loads(manifest.to_json())
    body["files"]["policy.fp16.onnx"] = {"sha256": "0" * 64, "size_bytes": 1}
    body["parity"]["precisions"] = {"fp16": {"thresholds": THRESHOLDS | thresholds, "result": RESULT}}
    return json.dumps(body).encode()


def test_every_precision_has_its_own_thresholds(manifest):
    both = Manifest.from_json(with_fp16(manifest))
    assert Manifest.from_json(both.to_json()) == both
    assert both.thresholds("fp32") == both.parity.thresholds
    thresholds = both.thresholds("fp16")
    assert (thresholds.tolerance_of("action"), thresholds.tolerance_of("value")) == (0.01, 0.02)
    with pytest.raises(UserError, match="precision int8: the bundle has fp32, fp16; export it with --precision int8"):
        both.thresholds("int8")


@pytest.mark.parametrize(
    "thresholds",
    [
        {"tolerance": 0.11},
        {"tensor_tolerance": {"action": 0.2}},
        {"max_differing_draws": 0.2},
        {"tolerance": 1e9},
        {"min_logit_gap": 3.1},
        {"resolution": {"value": 4.1e6}},
    ],
)
def test_no_manifest_can_ask_for_less_than_the_bounds(manifest, thresholds):
    with pytest.raises(UserError, match=r"fp16 (may|has) (be off by|draw|min_logit_gap|a resolution of) .*; at most"):
        Manifest.from_json(with_fp16(manifest, **thresholds))


def test_what_nothing_has_learned_yet_is_within_the_bounds_of_its_resolution():
    """16 half-ulps of the largest bin of a critic, 4.85e8, by the precision's own relative half-ulp."""
    for precision, half_ulp in (("fp32", 2.0**-24), ("fp16", 2.0**-11), ("int8", 2.0**-8)):
        assert 0.9 < 16 * half_ulp * 4.85e8 / MAX_RESOLUTION[precision] < 1


def test_a_graph_and_its_thresholds_belong_together(manifest):
    for path in (("files", "policy.fp16.onnx"), ("parity", "precisions", "fp16")):
        body = json.loads(with_fp16(manifest))
        inner = body
        for key in path[:-1]:
            inner = inner[key]
        del inner[path[-1]]
        with pytest.raises(UserError, match=r"policy\.fp16\.onnx and parity\.precisions\.fp16 belong together"):
            Manifest.from_json(json.dumps(body).encode())


def test_lineage_takes_what_json_can_hold():
    lineage = json_lineage({"git_commit": "abc", "steps": 5, "updates": 7, "evaluation": {"return_mean": 1.5}})
    assert lineage.model_dump()["updates"] == 7
    with pytest.raises(UserError, match="updates"):
        json_lineage({"updates": object()})


@pytest.mark.parametrize(
    ("thresholds", "naming"),
    [
        ({"tolerance": 1e6}, "fp32 may be off by 1e+06; at most 0.01"),
        ({"tensor_tolerance": {"action": 0.02}}, "fp32 may be off by 0.02; at most 0.01"),
        ({"min_logit_gap": 1e3}, "fp32 has min_logit_gap 1000; at most 0.1"),
        ({"max_differing_draws": 1.0}, "fp32 may draw 1 otherwise; at most 0.1"),
        ({"resolution": {"value": 501.0}}, "fp32 has a resolution of 501; at most 500"),
        ({"resolution": {"action": 1e9}}, "fp32 has a resolution for action; only value, surprise may"),
        ({"resolution": {"next/deter": 1e9}}, "fp32 has a resolution for next/deter"),
    ],
)
def test_float32_has_bounds_too(thresholds, naming):
    with pytest.raises(ValidationError, match=re.escape(naming)):
        Parity(ticks=256, results={}, thresholds=ParityThresholds(**thresholds))


def test_what_an_export_writes_is_within_them():
    Parity(ticks=256, results={}, thresholds=ParityThresholds(tolerance=0.01, resolution={"value": 25.0}))
