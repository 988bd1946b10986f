"""The agent: keepers of subscriptions, outlets, and a status that is written down. Each runs for itself."""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gateway.agent.datagrams_out import DatagramsOut, connected
from gateway.agent.day_tables import DayTables
from gateway.agent.exact_files import ExactFiles
from gateway.agent.hour_files import HourFiles
from gateway.agent.local_servers import LocalServer
from gateway.agent.local_websocket import LocalWebSocket
from gateway.agent.outlet import Outlet
from gateway.agent.status import Behind, keeper_status, overall
from gateway.homes.client import Wish
from gateway.homes.keeper import Keeper
from gateway.homes.retention import Keep
from gateway.homes.ways_in import Dial
from gateway.world import Clock, Network, Storage, Worker
from gateway_codecs.time_scales import format_utc
from gateway_config import AgentOutlet, AgentSettings, AgentSubscription

STATUS = "status.json"
STATUS_S = 1.0
RETAIN_S = 10.0


@dataclass(frozen=True, slots=True)
class AgentAround:
    """What an agent stands on."""

    storage: Storage
    output: Callable[[str], Storage]  # the storage of an outlet's folder
    worker: Callable[[str], Worker]  # a new worker of that name
    network: Network
    clock: Clock
    dial: Callable[[str], Dial]  # of a subscription
    jitter: Callable[[], float] = random.random


