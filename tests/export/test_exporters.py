"""Exporters are found by the kind of agent."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from robot_wm.errors import UserError
from robot_wm_export.export import export_agent
from robot_wm_export.exporters import exporter_of
from robot_wm_export.tick_graph import TickGraph


def test_an_agent_of_a_kind_that_nothing_exports_is_refused_before_anything_is_written(make_case, out, monkeypatch):
    case = make_case("proprio")
    monkeypatch.setattr(type(case.agent), "kind", "alphago")
    with pytest.raises(UserError, match="nothing here exports an agent of the kind 'alphago'; known: dreamer"):
        export_agent(case.agent, case.spec, case.rollout, {}, out)
    assert not out.exists()


def test_a_values_magnitude_is_that_of_its_terms_not_of_their_sum(make_case):
    case = make_case("proprio")
    with torch.no_grad():  # all bins alike: the value is 0, its terms are not
        case.agent.critic.out.weight.zero_()
        case.agent.critic.out.bias.zero_()
    outputs = TickGraph(case.agent, case.spec).run(
        {entry.name: np.zeros(entry.shape, entry.dtype) for entry in case.graph.inputs}
    )
    assert outputs["value"].item() == pytest.approx(0.0, abs=100)
    magnitude = exporter_of("dreamer").value_magnitude(case.agent, outputs)
    assert magnitude == pytest.approx(case.agent.critic.twohot.bins.abs().double().mean().item(), rel=0.02)
    assert magnitude > 1e6
