"""The recording: raw octets of links as received, for replay by engineers (DESIGN 4). Forced about each second.

A file is a sequence of records: receive time (int64 ns TAI), length (u32), CRC-32C of the octets (u32), all
little-endian, then the octets. Files are `<name>/recording/<link>/NNNNNNNN.rec`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from gateway.world import AppendFile, Clock, Storage
from gateway_codecs.crc import crc32c

RECORD = struct.Struct("<qII")
FILE_OCTETS = 256 << 20
RECORD_MAX_OCTETS = 1 << 24
DAY_NS = 86_400 * 1_000_000_000


class Recording:
    """The raw octets of one link. Blocking; runs in a worker."""

    def __init__(self, storage: Storage, clock: Clock, name: str, link: str, keep_days: float) -> None:
        self._storage, self._clock, self._keep_days = storage, clock, keep_days
        self.folder = f"{name}/recording/{link}"
        self._file: AppendFile | None = None
        self._dirty = False

    def append(self, receive_time_ns: int, octets: bytes) -> None:
        """Write one record. Raises OSError."""
        file = self._open()
        file.append([RECORD.pack(receive_time_ns, len(octets), crc32c(octets)), octets])
        self._dirty = True

    def force(self) -> None:
        """Force what was written since the last time."""
        if self._dirty and self._file is not None:
            self._file.sync()
            self._dirty = False

    def _open(self) -> AppendFile:
        if self._file is not None and self._file.size < FILE_OCTETS:
            return self._file
        names = self._storage.names(self.folder)
        if self._file is not None:
            self.force()
            self._file.close()
        number = int(names[-1].split(".")[0]) + 1 if names else 1
        self._file = self._storage.open_append(f"{self.folder}/{number:08}.rec")
        self._retain(names)
        return self._file

    def _retain(self, names: list[str]) -> None:
        oldest = self._clock.tai_ns() - int(self._keep_days * DAY_NS)
        for name in names:
            last = max((t for t, _ in read_records(self._storage, f"{self.folder}/{name}")), default=0)
            if not self._keep_days or last >= oldest:
                return
            self._storage.remove(f"{self.folder}/{name}")

    def close(self) -> None:
        """Force and close."""
        self.force()
        if self._file is not None:
            self._file.close()
            self._file = None


def read_records(storage: Storage, name: str) -> Iterator[tuple[int, bytes]]:
    """Yield (receive time ns, octets) of each good record; ends at the first that is torn or damaged."""
    offset, size = 0, storage.size(name)
    while offset + RECORD.size <= size:
        time_ns, length, crc = RECORD.unpack(storage.read(name, offset, RECORD.size))
        if length > min(RECORD_MAX_OCTETS, size - offset - RECORD.size):
            return
        octets = storage.read(name, offset + RECORD.size, length)
        if crc32c(octets) != crc:
            return
        yield time_ns, octets
        offset += RECORD.size + length
