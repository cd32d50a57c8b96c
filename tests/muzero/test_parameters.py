"""How large a MuZero agent is."""

import pytest
import torch

from robot_wm.muzero.agent import MuZeroAgent
from robot_wm.muzero.config import MuZeroConfig
from robot_wm.spec import InputShape

VECTOR = {"state": InputShape(shape=(48,), dtype="float32")}
IMAGE = {"camera": InputShape(shape=(64, 64, 3), dtype="uint8")}


def count(config, inputs):
    with torch.device("meta"):
        agent = MuZeroAgent(config, inputs, 12, False)
    return agent.parameter_count(), sum(p.numel() for p in agent.acting())


@pytest.mark.parametrize(
    ("size", "vector", "image"),
    [
        ("nano", (195_683, 145_635), (195_139, 145_091)),
        ("1m", (1_031_651, 504_035), (1_271_523, 743_907)),
        ("5m", (5_668_579, 2_515_683), (7_042_275, 3_889_379)),
    ],
)
def test_parameters_trained_and_of_an_actor(size, vector, image):
    assert (count(MuZeroConfig(size=size), VECTOR), count(MuZeroConfig(size=size), IMAGE)) == (vector, image)


def dense(inputs, units):
    return inputs * units + 2 * units  # weight, bias, norm scale


def linear(inputs, outputs):
    return inputs * outputs + outputs


def test_every_layer_is_counted():
    """Of 1m with a vector of 48 and 12 actions, layer by layer."""
    h = dense(48, 256) + dense(256, 256) + linear(256, 128)
    g = dense(128 + 12, 256) + dense(256, 256) + linear(256, 128) + linear(256, 101) + linear(256, 1)
    f = 2 * (dense(128, 256) + dense(256, 256)) + 2 * linear(256, 12) + linear(256, 101)
    heads = dense(128, 512) + dense(512, 512) + linear(512, 128) + dense(128, 512) + linear(512, 128)
    assert count(MuZeroConfig(), VECTOR) == (h + g + f + heads, h + g + f)


def test_initialisation_depends_on_the_generator_alone():
    def weights(seed):
        torch.manual_seed(torch.randint(1 << 30, ()).item())
        generator = torch.Generator().manual_seed(seed)
        agent = MuZeroAgent(MuZeroConfig(size="nano"), VECTOR, 2, False, generator=generator)
        return torch.cat([p.flatten() for p in agent.parameters()])

    assert torch.equal(weights(3), weights(3))
    assert not torch.equal(weights(3), weights(4))
