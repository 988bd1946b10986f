"""What a home base keeps: the received blocks as they came, in files of one contiguous range each.

A folder holds `home.json` (which journal, where it began) and files `NNN….blocks`, named by their first position.
Ranges are disjoint, so all items in position order are the files in the order of their names. A file that has grown to
its size is closed and noted in `closed.json`: a start does not read it again. `extents` is what is forced, for readers
in other threads (gateway.homes.store_reader).
"""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.errors import Conflict
from gateway.world import AppendFile, Storage
from gateway_codecs.batches import Unit
from gateway_codecs.delivery_block import (
    DATA,
    HEADER_OCTETS,
    MAGIC,
    MARK,
    DeliveryBlock,
    DeliveryBlockError,
    block_octets,
    decode,
)
from gateway_routes.delivery import Cursor, normalised

META, CLOSED = "home.json", "closed.json"
FILE_OCTETS = 64 << 20
"""A file that has so many octets is closed; what follows goes into the next one."""


@dataclass(slots=True)
class _Range:
    first: int
    end: int
    name: str
    octets: int = 0
    items: int = 0
    packets: int = 0
    closed: bool = False
    since_ns: int = 0  # when it was opened, then when it was closed; TAI, 0 = not noted yet
    forced: tuple[int, int, int, int] = (0, 0, 0, 0)  # end, octets, items, packets when it was forced last

    def note_forced(self) -> None:
        self.forced = (self.end, self.octets, self.items, self.packets)

    def back(self) -> None:
        self.end, self.octets, self.items, self.packets = self.forced


