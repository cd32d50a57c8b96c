"""What the benchmarks are given."""

import pytest

from robot_wm_bench.agent import fresh_agent, random_rollout
from robot_wm_export.export import ExportReport, export_agent


@pytest.fixture(scope="session")
def exported(tmp_path_factory) -> ExportReport:
    """A bundle of a fresh agent, with both graphs; not to be changed."""
    agent, spec = fresh_agent("nano", "proprio")
    out = tmp_path_factory.mktemp("exported") / "agent.rwm"
    return export_agent(agent, spec, random_rollout(agent, spec), {}, out)
