"""What may be chosen of a build; also options of the command line."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

ALL_MATRICES = 1_000_000  # more products than any graph has


class BuildOptions(BaseModel):
    """What may be chosen of a build."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version_compatible: bool = Field(
        default=False,
        description="Build an engine that later versions of TensorRT and the lean runtime can run, too; it is larger"
        " and slower.",
    )
    workspace_mib: Annotated[int, Field(ge=16, le=2**20)] = Field(
        default=1024, description="GPU memory that one layer may use for itself, in MiB."
    )
    optimization_level: Annotated[int, Field(ge=0, le=5)] = Field(
        default=3, description="How long to search for fast kernels, 0 to 5."
    )
    matrices: Annotated[int, Field(ge=0, le=ALL_MATRICES)] | None = Field(
        default=None,
        description="How many of the largest products of one row stay matrix products; the others become sums. Not"
        " given: several ways are built and the fastest is kept.",
    )
