"""Segment files of blocks: writing, finding a position, recovering, reporting damage. Blocking; runs in workers.

Segments are `<folder>/00260026.seg`. The first block of a segment and every block marked SNAPSHOT carries the
whole state; these are also the marks of the sparse index, kept in memory and, to make the next start short,
in `<folder>/marks.jsonl`, which is not forced and may be deleted at any time.
"""

from __future__ import annotations

import contextlib
import errno
import json
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from gateway.journal.block import (
    BLOCK_MAX_OCTETS,
    HEADER_OCTETS,
    ITEMS_MAX,
    MAGIC,
    SNAPSHOT,
    TRAILER_OCTETS,
    Block,
    BlockError,
    GroupError,
    GroupFilter,
    Header,
    Trailer,
    decode_block,
    decode_groups,
    read_header,
    read_state,
    read_trailer,
)
from gateway.journal.bulk import WINDOW_OCTETS, Swept, sweep
from gateway.journal.state import merge
from gateway.world import Storage
from gateway_codecs.crc import crc32c

SEARCH_OCTETS = 1 << 20
PAGE_OCTETS = 4096
BLOCK_MIN_OCTETS = HEADER_OCTETS + TRAILER_OCTETS
INDEX = "marks.jsonl"
IDENTITY = "journal.id"
OURS = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EACCES, errno.EPERM}
"""Errors that say nothing about the octets on the disk: they are raised, never taken for damage."""
READ_WHOLE_OCTETS = 64 << 10
AHEAD_MIN_OCTETS, AHEAD_MAX_OCTETS = 4096, 1 << 20
INCOMPLETE = "incomplete block"
FIRST_SEGMENT = "00000001.seg"


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """A snapshot block: where a scan can begin."""

    position: int
    sequence: int
    segment: str
    offset: int


@dataclass(frozen=True, slots=True)
class Place:
    """What is known of the next block: it has at least this position, and this sequence (None = not known)."""

    position: int = 0
    sequence: int | None = None

    def admits(self, position: int, sequence: int, skipped_octets: int = 0) -> bool:
        """Whether a block can come next, directly or behind so many octets that could not be read."""
        if position < self.position or (self.sequence is not None and sequence < self.sequence):
            return False
        if self.sequence is None or not skipped_octets:
            return True
        blocks = skipped_octets // BLOCK_MIN_OCTETS
        return sequence - self.sequence <= blocks and position - self.position <= blocks * ITEMS_MAX


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

    def place(self) -> Place:
        """Return what the next block must be like."""
        return Place(self.head, self.sequence or None)


@dataclass(frozen=True, slots=True)
class Found:
    """One place of a scan: a header, or damage (`end_offset` = where the next block begins)."""

    offset: int
    end_offset: int
    header: Header | None
    cause: str = ""


