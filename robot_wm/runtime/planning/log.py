"""What a recording tells of a planner: one message a tick beside the tick's own, where the controller has one."""

from __future__ import annotations

from robot_wm.runtime.cdr import Member, MessageLayout, header
from robot_wm.runtime.command import Command
from robot_wm.runtime.message_queue import MessageQueue
from robot_wm.runtime.planning.use import Source
from robot_wm.runtime.tick_log import HEADER_TYPES, PLAN_TOPIC, Topic, joined

# Their places are the numbers in files: only ever append.
SOURCES = (Source.ACTOR, Source.PLANNED, Source.REUSED, Source.LATE)

# NumPy's type, ROS's, name, what it is; in the order of a message.
_NUMBERS = (
    ("<u8", "uint64", "tick", "that of the tick's own message"),
    (
        "u1",
        "uint8",
        "source",
        "whose action the target was, one of those above, but for the blend from one to the other",
    ),
    ("<i4", "int32", "age", "ticks since the plan's search; -1: no plan was used"),
    ("<f8", "float64", "gain", "of the last search: its return over that of the actor's own sequence"),
    ("<f8", "float64", "value", "of this tick's search: the return that it expects; NaN: there was none"),
    ("<i8", "int64", "plan_ns", "from asking the planner until its plan was taken or given up; 0: it was not asked"),
    ("<i8", "int64", "think_ns", "took: deciding whether to think, and thinking"),
)
_TYPE = "robot_wm_msgs/msg/Plan"


def plan_topic() -> Topic:
    """The topic, with its message's definition."""
    lines = ["# What the planner of a robot_wm agent had to do with one tick.", "std_msgs/Header header"]
    lines += [f"uint8 SOURCE_{source.name}={number}" for number, source in enumerate(SOURCES)]
    lines += [f"{kind} {name}  # {meaning}" for _, kind, name, meaning in _NUMBERS]
    return Topic(PLAN_TOPIC, _TYPE, joined("\n".join(lines) + "\n", HEADER_TYPES))


LAYOUT = MessageLayout((*header("header"), *(Member(name, dtype) for dtype, _, name, _ in _NUMBERS)))


class PlanLog:
    """Puts a message for each tick of a controller with a planner into ``queue``; its topic is there from the first."""

    def __init__(self, queue: MessageQueue) -> None:
        self._queue = queue
        self._message = LAYOUT.empty(1)
        self._key: int | None = None

    def add(self, command: Command, *, stamp_ns: int, receipt_ns: int) -> bool:
        """Copy what ``command.plan`` tells of a tick; False if there was no room, or it tells nothing."""
        use = command.plan
        if use is None:
            return False
        if self._key is None:
            self._key = self._queue.add_topic(plan_topic())
        message = self._message
        message["header.stamp.sec"], message["header.stamp.nanosec"] = divmod(stamp_ns, 10**9)
        message["tick"] = command.tick
        message["source"] = SOURCES.index(use.source)
        message["age"], message["gain"], message["value"] = use.age, use.gain, use.value
        message["plan_ns"], message["think_ns"] = round(use.plan_us * 1e3), round(command.plan_us * 1e3)
        return self._queue.put(self._key, message.tobytes(), receipt_ns)
