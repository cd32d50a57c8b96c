"""Recordings that are told as stories, a character each tick: what the tests of imports share."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from robot_wm.replay.recording import TickRecording
from robot_wm.runtime.mcap_file import McapFile
from robot_wm.runtime.tick_log import METADATA, RecordingInfo, TickLog
from robot_wm.spec import ActionSpec, AgentSpec, CommandField, FirmwareProfile, ObservationField

SHA = "5" * 64
PERIOD_NS = 20_000_000
BEGIN_NS = 2_100_000_000 * 10**9 - 2 * PERIOD_NS  # so that seconds turn in the middle of what is recorded

# Stories are recordings, a character each tick …
TICKS = {
    ".": "a tick that the robot followed",
    "F": "a fault",
    "D": "damp",
    "C": "a command of which one element is NaN; c: infinite",
    "O": "an observation of which one element is NaN",
    "I": "no image",
}
# … and what lies between two of them, where it is not one control period and the next number.
BETWEEN = {
    "-": "a tick that was not recorded",
    "e": "the next sample is too early: after half a period less 1 ns",
    "h": "… after half a period",
    "H": "… after one and a half periods",
    "l": "… is too late: after one and a half periods and 1 ns",
    "r": "numbers begin again at 1",
    "s": "a control period in which the machine was busy: no tick, and the next has the next number",
}
GAP_NS = {"e": PERIOD_NS // 2 - 1, "h": PERIOD_NS // 2, "H": PERIOD_NS * 3 // 2, "l": PERIOD_NS * 3 // 2 + 1}

# A robot with everything that an episode is made of: a sensor, an operator, the last action and a camera.
SPEC = AgentSpec(
    task="drive",
    robot="toy",
    control_rate_hz=50,
    physics_rate_hz=500,
    observations=(
        ObservationField(name="mark", shape=(2,), unit="1"),
        ObservationField(name="wish", shape=(2,), unit="m/s", source="command"),
        ObservationField(name="last_action", shape=(2,), unit="rad", source="last_action"),
        ObservationField(name="camera", shape=(2, 3, 1), dtype="uint8", unit="1"),
    ),
    action=ActionSpec(mode="position", joints=("hip", "knee"), unit="rad", scale=(2.0, 0.25), offset=(0.0, 0.5)),
    commands=(
        CommandField(name="forward", unit="m/s", low=-0.5, high=1.0),
        CommandField(name="left", unit="m/s", low=-2.0, high=2.0),
    ),
    firmware=FirmwareProfile(name="toy"),
)


def tell(story: str, spec: AgentSpec = SPEC, **says) -> TickRecording:
    """The recording of a story: tick n says n in all that is in it; ``says`` is of its info."""
    log = TickLog(spec)
    count = sum(char not in BETWEEN for char in story)
    ticks = log.tick.empty(count)
    images: dict[str, dict[int, np.ndarray]] = {name: {} for name in log.images}
    n, number, stamp_ns, gap_ns = 0, 1, BEGIN_NS, 0
    for char in story:
        if char == "-":
            number, stamp_ns = number + 1, stamp_ns + PERIOD_NS
        elif char == "r":
            number = 1
        elif char == "s":
            stamp_ns += PERIOD_NS
        elif char in GAP_NS:
            gap_ns = GAP_NS[char] - PERIOD_NS
        else:
            stamp_ns, gap_ns = stamp_ns + gap_ns, 0
            tick = ticks[n]
            tick["tick"] = number
            tick["header.stamp.sec"], tick["header.stamp.nanosec"] = divmod(stamp_ns, 10**9)
            tick["receipt_ns"], tick["publish_ns"] = stamp_ns + 1_000_000, stamp_ns + 2_000_000
            tick["fault_bits"], tick["damp"] = 4 * (char == "F"), char == "D"
            tick["command"] = n, {"C": np.nan, "c": -np.inf}.get(char, 0.5)
            tick["raw_action"] = np.nan  # what the policy asked for is no part of an episode
            for member in log.vectors.values():
                tick[member] = np.nan if char == "O" else n, -n
            for name, shown in images.items():
                if char != "I":
                    shown[n] = np.full(log.images[name].dtype["data"].shape, n % 256, np.uint8)
            n, number, stamp_ns = n + 1, number + 1, stamp_ns + PERIOD_NS
    info = RecordingInfo.of(spec, bundle_sha256=SHA, created_utc="2036-07-18T13:20:00.000+00:00", **says)
    return TickRecording(info, spec, log, ticks, images, (), np.arange(count))


def write(path: Path, recording: TickRecording, only: slice = slice(None)) -> Path:
    """A recording as a file, or some ticks of it, as a tool cuts them out."""
    log = recording.log
    topics = (log.tick_topic, log.log_topic, *log.image_topics.values())
    file = McapFile(path, topics, library="test", metadata={METADATA: recording.info.model_dump()})
    for n, tick in list(enumerate(recording.ticks))[only]:
        times = {"log_ns": int(tick["receipt_ns"]), "publish_ns": int(tick["publish_ns"])}
        file.add(0, tick.tobytes(), sequence=n, **times)
        for topic, (name, shown) in enumerate(recording.images.items(), 2):
            if n in shown:
                image = log.images[name].empty(1)
                image["data"] = shown[n]
                file.add(topic, image.tobytes(), sequence=n, **times)
    file.close()
    return path
