"""The subscriber: receives blocks, stores them, forces them, and only then acknowledges. Resumes exactly."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from gateway.errors import GatewayError
from gateway.homes.channel import Channel
from gateway.homes.store import HomeStore
from gateway.world import Worker
from gateway_codecs.delivery_block import MARK, TIMELY, DeliveryBlock, DeliveryBlockError, decode
from gateway_routes.delivery import Cursor
from gateway_routes.reception import MarkDiffers, Reception

WAITING_BLOCKS_MAX = 64
BACKOFF_FIRST_S = 0.1
BACKOFF_MAX_S = 10.0
CONNECT_S = 10.0
STALLED_S = 120.0
STALLED_OCTETS = 1 << 18
"""So long a gateway may be silent that has shown positions which are not here, and for as long as these octets take."""
CLOSE_S = 2.0
WELCOME_S = 30.0
"""So long a gateway that has accepted a connection may take for its first word; over MQTT it is less."""
PING_S = 20.0
PASSING = frozenset({"internal", "no subscribe", "too many", "rights changed"})
"""Reasons for a refusal that pass by themselves."""
NO_RIGHT = {400: "bad request", 401: "unauthorised", 403: "forbidden", 421: "another gateway"}
"""HTTP status of a handshake: code."""


class SubscriptionRefused(GatewayError):
    """The gateway refused the subscription, for the reason `code` (docs/wire-format.md)."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code

    @property
    def passing(self) -> bool:
        """Whether to ask again may help, without anybody's doing."""
        return self.code in PASSING


class MarkMismatch(GatewayError):
    """What arrived up to a mark is not what the gateway says it sent."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What to subscribe to."""

    home: str
    subscription: str
    selection: dict[str, Any] = field(default_factory=dict)
    mode: str = "complete"
    sequential: bool = False
    from_head: bool = False
    from_position: int | None = None
    upto_position: int | None = None
    rate_limit_bps: int | None = None
    priority: str = "normal"
    whole: bool = False  # a new store begins at the oldest item, whatever was acknowledged before it was


@dataclass(slots=True)
class Progress:
    """What a subscriber has seen in this run."""

    connects: int = 0
    blocks: int = 0
    marks_confirmed: int = 0
    duplicates: int = 0
    lost_before: int = 0  # packets that are missing, by the counts of their APIDs, before those that came
    final: bool = False
    last_error: str = ""
    began_at: int = 0  # a new store that did not begin at the tail: the gateway knew the subscription
    connected: bool = False
    heard_s: float = 0.0  # when the newest message came, by the event loop's time
    head: int = 0  # the highest end of positions that the gateway has shown us
    digests_confirmed: int = 0  # of ranges, from what is stored
    digests_differing: int = 0


