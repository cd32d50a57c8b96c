"""Parameter counts that two independent implementations agree on."""

import pytest
import torch

from robot_wm.dreamer.agent import DreamerAgent
from robot_wm.dreamer.config import DreamerConfig
from robot_wm.spec import InputShape

VECTOR = {"state": InputShape(shape=(48,), dtype="float32")}
IMAGE = {"camera": InputShape(shape=(64, 64, 3), dtype="uint8")}


@pytest.mark.parametrize(
    ("size", "inputs", "expected"),
    [
        ("12m", VECTOR, 9_754_951),
        ("50m", VECTOR, 38_645_831),
        ("12m", IMAGE, 10_498_778),
        ("50m", IMAGE, 41_659_290),
    ],
)
def test_parameter_count(size, inputs, expected):
    with torch.device("meta"):
        agent = DreamerAgent(DreamerConfig(size=size), inputs, 12, False)
    assert agent.parameter_count() == expected


@pytest.mark.parametrize(
    ("size", "vector_m", "image_m"),
    [("1m", 0.645, 0.688), ("25m", 21.8, 23.5), ("100m", 86.7, 93.5), ("200m", 153.8, 166.0)],
)
def test_sizes_match_the_published_table(size, vector_m, image_m):
    with torch.device("meta"):
        counts = [DreamerAgent(DreamerConfig(size=size), i, 12, False).parameter_count() for i in (VECTOR, IMAGE)]
    assert counts[0] / 1e6 == pytest.approx(vector_m, rel=3e-3)
    assert counts[1] / 1e6 == pytest.approx(image_m, rel=3e-3)


def test_slow_critic_is_a_copy_that_nobody_trains():
    agent = DreamerAgent(DreamerConfig(size="nano"), VECTOR, 2, False)
    for slow, fast in zip(agent.slow_critic.parameters(), agent.critic.parameters(), strict=True):
        assert torch.equal(slow, fast)
        assert not slow.requires_grad
        assert fast.requires_grad


def test_initialisation_depends_on_the_generator_alone():
    def weights(seed):
        torch.manual_seed(torch.randint(1 << 30, ()).item())
        agent = DreamerAgent(
            DreamerConfig(size="nano"), VECTOR, 2, False, generator=torch.Generator().manual_seed(seed)
        )
        return torch.cat([p.flatten() for p in agent.parameters()])

    assert torch.equal(weights(3), weights(3))
    assert not torch.equal(weights(3), weights(4))
