"""How a batch becomes the messages of shared topics: nothing lost, nothing too large, order kept."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gateway_codecs.batches import ItemBatch, no_items
from gateway_codecs.mqtt_message import HEADER_OCTETS, ROW_OCTETS, U32_MAX, encode
from gateway_routes.shared_topics import parts, topic_level

ITEM = st.tuples(st.integers(1, 2), st.integers(-1, 2), st.integers(-1, 3), st.integers(0, 90), st.integers(0, 3))


@given(st.lists(ITEM, max_size=40), st.integers(HEADER_OCTETS + ROW_OCTETS + 1, 400))
def test_every_item_once(rows: list[tuple[int, int, int, int, int]], max_octets: int) -> None:
    """Each stream gets its items once, in order, in messages within the limit; what fits none is counted as that."""
    items = no_items(len(rows))
    for k, (craft, vcid, apid, length, seconds) in enumerate(rows):
        items[k]["spacecraft"], items[k]["vcid"], items[k]["apid"], items[k]["length"] = craft, vcid, apid, length
        items[k]["receive_time_ns"] = seconds * 3 * 10**9
    lengths = items["length"].astype(np.int64)
    items["offset"] = np.cumsum(lengths) - lengths
    octets = np.arange(int(lengths.sum())).astype(np.uint8)
    batch = ItemBatch(octets, items)
    found = parts(batch, max_octets)
    for part in found:
        assert len(encode(part.batch, 0)) <= max_octets
        times = part.batch.items["receive_time_ns"].tolist()
        assert not times or max(times) - min(times) <= U32_MAX
    for stream in {row[:3] for row in rows}:
        mine = [k for k, row in enumerate(rows) if row[:3] == stream]
        fit = [k for k in mine if rows[k][3] + ROW_OCTETS <= max_octets - HEADER_OCTETS]
        got = [part for part in found if tuple(part.stream) == stream]
        sent = [part.batch.octets_of(k) for part in got for k in range(len(part.batch))]
        assert sent == [batch.octets_of(k) for k in fit]
        assert sum(part.oversize for part in got) == len(mine) - len(fit)


def test_levels() -> None:
    """What is of no virtual channel or APID has a level of its own: a topic has no empty ones."""
    assert [topic_level(n) for n in (0, 2047, -1)] == ["0", "2047", "none"]
