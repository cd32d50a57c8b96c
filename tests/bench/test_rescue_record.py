"""When a run is looked at, when it is over, and what it is said to have needed."""

import csv
import json

import numpy as np
import pytest

from robot_wm.errors import UserError
from robot_wm_bench.rescue.command import bench_rescue
from robot_wm_bench.rescue.evaluation import Evaluated
from robot_wm_bench.rescue.record import LOOKS, Record
from robot_wm_bench.rescue.runs import summarise
from robot_wm_sim.randomisation.ranges import BOUNDS, load_randomisation

HZ = 50.0


@pytest.fixture
def record(tmp_path):
    """A record of a source return of 1000, whose looks show the returns that are given."""
    returns = []

    def evaluate(policy):
        mean = returns.pop(0)
        return Evaluated(np.array([mean - 10.0, mean + 10.0]), 1.0)

    with Record(tmp_path, rate_hz=HZ, source_return=1000.0, evaluate=evaluate, robots=2, limit_s=100.0) as record:
        record.returns = returns
        yield record


def run(record, returns, fall_every=500):
    """Steps until the record is over, a fall every so many; how many steps were taken."""
    record.returns[:] = returns
    record.look(0, None)
    step = 0
    while not record.over:
        step += 1
        if step % fall_every == 0:
            record.episode(1.0)
        if record.due(step):
            record.look(step, None)
    return step


def test_looks_come_every_ten_seconds_for_a_minute_and_then_ever_more_seldom(record, tmp_path):
    assert run(record, [0.0] * 20) == 100 * HZ
    assert [look.target_s for look in record.looks] == [0, 10, 20, 30, 40, 50, 60, 75, 93.76, 100]
    with (tmp_path / LOOKS).open() as file:
        assert [float(row["target_s"]) for row in csv.DictReader(file)] == [look.target_s for look in record.looks]


def test_a_robot_is_rescued_at_the_first_of_two_looks_that_reach_the_goal(record):
    assert run(record, [300, 950, 500, 899, 900, 950, 0]) == 50 * HZ
    summary = record.summary()
    assert (summary["rescued_s"], summary["falls_until_rescued"], summary["target_s"]) == (40.0, 4, 50.0)
    assert (summary["share_before"], summary["best_share"]) == (0.3, 0.95)
    assert (summary["share_at_60_s"], summary["falls_at_60_s"]) == (0.95, 5)


def test_one_good_look_is_a_rescue_only_where_it_is_the_last(record):
    assert run(record, [300] * 9 + [920]) == 100 * HZ
    assert record.summary()["rescued_s"] == 100.0


def test_who_never_reaches_the_goal_was_not_rescued(record):
    run(record, [300, 950, *[300] * 8])
    summary = record.summary()
    assert (summary["rescued_s"], summary["falls_until_rescued"]) == (None, None)
    assert (summary["falls"], summary["episodes"], summary["falls_at_60_s"]) == (10, 10, 6)


def test_who_walks_at_once_needs_nothing(record):
    assert run(record, [990, 980]) == 10 * HZ
    assert (record.summary()["rescued_s"], record.summary()["falls_until_rescued"]) == (0.0, 0)


def test_falls_that_nobody_tells_are_not_told(record):
    record.returns[:] = [300.0]
    record.episode(float("nan"))
    record.look(0, None)
    assert record.summary()["falls"] is None
    assert record.looks[0].told()["falls"] is None
    json.dumps(record.looks[0].told(), allow_nan=False)


def result(name, rescued_s, falls):
    told = dict(source_return=1000.0, share_before=0.3, share_at_60_s=0.5, best_share=1.0, falls_at_60_s=2, falls=9)
    return {"name": name, "rescued_s": rescued_s, "falls_until_rescued": falls, "target_s": 600.0, **told}


def test_a_seed_that_was_not_rescued_counts_as_infinitely_late():
    sac = [result("sac", 40.0, 1), result("sac", 80.0, 3), result("sac", None, None)]
    crossq = [result("crossq", 40.0, 1), result("crossq", None, None), result("crossq", None, None)]
    first, second = summarise([*sac, *crossq])
    assert (first["method"], first["rescued"], first["in_60_s"]) == ("sac", 2, 1)
    assert (first["rescued_s"], first["falls_until_rescued"]) == (80.0, 3)
    assert (second["rescued"], second["rescued_s"], second["falls_until_rescued"]) == (1, None, None)


def test_the_changed_robot_is_heavier_weaker_and_later_and_the_same_in_every_episode():
    from importlib.resources import files

    world = load_randomisation(str(files("robot_wm_bench.rescue") / "target.yaml"))
    ranges = {name: world.range_of(name) for name in BOUNDS if world.range_of(name)}
    assert all(found.low == found.high for found in ranges.values())
    values = {name: found.low for name, found in ranges.items()}
    latency_s = values.pop("observation_latency_s") + values.pop("action_latency_s")
    assert latency_s == pytest.approx(0.040)
    assert values == {"mass_scale": 1.25, "motor_strength": 0.7}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"methods": "td3"}, "unknown 'td3'"),
        ({"methods": ","}, "--methods: names none"),
        ({"adaptation": {"rewards": "guessed"}}, "--adaptation.*rewards"),
        ({"adaptation": {"rehearse-share": "1"}}, "rehearse_share"),
        ({"dreamer": {"anchr": "1"}}, "anchr"),
        ({"seeds": "one"}, "--seeds"),
        ({"agent": "zoo:nobody"}, "zoo:nobody"),
        ({"target": {"backend": "mujoco", "colour": "red"}}, "colour"),
        ({"drive": {"command-period-s": "0"}}, "command_period_s 0"),
        ({"lessons": {"rounds": "0"}}, "lessons"),
    ],
)
def test_bad_input_is_one_line_before_any_run(tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        bench_rescue(out=tmp_path, **options)
    assert not list(tmp_path.iterdir())
