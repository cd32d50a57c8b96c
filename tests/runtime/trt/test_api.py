"""What each TensorRT can do is told by its names: recorded ones of six releases, and the real one where it is.

``surfaces.json`` was read from the bindings themselves (tensorrt 8.6.0, tensorrt_bindings 8.6.1,
tensorrt_cu12_bindings 10.3.0, 10.13.0.35 and 11.4.0.106, tensorrt_lean_cu12_bindings 11.4.0.106). Of 8.6.0 it
lacks what a network is changed with.
"""

from __future__ import annotations

import json
import sys
from enum import IntEnum
from pathlib import Path
from types import ModuleType

import emulated_network
import emulated_tensorrt
import pytest

from robot_wm.errors import UserError
from robot_wm.runtime.engine import EngineError
from robot_wm.runtime.trt import api
from robot_wm.runtime.trt.build import builder_flags
from robot_wm.runtime.trt.options import BuildOptions

SURFACES = json.loads(Path(__file__).with_name("surfaces.json").read_text())
BUILDERS = [version for version in SURFACES if "lean" not in version]
ENUMERATIONS = (
    "BuilderFlag",
    "NetworkDefinitionCreationFlag",
    "MemoryPoolType",
    "DataType",
    "TensorIOMode",
    "LayerType",
    "MatrixOperation",
    "ElementWiseOperation",
    "ReduceOperation",
)
COMPATIBLE = BuildOptions(version_compatible=True)

# Our emulated classes, on which all code of ours runs, and the real ones that they stand for.
STAND_INS = {
    "Engine": "ICudaEngine",
    "Context": "IExecutionContext",
    "Config": "IBuilderConfig",
    "TimingCache": "ITimingCache",
    "Builder": "Builder",
    "Parser": "OnnxParser",
}


class Logger:
    Severity = IntEnum("Severity", {"INTERNAL_ERROR": 0, "ERROR": 1, "VERBOSE": 4})


def module_of(version: str) -> ModuleType:
    module = ModuleType("tensorrt")
    module.__version__, module.ILogger = version, Logger
    for name, members in SURFACES[version].items():
        if name in ENUMERATIONS:
            setattr(module, name, IntEnum(name, {member: index for index, member in enumerate(members)}))
        else:
            setattr(module, name, type(name, (), dict.fromkeys(members)))
    return module


@pytest.fixture
def installed(monkeypatch):
    def install(version: str, name: str = "tensorrt") -> None:
        for other in ("tensorrt", "tensorrt_lean"):
            monkeypatch.setitem(sys.modules, other, None)
        monkeypatch.setitem(sys.modules, name, module_of(version))

    return install


@pytest.mark.parametrize(
    ("version", "strongly_typed", "tells_progress", "creation", "fp16"),
    [
        ("8.6.0", False, False, 0b1, ("FP16", "OBEY_PRECISION_CONSTRAINTS")),
        ("8.6.1", False, False, 0b1, ("FP16", "OBEY_PRECISION_CONSTRAINTS")),
        ("10.3.0", True, True, 0b11, ()),
        ("10.13.0.35", True, True, 0b11, ()),
        ("11.4.0.106", True, True, 0b1, ()),  # STRONGLY_TYPED has become the first flag of the recorded enumeration
    ],
)
def test_what_each_version_has(installed, version, strongly_typed, tells_progress, creation, fp16):
    installed(version)
    trt = api.load(need_builder=True)
    assert (trt.version, trt.can_build) == (version, True)
    assert (trt.strongly_typed, trt.tells_progress, trt.creation_flags()) == (strongly_typed, tells_progress, creation)
    assert builder_flags(trt, "fp32", BuildOptions()) == ()
    assert builder_flags(trt, "fp16", BuildOptions()) == fp16
    int8 = ("INT8", "OBEY_PRECISION_CONSTRAINTS") if fp16 else ()
    assert builder_flags(trt, "int8", COMPATIBLE) == (*int8, "VERSION_COMPATIBLE")
    assert trt.builder_flag("TF32") is not None
    assert trt.builder_flag("NO_SUCH_FLAG") is None


@pytest.mark.parametrize("version", BUILDERS)
def test_every_name_that_is_called_is_there(version):
    for ours, theirs in STAND_INS.items():
        used = {name for name in vars(getattr(emulated_tensorrt, ours)) if not name.startswith("_")} - {"run"}
        assert used <= set(SURFACES[version][theirs]), theirs
    surface = SURFACES[version]
    # Attributes that are set or read rather than called, and enumeration members.
    assert {"builder_optimization_level", "clear_flag"} <= set(surface["IBuilderConfig"])
    assert ("progress_monitor" in surface["IBuilderConfig"]) == ("IProgressMonitor" in surface)
    assert {"num_errors"} <= set(surface["OnnxParser"])
    assert {"node", "desc"} <= set(surface["ParserError"])
    assert ("node_name" in surface["ParserError"]) == ("node_operator" in surface["ParserError"])
    assert {"engine_host_code_allowed", "deserialize_cuda_engine"} <= set(surface["Runtime"])
    assert {"FLOAT", "UINT8"} <= set(surface["DataType"])
    assert "INPUT" in surface["TensorIOMode"]
    assert "WORKSPACE" in surface["MemoryPoolType"]


