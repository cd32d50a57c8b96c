"""An MCAP file that is whole up to its latest flush, whatever happens then.

While it is written it is called ``<name>.part``; closed, it gets its name. After a crash the ``.part`` file lacks its
index and its end, no more. When the disk is full it is cut back to the latest flush and ended there, without an index:
readers then go through it from the start (rosbags only if the system clock never went back).
"""

from __future__ import annotations

import errno
import fcntl
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, cast

from mcap.data_stream import RecordBuilder
from mcap.records import DataEnd, Footer
from mcap.writer import MCAP0_MAGIC, CompressionType, Writer

from robot_wm.runtime.tick_log import MESSAGE_ENCODING, PROFILE, SCHEMA_ENCODING, Topic

PART = ".part"


class McapFile:
    """Messages on a few topics; OSError where the disk fails, at any call. One thread at a time.

    Of several processes that ask for one name at once one gets it, the others a FileExistsError.
    """

    def __init__(self, path: Path, topics: Sequence[Topic], *, library: str, metadata: Mapping[str, Mapping[str, str]]):
        self.path = path
        self.part = path.with_name(path.name + PART)
        self._output = _Output(os.open(self.part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
        # Who would import it before it is closed finds it locked; not every file system can.
        with suppress(OSError):
            fcntl.flock(self._output.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._whole_bytes = 0
        # Chunks end with `flush` alone, so that the file is known to be whole up to there.
        self._writer = Writer(cast(IO[Any], self._output), chunk_size=sys.maxsize, compression=CompressionType.ZSTD)
        try:
            # Now that the part is ours: its last owner may have finished just before.
            if self.path.exists():
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(self.path))
            self._writer.start(profile=PROFILE, library=library)
            for name, values in metadata.items():
                self._writer.add_metadata(name, dict(values))
            self._channels: list[int] = []
            for topic in topics:
                self.add_topic(topic)
        except BaseException:
            self.discard()
            raise

    @property
    def topics(self) -> int:
        """How many there are."""
        return len(self._channels)

    @property
    def is_open(self) -> bool:
        """Whether it has neither got its name nor been given up."""
        return self._output.descriptor >= 0

    @property
    def whole_bytes(self) -> int:
        """How much of the file is sure to be whole."""
        return self._whole_bytes

    def add_topic(self, topic: Topic) -> None:
        """One more, whose place is behind the others."""
        schema = self._writer.register_schema(topic.type_name, SCHEMA_ENCODING, topic.definition.encode())
        self._channels.append(self._writer.register_channel(topic.name, MESSAGE_ENCODING, schema))

    def add(self, topic: int, message: bytes, *, sequence: int, log_ns: int, publish_ns: int) -> None:
        """Take a serialised message of the topic with that place in ``topics``; times are of the UNIX epoch."""
        self._writer.add_message(
            self._channels[topic],
            log_time=max(0, log_ns),
            data=message,
            publish_time=max(0, publish_ns),
            sequence=sequence & 0xFFFFFFFF,
        )

    def flush(self) -> None:
        """Write a chunk of all that was added; the file is whole up to here."""
        self._writer.flush()  # type: ignore[no-untyped-call]
        self._whole_bytes = self._output.bytes

    def close(self) -> None:
        """Write the index and give the file its name."""
        self._writer.finish()  # type: ignore[no-untyped-call]
        self._settle()

    def cut_back(self) -> None:
        """After an OSError: end the file, without an index, at its latest flush, and give it its name."""
        self._output.cut_back(self._whole_bytes)
        end = RecordBuilder()
        DataEnd(data_section_crc=0).write(end)
        Footer(summary_start=0, summary_offset_start=0, summary_crc=0).write(end)
        self._output.write(end.end() + MCAP0_MAGIC)  # type: ignore[no-untyped-call]
        self._settle()

    def _settle(self) -> None:
        os.fsync(self._output.descriptor)
        self.part.replace(self.path)
        self._output.close()

    def abandon(self) -> None:
        """Leave the ``.part`` file as it is."""
        self._output.close()

    def discard(self) -> None:
        """Take the ``.part`` file away."""
        self._output.close()
        self.part.unlink(missing_ok=True)


class _Output:
    """What the MCAP writer writes to. Unbuffered, so that an error names what it hit and nothing is tried again."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.bytes = 0

    def write(self, data: bytes) -> int:
        view = memoryview(data)
        while view:
            count = os.write(self.descriptor, view)
            self.bytes += count
            view = view[count:]
        return len(data)

    def tell(self) -> int:
        return self.bytes

    def flush(self) -> None:
        """Nothing waits here."""

    def cut_back(self, size: int) -> None:
        os.ftruncate(self.descriptor, size)
        os.lseek(self.descriptor, size, os.SEEK_SET)
        self.bytes = size

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
