"""What options of several commands take: numbers, finite and within what is computed with them, and names."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

# Largest seed that a user may give. The numbers of environments, episodes and steps are added to it, and simulators
# hand it to generators of their own: NumPy's older ones take 32 bits.
MOST_SEED = 2**31 - 1

Which = Literal["best", "latest"]  # of a run's checkpoints

Positive = Parameter(validator=Number(gt=0, lt=math.inf))
NotNegative = Parameter(validator=Number(gte=0, lt=math.inf))
Seed = Annotated[int, Parameter(validator=Number(gte=0, lte=MOST_SEED))]
