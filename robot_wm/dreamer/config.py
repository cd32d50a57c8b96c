"""Sizes and hyperparameters of the Dreamer agent. No torch here: configs are read where nothing is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from robot_wm.learning.config import AgentConfig

Size = Literal["nano", "1m", "3m", "12m", "25m", "50m", "100m", "200m"]

# Widths of each size. nano (quickstart on two CPU cores) and 3m (half of 12m in every width, a quarter of its bytes)
# are ours; the others are danijar/dreamerv3's.
SIZES: Mapping[str, Mapping[str, int]] = {
    "nano": {"deter": 128, "hidden": 32, "stoch": 16, "classes": 4, "depth": 4, "units": 64},
    "1m": {"deter": 512, "hidden": 64, "stoch": 32, "classes": 4, "depth": 4, "units": 64},
    "3m": {"deter": 1024, "hidden": 128, "stoch": 32, "classes": 8, "depth": 8, "units": 128},
    "12m": {"deter": 2048, "hidden": 256, "stoch": 32, "classes": 16, "depth": 16, "units": 256},
    "25m": {"deter": 3072, "hidden": 384, "stoch": 32, "classes": 24, "depth": 24, "units": 384},
    "50m": {"deter": 4096, "hidden": 512, "stoch": 32, "classes": 32, "depth": 32, "units": 512},
    "100m": {"deter": 6144, "hidden": 768, "stoch": 32, "classes": 48, "depth": 48, "units": 768},
    "200m": {"deter": 8192, "hidden": 1024, "stoch": 32, "classes": 64, "depth": 64, "units": 1024},
}


_DEFAULT = SIZES["12m"]


class DreamerConfig(AgentConfig):
    """Everything that shapes a Dreamer agent and its update.

    Widths that are not given come from ``size``. Defaults are those of danijar/dreamerv3 at e3f0224.
    """

    size: Size = Field(default="12m", description="preset of the widths below")

    # Widths: those of ``size`` where not given.
    deter: int = Field(default=_DEFAULT["deter"], ge=8, description="D: deterministic state, units")
    hidden: int = Field(
        default=_DEFAULT["hidden"], ge=1, description="inner width of the recurrent cell, posterior and prior, units"
    )
    stoch: int = Field(default=_DEFAULT["stoch"], ge=1, description="S: categorical variables of the stochastic state")
    classes: int = Field(default=_DEFAULT["classes"], ge=2, le=256, description="C: classes of each variable")
    depth: int = Field(
        default=_DEFAULT["depth"], ge=1, description="channels of the first image layer before the multipliers"
    )
    units: int = Field(default=_DEFAULT["units"], ge=1, description="width of encoder, decoder and heads, units")

    # Architecture
    blocks: int = Field(default=8, ge=1, description="G: blocks of the recurrent cell and the image decoder")
    prior_layers: int = Field(default=2, ge=1)
    encoder_layers: int = Field(default=3, ge=1)
    decoder_layers: int = Field(default=3, ge=1)
    reward_layers: int = Field(default=1, ge=1)
    continue_layers: int = Field(default=1, ge=1)
    actor_layers: int = Field(default=3, ge=1)
    critic_layers: int = Field(default=3, ge=1)
    image_multipliers: tuple[int, ...] = Field(default=(2, 3, 4, 4), min_length=1, description="channels / depth")
    image_kernel: int = Field(default=5, ge=1, description="pixels, odd")
    bins: int = Field(default=255, ge=3, description="two-hot bins of reward and value, odd")
    unimix: float = Field(default=0.01, ge=0, lt=1, description="uniform share mixed into every latent distribution")
    actor_scale: float = Field(default=0.01, ge=0, description="initial scale of the actor's last layer")
    min_std: float = Field(default=0.1, gt=0, description="least action standard deviation, model units")
    max_std: float = Field(default=1.0, gt=0, description="largest action standard deviation, model units")

    # World model
    free_nats: float = Field(default=1.0, ge=0, description="KL below this is not trained, nats")
    scale_dynamics: float = Field(default=1.0, ge=0, description="loss weight: prior towards posterior")
    scale_representation: float = Field(default=0.1, ge=0, description="loss weight: posterior towards prior")
    scale_reconstruction: float = Field(default=1.0, ge=0, description="loss weight of every observation field")
    scale_reward: float = Field(default=1.0, ge=0)
    scale_continue: float = Field(default=1.0, ge=0)

    # Behaviour
    horizon: int = Field(default=15, ge=1, description="H: imagined steps from every replayed state, control steps")
    discount_horizon: float = Field(default=333.0, gt=1, description="discount is 1 - 1/this, control steps")
    return_lambda: float = Field(default=0.95, ge=0, le=1, description="mixing of the λ-return")
    entropy_scale: float = Field(default=3e-4, ge=0, description="weight of the policy's entropy, per nat")
    scale_policy: float = Field(default=1.0, ge=0)
    scale_value: float = Field(default=1.0, ge=0)
    scale_replay_value: float = Field(default=0.3, ge=0)
    slow_rate: float = Field(default=0.02, gt=0, le=1, description="share of the critic in the slow critic, per update")
    slow_scale: float = Field(default=1.0, ge=0, description="weight of the critic's cross-entropy to the slow critic")
    return_rate: float = Field(default=0.01, gt=0, le=1, description="share of the newest percentiles in their average")
    return_low: float = Field(default=5.0, ge=0, le=100, description="lower percentile of returns, %")
    return_high: float = Field(default=95.0, ge=0, le=100, description="upper percentile of returns, %")
    return_limit: float = Field(default=1.0, gt=0, description="least scale that returns are divided by, reward units")
    anchor: float = Field(
        default=0.0, ge=0, description="weight of the policy's distance from the one that learning began with, per nat"
    )
    pessimism: float = Field(
        default=0.0,
        ge=0,
        description="off an imagined reward for a nat that an ensemble disagrees by, reward units; 0: no ensemble",
    )
    pessimism_members: int = Field(default=5, ge=2, description="K: predictors of that ensemble")

    # Optimiser, beside what every kind has
    actor_start: int = Field(default=0, ge=0, description="updates of model and critic before the actor's first")
    actor_warmup: int | None = Field(
        default=None, ge=0, description="updates over which the actor's learning rate rises from zero [that of warmup]"
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_widths(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        preset = SIZES.get(str(values.get("size", "12m")), {})
        return {**preset, **values}

    @model_validator(mode="after")
    def _consistent(self) -> DreamerConfig:
        if self.deter % self.blocks:
            raise ValueError(f"deter {self.deter} is not a multiple of blocks {self.blocks}")
        if self.bins % 2 == 0 or self.image_kernel % 2 == 0:
            raise ValueError(f"bins {self.bins} and image_kernel {self.image_kernel} must be odd")
        if not self.return_low < self.return_high or not self.min_std <= self.max_std:
            raise ValueError("return_low must be below return_high, and min_std not above max_std")
        return self