class Subscriber:
    """Receives one subscription into one store, over channels that `dial` opens."""

    def __init__(
        self,
        dial: Callable[[], Awaitable[Channel]],
        store: HomeStore,
        worker: Worker,
        wish: Wish,
        *,
        enough: Callable[[HomeStore, Progress], bool] = lambda store, progress: False,
        jitter: Callable[[], float] = random.random,
        on_missing: Callable[[int, int, str], None] = lambda first, end, reason: None,
        on_stored: Callable[[], None] = lambda: None,
        digester: Callable[[int, int], Awaitable[tuple[int, str]]] | None = None,
        on_confirmed: Callable[[int, int, bool], None] = lambda first, end, same: None,
    ) -> None:
        """`digester` computes the digest of a range from the store (gateway.homes.digests); without one the gateway
        asks for none. `on_confirmed` is told what came of each."""
        self._digester, self._on_confirmed = digester, on_confirmed
        self._digesting: asyncio.Task[None] | None = None
        self._on_stored = on_stored
        self._dial, self._store, self._worker, self._wish = dial, store, worker, wish
        self._enough, self._jitter, self._on_missing = enough, jitter, on_missing
        self.progress = Progress()
        self._again = asyncio.Event()
        self._waiting: asyncio.Queue[str | bytes | None] = asyncio.Queue(WAITING_BLOCKS_MAX)
        self._stalled_s = STALLED_S
        self._reception: Reception  # of the session under way
        self._unsure = False  # whether the gateway may not know of it what it must

    async def run(self) -> None:
        """Receive until enough, reconnecting for ever. Raises SubscriptionRefused, MarkMismatch, OSError (disk)."""
        delay = BACKOFF_FIRST_S
        while not self._enough(self._store, self.progress):
            before = self.progress.blocks
            try:
                async with asyncio.timeout(CONNECT_S):
                    channel = await self._dial()
                await self._session(channel)
            except (ConnectionError, TimeoutError) as error:
                self.progress.last_error = str(error) or type(error).__name__
            if self._enough(self._store, self.progress):
                return
            delay = BACKOFF_FIRST_S if self.progress.blocks > before else min(delay * 2, BACKOFF_MAX_S)
            await asyncio.sleep(delay * (0.5 + self._jitter() / 2))

    async def _session(self, channel: Channel) -> None:
        try:
            self._again.clear()  # what the store has lost until now the hello asks for
            self._waiting = asyncio.Queue(WAITING_BLOCKS_MAX)
            await channel.send(json.dumps(self._hello()))
            await self._welcomed(self._told(await channel.receive()))
            self.progress.connects += 1
            self.progress.connected, self.progress.heard_s = True, asyncio.get_running_loop().time()
            await self._receive(channel)
        finally:
            self.progress.connected = False
            if self._digesting is not None:
                self._digesting.cancel()
                await asyncio.gather(self._digesting, return_exceptions=True)
            await channel.close("")

    def again(self) -> None:
        """End the session that is open, so that the next one asks for what the store has lost."""
        self._again.set()
        if self._waiting.empty():
            self._waiting.put_nowait(None)  # the gateway may have nothing to say for long

    def _hello(self) -> dict[str, Any]:
        wish, cursor = self._wish, self._store.cursor()
        hello: dict[str, Any] = {
            "type": "subscribe", "home": wish.home, "subscription": wish.subscription, "mode": wish.mode,
            "sequential": wish.sequential, "selection": wish.selection, "from": "head" if wish.from_head else "tail",
            "rate_limit_bps": wish.rate_limit_bps, "priority": wish.priority,
        }  # fmt: skip
        if wish.mode == "complete" and self._digester is not None:
            hello["confirm"] = True
        if wish.mode == "offline":
            hello |= {k: v for k in ("from_position", "upto_position") if (v := getattr(wish, k)) is not None}
        elif cursor is not None:
            hello["cursor"] = {
                "journal_id": self._store.meta["journal_id"],
                "revision": self._store.meta["revision"],
                "low_water": cursor.low_water,
                "ranges": [list(r) for r in cursor.ranges],
            }
        return hello

    def _told(self, message: str | bytes) -> dict[str, Any]:
        if not isinstance(message, str):
            raise ConnectionError("the gateway began with a binary message")
        told = json.loads(message)
        if told["type"] == "error":
            raise SubscriptionRefused(f"the gateway refused ({told['code']}): {told['message']}", told["code"])
        return dict(told)

    async def _welcomed(self, welcome: dict[str, Any]) -> None:
        mode, new = self._wish.mode, not self._store.meta and not self._wish.from_head
        known = new and mode in {"complete", "playback"}
        began = new and mode == "complete" and welcome["low_water"] > welcome["tail"]
        self.progress.began_at = welcome["low_water"] if began else 0
        self._reception, self._unsure = Reception(welcome), False
        if self._wish.whole and known and (welcome["low_water"] > welcome["tail"] or welcome["ranges"]):
            begin = (welcome["journal_id"], welcome["revision"], welcome["tail"], self._wish.selection)
            await self._worker(lambda: self._store.begin(*begin, names=welcome["names"]))
            raise ConnectionError("another store has acknowledged what this new one is to have: asking for all of it")
        self.progress.head = max(self.progress.head, welcome["head"] if self._wish.mode == "complete" else 0)
        rate_bps = welcome.get("rate_limit_bps")
        self._stalled_s = STALLED_S + (8 * STALLED_OCTETS / rate_bps if rate_bps else 0.0)
        known_ranges = [(first, end) for first, end in welcome["ranges"]]
        identity = (welcome["journal_id"], welcome["revision"], welcome["low_water"], self._wish.selection)
        await self._worker(lambda: self._store.begin(*identity, names=welcome["names"], known=known_ranges))
        self._on_stored()

    async def _receive(self, channel: Channel) -> None:
        """Read ahead a little, so that one forced write serves all blocks that have arrived meanwhile."""
        waiting = self._waiting
        reader = asyncio.create_task(_read_into(channel, waiting), name="subscriber reader")
        try:
            while not self._enough(self._store, self.progress):
                messages = [await self._next(waiting)]
                if self._again.is_set():
                    raise ConnectionError("the store has lost something: it is asked for again")
                while not waiting.empty():
                    messages.append(waiting.get_nowait())
                self.progress.heard_s = asyncio.get_running_loop().time()
                await self._take(channel, [m for m in messages if m is not None])
                if None in messages:
                    await reader
                    return
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def _next(self, waiting: asyncio.Queue[str | bytes | None]) -> str | bytes | None:
        """Return what came next. Raises ConnectionError when the gateway owes us something, and stands still."""
        while True:
            try:
                async with asyncio.timeout(self._stalled_s):
                    return await waiting.get()
            except TimeoutError:
                if (self._store.cursor() or Cursor()).missing(self.progress.head):
                    raise ConnectionError(
                        f"positions are missing, and nothing came for {self._stalled_s:g} s"
                    ) from None

    async def _take(self, channel: Channel, messages: list[str | bytes]) -> None:
        blocks: list[tuple[DeliveryBlock, bytes]] = []
        for message in messages:
            if isinstance(message, str):
                await self._control(channel, message)
            else:
                blocks.append((_positioned(message), message))
        if blocks:
            await self._worker(lambda: self._keep(blocks))
            self._on_stored()
            for lane, upto in self._acknowledgements(blocks).items():
                await channel.send(json.dumps({"type": "ack", "lane": lane, "upto": upto}))
            if self._reception.finished and not self.progress.final:
                raise ConnectionError("all of the playback is here: a last session makes sure that the gateway knows")

    def _keep(self, blocks: list[tuple[DeliveryBlock, bytes]]) -> None:
        """Check, write and force, also when a block is refused: the store's cursor tells what was written before it.

        In the worker. Raises ConnectionError, MarkMismatch, OSError.
        """
        self._store.check_room()
        try:
            for block, data in blocks:
                self._check(block)
                if self._store.append(block, data):
                    self.progress.lost_before += int(block.batch.items["missing_before"].sum())
                elif block.kind != MARK:
                    self.progress.duplicates += 1
        finally:
            self._store.force()

    def _acknowledgements(self, blocks: list[tuple[DeliveryBlock, bytes]]) -> dict[int, int]:
        self.progress.blocks += len(blocks)
        self.progress.head = max(self.progress.head, *(block.upto_position for block, _ in blocks))
        acknowledged = self._wish.mode == "playback" and any(block.kind != MARK for block, _ in blocks)
        self._unsure = self._unsure or acknowledged  # what is acknowledged last may get lost: the request stays open
        self.progress.final = self._reception.finished and not self._unsure
        return {block.lane: block.upto_position for block, _ in blocks if block.kind != MARK}

    def _check(self, block: DeliveryBlock) -> None:
        try:
            self._reception.take(block)
        except MarkDiffers as error:
            raise MarkMismatch(str(error)) from error
        self.progress.marks_confirmed += block.kind == MARK

    async def _control(self, channel: Channel, message: str) -> None:
        told = self._told(message)
        if told["type"] == "missing":
            self._reception.note_missing(told["first"], told["end"])
            await self._worker(lambda: self._store.note_missing(told["first"], told["end"]))
            self._on_stored()
            self._on_missing(told["first"], told["end"], told["reason"])
        elif told["type"] == "confirm" and self._digester is not None:
            digest = self._digest(channel, told["first"], told["end"], self._digester)
            self._digesting = asyncio.create_task(digest, name="subscriber digest")
        elif told["type"] in ("confirmed", "differs"):
            same = told["type"] == "confirmed"
            self.progress.digests_confirmed += same
            self.progress.digests_differing += not same
            self._on_confirmed(told["first"], told["end"], same)

    async def _digest(
        self, channel: Channel, first: int, end: int, digester: Callable[[int, int], Awaitable[tuple[int, str]]]
    ) -> None:
        """Say what the store holds of a range; a store that cannot say it says so, and the gateway asks again later."""
        answer: dict[str, Any] = {"type": "digest", "first": first, "end": end}
        try:
            items, sha256 = await digester(first, end)
            answer |= {"items": items, "sha256": sha256}
        except (OSError, GatewayError) as error:
            answer |= {"items": None, "sha256": None, "why": str(error)[:200]}
        with contextlib.suppress(ConnectionError):
            await channel.send(json.dumps(answer))


