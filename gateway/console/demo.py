"""`gateway demo`: a simulated pass through a real gateway to two home bases, and a reconciliation."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from gateway import daemon
from gateway.blocking import run_blocking
from gateway.console import reconcile, tables
from gateway.errors import GatewayError, UsageError
from gateway.homes.store import HomeStore
from gateway.instance import MissionInstance
from gateway.journal import Journal
from gateway.patient_log import set_up_logging
from gateway.real import LocalStorage
from gateway.service import Gateway
from gateway_codecs.batches import IntakeBatch, ItemBatch, Unit
from gateway_codecs.delivery_block import DATA, HEADER_OCTETS, block_octets, decode, encode_data
from gateway_config import Configuration, load
from gateway_config.loader import EXAMPLES

INSTANCE = "demo.simulation"
HOMES = ("laboratory-a", "laboratory-b")
FRAMES_PER_S = 150
SETTLE_S = 60.0  # at most: it ends as soon as both home bases have everything; on a busy machine they come late
TABLE_S = 0.5
LINE_S = 4.0
VALUES = ("V_BUS", "P_BUS", "TT_WINDOW", "CCD_BELOW_WINDOW", "GUIDE_ERROR_X", "WHEEL_1_POSITION", "RA_IRRADIANCE")
VALUES_IN_LINE = 3


@dataclass(slots=True)
class Demo:
    """One run of the demo and its processes."""

    folder: Path
    duration_s: float
    seed: int
    sabotage: str | None
    console: Console
    children: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    cuts: int = 0
    cut_s: float = 0.0
    state: Mapping[str, Any] = field(default_factory=dict)


def run_demo(duration_s: float, seed: int, keep: Path | None, sabotage: str | None, as_json: bool) -> int:
    """Run the demo; returns 0 only if the reconciliation holds."""
    if sabotage not in {None, "delivered", "journalled"}:
        raise GatewayError(f"--sabotage is delivered or journalled, not {sabotage!r}")
    set_up_logging(level=40)
    with ExitStack() as stack:
        if keep is None:
            keep = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-demo-")))
        elif keep.exists() and any(keep.iterdir()):
            raise UsageError(f"{keep} is not empty", "name a new folder with --keep")
        keep.mkdir(parents=True, exist_ok=True)
        demo = Demo(keep, duration_s, seed, sabotage, Console(stderr=as_json))
        try:
            run_blocking(_play(demo))
        finally:
            for child in demo.children.values():
                child.kill()
                child.wait()
        if sabotage == "delivered":
            drop_one_delivered(keep / HOMES[0])
        return _report(demo, as_json)


async def _play(demo: Demo) -> None:
    port = await asyncio.to_thread(_start_station, demo)
    configuration = _configuration(port)
    service = Gateway(configuration, demo.folder / "var")
    try:
        if demo.sabotage == "journalled":
            _drop_one_journalled()
        await service.start()
        async with daemon.serving(service, daemon.bind("127.0.0.1", 0)) as api_port:
            for home in HOMES:
                _start_home(demo, home, api_port)
            await _watch(demo, service, api_port)
            demo.state = service.state()
            await service.drain()
    finally:
        await service.stop()


def _start_station(demo: Demo) -> int:
    """Start the simulator as a child; returns its port."""
    child = subprocess.Popen(
        [
            sys.executable, "-m", "gateway_simulators", "station", "--port", "0", "--duration-s", str(demo.duration_s),
            "--frames-per-s", str(FRAMES_PER_S), "--seed", str(demo.seed),
            "--ledger", str(demo.folder / "ledger.jsonl"),
        ],
        stdout=subprocess.PIPE,
    )  # fmt: skip
    demo.children["station"] = child
    line = child.stdout.readline() if child.stdout else b""
    if not line:
        raise GatewayError("the simulator did not start")
    return int(json.loads(line)["port"])


def _configuration(port: int) -> Configuration:
    found = load(Path(str(EXAMPLES)) / "demo")
    link = found.links["station"].model_copy(update={"port": port})
    return Configuration(found.directory, found.gateway, found.missions, {link.name: link}, found.homes)


def _start_home(demo: Demo, home: str, port: int) -> None:
    demo.children[home] = subprocess.Popen(
        [
            sys.executable, "-m", "gateway", "subscribe", INSTANCE, "--home", home, "--store", str(demo.folder / home),
            "--url", f"http://127.0.0.1:{port}", "--json",
        ],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


async def _watch(demo: Demo, service: Gateway, port: int) -> None:
    """Show the state, cut one home base in the middle, wait until both have everything."""
    instance, began = service.instance(INSTANCE), time.monotonic()
    deadline = began + demo.duration_s + SETTLE_S
    rates = _Rates()
    live = Live(console=demo.console, refresh_per_second=4) if demo.console.is_terminal else None
    with live or ExitStack():
        said = 0.0
        while time.monotonic() < deadline and not _settled(demo, instance):
            now = time.monotonic() - began
            _cut_and_resume(demo, now, port, instance)
            state = service.state()
            if live is not None:
                live.update(Group(tables.overview(state, rates.of(state)), tables.values(_values(instance))))
            elif now - said >= LINE_S:
                said = now
                demo.console.print(_line(now, state, _values(instance)), soft_wrap=True)
            await asyncio.sleep(TABLE_S)


def _cut_and_resume(demo: Demo, now: float, port: int, instance: MissionInstance) -> None:
    """Kill a home base that has received something, and start it again a quarter of the pass later."""
    home = HOMES[1]
    if demo.cuts == 0 and now > demo.duration_s * 0.35 and _has_received(instance, home):
        demo.children[home].kill()
        demo.children[home].wait()
        demo.cuts, demo.cut_s = 1, now
    elif demo.cuts == 1 and now > demo.cut_s + demo.duration_s * 0.25:
        _start_home(demo, home, port)
        demo.cuts = 2


def _has_received(instance: MissionInstance, home: str) -> bool:
    return any(row["home"] == home and row["low_water"] > 0 for row in instance.subscriptions())


def _settled(demo: Demo, instance: MissionInstance) -> bool:
    """Whether the pass is over, every packet is decoded and both home bases have acknowledged everything."""
    if demo.children["station"].poll() is None or demo.cuts < 2 or instance.journal.uncommitted:
        return False
    values = instance.values.state()
    if values is not None and values["behind"]:
        return False
    rows = [row for row in instance.subscriptions() if row["home"] in HOMES]
    return len(rows) == len(HOMES) and all(row["lag_items"] == 0 for row in rows)


class _Rates:
    """Packets per second of each stream, over the last few looks."""

    def __init__(self) -> None:
        self._before: dict[str, tuple[float, int]] = {}

    def of(self, state: Mapping[str, Any]) -> dict[str, float]:
        now, rates = time.monotonic(), {}
        for instance in state["instances"]:
            for row in instance["streams"]:
                key = tables.stream_key(row)
                then, packets = self._before.get(key, (now, row["packets"]))
                rates[key] = (row["packets"] - packets) / (now - then) if now > then else 0.0
                if key not in self._before or now - then > 2.0:
                    self._before[key] = (now, row["packets"])
        return rates


def _values(instance: MissionInstance) -> list[dict[str, Any]]:
    """Return the newest values of some parameters; none while their database is being read."""
    loaded = instance.values.loaded
    return loaded.latest(None, VALUES) if loaded is not None else []


def _line(now: float, state: Mapping[str, Any], values: list[dict[str, Any]]) -> str:
    instance = state["instances"][0]
    link = instance["links"][0]
    homes = ", ".join(f"{row['home']} {row['state']} lag {row['lag_items']}" for row in instance["subscriptions"])
    homes = homes or "no home base yet"
    return (
        f"{now:4.0f} s  link {link['state']}, {link['contact']}, {link['counters']['frames']} frames, "
        f"{link['bad_frames']} bad; journal head {instance['journal']['head']}; {homes}{_in_line(values)}"
    )


def _in_line(values: list[dict[str, Any]]) -> str:
    """Return the first values as text, with their limit states."""
    texts = []
    for row in values[:VALUES_IN_LINE]:
        value = f"{row['parameter'].rpartition('/')[2]} {tables.short_value(row['value'])} {row['unit']}".rstrip()
        texts.append(f"{value} {row['limit'].upper()}" if row["limit"] != "ok" else value)
    return f"; {', '.join(texts)}" if texts else ""


# ---- sabotage: the proof that the reconciliation notices ----


def drop_one_delivered(folder: Path) -> None:
    """Remove one stored packet from a home base's store, keeping the store well formed."""
    for path in sorted(folder.glob("*.blocks")):
        data, at = path.read_bytes(), 0
        while at < len(data):
            size = block_octets(data[at : at + HEADER_OCTETS])
            block = decode(data[at : at + size])
            packets = np.flatnonzero(block.batch.items["unit"] == Unit.PACKET)
            if block.kind == DATA and len(packets):
                path.write_bytes(data[:at] + _without(block, int(packets[0])) + data[at + size :])
                return
            at += size


