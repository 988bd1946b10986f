"""What fails behind the links and sessions is told, retried or counted; it never ends a task in silence."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from gateway.event_pump import EventPump
from gateway.homes.registry import Subscription, SubscriptionRegistry
from gateway.journal import CommitFailed, Recording, SmallStore
from gateway.links import Link, LinkContext, LinkSettings, TcpClientSource
from gateway_codecs.batches import IntakeBatch
from gateway_codecs.intake import FrameIntake, LinkFormat
from gateway_routes.delivery import Cursor
from tests.gateway.simulated import SimClock, SimNetwork, SimStorage, granted, inline, on_virtual_time, small_store
from tests.gateway.test_journal import opened, packets, read_all
from tests.gateway.test_tcp_links import FORMAT, PORT, Contacts, frames, journal, says, until


async def test_a_bug_in_a_commit_is_told_to_those_who_wait() -> None:
    """R6: a commit that fails for another reason than the disk raises for its appenders; the journal goes on."""
    async with opened(SimStorage(random.Random(1))) as log:
        await log.append(IntakeBatch(packets([b"before"])))
        with pytest.raises(CommitFailed, match="TypeError"):
            await log.append(IntakeBatch(packets([b"bad"]), state={"x": {1, 2}}))
        commit = await log.append(IntakeBatch(packets([b"after"])))
        assert commit.first_position == 1, "no position was used for what was not journalled"
        assert [value for _, value in await read_all(log)] == [b"before", b"after"]


async def test_events_survive_a_failed_commit() -> None:
    """Events that could not be journalled are counted, and the count is journalled with the next ones."""
    async with opened(SimStorage(random.Random(1))) as log:
        pump = EventPump(log)
        task = asyncio.create_task(pump.run())
        pump.emit({"type": "bad", "value": {1}})
        await pump.flushed()
        pump.emit({"type": "good", "severity": "info", "message": "hello"})
        await pump.flushed()
        values = b"".join(value for _, value in await read_all(log))
        assert b"hello" in values
        assert b"1 events could not be journalled" in values
        task.cancel()


@on_virtual_time
async def test_a_recording_that_fails_leaves_the_link_alone() -> None:
    """A full disk under the recording: the link receives and journals as before, the operator is told once."""
    network, events = SimNetwork(), list[dict[str, Any]]()
    stream_of = says(frames(3))
    await network.listen("127.0.0.1", PORT, stream_of)
    log, disk = await journal(), SimStorage(random.Random(1))
    disk.fail_writes = 2
    recording = Recording(disk, SimClock(), "m/recording/a", {"unit_octets": 1115}, 7)
    context = LinkContext(log, SimClock(), Contacts(), events.append, inline, inline, recording)
    tested = Link(
        LinkSettings("a", "tcp", "s"), TcpClientSource(network, "127.0.0.1", PORT),
        lambda: FrameIntake(LinkFormat(1, FORMAT, 1)), context,
    )  # fmt: skip
    tested.start()
    await until(lambda: tested.snapshot()["counters"]["frames"] == 3)
    assert tested.snapshot()["counters"]["cuts"] == tested.snapshot()["counters"]["failures"] == 0
    assert tested.snapshot()["unrecorded_octets"] == 1 + 3 * 1115
    await network.streams[0].write(frames(1))
    await until(lambda: tested.snapshot()["counters"]["frames"] == 4)
    assert tested.snapshot()["unrecorded_octets"] == 0
    told = [event["message"] for event in events if event["type"] == "recording"]
    assert len(told) == 2
    assert "not recorded: No space left on device" in told[0]
    assert "goes on" in told[1]
    await tested.stop()


def test_a_small_store_that_is_none(tmp_path: Path) -> None:
    """A damaged small store is an OSError that names the file, not an error of its library."""
    (tmp_path / "small.sqlite").write_bytes(b"no database at all" * 100)
    with pytest.raises(OSError, match=r"small\.sqlite: file is not a database"):
        SmallStore(tmp_path / "small.sqlite")


class FailingStore(SmallStore):
    """Refuses to write so many times."""

    failures = 2

    def put_cursors(self, journal_id: str, cursors: Any) -> None:
        self.failures -= 1
        if self.failures >= 0:
            raise OSError(28, "No space left on device")
        super().put_cursors(journal_id, cursors)


async def test_a_cursor_that_was_not_stored_stays_to_be_stored() -> None:
    """R2: a cursor that could not be forced is not taken for durable; the next try stores it."""
    storage = SimStorage(random.Random(1))
    async with opened(storage) as log:
        store = small_store(FailingStore)
        registry = SubscriptionRegistry(log, store, inline, *granted("a"))
        subscription = Subscription("a", "all", 1, {}, Cursor(0))
        for _ in range(2):
            with pytest.raises(OSError, match="No space left"):
                await registry.put(subscription)
        assert store.cursors(str(log.journal_id)) == []
        await registry.put(subscription)
        assert [(home, name) for home, name, _ in store.cursors(str(log.journal_id))] == [("a", "all")]