@pytest.mark.parametrize("version", [version for version in BUILDERS if "ICastLayer" in SURFACES[version]])
def test_a_network_can_be_changed(version):
    surface = SURFACES[version]
    for name in ("ILayer", "IConstantLayer", "ICastLayer", "IMatrixMultiplyLayer", "IShuffleLayer"):
        emulated = getattr(emulated_network, name)
        used = {member for member in vars(emulated) if not member.startswith("_")}
        assert used <= set(surface[name]), name
        assert issubclass(emulated, emulated_network.ILayer)
    calls = {name for name in vars(emulated_network.Network) if name.startswith(("add_", "get_", "num_"))}
    assert calls <= set(surface["INetworkDefinition"])
    for name in ("MatrixOperation", "ElementWiseOperation", "ReduceOperation"):
        assert {member.name for member in getattr(emulated_network, name)} <= set(surface[name])


@pytest.mark.parametrize("version", ["8.6.0", "8.6.1"])
def test_a_weakly_typed_version_can_be_told_types(version):
    surface = SURFACES[version]
    assert {"precision", "set_output_type", "output_type_is_set", "get_output_type", "type"} <= set(surface["ILayer"])
    assert {"dtype", "name"} <= set(surface["ITensor"])
    assert {"num_layers", "get_layer", "num_inputs", "get_input"} <= set(surface["INetworkDefinition"])
    assert {"MATRIX_MULTIPLY", "CONVOLUTION", "DECONVOLUTION", "EINSUM", "FULLY_CONNECTED", "CONSTANT", "CAST",
            "QUANTIZE", "DEQUANTIZE", "SHAPE", "SHUFFLE", "IDENTITY"} <= set(surface["LayerType"])  # fmt: skip


def test_the_lean_runtime_runs_but_does_not_build(installed):
    installed("lean 11.4.0.106", "tensorrt_lean")
    trt = api.load()
    assert not trt.can_build
    assert not trt.strongly_typed
    surface = SURFACES["lean 11.4.0.106"]
    assert {"engine_host_code_allowed", "deserialize_cuda_engine"} <= set(surface["Runtime"])
    assert {"set_tensor_address", "execute_async_v3"} <= set(surface["IExecutionContext"])
    assert {"num_io_tensors", "get_tensor_mode", "create_execution_context"} <= set(surface["ICudaEngine"])
    with pytest.raises(UserError, match="TensorRT cannot be used here: it is not installed; "):
        api.load(need_builder=True)


def test_what_is_missing_or_broken_is_told_with_what_mends_it(monkeypatch, installed, tmp_path):
    installed("8.6.0")
    broken = ModuleType("tensorrt")
    broken.__version__ = "7.1"
    monkeypatch.setitem(sys.modules, "tensorrt", broken)
    with pytest.raises(UserError, match=r"tensorrt 7\.1 is no TensorRT of 8\.6 or newer; pip install tensorrt"):
        api.load()
    (tmp_path / "tensorrt.py").write_text("raise ImportError('libnvinfer.so.8: cannot open shared object file')")
    monkeypatch.delitem(sys.modules, "tensorrt")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r"cannot be imported: libnvinfer\.so\.8: cannot open"):
        api.load()
    assert api.mend(is_jetson=True) == "sudo apt install nvidia-jetpack"


def test_complaints_are_kept_for_the_error_message(installed):
    installed("8.6.0")
    log = api.load().log
    bad, talk = Logger.Severity.ERROR, Logger.Severity.VERBOSE
    log.log(talk, "ModelImporter.cpp:103: Parsing node: /gru/MatMul [MatMul]")
    log.log(bad, "first\n  cause")
    log.log(bad, "second")
    log.log(bad, "second")
    assert log.parsing == "/gru/MatMul [MatMul]"
    assert log.take() == "first cause; second"
    assert log.take() == "TensorRT gives no reason"
    for number in range(1000):
        log.log(bad, f"{number} " + "x" * 10_000)
    assert len(log.take()) < 5000
    assert api.load().log is log


def test_an_object_that_tensorrt_does_not_make_is_an_engine_error(installed, monkeypatch):
    installed("8.6.0")
    trt = api.load()

    def nothing(log):
        log.log(Logger.Severity.ERROR, "CUDA initialization failure")
        raise TypeError("factory function returned nullptr")

    monkeypatch.setattr(trt.module, "Runtime", nothing)
    with pytest.raises(EngineError, match="no Runtime: CUDA initialization failure"):
        trt.make("Runtime", trt.log)


def test_the_tensorrt_that_is_installed_has_what_is_called():
    module = pytest.importorskip("tensorrt")
    trt = api.load(need_builder=True)
    assert trt.module is module
    assert trt.creation_flags() > 0
    for theirs in STAND_INS.values():
        for name in set.intersection(*({*SURFACES[version][theirs]} for version in BUILDERS)):
            assert hasattr(getattr(module, theirs), name), (theirs, name)
    assert builder_flags(trt, "int8", COMPATIBLE)
