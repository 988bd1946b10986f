"""Items as JSON over a local WebSocket: what comes now, best effort, or everything from a position on.

Who says no position gets what is stored from now on. What waits for such a client is bounded: beyond it the oldest is
skipped, and told. Who says `?from=` gets everything from there, in order of position, at its own pace, from the store.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import parse_qs, urlsplit

import structlog

from gateway.agent.json_rows import Message, messages
from gateway.agent.listening_outlet import PORTION_OCTETS, ListeningOutlet
from gateway.agent.server_socket import HandshakeRefused, ServerSocket
from gateway.console.harmless import harmless
from gateway.homes.keeper import Follower, Keeper
from gateway.homes.store import HomeStore
from gateway.homes.store_reader import Portion
from gateway.world import Network, Stream, Worker
from gateway_routes.delivery import Cursor, Range, normalised

log = structlog.get_logger()
WAITING_OCTETS = 4 << 20
"""So much of what comes now waits for a client that is slow; beyond it the oldest is skipped."""
GOING_AWAY, NORMAL = 1001, 1000


@dataclass(eq=False)
class _Client:
    """One that was let in. `first`: everything from that position on; None: what comes now."""

    socket: ServerSocket
    peer: str
    first: int | None
    follower: Follower | None = None
    waiting: deque[Message] = field(default_factory=deque)
    octets: int = 0
    skipped_items: int = 0
    ended: bool = False
    something: asyncio.Event = field(default_factory=asyncio.Event)
    _skipped: list[Range] = field(default_factory=list)  # and not told yet
    _untold: int = 0

    def give(self, message: Message) -> None:
        """Let a message wait; the oldest are skipped for it."""
        self.waiting.append(message)
        self.octets += len(message.text)
        while self.octets > WAITING_OCTETS and len(self.waiting) > 1:
            old = self.waiting.popleft()
            self.octets -= len(old.text)
            self.skipped_items += old.items
            self._untold += old.items
            self._skipped = list(normalised(-1, [*self._skipped, (old.first, old.end)]).ranges)
        self.something.set()

    def end(self) -> None:
        """Nothing more will come."""
        self.ended = True
        self.something.set()

    async def next(self) -> tuple[int, bytes] | None:
        """Return what is to be said next and how many items are in it; what was skipped before what came behind it;
        None at the end."""
        while not self.waiting and not self.ended:
            self.something.clear()
            await self.something.wait()
        if self._skipped:
            told = {"skipped": {"items": self._untold, "positions": [list(one) for one in self._skipped]}}
            self._skipped, self._untold = [], 0
            return 0, json.dumps(told, separators=(",", ":")).encode()
        if not self.waiting:
            return None
        message = self.waiting.popleft()
        self.octets -= len(message.text)
        return message.items, message.text

    def told(self) -> dict[str, Any]:
        """Return what the status shows."""
        lag = 0 if self.follower is None else self.follower.waiting()
        return {
            "peer": self.peer, "from": self.first, "lag_positions": lag, "waiting_octets": self.octets,
            "skipped_items": self.skipped_items,
        }  # fmt: skip


class LocalWebSocket(ListeningOutlet):
    """See AgentOutlet, type websocket, and docs/home-base.md for what is said."""

    kind = "websocket"
    newcomers_max = 16

    def __init__(
        self,
        name: str,
        keeper: Keeper,
        network: Network,
        worker: Worker,
        address: tuple[str, int],
        *,
        origins: Sequence[str],
        clients_max: int,
    ) -> None:
        super().__init__(name, keeper, network, worker, address, clients_max)
        self._origins = tuple(origins)
        self._clients: dict[ServerSocket, _Client] = {}
        self._wanted = asyncio.Event()
        self.pages_refused = self.skipped_items = 0

    # ---- what comes now ----

    async def _serve(self) -> None:
        await self._listen()
        while True:
            self._wanted.clear()
            if self._live():
                await self._share()
            await self._wanted.wait()

    def _live(self) -> list[_Client]:
        return [client for client in self._clients.values() if client.first is None and not client.ended]

    async def _share(self) -> None:
        """Give what is stored from now on to all who want that, as long as there are any. Raises as the follower."""
        follower = Follower(self._keeper, self._worker, None, "arrival", from_now=True)
        while (portion := await follower.next(PORTION_OCTETS)) is not None:
            live = self._live()
            if not live:
                return
            for message in await self._encoded(portion):
                for client in live:
                    client.give(message)
            follower.finish(portion)
        for client in self._live():
            client.end()

    async def _encoded(self, portion: Portion) -> list[Message]:
        names = self._keeper.store.meta.get("names", {}) if self._keeper.store else {}
        return await self._worker(partial(messages, portion, names))

    # ---- clients ----

    async def _serve_client(self, stream: Stream) -> None:
        socket = ServerSocket(stream, self._origins)
        code, why = GOING_AWAY, "the agent stops, or serves no more"
        try:
            await socket.accept(partial(self._let_in, socket, stream.peer))
            code, why = await self._talk(self._clients[socket])
        except HandshakeRefused as error:
            self.refused += 1
            self.pages_refused += error.origin
            log.info("not let in", outlet=self.name, peer=stream.peer, why=harmless(str(error))[:200])
        except (OSError, TimeoutError):
            pass
        finally:
            if (known := self._clients.pop(socket, None)) is not None:
                self.skipped_items += known.skipped_items
            await socket.close(code, why)

    def _let_in(self, socket: ServerSocket, peer: str, path: str) -> str | None:
        """Make a client of whoever asks for a path that there is; returns why not."""
        if len(self._clients) >= self._clients_max:
            return f"there are {self._clients_max} clients already"
        try:
            self._clients[socket] = _Client(socket, peer, _first_of(path))
        except ValueError as error:
            return str(error)
        return None

    async def _talk(self, client: _Client) -> tuple[int, str]:
        """Serve a client until it has gone; returns what it is told at the end: a code of WebSockets, and why."""
        send = self._send_now if client.first is None else self._send_from
        sending = await self._until_either_ends(send(client), client.socket.listen())
        if sending.cancelled():
            return NORMAL, ""
        error = sending.exception()
        return (NORMAL, "the stream has ended") if error is None else (GOING_AWAY, str(error)[:100])

    async def _send_now(self, client: _Client) -> None:
        await self._hello(client)
        self._wanted.set()
        while (message := await client.next()) is not None:
            await self._say(client, message[1])
            self.items += message[0]

    async def _send_from(self, client: _Client) -> None:
        await self._hello(client)
        follower = client.follower = Follower(self._keeper, self._worker, Cursor(client.first or 0))
        while (portion := await follower.next(PORTION_OCTETS)) is not None:
            for message in await self._encoded(portion):
                await self._say(client, message.text)
                self.items += message.items
            follower.finish(portion)

    async def _hello(self, client: _Client) -> None:
        """Say which journal the positions are of: as soon as the store knows."""
        store = await self._known_store()
        told = {"subscription": self._keeper.folder, "journal_id": store.meta["journal_id"], "from": client.first}
        await self._say(client, json.dumps(told, separators=(",", ":")).encode())

    async def _known_store(self) -> HomeStore:
        while True:
            count, store = self._keeper.bell.count, self._keeper.store
            if store is not None and store.meta:
                return store
            if self._keeper.failure is not None:
                raise self._keeper.failure
            await self._keeper.bell.beyond(count)

    async def _say(self, client: _Client, text: bytes) -> None:
        await client.socket.send(text)
        self.octets += len(text)

    def _clients_told(self) -> list[dict[str, Any]]:
        return [client.told() for client in self._clients.values()]

    def described(self) -> dict[str, Any]:
        """Return what the status shows."""
        told = super().described()
        skipped = self.skipped_items + sum(client["skipped_items"] for client in told["clients"])
        return {**told, "pages_refused": self.pages_refused, "skipped_items": skipped}


def _first_of(path: str) -> int | None:
    """Return the position that a path asks for, 0 = the oldest; None: what comes now. Raises ValueError: neither."""
    parts = urlsplit(path)
    asked = parse_qs(parts.query, keep_blank_values=True, max_num_fields=8)
    if parts.path not in {"", "/"} or set(asked) - {"from"} or len(asked.get("from", [""])) != 1:
        raise ValueError("ask for / or /?from=POSITION, nothing else")
    text = asked.get("from", ["now"])[0]
    if text == "now":
        return None
    if text == "oldest":
        return 0
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise ValueError("from: now, oldest, or a position")
    return int(text)