def _without(block: Any, row: int) -> bytes:
    keep = np.arange(len(block.positions)) != row
    octets = b"".join(block.batch.octets_of(int(k)) for k in np.flatnonzero(keep))
    batch = ItemBatch(np.frombuffer(octets, np.uint8), block.batch.items[keep])
    return encode_data(block.lane, block.from_position, block.upto_position, block.positions[keep], batch, block.flags)


def _drop_one_journalled() -> None:
    """Lose one packet on its way into the journal."""
    append = Journal.append
    dropped: list[int] = []

    async def dropping(self: Journal, batch: IntakeBatch, link: str = "") -> Any:
        packets = np.flatnonzero((batch.items.items["unit"] == Unit.PACKET) & (batch.items.items["apid"] < 2047))
        if len(packets) and not dropped:
            dropped.append(1)
            keep = np.arange(len(batch.items)) != packets[0]
            items = ItemBatch(batch.items.octets, batch.items.items[keep])
            batch = IntakeBatch(items, batch.frames, batch.gaps, batch.state, batch.counters, batch.octets_in)
        return await append(self, batch, link)

    setattr(Journal, "append", dropping)  # noqa: B010


# ---- the proof ----


def _report(demo: Demo, as_json: bool) -> int:
    ledger = reconcile.read_ledger(demo.folder / "ledger.jsonl")
    stores = {home: reconcile.stored_entries(HomeStore(LocalStorage(demo.folder / home))) for home in HOMES}
    problems = [
        f"{d.home}: VC{d.stream[0]} APID {d.stream[1]}: {d.what}"
        for home in HOMES
        for d in reconcile.compare(home, ledger, stores[home])
    ]
    streams = demo.state["instances"][0]["streams"] if demo.state else []
    counted = {row["vcid"]: row["missing_frames"] for row in streams if row["apid"] is None and row["vcid"] != 7}
    ledger.missing_frames.pop(7, None)
    problems += reconcile.compare_frames(ledger, counted)
    if not ledger.complete:
        problems.append("the simulator did not end its pass")
    values = _decoded(demo)
    if values["unidentified"]:
        problems.append(f"{values['unidentified']} packets are of no type that the mission database describes")
    rows = reconcile.rows(ledger, stores)
    result = {
        "holds": not problems, "problems": problems, "streams": rows, "missing_frames": ledger.missing_frames,
        "values": values,
    }  # fmt: skip
    if as_json:
        print(json.dumps(result), flush=True)
    else:
        _show(demo.console, rows, problems, values)
    return 1 if problems else 0


