"""`robot-wm engine`, and engines by name, from a bundle to an engine that passed its check; on an emulated GPU."""

from __future__ import annotations

import json
import shutil
import sys

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from planned import with_planner

from robot_wm.errors import UserError
from robot_wm.runtime import graph_trial
from robot_wm.runtime.bundle import Bundle
from robot_wm.runtime.bundle_graph import tick_graph
from robot_wm.runtime.engines import make_engine
from robot_wm.runtime.onnx_engine import OnnxEngine
from robot_wm.runtime.planning.load import load_planner
from robot_wm.runtime.signature import load_private_key
from robot_wm.runtime.start import start_controller
from robot_wm.runtime.trt import api
from robot_wm.runtime.trt.cache import EngineCache
from robot_wm.runtime.trt.choice import WAYS
from robot_wm.runtime.trt.command import app
from robot_wm.runtime.trt.engine import TensorRTEngine
from robot_wm.runtime.trt.options import BuildOptions
from robot_wm.runtime.trt.provide import engine_key, provide

pytestmark = pytest.mark.usefixtures("trt", "short_timing")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "engines"


@pytest.fixture
def run(folder, signed_bundle, capsys):
    """Run a command on the signed bundle; its JSON."""

    def call(command: str, *arguments: str):
        bundle = [] if command == "list" else [str(signed_bundle.folder)]
        app([command, *bundle, "--engine-dir", str(folder), "--json", *arguments])
        return json.loads(capsys.readouterr().out)

    return call


def test_build_says_what_it_made_and_that_it_is_right(run, folder, trt):
    made = run("build")
    assert made["built"] is True
    assert made["cuda_graph"] == "captured"
    assert (made["tensorrt"], made["gpu"], made["compute_capability"]) == ("8.6.0", "Emulated GPU", "8.7")
    assert made["parity_ticks"] == 256
    assert made["largest_error"] < 1e-6
    assert made["build_s"] > 0
    assert made["free_running_draws"] == 512
    assert {"free_running_flips", "free_running_action_divergence", "first_flip_tick"} <= set(made)
    assert made["engine_bytes"] == (folder / made["engine"]).stat().st_size
    assert len(trt.configs) == len(WAYS)
    again = run("build")
    assert again["built"] is False
    assert again["engine"] == made["engine"]
    assert len(trt.configs) == len(WAYS)
    (row,) = run("list")["rows"]
    assert row["path"] == made["engine"]
    assert row["key"]["precision"] == "fp32"


def test_a_planners_engine_is_built_checked_and_found_at_the_start(signed_bundle, folder, tmp_path, trt, capsys):
    key = load_private_key(signed_bundle.private_key)
    path = with_planner(signed_bundle.folder, tmp_path / "planned.rwm", sign_key=key)
    app(["build", str(path), "--planner", "--engine-dir", str(folder), "--json"])
    made = json.loads(capsys.readouterr().out)
    assert (made["built"], made["plans"], made["differing_plans"]) == (True, 256, 0)
    assert made["largest_error"] < 1e-6
    builds = len(trt.configs)
    with Bundle.open(path, signed_bundle.public_key) as planned:
        engine = load_planner(planned, kind="tensorrt", engine_dir=folder)
        assert isinstance(engine, TensorRTEngine)
        engine.deactivate()
        assert len(trt.configs) == builds
        provide(planned, folder=folder)  # the policy's is another one
        assert len(trt.configs) > builds
    for arguments, naming in (
        ([str(path), "--planner", "--precision", "fp16"], "--precision fp16: of the policy"),
        ([str(signed_bundle.folder), "--planner"], "the bundle has no planner; export it with --planner"),
    ):
        with pytest.raises(UserError, match=naming):
            app(["build", *arguments, "--engine-dir", str(folder)])


def test_key_tells_what_would_be_built_and_builds_nothing(run, folder):
    key = run("key")
    assert key["is_built"] is False
    assert key["driver"] == "CUDA 12040"
    assert key["shapes"]["is_first"] == [1]
    assert not folder.exists()
    run("build")
    assert run("key")["is_built"] is True
    other = run("key", "--workspace-mib", "64")
    assert other["is_built"] is False
    assert other["digest"] != key["digest"]


