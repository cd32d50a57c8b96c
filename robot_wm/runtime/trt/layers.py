"""Layers of a parsed network as what they are: TensorRT's bindings hand all of them out as ``ILayer``."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray


def downcast(module: Any, layer: Any, name: str) -> Any:
    """``layer`` as TensorRT's class ``name``, which it must be."""
    layer.__class__ = getattr(module, name)
    return layer


def in_order(network: Any) -> list[Any]:
    """The layers of ``network``, each of them after those whose outputs it takes."""
    waiting = [network.get_layer(index) for index in range(network.num_layers)]
    made_by_layers = {tensor.name for layer in waiting for tensor in outputs(layer)}
    missing = [{tensor.name for tensor in inputs(layer)} & made_by_layers for layer in waiting]
    takers: dict[str, list[int]] = {}
    for index, names in enumerate(missing):
        for name in names:
            takers.setdefault(name, []).append(index)
    ready = deque(index for index, names in enumerate(missing) if not names)
    ordered = []
    while ready:
        layer = waiting[ready.popleft()]
        ordered.append(layer)
        for tensor in outputs(layer):
            for taker in takers.get(tensor.name, ()):
                missing[taker].discard(tensor.name)
                if not missing[taker]:
                    ready.append(taker)
    return ordered


def inputs(layer: Any) -> list[Any]:
    """The tensors that ``layer`` takes, without those that are left out."""
    return [tensor for tensor in map(layer.get_input, range(layer.num_inputs)) if tensor is not None]


def outputs(layer: Any) -> list[Any]:
    """The tensors that ``layer`` makes."""
    return [tensor for tensor in map(layer.get_output, range(layer.num_outputs)) if tensor is not None]


def constant_weights(module: Any, layer: Any) -> NDArray[Any]:
    """What a CONSTANT layer holds, flat or in shape, in the type that the graph gave it."""
    return np.asarray(downcast(module, layer, "IConstantLayer").weights)


def own_type(module: Any, layer: Any, index: int) -> Any:
    """The type of output ``index`` of a layer that has one of its own, such as a constant or a cast.

    TensorRT 8.6 calls every tensor of half precision float until the network is built, so its word is taken last.
    """
    if layer.type.name == "CAST":
        return downcast(module, layer, "ICastLayer").to_type
    if layer.type.name == "CONSTANT" and constant_weights(module, layer).dtype == np.float16:
        return module.DataType.HALF
    return layer.get_output_type(index) if layer.output_type_is_set(index) else layer.get_output(index).dtype
