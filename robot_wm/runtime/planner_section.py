"""What a manifest says of a planner: a second graph that thinks on from where the tick is and proposes another action.

Shape letters: N candidate action sequences, K steps of each, A action dimensions, P recorded plans; B = 1 always.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from robot_wm.runtime.graph_tensors import Frozen, NoiseTensor, TensorName, TensorSpec
from robot_wm.runtime.parity_section import MAX_TOLERANCE, FileName
from robot_wm.spec import AgentSpec, Finite, Positive

# flat: sequences rolled out once; halving: rounds that each keep the better half; tree: a search.
PlannerKind = Literal["flat", "halving", "tree"]

PLANNER = "planner.onnx"  # opset 17
PLANNER_PARITY = "planner_parity.npz"

NO_PLANNER = "has no planner; export it with --planner"

MIN_PLANS, MAX_PLANS = 256, 4096
MAX_DIFFERING_PLANS = 0.1
CONFIDENCE = 0.95  # of the gate's interval


class PlannerParity(Frozen):
    """The recorded plans, what they showed at export, and what an engine must keep to.

    A planner decides as it goes: which candidate is best, and within a model which class comes next. Where a decision
    is nearly even, engines that are both right may part. Two kinds of plans are therefore let off, and counted.
    """

    file: FileName = Field(description="the recording, with the noise and the outputs of each plan")
    plans: Annotated[int, Field(ge=MIN_PLANS, le=MAX_PLANS)] = Field(description="P, from evenly spaced recorded ticks")
    tolerance: Positive = Field(default=1e-3, description="largest |difference| / max(1, |stored value|)")
    max_differing: Annotated[float, Field(gt=0, le=MAX_DIFFERING_PLANS)] = Field(
        default=MAX_DIFFERING_PLANS, description="largest share of plans that may be let off"
    )
    near_tie_plans: Annotated[int, Field(ge=0)] = Field(description="their two best scores are within the tolerance")
    unsteady_plans: Annotated[int, Field(ge=0)] = Field(description="changes as small as rounding change them by leaps")
    differing_plans: Annotated[int, Field(ge=0)] = Field(description="of those, how many torch planned otherwise")
    largest_error: dict[TensorName, Finite] = Field(description="|difference| / max(1, |expected|), torch against it")

    @model_validator(mode="after")
    def _bounded(self) -> PlannerParity:
        if self.tolerance > MAX_TOLERANCE["fp32"]:
            raise ValueError(f"a plan may be off by {self.tolerance:g}; at most {MAX_TOLERANCE['fp32']:g}")
        return self


class PlannerGate(Frozen):
    """What the planner was worth at export: returns from the same starts, with it and without.

    Both by the robot's controller in the agent's task, each plan waited for.
    """

    episodes: Annotated[int, Field(ge=1)] = Field(description="starts, each played with the planner and without")
    seed: Annotated[int, Field(ge=0)] = Field(description="of the first start")
    planned: Finite = Field(description="mean return with the planner")
    reactive: Finite = Field(description="mean return of the actor alone")
    interval: tuple[Finite, Finite] = Field(
        description="confidence interval of the mean of planned less reactive, paired by start"
    )
    confidence: Annotated[float, Field(gt=0, lt=1)] = CONFIDENCE

    @model_validator(mode="after")
    def _ordered(self) -> PlannerGate:
        if self.interval[0] > self.interval[1]:
            raise ValueError(f"interval {self.interval}: its lower end comes first")
        return self

    @property
    def pays(self) -> bool:
        """Whether the mean return with it is at least that without it.

        No more is asked, since where the actor is as good as can be nothing can be better; ``interval`` tells how sure
        that is.
        """
        return self.planned >= self.reactive


class Planner(Frozen):
    """The planner of a bundle; off unless a robot asks for it.

    Its inputs are outputs of the tick, by the same names, and noise of its own. Names of its outputs are its own.
    """

    kind: PlannerKind
    graph: FileName
    candidates: Annotated[int, Field(ge=2)] = Field(description="N, the actor's own among them; of a tree, at its root")
    depth: Annotated[int, Field(ge=1)] = Field(description="K, in control steps")
    simulations: Annotated[int, Field(ge=1)] | None = Field(default=None, description="of a tree; none: it is no tree")
    decides: bool = Field(description="whether it takes the best candidate, rather than a weighted mean of several")
    root: tuple[TensorName, ...] = Field(min_length=1, description="outputs of the tick that it starts from")
    noise: tuple[NoiseTensor, ...] = ()
    outputs: tuple[TensorSpec, ...] = Field(description="action, value, scores, plan and gain, and what else it tells")
    budget_s: Positive = Field(description="what it may take of a control period; a slower one is not waited for")
    parity: PlannerParity
    gate: PlannerGate

    def inputs(self, tick: Mapping[str, tuple[int, ...]]) -> tuple[TensorSpec, ...]:
        """Every input in order: root, then noise; ``tick`` has the shapes of the tick's outputs by name."""
        root = (TensorSpec(name=name, shape=tick[name]) for name in self.root)
        return (*root, *(TensorSpec(name=entry.name, shape=entry.shape) for entry in self.noise))

    def require_fit(self, spec: AgentSpec, tick: Mapping[str, tuple[int, ...]]) -> None:
        """Raise ValueError unless it fits the tick's outputs, shapes by name, and the robot's control period."""
        for name in self.root:
            if name not in tick:
                raise ValueError(f"planner: its root {name} is none of the tick's outputs")
        outputs = {entry.name: entry.shape for entry in self.outputs}
        names = [*self.root, *(entry.name for entry in self.noise), *(entry.name for entry in self.outputs)]
        if len(set(names)) != len(names):
            raise ValueError(f"planner: tensor names are not unique: {sorted(names)}")
        for name, shape in output_shapes(self.candidates, self.depth, spec.action_dim).items():
            if outputs.get(name) != shape:
                raise ValueError(f"planner: {name} must have shape {shape}, not {outputs.get(name)}")
        if (self.kind == "tree") != (self.simulations is not None):
            raise ValueError(f"planner: a {self.kind} with simulations {self.simulations}; a tree has some, no other")
        if self.budget_s > spec.control_period_s:
            raise ValueError(
                f"planner: budget_s {self.budget_s:g} exceeds the control period {spec.control_period_s:g} s"
            )


def output_shapes(candidates: int, depth: int, action_dim: int) -> dict[str, tuple[int, ...]]:
    """What every planner puts out, by name.

    ``action`` is row 0 of ``plan``, in the policy's units; ``value`` the return that it expects, ``scores`` the
    candidates', in reward units; ``gain`` by how much ``value`` exceeds that of the actor's own sequence.
    """
    return {
        "action": (1, action_dim),
        "value": (1,),
        "scores": (1, candidates),
        "plan": (1, depth, action_dim),
        "gain": (1,),
    }
