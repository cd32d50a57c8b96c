"""A recording tells of each tick what the planner had to do with it, to anybody's reader."""

from __future__ import annotations

import math

from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory
from recorder_ticks import BEGIN_NS, PERIOD_NS, add, make_tick, open_recorder, readable_ticks

from robot_wm.runtime.planning.log import SOURCES, plan_topic
from robot_wm.runtime.planning.use import PlanUse, Source


def decoded(path, topic="/agent/plan"):
    with path.open("rb") as file:
        reader = make_reader(file, decoder_factories=[DecoderFactory()])
        return [
            (channel.topic, schema.name, message.sequence, content)
            for schema, channel, message, content in reader.iter_decoded_messages(topics=[topic])
        ]


def test_every_tick_of_an_agent_with_a_planner(tmp_path, make_spec):
    spec = make_spec()
    recorder = open_recorder(tmp_path, spec)
    uses = [
        PlanUse(),
        PlanUse(Source.PLANNED, age=0, gain=0.5, value=12.0, plan_us=812.345),
        PlanUse(Source.REUSED, age=1, gain=0.5),
        PlanUse(Source.LATE, why="it was late", plan_us=4000.0),
    ]
    for k, use in enumerate(uses):
        observation, command = make_tick(spec, k)
        command.plan, command.plan_us = use, use.plan_us + 1.0
        assert add(recorder, observation, command, k)
    recorder.close()
    assert recorder.error == ""
    found = decoded(recorder.path)
    assert [(name, sequence) for _, name, sequence, _ in found] == [("robot_wm_msgs/msg/Plan", k) for k in range(4)]
    plans = [content for *_, content in found]
    assert [plan.tick for plan in plans] == [1, 2, 3, 4]
    assert [SOURCES[plan.source] for plan in plans] == [use.source for use in uses]
    assert [plan.age for plan in plans] == [-1, 0, 1, -1]
    assert [plan.plan_ns for plan in plans] == [0, 812345, 0, 4000000]
    assert [plan.think_ns for plan in plans] == [1000, 813345, 1000, 4001000]
    assert (plans[1].gain, plans[1].value) == (0.5, 12.0)
    assert math.isnan(plans[0].gain)
    stamp = plans[3].header.stamp
    assert stamp.sec * 10**9 + stamp.nanosec == BEGIN_NS + 3 * PERIOD_NS
    assert readable_ticks(recorder.path) == [1, 2, 3, 4], "and the ticks are what they were"


def test_without_a_planner_there_is_no_topic(tmp_path, make_spec):
    recorder = open_recorder(tmp_path, make_spec())
    add(recorder, *make_tick(make_spec(), 0), 0)
    recorder.close()
    assert decoded(recorder.path) == []


def test_what_is_not_recorded_of_a_tick_is_not_of_its_plan(tmp_path, make_spec):
    recorder = open_recorder(tmp_path, make_spec())
    observation, command = make_tick(make_spec(), 0)
    command.plan = PlanUse()
    recorder.close()
    assert not add(recorder, observation, command, 0)
    assert decoded(recorder.path) == []


def test_a_source_keeps_its_number():
    """Files are read for years."""
    assert [source.value for source in SOURCES] == ["actor", "planned", "reused", "late"]
    assert set(SOURCES) == set(Source)
    assert "uint8 SOURCE_ACTOR=0\nuint8 SOURCE_PLANNED=1\nuint8 SOURCE_REUSED=2\nuint8 SOURCE_LATE=3" in (
        plan_topic().definition
    )
