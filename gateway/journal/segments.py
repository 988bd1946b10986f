"""Segment files of blocks: writing, finding a position, recovering, reporting damage. Blocking; runs in workers.

Segments are `<folder>/NNNNNNNN.seg`. The first block of a segment and every block marked SNAPSHOT carries the
whole state; these are also the marks of the sparse index, kept in memory and, to make the next start short,
in `<folder>/index.json`, which may be deleted at any time.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from gateway.journal.block import (
    BLOCK_MAX_OCTETS,
    HEADER_OCTETS,
    MAGIC,
    SNAPSHOT,
    Block,
    BlockError,
    Header,
    decode_block,
    read_header,
)
from gateway.journal.state import merge
from gateway.world import Storage

SEARCH_OCTETS = 1 << 20
INDEX = "index.json"
FIRST_SEGMENT = "00000001.seg"


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """A snapshot block: where a scan can begin."""

    position: int
    sequence: int
    segment: str
    offset: int


@dataclass(frozen=True, slots=True)
class Damage:
    """A range [first, end) of positions that cannot be read, and where on disk."""

    first: int
    end: int
    segment: str
    offset: int
    cause: str


@dataclass(slots=True)
class Recovery:
    """What opening a journal found."""

    head: int = 0
    sequence: int = 0
    state: dict[str, Any] = field(default_factory=dict)
    journal_id: bytes = b""
    revision: int = 1
    segment: str = ""
    segment_octets: int = 0
    cut_octets: int = 0
    damaged: list[Damage] = field(default_factory=list)
    commit_time_ns: int = 0
    blocks_read: int = 0


@dataclass(frozen=True, slots=True)
class Found:
    """One place of a scan: a header, or damage (`end_offset` = where the next block begins)."""

    offset: int
    end_offset: int
    header: Header | None
    cause: str = ""


class Segments:
    """The segment files of one journal."""

    def __init__(self, storage: Storage, folder: str) -> None:
        self._storage = storage
        self.folder = folder
        self.marks: list[Mark] = []
        self._hints: dict[int, tuple[str, int]] = {}

    def names(self) -> list[str]:
        """Return the segments, oldest first."""
        return [n for n in self._storage.names(self.folder) if n.endswith(".seg")]

    def path(self, segment: str) -> str:
        """Return the storage name of a segment."""
        return f"{self.folder}/{segment}"

    def scan(self, segment: str, offset: int = 0) -> Iterator[Found]:
        """Walk block headers from `offset`; damage is stepped over by the next good header."""
        size = self._storage.size(self.path(segment))
        while offset < size:
            try:
                header = read_header(self._storage.read(self.path(segment), offset, HEADER_OCTETS))
                cause = "incomplete block" if offset + header.block_octets > size else ""
            except BlockError as error:
                header, cause = None, str(error)
            if header is not None and not cause:
                yield Found(offset, offset + header.block_octets, header)
                offset += header.block_octets
                continue
            after = self._next_block(segment, offset + 8, size)
            yield Found(offset, after, None, cause)
            offset = after

    def _next_block(self, segment: str, offset: int, size: int) -> int:
        """Return where the next good header begins, or the size."""
        while offset < size:
            data = self._storage.read(self.path(segment), offset, SEARCH_OCTETS)
            at = data.find(MAGIC)
            while at >= 0:
                try:
                    read_header(self._storage.read(self.path(segment), offset + at, HEADER_OCTETS))
                except BlockError:
                    at = data.find(MAGIC, at + 1)
                    continue
                return offset + at
            if len(data) <= len(MAGIC):
                break
            offset += max(len(data) - len(MAGIC) + 1, 1)
        return size

    def load(self, segment: str, found: Found) -> Block:
        """Read one block and check it. Raises BlockError, OSError."""
        length = min(found.end_offset - found.offset, BLOCK_MAX_OCTETS)
        return decode_block(self._storage.read(self.path(segment), found.offset, length))

    # ---- finding ----

    def at(self, position: int, head: int) -> tuple[Block | None, int, Damage | None]:
        """Return (block, position to go on with, damage) for the block that holds `position`."""
        segment, offset, expected = self._start_for(position)
        while segment:
            for found in self.scan(segment, offset):
                if found.header is None:
                    continue
                first, end = found.header.first_position, found.header.end_position
                if first > position:
                    gap = Damage(max(position, expected), first, segment, found.offset, "block destroyed")
                    return None, first, gap
                self.hint(end, segment, found.end_offset)
                if end > position:
                    return self._checked(segment, found, position)
                expected = end
            segment, offset = self._following(segment), 0
        return None, head, Damage(position, head, "", 0, "block destroyed")

    def _checked(self, segment: str, found: Found, position: int) -> tuple[Block | None, int, Damage | None]:
        header = found.header
        if header is None:
            raise AssertionError("only blocks with a header are checked")
        try:
            return self.load(segment, found), header.end_position, None
        except BlockError as error:
            damage = Damage(
                max(position, header.first_position), header.end_position, segment, found.offset, str(error)
            )
            return None, header.end_position, damage

    def hint(self, position: int, segment: str, offset: int) -> None:
        """Remember where the block that begins at `position` lies."""
        if len(self._hints) > 4096:
            self._hints.clear()
        self._hints[position] = (segment, offset)

    def _start_for(self, position: int) -> tuple[str, int, int]:
        hint = self._hints.get(position)
        if hint is not None:
            return (*hint, position)
        k = bisect_right(self.marks, position, key=lambda m: m.position) - 1
        # several marks may share a position (blocks without items): the earliest is as good
        if k < 0:
            names = self.names()
            return (names[0] if names else "", 0, position)
        return self.marks[k].segment, self.marks[k].offset, self.marks[k].position

    def _following(self, segment: str) -> str:
        later = [name for name in self.names() if name > segment]
        return later[0] if later else ""

    def oldest_position(self, head: int) -> int:
        """Return the first position that the oldest segment holds or held; the head when there is none."""
        names = self.names()
        if not names:
            return head
        if names[0] == FIRST_SEGMENT:
            return 0
        headers = (found.header for found in self.scan(names[0]) if found.header is not None)
        first = next(headers, None)
        return head if first is None else first.first_position

    # ---- recovery ----

    def recover(self) -> Recovery:
        """Find head and state, reading only what follows the last mark; cut a torn tail. Raises OSError."""
        result = Recovery()
        names = self.names()
        self.marks = [m for m in self._stored_marks() if m.segment in names]
        known = {m.segment for m in self.marks}
        for segment in names:
            last = segment == names[-1]
            if segment in known and not last:
                continue
            start = max((m for m in self.marks if m.segment == segment), default=None)
            self.marks = [m for m in self.marks if m.segment != segment or start is None or m < start]
            self._recover_segment(segment, start.offset if start else 0, result, last)
        if names:
            result.segment = names[-1]
            result.segment_octets = self._storage.size(self.path(names[-1]))
        return result

    def _recover_segment(self, segment: str, offset: int, result: Recovery, last: bool) -> None:
        size = self._storage.size(self.path(segment))
        for found in self.scan(segment, offset):
            result.blocks_read += 1
            if found.header is None:
                if last and found.end_offset == size:
                    self._cut(segment, found.offset, size, result)
                    return
                continue
            self._take(segment, found, result)

    def _take(self, segment: str, found: Found, result: Recovery) -> None:
        header = found.header
        if header is None:
            return
        if header.first_position > result.head and result.sequence:
            result.damaged.append(Damage(result.head, header.first_position, segment, found.offset, "block destroyed"))
        result.head, result.sequence = header.end_position, header.sequence + 1
        result.journal_id, result.revision = header.journal_id, header.revision
        result.commit_time_ns = header.commit_time_ns
        try:
            state = self.load(segment, found).state
        except BlockError as error:
            span = (header.first_position, header.end_position)
            result.damaged.append(Damage(*span, segment, found.offset, str(error)))
            return
        if header.flags & SNAPSHOT:
            result.state = dict(state)
            self.marks.append(Mark(header.first_position, header.sequence, segment, found.offset))
        else:
            result.state = merge(result.state, state)

    def _cut(self, segment: str, offset: int, size: int, result: Recovery) -> None:
        file = self._storage.open_append(self.path(segment))
        file.truncate(offset)
        file.close()
        result.cut_octets = size - offset

    def _stored_marks(self) -> list[Mark]:
        try:
            name = f"{self.folder}/{INDEX}"
            rows = json.loads(self._storage.read(name, 0, self._storage.size(name)))["marks"]
            return sorted(Mark(*row) for row in rows)
        except (OSError, ValueError, TypeError, KeyError):
            return []

    def store_marks(self) -> None:
        """Keep the sparse index for the next start."""
        rows = [[m.position, m.sequence, m.segment, m.offset] for m in self.marks]
        self._storage.write_whole(f"{self.folder}/{INDEX}", json.dumps({"marks": rows}).encode())

    def drop(self, segment: str) -> int:
        """Delete one whole segment; returns its octets."""
        size = self._storage.size(self.path(segment))
        self._storage.remove(self.path(segment))
        self.marks = [m for m in self.marks if m.segment != segment]
        self._hints.clear()
        return size
