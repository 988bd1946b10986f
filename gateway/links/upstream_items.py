"""Items of another gateway as items of our journal: our numbers for its names, positions kept, rubbish set apart."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gateway.journal.events import event_items
from gateway_codecs.batches import (
    ABSENT,
    BoolArray,
    DataMode,
    ItemBatch,
    ItemFlag,
    Kind,
    Quality,
    Records,
    Unit,
    distinct,
)
from gateway_codecs.delivery_block import DeliveryBlock
from gateway_routes.upstream import UpstreamError

BOUNDS = {"vcid": (-1, 63), "apid": (-1, 2047), "sequence_count": (-1, 16383), "version": (-1, 12)}


@dataclass(slots=True)
class Numbers:
    """What a session's numbers of spacecraft mean here. `name_id` gives our number of a name."""

    names: Mapping[int, str]
    name_id: Callable[[str], int]
    nameless: frozenset[int]  # that had no name in the session before either: they are kept without one
    known: frozenset[str]  # spacecraft of our mission
    unknown: Counter[str] = field(default_factory=Counter)  # items of spacecraft that are not

    def map(self, items: Records) -> None:
        """Put our numbers into a block's items. Raises UpstreamError for a number that the welcome did not name."""
        theirs = items["spacecraft"].copy()
        for number in distinct(theirs):
            if number == 0:
                continue
            name, rows = self.names.get(number), theirs == number
            if name is None and number not in self.nameless:
                raise Nameless(number)
            items["spacecraft"][rows] = 0 if name is None else self.name_id(name)
            if name not in self.known:
                self.unknown[name or f"number {number}"] += int(np.count_nonzero(rows))


class Nameless(UpstreamError):
    """A spacecraft came that the welcome did not name: the names are asked for anew."""

    def __init__(self, number: int) -> None:
        super().__init__(f"its spacecraft number {number} came after the welcome: its name is asked for")
        self.number = number


def as_ours(block: DeliveryBlock, new: BoolArray, link: int, head: int, numbers: Numbers, now_ns: int) -> ItemBatch:
    """Return the `new` items of a block as items of ours; what stood below its `head` at the welcome is backfill.

    Raises Nameless.
    """
    rows = np.flatnonzero(new)
    items = block.batch.items[rows]
    numbers.map(items)
    items["link"], items["upstream_position"] = link, block.positions[rows]
    items["flags"] |= np.where(items["upstream_position"] < head, ItemFlag.BACKFILL, 0).astype(np.uint16)
    for name in ("receive_time_ns", "earth_receive_time_ns"):
        bad = items[name] < 0  # before 1958
        items[name][bad] = now_ns if name == "receive_time_ns" else ABSENT
    batch = ItemBatch(block.batch.octets, items)
    _set_apart(items, _impossible(batch))
    return batch


def _impossible(batch: ItemBatch) -> BoolArray:
    """Return which items say what cannot be: a kind that is none, an event that is no JSON object."""
    items = batch.items
    bad: BoolArray = ~np.isin(items["kind"], list(Kind)) | ~np.isin(items["unit"], list(Unit))
    bad |= ~np.isin(items["quality"], list(Quality)) | ~np.isin(items["data_mode"], list(DataMode))
    for name, (low, high) in BOUNDS.items():
        bad |= (items[name] < low) | (items[name] > high)
    bad |= (items["kind"] == Kind.EVENT) != (items["unit"] == Unit.EVENT)
    for row in np.flatnonzero((items["unit"] == Unit.EVENT) & ~bad).tolist():
        bad[row] = not _is_event(batch.octets_of(row))
    return bad


def _is_event(octets: bytes) -> bool:
    try:
        return isinstance(json.loads(octets), dict)
    except (ValueError, RecursionError):
        return False


def _set_apart(items: Records, bad: BoolArray) -> None:
    """Keep what cannot be as octets that belong to nothing; it stays at its place."""
    if not bad.any():
        return
    items["kind"][bad], items["unit"][bad], items["quality"][bad] = Kind.TM, Unit.OCTETS, Quality.CONTAINER
    items["data_mode"][bad] = DataMode.REAL_TIME
    items["flags"][bad] &= ItemFlag.BACKFILL
    for name in BOUNDS:
        items[name][bad] = -1


def live(items: Records) -> BoolArray:
    """Return which items may drive contacts and timely listeners: what is no backfill, bool (n,)."""
    found: BoolArray = (items["flags"] & ItemFlag.BACKFILL) == 0
    return found


def missing_items(link: str, link_id: int, key: str, span: tuple[int, int, str], now_ns: int) -> ItemBatch:
    """Return the gap that is journalled for positions of the upstream that will never come."""
    first, end, why = span
    journal_id, _, revision = key.partition("/")
    event: dict[str, Any] = {
        "type": "gap",
        "severity": "warning",
        "message": f"{link}: positions {first}..{end} of the upstream will not come ({why})",
        "what": "positions",
        "reason": f"upstream: {why}",
        "link": link,
        "link_id": link_id,
        "first": first,
        "end": end,
        "missing": end - first,
        "upstream": {"journal_id": journal_id, "revision": int(revision)},
    }
    return event_items([event], now_ns)
