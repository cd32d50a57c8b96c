"""A planner's engine: checked before it is used, and nothing stays active where it is refused."""

from __future__ import annotations

import pytest
from planned import lost, planner_graph, with_planner

from robot_wm.errors import UserError
from robot_wm.runtime import graph_trial
from robot_wm.runtime.bundle import Bundle
from robot_wm.runtime.onnx_engine import OnnxEngine
from robot_wm.runtime.planning.load import load_planner, require_pays


@pytest.fixture
def planned(signed_original, tmp_path):
    with Bundle.open(with_planner(signed_original.folder, tmp_path / "planned.rwm")) as opened:
        yield opened


def test_it_is_active_and_empty_handed(planned):
    told = []
    engine = load_planner(planned, tell=told.append)
    try:
        assert set(engine.inputs) == {"next/deter", "post_logits", "noise/plan", "noise/root"}
        assert not any(view.any() for view in engine.inputs.values())  # nothing of the recording is left
        assert "halving planner of 4 x 5: 256 recorded plans off by at most 0.0e+00" in told[0]
    finally:
        engine.deactivate()


def test_an_engine_that_plans_otherwise_is_refused_by_name(planned):
    engine = OnnxEngine(planner_graph(planned.manifest, scale=0.02), ())
    with pytest.raises(UserError, match=r"planned\.rwm: this engine does not compute the planner that was exported: "):
        load_planner(planned, engine=engine)
    assert not engine.inputs


def test_an_engine_of_another_graph_is_refused(planned):
    engine = OnnxEngine(planner_graph(planned.manifest, root=("next/deter", "post_logits", "next/stoch")), ())
    with pytest.raises(UserError, match="input next/stoch has shape"):
        load_planner(planned, engine=engine)
    assert not engine.inputs


def test_an_unsigned_planner_is_tried_first(planned, monkeypatch):
    def refuse(graph, *, ticks, origin):
        raise UserError(f"{origin}: heavy {ticks}")

    monkeypatch.setattr(graph_trial, "require_affordable", refuse)
    with pytest.raises(UserError, match=r"planner\.onnx: heavy 256"):
        load_planner(planned)


def test_one_that_does_not_pay_is_refused_unless_forced(signed_original, tmp_path):
    path = with_planner(signed_original.folder, tmp_path / "lost.rwm", gate=lost(-0.25))
    with Bundle.open(path) as bundle:
        naming = (
            r"does not pay: mean return 0\.75 with it, 1 without, over 20 starts \(the difference -0\.35 to -0\.15 at"
        )
        with pytest.raises(UserError, match=naming):
            load_planner(bundle)
        load_planner(bundle, forced=True).deactivate()
        require_pays(bundle.manifest.planner, True, origin="it")


def test_a_bundle_without_one(signed_original):
    with (
        Bundle.open(signed_original.folder) as bundle,
        pytest.raises(UserError, match="has no planner; export it with"),
    ):
        load_planner(bundle)
