"""Events as journal items: one JSON object each, UTF-8."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gateway_codecs.batches import Gap, ItemBatch, Kind, Unit, no_items
from gateway_codecs.time_scales import format_utc

Event = Mapping[str, Any]


def event_items(events: Sequence[Event], now_ns: int) -> ItemBatch:
    """Return events as items. `spacecraft_id`, `link_id`, `vcid`, `apid` also fill the columns."""
    bodies = [json.dumps({"time": format_utc(now_ns), **event}, separators=(",", ":")).encode() for event in events]
    items = no_items(len(events))
    items["kind"], items["unit"], items["receive_time_ns"] = Kind.EVENT, Unit.EVENT, now_ns
    lengths = np.array([len(b) for b in bodies], np.int64)
    items["length"], items["offset"] = lengths, np.cumsum(lengths) - lengths
    for row, event in enumerate(events):
        items["spacecraft"][row] = event.get("spacecraft_id", 0)
        items["link"][row] = event.get("link_id", 0)
        items["vcid"][row] = event.get("vcid", -1)
        items["apid"][row] = event.get("apid", -1)
    return ItemBatch(np.frombuffer(b"".join(bodies), np.uint8), items)


def gap_event(gap: Gap, link: int) -> dict[str, Any]:
    """Return the event that journals a gap."""
    stream = f"VC{gap.vcid}" if gap.apid < 0 else f"APID {gap.apid}"
    if gap.group:
        stream = f"the APIDs that share the count {gap.group!r}"
    if gap.what == "datagrams":
        stream = "the link"
    what = gap.what.removesuffix("s") if gap.missing == 1 else gap.what
    more = " or a multiple of the modulus more" if gap.ambiguous else ""
    return {
        "type": "gap",
        "severity": "warning",
        "message": f"{gap.missing} {what} of {stream} missing{more} ({gap.reason})",
        "what": gap.what,
        "spacecraft_id": gap.spacecraft,
        "link_id": link,
        "vcid": gap.vcid,
        "apid": gap.apid,
        "last": gap.last,
        "next": gap.next,
        "missing": gap.missing,
        "occurrences": gap.occurrences,
        "ambiguous": gap.ambiguous,
        "group": gap.group,
        "reason": gap.reason,
    }
