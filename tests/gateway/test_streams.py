"""What is shown of streams: every channel apart, and no figure for what is not counted."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from gateway.api.app import build_app
from gateway.console import tables
from gateway.service import Gateway
from gateway_codecs import aos_frame
from gateway_config import load
from tests.codecs.links import packet
from tests.home_files import opened

MISSION = """name: m
spacecraft:
  - name: s
    scids: [42, 43]
    frames:
      version: aos
      frame_length_octets: 50
      vcs:
        1: {default_counting: "shared:all"}
        2: {counting: none, apids: {6: {counting: none}}}
        3: {service: opaque}
"""
LINK = "name: l\nmission: m\nspacecraft: s\ntype: file\npath: frames.bin\n"


def frame(scid: int, vcid: int, count: int, apid: int, replay: bool = False) -> bytes:
    """A frame that holds one packet with the same count."""
    fields = aos_frame.AosFrame(scid, vcid, count, packet(apid, count), 0, replay_flag=replay)
    return aos_frame.encode(fields, fecf=True)


FRAMES = [
    *(frame(42, 1, count, 5) for count in (0, 1, 3)),
    *(frame(42, 1, count, 5, replay=True) for count in (70, 73)),
    *(frame(43, 1, count, 5) for count in (9, 10)),
    *(frame(42, 2, count, 6) for count in (0, 50, 20)),
    *(frame(42, 2, count, 7) for count in (21, 26)),
    *(frame(42, 3, count, 1) for count in (7, 8, 9)),
]


@pytest.fixture
async def shown(tmp_path: Path) -> tuple[list[dict[str, Any]], str]:
    """The stream rows of the API and the metrics text."""
    for name, text in {"missions/m": MISSION, "links/l": LINK}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.yaml").write_text(text)
    (tmp_path / "frames.bin").write_bytes(b"".join(FRAMES))
    running = Gateway(opened(load(tmp_path)))
    await running.start()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(build_app(running)), base_url="http://localhost") as api:
        async with asyncio.timeout(60):
            while sum(row["frames"] for row in (await _streams(api)) if row["apid"] is None) < len(FRAMES):
                await asyncio.sleep(0.01)
        await running.drain()
        rows = (await api.get("/api/v1/instances/m.simulation")).json()["streams"]
        metrics = (await api.get("/metrics")).text
    await running.stop()
    return rows, metrics


async def _streams(api: httpx.AsyncClient) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await api.get("/api/v1/instances/m.simulation")).json()["streams"]
    return found


def missing(rows: list[dict[str, Any]], of: str) -> dict[tuple[Any, ...], Any]:
    return {(r["scid"], r["vcid"], r["replay"], r["apid"]): r[f"missing_{of}"] for r in rows}


async def test_channels_are_told_apart(shown: tuple[list[dict[str, Any]], str]) -> None:
    """Two spacecraft ids and the replayed frames of one have rows and series of their own."""
    rows, metrics = shown
    frames = missing(rows, "frames")
    assert len(frames) == len(rows)
    assert frames[42, 1, False, None] == 1
    assert frames[42, 1, True, None] == 2
    assert frames[43, 1, False, None] == 0
    series = [
        (sample.name, *sorted(sample.labels.items()))
        for family in text_string_to_metric_families(metrics)
        for sample in family.samples
    ]
    assert len(series) == len(set(series)), "a series given twice makes Prometheus refuse the page"
    console = Console(width=100)
    with console.capture() as picture:
        console.print(tables.streams(rows, {}))
    assert "s SCID 42 VC1 replay" in picture.get()
    assert "s SCID 43 VC1 " in picture.get()


async def test_what_is_not_counted_has_no_figure(shown: tuple[list[dict[str, Any]], str]) -> None:
    """A count that says nothing is shown as nothing, not as a loss: in the API, the metrics and the table."""
    rows, metrics = shown
    packets = missing(rows, "packets")
    assert missing(rows, "frames")[42, 2, False, None] is None
    assert packets[42, 2, False, 6] is None
    assert packets[42, 2, False, 7] == 4
    assert packets[42, 2, False, None] == 4
    assert packets[42, 1, False, 5] is None, "a shared count is the channel's"
    assert packets[42, 1, False, None] == 1
    counted = {
        tuple(sample.labels[key] for key in ("scid", "vcid", "replay", "apid", "unit")): sample.value
        for family in text_string_to_metric_families(metrics)
        for sample in family.samples
        if sample.name == "gateway_stream_missing_total"
    }
    assert counted == {
        ("42", "1", "false", "", "frames"): 1, ("42", "1", "false", "shared:all", "packets"): 1,
        ("42", "1", "true", "", "frames"): 2, ("42", "1", "true", "shared:all", "packets"): 2,
        ("43", "1", "false", "", "frames"): 0, ("43", "1", "false", "shared:all", "packets"): 0,
        ("42", "2", "false", "7", "packets"): 4, ("42", "3", "false", "", "frames"): 0,
    }  # fmt: skip
    assert list(tables.streams(rows, {}).columns[2].cells)[:2] == ["1", ""]


async def test_an_opaque_channel_shows_its_octets(shown: tuple[list[dict[str, Any]], str]) -> None:
    """Opaque frames are kept whole, and so they are counted; the contact that they opened is a metric."""
    rows, metrics = shown
    assert [row["octets"] for row in rows if row["vcid"] == 3] == [150]
    assert 'gateway_contact_active{instance="m.simulation",spacecraft="s"} 1.0' in metrics


def test_channels_of_two_links_have_their_names() -> None:
    """Where two links bring one spacecraft's channels, the table says which is which."""
    row = {
        "link": "a", "spacecraft": "s", "scid": None, "vcid": None, "map_id": None, "replay": False, "expedited": False,
        "apid": None, "frames": None,
        "packets": 1, "octets": 7, "missing_frames": None, "missing_packets": None, "shared_missing": {},
    }  # fmt: skip
    console = Console(width=100)
    with console.capture() as picture:
        console.print(tables.streams([row, {**row, "link": "b"}], {}))
    assert "s packets (a)" in picture.get()
    assert "s packets (b)" in picture.get()
