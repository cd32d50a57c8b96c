"""Records every tick to an MCAP file from a thread of its own; ``tick_log`` says what the file holds.

The control thread copies a tick into a ring of messages made ahead, a few microseconds without lock, wait or file.
The recorder's thread takes one tick at a time from it and gives the interpreter back in between: the control thread
would otherwise wait for it up to a switch interval. What goes wrong there ends the recording, never the tick.
"""

from __future__ import annotations

import itertools
import re
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from robot_wm.errors import UserError
from robot_wm.runtime.faults import Fault
from robot_wm.runtime.mcap_file import McapFile
from robot_wm.runtime.message_queue import MessageQueue
from robot_wm.runtime.modes import Mode
from robot_wm.runtime.planning.log import PlanLog
from robot_wm.runtime.recording_limits import RecordingLimits
from robot_wm.runtime.tick_log import (
    ERROR,
    INFO,
    METADATA,
    MODES,
    SCALARS,
    WARN,
    Recorder,
    RecordingInfo,
    TickLog,
    info_message,
    log_message,
)

if TYPE_CHECKING:
    from robot_wm.runtime.command import Command
    from robot_wm.spec import AgentSpec

_FLUSH_S = 0.5  # what a crash may cost
_FLUSH_BYTES = 4 * 2**20
_POLL_S = 0.02
_PAUSE_S = 1e-4  # between two ticks that wait
_QUEUE_BYTES = 64 * 2**20  # camera images would make a queue of many ticks huge
_ROOM_S = 10.0  # between two looks at the folder
_NEWS = 100  # lines that wait to be told
_CLOSE_S = 10.0  # a disk that does not answer must not keep the node from ending

_IDLE = (Mode.INACTIVE, Mode.DAMP, Mode.ESTOP)  # nobody drives the robot

_INT32 = np.iinfo(np.int32)
_FLOAT32, _UINT8 = np.dtype(np.float32), np.dtype(np.uint8)


