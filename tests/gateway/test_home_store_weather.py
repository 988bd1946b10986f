"""R4, R14: a home store that is damaged again and again, crashes and is filled again, ends exact."""

from __future__ import annotations

import random

import pytest

from gateway.homes.store import HomeStore
from gateway_codecs.delivery_block import decode, encode_mark
from tests.conftest import SEEDS
from tests.gateway.simulated import PowerLoss, SimStorage
from tests.gateway.test_home_store import block, stored

END = 60


@pytest.mark.parametrize("seed", range(SEEDS // 4))
def test_damage_and_crashes_again_and_again(seed: int) -> None:
    """R4, R14: whatever was damaged and cut off, a store that is filled again holds every item once."""
    rng, storage = random.Random(seed), SimStorage(random.Random(seed))
    for _ in range(rng.randrange(1, 12)):
        try:
            storage.fuse = rng.choice([None, None, rng.randrange(1, 40)])
            store = HomeStore(storage)
            store.begin("journal", 1, 0, {})
            fill(store, rng, rng.randrange(0, 12))
            if rng.random() < 0.3:
                store.close()
            storage.fuse = None
        except PowerLoss:
            pass
        if rng.random() < 0.6 or storage.dead:
            storage.crash()
        names = [n for n in storage.names("") if n.endswith(".blocks") and storage.volatile[n]]
        for _ in range(rng.choice([0, 1, 1, 2, 3])):
            if names:
                name = rng.choice(names)
                at = rng.randrange(len(storage.volatile[name]))
                storage.volatile[name][at] ^= 1 << rng.randrange(8)
                if at < len(storage.durable[name]):
                    storage.durable[name][at] = storage.volatile[name][at]
    store = HomeStore(storage)
    store.begin("journal", 1, 0, {})
    fill(store, rng, 10_000)
    assert stored(store) == [b"packet %d" % k for k in range(END)]
    store.close()
    again = HomeStore(storage)
    assert stored(again) == [b"packet %d" % k for k in range(END)]
    cursor = again.cursor()
    assert cursor is not None
    assert cursor.missing(END) == []
    assert again.items == END


def fill(store: HomeStore, rng: random.Random, blocks: int) -> None:
    cursor = store.cursor()
    assert cursor is not None
    lanes = [list(r) for r in cursor.missing(END)]
    while lanes and blocks:
        blocks -= 1
        lane = lanes[rng.choice([0, len(lanes) - 1])]
        upto = min(lane[1], lane[0] + rng.randrange(1, 7))
        data = block(lane[0], upto - lane[0])
        assert store.append(decode(data), data)
        if rng.random() < 0.3:
            mark = encode_mark(0, lane[0], upto, upto - lane[0], bytes(32))
            store.append(decode(mark), mark)
        if rng.random() < 0.5:
            store.force()
        lane[0] = upto
        lanes = [r for r in lanes if r[0] < r[1]]
    store.force()
