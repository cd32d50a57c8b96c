"""Products of one row as sums: the same numbers, nothing lost, and what is no such product left alone."""

from __future__ import annotations

import gc
from types import SimpleNamespace

import numpy as np
import pytest
from emulated_network import (
    ElementWiseOperation,
    IMatrixMultiplyLayer,
    MatrixOperation,
    Network,
    Tensor,
    names_of_the_module,
)

from robot_wm.runtime.trt.row_products import sum_row_products

MODULE = SimpleNamespace(**names_of_the_module())
RNG = np.random.default_rng(0)


def product_of(
    network: Network, row: Tensor, weights: np.ndarray | Tensor, name: str, op0="NONE", op1="NONE"
) -> Tensor:
    """``row`` times ``weights`` as the parser would add it; its result is called as the product is."""
    other = weights
    if isinstance(weights, np.ndarray):
        other = network.add("CONSTANT", [], *weights.shape, made=f"{name} weights", weights=weights).get_output(0)
    columns = other.shape[-2] if op1 == "TRANSPOSE" else other.shape[-1]
    rows = row.shape[-1] if op0 == "TRANSPOSE" else row.shape[-2]
    shape = (*np.broadcast_shapes(row.shape[:-2], other.shape[:-2]), rows, columns)
    operations = {"op0": MatrixOperation[op0], "op1": MatrixOperation[op1]}
    made = network.add("MATRIX_MULTIPLY", [row, other], *shape, made=name, cls=IMatrixMultiplyLayer, **operations)
    return made.get_output(0)


def uses(network: Network, name: str) -> list[str]:
    """Names of the layers that take tensor ``name``."""
    return [record.name for record in network.records if name in {tensor.name for tensor in record.inputs}]


def random(*shape: int, dtype=np.float32) -> np.ndarray:
    return RNG.normal(size=shape).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("op1", ["NONE", "TRANSPOSE"])
@pytest.mark.parametrize(
    ("row", "weights"),
    [
        ((1, 48), (48, 96)),
        ((8, 1, 32), (8, 32, 96)),  # a block-diagonal product, block by block
        ((8, 1, 32), (1, 32, 96)),  # the same weights for all
        ((1, 1, 32), (8, 32, 96)),
    ],
)
def test_the_numbers_are_the_same(row, weights, op1, dtype):
    network = Network()
    values = random(*weights, dtype=dtype)
    stored = np.ascontiguousarray(values.swapaxes(-1, -2)) if op1 == "TRANSPOSE" else values
    x = random(*row, dtype=dtype)
    y = product_of(network, Tensor("x", row), stored, "y", op1=op1)
    network.add("ELEMENTWISE", [y, y], *y.shape, made="twice", op=ElementWiseOperation.SUM)
    before = network.compute("twice", x=x)
    assert before.shape == (max(row[0], weights[0]), 1, 96) if len(row) == 3 else (1, 96)
    kept = sum_row_products(MODULE, network, matrices=0)
    assert len(kept) == 1
    assert uses(network, "y") == []
    after = network.compute("twice", x=x)
    assert after.dtype == before.dtype
    # Of half, the terms are rounded to 11 bits before they are added, and so are both results.
    tolerance = 1e-5 if dtype == np.float32 else 3 * 2**-11 * float((np.abs(x) @ np.abs(values)).max())
    np.testing.assert_allclose(after, before, atol=tolerance, rtol=1e-5)


def test_half_is_summed_in_float32():
    network = Network()
    product_of(network, Tensor("x", (1, 4096)), np.ones((4096, 2), np.float16), "y")
    network.add("UNARY", [Tensor("y", (1, 2))], 1, 2, made="z")
    kept = sum_row_products(MODULE, network, matrices=0)
    made = network.compute(network.records[2].inputs[0].name, x=np.ones((1, 4096), np.float16))
    assert made.tolist() == [[4096, 4096]]  # in half 2048 + 1 is 2048
    assert len(kept) == 1


