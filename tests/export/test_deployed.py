"""What is exported computes what the agent's tick does."""

from __future__ import annotations


def test_every_kind_of_agent_is_computed_over_a_rollout(case, largest_difference):
    found = largest_difference(case.graph, case.rollout)
    assert set(found) == set(case.graph.output_names)
    assert max(found.values()) < 1e-5, found