class TickRecorder:
    """Writes ``folder/<task>_<UTC>.mcap``; what happened to each tick is in ``written``, ``dropped`` and ``rested``.

    ``queue_ticks`` ticks may wait for the disk (fewer where images would make that more than 64 MiB); others are
    dropped and counted. A full or failing disk ends the recording: ``error`` says why, the file is readable up to
    there. The file holds all but the last second at any time, under the name ``….mcap.part`` until it ends.
    ``limits`` say when the next file begins, what is deleted and when the recorder rests; ``news`` tells of it.
    Messages of other topics go in by ``beside``. One thread calls ``add`` and puts them there. Raises UserError where
    the file cannot be made.
    """

    def __init__(
        self,
        folder: Path,
        spec: AgentSpec,
        *,
        bundle_sha256: str,
        queue_ticks: int = 1024,
        recorder: Recorder | None = None,
        limits: RecordingLimits | None = None,
    ) -> None:
        if queue_ticks < 1:
            raise UserError(f"the recorder's queue holds at least 1 tick, got {queue_ticks}")
        self._folder, self._spec, self._bundle_sha256, self._recorder = folder, spec, bundle_sha256, recorder
        self._limits = limits = limits or RecordingLimits()
        self._log = log = TickLog(spec)
        tick_bytes = log.tick.dtype.itemsize + sum(layout.dtype.itemsize for layout in log.images.values())
        self._slots = slots = max(1, min(queue_ticks, _QUEUE_BYTES // tick_bytes))
        self._poll_s = min(_POLL_S, slots * spec.control_period_s / 4)
        self._ticks = log.tick.empty(slots)  # [slots]
        self._scalars = self._ticks[list(SCALARS)]  # [slots], the same memory
        self._commands, self._actions = self._ticks["command"], self._ticks["raw_action"]  # [slots, A] each
        self._vectors = [(name, self._ticks[member]) for name, member in log.vectors.items()]  # [slots, O] each
        self._images = [(name, layout.empty(slots)) for name, layout in log.images.items()]
        self._views = [(name, images["data"]) for name, images in self._images]  # [slots, H, W, C] each
        self._seen = [bytearray(slots) for _ in self._images]  # whether the tick had that image
        self._details = [""] * slots
        # Ticks go in at the head and come out at the tail; each is moved by one thread alone.
        self._head = self._tail = self._refused = 0
        self._file_began = 0  # the tail when the file did
        # Recorded in a row, the first in any case: it says why the robot stopped.
        self._idle_ticks = max(1, round(limits.idle_s / spec.control_period_s))
        self._idle = 0  # ticks in a row in which the robot was not driven
        self.rested = 0  # ticks that were left out on purpose
        self._idle_written = 0  # the same, of the ticks that are in the file
        self._rests = False
        self._last: tuple[int, int] | None = None  # mode and faults of the tick before
        self.written = 0  # ticks that are in the file
        self.error = ""  # or why the recording ended
        self._news: deque[str] = deque(maxlen=_NEWS)
        self._topics = [log.tick_topic, log.log_topic, *log.image_topics.values(), log.info_topic]
        self.beside = MessageQueue(_QUEUE_BYTES, first_topic=len(self._topics))
        self._plans = PlanLog(self.beside)
        self._make_room()
        try:
            self.path = self._open_file()
        except OSError as error:
            raise UserError(f"{folder}: cannot record here: {error.strerror or error}") from None
        self._open = True
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tick recorder", daemon=True)
        self._thread.start()

    def _open_file(self) -> Path:
        spec, folder, now = self._spec, self._folder, datetime.now(timezone.utc)
        info = RecordingInfo.of(
            spec,
            bundle_sha256=self._bundle_sha256,
            created_utc=now.isoformat(timespec="milliseconds"),
            recording_id=uuid.uuid4().hex,
            recorder=self._recorder,
        )
        stem = f"{re.sub(r'[^A-Za-z0-9.-]+', '_', spec.task) or 'agent'}_{now:%Y%m%dT%H%M%S}Z"
        folder.mkdir(parents=True, exist_ok=True)
        library, metadata = f"robot_wm {info.robot_wm_version}", {METADATA: info.model_dump()}
        for number in itertools.count(1):
            path = folder / (f"{stem}.mcap" if number == 1 else f"{stem}_{number}.mcap")
            with suppress(FileExistsError):  # the next name, then
                self._file = McapFile(path, self._topics, library=library, metadata=metadata)
                break
        self._begin(f"recording of {spec.task} on {spec.robot}, bundle {self._bundle_sha256}", time.time_ns())
        return path

    def _make_room(self) -> None:
        with suppress(OSError):  # the folder is not there yet, or not ours to tidy up
            self._news += self._limits.make_room(self._folder)

    def news(self) -> Iterator[str]:
        """What there is to tell since the last call, in lines."""
        while self._news:
            yield self._news.popleft()

    def _begin(self, words: str, now_ns: int) -> None:
        """Write the topics' types now, with a first message: whatever is left of the file later can be read."""
        try:
            info = info_message(self._spec, bundle_sha256=self._bundle_sha256, stamp_ns=now_ns)
            for topic, message in ((1, log_message(now_ns, INFO, words)), (len(self._topics) - 1, info)):
                self._file.add(topic, message, sequence=0, log_ns=now_ns, publish_ns=now_ns)
            self._file.flush()
        except OSError:
            self._file.discard()
            raise

    @property
    def dropped(self) -> int:
        """Ticks that are not in the file and never will be."""
        return self._refused + (0 if self._thread.is_alive() else self._head - self.written)

    def add(
        self,
        observation: Mapping[str, NDArray[Any] | None],
        command: Command,
        *,
        stamp_ns: int,
        receipt_ns: int,
        publish_ns: int,
    ) -> bool:
        """Copy one tick: what the controller was given and what it decided; False if it was dropped or left out.

        ``stamp_ns`` is the sample's own time, ``receipt_ns`` and ``publish_ns`` are the system clock's when the sample
        arrived and the command went out. Never blocks, and raises for nothing that an observation can hold.
        """
        if command.mode in _IDLE:
            self._idle += 1
            if self._idle > self._idle_ticks:
                self.rested += 1
                return False
        else:
            self._idle = 0
        head = self._head
        if not self._open or head - self._tail >= self._slots:
            self._refused += 1
            return False
        slot = head % self._slots
        seconds, nanoseconds = divmod(stamp_ns, 1_000_000_000)
        if not _INT32.min <= seconds <= _INT32.max:  # NumPy 1 would write it wrapped
            self._refused += 1
            return False
        try:
            self._scalars[slot] = (
                seconds,
                nanoseconds,
                command.tick,
                receipt_ns,
                publish_ns,
                round(command.observe_us * 1e3),
                round(command.infer_us * 1e3),
                round(command.total_us * 1e3),
                command.value,
                command.surprise,
                command.fault_bits,
                MODES.index(command.mode),
                command.damp,
            )
        except OverflowError:  # a time that is beyond what a message can say
            self._refused += 1
            return False
        self._commands[slot] = command.command
        self._actions[slot] = command.raw_action
        for name, column in self._vectors:
            value = observation.get(name)
            if type(value) is np.ndarray and value.dtype is _FLOAT32 and value.shape == column.shape[1:]:
                column[slot] = value
            else:
                _take_unusual(value, column[slot])
        for (name, view), seen in zip(self._views, self._seen, strict=True):
            value = observation.get(name)
            sound = isinstance(value, np.ndarray) and value.dtype == _UINT8 and value.shape == view.shape[1:]
            if sound:
                view[slot] = value
            seen[slot] = sound
        self._details[slot] = command.detail
        self._head = head + 1
        self._plans.add(command, stamp_ns=stamp_ns, receipt_ns=receipt_ns)
        return True

    def close(self) -> None:
        """Write what waits and end the file. Raises nothing: ``error`` says what went wrong."""
        self._open = False
        self._closing.set()
        self._thread.join(_CLOSE_S)
        if self._thread.is_alive():
            self.error = self.error or f"{self.path}: the disk has not answered for {_CLOSE_S:g} s"

    def _run(self) -> None:
        try:
            self._record()
            self._file.close()
        except Exception as error:  # whatever it is, it must neither reach the robot nor go unseen
            self._open = False
            why = error.strerror if isinstance(error, OSError) and error.strerror else repr(error)
            self.error = f"{self.path}: {why}"
            try:
                if self._file.is_open:  # or it was the next one that could not be made
                    self._file.cut_back()
            except OSError:
                self._file.abandon()
                self.error += f"; it stays {self._file.part.name}"

    def _record(self) -> None:
        flush_at, room_at, pending_bytes = time.monotonic() + _FLUSH_S, time.monotonic() + _ROOM_S, 0
        while True:
            closing = self._closing.is_set()
            waits = self._tail < self._head
            if waits:
                pending_bytes += self._write_tick()
            if beside := self.beside.take():
                pending_bytes += self._write_beside(*beside)
                waits = True
            now_s = time.monotonic()
            if (closing and not waits) or pending_bytes >= _FLUSH_BYTES or now_s >= flush_at:
                self._file.flush()
                self.written, pending_bytes = self._tail, 0
                flush_at = time.monotonic() + _FLUSH_S
                if 0 < self._limits.file_bytes <= self._file.whole_bytes and not closing:
                    self._next_file()
                    room_at = now_s
            if now_s >= room_at:
                self._make_room()
                room_at = time.monotonic() + _ROOM_S
            if closing and not waits:
                return
            if not closing:
                self._closing.wait(_PAUSE_S if waits else self._poll_s)

    def _next_file(self) -> None:
        """End the file, which is large enough, and begin another."""
        self._file.close()
        ended, self.path = self.path, self._open_file()
        self._file_began, self._last = self._tail, None
        self._news.append(f"{ended.name} is full, {self.path.name} begins")

    def _write_beside(self, topic: int, message: bytes, receipt_ns: int, number: int) -> int:
        while self._file.topics <= topic:
            new = self.beside.topics[self._file.topics - len(self._topics)]
            self._file.add_topic(new)
        self._file.add(topic, message, sequence=number, log_ns=receipt_ns, publish_ns=receipt_ns)
        return len(message)

    def _write_tick(self) -> int:
        """Hand the oldest waiting tick to the file; returns its bytes."""
        sequence, slot = self._tail - self._file_began, self._tail % self._slots
        tick = self._ticks[slot]
        times = {"log_ns": int(tick["receipt_ns"]), "publish_ns": int(tick["publish_ns"])}
        message = tick.tobytes()
        self._file.add(0, message, sequence=sequence, **times)
        size = len(message)
        state = int(tick["mode"]), int(tick["fault_bits"])
        if state != self._last:
            self._last = state
            stamp_ns = int(tick["header.stamp.sec"]) * 10**9 + int(tick["header.stamp.nanosec"])
            level, words = _in_words(*state, self._details[slot])
            self._file.add(1, log_message(stamp_ns, level, words), sequence=sequence, **times)
        self._tell_rest(MODES[state[0]])
        for topic, ((_, images), seen) in enumerate(zip(self._images, self._seen, strict=True), 2):
            if seen[slot]:
                images[slot]["header.stamp.sec"] = tick["header.stamp.sec"]
                images[slot]["header.stamp.nanosec"] = tick["header.stamp.nanosec"]
                message = images[slot].tobytes()
                self._file.add(topic, message, sequence=sequence, **times)
                size += len(message)
        self._tail += 1
        return size

    def _tell_rest(self, mode: Mode) -> None:
        """Say when the last tick before a rest was written, and when it is over."""
        idle = self._idle_written = self._idle_written + 1 if mode in _IDLE else 0
        if idle == self._idle_ticks:
            self._news.append(f"recording rests: {mode.value} for {self._limits.idle_s:g} s")
        elif not idle and self._rests:
            self._news.append(f"recording goes on; {self.rested} ticks were left out so far")
        self._rests = idle >= self._idle_ticks


def _take_unusual(value: object, out: NDArray[np.float32]) -> None:
    """Copy what the controller would have cast; anything else is a fault there, and NaN here."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiu" and value.shape == out.shape:
        with np.errstate(over="ignore", invalid="ignore"):
            out[...] = value
    else:
        out.fill(np.nan)


def _in_words(mode: int, fault_bits: int, detail: str) -> tuple[int, str]:
    kind = MODES[mode]
    level = (
        ERROR if kind in (Mode.DAMP, Mode.ESTOP) else WARN if fault_bits or kind in (Mode.HOLD, Mode.CROUCH) else INFO
    )
    names = [fault.name for fault in Fault if fault.value & fault_bits]
    words = f"{kind.value}: {', '.join(map(str, names))}" if names else kind.value
    return level, f"{words} ({detail})" if detail else words
