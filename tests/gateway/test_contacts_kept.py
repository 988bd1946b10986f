"""Contacts in a running gateway: what is kept, what is refused, what is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.api.app import build_app
from gateway.instance import MissionInstance
from gateway.service import Gateway
from gateway_config import load
from tests.home_files import opened

MISSION = "name: m\nspacecraft: [{name: PICARD%s}]\n"
CONTACTS = "/api/v1/instances/m.simulation/contacts"
PLAN = {"spacecraft": "PICARD", "peer": "plan", "aos_utc": "2100-01-01T00:00:00Z", "los_utc": "2100-01-01T01:00:00Z"}


def configured(folder: Path, contacts: str = "") -> Gateway:
    (folder / "missions").mkdir(exist_ok=True)
    (folder / "missions/m.yaml").write_text(MISSION % contacts)
    (folder / "gateway.yaml").write_text("{}\n")
    return Gateway(opened(load(folder)))


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Gateway]:
    service = configured(tmp_path)
    await service.start()
    yield service
    await service.drain()
    await service.stop()


@pytest.fixture
async def api(running: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(build_app(running))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as found:
        yield found


async def kept(instance: MissionInstance) -> list[dict[str, Any]]:
    around = instance._around
    found = await around.keeper(lambda: around.small_store.get(f"contacts {instance.name}"))
    return list(found or [])


async def events(service: Gateway) -> list[dict[str, Any]]:
    instance = service.instance("m.simulation")
    await instance._pump.flushed()
    return [e for e in (await instance.events(0, 100, 0))["events"] if e["type"] == "contact"]


async def test_a_contact_that_changes_while_another_change_is_kept_is_kept(running: Gateway) -> None:
    """R7: a contact that is opened while the book is being written is written too, at the next turn."""
    instance = running.instance("m.simulation")
    keeper = instance._around.keeper
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(work: Callable[[], Any]) -> Any:
        done = await keeper(work)
        if not go_on.is_set():
            begun.set()
            await go_on.wait()
        return done

    instance._around = replace(instance._around, keeper=slow)
    asking = asyncio.create_task(instance.add_contact(*PLAN.values()))
    await begun.wait()
    instance.good_data("PICARD", "by data")
    go_on.set()
    await asking
    await instance._contact_events()
    assert [row["peer"] for row in await kept(instance) if row["state"] == "active"] == ["by data"]


async def test_good_data_is_kept(running: Gateway) -> None:
    """R7: after a kill -9 a contact has its first good frame, and the last one of a second ago: it was not missed."""
    instance = running.instance("m.simulation")
    for k in range(3):
        instance.good_data("PICARD", "station")
        await instance._contact_events()
        [row] = await kept(instance)
        assert row["last_good_ns"] == instance._book.snapshot()[0]["last_good_ns"], k


async def test_the_book_is_written_once_in_a_turn_and_not_when_nothing_changed(running: Gateway) -> None:
    """R12: frames cost no forced writes; only a turn of the housekeeping does, after good data."""
    instance, writes = running.instance("m.simulation"), []
    keeper = instance._around.keeper

    async def counted(work: Callable[[], Any]) -> Any:
        writes.append(work)
        return await keeper(work)

    instance._around = replace(instance._around, keeper=counted)
    for _ in range(100):
        instance.good_data("PICARD", "station")
    assert not writes
    for _ in range(3):
        await instance._contact_events()
    assert len(writes) == 1


async def test_an_overlapping_plan_is_refused(api: httpx.AsyncClient) -> None:
    """DESIGN 1: contacts of one spacecraft do not overlap; a plan that was taken back is in nobody's way."""
    assert (await api.post(CONTACTS, json=PLAN)).status_code == 201
    refused = await api.post(CONTACTS, json=PLAN | {"peer": "x", "aos_utc": "2100-01-01T00:59:00Z",
                                                    "los_utc": "2100-01-01T02:00:00Z"})  # fmt: skip
    assert (refused.status_code, refused.json()["hint"]) == (409, "close contact 1 first, or plan around it")
    assert "2100-01-01T00:00:00.000000000Z" in refused.json()["error"]
    assert (await api.post(f"{CONTACTS}/1/close")).json()["state"] == "withdrawn"
    assert (await api.post(CONTACTS, json=PLAN)).status_code == 201


async def test_a_withdrawn_plan_wakes_nobody(running: Gateway, api: httpx.AsyncClient) -> None:
    """DESIGN 1: a plan that the operator takes back was not missed: it is told without a warning."""
    await api.post(CONTACTS, json=PLAN)
    await api.post(f"{CONTACTS}/1/close")
    told = [(e["state"], e["severity"]) for e in await events(running)]
    assert told == [("planned", "info"), ("withdrawn", "info")]


async def test_a_second_contact_is_refused(api: httpx.AsyncClient) -> None:
    """DESIGN 1: opening a contact while another is active answers which one, and does not hand it out as the new."""
    assert (await api.post(CONTACTS, json={"spacecraft": "PICARD", "peer": "a"})).status_code == 201
    again = await api.post(CONTACTS, json={"spacecraft": "PICARD", "peer": "b"})
    assert (again.status_code, again.json()["hint"]) == (409, "close contact 1 first")
    assert "with a is active" in again.json()["error"]


@pytest.mark.parametrize("times", [{"aos_utc": "soon"}, {"los_utc": "2100-02-30T00:00:00Z"}, {"los_utc": "9999-01-01"}])
async def test_times_that_are_none_are_unprocessable(api: httpx.AsyncClient, times: dict[str, str]) -> None:
    """Control plane: a time that cannot be read is 422 and named; 409 is for what contradicts what is there."""
    answer = await api.post(CONTACTS, json=PLAN | times)
    assert answer.status_code == 422
    assert next(iter(times)) in answer.json()["error"]


async def test_a_configured_contact_in_the_way_of_another_is_told(tmp_path: Path) -> None:
    """R7: what was planned by hand stays; the configured contact that overlaps it is told, and the start succeeds."""
    service = configured(tmp_path)
    await service.start()
    await service.instance("m.simulation").add_contact(*PLAN.values())
    await service.drain()
    await service.stop()
    contact = "{peer: redu, aos_utc: 2100-01-01T00:30:00Z, los_utc: 2100-01-01T02:00:00Z}"
    service = configured(tmp_path, f", contacts: [{contact}]")
    await service.start()
    told = (await events(service))[-1]
    assert (told["severity"], "with redu is not planned: it overlaps contact 1" in told["message"]) == ("warning", True)
    assert [row["peer"] for row in service.instance("m.simulation").contacts()] == ["plan"]
    await service.drain()
    await service.stop()


async def test_a_plan_that_ended_while_the_gateway_was_away_takes_no_data(tmp_path: Path) -> None:
    """R7: the first data after a restart open a new contact; what is over is missed, not opened again."""
    service = configured(tmp_path)
    await service.start()
    instance = service.instance("m.simulation")
    now_ns = instance._around.clock.tai_ns()
    instance._book.plan("PICARD", "over", now_ns - 2, now_ns - 1)
    await service.stop()
    service = configured(tmp_path)
    await service.start()
    service.instance("m.simulation").good_data("PICARD", "station")
    rows = service.instance("m.simulation").contacts()
    assert [(row["peer"], row["state"]) for row in rows] == [("over", "missed"), ("station", "active")]
    await service.drain()
    await service.stop()
