"""Samples of one parameter: in order, each once, and summed up without losing what stands out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_codecs.batches import ABSENT, ItemBatch, no_items
from gateway_codecs.mdb.columns import Column
from gateway_codecs.mdb.decimation import Buckets
from gateway_codecs.mdb.samples import (
    DTYPES,
    Order,
    Samples,
    by_time,
    concatenated,
    identities,
    octets_of,
    once,
    ordered,
    samples_of,
)


def packets(*rows: tuple[int, int, bytes]) -> ItemBatch:
    """Packets of (generation time, sequence count, octets), received at 1000, 1001, ..."""
    items = no_items(len(rows))
    items["length"] = [len(octets) for _, _, octets in rows]
    items["offset"] = np.cumsum(items["length"]) - items["length"]
    items["generation_time_ns"] = [time for time, _, _ in rows]
    items["sequence_count"] = [count for _, count, _ in rows]
    items["receive_time_ns"] = 1000 + np.arange(len(rows))
    items["apid"] = 5
    return ItemBatch(np.frombuffer(b"".join(octets for _, _, octets in rows), np.uint8), items)


def column(values: Any, **more: Any) -> Column:
    array = np.array(values, np.float64)
    flags = np.zeros(array.shape, np.uint8)
    return Column("/S/P", array, array * 2, flags, flags, **more)


def all_of(batch: ItemBatch, values: Any, **more: Any) -> Samples:
    rows = np.arange(len(batch))
    return samples_of(batch, rows + 50, rows, column(values, **more))


def test_a_packet_received_twice_is_one_sample_with_two_sources() -> None:
    """Live and dump: shown once, with both positions; another packet of the same time stays."""
    batch = packets((10, 1, b"abc"), (20, 2, b"abd"), (10, 1, b"abc"), (10, 1, b"abX"), (20, 3, b"abd"))
    found = once(by_time(all_of(batch, [1, 2, 1, 9, 2])))
    assert found["time_ns"].tolist() == [10, 10, 20, 20]
    assert found["position"].tolist() == [50, 53, 51, 54]
    assert (found.again.row.tolist(), found.again.position.tolist()) == ([0], [52])
    received = ordered(found, Order.JOURNAL)
    assert received["position"].tolist() == [50, 51, 53, 54]
    assert received.again.row.tolist() == [0]


def test_packets_without_a_generation_time_are_all_shown() -> None:
    """A counter that wraps and octets that stay the same make no two packets one: the time is that of reception."""
    batch = packets((ABSENT, 1, b"abc"), (ABSENT, 1, b"abc"))
    batch.items["receive_time_ns"] = 7
    found = once(by_time(all_of(batch, [1, 1])))
    assert found["time_ns"].tolist() == [7, 7]
    assert not found["generated"].any()


def test_a_packet_of_several_samples() -> None:
    """Repeats have times of their own, elements a number; values, validity and provenance stay together."""
    batch = packets((100, 1, b"a"), (200, 2, b"b"))
    repeats = all_of(batch, [[1, 2, 3], [4, 5, 6]], time_offset_ns=np.array([0, -5, 5]))
    found = by_time(repeats)
    assert found["time_ns"].tolist() == [95, 100, 105, 195, 200, 205]
    assert found["engineering"].tolist() == [4, 2, 6, 10, 8, 12]
    assert found["element"].tolist() == [1, 0, 2, 1, 0, 2]
    assert found["position"].tolist() == [50] * 3 + [51] * 3
    again = once(by_time(concatenated([repeats, repeats])))
    assert len(again) == 6
    assert len(again.again.row) == 6


def test_binary_values_keep_their_octets() -> None:
    """A value of octets is one sample."""
    batch = packets((1, 1, b"ab"), (2, 2, b"cd"))
    octets = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
    flags = np.zeros(2, np.uint8)
    found = samples_of(batch, np.arange(2), np.arange(2), Column("/S/B", octets, octets, flags, flags))
    more = samples_of(batch, np.arange(2), np.arange(2), Column("/S/B", octets[:, :1], octets[:, :0], flags, flags))
    whole = concatenated([found, more])
    assert [octets_of(bytes(value)) for value in whole["engineering"]] == [b"\1\2\3", b"\4\5\6", b"", b""]
    assert [octets_of(bytes(value)) for value in whole["raw"]] == [b"\1\2\3", b"\4\5\6", b"\1", b"\4"]


def test_every_column_is_there() -> None:
    """The columns are those that are declared, of their dtypes."""
    found = all_of(packets((1, 1, b"ab")), [1.0])
    for name, dtype in DTYPES.items():
        assert found[name].dtype == np.dtype(dtype), name


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.binary(max_size=20)), min_size=1, max_size=30))
def test_identities_tell_packets_apart(rows: list[tuple[int, int, bytes]]) -> None:
    """Equal numbers exactly for equal packets, whatever else is in the batch; the reference is a dictionary."""
    batch = packets(*rows)
    found = identities(batch, np.arange(len(rows))).tolist()
    by_key = dict(zip([(count, octets) for _, count, octets in rows], found, strict=True))
    assert found == [by_key[count, octets] for _, count, octets in rows]
    assert len(set(by_key.values())) == len(by_key)
    alone = identities(packets(rows[-1]), np.arange(1))
    assert alone[0] == found[-1]


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 2)), max_size=40), st.randoms())
def test_the_order_of_arrival_changes_nothing(rows: list[tuple[int, int]], rng: Any) -> None:
    """A history in generation-time order is the same however late and in what order its packets came."""
    live = [(time * 10, count, b"%d %d" % (time, count)) for time, count in rows]
    late = list(live)
    rng.shuffle(late)
    one, other = (once(by_time(all_of(packets(*some), [count for _, count, _ in some]))) for some in (live, late))
    assert one["time_ns"].tolist() == other["time_ns"].tolist()
    assert sorted(zip(one["time_ns"].tolist(), one["engineering"].tolist(), strict=True)) == sorted(
        zip(other["time_ns"].tolist(), other["engineering"].tolist(), strict=True)
    )
    assert len(one) == len(set(live))


@given(
    st.lists(
        st.tuples(st.integers(-5, 105), st.one_of(st.floats(-1e6, 1e6), st.just(float("nan"))), st.booleans()),
        max_size=60,
    ),
    st.integers(1, 12),
    st.integers(0, 60),
)
def test_decimation_keeps_extremes(rows: list[tuple[int, float, bool]], buckets: int, cut: int) -> None:
    """Of each bucket the count and extremes are those of the samples, in parts as whole; the reference is a loop."""
    found = Buckets.empty(0, 100, buckets)
    for part in (rows[:cut], rows[cut:]):
        times, values, usable = (np.array(list(one)) for one in zip(*part, strict=True)) if part else ([], [], [])
        found.add(
            np.array(times, np.int64), np.array(values, np.float64), np.array(usable, np.bool_),
            np.zeros(len(part), np.uint8),
        )  # fmt: skip
    expected: list[list[tuple[float, int]]] = [[] for _ in range(buckets)]
    for time, value, good in rows:
        if 0 <= time < 100 and good and value == value:
            expected[min(int(time / 100 * buckets), buckets - 1)].append((value, time))
    assert found.count.tolist() == [len(one) for one in expected]
    for k, inside in enumerate(expected):
        if not inside:
            assert np.isnan(found.low[k])
            continue
        low, high = min(value for value, _ in inside), max(value for value, _ in inside)
        assert (found.low[k], found.high[k]) == (low, high)
        assert found.low_time_ns[k] in [time for value, time in inside if value == low]
        assert found.high_time_ns[k] in [time for value, time in inside if value == high]
        assert found.mean[k] == pytest.approx(sum(v for v, _ in inside) / len(inside), abs=1e-6)
    lost = sum(1 for time, value, good in rows if 0 <= time < 100 and not (good and value == value))
    assert int(found.unusable.sum()) == lost
