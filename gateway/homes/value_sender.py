"""The sending half of a session of engineering values (docs/wire-format.md, mode `values`): JSON rows, in three ways.

`complete` and `change` read the journal in position order, so nothing waits in memory for a slow peer; `latest` looks
at the newest live values at its pace, so the newest wins.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, cast

from gateway.errors import GatewayError
from gateway.homes.lines import Pace
from gateway.journal import Journal, Slice
from gateway.values.door import QUIET_POSITIONS, ValuesDoor
from gateway_codecs.batches import BoolArray, DataMode, ItemBatch, Kind, Unit, picked
from gateway_routes.delivery import DeliveryError
from gateway_routes.selection import Selection

if TYPE_CHECKING:
    from gateway.values.lateness import Lateness
    from gateway.values.service import Values
    from gateway.values.stream import SampleStream
    from gateway.values.versions import Version

Delivery = Literal["latest", "change", "complete"]
DELIVERIES = ("latest", "change", "complete")
PARAMETERS_MAX, NAME_MAX = 1000, 1024
INTERVAL_MS, INTERVAL_MS_MIN, INTERVAL_MS_MAX = 1000, 50, 3_600_000
READ_ITEMS, READ_OCTETS, ROWS_AT_ONCE = 1024, 1 << 19, 200
MARK_S = 1.0
"""While nothing comes for the peer, it is told how far the journal was looked at, at most so often."""
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ValueWish:
    """What a hello asks for."""

    parameters: tuple[str, ...]
    delivery: Delivery
    interval_s: float
    spacecraft: str | None
    mdb: str | None
    from_position: int | None


def value_wish(hello: Mapping[str, Any]) -> ValueWish:
    """Return what a hello asks for. Raises DeliveryError."""
    names, delivery = hello.get("parameters"), hello.get("delivery", "change")
    if (
        not isinstance(names, list)
        or not 0 < len(names) <= PARAMETERS_MAX
        or not all(isinstance(name, str) and 0 < len(name) <= NAME_MAX for name in names)
    ):
        raise DeliveryError("bad message", f'"parameters" is a list of 1 to {PARAMETERS_MAX} names')
    if delivery not in DELIVERIES:
        raise DeliveryError("bad message", f'"delivery" is {", ".join(DELIVERIES)}, not {str(delivery)[:64]!r}')
    interval_ms = hello.get("interval_ms", INTERVAL_MS)
    if not _whole(interval_ms) or not INTERVAL_MS_MIN <= interval_ms <= INTERVAL_MS_MAX:
        raise DeliveryError("bad message", f'"interval_ms" is from {INTERVAL_MS_MIN} to {INTERVAL_MS_MAX}')
    position = hello.get("from_position")
    if position is not None and (not _whole(position) or position < 0 or delivery != "complete"):
        raise DeliveryError("bad message", '"from_position" is a whole number, for delivery complete')
    for key in ("spacecraft", "mdb"):
        if hello.get(key) is not None and not (isinstance(hello[key], str) and len(hello[key]) <= 64):
            raise DeliveryError("bad message", f"{key!r} is text of at most 64 characters")
    if hello.get("mdb") is not None and delivery == "latest":
        raise DeliveryError("bad message", '"mdb" is not for delivery latest: live values have the database in use')
    return ValueWish(
        tuple(dict.fromkeys(names)), cast(Delivery, delivery), interval_ms / 1000, hello.get("spacecraft"),
        hello.get("mdb"), position,
    )  # fmt: skip


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _whole_packets(rows: list[Row], end: int) -> int:
    """Return the end of a message near `end` that cuts through no packet."""
    while end < len(rows) and rows[end]["position"] == rows[end - 1]["position"]:
        end += 1
    return min(end, len(rows))


def _chosen(found: Slice, mask: BoolArray) -> Slice:
    """Return some of the items that were read."""
    return Slice(
        found.positions[mask], ItemBatch(found.batch.octets, picked(found.batch.items, mask)), found.end_position
    )


@dataclass(slots=True)
class ValueSender:
    """Sends the values of a wish until the stream has ended. `begin` comes first: it gives the welcome."""

    door: ValuesDoor
    wish: ValueWish
    send: Callable[[str | bytes], Awaitable[None]]
    pace: Pace
    max_octets: int = 1 << 18  # of a message, but for a row that is larger alone
    allowed: Callable[[str], object] = lambda name: None  # raises DeliveryError for a parameter that is not granted
    names: list[str] = field(default_factory=list)  # whole, of what is sent
    sent_items: int = 0
    sent_octets: int = 0
    position: int = 0  # everything below was looked at
    _spacecraft: str = ""
    _chosen: tuple[Version, SampleStream, Selection] | None = None  # of the version in use
    _seen: dict[tuple[str, int], tuple[Any, ...]] = field(default_factory=dict)
    _sent: dict[str, int] = field(default_factory=dict)
    _lateness: Lateness | None = None  # of `change`, which has live samples only

    @property
    def _journal(self) -> Journal:
        return self.door.around.journal

    async def begin(self) -> Row:
        """Return what the welcome says of values. Raises DeliveryError."""
        journal, first = self._journal, self.wish.from_position
        if first is not None and first > journal.head:
            raise DeliveryError("bad range", f"from_position {first} is beyond the head {journal.head}")
        self.position = journal.head if first is None else first
        try:
            values = await self.door.open()
            self._spacecraft = values.spacecraft(self.wish.spacecraft)
            version = await values.version(self._spacecraft, self.wish.mdb)
            names = self._names(values, version)
            if self.wish.delivery == "change":
                self._lateness = values.live[self._spacecraft].lateness.copy()
        except GatewayError as error:
            raise DeliveryError("bad parameters", f"{error}" + (f" ({error.hint})" if error.hint else "")) from None
        except OSError as error:
            raise DeliveryError("no values", f"the database cannot be read: {error}") from None
        return {
            "delivery": self.wish.delivery, "spacecraft": self._spacecraft, "database": version.digest,
            "parameters": names, "from_position": self.position,
        }  # fmt: skip

    def _names(self, values: Values, version: Version) -> list[str]:
        self.names = [values.parameter(version, name) for name in self.wish.parameters]
        for name in self.names:
            self.allowed(name)
        return self.names

    async def run(self) -> None:
        """Send until the journal has ended, then say so. Raises ConnectionError, DeliveryError."""
        if self.wish.delivery == "latest":
            await self._send_latest()
        else:
            await self._send_samples()
        await self.send(json.dumps({"type": "finished"}))

    # ---- latest ----

    async def _send_latest(self) -> None:
        values = await self.door.open()
        while not self._journal.finished:
            await self.pace.step()
            try:
                rows = values.latest(self._spacecraft, self.wish.parameters)
            except GatewayError as error:  # the database was exchanged for one without it
                raise DeliveryError("bad parameters", str(error)) from None
            fresh = [row for row in rows if self._sent.get(row["parameter"]) != row["position"]]
            self._sent |= {row["parameter"]: row["position"] for row in fresh}
            for begin in range(0, len(fresh), ROWS_AT_ONCE):
                some = fresh[begin : begin + ROWS_AT_ONCE]
                await self._say_rows({"type": "values", "values": some, "upto": self.door.position})
            await asyncio.sleep(self.wish.interval_s)

    # ---- by position ----

    async def _send_samples(self) -> None:
        journal = self._journal
        while True:
            await self.pace.step()
            found = await self._read()
            if found.expired is not None:
                first, end = found.expired
                await self._say({"type": "missing", "first": first, "end": end, "reason": "expired"})
            for damage in found.damaged:
                told = {"first": damage.first, "end": damage.end, "reason": f"damaged: {damage.cause}"}
                await self._say({"type": "missing", **told})
            if len(found.positions):
                await self._send_rows(found)
            self.position = max(self.position, found.end_position)
            if self.position >= journal.head:
                if journal.finished:
                    return
                await self._wait()

    async def _wait(self) -> None:
        """Wait for more; a peer that keeps a position hears now and then how far it may go on from."""
        told = self._sent.get("")
        if told == self.position:
            await self._journal.wait_beyond(self.position)
            return
        try:
            async with asyncio.timeout(MARK_S):
                await self._journal.wait_beyond(self.position)
        except TimeoutError:
            await self._say({"type": "values", "values": [], "upto": self.position})
            self._sent[""] = self.position

    async def _read(self) -> Slice:
        version = await self._version()
        if self._chosen is None or self._chosen[0] is not version:
            self._chosen = (version, *await self._choice(await self.door.open(), version))
        return await self._journal.read(self.position, self._chosen[2], READ_ITEMS, READ_OCTETS)

    async def _choice(self, values: Values, version: Version) -> tuple[SampleStream, Selection]:
        """Return what makes samples of packets, and which packets it needs. Raises DeliveryError."""
        from gateway.values.stream import SampleStream, apids_of  # late: only who has values needs it

        try:
            names = self._names(values, version)
        except GatewayError as error:  # the database was exchanged for one without it
            raise DeliveryError("bad parameters", str(error)) from None
        journal = self._journal
        ids = {name: number for number, name in journal.names("spacecraft").items()}
        links = {name: number for number, name in journal.names("links").items()}
        selection = Selection(
            kinds=frozenset({Kind.TM}),
            units=frozenset({Unit.PACKET}),
            spacecraft=frozenset({ids[self._spacecraft]}),
            links=frozenset(links[name] for name in self.door.around.prime if name in links),
            apids=apids_of(version, names),
            data_modes=frozenset({DataMode.REAL_TIME}) if self.wish.delivery == "change" else None,
        )
        stream = await self.door.around.historian(lambda: SampleStream(version, names))  # the decoder's thread
        if stream.remembers:
            await self._look_back(stream, selection)
        return stream, selection

    async def _look_back(self, stream: SampleStream, selection: Selection) -> None:
        """Show a stream the packets a while before the first one to send, as a start of live values reads them."""
        from gateway.values.lateness import Lateness

        journal, lateness = self._journal, Lateness() if self._lateness is not None else None
        position = max(journal.tail, self.position - QUIET_POSITIONS)
        while position < self.position:
            found = await journal.read(position, selection, READ_ITEMS, READ_OCTETS)
            some = _chosen(found, found.positions < self.position)
            if lateness is not None:
                some = _chosen(some, lateness.not_late(some.batch.items))
            if len(some.positions):
                await self.door.around.historian(partial(stream.learn, some.positions, some.batch))
            position = max(position + 1, found.end_position)

    async def _version(self) -> Version:
        if self._chosen is not None and self.wish.mdb is not None:
            return self._chosen[0]
        values = await self.door.open()
        try:
            return await values.version(self._spacecraft, self.wish.mdb)
        except (GatewayError, OSError) as error:
            raise DeliveryError("no values", str(error)) from None

    async def _send_rows(self, found: Slice) -> None:
        if self._chosen is None:
            raise AssertionError("what was read was chosen")
        version, stream, _ = self._chosen
        links = self._journal.names("links")
        some = found
        if self._lateness is not None:
            some = _chosen(found, self._lateness.not_late(found.batch.items))
        rows = await self.door.around.historian(lambda: stream.rows(some.positions, some.batch, links))
        if self.wish.delivery == "change":
            rows = [row for row in rows if self._is_new(row)]
        begin = 0
        while begin < len(rows):
            end = _whole_packets(rows, begin + ROWS_AT_ONCE)
            upto = found.end_position if end >= len(rows) else int(rows[end]["position"])
            await self._say_rows(
                {"type": "values", "database": version.digest, "values": rows[begin:end], "upto": upto}
            )
            begin = end

    async def _say_rows(self, told: Row) -> None:
        """Send rows, in several messages when they do not fit one; `upto` of the first is where the next begins."""
        rows, message = told["values"], json.dumps(told)
        if len(message) <= self.max_octets or len(rows) < 2:
            await self._say(told, message)
            return
        middle = len(rows) // 2
        upto = told["upto"] if self.wish.delivery == "latest" else int(rows[middle]["position"])
        await self._say_rows({**told, "values": rows[:middle], "upto": upto})
        await self._say_rows({**told, "values": rows[middle:]})

    def _is_new(self, row: Row) -> bool:
        key, now = (row["parameter"], row.get("element", 0)), (row["value"], row["validity"], row["limit"])
        changed = self._seen.get(key) != now
        self._seen[key] = now
        return changed

    async def _say(self, told: Row, message: str = "") -> None:
        message = message or json.dumps(told)
        async with self.pace.sending(live=True) as turn:
            turn.cost = len(message)
        await self.send(message)
        self.sent_items += len(told.get("values", ()))
        self.sent_octets += len(message)
