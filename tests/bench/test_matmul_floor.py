"""Which products an update is made of, and that the floor is made of the same ones."""

import torch
from torch import nn
from torch.nn import functional as F

from robot_wm.dreamer.agent import DreamerAgent
from robot_wm.dreamer.config import DreamerConfig
from robot_wm.dreamer.learner import DreamerLearner
from robot_wm_bench.agent import bench_spec
from robot_wm_bench.matmul_floor import Layout, MatmulFloor, record_products
from robot_wm_bench.random_sequences import random_batch

ROWS, INPUTS, HIDDEN, OUTPUTS = 5, 7, 11, 3


def small_step():
    """Forwards and backwards through two layers and a batched product."""
    net = nn.Sequential(nn.Linear(INPUTS, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, OUTPUTS, bias=False))
    x = torch.randn(ROWS, INPUTS)

    def run():
        net(x).square().sum().backward()

    return run


def test_forward_and_backward_products_are_recorded_in_order():
    products = record_products(small_step())
    assert [product.operator.overloadpacket.__name__ for product in products] == ["addmm", "mm", "mm", "mm", "mm"]
    assert [product.output.shape for product in products] == [
        (ROWS, HIDDEN),
        (ROWS, OUTPUTS),
        (OUTPUTS, HIDDEN),  # weight of the second layer
        (ROWS, HIDDEN),  # its input
        (HIDDEN, INPUTS),  # weight of the first layer, whose input needs no gradient
    ]
    first, second = ROWS * INPUTS * HIDDEN, ROWS * HIDDEN * OUTPUTS
    assert [product.flops for product in products] == [2 * first, *[2 * second] * 3, 2 * first]


def test_transposed_factors_stay_transposed():
    weight = torch.randn(HIDDEN, INPUTS)
    (product,) = record_products(lambda: torch.randn(ROWS, INPUTS) @ weight.T)
    assert product.arguments[1] == Layout((INPUTS, HIDDEN), (1, INPUTS), torch.float32)


def test_blocks_and_convolutions_are_counted():
    blocks, x = torch.randn(4, INPUTS, HIDDEN), torch.randn(4, ROWS, INPUTS)
    image, kernel = torch.randn(2, 3, 8, 8), torch.randn(6, 3, 5, 5, requires_grad=True)

    def run():
        x @ blocks
        torch.baddbmm(torch.zeros(4, 1, HIDDEN), x, blocks)
        F.conv2d(image, kernel, padding=2).sum().backward()

    products = record_products(run)
    convolution = 2 * 2 * 6 * 8 * 8 * 3 * 5 * 5  # backwards as much again: the image needs no gradient
    assert [product.flops for product in products] == [2 * 4 * ROWS * INPUTS * HIDDEN] * 2 + [convolution] * 2


def test_floor_computes_the_products_again_and_nothing_else():
    config = DreamerConfig(size="nano", batch_size=2, batch_length=3, horizon=2)
    spec = bench_spec("image")
    learner = DreamerLearner(DreamerAgent(config, spec.model_inputs(), spec.action_dim, False), config, "cpu")
    batch = random_batch(learner, config, spec)
    products = record_products(lambda: learner.update(batch))
    again = record_products(MatmulFloor(products).run)
    assert len(products) > 100
    assert [product.flops for product in again] == [product.flops for product in products]
    outputs = [(product.output.shape, product.output.dtype) for product in products if product.output]
    assert [(product.output.shape, product.output.dtype) for product in again if product.output] == outputs


def test_compiled_functions_are_recorded_too():
    compiled = torch.compile(lambda x: (x @ x).relu())
    (product,) = record_products(lambda: compiled(torch.ones(ROWS, ROWS)))
    assert product.flops == 2 * ROWS**3
