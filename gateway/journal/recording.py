"""The recording: raw octets of links as received, for replay by engineers (DESIGN 4). Forced about each second.

A recording is a folder that can be copied, `<name>/recording/<link>`: `about.json` says what it is, `00260026.rec` are
sequences of records: receive time (int64 ns TAI), length (u32), CRC-32C of these and the octets (u32),
all little-endian, then the octets. A record without octets is the beginning of a connection: the next octets begin
a new unit. A datagram that holds no whole number of units stands between two of them; others need no bounds.

A file ends at 256 MiB, or when its first record is a day old (or `keep_days`, if that is less). Retention removes
whole oldest files, never the newest; age counts up to the newest record, as in the journal, in time without the steps
of the wall clock: a link that is silent keeps what it has, and a clock that jumps makes nothing older.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.world import AppendFile, Clock, Storage
from gateway_codecs.crc import crc32c

ABOUT = "about.json"
HEAD, CHECK = struct.Struct("<qI"), struct.Struct("<I")
RECORD_OCTETS = HEAD.size + CHECK.size
FILE_OCTETS = 256 << 20
RECORD_MAX_OCTETS = 1 << 24
DAY_NS = 86_400 * 1_000_000_000


class Recording:
    """The raw octets of one link. Blocking; runs in a worker."""

    def __init__(
        self, storage: Storage, clock: Clock, folder: str, about: Mapping[str, Any], keep_days: float, reserve: int = 0
    ) -> None:
        self._storage, self._clock, self._keep_days, self._reserve_octets = storage, clock, keep_days, reserve
        self.folder, self._about = folder, about
        self._file: AppendFile | None = None
        self._dirty = self._torn = False
        self._span_ns = int(min(keep_days or 1, 1) * DAY_NS)  # of one file
        self._began_ns = self._newest_ns = 0  # steady time: records are stamped with wall time
        self._began: dict[str, int] = {}  # when the files of this run began; of older ones their stamps say it

    def begin(self) -> None:
        """A connection begins: what comes next is not joined to what came before. Raises OSError."""
        self.append(self._clock.tai_ns(), b"")

    def append_all(self, receive_time_ns: int, octets: bytes, datagrams: Sequence[int] | None = None) -> None:
        """Write octets of a stream, or of datagrams of so many octets each, as records. Raises OSError."""
        for piece in [octets] if datagrams is None else _pieces(octets, datagrams, int(self._about["unit_octets"])):
            self.append(receive_time_ns, piece)

    def append(self, receive_time_ns: int, octets: bytes) -> None:
        """Write one record. Raises OSError: then the octets are lost, and the next ones begin a new unit.

        It is the first to stop when the disk fills up: it takes nothing of the reserve.
        """
        try:
            if self._storage.free_octets() < self._reserve_octets:
                raise OSError(errno.ENOSPC, f"the reserve of {self._reserve_octets} octets is kept")
            if self._torn:
                self._write(receive_time_ns, b"")
            self._write(receive_time_ns, octets)
            self._torn = False
        except OSError:
            self._give_up_file()
            raise

    def _write(self, receive_time_ns: int, octets: bytes) -> None:
        head, now_ns = HEAD.pack(receive_time_ns, len(octets)), self._clock.steady_tai_ns()
        self._open(now_ns).append([head, CHECK.pack(crc32c(head + octets)), octets])
        self._dirty, self._newest_ns = True, now_ns

    def _give_up_file(self) -> None:
        """A torn record ends its file: what comes next goes into a new one."""
        self._torn, self._dirty = True, False
        if self._file is not None:
            file, self._file = self._file, None
            with contextlib.suppress(OSError):
                file.close()

    def force(self) -> None:
        """Force what was written since the last time. Raises OSError."""
        if self._dirty and self._file is not None:
            try:
                self._file.sync()
            except OSError:
                self._give_up_file()
                raise
            self._dirty = False

    def _open(self, now_ns: int) -> AppendFile:
        if self._file is not None and self._file.size < FILE_OCTETS and now_ns - self._began_ns < self._span_ns:
            return self._file
        names = record_files(self._storage, self.folder)
        if self._file is not None:
            self.force()
            self._file.close()
        number = int(names[-1].split(".")[0]) + 1 if names else 1
        if not names:
            self._storage.write_whole(f"{self.folder}/{ABOUT}", json.dumps(dict(self._about), indent=1).encode())
        name = f"{number:08}.rec"
        self._file = self._storage.open_append(f"{self.folder}/{name}")
        self._began_ns = self._began[name] = now_ns
        return self._file

    def retain(self) -> None:
        """Remove files older than the limit: a file is as old as the next one's first record. Raises OSError."""
        if not self._keep_days or not self._newest_ns:
            return
        oldest = self._newest_ns - int(self._keep_days * DAY_NS)
        for name, following in itertools.pairwise(record_files(self._storage, self.folder)):
            began_ns = self._file_began_ns(following)
            if began_ns is None or began_ns >= oldest:
                return
            self._storage.remove(f"{self.folder}/{name}")
            self._began.pop(name, None)

    def _file_began_ns(self, name: str) -> int | None:
        if name in self._began:
            return self._began[name]
        first = next(read_records(self._storage, f"{self.folder}/{name}"), None)
        return None if first is None else first[0]

    def close(self) -> None:
        """Force and close."""
        self.force()
        if self._file is not None:
            self._file.close()
            self._file = None


