"""Ticks that say which they are, recorded and read back: what the recorder's tests share."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory
from rosbags.highlevel import AnyReader

from robot_wm.replay.recording import read_recording
from robot_wm.runtime.command import Command
from robot_wm.runtime.modes import Mode
from robot_wm.runtime.recorder import TickRecorder
from robot_wm.spec import AgentSpec

SHA = "5" * 64
BEGIN_NS = 2_100_000_000 * 10**9  # 2036: after the message that a recording begins with
PERIOD_NS = 20_000_000


def open_recorder(folder: Path, spec: AgentSpec, **options) -> TickRecorder:
    return TickRecorder(folder, spec, bundle_sha256=SHA, **options)


def make_tick(spec: AgentSpec, k: int) -> tuple[dict[str, np.ndarray], Command]:
    """Tick k with values that say k."""
    rng = np.random.default_rng(k)
    observation = {
        field.name: rng.integers(0, 256, field.shape, dtype=np.uint8)
        if field.is_image
        else rng.normal(k, 1, field.shape).astype(np.float32)
        for field in spec.observations
        if field.source != "last_action"
    }
    vector = rng.normal(size=(3, spec.action_dim)).astype(np.float32)
    return observation, Command(
        command=vector[0],
        action=vector[1],
        raw_action=vector[2],
        tick=k + 1,
        mode=Mode.ACTIVE,
        damp=False,
        value=rng.normal(),
        surprise=rng.normal(),
        observe_us=k * 1e-3 + 5,
        infer_us=97.001,
        total_us=123.456,
    )


def add(recorder: TickRecorder, observation, command: Command, k: int) -> bool:
    stamp_ns = BEGIN_NS + k * PERIOD_NS
    return recorder.add(
        observation, command, stamp_ns=stamp_ns, receipt_ns=stamp_ns + 1_000, publish_ns=stamp_ns + 2_000
    )


def record(recorder: TickRecorder, spec: AgentSpec, ticks: int) -> None:
    for k in range(ticks):
        assert add(recorder, *make_tick(spec, k), k)


def wait_for(condition, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def readable_ticks(path: Path) -> list[int]:
    """Tick numbers in a file, as three readers agree."""
    own = read_recording(path)
    assert own.damage == ()
    with AnyReader([path]) as reader:
        messages = [(c, raw) for c, _, raw in reader.messages() if c.topic == "/agent/tick"]
        by_rosbags = [reader.deserialize(raw, c.msgtype).tick for c, raw in messages]
    with path.open("rb") as file:
        decoded = make_reader(file, decoder_factories=[DecoderFactory()]).iter_decoded_messages(topics=["/agent/tick"])
        by_mcap = [tick.tick for _, _, _, tick in decoded]
    assert own.ticks["tick"].tolist() == by_rosbags == by_mcap
    return by_rosbags
