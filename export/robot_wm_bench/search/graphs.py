"""Planners, searches and single steps of a model as ONNX graphs, and sessions of ONNX Runtime that run them.

Shape letters: N rows, L numbers of a latent, A action dimensions, K steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx
import onnxruntime as ort
import torch
from torch import Tensor, nn

from robot_wm.runtime.graph_tensors import TensorSpec
from robot_wm.search.latent_model import StagedModel
from robot_wm.search.sampled import SearchConfig, SearchNoise, search
from robot_wm_export.onnx_export import folded, traced_op17


class Traced:
    """A module with names for its inputs and outputs: see `robot_wm_export.onnx_export.ExportedGraph`."""

    name = "planner"

    def __init__(self, module: nn.Module, inputs: Mapping[str, tuple[int, ...]], outputs: Sequence[str]) -> None:
        self.module = module.eval()
        # Not validated: a bundle's tensors begin with a batch axis of 1, the rows of a step do not.
        self.inputs = [TensorSpec.model_construct(name=name, shape=shape) for name, shape in inputs.items()]
        self.output_names = tuple(outputs)
        with torch.no_grad():
            made = module(*self.example())
        self.output_shapes = {name: tuple(value.shape) for name, value in zip(outputs, made, strict=True)}

    def deployed(self) -> nn.Module:
        """The module itself."""
        return self.module

    def example(self) -> tuple[Tensor, ...]:
        """Zeros to trace with."""
        return tuple(torch.zeros(entry.shape) for entry in self.inputs)


class ModelStep(nn.Module):
    """One step of a discrete model: latent [N, L], action one-hot [N, A] -> latent, reward, discount, logits, value."""

    OUTPUTS = ("next", "reward", "discount", "logits", "value")

    def __init__(self, model: StagedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, latent: Tensor, action: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        made = self.model.step(latent, action)
        return made.latent, made.reward, made.discount, made.prediction.policy.first, made.prediction.value


class Root(nn.Module):
    """What a discrete model says of a latent [1, L]: logits [1, A] and value [1]."""

    OUTPUTS = ("logits", "value")

    def __init__(self, model: StagedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        made = self.model.predict(latent)
        return made.policy.first, made.value


class WholeTree(nn.Module):
    """A sampled search, unrolled: latent [1, L], Gumbel noise [1, A] -> action [1, A], value [1], weights [1, A]."""

    OUTPUTS = ("action", "value", "weights")

    def __init__(self, model: StagedModel, config: SearchConfig) -> None:
        super().__init__()
        self.model, self.config = model, config

    def forward(self, latent: Tensor, gumbel: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        found = search(self.model, latent, SearchNoise(gumbel, None, None), self.config)
        return found.action, found.value, found.weights


def graph_of(module: nn.Module, inputs: Mapping[str, tuple[int, ...]], outputs: Sequence[str]) -> onnx.ModelProto:
    """``module`` as a graph of opset 17, the way a bundle holds it, but for what TensorRT 8.6 would not take."""
    return traced_op17(Traced(module, inputs, outputs), simplify=folded)


def session_of(model: onnx.ModelProto, threads: int) -> ort.InferenceSession:
    """A session on so many CPU threads."""
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
