"""`robot-wm bench video`: rate controls side by side on the programmes of the test, at equal bitrate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from robot_wm.console import emit, progress
from robot_wm.errors import UserError


def bench_video(
    *,
    agents: str | None = None,
    curves: Path | None = None,
    encode: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Measure rate controls: BD-rate by VMAF, share of the oracle's gain, overshoot and underflows.

    BD-rates are in per cent of the anchor's bits at equal quality, means over programmes; negative ones are gains.
    What the table is from, curves or streams that were encoded, decoded and measured for it, its key ``encoded`` says.

    Parameters
    ----------
    agents
        Trained agents to measure beside the rest, separated by commas: runs' folders, checkpoints or zoo:NAME.
    curves
        Folder that `robot-wm video curves` filled [default: the shipped curves].
    encode
        Encode every plan for real and decode what was written, with x264's own rate controls beside; needs --curves.
    json
        Print one JSON object.
    """
    from robot_wm_bench.video.agents import agent_planners
    from robot_wm_bench.video.contest import ANCHOR, planned, rule_planners, table
    from robot_wm_bench.video.encoded import AS_SHIPPED, Studio
    from robot_wm_worlds.video.env import RateControlEnv
    from robot_wm_worlds.video.programme import TEST_QUANTISERS

    if encode and curves is None:
        raise UserError("--encode: needs the pictures, too: give --curves a folder that `robot-wm video curves` filled")
    _require_bjontegaard()
    env = RateControlEnv(split="test", curves=curves)
    planners = rule_planners()
    for source in filter(None, (agents or "").split(",")):
        planners |= agent_planners(source.strip(), env)
    found: dict[str, list[Any]] = {}
    anchors = [ANCHOR]
    whole: dict[str, Any] = {}
    if encode:
        assert curves is not None
        studio = Studio(curves)
        whole = {
            "two-pass VBR": studio.two_pass,
            "ABR": studio.average,
            "CRF": studio.rate_factor,
            "two-pass VBR, x264 as shipped": lambda *test: studio.two_pass(*test, tuning=AS_SHIPPED),
        }
        anchors += ["two-pass VBR", "two-pass VBR, x264 as shipped"]
    with progress() as bar:
        task = bar.add_task("bench video", total=(len(planners) + len(whole)) * len(env.tests), note="")
        for name, planner in planners.items():
            for number, (programme, rate_bps) in enumerate(env.tests):
                plan = planner(env, number)
                one = studio.planned if encode else planned
                found.setdefault(name, []).append(one(programme, rate_bps, plan))
                bar.update(task, advance=1, note=name)
        for name, control in whole.items():
            for programme, rate_bps in env.tests:
                found.setdefault(name, []).append(control(programme, rate_bps))
                bar.update(task, advance=1, note=name)
    rows = table(found, anchors, len(TEST_QUANTISERS))
    emit({"encoded": encode, "tests": len(env.tests), "rows": rows}, as_json=json, title="Rate control")


def _require_bjontegaard() -> None:
    import importlib.util

    if importlib.util.find_spec("bjontegaard") is None:
        raise UserError(
            "bench video: bjontegaard, which BD-rates are computed by, is missing; pip install 'robot-wm[video]'"
        )
