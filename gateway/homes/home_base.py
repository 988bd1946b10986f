"""The Python client of a home base (docs/home-base.md): packets and values, each once, whatever the network does."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from gateway.errors import StartError, UsageError
from gateway.homes.client import Wish
from gateway.homes.keeper import Follower, Keeper
from gateway.homes.line import Line
from gateway.homes.loops import CompleteValues, LiveValues, Packets, TimelyPackets, read_upto
from gateway.homes.places import keep, read_cursor
from gateway.homes.playback_desk import ApiDesk, Desk, NoDesk, asked_for
from gateway.homes.playback_loop import Playback, PlaybackFolder
from gateway.homes.store_reader import Order
from gateway.homes.ways_in import Dial, way_in
from gateway.world import Storage, Worker

Numbers = int | Iterable[int] | None
Names = str | Iterable[str] | None
RESERVE_OCTETS = 16 << 20


@dataclass(frozen=True, slots=True)
class Around:
    """What a client stands on: its storage, a worker that writes and one that reads, and the ways in."""

    storage: Storage
    writer: Worker
    reader: Worker
    dial: Callable[[str], Dial]  # of a subscription
    end: Callable[[], None] = lambda: None
    desk: Desk = field(default_factory=NoDesk)  # where a playback is asked for
    jitter: Callable[[], float] = random.random


class HomeBase:
    """A home base in this process: `async with HomeBase(url, token, store, home=..., instance=...) as home`.

    `url`: http(s)://HOST:PORT of the gateway, or mqtt(s)://[USER@]HOST[:PORT] of its broker (`password` is that of
    USER). `token`: as `gateway homes token` made it; None: the one that GATEWAY_TOKEN_FILE names, or, at a gateway of
    the same user on this machine, the operator's. `store`: a folder of its own, for one process at a time. What is
    received is stored and forced there, and only then acknowledged; loops read from it.
    """

    def __init__(
        self, url: str, token: str | None, store: Path | str, *, home: str, instance: str, password: str | None = None
    ) -> None:
        self._home = home
        self._make: Callable[[], Around] = lambda: _really(url, token, password, Path(store), home, instance)
        self._around: Around | None = None
        self._kept: dict[str, tuple[Keeper, asyncio.Task[None]]] = {}
        self._lines: list[Line] = []
        self._looping: set[tuple[str, str]] = set()
        self._asking = asyncio.Lock()

    @classmethod
    def around(cls, around: Around, home: str) -> Self:
        """Return a client of a world that is given, such as a simulated one."""
        made = cls("", None, "", home=home, instance="")
        made._make = lambda: around
        return made

    async def __aenter__(self) -> Self:
        """Take the store. Raises StartError (another process has it), UsageError, OSError."""
        self._around = self._make()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End all sessions and close the store; what is stored is forced."""
        around, self._around = self._open_around(), None
        tasks = [task for _, task in self._kept.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for keeper, _ in self._kept.values():
            keeper.failure = UsageError("this home base is closed", "loop inside of async with")
            await keeper.close()
        for line in self._lines:
            await line.close()
        self._kept.clear()
        around.end()

    def _open_around(self) -> Around:
        if self._around is None:
            raise UsageError("this home base is not open", "async with HomeBase(...) as home:")
        return self._around

    def packets(
        self,
        *,
        apid: Numbers = None,
        vcid: Numbers = None,
        spacecraft: Names = None,
        data_mode: Names = None,
        links: Names = None,
        subscription: str | None = None,
        consumer: str = "main",
        begin: Literal["oldest", "now"] = "oldest",
        order: Order = "position",
        priority: Literal["high", "normal", "low"] = "normal",
        rate_limit_bps: int | None = None,
    ) -> Packets:
        """Loop over packets, each once; where the loop was left it goes on, also after a kill.

        A batch is finished when the loop asks for the next one (or `finish()` is called): before that it comes again.
        The same arguments continue the same subscription, unless it is named. `consumer`: several loops with places
        of their own over one subscription. `begin`: of a new subscription. `order`: by position, or what arrives
        (live) before what is caught up. Raises UsageError.
        """
        wish = _selection(apid, vcid, spacecraft, data_mode, links)
        name = subscription or _named("packets", wish)
        around, keeper = self._open_around(), self._keeper(name, wish, begin == "now", priority, rate_limit_bps)
        path = f"{name}/consumers/{_checked(consumer)}.json"
        if keeper.wish.selection != wish:
            raise UsageError(
                f"the subscription {name!r} is open with another selection", "give this one another subscription="
            )
        done = read_cursor(around.storage, path)
        follower = Follower(keeper, around.reader, done, order)
        return Packets(follower, around.storage, path, around.writer, self._claim((name, consumer)))

    def playback(
        self,
        request: str | None = None,
        *,
        from_utc: str | None = None,
        to_utc: str | None = None,
        by: Literal["receive_time", "generation_time"] = "receive_time",
        from_position: int | None = None,
        upto_position: int | None = None,
        apid: Numbers = None,
        vcid: Numbers = None,
        spacecraft: Names = None,
        data_mode: Names = None,
        links: Names = None,
        consumer: str = "main",
    ) -> Playback:
        """Loop over a range of the gateway's journal once more, each packet once, tagged data mode playback; it ends.

        The range is asked for when the loop begins (`from_utc` and `to_utc`, or two positions; the end is not in it),
        or `request` is the id of one that was. The same arguments go on where the loop was left, and ask for nothing
        twice. What comes is stored in `playbacks/` of the store, apart from what is live. Raises UsageError.
        """
        wish = _selection(apid, vcid, spacecraft, data_mode, links)
        asked: Mapping[str, Any] | str
        if request is None:
            asked = body = asked_for(self._home, wish, (from_utc, to_utc), by, (from_position, upto_position))
            name = _named("range", body)
        elif (from_utc, to_utc, from_position, upto_position, apid, vcid, spacecraft, data_mode, links) != (None,) * 9:
            raise UsageError("a playback request says itself what comes", "leave out what selects, and the range")
        else:
            asked = name = _checked(request)
        folder, around = f"playbacks/{name}", self._open_around()
        path = f"{folder}/consumers/{_checked(consumer)}.json"

        async def begin() -> tuple[str, Packets]:
            async with self._asking:
                there = PlaybackFolder(around.storage, around.writer, folder)
                found = await there.request(asked, around.desk, around.jitter)
            keeper = self._playback_keeper(folder, found, there)
            follower = Follower(keeper, around.reader, read_cursor(around.storage, path))
            return found, Packets(follower, around.storage, path, around.writer, lambda: None)

        return Playback(begin, self._claim((folder, consumer)))

    def timely(
        self,
        *,
        apid: Numbers = None,
        vcid: Numbers = None,
        spacecraft: Names = None,
        data_mode: Names = None,
        links: Names = None,
        max_delay_ms: int = 1000,
    ) -> TimelyPackets:
        """Loop over what comes now, at once; what the loop cannot take in time is skipped, and told. Nothing is
        stored: for displays."""
        wish = _selection(apid, vcid, spacecraft, data_mode, links)
        name = _named("timely", wish)
        hello = {"mode": "timely", "selection": wish, "max_delay_ms": max_delay_ms}
        return TimelyPackets(self._line(name, lambda: hello))

    def values(
        self,
        parameters: Iterable[str],
        *,
        spacecraft: str | None = None,
        mdb: str | None = None,
        begin: Literal["oldest", "now"] = "now",
        subscription: str | None = None,
    ) -> CompleteValues:
        """Loop over every sample of parameters, in order of position; where the loop was left it goes on.

        A batch is finished as with `packets`. `begin`: of a loop that was never begun. Raises UsageError.
        """
        names = sorted({parameters} if isinstance(parameters, str) else set(parameters))
        about = {"parameters": names, "spacecraft": spacecraft, "mdb": mdb}
        name = subscription or _named("values", about)
        around, path = self._open_around(), f"{_checked(name)}/values.json"
        place = read_upto(around.storage, path)
        hello = {"mode": "values", "delivery": "complete", **about}

        def asked() -> dict[str, Any]:
            first = place.upto if place.upto is not None else 0 if begin == "oldest" else None
            return hello if first is None else {**hello, "from_position": first}

        async def keep_place(told: dict[str, Any]) -> None:
            await keep(around.writer, around.storage, path, told)

        return CompleteValues(self._line(name, asked), place, keep_place, self._claim((name, "")))

    def latest(
        self, parameters: Iterable[str], *, spacecraft: str | None = None, interval_ms: int = 1000
    ) -> LiveValues:
        """Loop over the newest values, at most every `interval_ms`: for displays."""
        names = sorted({parameters} if isinstance(parameters, str) else set(parameters))
        hello = {"mode": "values", "delivery": "latest", "parameters": names, "interval_ms": interval_ms}
        return LiveValues(self._line(_named("latest", hello), lambda: {**hello, "spacecraft": spacecraft}))

    def changes(self, parameters: Iterable[str], *, spacecraft: str | None = None) -> LiveValues:
        """Loop over each live sample whose value, validity or limit is another one than before, from now on."""
        names = sorted({parameters} if isinstance(parameters, str) else set(parameters))
        hello = {"mode": "values", "delivery": "change", "parameters": names}
        return LiveValues(self._line(_named("changes", hello), lambda: {**hello, "spacecraft": spacecraft}))

    # ---- inside ----

    def _keeper(
        self, name: str, selection: dict[str, Any], from_head: bool, priority: str, rate_limit_bps: int | None
    ) -> Keeper:
        if name not in self._kept:
            around = self._open_around()
            wish = Wish(
                self._home, _checked(name), selection, from_head=from_head, priority=priority,
                rate_limit_bps=rate_limit_bps, whole=not from_head,
            )  # fmt: skip
            keeper = Keeper(
                around.dial(name), around.storage, name, around.writer, wish, reserve_octets=RESERVE_OCTETS,
                jitter=around.jitter,
            )  # fmt: skip
            self._kept[name] = keeper, asyncio.create_task(keeper.run(), name=f"home base {name}")
        return self._kept[name][0]

    def _playback_keeper(self, folder: str, request: str, there: PlaybackFolder) -> Keeper:
        if folder not in self._kept:
            around = self._open_around()
            wish = Wish(self._home, _checked(request), mode="playback", whole=True)
            keeper = Keeper(
                around.dial(request), around.storage, folder, around.writer, wish, reserve_octets=RESERVE_OCTETS,
                jitter=around.jitter,
            )  # fmt: skip
            self._kept[folder] = keeper, asyncio.create_task(there.fill(keeper), name=f"home base {folder}")
        return self._kept[folder][0]

    def _claim(self, key: tuple[str, str]) -> Callable[[], None]:
        if key in self._looping:
            raise UsageError(
                f"a loop over {key[0]!r} is open already: two of them would share one place",
                "close() the other one, or give this one another consumer= or subscription=",
            )
        self._looping.add(key)
        return lambda: self._looping.discard(key)

    def _line(self, name: str, hello: Callable[[], Mapping[str, Any]]) -> Line:
        about = {"type": "subscribe", "home": self._home, "subscription": name}
        line = Line(self._open_around().dial(name), lambda: {**about, **hello()}, self._open_around().jitter)
        self._lines.append(line)
        return line


def _selection(apid: Numbers, vcid: Numbers, spacecraft: Names, data_mode: Names, links: Names) -> dict[str, Any]:
    given = {
        "apids": _numbers(apid), "vcids": _numbers(vcid), "spacecraft": _texts(spacecraft),
        "data_modes": _texts(data_mode), "links": _texts(links),
    }  # fmt: skip
    for key, value in given.items():
        if value == []:
            raise UsageError(f"{key}: an empty choice selects nothing", "leave it out to get all")
    return {"kinds": ["tm"], "units": ["packet"], **{key: value for key, value in given.items() if value is not None}}


def _numbers(given: Numbers) -> list[int] | None:
    return None if given is None else sorted({given} if isinstance(given, int) else set(given))


def _texts(given: Names) -> list[str] | None:
    return None if given is None else sorted({given} if isinstance(given, str) else set(given))


def _named(kind: str, about: Mapping[str, Any]) -> str:
    return f"{kind}-{hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:12]}"


def _checked(name: str) -> str:
    """Names are folders and topics: letters, digits, - and _."""
    plain = name.replace("-", "").replace("_", "")
    if not (0 < len(name) <= 64 and plain.isalnum() and name.isascii()):
        raise UsageError(f"{name[:80]!r} is no name", "1 to 64 letters, digits, '-' or '_'")
    return name


def _really(url: str, token: str | None, password: str | None, store: Path, home: str, instance: str) -> Around:
    """Return the real world: files, threads, sockets. Raises StartError, UsageError, OSError."""
    from gateway.access.local import token_for
    from gateway.real import LocalStorage, ThreadWorker

    def secret() -> str | None:
        return token if token is not None else token_for(url)

    def dial(name: str) -> Dial:
        return way_in(url, instance, home, name, secret, lambda: password)

    dial("all")  # a bad address is told before anything is made
    try:
        storage = LocalStorage(store, lock=True)
    except StartError as error:
        raise StartError(f"the store {store} is in use by another process", f"one at a time ({error})") from None
    writer, reader = ThreadWorker("home-store"), ThreadWorker("home-reader")

    def end() -> None:
        for worker in (reader, writer):
            worker.close()
        storage.close()

    desk: Desk = ApiDesk(url, instance, secret) if url.startswith("http") else NoDesk()
    return Around(storage, writer, reader, dial, end, desk)
