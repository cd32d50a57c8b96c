"""A TensorRT of our making: plans are ONNX files, engines are computed by ONNX Runtime on an emulated GPU.

Errors are: a tensor that is not aligned or not there, a context that is changed after a capture, one that is
captured before its first run. Plans end with the number of their build, and ticks take the time that a test says.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from enum import IntEnum
from types import ModuleType, SimpleNamespace

import numpy as np
import onnx
import onnxruntime as ort
from emulated_cuda import Cuda
from emulated_network import DataType, Network, names_of_the_module


class Severity(IntEnum):
    INTERNAL_ERROR = 0
    ERROR = 1
    VERBOSE = 4


class ILogger:
    Severity = Severity


_TYPES = {"tensor(float)": DataType.FLOAT, "tensor(uint8)": DataType.UINT8, "tensor(float16)": DataType.HALF}


class Context:
    def __init__(self, engine) -> None:
        self.engine, self.addresses, self.runs, self.frozen = engine, {}, 0, False

    def set_tensor_address(self, name, address):
        assert not self.frozen, "a context was changed after its capture"
        assert address % 256 == 0
        self.addresses[name] = address
        return name in self.engine.tensors

    def execute_async_v3(self, number):
        trt, stream = self.engine.trt, self.engine.trt.cuda.streams[number]
        assert set(self.addresses) == set(self.engine.tensors)
        if stream.recorded is not None:
            assert self.runs, "captured before the first run"
            self.frozen = True
            if not trt.capturable:
                self.engine.log.log(Severity.ERROR, "operation not permitted when stream is capturing")
                return False
        if trt.fail_after is not None:
            trt.fail_after -= 1
            if trt.fail_after < 0:
                self.engine.log.log(Severity.ERROR, "planted failure")
                return False
        self.runs += 1
        stream.add(self.run)
        return True

    def run(self):
        self.engine.trt.ran(self.engine.build)
        views = {name: self._view(name) for name in self.engine.tensors}
        session = self.engine.session
        feeds = {node.name: views[node.name].copy() for node in session.get_inputs()}
        names = [node.name for node in session.get_outputs()]
        for name, values in zip(names, session.run(names, feeds), strict=True):
            views[name][...] = values

    def _view(self, name):
        shape, dtype = self.engine.tensors[name][:2]
        dtype = {DataType.FLOAT: np.float32, DataType.UINT8: np.uint8}[dtype]
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        assert self.engine.trt.cuda.reaches(self.addresses[name], size)
        memory = (ctypes.c_uint8 * size).from_address(self.addresses[name])
        return np.frombuffer(memory, dtype=dtype).reshape(shape)


class Engine:
    def __init__(self, trt, plan, log) -> None:
        self.trt, self.log = trt, log
        options = ort.SessionOptions()
        options.add_session_config_entry("session.disable_quant_qdq", "1")  # see OnnxEngine
        self.session = ort.InferenceSession(plan, options, providers=["CPUExecutionProvider"])
        self.build = int(self.session.get_modelmeta().custom_metadata_map.get("build", 0))
        self.tensors = {}
        for mode, nodes in ((1, self.session.get_inputs()), (2, self.session.get_outputs())):
            for node in nodes:
                shape = tuple(length if isinstance(length, int) else -1 for length in node.shape)
                self.tensors[node.name] = (shape, _TYPES[node.type], mode)
        self.num_io_tensors = len(self.tensors)

    def get_tensor_name(self, index):
        return list(self.tensors)[index]

    def get_tensor_shape(self, name):
        return self.tensors[name][0]

    def get_tensor_dtype(self, name):
        return self.tensors[name][1]

    def get_tensor_mode(self, name):
        return self.tensors[name][2]

    def get_tensor_location(self, name):
        return 0

    def create_execution_context(self):
        return Context(self)


class Config:
    def __init__(self) -> None:
        self.flags, self.cleared, self.limits, self.timings = [], [], {}, None
        self.tactic_sources = self.builder_optimization_level = self.progress_monitor = None

    def set_flag(self, flag):
        self.flags.append(flag)

    def clear_flag(self, flag):
        self.cleared.append(flag)

    def set_tactic_sources(self, sources):
        self.tactic_sources = sources
        return True

    def set_memory_pool_limit(self, pool, size):
        self.limits[pool] = size

    def create_timing_cache(self, content):
        return None if content == b"rubbish" else TimingCache(content)

    def set_timing_cache(self, timings, ignore_mismatch):
        assert not ignore_mismatch
        if timings.content == b"of another GPU":
            return False
        self.timings = timings
        return True

    def get_timing_cache(self):
        return TimingCache(b"timings after " + self.timings.content)


class TimingCache:
    def __init__(self, content: bytes) -> None:
        self.content = content

    def serialize(self):
        return memoryview(self.content)


class Parser:
    """Takes every ONNX model but those with a node called ``refused``."""

    def __init__(self, trt, network, log) -> None:
        self.trt, self.network, self.log, self.num_errors = trt, network, log, 0

    def parse(self, content):
        model = onnx.load_from_string(content)
        for index, node in enumerate(model.graph.node):
            self.log.log(Severity.VERBOSE, f"Parsing node: {node.name} [{node.op_type}]")
            if node.name == "refused":
                self.num_errors, self.refused = 1, (index, node)
                return False
        self.network.content = bytes(content)
        self.trt.parsed(self.network)
        return True

    def get_error(self, number):
        index, node = self.refused
        error = SimpleNamespace(node=lambda: index, desc=lambda: "no importer\n for it")
        if self.trt.names_nodes:
            error.node_name, error.node_operator = lambda: node.name, lambda: node.op_type
        return error


class Builder:
    def __init__(self, trt, log) -> None:
        self.trt, self.log = trt, log

    def create_network(self, flags):
        self.trt.network_flags = flags
        return Network()

    def create_builder_config(self):
        self.trt.configs.append(Config())
        return self.trt.configs[-1]

    def build_serialized_network(self, network, config):
        watch = config.progress_monitor
        if watch is not None:
            watch.phase_start("Building", None, 2)
            for step in range(2):
                if not watch.step_complete("Building", step):
                    return None
            watch.phase_finish("Building")
        build = len(self.trt.configs) - 1
        complaint = self.trt.build_errors.get(build) or network.complaint()
        if complaint:
            self.log.log(Severity.ERROR, complaint)
            return None
        # Whatever follows a message of protobuf's adds to its fields.
        number = onnx.ModelProto(metadata_props=[onnx.StringStringEntryProto(key="build", value=str(build))])
        self.trt.networks.append(network)
        return memoryview(self.trt.finish(build, network.content) + number.SerializeToString())


class TensorRT:
    """A module ``tensorrt`` whose plans are ONNX files; of version 8.6, unless it is given more."""

    def __init__(self, cuda: Cuda) -> None:
        self.cuda, self.fail_after, self.capturable = cuda, None, True
        self.configs: list[Config] = []
        self.networks: list[Network] = []  # that were built
        self.network_flags, self.names_nodes = None, False
        self.build_errors: dict[int, str] = {}  # number of the build -> why it fails
        self.parsed: Callable[[Network], None] = lambda network: None  # gives a network its layers
        self.finish: Callable[[int, bytes], bytes] = lambda build, plan: plan  # what becomes of a plan
        self.ran: Callable[[int], None] = lambda build: None  # is told of each run of a plan of that build
        module = self.module = ModuleType("tensorrt")
        module.__version__ = "8.6.0"
        module.ILogger = ILogger
        vars(module).update(names_of_the_module())
        module.TensorLocation = SimpleNamespace(DEVICE=0)
        module.TensorIOMode = SimpleNamespace(INPUT=1, OUTPUT=2)
        module.NetworkDefinitionCreationFlag = SimpleNamespace(EXPLICIT_BATCH=0)
        flags = ("FP16", "INT8", "OBEY_PRECISION_CONSTRAINTS", "TF32", "VERSION_COMPATIBLE")
        module.BuilderFlag = SimpleNamespace(**{name: name for name in flags})
        module.MemoryPoolType = SimpleNamespace(WORKSPACE="workspace")
        module.IExecutionContext = Context
        module.IBuilderConfig, module.Runtime = Config, self.runtime
        module.Builder = lambda log: Builder(self, log)
        module.OnnxParser = lambda network, log: Parser(self, network, log)

    def grow(self) -> None:
        """Become a TensorRT 10: strongly typed, with a progress monitor, and with named nodes in errors."""
        self.module.__version__, self.names_nodes = "10.3.0", True
        self.module.NetworkDefinitionCreationFlag.STRONGLY_TYPED = 1
        self.module.IProgressMonitor = type("IProgressMonitor", (), {})

    def runtime(self, log):
        def deserialize_cuda_engine(plan):
            try:
                return Engine(self, plan, log)
            except Exception:
                log.log(Severity.ERROR, "this is no plan")
                return None

        return SimpleNamespace(deserialize_cuda_engine=deserialize_cuda_engine, engine_host_code_allowed=False)
