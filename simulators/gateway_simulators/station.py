"""A ground station for the gateway to connect to: plays one pass, writes a ledger of what it sent."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from gateway_codecs.time_scales import SECOND_NS
from gateway_simulators.coder import Coder
from gateway_simulators.radio_link import RadioLink, Roughness
from gateway_simulators.space_link import CUT, NOISE, SpaceLink, Weather
from gateway_simulators.spacecraft import OnboardClock
from gateway_simulators.uslp_spacecraft import Frames, make_spacecraft


@dataclass(frozen=True, slots=True)
class Pass:
    """One simulated pass."""

    duration_s: float = 20.0
    frames_per_s: float = 200.0
    seed: int = 7
    cut_at: float = 0.55  # share of the pass
    cut_s: float = 1.0
    weather: Weather = Weather()
    symbol_errors: int | None = None  # of each code word; None = bare frames, no CADUs
    roughness: Roughness = Roughness()  # of a stream of CADUs
    transfer_frames: Frames = "tm"
    start_tai_ns: int = OnboardClock().start_tai_ns

    @property
    def clock(self) -> OnboardClock:
        """The on-board time, going with the frames."""
        return OnboardClock(self.start_tai_ns, int(SECOND_NS / self.frames_per_s))

    @property
    def frames(self) -> int:
        """How many frames the spacecraft sends."""
        return int(self.duration_s * self.frames_per_s)

    def cut_frames(self) -> range:
        """The frames that fall into the link cut."""
        first = int(self.frames * self.cut_at)
        return range(first, first + int(self.cut_s * self.frames_per_s))


class Station:
    """Serves one gateway at a time over TCP, or sends datagrams; bare frames or CADUs.

    Frames sent while nobody is connected are lost like those of the cut.
    """

    def __init__(self, wanted: Pass, ledger: TextIO) -> None:
        self._pass, self._ledger = wanted, ledger
        self._coder = None if wanted.symbol_errors is None else Coder(wanted.seed, wanted.symbol_errors)
        self._radio = None if self._coder is None else RadioLink(wanted.seed, wanted.roughness, self._coder)
        self._datagrams: socket.socket | None = None
        self._spacecraft = make_spacecraft(wanted.seed, wanted.transfer_frames, wanted.clock)
        self._link = SpaceLink(wanted.seed, wanted.weather)
        self._writer: asyncio.StreamWriter | None = None
        self._connected = asyncio.Event()
        self._cut = False
        self._fates: dict[str, int] = {}

    async def serve(self, host: str, port: int) -> None:
        """Listen, say where in one JSON line, wait for the gateway, play the pass, end."""
        server = await asyncio.start_server(self._on_gateway, host, port)
        address = server.sockets[0].getsockname()
        print(json.dumps({"host": address[0], "port": address[1]}), flush=True)
        try:
            await self._connected.wait()
            await self._play()
        finally:
            server.close()
            await self._hang_up()

    async def send_datagrams(self, host: str, port: int) -> None:
        """Play the pass in datagrams of one frame each, and say so in one JSON line; nobody connects."""
        loop = asyncio.get_running_loop()
        family, kind, protocol, _, address = (await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM))[0]
        with socket.socket(family, kind, protocol) as self._datagrams:
            self._datagrams.connect(address)
            print(json.dumps({"host": host, "port": port, "udp": True}), flush=True)
            await self._play()

    async def _on_gateway(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._cut or self._writer is not None:
            writer.close()
            return
        self._writer = writer
        self._connected.set()
        with contextlib.suppress(OSError, asyncio.CancelledError):
            while await reader.read(4096):
                pass
        if self._writer is writer:
            self._writer = None
        writer.close()

    async def _play(self) -> None:
        loop = asyncio.get_running_loop()
        began, cut_frames = loop.time(), self._pass.cut_frames()
        for number in range(self._pass.frames):
            due = began + number / self._pass.frames_per_s
            if due > loop.time():
                await asyncio.sleep(due - loop.time())
            if (number in cut_frames) != self._cut:
                self._cut = not self._cut
                if self._cut:
                    await self._hang_up()
            await self._send_one()
        self._write({"summary": {"frames": self._pass.frames, "fates": self._fates}})

    async def _send_one(self) -> None:
        frame = self._spacecraft.next_frame()
        fate, octets = self._passed_on(frame.octets)
        if self._datagrams is not None:
            fate = self._as_datagram(self._datagrams, fate, octets)
        elif self._writer is None:
            fate = CUT
        elif octets:
            try:
                self._writer.write(octets)
                await self._writer.drain()
            except OSError:
                fate, self._writer = CUT, None
        self._fates[fate] = self._fates.get(fate, 0) + 1
        self._write({"frame": {"vcid": frame.vcid, "number": frame.number, "fate": fate}})
        for made in self._spacecraft.made:
            self._write({"item": asdict(made)})
        self._spacecraft.made.clear()

    def _passed_on(self, frame: bytes) -> tuple[str, bytes]:
        """Return a frame's fate and what arrives of it: the frame, its CADU in a datagram, or a stream of CADUs."""
        if self._radio is not None and self._writer is not None:
            return self._radio.pass_on(self._link.fate(), frame)
        fate, octets = self._link.pass_on(frame)
        if self._coder is not None and octets:
            octets = self._coder.cadu(frame, spoilt=fate == NOISE)
        return fate, octets

    def _as_datagram(self, sock: socket.socket, fate: str, octets: bytes) -> str:
        """Send a frame unless the link is cut; nobody there, or no room in our own buffer, is a cut too."""
        if self._cut:
            return CUT
        try:
            return fate if not octets or sock.send(octets) else CUT
        except OSError:
            return CUT

    def _write(self, line: dict[str, Any]) -> None:
        self._ledger.write(json.dumps(line) + "\n")

    async def _hang_up(self) -> None:
        """Close after everything written has left."""
        if self._writer is not None:
            writer, self._writer = self._writer, None
            with contextlib.suppress(OSError):
                if self._radio is not None:
                    writer.write(self._radio.flush())
                    self._radio.begin()
                await writer.drain()
                writer.write_eof()
                writer.close()


