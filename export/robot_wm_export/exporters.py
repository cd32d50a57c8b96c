"""What exporting asks of a kind of agent: found by its name among the entry points `robot_wm.exporters`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from numpy.typing import NDArray
from torch import nn

from robot_wm.errors import UserError
from robot_wm.plugins import entries, load
from robot_wm.search.latent_model import StagedModel

GROUP = "robot_wm.exporters"


class Exporter(Protocol):
    """One kind's share of an export. Arrays of outputs are by tensor name, [N, *shape] of N ticks."""

    def deployed(self, agent: Any, fields: Sequence[str]) -> nn.Module:
        """The agent's tick as it is exported, on its weights as they are now: the same numbers, laid out for engines.

        Takes the tick graph's inputs in their order, the observation's ``fields`` first, with a batch of 1, and gives
        its outputs in theirs.
        """

    def value_magnitude(self, agent: Any, outputs: Mapping[str, NDArray[Any]]) -> float:
        """The largest sum of the magnitudes that the output value is a sum of, in its unit."""

    def choice_scores(self, agent: Any, outputs: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Of a discrete action, what its noise is added to before the best is taken: [N, A]."""


@runtime_checkable
class PlanningExporter(Protocol):
    """What an exporter offers beside, if a planner can be exported over its kind of agent."""

    root: tuple[str, ...]  # outputs of the tick which, flattened and side by side in this order, make the latent

    def latent_model(self, agent: Any) -> StagedModel:
        """The agent's model, which exports are held to."""

    def deployed_model(self, agent: Any) -> StagedModel:
        """The same numbers laid out for engines, on copies of the agent's weights as they are now."""


def exporter_of(kind: str) -> Exporter:
    """The exporter of that kind; UserError where there is none."""
    found = entries(GROUP)
    if kind not in found:
        raise UserError(f"export: nothing here exports an agent of the kind {kind!r}; known: {', '.join(found)}")
    exporter: Exporter = load(found[kind])
    return exporter


def planning_exporter_of(kind: str) -> PlanningExporter:
    """The exporter of that kind; UserError where it offers no model to plan with."""
    exporter = exporter_of(kind)
    if not isinstance(exporter, PlanningExporter):
        raise UserError(f"planner: an agent of the kind {kind!r} has no model that a planner could be exported over")
    return exporter