def _decoded(demo: Demo) -> dict[str, int]:
    """Return how many packets became values, of how many types, and what was seen of them."""
    values = demo.state["instances"][0]["values"] if demo.state else None
    if values is None:
        return {"packets": 0, "packet_types": 0, "out_of_limit": 0, "unidentified": 0}
    types = values["packet_types"]
    return {
        "packets": sum(one["packets"] for one in types), "packet_types": len(types),
        "out_of_limit": sum(one["out_of_limit"] for one in types), "unidentified": sum(values["unidentified"].values()),
    }  # fmt: skip


def _show(console: Console, rows: list[dict[str, Any]], problems: list[str], values: Mapping[str, int]) -> None:
    table = Table(title="what the simulator sent, and what each home base stored", title_justify="left", box=None)
    for column in ("stream", "made", "noise", "lost", "cut", "must arrive", "at home a", "at home b"):
        table.add_column(column, justify="left" if column == "stream" else "right", no_wrap=True)
    for row in rows:
        name = f"VC{row['vcid']} " + ("opaque" if row["apid"] is None else f"APID {row['apid']}")
        lost = [str(row["lost"].get(cause, 0)) for cause in ("noise", "lost", "cut")]
        table.add_row(name, str(row["made"]), *lost, str(row["expected"]), *[str(row["stored"][h]) for h in HOMES])
    console.print(table)
    console.print(
        f"values: {tables.number(values['packets'])} packets of {values['packet_types']} types decoded, "
        f"{tables.number(values['out_of_limit'])} samples beyond their limits, {values['unidentified']} packets unknown"
    )
    for problem in problems:
        console.print(f"[bold red]{problem}[/bold red]")
    text = "[bold red]the reconciliation does NOT hold[/bold red]" if problems else (
        "[bold green]the reconciliation holds:[/bold green] every packet that crossed the space link is in both "
        "stores, once, in order; every gap has its cause"
    )  # fmt: skip
    console.print(text)
