"""What came of another gateway, by spacecraft, virtual channel and APID, in the rows in which other links count."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gateway_codecs.batches import I64Array, Records, Unit

Stream = tuple[int, int, int]  # spacecraft, virtual channel, APID: our numbers, -1 = none


class UpstreamCounts:
    """Counts packets, and what they say is missing before them: the upstream's count, by its rule."""

    def __init__(self, spacecraft: str) -> None:
        self._default = spacecraft
        self._names: dict[int, str] = {}
        self._rows: dict[Stream, list[int]] = {}  # packets, octets, missing before

    def take(self, items: Records, names: Mapping[int, str]) -> None:
        """Count items (ITEM_DTYPE, (n,))."""
        rows = items[items["unit"] == Unit.PACKET]
        if not len(rows):
            return
        columns = [rows[name].astype(np.int64) for name in ("spacecraft", "vcid", "apid")]
        keys: I64Array = (columns[0] << 32) | ((columns[1] + 1) << 16) | (columns[2] + 1)
        found, inverse = np.unique(keys, return_inverse=True)
        packets = np.bincount(inverse, minlength=len(found))
        octets = np.bincount(inverse, rows["length"], len(found))
        missing = np.bincount(inverse, rows["missing_before"], len(found))
        for key, *counts in zip(found.tolist(), packets.tolist(), octets.tolist(), missing.tolist(), strict=True):
            spacecraft, vcid, apid = key >> 32, ((key >> 16) & 0xFFFF) - 1, (key & 0xFFFF) - 1
            self._names[spacecraft] = names.get(spacecraft, "")
            before = self._rows.setdefault((spacecraft, vcid, apid), [0, 0, 0])
            for k, count in enumerate(counts):
                before[k] += int(count)

    def statistics(self) -> dict[str, Any]:
        """Return the counts as those of other links, JSON-able: nothing of frames, and no rule of counting of ours."""
        vcs: dict[str, dict[str, Any]] = {}
        for (spacecraft, vcid, apid), (packets, octets, missing) in sorted(self._rows.items()):
            name = self._names[spacecraft]
            stream = f"vc{vcid}" if vcid >= 0 else "packets"
            channel = vcs.setdefault(f"{name or 'none'}/{stream}", _channel(name, vcid))
            channel["packets"] += packets
            channel["octets"] += octets
            channel["apids"][apid] = {
                "counting": "none", "packets": packets, "octets": octets, "seq_gaps": 0, "missing": missing,
                "first_seq": None, "last_seq": None,
            }  # fmt: skip
        return {
            "frames": 0, "causes": {}, "idle_octets": 0, "padding_octets": 0, "mc_count_jumps": 0, "vcs": vcs,
        }  # fmt: skip


def _channel(spacecraft: str, vcid: int) -> dict[str, Any]:
    return {
        "counting": "none", "frames": 0, "first_count": None, "last_count": None, "count_jumps": 0,
        "repeated_counts": 0, "frames_missing_mod": 0, "packets": 0, "octets": 0, "unreadable_times": 0, "apids": {},
        "groups": {}, "spacecraft": spacecraft, "vcid": vcid if vcid >= 0 else None,
    }  # fmt: skip
