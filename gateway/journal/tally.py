"""What a journal holds, from the heads of its blocks: counts of packets, and the names behind its ids."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from gateway.journal.block import Block, BlockError
from gateway.journal.segments import Segments
from gateway.journal.state import merge
from gateway.world import Storage
from gateway_codecs.batches import Unit
from gateway_routes.selection import Selection

NO_OCTETS = Selection(units=frozenset())


def journalled_packets(storage: Storage, folder: str) -> dict[int, int]:
    """Return how many packets a journal holds, idle ones included, by virtual channel (-1 = none). Raises OSError."""
    found: dict[int, int] = {}
    segments = _segments(storage, folder)
    for block in (block for segment in segments.names() for block in _heads(segments, segment)):
        for group in block.directory[block.directory["unit"] == Unit.PACKET]:
            found[int(group["vcid"])] = found.get(int(group["vcid"]), 0) + int(group["rows"])
    return dict(sorted(found.items()))


def journalled_names(storage: Storage, folder: str) -> dict[str, dict[int, str]]:
    """Return the names of spacecraft and links by their ids. Raises OSError.

    Each segment begins with the whole state, so the newest that can be read says it all.
    """
    segments = _segments(storage, folder)
    for segment in reversed(segments.names()):
        state: dict[str, Any] = {}
        for block in _heads(segments, segment):
            state = merge(state, block.state)
        if names := state.get("names"):
            return {what: {number: name for name, number in ids.items()} for what, ids in names.items()}
    return {}


def _segments(storage: Storage, folder: str) -> Segments:
    found = Segments(storage, folder)
    found.identify()
    return found


def _heads(segments: Segments, segment: str) -> Iterator[Block]:
    """Yield every good block of a segment, none of one that retention removes meanwhile; of large ones no octets."""
    with contextlib.suppress(FileNotFoundError):
        for found in segments.scan(segment):
            if found.header is not None:
                with contextlib.suppress(BlockError):
                    yield segments.load_groups(segment, found, NO_OCTETS)
