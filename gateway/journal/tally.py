"""Counts what a journal holds, from the heads of its blocks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from gateway.journal.block import Block, BlockError
from gateway.journal.segments import Segments
from gateway.world import Storage
from gateway_codecs.batches import Unit
from gateway_routes.selection import Selection

NO_OCTETS = Selection(units=frozenset())


def journalled_packets(storage: Storage, folder: str) -> dict[int, int]:
    """Return how many packets a journal holds, idle ones included, by virtual channel (-1 = none). Raises OSError."""
    found: dict[int, int] = {}
    for block in block_heads(storage, folder):
        for group in block.directory[block.directory["unit"] == Unit.PACKET]:
            found[int(group["vcid"])] = found.get(int(group["vcid"]), 0) + int(group["rows"])
    return dict(sorted(found.items()))


def block_heads(storage: Storage, folder: str) -> Iterator[Block]:
    """Yield every good block; of large ones the octets are not read. What retention removes meanwhile is left out."""
    segments = Segments(storage, folder)
    segments.identify()
    for segment in segments.names():
        with contextlib.suppress(FileNotFoundError):
            yield from _heads(segments, segment)


def _heads(segments: Segments, segment: str) -> Iterator[Block]:
    for found in segments.scan(segment):
        if found.header is not None:
            with contextlib.suppress(BlockError):
                yield segments.load_groups(segment, found, NO_OCTETS)
