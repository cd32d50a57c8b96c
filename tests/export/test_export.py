"""A whole export: what is in the bundle, that it verifies, and that it is never changed."""

from __future__ import annotations

import json
import shutil
import zipfile

import numpy as np
import pytest
import torch

from robot_wm.errors import UserError
from robot_wm.runtime.bundle import Bundle
from robot_wm.runtime.bundle_writer import write_zip
from robot_wm.runtime.manifest import MANIFEST, MODEL_CARD, PARITY, POLICY, POLICY_OP17, SIGNATURE
from robot_wm.runtime.onnx_engine import OnnxEngine
from robot_wm.runtime.parity import check_parity
from robot_wm.runtime.parity_recording import write_recording
from robot_wm.runtime.signature import generate_key
from robot_wm_export.export import export_agent, summary


def test_what_an_export_holds(exported, proprio):
    assert {path.name for path in exported.path.iterdir()} == {MANIFEST, MODEL_CARD, PARITY, POLICY, POLICY_OP17}
    manifest = json.loads((exported.path / MANIFEST).read_text())
    assert manifest["schema_version"] == 2
    assert manifest["kind"] == "dreamer"
    assert manifest["spec_sha256"] == proprio.spec.content_hash()
    assert manifest["lineage"]["git_commit"] == "abc"
    assert manifest["lineage"]["steps"] == 7
    assert [state["name"] for state in manifest["state"]] == ["deter", "stoch", "action"]
    assert [draw["drawn"] for draw in manifest["draws"]] == ["next/stoch"]
    assert manifest["surprise_unit"] == "nats"
    assert set(manifest["parity"]["results"]) == {POLICY, POLICY_OP17}
    with np.load(exported.path / PARITY, allow_pickle=False) as arrays:
        assert {"in/obs/position", "in/is_first", "in/state/deter", "out/action", "out/next/deter"} <= set(arrays)
        assert all(len(arrays[name]) == 256 for name in arrays)


@pytest.mark.parametrize("name", [POLICY, POLICY_OP17])
def test_both_graphs_reproduce_the_recording_on_the_robots_engine(exported, name):
    bundle = Bundle.open(exported.path)
    engine = OnnxEngine(bundle.read(name), bundle.manifest.state)
    engine.activate()
    found = check_parity(engine, bundle)
    if name == POLICY_OP17:
        assert max(found.largest_error.values()) <= 1e-6  # it is what made the recording


def test_signed_zipped_and_the_same_each_time(proprio, exported, tmp_path):
    public = generate_key(tmp_path / "robot.pem")
    reports = [
        export_agent(
            proprio.agent,
            proprio.spec,
            proprio.rollout,
            {"steps": 7},
            tmp_path / name / "agent.rwm",
            tmp_path / "robot.pem",
            make_zip=True,
            profiles=(POLICY_OP17,),
        )
        for name in ("one", "two")
    ]
    one, two = (report.zip_path.read_bytes() for report in reports)
    assert one == two
    assert reports[0].signed
    for path in (reports[0].path, reports[0].zip_path):
        with Bundle.open(path, public) as bundle:
            assert bundle.signature_checked
    with zipfile.ZipFile(reports[0].zip_path) as archive:
        assert archive.namelist() == [MANIFEST, SIGNATURE, MODEL_CARD, PARITY, POLICY_OP17]
        assert archive.testzip() is None
    with pytest.raises(UserError, match="not signed"):
        Bundle.open(exported.path, public)


def test_a_bundle_is_never_overwritten(exported, proprio):
    before = (exported.path / MANIFEST).read_bytes()
    with pytest.raises(UserError, match="exists"):
        export_agent(proprio.agent, proprio.spec, proprio.rollout, {}, exported.path)
    assert (exported.path / MANIFEST).read_bytes() == before
    path = write_zip(exported.path)
    with pytest.raises(UserError, match="exists"):
        write_zip(exported.path)
    path.unlink()


def test_of_two_exports_to_one_name_the_one_that_is_first_stays(proprio, exported, out, monkeypatch):
    given = (proprio.agent, proprio.spec, proprio.rollout, {}, out)

    def come_between(path, recording):
        write_recording(path, recording)
        if not out.exists():
            shutil.copytree(exported.path, out)

    monkeypatch.setattr("robot_wm.runtime.bundle_writer.write_recording", come_between)
    with pytest.raises(UserError, match=r"agent\.rwm: has come into being meanwhile"):
        export_agent(*given, profiles=(POLICY_OP17,))
    assert (out / MANIFEST).read_bytes() == (exported.path / MANIFEST).read_bytes()
    assert list(out.parent.iterdir()) == [out]


def test_bad_arguments_leave_nothing_behind(proprio, out, tmp_path):
    (tmp_path / "bad.pem").write_text("not a key")
    cases = {
        "not an unencrypted": {"sign_key": tmp_path / "bad.pem"},
        "cannot read the key": {"sign_key": tmp_path / "missing.pem"},
        "lineage": {"lineage": {"config": torch.zeros(1)}},
        "ends in .rwm": {"out": tmp_path / "agent"},
    }
    for naming, change in cases.items():
        given = {"lineage": {}, "out": out, "sign_key": None} | change
        with pytest.raises(UserError, match=naming):
            export_agent(proprio.agent, proprio.spec, proprio.rollout, **given)
    assert [path.name for path in tmp_path.iterdir()] == ["bad.pem"]


def test_an_agent_that_is_not_finite_is_not_exported(make_case, out):
    case = make_case("proprio")
    with torch.no_grad():
        case.agent.actor.out.bias[1] = float("nan")
    with pytest.raises(UserError, match=r"action\[0,1\]"):
        export_agent(case.agent, case.spec, case.rollout, {}, out, profiles=(POLICY_OP17,))
    assert not list(out.parent.iterdir())


def test_summary_says_what_was_written(exported):
    text = summary(exported)
    assert text["bundle"] == str(exported.path)
    assert [row["graph"] for row in text["rows"]] == [POLICY_OP17, POLICY]
    assert all(row["largest_error"] < 1e-4 for row in text["rows"])
    json.dumps(text)
