"""Gateways as peers of gateways, seeded, on virtual time: kills on either side, cuts, loops, replaced journals."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import random

import numpy as np
import pytest

from gateway_codecs.batches import ItemBatch, ItemFlag, Unit
from gateway_routes.link_state import LinkStatus
from tests.conftest import SEEDS
from tests.gateway.simulated import SimLoop
from tests.simulation.chain import Gate, begin, end
from tests.simulation.test_whole_gateway import expected, recording

KEPT = [
    "length", "kind", "unit", "quality", "data_mode", "version", "vcid", "apid", "sequence_count", "missing_before",
    "vc_count", "receive_time_ns", "earth_receive_time_ns", "generation_time_ns",
]  # fmt: skip


async def assert_same(upstream: Gate, gate: Gate) -> None:
    """Everything of the upstream is here once, as it was there, and says which position it had there."""
    positions, theirs = await upstream.items()
    _, ours = await gate.items()
    mine = ours.items["upstream_position"] >= 0
    where = ours.items["upstream_position"][mine]
    assert sorted(where.tolist()) == positions.tolist(), "each once"
    order = np.flatnonzero(mine)[np.argsort(where)]
    for name in KEPT:
        assert ours.items[name][order].tolist() == theirs.items[name].tolist(), name
    flags = ours.items["flags"][order] & ~np.uint16(ItemFlag.BACKFILL)
    assert flags.tolist() == (theirs.items["flags"] & ~np.uint16(ItemFlag.BACKFILL)).tolist()
    names = upstream.journal.names("spacecraft"), gate.journal.names("spacecraft")
    assert [names[1].get(n) for n in ours.items["spacecraft"][order].tolist()] == [
        names[0].get(n) for n in theirs.items["spacecraft"].tolist()
    ]
    assert octets(ours, order.tolist()) == octets(theirs, range(len(theirs)))


def octets(batch: ItemBatch, rows: object) -> list[bytes]:
    return [batch.octets_of(row) for row in rows]  # type: ignore[attr-defined]


def packets(batch: ItemBatch) -> list[bytes]:
    """Return the packets in the order of the journal that they were in first."""
    items = batch.items
    return [batch.octets_of(k) for k in np.argsort(items["upstream_position"], kind="stable").tolist()
            if items["unit"][k] == Unit.PACKET]  # fmt: skip


async def a_chain(seed: int) -> None:
    begin()
    rng = random.Random(seed)
    data = recording(seed)
    gates = [Gate("a", rng, data), Gate("b", rng)]
    gates[1].after(gates[0])
    if seed % 2:
        gates.append(Gate("c", rng).after(gates[1]))
    for gate in gates:
        await gate.start()
    for _ in range(rng.randrange(2, 12)):
        gate = rng.choice(gates)
        wait_s = rng.choice([0.01, 0.3, 2.0])
        try:
            async with asyncio.timeout(wait_s * rng.random()):
                await gate.power_lost.wait()
        except TimeoutError:
            pass
        if rng.random() < 0.2 and not gate.power_lost.is_set():
            await gate.act(next(iter(gate.links)), "disable")
            await asyncio.sleep(rng.random())
            await gate.act(next(iter(gate.links)), "enable")
            continue
        await gate.kill()
        await asyncio.sleep(rng.choice([0, 0.1, 3.0]))
        await gate.start()
    await finished(gates)
    assert not [broken for gate in gates for broken in gate.broken]
    for upstream, gate in itertools.pairwise(gates):
        await assert_same(upstream, gate)
    _, found = await gates[1].items()
    whole = b"".join(expected(data))
    assert hashlib.sha256(b"".join(packets(found))).digest() == hashlib.sha256(whole).digest()
    await end(gates)


async def finished(gates: list[Gate]) -> None:
    """Wait until everything is everywhere; whoever loses power meanwhile is started again."""
    async with asyncio.timeout(3600):
        while True:
            for gate in gates:
                if gate.power_lost.is_set():
                    await gate.kill()
                    await gate.start()
            if all(link.status == LinkStatus.FINISHED for gate in gates for link in gate.links.values()):
                return
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("seed", range(max(10, SEEDS // 8)))
def test_each_item_once_whoever_is_killed(seed: int) -> None:
    """R2, R4: a chain of two or three gateways, any of them killed at any moment: the last has everything once."""
    with asyncio.Runner(loop_factory=SimLoop) as runner:
        runner.run(a_chain(seed))
