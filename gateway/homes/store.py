"""What a home base keeps: the received blocks as they came, in one file for each contiguous range.

A folder holds `home.json` (which journal, where it began) and files `NNN….blocks`, named by their first position.
Ranges are disjoint, so all items in position order are the files in the order of their names.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
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

META = "home.json"


@dataclass(slots=True)
class _Range:
    first: int
    end: int
    name: str
    size: int


class HomeStore:
    """The store of one subscription. Blocking; runs in a worker. Paths are relative to `folder` of the storage."""

    def __init__(self, storage: Storage, folder: str = "") -> None:
        self._storage, self._folder = storage, folder
        self._ranges: list[_Range] = []
        self._open: dict[str, AppendFile] = {}
        self._dirty: set[str] = set()
        self.meta: dict[str, Any] = {}
        self.packets = 0
        self.items = 0
        self.cut_octets = 0
        self._load()

    def _path(self, name: str) -> str:
        return f"{self._folder}/{name}" if self._folder else name

    def _load(self) -> None:
        names = self._storage.names(self._folder)
        if META in names:
            self.meta = json.loads(self._storage.read(self._path(META), 0, 1 << 20))
        for name in names:
            if name.endswith(".blocks") and all(known.name != name for known in self._ranges):
                self._load_range(name)

    def _load_range(self, name: str) -> None:
        at, first, end = 0, int(name.split(".", maxsplit=1)[0]), int(name.split(".", maxsplit=1)[0])
        for offset, block in self._blocks_of(name):
            at = offset
            if block.kind == DATA:
                end = block.upto_position
                self._count(block)
        size = self._storage.size(self._path(name))
        if at < size:
            self._save_what_follows(name, at, size)
            file = self._storage.open_append(self._path(name))
            file.truncate(at)
            file.close()
            self.cut_octets += size - at
        self._ranges.append(_Range(first, end, name, at))

    def _save_what_follows(self, name: str, damaged: int, size: int) -> None:
        """Move the good blocks behind a damaged one into a file of their own; a torn end has none.

        The hole is then missing in the cursor, and the gateway delivers it again.
        """
        data = self._storage.read(self._path(name), damaged, size - damaged)
        at = data.find(MAGIC, 1)
        while at >= 0:
            try:
                block = decode(data[at : at + block_octets(data[at : at + HEADER_OCTETS])])
            except DeliveryBlockError:
                at = data.find(MAGIC, at + 1)
                continue
            if block.kind == DATA:
                saved = f"{block.from_position:020}.blocks"
                self._storage.write_whole(self._path(saved), data[at:])
                self.cut_octets -= len(data) - at
                self._load_range(saved)
                return
            at = data.find(MAGIC, at + 1)

    def _blocks_of(self, name: str) -> Iterator[tuple[int, DeliveryBlock]]:
        """Yield (offset after, block) for each good block; ends at the first that is torn."""
        offset, path = 0, self._path(name)
        size = self._storage.size(path)
        while offset < size:
            try:
                length = block_octets(self._storage.read(path, offset, HEADER_OCTETS))
                block = decode(self._storage.read(path, offset, length))
            except DeliveryBlockError:
                return
            offset += length
            yield offset, block

    def _count(self, block: DeliveryBlock) -> None:
        self.items += len(block.positions)
        self.packets += int((block.batch.items["unit"] == Unit.PACKET).sum())

    # ---- receiving ----

    def begin(self, journal_id: str, revision: int, start: int, selection: Mapping[str, Any]) -> None:
        """Bind a new store to a journal, or check that a known one is bound to it. Raises Conflict.

        `selection` is what is received from now on; it may differ from what the store was filled with before.
        """
        if not self.meta:
            self.meta = {"journal_id": journal_id, "revision": revision, "start": start}
        if (self.meta["journal_id"], self.meta["revision"]) != (journal_id, revision):
            raise Conflict(
                f"this store holds journal {self.meta['journal_id']}, the gateway serves {journal_id}",
                "use another --store folder for another journal",
            )
        if self.meta.get("selection") != selection:
            self.meta["selection"] = dict(selection)
            self._storage.write_whole(self._path(META), json.dumps(self.meta).encode())

    def cursor(self) -> Cursor | None:
        """Return what is stored as a cursor; None for a new store."""
        if not self.meta:
            return None
        ranges = [(r.first, r.end) for r in self._ranges]
        return normalised(self.meta["start"], [*ranges, *((first, end) for first, end in self.missing)])

    @property
    def missing(self) -> list[list[int]]:
        """The ranges [first, end) that the gateway told us are gone for ever, in the order in which it told them."""
        return list(self.meta.get("missing", []))

    def note_missing(self, first: int, end: int) -> None:
        """Remember a range that the gateway told us is gone for ever."""
        self.meta.setdefault("missing", []).append([first, end])
        self._storage.write_whole(self._path(META), json.dumps(self.meta).encode())

    def append(self, block: DeliveryBlock, data: bytes) -> bool:
        """Write one received block; returns False for one that is stored already. Forced by `force`."""
        if block.kind == MARK:
            into = next((r for r in self._ranges if r.end == block.upto_position and r.end > r.first), None)
            if into is None:
                return False
        else:
            if any(r.first <= block.from_position and block.upto_position <= r.end for r in self._ranges):
                return False
            into = next((r for r in self._ranges if r.end == block.from_position), None) or self._new(block)
            into.end = block.upto_position
            self._count(block)
        file = self._open.get(into.name) or self._storage.open_append(self._path(into.name))
        self._open[into.name] = file
        file.append([data])
        self._dirty.add(into.name)
        return True

    def _new(self, block: DeliveryBlock) -> _Range:
        made = _Range(block.from_position, block.from_position, f"{block.from_position:020}.blocks", 0)
        self._ranges.append(made)
        return made

    def force(self) -> None:
        """Force everything appended to the disk."""
        for name in self._dirty:
            self._open[name].sync()
        self._dirty.clear()

    def close(self) -> None:
        """Force and close."""
        self.force()
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