def test_options_reach_the_builder(run, trt):
    chosen = ("--workspace-mib", "64", "--optimization-level", "1", "--version-compatible", "--matrices", "2")
    run("build", *chosen)
    (config,) = trt.configs
    (row,) = run("list")["rows"]
    assert row["key"]["options"]["matrices"] == 2
    assert run("key", *chosen)["is_built"] is True
    assert config.flags == ["VERSION_COMPATIBLE"]
    assert config.limits == {"workspace": 64 * 2**20}
    assert config.builder_optimization_level == 1


def test_tables_for_people(signed_bundle, folder, capsys):
    for command, bundle in (("build", [str(signed_bundle.folder)]), ("key", [str(signed_bundle.folder)]), ("list", [])):
        app([command, *bundle, "--engine-dir", str(folder)])
    out = capsys.readouterr().out
    assert "largest_error" in out
    assert "Emulated GPU" in out
    assert "graph_sha256" in out


def wrong(graph: bytes) -> bytes:
    """A graph whose state grows by 1.001 a tick instead of 1."""
    model = onnx.load_from_string(graph)
    for weight in model.graph.initializer:
        if weight.name == "one":
            weight.CopyFrom(numpy_helper.from_array(np.float32([1.001]), "one"))
    return model.SerializeToString()


def test_an_engine_that_computes_something_else_is_removed_again(run, folder, trt):
    trt.finish = lambda build, plan: wrong(plan)
    with pytest.raises(UserError, match=r"does not compute what was exported.*the engine was removed from .*engines"):
        run("build")
    assert EngineCache(folder).all() == ()
    assert not list(folder.glob("*.plan"))


@pytest.mark.parametrize("chosen", [(), ("--matrices", "0")])  # of several, none is kept; the only one is removed
def test_a_plan_that_tensorrt_cannot_load_does_not_stay(run, folder, trt, chosen):
    trt.finish = lambda build, plan: b"rubbish"
    with pytest.raises(UserError, match="cannot load it: this is no plan"):
        run("build", *chosen)
    assert not list(folder.glob("*.plan"))


def test_bad_input_is_told(run, folder, signed_bundle):
    with pytest.raises(UserError, match="precision fp16: the bundle has fp32"):
        run("build", "--precision", "fp16")
    with pytest.raises(UserError, match=r"nowhere\.rwm"):
        app(["build", "nowhere.rwm", "--engine-dir", str(folder)])
    (signed_bundle.folder / "policy.op17.onnx").write_bytes(b"changed")
    with pytest.raises(UserError, match=r"policy\.op17\.onnx has 7 bytes"):
        run("build")
    assert not folder.exists()


def test_without_tensorrt_it_says_what_to_install(run, monkeypatch):
    for name in ("tensorrt", "tensorrt_lean"):
        monkeypatch.setitem(sys.modules, name, None)
    for command in ("build", "key"):
        with pytest.raises(UserError, match="pip install tensorrt"):
            run(command)
    assert run("list")["rows"] == []


@pytest.fixture
def bundle(signed_bundle):
    with Bundle.open(signed_bundle.folder, signed_bundle.public_key) as opened:
        yield opened


def test_engines_by_name(bundle, folder, trt):
    assert isinstance(make_engine("onnx", bundle), OnnxEngine)
    engine = make_engine("tensorrt", bundle, engine_dir=folder)
    assert isinstance(engine, TensorRTEngine)
    with start_controller(bundle, engine=engine) as controller:
        assert controller.engine is engine
    assert len(trt.configs) == len(WAYS)
    make_engine("tensorrt", bundle, engine_dir=folder)
    assert len(trt.configs) == len(WAYS)
    for kind in ("onnx", "tensorrt"):
        with pytest.raises(UserError, match="precision int8: the bundle has fp32"):
            make_engine(kind, bundle, precision="int8", engine_dir=folder)
    with pytest.raises(UserError, match="'tensorflow' is not one of onnx, tensorrt"):
        make_engine("tensorflow", bundle)


