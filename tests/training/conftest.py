"""A training run small enough for a unit test."""

import pytest

from robot_wm.dreamer.config import DreamerConfig
from robot_wm.training.config import TrainConfig

TINY = DreamerConfig(
    size="nano", deter=32, hidden=8, stoch=4, classes=4, units=16, blocks=4, batch_size=4, batch_length=8, horizon=4
)


@pytest.fixture(scope="session")
def tiny_dreamer():
    """An agent of that size."""
    return TINY


@pytest.fixture
def tiny(tmp_path):
    """Makes a TrainConfig in a fresh folder; keywords override it."""

    def make(**changes) -> TrainConfig:
        values = dict(
            task="cartpole_balance",
            run_dir=tmp_path / "run",
            steps=200,
            envs=2,
            prefill_steps=60,
            train_ratio=8.0,
            replay_capacity_steps=2000,
            log_every_steps=40,
            checkpoint_every_steps=100,
            device="cpu",
            compile_on_cpu="never",
            dreamer=TINY,
        )
        return TrainConfig(**{**values, **changes})

    return make