def test_every_user_is_given_the_sum_also_one_product_that_takes_another():
    network = Network()
    first, second, third = random(8, 16), random(16, 64), random(64, 4)  # the second, the largest, is replaced first
    a = product_of(network, Tensor("x", (1, 8)), first, "a")
    b = product_of(network, a, second, "b")
    c = product_of(network, b, third, "c")
    network.add("ELEMENTWISE", [a, a], 1, 16, made="2a", op=ElementWiseOperation.SUM)
    network.add("ELEMENTWISE", [c, c], 1, 4, made="2c", op=ElementWiseOperation.SUM)
    kept = sum_row_products(MODULE, network, matrices=0)
    assert len(kept) == 3
    assert [uses(network, name) for name in "abc"] == [[], [], []]
    x = random(1, 8)
    np.testing.assert_allclose(network.compute("2a", x=x), 2 * x @ first, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(network.compute("2c", x=x), 2 * x @ first @ second @ third, rtol=1e-4, atol=1e-3)


def test_what_is_no_product_of_one_row_with_constant_weights_stays():
    network = Network()
    x, rows = Tensor("x", (1, 8)), Tensor("rows", (2, 8))
    computed = network.add("UNARY", [Tensor("w", (8, 4))], 8, 4, made="computed").get_output(0)
    products = {
        "of several rows": product_of(network, rows, random(8, 4), "of several rows"),
        "with a computed matrix": product_of(network, x, computed, "with a computed matrix"),
        "of a row as a column": product_of(network, x, random(1, 4), "of a row as a column", op0="TRANSPOSE"),
    }
    for name, tensor in products.items():
        network.add("UNARY", [tensor], *tensor.shape, made=f"after {name}")
    count = network.num_layers
    assert sum_row_products(MODULE, network, matrices=0) == []
    assert network.num_layers == count
    for name in products:
        assert uses(network, name) == [f"after {name}"]


@pytest.mark.parametrize("matrices", [0, 1, 2, 3, 4, 1_000_000])
def test_the_largest_stay(matrices):
    network = Network()
    by_size = ("large", "middle", "small", "tiny")
    sizes = {"middle": (8, 32), "tiny": (8, 2), "large": (8, 64), "small": (8, 16)}
    for name, shape in sizes.items():
        made = product_of(network, Tensor("x", (1, 8)), random(*shape), name)
        network.add("UNARY", [made], *made.shape, made=f"after {name}")
    kept = sum_row_products(MODULE, network, matrices=matrices)
    assert tuple(name for name in by_size if uses(network, name)) == by_size[:matrices]
    assert len(kept) == max(0, 4 - matrices)


def test_the_weights_live_as_long_as_what_is_returned():
    network = Network()
    product_of(network, Tensor("x", (1, 8)), random(8, 4), "y")
    network.add("UNARY", [Tensor("y", (1, 4))], 1, 4, made="z")
    kept = sum_row_products(MODULE, network, matrices=0)
    gc.collect()
    assert network.complaint() == ""
    kept.clear()
    with pytest.raises(AssertionError, match="weights were freed before the build"):
        network.complaint()


def test_no_two_layers_have_one_name_nor_one_that_an_exporter_makes():
    network = Network()
    for number, dtype in enumerate((np.float32, np.float16)):
        name = f"/tick/gru/Gemm_{number}"
        made = product_of(network, Tensor("x", (1, 8)), random(8, 4, dtype=dtype), name)
        for what in (".sum", ".rows", ".terms", ".row", ".cast"):
            network.add("UNARY", [made], 1, 4, made=f"{name}{what}")
    before = network.num_layers
    kept = sum_row_products(MODULE, network, matrices=0)
    assert len(kept) == 2
    assert network.complaint() == ""
    added = [record.name for record in network.records[before:]]
    assert len(added) == 4 + 6
    assert all(name.startswith("/tick/gru/Gemm_") and name.endswith("]") for name in added)
