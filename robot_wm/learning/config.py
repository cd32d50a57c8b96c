"""What every kind of agent is told of its learning: batches, optimiser, precision. No torch here."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class AgentConfig(BaseModel):
    """The share of a config that is no kind's own; defaults are those of danijar/dreamerv3 at e3f0224."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    size: str = Field(default="", description="preset of the widths")

    # Batch
    batch_size: int = Field(default=16, ge=1, description="B: sequences an update; of each rank under torchrun")
    batch_length: int = Field(default=64, ge=2, description="T: trained steps a sequence; a context step comes before")
    compute: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto", description="auto: bfloat16 on CUDA, else float32"
    )

    priority_exponent: float = Field(
        default=0.0, ge=0, le=1, description="how much windows with large errors are preferred; 0 draws uniformly"
    )
    priority_correction: float = Field(
        default=1.0, ge=0, le=1, description="how far an update makes up for that preference by weights; 1: wholly"
    )

    # Optimiser
    learning_rate: float = Field(default=4e-5, gt=0)
    warmup: int = Field(default=1000, ge=0, description="updates over which the learning rate rises from zero")
    clip: float = Field(default=0.3, gt=0, description="largest gradient norm of a tensor relative to its parameters'")
    clip_floor: float = Field(default=1e-3, gt=0, description="least parameter norm that the clip assumes")
    beta_momentum: float = Field(default=0.9, ge=0, lt=1)
    beta_rms: float = Field(default=0.999, ge=0, lt=1)
    rms_epsilon: float = Field(default=1e-20, gt=0)
