"""R6: a TCP link in random weather against a simple reader of frames, one by one: packets, octets, counters, gaps."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import pytest

from gateway.journal import Journal, JournalSettings
from gateway.links import Link, LinkContext, LinkSettings, TcpClientSource
from gateway.links.link import SEAMLESS_S
from gateway_codecs import aos_frame, space_packet, tm_frame
from gateway_codecs.batches import Quality, Unit
from gateway_codecs.frames import FrameFormat, VcFormat
from gateway_codecs.intake import FrameIntake, LinkFormat
from gateway_routes.selection import Selection
from tests.conftest import SEEDS
from tests.gateway.simulated import SimClock, SimLoop, SimNetwork, SimStorage, inline

SCID, ZONE = 42, 20
EVERYTHING = Selection(kinds=None, bad_quality=True, idle=True)


class Contacts:
    def in_contact(self, spacecraft: str) -> bool:
        return False

    def good_data(self, spacecraft: str, peer: str) -> None:
        pass


class Craft:
    """Channels of frames full of packets."""

    def __init__(self, rng: random.Random, aos: bool) -> None:
        self.rng, self.aos = rng, aos
        self.streams: dict[int, bytearray] = {}
        self.starts: dict[int, list[int]] = {}
        self.count: dict[int, int] = {}
        self.mc = 0
        self.seq = 0

    def frame(self, vcid: int) -> bytes:
        rng = self.rng
        count = self.count.setdefault(vcid, rng.randrange(256))
        mod = 1 << 24 if self.aos else 256
        self.count[vcid] = (count + 1) % mod
        if vcid == 2 or rng.random() < 0.1:
            return self.encode(vcid, count, 0x7FE, bytes(ZONE))
        data, starts = self.streams.setdefault(vcid, bytearray()), self.starts.setdefault(vcid, [])
        while len(data) < ZONE:
            starts.append(len(data))
            self.seq = (self.seq + 1) % 16384
            if rng.random() < 0.1:
                data += b"\xe0"
            else:
                body = rng.randbytes(rng.choice([1, 3, 5, 8, 14, 20, 34, 54, 120]))
                data += space_packet.encode(space_packet.SpacePacket(rng.choice([1, 2, 3]), self.seq, body))
        first = next((s for s in starts if s < ZONE), None)
        zone = bytes(data[:ZONE])
        del data[:ZONE]
        self.starts[vcid] = [s - ZONE for s in starts if s >= ZONE]
        return self.encode(vcid, count, 0x7FF if first is None else first, zone)

    def encode(self, vcid: int, count: int, pointer: int, zone: bytes) -> bytes:
        if self.aos:
            return aos_frame.encode(aos_frame.AosFrame(SCID, vcid, count, zone, pointer), fecf=True)
        self.mc = (self.mc + 1) % 256
        return tm_frame.encode(tm_frame.TmFrame(SCID, vcid, self.mc, count, pointer, zone), fecf=True)


def crc(data: bytes) -> int:
    import binascii

    return binascii.crc_hqx(data, 0xFFFF)


class Oracle:
    """Reads frames one by one."""

    def __init__(self, aos: bool, uncounted: set[int]) -> None:
        self.aos, self.uncounted = aos, uncounted
        self.unit = ZONE + (10 if aos else 8)
        self.rest = b""
        self.open: dict[int, bytes] = {}
        self.last: dict[int, int] = {}
        self.packets: dict[int, list[bytes]] = {}
        self.zone_octets = self.idle_octets = 0
        self.kept: dict[str, list[bytes]] = {"fecf": [], "length": [], "packet_truncated": []}
        self.gaps: list[tuple[int, int, str]] = []
        self.reason: dict[int, str] = {}
        self.last_good: float | None = None
        self.was_cut = False  # and no good frame has come since

    def octets(self, data: bytes, now: float) -> None:
        if self.was_cut and self.last_good is not None and now - self.last_good > SEAMLESS_S:
            self.give_up()
        self.rest += data
        while len(self.rest) >= self.unit:
            self.frame(self.rest[: self.unit], now)
            self.rest = self.rest[self.unit :]

    def cut(self, reason: str = "link cut") -> None:
        self.was_cut = True
        if self.rest:
            self.kept["length"].append(self.rest)
        self.rest = b""
        for vcid in self.uncounted:
            self.drop(vcid)
        for vcid in self.last:
            self.reason[vcid] = reason

    def give_up(self) -> None:
        for vcid in list(self.open):
            self.drop(vcid)

    def drop(self, vcid: int) -> None:
        octets = self.open.pop(vcid, b"")
        if octets:
            self.kept["packet_truncated"].append(octets)

    def frame(self, f: bytes, now: float) -> None:
        if crc(f) != 0:
            self.kept["fecf"].append(f)
            return
        self.last_good, self.was_cut = now, False
        if self.aos:
            vcid, count, mod = f[1] & 0x3F, int.from_bytes(f[2:5], "big"), 1 << 24
            pointer, zone = ((f[6] & 7) << 8) | f[7], f[8:-2]
        else:
            vcid, count, mod = (f[1] >> 1) & 7, f[3], 256
            pointer, zone = ((f[4] & 7) << 8) | f[5], f[6:-2]
        last = self.last.get(vcid)
        self.last[vcid] = count
        reason = self.reason.pop(vcid, "space link")
        if last is not None and vcid not in self.uncounted:
            missing = (count - last - 1) % mod
            if missing:
                self.drop(vcid)
                told = 0 if missing == mod - 1 or (self.aos and missing > mod // 2) else missing
                if told:
                    self.gaps.append((vcid, told, reason))
        if vcid == 2:
            return
        if pointer == 0x7FE:
            return
        self.zone_octets += len(zone)
        if pointer == 0x7FF:
            if vcid in self.open:
                self.open[vcid] += zone
                if self.whole(vcid, self.open[vcid]) is not None:
                    self.open.pop(vcid)
            return
        if vcid in self.open:
            octets = self.open.pop(vcid) + zone[:pointer]
            if self.whole(vcid, octets) is None:
                self.kept["packet_truncated"].append(octets)
        at = pointer
        while at < len(zone):
            taken = self.whole(vcid, zone[at:])
            if taken is None:
                self.open[vcid] = zone[at:]
                return
            at += taken

    def whole(self, vcid: int, octets: bytes) -> int | None:
        if octets[0] == 0xE0:
            self.idle_octets += 1
            return 1
        if len(octets) < 6:
            return None
        size = int.from_bytes(octets[4:6], "big") + 7
        if len(octets) < size:
            return None
        self.packets.setdefault(vcid, []).append(octets[:size])
        return size


class Fault(Exception):
    pass


class World:
    def __init__(self, seed: int) -> None:
        self.rng = rng = random.Random(seed)
        self.aos = rng.random() < 0.3
        self.uncounted = {1} if rng.random() < 0.3 else set()
        self.craft = Craft(rng, self.aos)
        self.oracle = Oracle(self.aos, self.uncounted)
        self.intakes: list[FrameIntake] = []
        self.log: list[str] = []
        self.faults = 0
        self.queue: list[bytes] = []
        self.sent: list[bytes] = []
        self.stream: Any = None
        self.up = True

    async def run(self) -> None:
        rng, oracle = self.rng, self.oracle
        self.disk = SimStorage(random.Random(1))
        settings = JournalSettings(reserve_octets=0, retry_s=0.2)
        self.journal = await Journal.open(self.disk, SimClock(), inline, inline, settings, "m")
        self.network = SimNetwork(random.Random(rng.random()))
        self.events: list[Any] = []
        loop = asyncio.get_running_loop()
        world = self

        class Source(TcpClientSource):
            async def read(self) -> bytes:
                try:
                    data = await super().read()
                except OSError:
                    oracle.cut()
                    raise
                except asyncio.CancelledError:
                    world.read_cancelled = True
                    raise
                if not data:
                    oracle.cut()
                elif world.faults and rng.random() < 0.2:
                    world.faults -= 1
                    world.fail_next = True
                    oracle.cut("gateway restart")
                    oracle.give_up()
                    world.reset_after_fault()
                else:
                    oracle.octets(data, loop.time())
                return data

        vcs = {v: VcFormat(counting="none" if v in self.uncounted else "vc_count") for v in (0, 1)} | {
            2: VcFormat("idle")
        }
        fmt = FrameFormat("aos" if self.aos else "tm", oracle.unit, {SCID: 1}, vcs)
        self.fail_next = False

        class Intake(FrameIntake):
            def feed(self, octets: bytes, now_ns: int, *more: Any) -> Any:
                if world.fail_next:
                    world.fail_next = False
                    raise Fault("injected")
                return super().feed(octets, now_ns, *more)

        def make() -> FrameIntake:
            self.intakes.append(Intake(LinkFormat(1, fmt, 1)))
            return self.intakes[-1]

        context = LinkContext(
            self.journal, SimClock(), Contacts(), self.events.append, inline, inline, chance=rng.random
        )
        lsettings = LinkSettings("a", "tcp", "s", watchdog_s=5.0, retry_min_s=0.1, retry_max_s=rng.choice([1.0, 20.0]))
        self.link = Link(lsettings, Source(self.network, "h", 1), make, context)
        await self.network.listen("h", 1, self.accept)
        self.link.start()
        for _ in range(rng.randrange(3, 40)):
            await self.something()
        self.disk.free = 1 << 40
        await asyncio.sleep(40)
        self.disabled = True
        await self.link.stop()
        oracle.cut()
        oracle.give_up()
        await self.journal.drain()

    def reset_after_fault(self) -> None:
        pass

    async def accept(self, stream: Any) -> None:
        if not self.up:
            await stream.close()
            return
        self.stream = stream
        data, self.left = getattr(self, "left", b""), b""
        if data:
            await stream.write(data)

    async def something(self) -> None:
        rng = self.rng
        what = rng.choices(
            ["frames", "cut", "reset", "half", "pause", "long", "lose", "resend", "bad", "disable", "blocked", "fault"],
            [8, 3, 2, 2, 2, 0.7, 2, 1, 1, 0.7, 0.7, 0.5],
        )[0]
        self.log.append(what)
        if what == "frames":
            await self.write(b"".join(self.make() for _ in range(rng.randrange(1, 12))))
        elif what == "cut":
            if self.stream:
                await self.stream.close()
                self.stream = None
            await asyncio.sleep(rng.choice([0, 0, 2, 30, 55]))
        elif what == "reset":
            if self.stream:
                self.stream.reset()
                self.stream = None
            await asyncio.sleep(rng.choice([0, 2]))
        elif what == "half":
            frame = self.make()
            at = rng.randrange(1, len(frame))
            await self.write(frame[:at])
            if self.stream:
                await self.stream.close()
                self.stream = None
            if rng.random() < 0.5:
                await asyncio.sleep(1)
                await self.write(frame)
        elif what == "pause":
            await asyncio.sleep(rng.choice([0, 0.1, 5, 40]))
        elif what == "long":
            self.up = False
            if self.stream:
                await self.stream.close()
                self.stream = None
            await asyncio.sleep(rng.choice([59, 61, 100, 3600]))
            self.up = True
            await asyncio.sleep(25)
        elif what == "lose":
            for _ in range(rng.choice([1, 2, 5, 300])):
                self.make()
        elif what == "resend" and self.sent:
            await self.write(b"".join(self.sent[-rng.randrange(1, 6) :]))
        elif what == "bad":
            frame = bytearray(self.make())
            frame[rng.randrange(len(frame))] ^= 1 << rng.randrange(8)
            await self.write(bytes(frame))
        elif what == "disable":
            if self.disk.free < 0:
                return
            while self.link._out.pending:
                await asyncio.sleep(0.1)
            if self.rng.random() < 0.5:
                await asyncio.sleep(0)
            await self.link.act("disable")
            self.oracle.cut()
            self.oracle.give_up()
            await asyncio.sleep(rng.choice([0, 1, 100]))
            await self.link.act("enable")
            await asyncio.sleep(rng.choice([0, 0.5]))
        elif what == "blocked":
            self.disk.free = -1
            asyncio.get_running_loop().call_later(rng.choice([1, 10]), setattr, self.disk, "free", 1 << 40)
        elif what == "fault":
            self.faults += 1

    def make(self) -> bytes:
        frame = self.craft.frame(self.rng.choice([0, 0, 0, 1, 1, 2]))
        self.sent.append(frame)
        del self.sent[:-10]
        return frame

    async def write(self, data: bytes) -> None:
        for _ in range(400):
            if self.stream is not None and not (self.stream.closed or self.stream.cut or self.stream.ended):
                break
            await asyncio.sleep(0.1)
        if self.stream is None:
            return
        try:
            await self.stream.write(data)
        except OSError:
            self.stream = None
        await asyncio.sleep(self.rng.choice([0, 0, 0.01]))


@pytest.mark.parametrize("seed", range(SEEDS // 16))
def test_link_against_simple_reader(seed: int) -> None:
    """R6: packets, kept octets, counters and gaps of a link in bad weather are those of a simple reader."""
    world = World(seed)
    with asyncio.Runner(loop_factory=SimLoop) as runner:

        async def whole() -> Any:
            async with asyncio.timeout(200_000):
                await world.run()
            return (await world.journal.read(0, EVERYTHING, 1_000_000, 1 << 30)).batch

        items = runner.run(whole())
    o, rows = world.oracle, items.items
    failures = world.link._counters["failures"]
    octets = [items.octets_of(k) for k in range(len(rows))]
    got: dict[int, list[bytes]] = {}
    kept: dict[str, list[bytes]] = {}
    gaps = []
    for k, data in enumerate(octets):
        if rows["unit"][k] == Unit.PACKET:
            got.setdefault(int(rows["vcid"][k]), []).append(data)
        elif rows["unit"][k] == Unit.EVENT:
            event = json.loads(data)
            if event["type"] == "gap" and event["what"] == "frames":
                gaps.append((event["vcid"], event["missing"], event["reason"]))
        else:
            kept.setdefault(Quality(int(rows["quality"][k])).name.lower(), []).append(data)
    where = f"seed {seed}, {world.log}"
    assert got == o.packets, where
    for cause in o.kept:
        assert sorted(kept.get(cause, [])) == sorted(o.kept[cause]), f"{where} {cause}"
    counters = world.link._counters
    for cause in {*kept, *(n[9:] for n in counters if n.startswith("rejected_"))}:
        assert counters.get(f"rejected_{cause}", 0) == len(kept.get(cause, [])), f"{where} {cause}"
    idle = sum(i.statistics()["idle_octets"] for i in world.intakes)
    total = sum(len(d) for v in got.values() for d in v) + idle
    total += sum(len(d) for c, v in kept.items() if c not in {"length", "fecf"} for d in v)
    assert total == o.zone_octets, where
    if not failures:
        assert sorted(gaps) == sorted(o.gaps), where
    else:
        assert sorted((v, n) for v, n, _ in gaps) == sorted((v, n) for v, n, _ in o.gaps), where