def _positioned(message: bytes) -> DeliveryBlock:
    """Decode a block of a session whose items have positions. Raises ConnectionError."""
    try:
        block = decode(message)
    except DeliveryBlockError as error:
        raise ConnectionError(f"a block that cannot be read: {error}") from error
    if block.kind == TIMELY:
        raise ConnectionError("a timely block came, in a session that is not timely")
    return block


async def _read_into(channel: Channel, waiting: asyncio.Queue[str | bytes | None]) -> None:
    """Queue what comes, and behind it None when nothing will come any more: what is queued is still stored.

    Cancelled, it ends at once: nobody takes what is queued.
    """
    try:
        while True:
            await waiting.put(await channel.receive())
    except Exception:
        await waiting.put(None)
        raise


class WebSocketDial:
    """Opens client channels to a gateway's WebSocket. `token` is asked for each time: a file may be exchanged.

    Whoever does not answer a ping within `ping_s` is gone; one is sent that often.
    """

    def __init__(
        self, url: str, instance: str, token: Callable[[], str | None] = lambda: None, ping_s: float = PING_S
    ) -> None:
        self._token, self._ping_s = token, ping_s
        base = url.rstrip("/").replace("http", "ws", 1)
        self._address = f"{base}/api/v1/instances/{instance}/subscribe"

    async def __call__(self) -> Channel:
        """Connect. Raises ConnectionError, SubscriptionRefused (no right to come in)."""
        from websockets.asyncio.client import connect
        from websockets.exceptions import InvalidStatus, WebSocketException

        token = self._token()
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        try:
            socket = await connect(
                self._address, compression=None, max_size=1 << 25, max_queue=8, proxy=None, additional_headers=headers,
                ping_interval=self._ping_s, ping_timeout=self._ping_s, close_timeout=CLOSE_S,
            )  # fmt: skip
        except InvalidStatus as error:
            raise _refusal(error.response.status_code, bytes(error.response.body or b"")) from None
        except (OSError, WebSocketException) as error:
            raise ConnectionError(f"{self._address}: {error}") from error
        return _ClientChannel(socket)


