"""What a home base stored: forced, cut where it is torn, and damage costs only the damaged block."""

from __future__ import annotations

import random

import pytest

from gateway.console.subscribe import other_selection_hint
from gateway.homes.store import HomeStore
from gateway_codecs.delivery_block import decode, encode_data, encode_mark
from tests.gateway.simulated import SimStorage
from tests.gateway.test_journal import packets


def block(first: int, count: int) -> bytes:
    values = [b"packet %d" % (first + k) for k in range(count)]
    batch = packets(values)
    return encode_data(0, first, first + count, range(first, first + count), batch)  # type: ignore[arg-type]


def filled(storage: SimStorage, blocks: int = 20) -> HomeStore:
    store = HomeStore(storage)
    store.begin("journal", 1, 0, {})
    for k in range(blocks):
        data = block(k * 5, 5)
        store.append(decode(data), data)
        mark = encode_mark(0, k * 5, k * 5 + 5, 5, bytes(32))
        store.append(decode(mark), mark)
    store.force()
    return store


def stored(store: HomeStore) -> list[bytes]:
    return [b.batch.octets_of(k) for b in store.blocks() for k in range(len(b.positions))]


@pytest.mark.parametrize("seed", range(30))
def test_one_wrong_octet_costs_one_block(seed: int) -> None:
    """R4, R14: an octet damaged on the home base's disk makes its own block missing in the cursor, so that it is
    delivered again; everything else stays, and after the delivery the store is exact."""
    rng, storage = random.Random(seed), SimStorage(random.Random(seed))
    filled(storage)
    name = next(n for n in storage.names("") if n.endswith(".blocks"))
    storage.volatile[name][rng.randrange(len(storage.volatile[name]))] ^= 1 << rng.randrange(8)
    store = HomeStore(storage)
    cursor = store.cursor()
    assert cursor is not None
    missing = cursor.missing(100)
    assert sum(end - first for first, end in missing) in {0, 5}, "a damaged mark costs nothing"
    for first, end in missing:
        data = block(first, end - first)
        assert store.append(decode(data), data)
    store.force()
    again = HomeStore(storage)
    assert stored(again) == [b"packet %d" % k for k in range(100)]
    assert again.cursor() == cursor.with_range(0, 100)


@pytest.mark.parametrize("seed", range(30))
def test_a_torn_end_is_cut(seed: int) -> None:
    """R2: what was not forced may be torn: the store ends at its last whole block, at or behind what was forced."""
    storage = SimStorage(random.Random(seed))
    store = filled(storage, 10)
    for k in range(10, 14):
        data = block(k * 5, 5)
        store.append(decode(data), data)
    storage.crash()
    again = HomeStore(storage)
    have = stored(again)
    assert have == [b"packet %d" % k for k in range(len(have))] or again.cursor().ranges  # type: ignore[union-attr]
    assert again.cursor().low_water >= 50  # type: ignore[union-attr]


def test_a_store_knows_what_it_was_filled_with() -> None:
    """A store that goes on with another selection is told of before it receives anything, and goes on."""
    storage = SimStorage(random.Random(1))
    store = filled(storage)
    assert other_selection_hint("s", store, {}) == ""
    told = other_selection_hint("s", store, {"vcids": [2]})
    assert "filled with everything" in told
    assert "vcids [2]" in told
    store.begin("journal", 1, 0, {"vcids": [2]})
    again = HomeStore(storage)
    assert other_selection_hint("s", again, {"vcids": [2]}) == ""
    assert other_selection_hint("s", HomeStore(SimStorage(random.Random(2))), {"vcids": [2]}) == "", "a new store"
