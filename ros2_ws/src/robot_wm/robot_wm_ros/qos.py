"""Quality of service by purpose. A reliable subscriber gets nothing from a best-effort publisher; the reverse works."""

from __future__ import annotations

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy


def _keep_last(
    depth: int, reliability: ReliabilityPolicy, durability: DurabilityPolicy = DurabilityPolicy.VOLATILE
) -> QoSProfile:
    return QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=depth, reliability=reliability, durability=durability)


# Streams: only the newest sample counts, and any publisher is heard, whatever it offers.
SENSORS = _keep_last(1, ReliabilityPolicy.BEST_EFFORT)
CAMERA = _keep_last(1, ReliabilityPolicy.BEST_EFFORT)

# What an operator may send just once, such as a target: it must not get lost.
REQUESTS = _keep_last(1, ReliabilityPolicy.RELIABLE)

# To the controllers, which subscribe reliably.
COMMANDS = _keep_last(1, ReliabilityPolicy.RELIABLE)

# States such as an e-stop: who joins late gets the last one.
LATCHED = _keep_last(1, ReliabilityPolicy.RELIABLE, DurabilityPolicy.TRANSIENT_LOCAL)

# Pulses of which each counts, as from a button that says so many times a second whether it is pressed: those of a
# configuration that takes its time must all be there after it.
_PULSES = 1000
LATCHED_PULSES = _keep_last(_PULSES, ReliabilityPolicy.RELIABLE, DurabilityPolicy.TRANSIENT_LOCAL)
RELIABLE_PULSES = _keep_last(_PULSES, ReliabilityPolicy.RELIABLE)
PULSES = _keep_last(_PULSES, ReliabilityPolicy.BEST_EFFORT)

# Only the newest tells anything, and losing it would look like a death.
HEARTBEAT = _keep_last(1, ReliabilityPolicy.RELIABLE)

# Every sample counts, also when the reader is late by half a second at 200 Hz.
TRACE = _keep_last(100, ReliabilityPolicy.RELIABLE)

# What is recorded beside the ticks: at any rate, in bursts, latched or not.
BESIDE = _keep_last(10, ReliabilityPolicy.BEST_EFFORT)
LATCHED_BESIDE = _keep_last(10, ReliabilityPolicy.RELIABLE, DurabilityPolicy.TRANSIENT_LOCAL)

# As diagnostic_updater publishes.
DIAGNOSTICS = _keep_last(1, ReliabilityPolicy.RELIABLE)