def _pieces(octets: bytes, datagrams: Sequence[int], unit_octets: int) -> list[bytes]:
    """Return what is recorded of datagrams: whole units back to back, one of another size between two beginnings."""
    pieces: list[bytes] = []
    begin = end = 0
    for length in datagrams:
        if length % unit_octets:
            pieces += [octets[begin:end]] if end > begin else []
            pieces += [b"", octets[end : end + length], b""]
            begin = end + length
        end += length
    return pieces + ([octets[begin:end]] if end > begin else [])


def read_records(storage: Storage, name: str) -> Iterator[tuple[int, bytes]]:
    """Yield (receive time ns, octets) of each good record; ends at the first that is torn or damaged."""
    offset, size = 0, storage.size(name)
    while offset + RECORD_OCTETS <= size:
        head = storage.read(name, offset, RECORD_OCTETS)
        time_ns, length = HEAD.unpack_from(head)
        if length > min(RECORD_MAX_OCTETS, size - offset - RECORD_OCTETS):
            return
        octets = storage.read(name, offset + RECORD_OCTETS, length)
        if CHECK.pack(crc32c(head[: HEAD.size] + octets)) != head[HEAD.size :]:
            return
        yield time_ns, octets
        offset += RECORD_OCTETS + length


def record_files(storage: Storage, folder: str) -> list[str]:
    """Return the names of a recording's files, oldest first."""
    return [name for name in storage.names(folder) if name.endswith(".rec")]


@dataclass(slots=True)
class WholeUnits:
    """A recording as whole units back to back: iterate; `left_out_octets` lay in units that a cut left incomplete."""

    storage: Storage
    folder: str
    unit_octets: int
    left_out_octets: int = 0

    def __iter__(self) -> Iterator[bytes]:
        rest = b""
        for name in record_files(self.storage, self.folder):
            for _, octets in read_records(self.storage, f"{self.folder}/{name}"):
                if not octets:
                    self.left_out_octets += len(rest)
                    rest = b""
                    continue
                data = rest + octets
                whole = len(data) // self.unit_octets * self.unit_octets
                rest = data[whole:]
                if whole:
                    yield data[:whole]
        self.left_out_octets += len(rest)


def read_about(storage: Storage, folder: str) -> dict[str, Any]:
    """Return what a recording says of itself. Raises FileNotFoundError, ValueError."""
    about = json.loads(storage.read(f"{folder}/{ABOUT}", 0, 1 << 16))
    if not isinstance(about, dict) or not isinstance(about.get("unit_octets"), int) or about["unit_octets"] < 1:
        raise ValueError(f"{folder}/{ABOUT} does not say unit_octets")
    return about