def test_an_unsigned_graph_is_tried_before_it_is_built(signed_bundle, bundle, folder, monkeypatch):
    def refuse(graph, *, ticks, origin):
        raise UserError(f"{origin}: heavy")

    monkeypatch.setattr(graph_trial, "require_affordable", refuse)
    with Bundle.open(signed_bundle.folder) as unsigned:
        for start in (provide, lambda unsigned, folder: make_engine("tensorrt", unsigned, engine_dir=folder)):
            with pytest.raises(UserError, match=r"policy\.op17\.onnx: heavy"):
                start(unsigned, folder=folder)
    assert not list(folder.glob("*.plan"))
    provide(bundle, folder=folder)  # its signature was checked


def test_an_engine_built_with_other_options_is_used_at_the_start(bundle, folder, trt):
    built = provide(bundle, options=BuildOptions(workspace_mib=64), folder=folder)
    found = provide(bundle, folder=folder)
    assert built.is_new
    assert not found.is_new
    assert found.key == built.key
    assert len(trt.configs) == len(WAYS)


def test_a_version_compatible_engine_may_bring_its_runtime_and_others_may_not(bundle, folder):
    for options, allowed in ((BuildOptions(), False), (BuildOptions(version_compatible=True), True)):
        engine = provide(bundle, options=options, folder=folder).engine()
        engine.activate()
        assert engine._runtime.engine_host_code_allowed is allowed
        engine.deactivate()


def test_a_sidecar_alone_cannot_ask_for_host_code(bundle, folder):
    """Somebody's engine in the cache says that it is version-compatible; the agent asked for nothing of the kind."""
    provide(bundle, options=BuildOptions(version_compatible=True), folder=folder)
    provided = provide(bundle, folder=folder)
    assert provided.is_new
    engine = provided.engine()
    engine.activate()
    assert engine._runtime.engine_host_code_allowed is False
    engine.deactivate()


@pytest.mark.parametrize("version_compatible", [True, False])
def test_the_lean_runtime_runs_only_what_was_built_to_be_compatible(
    bundle, folder, trt, monkeypatch, version_compatible
):
    provide(bundle, options=BuildOptions(version_compatible=version_compatible), folder=folder)
    monkeypatch.delattr(trt.module, "OnnxParser")
    monkeypatch.setattr(trt.module, "__version__", "8.6.1")
    api._of.cache_clear()
    if version_compatible:
        found = provide(bundle, folder=folder)
        assert not found.is_new
        assert found.key.tensorrt == "8.6.0"
        assert found.host_code  # all that this machine can run
    else:
        with pytest.raises(UserError, match="robot-wm engine build BUNDLE --version-compatible"):
            provide(bundle, folder=folder)


def test_after_an_upgrade_the_full_tensorrt_builds_anew(bundle, folder, trt, monkeypatch):
    provide(bundle, options=BuildOptions(version_compatible=True), folder=folder)
    monkeypatch.setattr(trt.module, "__version__", "8.6.1")
    api._of.cache_clear()
    fresh = provide(bundle, folder=folder)
    assert fresh.is_new
    assert fresh.key.tensorrt == "8.6.1"


def test_a_fault_at_start_leaves_nothing_active(bundle, folder, cuda, trt):
    good = provide(bundle, folder=folder)
    engine = TensorRTEngine(wrong(good.plan), bundle.manifest.state)
    with pytest.raises(UserError, match="does not compute what was exported"):
        start_controller(bundle, engine=engine)
    assert cuda.alive["device"] == cuda.alive["streams"] == 0


def test_a_fallback_is_logged_at_start(bundle, folder, trt, caplog):
    trt.capturable = False
    with start_controller(bundle, engine=make_engine("tensorrt", bundle, engine_dir=folder)):
        pass
    assert "no CUDA graph was captured: TensorRT: operation not permitted" in caplog.text
    assert "building one" in caplog.text


def test_the_key_is_of_the_graph_that_the_precision_names(bundle, tmp_path, signed_bundle):
    key = engine_key(bundle, tick_graph(bundle.manifest), BuildOptions())
    assert key.graph_sha256 == bundle.manifest.files["policy.op17.onnx"].sha256
    assert key.shapes == {tensor.name: tensor.shape for tensor in bundle.manifest.inputs()}
    copy = tmp_path / "copy.rwm"
    shutil.copytree(signed_bundle.folder, copy)
    with Bundle.open(copy) as other:
        assert engine_key(other, tick_graph(other.manifest), BuildOptions()).digest == key.digest
