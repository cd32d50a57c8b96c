"""Sizes and hyperparameters of the MuZero agent. No torch here: configs are read where nothing is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from robot_wm.learning.config import AgentConfig

Size = Literal["nano", "1m", "5m"]

# Widths of each size, named after the parameters that are trained. 1m has EfficientZero-V2's for DeepMind Control
# from vectors, 5m TD-MPC2's latent and width; nano (two CPU cores) is ours.
SIZES: Mapping[str, Mapping[str, int]] = {
    "nano": {"latent": 64, "units": 128, "depth": 4, "projection_units": 128, "projection": 64},
    "1m": {"latent": 128, "units": 256, "depth": 16, "projection_units": 512, "projection": 128},
    "5m": {"latent": 512, "units": 512, "depth": 32, "projection_units": 1024, "projection": 512},
}

_DEFAULT = SIZES["1m"]


class MuZeroConfig(AgentConfig):
    """Everything that shapes a MuZero agent and its update.

    Widths that are not given come from ``size``, ``batch_length`` from the unroll and the bootstrap. Where nothing
    else is said, defaults are those of EfficientZero-V2 (Wang et al. 2024) for DeepMind Control from vectors.
    """

    size: Size = Field(default="1m", description="preset of the widths below")

    # AgentConfig's, with other defaults
    batch_size: int = Field(default=256, ge=1, description="B: sequences an update; of each rank under torchrun")
    batch_length: int = Field(default=11, ge=2, description="T: steps a sequence, always unroll + td_steps + 1")
    learning_rate: float = Field(default=3e-4, gt=0)

    # Widths: those of ``size`` where not given.
    latent: int = Field(default=_DEFAULT["latent"], ge=1, description="L: numbers of a latent")
    units: int = Field(default=_DEFAULT["units"], ge=1, description="width of every network, units")
    depth: int = Field(
        default=_DEFAULT["depth"], ge=1, description="channels of the first image layer before the multipliers"
    )
    projection_units: int = Field(
        default=_DEFAULT["projection_units"], ge=1, description="inner width of the consistency heads, units"
    )
    projection: int = Field(
        default=_DEFAULT["projection"], ge=1, description="P: numbers that two latents are compared by"
    )

    # Architecture
    layers: int = Field(default=2, ge=1, description="of encoder, dynamics, policy and value, each")
    reward_layers: int = Field(default=0, ge=0, description="of reward and continue, after those of the dynamics")
    simplex: int = Field(
        default=8, ge=2, description="numbers of a latent that sum to 1 (SimNorm, Hansen et al. 2024: TD-MPC2)"
    )
    image_multipliers: tuple[int, ...] = Field(
        default=(2, 3, 4, 4), min_length=1, description="channels / depth, DreamerV3's"
    )
    image_kernel: int = Field(default=5, ge=1, description="pixels, odd")
    bins: int = Field(default=101, ge=3, description="two-hot bins of reward and value, odd")
    reward_support: float = Field(default=10.0, gt=0, description="largest |reward| of a step that has a bin")
    value_support: float = Field(default=1000.0, gt=0, description="largest |value| that has a bin, reward units")
    policy_scale: float = Field(default=0.01, ge=0, description="initial scale of the policy's last layer, DreamerV3's")
    min_std: float = Field(default=0.1, gt=0, description="least action standard deviation, model units")
    max_std: float = Field(default=1.0, gt=0, description="largest action standard deviation, model units")

    # Returns
    unroll: int = Field(default=5, ge=1, description="K: steps that the model is unrolled over in an update")
    td_steps: int = Field(default=5, ge=1, description="n: rewards of a value target before its bootstrap")
    discount: float = Field(default=0.99, gt=0, lt=1, description="of a control step while the episode goes on")

    # Search, as robot_wm.search names it
    num_simulations: int = Field(default=32, ge=1, description="of a search")
    max_depth: int = Field(default=5, ge=1, description="steps that a search looks ahead; what is learned is unroll")
    root_actions: int = Field(
        default=16, ge=1, description="most continuous actions at a search's root; fewer simulations have as few"
    )
    root_policy: int = Field(default=4, ge=0, description="of them drawn from the policy as it is")
    root_widening: float = Field(default=3.0, gt=0, description="the others' standard deviation / the policy's")
    interior_actions: int = Field(default=2, ge=1, description="continuous actions at every other node")
    gumbel_scale: float = Field(
        default=1.0,
        ge=0,
        description="of the noise in a search's choice among candidates; 0: the best one, as EfficientZero-V2 takes "
        "where actions are continuous, whose candidates are drawn already",
    )
    c_visit: float = Field(default=50.0, ge=0, description="visits beside which a search weighs Q against the policy")
    c_scale: float = Field(default=0.1, ge=0, description="of Q in a search, per visit")
    value_minmax_delta: float = Field(
        default=0.01,
        gt=0,
        description="least range of a tree's returns that Q is rescaled by, reward units; a small one makes preference "
        "of noise where the value is near 0",
    )

    eval_search: bool = Field(default=False, description="search in evaluations, too, where the robot's policy acts")

    # Learning
    priority_exponent: float = Field(
        default=0.6, ge=0, le=1, description="how much windows with large errors are preferred; 0: not"
    )
    policy_target: Literal["auto", "weights", "best"] = Field(
        default="auto",
        description="what a policy learns of a search: the weights of all candidates, or the best of them alone; auto: "
        "the best where an action is more than one number, as EfficientZero-V2 does",
    )
    reanalyse: float = Field(
        default=0.5, ge=0, le=1, description="share of each batch whose states are searched again by the target network"
    )
    search_value_age: int = Field(
        default=10_000,
        ge=0,
        description="steps after which a search's value takes the place of the rewards that followed",
    )
    target_rate: float = Field(
        default=0.01, gt=0, le=1, description="share of the model in the target network, per update"
    )
    latent_gradient: float = Field(
        default=0.5, gt=0, le=1, description="of a latent's gradient that passes each unrolled step"
    )
    scale_reward: float = Field(default=1.0, ge=0, description="loss weight, as those that follow")
    scale_value: float = Field(default=0.25, ge=0)
    scale_policy: float = Field(default=1.0, ge=0)
    scale_continue: float = Field(default=1.0, ge=0)
    scale_consistency: float = Field(default=2.0, ge=0)
    scale_entropy: float = Field(default=5e-3, ge=0, description="weight of the policy's entropy, per nat")

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        preset = SIZES.get(str(values.get("size", "1m")), {})
        return {**preset, **_window(values), **values}

    @model_validator(mode="after")
    def _consistent(self) -> MuZeroConfig:
        window = self.unroll + self.td_steps + 1
        # Runs of older versions, whose windows cut the last position's return by a step, go on as they began.
        if self.batch_length not in (window, window - 1):
            parts = f"unroll {self.unroll} + td_steps {self.td_steps} + 1"
            raise ValueError(f"batch_length {self.batch_length} must be {parts} = {window}")
        if self.latent % self.simplex:
            raise ValueError(f"latent {self.latent} is not a multiple of simplex {self.simplex}")
        if self.bins % 2 == 0 or self.image_kernel % 2 == 0:
            raise ValueError(f"bins {self.bins} and image_kernel {self.image_kernel} must be odd")
        if not self.min_std <= self.max_std:
            raise ValueError(f"min_std {self.min_std:g} exceeds max_std {self.max_std:g}")
        if self.root_policy > self.root_actions:
            raise ValueError(f"root_policy {self.root_policy} exceeds the root_actions {self.root_actions}")
        return self


def _window(values: Mapping[str, Any]) -> dict[str, int]:
    """``batch_length`` of the unroll and the bootstrap as they are given; what is no number is refused later.

    The last of K + 1 positions has its n rewards in the n steps behind it, the last of which its bootstrap is of.
    """
    fields = MuZeroConfig.model_fields
    parts = [values.get(name, fields[name].default) for name in ("unroll", "td_steps")]
    try:
        return {"batch_length": sum(int(part) for part in parts) + 1}
    except (TypeError, ValueError):
        return {}