def _refusal(status: int, body: bytes) -> Exception:
    """Return what a refused handshake means: who is not let in need not try again; a gateway that is busy is."""
    try:
        told = json.loads(body)
        text = f"{told['error']}" + (f" ({told['hint']})" if told.get("hint") else "")
    except (ValueError, KeyError, TypeError):
        text = body.decode(errors="replace")[:200]
    if status in NO_RIGHT:
        return SubscriptionRefused(f"the gateway refused ({NO_RIGHT[status]}): {text}", NO_RIGHT[status])
    return ConnectionError(f"the gateway answered {status}: {text}")


class _ClientChannel:
    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._welcomed = False

    async def receive(self) -> str | bytes:
        from websockets.exceptions import ConnectionClosed

        try:
            async with asyncio.timeout(None if self._welcomed else WELCOME_S):
                message: str | bytes = await self._socket.recv()
        except ConnectionClosed as error:
            raise ConnectionError(str(error)) from error
        except TimeoutError:
            raise ConnectionError(f"the gateway has said nothing for {WELCOME_S:g} s") from None
        self._welcomed = True
        return message

    async def send(self, message: str | bytes) -> None:
        from websockets.exceptions import ConnectionClosed

        try:
            await self._socket.send(message)
        except ConnectionClosed as error:
            raise ConnectionError(str(error)) from error

    async def close(self, reason: str) -> None:
        await self._socket.close()
