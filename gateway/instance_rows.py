"""The rows in which the API shows conditions, channels and APIDs of an instance."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from gateway.journal.commit_times import Durations
from gateway.world import Clock
from gateway_codecs.batches import ItemBatch
from gateway_codecs.channels import ChannelKey
from gateway_codecs.time_scales import format_utc
from gateway_routes.conditions import Condition, ConditionBook

COMMIT_SLOW_S, COMMIT_LATE_S = 0.5, 2.0


def condition_row(row: Condition, book: ConditionBook, now_s: float, clock: Clock) -> dict[str, Any]:
    """Return a condition as the API shows it, with the time since when it holds."""
    since_s = book.since_s(row)
    since_ns = clock.tai_ns() - (0 if since_s is None else int((now_s - since_s) * 1e9))
    shown = {"severity": row.severity, "what": row.what, "subject": row.subject, "text": row.text}
    return shown | {"remedy": row.remedy, "since_utc": format_utc(since_ns)}


def event_row(position: int, batch: ItemBatch, row: int, links: Mapping[int, str]) -> dict[str, Any]:
    """Return a journalled event as the API shows it; one of another gateway says where it came from."""
    event, item = {**json.loads(batch.octets_of(row)), "position": position}, batch.items[row]
    if item["upstream_position"] < 0:
        return event
    came = {"link": links.get(int(item["link"])), "position": int(item["upstream_position"])}
    return {**event, "upstream": came}


def slow_commits(times: Durations) -> str:
    """Return that commits take long, or nothing."""
    if times.under_way_s > COMMIT_LATE_S:
        return f"commits are slow: one is under way for {times.under_way_s:.1f} s"
    if times.commits and times.p99_s > COMMIT_SLOW_S:
        return f"commits are slow: p99 {times.p99_s:.2f} s, median {times.p50_s:.2f} s in the last minute"
    return ""


def channel_of(name: str) -> dict[str, Any]:
    """Return the columns that tell a channel from others of its spacecraft, from its name in the statistics."""
    key = ChannelKey.parse(name)
    if key is None:
        return {"scid": None, "vcid": None, "map_id": None, "replay": False, "expedited": False}
    map_id = key.map_id if key.map_id >= 0 else None
    return {"scid": key.scid, "vcid": key.vcid, "map_id": map_id, "replay": key.replay, "expedited": key.expedited}


def channel_order(named: tuple[str, Any]) -> tuple[int, ...]:
    """Return where a channel stands in lists."""
    key = ChannelKey.parse(named[0])
    return () if key is None else (key.scid, key.vcid, key.replay, key.expedited, key.map_id)


def vc_row(vc: Mapping[str, Any], of_frames: bool) -> dict[str, Any]:
    """Return what was counted of a virtual channel."""
    counting = of_frames and vc["counting"] != "none"
    counted = [apid["missing"] for apid in vc["apids"].values() if apid["counting"] == "apid"]
    shared = {name: group["missing"] for name, group in vc["groups"].items()}
    counted += shared.values()
    return {
        "apid": None,
        "frames": vc["frames"] if of_frames else None,
        "packets": vc["packets"],
        "octets": vc["octets"],
        "missing_frames": vc["frames_missing_mod"] if counting else None,
        "missing_packets": sum(counted) if counted else None,
        "shared_missing": shared,
        "count_jumps": vc["count_jumps"] if counting else None,
        "seq_gaps": None,
    }


def apid_row(apid: int, counts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was counted of an APID."""
    counted = counts["counting"] == "apid"
    return {
        "apid": apid,
        "frames": None,
        "packets": counts["packets"],
        "octets": counts["octets"],
        "missing_frames": None,
        "missing_packets": counts["missing"] if counted else None,
        "shared_missing": {},
        "count_jumps": None,
        "seq_gaps": counts["seq_gaps"] if counted else None,
    }