@dataclass(frozen=True, slots=True)
class Extent:
    """Positions [first, end) that are forced to the disk: the first `octets` octets of file `name`."""

    first: int
    end: int
    name: str
    octets: int


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of positions [first, end). `closed_ns`: since when nothing is added to it, TAI; None: it is still open."""

    first: int
    end: int
    name: str
    octets: int
    closed_ns: int | None


class HomeStore:
    """The store of one subscription. Blocking; runs in a worker. Paths are relative to `folder` of the storage.

    Below `reserve_octets` of free space it takes nothing more: what is small must still be written.
    """

    def __init__(
        self, storage: Storage, folder: str = "", *, reserve_octets: int = 0, file_octets: int = FILE_OCTETS
    ) -> None:
        self._storage, self._folder = storage, folder
        self._reserve_octets, self._file_octets = reserve_octets, file_octets
        self._ranges: list[_Range] = []
        self._open: dict[str, AppendFile] = {}
        self._dirty: set[str] = set()
        self._torn: set[str] = set()  # files behind whose whole blocks stands a part of one
        self.meta: dict[str, Any] = {}
        self.cut_octets = 0
        self.extents: tuple[Extent, ...] = ()
        self._load()

    @property
    def items(self) -> int:
        """How many items are stored."""
        return sum(r.items for r in self._ranges)

    @property
    def packets(self) -> int:
        """How many of them are packets."""
        return sum(r.packets for r in self._ranges)

    @property
    def octets(self) -> int:
        """The size of all blocks."""
        return sum(r.octets for r in self._ranges)

    def path(self, name: str) -> str:
        """Return a file's name in the storage."""
        return f"{self._folder}/{name}" if self._folder else name

    def _load(self) -> None:
        names = self._storage.names(self._folder)
        if META in names:
            self.meta = self._read_json(META)
        closed = self._read_json(CLOSED) if CLOSED in names else {}
        for name in (name for name in names if name.endswith(".blocks")):
            if self._is_removed(name, closed.get(name)):  # the power went while it did
                self._storage.remove(self.path(name))
                continue
            known = any(known.name == name for known in self._ranges)
            if not known and not self._load_closed(name, closed.get(name)):
                self._load_range(name)
        self._publish()

    def _read_json(self, name: str) -> dict[str, Any]:
        try:
            return dict(json.loads(self._storage.read(self.path(name), 0, 1 << 26)))
        except ValueError as error:
            raise Conflict(
                f"{self.path(name)} of the store is no JSON: {error}", "restore it, or begin a new store"
            ) from None

    def _load_closed(self, name: str, told: Any) -> bool:
        """Take a closed file as it was noted, if it still has its size; damage inside is found when it is read."""
        if not _is_note(told) or self._storage.size(self.path(name)) != told[1]:
            return False
        end, octets, items, packets, *since = told
        made = _Range(_first_of(name), end, name, octets, items, packets, closed=True, since_ns=sum(since))
        made.note_forced()
        self._ranges.append(made)
        return True

    def _load_range(self, name: str) -> None:
        at, made = 0, _Range(_first_of(name), _first_of(name), name)
        for offset, block in self._blocks_of(name):
            at = offset
            if block.kind == DATA:
                made.end = block.upto_position
                _count(made, block)
        size = self._storage.size(self.path(name))
        if at < size:
            self._save_what_follows(name, at, size)
            file = self._storage.open_append(self.path(name))
            file.truncate(at)
            file.close()
            self.cut_octets += size - at
        made.octets = at
        made.note_forced()
        self._ranges.append(made)

    def _save_what_follows(self, name: str, damaged: int, size: int) -> None:
        """Move the good blocks behind a damaged one into a file of their own; a torn end has none.

        The hole is then missing in the cursor, and the gateway delivers it again.
        """
        data = self._storage.read(self.path(name), damaged, size - damaged)
        at = data.find(MAGIC, 1)
        while at >= 0:
            try:
                block = decode(data[at : at + block_octets(data[at : at + HEADER_OCTETS])])
            except DeliveryBlockError:
                at = data.find(MAGIC, at + 1)
                continue
            if block.kind == DATA:
                saved = f"{block.from_position:020}.blocks"
                self._storage.write_whole(self.path(saved), data[at:])
                self.cut_octets -= len(data) - at
                self._load_range(saved)
                return
            at = data.find(MAGIC, at + 1)

    def _blocks_of(self, name: str) -> Iterator[tuple[int, DeliveryBlock]]:
        """Yield (offset after, block) for each good block; ends at the first that is torn."""
        offset, path = 0, self.path(name)
        size = self._storage.size(path)
        while offset < size:
            try:
                length = block_octets(self._storage.read(path, offset, HEADER_OCTETS))
                block = decode(self._storage.read(path, offset, length))
            except DeliveryBlockError:
                return
            offset += length
            yield offset, block

    def _publish(self) -> None:
        """Show readers what is forced."""
        forced = sorted((r.first, r.forced[0], r.name, r.forced[1]) for r in self._ranges if r.forced[0] > r.first)
        self.extents = tuple(Extent(*one) for one in forced)

    # ---- receiving ----

    def begin(
        self,
        journal_id: str,
        revision: int,
        start: int,
        selection: Mapping[str, Any],
        *,
        names: Mapping[str, Any] | None = None,
        known: Sequence[tuple[int, int]] = (),
    ) -> None:
        """Bind a new store to a journal, or check that a known one is bound to it. Raises Conflict.

        `selection` is what is received from now on; it may differ from what the store was filled with before. `names`
        are those of the welcome; `known` are ranges above `start` that a new store does not get: they were
        acknowledged before it was.
        """
        meta = self.meta or {"journal_id": journal_id, "revision": revision, "start": start}
        if not self.meta and known:
            meta["known"] = [list(one) for one in known]
        if (meta["journal_id"], meta["revision"]) != (journal_id, revision):
            raise Conflict(
                f"this store holds journal {meta['journal_id']}, the gateway serves {journal_id}",
                "use another --store folder for another journal",
            )
        self._remember({**meta, "selection": dict(selection), "names": dict(names or meta.get("names", {}))})

    def _remember(self, meta: dict[str, Any]) -> None:
        """What is remembered is durable first."""
        if meta != self.meta:
            self._storage.write_whole(self.path(META), json.dumps(meta).encode())
            self.meta = meta

    def cursor(self) -> Cursor | None:
        """Return what is stored as a cursor; None for a new store."""
        if not self.meta:
            return None
        ranges = [(r.first, r.end) for r in self._ranges]
        return normalised(self.meta["start"], [*ranges, *self.absent])

    @property
    def missing(self) -> list[list[int]]:
        """The ranges [first, end) that the gateway told us are gone for ever, in the order in which it told them."""
        return list(self.meta.get("missing", []))

    @property
    def absent(self) -> list[tuple[int, int]]:
        """The ranges that will not come: told as missing, acknowledged before this store was, or removed here."""
        return [(first, end) for key in ("missing", "known", "removed") for first, end in self.meta.get(key, [])]

    @property
    def removed(self) -> list[tuple[int, int]]:
        """The ranges that were stored, and removed here since."""
        return [(first, end) for first, end in self.meta.get("removed", [])]

    def note_missing(self, first: int, end: int) -> None:
        """Remember a range that the gateway told us is gone for ever; once."""
        if [first, end] not in self.missing:
            self._remember({**self.meta, "missing": [*self.missing, [first, end]]})

    def append(self, block: DeliveryBlock, data: bytes) -> bool:
        """Write one received block; returns False for one that is stored already. Forced by `force`.

        Raises OSError: then `recover` comes first, before anything else is appended; `force` keeps what was whole.
        """
        if block.kind == MARK:
            into = next((r for r in self._ranges if r.end == block.upto_position and r.end > r.first), None)
            if into is None or into.closed:
                return False
        else:
            if self._holds(block.from_position, block.upto_position):
                return False
            into = self._range_for(block)
        file = self._open.get(into.name) or self._storage.open_append(self.path(into.name))
        self._open[into.name] = file
        self._dirty.add(into.name)
        self._torn.add(into.name)
        file.append([data])
        self._torn.discard(into.name)
        into.octets += len(data)
        if block.kind != MARK:
            into.end = block.upto_position
            _count(into, block)
        return True

    def _holds(self, first: int, upto: int) -> bool:
        """Whether all of [first, upto) is stored, in whatever files: what is sent again may lie in several."""
        for known in sorted([*((r.first, r.end) for r in self._ranges), *self.removed]):
            if known[0] <= first < known[1]:
                first = known[1]
        return first >= upto

    def check_room(self) -> None:
        """Raises OSError when less than the reserve is free."""
        if self._reserve_octets and (free := self._storage.free_octets()) < self._reserve_octets:
            raise OSError(errno.ENOSPC, f"{free} octets are free, {self._reserve_octets} are kept in reserve")

    def _range_for(self, block: DeliveryBlock) -> _Range:
        found = next((r for r in self._ranges if r.end == block.from_position and not r.closed), None)
        if found is not None and found.octets >= self._file_octets:
            self._close_range(found)
            found = None
        if found is not None:
            return found
        made = _Range(block.from_position, block.from_position, f"{block.from_position:020}.blocks")
        made.note_forced()
        self._ranges.append(made)
        return made

    def _close_range(self, full: _Range, now_ns: int = 0) -> None:
        self.force()
        full.closed, full.since_ns = True, now_ns
        self._note_closed()
        if (file := self._open.pop(full.name, None)) is not None:
            file.close()

    def _note_closed(self) -> None:
        told = {r.name: [r.end, r.octets, r.items, r.packets, r.since_ns] for r in self._ranges if r.closed}
        self._storage.write_whole(self.path(CLOSED), json.dumps(told).encode())

    def force(self) -> None:
        """Force everything appended to the disk. Raises OSError: then `recover` comes first."""
        if not self._dirty:
            return
        dirty = [known for known in self._ranges if known.name in self._dirty]
        for known in dirty:
            file = self._open[known.name]
            if known.name in self._torn:
                file.truncate(known.octets)
                self._torn.discard(known.name)
            else:
                file.sync()
        for known in dirty:
            known.note_forced()
        self._dirty.clear()
        self._publish()

    def recover(self) -> None:
        """After an OSError: go back to what was forced, and the cursor with it. Raises OSError: try again later."""
        for known in self._ranges:
            if known.name in self._dirty:
                known.back()
                if (file := self._open.get(known.name)) is not None:
                    file.truncate(known.octets)
                self._torn.discard(known.name)
        self._ranges = [r for r in self._ranges if r.end > r.first or r.name not in self._dirty]
        self._dirty.clear()

    def inspect(self, name: str) -> None:
        """Read a file again in which a reader found damage: what is bad is missing in the cursor from then on."""
        known = next((r for r in self._ranges if r.name == name), None)
        if known is None:
            return
        self.force()
        if (file := self._open.pop(name, None)) is not None:
            file.close()
        self._ranges.remove(known)
        self._note_closed()
        self._load_range(name)
        self._publish()

    # ---- what is kept (gateway.homes.retention) ----

    def files(self) -> list[StoredFile]:
        """Return what is forced, in order of position."""
        found = [StoredFile(r.first, r.forced[0], r.name, r.forced[1], r.since_ns if r.closed else None)
                 for r in self._ranges if r.forced[0] > r.first]  # fmt: skip
        return sorted(found, key=lambda file: file.first)

    @property
    def removed_counts(self) -> Mapping[str, int]:
        """How many `positions`, `items` and `octets` were removed here."""
        return {"positions": sum(end - first for first, end in self.removed), **self.meta.get("removed_counts", {})}

    def close_files(self, after_ns: int | None, now_ns: int) -> None:
        """Note since when files are open or closed; close those that are open for longer. Raises OSError."""
        noted = False
        for known in list(self._ranges):
            if not known.since_ns:
                known.since_ns, noted = now_ns, noted or known.closed
            elif not known.closed and after_ns is not None and now_ns - known.since_ns >= after_ns:
                self._close_range(known, now_ns)
        if noted:
            self._note_closed()

    def remove(self, name: str) -> None:
        """Remove a closed file. First, durably, it is noted: it is never asked for again. Raises OSError."""
        gone = next(r for r in self._ranges if r.name == name and r.closed)
        ranges = normalised(-1, [*self.removed, (gone.first, gone.end)]).ranges
        counts = dict(self.meta.get("removed_counts", {}))
        for what, more in (("items", gone.items), ("octets", gone.octets)):
            counts[what] = counts.get(what, 0) + more
        self._remember({**self.meta, "removed": [list(one) for one in ranges], "removed_counts": counts})
        self._ranges.remove(gone)
        self._publish()
        self._storage.remove(self.path(name))
        self._note_closed()

    def _is_removed(self, name: str, told: Any) -> bool:
        """Whether a file was noted as removed. Of one that was closed the note says where it ends."""
        first = _first_of(name)
        return _is_note(told) and any(a <= first and told[0] <= b for a, b in self.removed)

    def close(self) -> None:
        """Force and close. Raises OSError when what was appended cannot be forced; it is closed all the same."""
        try:
            self.force()
        finally:
            for file in self._open.values():
                file.close()
            self._open.clear()

    # ---- reading ----

    def blocks(self) -> Iterator[DeliveryBlock]:
        """Yield all data blocks in position order."""
        for kept in sorted(self._ranges, key=lambda r: r.first):
            for _, block in self._blocks_of(kept.name):
                if block.kind == DATA:
                    yield block

    def export_packets(self, target: Path) -> tuple[int, str]:
        """Write all packets, concatenated in position order; returns how many and their SHA-256."""
        count, digest = 0, hashlib.sha256()
        with target.open("wb") as file:
            for block in self.blocks():
                items = block.batch.items
                for row in (items["unit"] == Unit.PACKET).nonzero()[0].tolist():
                    octets = block.batch.octets_of(row)
                    digest.update(octets)
                    file.write(octets)
                    count += 1
        return count, digest.hexdigest()


def _first_of(name: str) -> int:
    return int(name.split(".", maxsplit=1)[0])


def _is_note(told: Any) -> bool:
    return isinstance(told, list) and len(told) in {4, 5} and all(isinstance(one, int) for one in told)


def _count(into: _Range, block: DeliveryBlock) -> None:
    into.items += len(block.positions)
    into.packets += int((block.batch.items["unit"] == Unit.PACKET).sum())