class HomeAgent:
    """One agent over one store. `run` has one owner; it ends when that is cancelled, or everything has ended."""

    def __init__(
        self, settings: AgentSettings, around: AgentAround, on_status: Callable[[dict[str, Any]], None]
    ) -> None:
        self.settings, self._around, self._on_status = settings, around, on_status
        self._store_worker, self._status_worker = around.worker("home-store"), around.worker("home-status")
        self.keepers = {name: self._keeper(name, wish) for name, wish in settings.subscriptions.items()}
        self.outlets = {name: self._outlet(name, outlet) for name, outlet in settings.outlets.items()}
        self._behind = {name: Behind() for name in self.keepers}
        self.began_s = 0.0
        self.last: dict[str, Any] = {}  # the status when it ended

    def _keeper(self, name: str, asked: AgentSubscription) -> Keeper:
        selection = {key: value for key, value in asked.selection.model_dump().items() if value not in (None, False)}
        now = asked.begin == "now"
        wish = Wish(
            self.settings.home, name, selection, sequential=asked.sequential, from_head=now, whole=not now,
            rate_limit_bps=asked.rate_limit_bps, priority=asked.priority,
        )  # fmt: skip
        return Keeper(
            self._around.dial(name), self._around.storage, name, self._store_worker, wish,
            reserve_octets=self.settings.reserve_octets, patient=True, jitter=self._around.jitter,
            keep=Keep(asked.keep_days, asked.keep_octets),
        )  # fmt: skip

    def _outlet(self, name: str, asked: AgentOutlet) -> Outlet:
        around, worker = self._around, self._around.worker(f"outlet-{name}")
        if asked.type == "csv":
            files = ExactFiles(around.storage, f"outlets/{name}.json", around.output(asked.folder))
            subscription = f"outlet-{name}"[:64]
            hello = {
                "type": "subscribe", "home": self.settings.home, "subscription": subscription, "mode": "values",
                "delivery": "complete", "parameters": list(dict.fromkeys(asked.parameters)),
                "spacecraft": asked.spacecraft,
            }  # fmt: skip
            dial = around.dial(subscription)
            return DayTables(name, dial, hello, files, worker, begin=asked.begin, jitter=around.jitter)
        keeper = self.keepers[self.settings.source_of(asked)]
        if asked.type == "files":
            files = ExactFiles(around.storage, f"outlets/{name}.json", around.output(asked.folder))
            return HourFiles(name, keeper, files, worker, asked.hour_of)
        if asked.type == "udp":
            way_out = connected(asked.host, asked.port)
            return DatagramsOut(name, keeper, worker, way_out, begin=asked.begin, order=asked.order)
        if asked.type == "websocket":
            return LocalWebSocket(
                name, keeper, around.network, worker, (asked.host, asked.port), origins=asked.origins,
                clients_max=asked.clients_max,
            )  # fmt: skip
        return LocalServer(
            name, keeper, around.network, worker, (asked.host, asked.port), begin=asked.begin,
            order=asked.order, clients_max=asked.clients_max,
        )  # fmt: skip

    async def run(self, until_end: bool = False) -> None:
        """Receive and serve; with `until_end` return when every stream has ended and every file is written."""
        self.began_s = asyncio.get_running_loop().time()
        tasks = [
            *(asyncio.create_task(keeper.run(), name=f"home base {name}") for name, keeper in self.keepers.items()),
            *(asyncio.create_task(outlet.run(), name=f"outlet {name}") for name, outlet in self.outlets.items()),
        ]
        tasks.append(asyncio.create_task(self._retain(), name="agent retention"))
        reporting = asyncio.create_task(self._report(), name="agent status")
        try:
            if until_end:
                await self._ended()
            else:
                await asyncio.gather(reporting, *tasks)
        finally:
            for task in (*tasks, reporting):
                task.cancel()
            await asyncio.gather(reporting, *tasks, return_exceptions=True)
            self.last = self.status()
            for keeper in self.keepers.values():
                await keeper.close()
            await self._write({**self.last, "state": "stopped"})

    async def _ended(self) -> None:
        while not (
            all(keeper.finished or keeper.failure for keeper in self.keepers.values())
            and all(outlet.ended or outlet.kind in {"tcp", "websocket"} for outlet in self.outlets.values())
        ):
            await asyncio.sleep(0.05)

    async def ready(self) -> None:
        """Return when every store is open, or in trouble, and every outlet serves, or is in trouble."""
        for keeper in self.keepers.values():
            while keeper.store is None and keeper.trouble is None:
                await keeper.bell.beyond(keeper.bell.count)
        for outlet in self.outlets.values():
            await outlet.ready.wait()

    async def _retain(self) -> None:
        """Look now and then what of the stores need not be kept any more."""
        while True:
            await asyncio.sleep(RETAIN_S)
            for keeper in self.keepers.values():
                holders = {
                    name: outlet.durably_done()
                    for name, outlet in self.outlets.items()
                    if isinstance(outlet, HourFiles) and outlet.reads(keeper)
                }
                await keeper.retain(holders, self._around.clock.steady_tai_ns())

    async def _report(self) -> None:
        while True:
            status = self.status()
            self._on_status(status)
            await self._write(status)
            await asyncio.sleep(STATUS_S)

    async def _write(self, status: dict[str, Any]) -> None:
        data = json.dumps(status, indent=1).encode()
        try:
            await self._status_worker(lambda: self._around.storage.write_whole(STATUS, data))
        except OSError:  # a full disk shows in what stands there: its age, and the log
            return

    def status(self) -> dict[str, Any]:
        """Return how everything is now."""
        now_s = asyncio.get_running_loop().time()
        subscriptions = {
            name: keeper_status(keeper, self._behind[name], now_s) for name, keeper in self.keepers.items()
        }
        outlets = {name: outlet.described() for name, outlet in self.outlets.items()}
        return {
            "state": overall(subscriptions, outlets),
            "home": self.settings.home,
            "instance": self.settings.instance,
            "url": self.settings.url,
            "process": os.getpid(),
            "written_utc": format_utc(self._around.clock.tai_ns()),
            "running_s": round(now_s - self.began_s, 1),
            "free_octets": self._free_octets(),
            "reserve_octets": self.settings.reserve_octets,
            "subscriptions": subscriptions,
            "outlets": outlets,
        }

    def _free_octets(self) -> int | None:
        try:
            return self._around.storage.free_octets()
        except OSError:
            return None