async def play(wanted: Pass, host: str, port: int, ledger: Path, udp: bool = False) -> None:
    """Play one pass to the gateway that connects, or in datagrams to one that is there."""
    with ledger.open("w", encoding="utf-8", buffering=1 << 16) as file:
        station = Station(wanted, file)
        await (station.send_datagrams(host, port) if udp else station.serve(host, port))


def record(wanted: Pass, target: Path, ledger: Path | None) -> dict[str, int]:
    """Write the pass as a recording (frames back to back, or a stream of CADUs); returns the fates."""
    spacecraft = make_spacecraft(wanted.seed, wanted.transfer_frames, wanted.clock)
    link, fates = SpaceLink(wanted.seed, wanted.weather), dict[str, int]()
    radio = None
    if wanted.symbol_errors is not None:
        radio = RadioLink(wanted.seed, wanted.roughness, Coder(wanted.seed, wanted.symbol_errors))
    lines: list[str] = []
    with target.open("wb") as file:
        for _ in range(wanted.frames):
            frame = spacecraft.next_frame()
            fate, octets = link.pass_on(frame.octets) if radio is None else radio.pass_on(link.fate(), frame.octets)
            fates[fate] = fates.get(fate, 0) + 1
            file.write(octets)
            if ledger is not None:
                lines.append(json.dumps({"frame": {"vcid": frame.vcid, "number": frame.number, "fate": fate}}))
                lines += [json.dumps({"item": asdict(made)}) for made in spacecraft.made]
            spacecraft.made.clear()
        file.write(b"" if radio is None else radio.flush())
    if ledger is not None:
        ledger.write_text(
            "\n".join([*lines, json.dumps({"summary": {"frames": wanted.frames, "fates": fates}})]) + "\n"
        )
    return fates
