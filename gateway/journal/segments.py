"""Segment files of blocks: writing, finding a position, recovering, reporting damage. Blocking; runs in workers.

Segments are `<folder>/NNNNNNNN.seg`. The first block of a segment and every block marked SNAPSHOT carries the
whole state; these are also the marks of the sparse index, kept in memory and, to make the next start short,
in `<folder>/marks.jsonl`, which is not forced and may be deleted at any time.
"""

from __future__ import annotations

import contextlib
import json
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from gateway.journal.block import (
    BLOCK_MAX_OCTETS,
    HEADER_OCTETS,
    MAGIC,
    SNAPSHOT,
    TRAILER_OCTETS,
    Block,
    BlockError,
    GroupFilter,
    Header,
    decode_block,
    decode_groups,
    read_header,
    read_state,
    read_trailer,
)
from gateway.journal.state import merge
from gateway.world import Storage
from gateway_codecs.crc import crc32c

SEARCH_OCTETS = 1 << 20
INDEX = "marks.jsonl"
READ_WHOLE_OCTETS = 64 << 10
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
        """Read one block and check all of it. Raises BlockError, OSError."""
        length = min(found.end_offset - found.offset, BLOCK_MAX_OCTETS)
        return decode_block(self._storage.read(self.path(segment), found.offset, length))

    def load_groups(self, segment: str, found: Found, wanted: GroupFilter) -> Block:
        """Read one block with the octets of wanted groups only; a small one whole. Raises BlockError, OSError."""
        if found.header is None or found.end_offset - found.offset <= READ_WHOLE_OCTETS:
            return self.load(segment, found)
        return decode_groups(found.header, self._reader(segment, found.offset), wanted)

    def _reader(self, segment: str, offset: int) -> Callable[[int, int], bytes]:
        return lambda at, length: self._storage.read(self.path(segment), offset + at, length)

    # ---- finding ----

    def at(self, position: int, head: int, wanted: GroupFilter) -> tuple[Block | None, int, Damage | None]:
        """Return (block, position to go on with, damage) for the block that holds `position`, read for `wanted`."""
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
                    return self._checked(segment, found, position, wanted)
                expected = end
            segment, offset = self._following(segment), 0
        return None, head, Damage(position, head, "", 0, "block destroyed")

    def _checked(
        self, segment: str, found: Found, position: int, wanted: GroupFilter
    ) -> tuple[Block | None, int, Damage | None]:
        header = found.header
        if header is None:
            raise AssertionError("only blocks with a header are checked")
        try:
            return self.load_groups(segment, found, wanted), header.end_position, None
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
        """Find head and state, reading only what follows the newest good mark; cut a torn tail. Raises OSError."""
        result = Recovery()
        names = self.names()
        self._recall_marks(names)
        start = next((mark for mark in reversed(self.marks) if self._is_good(mark)), None)
        self.marks = [] if start is None else [mark for mark in self.marks if mark < start]
        for segment in names:
            if start is None or segment >= start.segment:
                offset = start.offset if start is not None and segment == start.segment else 0
                self._recover_segment(segment, offset, result, segment == names[-1])
        if names:
            result.segment = names[-1]
            result.segment_octets = self._storage.size(self.path(names[-1]))
        return result

    def _recall_marks(self, names: list[str]) -> None:
        """Take the stored marks; index older segments that have none from their headers."""
        self.marks = [mark for mark in self._stored_marks() if mark.segment in names]
        known = {mark.segment for mark in self.marks}
        for segment in names[:-1]:
            if segment not in known:
                headers = [f for f in self.scan(segment) if f.header is not None and f.header.flags & SNAPSHOT]
                self.marks += [_mark_of(segment, found) for found in headers]
        self.marks.sort()

    def _is_good(self, mark: Mark) -> bool:
        """Whether the block of a mark is there with a readable state; the journal's last block must be whole."""
        path = self.path(mark.segment)
        try:
            header = read_header(self._storage.read(path, mark.offset, HEADER_OCTETS))
            found = Found(mark.offset, mark.offset + header.block_octets, header)
            if found.end_offset >= self._storage.size(path):
                self.load(mark.segment, found)
            read_state(header, self._reader(mark.segment, mark.offset))
        except BlockError:
            return False
        return bool(header.sequence == mark.sequence and header.flags & SNAPSHOT)

    def _recover_segment(self, segment: str, offset: int, result: Recovery, last: bool) -> None:
        size = self._storage.size(self.path(segment))
        for found in self.scan(segment, offset):
            result.blocks_read += 1
            if last and found.end_offset >= size:
                self._end_of_journal(segment, found, size, result)
            elif found.header is not None:
                self._take(segment, found, result)

    def _end_of_journal(self, segment: str, found: Found, size: int, result: Recovery) -> None:
        """Take the newest block, the only one that can have been under way when power was lost, if it is whole.

        If not, it is cut, unless its trailer says that it was written whole and damaged later (a trailer of zeros was
        never written): then its range is damaged, for positions that were given out are never given again, but its
        state is not taken, so that a source that can be read again gives what the block held.
        """
        try:
            self.load(segment, found)
        except BlockError as error:
            cause = found.cause or str(error)
        else:
            self._take(segment, found, result)
            return
        end = self._storage.read(self.path(segment), max(0, size - TRAILER_OCTETS), TRAILER_OCTETS)
        trailer, header = read_trailer(end), found.header
        if header is not None and any(end):
            self._advance(header, result, segment, found.offset)
            span = (header.first_position, header.end_position)
        elif trailer is not None and trailer.sequence >= result.sequence and trailer.end_position >= result.head:
            span, cause = (result.head, trailer.end_position), f"block destroyed ({cause})"
            result.head, result.sequence = trailer.end_position, trailer.sequence + 1
        else:
            self._cut(segment, found.offset, size, result)
            return
        result.damaged.append(Damage(*span, segment, found.offset, cause))

    def _advance(self, header: Header, result: Recovery, segment: str, offset: int) -> None:
        """Go on to the end of a block; what lies between it and the block before is destroyed."""
        if header.first_position > result.head and result.sequence:
            result.damaged.append(Damage(result.head, header.first_position, segment, offset, "block destroyed"))
        result.head, result.sequence = header.end_position, header.sequence + 1
        result.journal_id, result.revision = header.journal_id, header.revision
        result.commit_time_ns = header.commit_time_ns

    def _take(self, segment: str, found: Found, result: Recovery) -> None:
        header = found.header
        if header is None:
            return
        self._advance(header, result, segment, found.offset)
        try:
            state = read_state(header, self._reader(segment, found.offset))
        except BlockError as error:
            span = (header.first_position, header.end_position)
            result.damaged.append(Damage(*span, segment, found.offset, str(error)))
            return
        if header.flags & SNAPSHOT:
            result.state = dict(state)
            self.marks.append(_mark_of(segment, found))
        else:
            result.state = merge(result.state, state)

    def _cut(self, segment: str, offset: int, size: int, result: Recovery) -> None:
        file = self._storage.open_append(self.path(segment))
        file.truncate(offset)
        file.close()
        result.cut_octets = size - offset

    def _stored_marks(self) -> list[Mark]:
        """Return the marks that were kept; lines that are torn or damaged are left out."""
        name = f"{self.folder}/{INDEX}"
        try:
            lines = self._storage.read(name, 0, self._storage.size(name)).splitlines()
        except FileNotFoundError:
            return []
        found = []
        for line in lines:
            text, _, crc = line.rpartition(b" ")
            if crc == b"%08x" % crc32c(text):
                found.append(Mark(*json.loads(text)))
        return sorted(found)

    def mark(self, mark: Mark) -> None:
        """Keep a mark for the next start; not forced, for the index can be made again."""
        self.marks.append(mark)
        with contextlib.suppress(OSError):
            file = self._storage.open_append(f"{self.folder}/{INDEX}")
            file.append([_mark_line(mark)])
            file.close()

    def _rewrite_marks(self) -> None:
        with contextlib.suppress(OSError):
            self._storage.write_whole(f"{self.folder}/{INDEX}", b"".join(_mark_line(mark) for mark in self.marks))

    def drop(self, segment: str) -> int:
        """Delete one whole segment; returns its octets."""
        size = self._storage.size(self.path(segment))
        self._storage.remove(self.path(segment))
        self.marks = [m for m in self.marks if m.segment != segment]
        self._hints.clear()
        self._rewrite_marks()
        return size


def _mark_of(segment: str, found: Found) -> Mark:
    if found.header is None:
        raise AssertionError("only blocks with a header are marks")
    return Mark(found.header.first_position, found.header.sequence, segment, found.offset)


def _mark_line(mark: Mark) -> bytes:
    text = json.dumps([mark.position, mark.sequence, mark.segment, mark.offset]).encode()
    return text + b" %08x\n" % crc32c(text)
