"""What TensorRT 8.6 must be told so that it computes in the types of the graph.

Its networks are weakly typed: a flag allows half precision, and then every layer may be rounded to it for speed, also
the norms, the softmax, the KL and the recurrent state, which the graph keeps in float32 for good reasons. Newer
versions take the graph at its word. Here each layer is held at the type that it has in the graph.
"""

from __future__ import annotations

from typing import Any

from robot_wm.runtime.trt.layers import in_order, inputs, outputs, own_type

# Their outputs have a type of their own, whatever goes in.
_TYPED = ("CONSTANT", "CAST", "QUANTIZE", "DEQUANTIZE", "SHAPE")
# What int8 is worth having for. Fed by DEQUANTIZE they are fused with it, which a held type would forbid.
_PRODUCTS = ("MATRIX_MULTIPLY", "CONVOLUTION", "DECONVOLUTION", "EINSUM", "FULLY_CONNECTED")
# They pass on what they get; a quantised weight is often transposed.
_MOVES = ("SHUFFLE", "IDENTITY")


def hold_types(module: Any, network: Any) -> None:
    """Set precision and output types of the layers of ``network``.

    Half where the graph is half: weights are then stored so. Needs BuilderFlag.OBEY_PRECISION_CONSTRAINTS.
    """
    half, single = module.DataType.HALF, module.DataType.FLOAT
    types = {tensor.name: tensor.dtype for tensor in map(network.get_input, range(network.num_inputs))}
    dequantized: set[str] = set()
    for layer in in_order(network):
        kind = layer.type.name
        given, made = [tensor.name for tensor in inputs(layer)], outputs(layer)
        # A tensor's own dtype may say float for all that is not fixed, so types are followed from where they begin:
        # half makes half (ONNX mixes no floats), and whole numbers make whole numbers unless there are floats as well.
        known = [types[name] for name in given if name in types]
        inherited = next((dtype for dtype in known if dtype in (half, single)), known[0] if known else single)
        is_quantized = not dequantized.isdisjoint(given)
        for index, tensor in enumerate(made):
            if kind in _TYPED or layer.output_type_is_set(index) or tensor.dtype not in (half, single):
                types[tensor.name] = own_type(module, layer, index)
            else:
                types[tensor.name] = inherited
            if kind == "DEQUANTIZE" or (kind in _MOVES and is_quantized):
                dequantized.add(tensor.name)
        floats = [index for index, tensor in enumerate(made) if types[tensor.name] in (half, single)]
        if (
            kind in _TYPED
            or inherited not in (half, single)
            or not floats
            or (is_quantized and kind in (*_PRODUCTS, *_MOVES))
        ):
            continue
        layer.precision = inherited
        for index in floats:
            layer.set_output_type(index, types[made[index].name])