class _Ahead:
    """Reads on behind what is asked for, the more the longer that is asked for next: 100,000 small blocks in a row.

    Where blocks are large the next one lies far behind, and little is read in vain.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._name, self._offset, self._data, self._octets = "", 0, b"", AHEAD_MIN_OCTETS

    def read(self, name: str, offset: int, length: int) -> bytes:
        """Return what `Storage.read` does. Raises OSError where it does, and not for what is read ahead."""
        at = offset - self._offset
        if name == self._name and at >= 0 and at + length <= len(self._data):
            return self._data[at : at + length]
        near = name == self._name and 0 <= at <= len(self._data) + self._octets
        self._octets = min(AHEAD_MAX_OCTETS, self._octets * 2) if near else AHEAD_MIN_OCTETS
        try:
            data = self._storage.read(name, offset, max(length, self._octets))
        except OSError:
            return self._storage.read(name, offset, length)
        self._name, self._offset, self._data = name, offset, data
        return data[:length]


class Segments:
    """The segment files of one journal."""

    def __init__(self, storage: Storage, folder: str) -> None:
        self._storage = storage
        self.folder = folder
        self.identity = b""  # of the journal; blocks of others are none of ours
        self.marks: list[Mark] = []  # replaced or appended to, never changed in place: read in both workers
        self._hints: dict[int, tuple[str, int]] = {}
        self._ahead: _Ahead | None = None

    def names(self) -> list[str]:
        """Return the segments, oldest first."""
        return [n for n in self._storage.names(self.folder) if n.endswith(".seg")]

    def path(self, segment: str) -> str:
        """Return the storage name of a segment."""
        return f"{self.folder}/{segment}"

    def identify(self) -> bytes:
        """Return the journal's id, b"" for a new one. Raises OSError.

        The first block of a segment is always ours, so it is believed before `journal.id`, which may be damaged.
        """
        for segment in self.names():
            with contextlib.suppress(BlockError, FileNotFoundError):
                self.identity = read_header(self._octets(segment, 0, HEADER_OCTETS)).journal_id
                return self.identity
        if IDENTITY in self._storage.names(self.folder):
            text = self._storage.read(f"{self.folder}/{IDENTITY}", 0, 64).decode(errors="replace").strip()
            try:
                self.identity = UUID(text).bytes
            except ValueError:
                raise OSError(errno.EIO, f"{self.folder}/{IDENTITY} holds no journal id: {text!r}") from None
        return self.identity

    def _octets(self, segment: str, offset: int, length: int) -> bytes:
        """Read from a segment; what the disk cannot read any more is damage like any other.

        Raises BlockError, FileNotFoundError (a segment that retention took), OSError (we lack something).
        """
        read = self._storage.read if self._ahead is None else self._ahead.read
        try:
            return read(self.path(segment), offset, length)
        except OSError as error:
            if isinstance(error, FileNotFoundError) or error.errno in OURS:
                raise
            raise BlockError(f"unreadable: {error.strerror or error}") from error

    def scan(self, segment: str, offset: int = 0, place: Place | None = None) -> Iterator[Found]:
        """Walk block headers from `offset`; damage is stepped over by the next good header that can be ours."""
        size = self._storage.size(self.path(segment))
        place = place or Place()
        while offset < size:
            try:
                header = self._header(segment, offset, place)
                if offset + header.block_octets > size:
                    raise BlockError(INCOMPLETE)
            except BlockError as error:
                after = self._next_block(segment, offset, size, place)
                yield Found(offset, after, None, str(error))
                offset = after
                continue
            yield Found(offset, offset + header.block_octets, header)
            offset += header.block_octets
            place = Place(header.end_position, header.sequence + 1)

    def _header(self, segment: str, offset: int, place: Place, skipped_octets: int = 0) -> Header:
        """Return the header there. Raises BlockError, also when it is another journal's that somebody's packet carries,
        or an earlier one of ours."""
        header = read_header(self._octets(segment, offset, HEADER_OCTETS))
        if self.identity and header.journal_id != self.identity:
            raise BlockError("a block of another journal")
        if not place.admits(header.first_position, header.sequence, skipped_octets):
            raise BlockError("a block out of order")
        return header

    def _next_block(self, segment: str, start: int, size: int, place: Place) -> int:
        """Return where the next good header behind damage at `start` begins, or the size.

        A read that fails is tried again page by page. Blocks begin at multiples of 8, so no magic lies across reads.
        """
        offset, by_page_until = start + 8, 0
        while offset < size:
            step = PAGE_OCTETS if offset < by_page_until else SEARCH_OCTETS
            end = min((offset // step + 1) * step, size)
            try:
                data = self._octets(segment, offset, end - offset)
            except BlockError:
                if step > PAGE_OCTETS:
                    by_page_until = end
                    continue
                data = b""
            at = data.find(MAGIC)
            while at >= 0:
                with contextlib.suppress(BlockError):
                    self._header(segment, offset + at, place, offset + at - start)
                    return offset + at
                at = data.find(MAGIC, at + 1)
            offset = end
        return size

    def load(self, segment: str, found: Found) -> Block:
        """Read one block and check all of it. Raises BlockError, OSError."""
        length = min(found.end_offset - found.offset, BLOCK_MAX_OCTETS)
        return decode_block(self._octets(segment, found.offset, length))

    def load_groups(self, segment: str, found: Found, wanted: GroupFilter) -> Block:
        """Read one block with the octets of wanted groups only; a small one whole. Raises BlockError, OSError."""
        if found.header is None:
            return self.load(segment, found)
        if found.end_offset - found.offset <= READ_WHOLE_OCTETS:
            with contextlib.suppress(GroupError):  # of another group perhaps
                return self.load(segment, found)
        return decode_groups(found.header, self._reader(segment, found.offset), wanted)

    def _reader(self, segment: str, offset: int) -> Callable[[int, int], bytes]:
        return lambda at, length: self._octets(segment, offset + at, length)

    # ---- finding ----

    def at(self, position: int, head: int, wanted: GroupFilter) -> tuple[Block | None, int, Damage | None]:
        """Return (block, position to go on with, damage) for the block that holds `position`, read for `wanted`.

        Raises FileNotFoundError when retention takes the segment meanwhile, OSError.
        """
        try:
            return self._at(position, head, wanted)
        except FileNotFoundError:  # a hint or a mark may still name a segment that is gone
            self._forget_missing()
            return self._at(position, head, wanted)

    def _at(self, position: int, head: int, wanted: GroupFilter) -> tuple[Block | None, int, Damage | None]:
        segment, offset, place = self._start_for(position)
        expected = place.position
        while segment:
            for found in self.scan(segment, offset, place):
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
            segment, offset, place = self._following(segment), 0, Place(expected)
        return None, head, Damage(position, head, "", 0, "block destroyed")

    def sweep(self, position: int, wanted: GroupFilter) -> Swept | None:
        """Return wanted items of the small blocks from the one that begins at `position` on; None when there are none.

        Where it lies must be known: from `at` for what stands before it, or from another sweep. Raises OSError.
        """
        segment, offset = self._hints.get(position, ("", 0))
        if not segment:
            return None
        try:
            data = self._octets(segment, offset, WINDOW_OCTETS)
        except (BlockError, FileNotFoundError):
            return None
        found = sweep(data, offset, position, self.identity, wanted)
        if found.end_offset == offset:
            return None
        self.hint(found.end_position, segment, found.end_offset)
        return found

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
            self._hints = {}
        self._hints[position] = (segment, offset)

    def _start_for(self, position: int) -> tuple[str, int, Place]:
        hint, marks = self._hints.get(position), self.marks
        if hint is not None:
            return (*hint, Place(position))
        k = bisect_right(marks, position, key=lambda m: m.position) - 1
        # several marks may share a position (blocks without items): the earliest is as good
        if k < 0:
            names = self.names()
            return (names[0] if names else "", 0, Place())
        return marks[k].segment, marks[k].offset, Place(marks[k].position, marks[k].sequence)

    def _forget_missing(self) -> None:
        names = set(self.names())
        self.marks = [mark for mark in self.marks if mark.segment in names]
        self._hints = {}

    def _following(self, segment: str) -> str:
        later = [name for name in self.names() if name > segment]
        return later[0] if later else ""

    def oldest_position(self, head: int, kept: int = 0) -> int:
        """Return the first position that the oldest segment holds or held; the head when there is none.

        `kept` is what the last retention left; it counts when the segment itself does not say any more.
        """
        names = self.names()
        if not names:
            return head
        return 0 if names[0] == FIRST_SEGMENT else self.first_position(names[0], head, kept)

    def first_position(self, segment: str, head: int, kept: int = 0) -> int:
        """Return the first position that a segment holds, or held before its beginning was damaged."""
        mark = self._first_mark(segment)
        if mark is not None:
            return mark.position
        first = next((found for found in self.scan(segment) if found.header is not None), None)
        position = head if first is None or first.header is None else first.header.first_position
        whole = first is not None and first.offset == 0
        return position if whole or not kept else min(position, kept)

    def _first_mark(self, segment: str) -> Mark | None:
        return next((mark for mark in self.marks if mark.segment == segment and mark.offset == 0), None)

    def commit_time_ns(self, segment: str) -> int | None:
        """Return when a segment's first good block was committed."""
        headers = (found.header for found in self.scan(segment) if found.header is not None)
        first = next(headers, None)
        return None if first is None else first.commit_time_ns

    # ---- recovery ----

    def recover(self) -> Recovery:
        """Find head and state, reading only what follows the newest good mark; cut a torn tail. Raises OSError."""
        self._ahead = _Ahead(self._storage)  # nobody writes or reads beside this
        try:
            return self._recover()
        finally:
            self._ahead = None

    def _recover(self) -> Recovery:
        result = Recovery(journal_id=self.identify())
        names = self.names()
        stored = self._stored_marks()
        self._recall_marks(names, stored)
        oldest = self._first_mark(names[0]) if names else None
        start = next((mark for mark in reversed(self.marks) if self._is_good(mark)), None)
        self.marks = [] if start is None else [mark for mark in self.marks if mark < start]
        for segment in names:
            if start is None or segment >= start.segment:
                offset = start.offset if start is not None and segment == start.segment else 0
                self._recover_segment(segment, offset, result, segment == names[-1])
        if oldest is not None and oldest not in self.marks:  # its block is damaged: it still says where the tail is
            self.marks.insert(0, oldest)
        if self.marks != stored:
            self._rewrite_marks()
        if names:
            result.segment = names[-1]
            result.segment_octets = self._storage.size(self.path(names[-1]))
        return result

    def _recall_marks(self, names: list[str], stored: list[Mark]) -> None:
        """Take the stored marks; index older segments that have none from their headers."""
        self.marks = [mark for mark in stored if mark.segment in names]
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
            header = self._header(mark.segment, mark.offset, Place(mark.position, mark.sequence))
            found = Found(mark.offset, mark.offset + header.block_octets, header)
            if found.end_offset >= self._storage.size(path):
                self.load(mark.segment, found)
            read_state(header, self._reader(mark.segment, mark.offset))
        except BlockError:
            return False
        return bool(header.sequence == mark.sequence and header.flags & SNAPSHOT)

    def _recover_segment(self, segment: str, offset: int, result: Recovery, last: bool) -> None:
        size = self._storage.size(self.path(segment))
        place = result.place() if offset else Place(result.head)
        for found in self.scan(segment, offset, place):
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
        try:
            end = self._octets(segment, max(0, size - TRAILER_OCTETS), TRAILER_OCTETS)
        except BlockError:
            end = b"?"  # what cannot be read is not what was never written
        trailer, header = read_trailer(end), found.header
        if header is not None and any(end):
            self._advance(header, result, segment, found.offset)
            span = (header.first_position, header.end_position)
        elif trailer is not None and _can_end(trailer, result, size - found.offset):
            span, cause = (result.head, trailer.end_position), f"block destroyed ({cause})"
            result.head, result.sequence = trailer.end_position, trailer.sequence + 1
        elif self._is_readable(segment, found.offset, size):
            self._cut(segment, found.offset, size, result)
            return
        else:
            span = (result.head, result.head)
        result.damaged.append(Damage(*span, segment, found.offset, cause))

    def _is_readable(self, segment: str, offset: int, end: int) -> bool:
        try:
            for at in range(offset, end, SEARCH_OCTETS):
                self._octets(segment, at, min(SEARCH_OCTETS, end - at))
        except BlockError:
            return False
        return True

    def _advance(self, header: Header, result: Recovery, segment: str, offset: int) -> None:
        """Go on to the end of a block; what lies between it and the block before is destroyed."""
        if header.first_position > result.head and result.sequence:
            result.damaged.append(Damage(result.head, header.first_position, segment, offset, "block destroyed"))
        result.head, result.sequence = header.end_position, header.sequence + 1
        result.revision, result.commit_time_ns = header.revision, header.commit_time_ns

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
        except OSError:  # not there, or not readable: it can be made again
            return []
        found = []
        for line in lines:
            text, _, crc = line.rpartition(b" ")
            if crc == b"%08x" % crc32c(text):
                found.append(Mark(*json.loads(text)))
        return sorted(found)

    def mark(self, mark: Mark) -> None:
        """Keep a mark for the next start; not forced, for the index can be made again."""
        self.marks.append(mark)  # one step: a reader sees it or not
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
        self._hints = {}
        self._rewrite_marks()
        return size


def _can_end(trailer: Trailer, result: Recovery, octets: int) -> bool:
    """Whether a trailer can be that of the journal's last block, within so many last octets."""
    if trailer.block_octets > octets or trailer.end_position < result.head or trailer.sequence < result.sequence:
        return False
    blocks = octets // BLOCK_MIN_OCTETS
    return not result.sequence or (
        trailer.sequence - result.sequence < blocks and trailer.end_position - result.head <= blocks * ITEMS_MAX
    )


def _mark_of(segment: str, found: Found) -> Mark:
    if found.header is None:
        raise AssertionError("only blocks with a header are marks")
    return Mark(found.header.first_position, found.header.sequence, segment, found.offset)


def _mark_line(mark: Mark) -> bytes:
    text = json.dumps([mark.position, mark.sequence, mark.segment, mark.offset]).encode()
    return text + b" %08x\n" % crc32c(text)
