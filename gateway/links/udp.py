"""A link's datagrams: bound once, read in bulk, from allowed peers only; what the kernel lost and who was refused."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable

import numpy as np

from gateway.links.sources import READ_OCTETS, Remarks
from gateway.world import DatagramSocket, Network, Received
from gateway_codecs.batches import U8Array, gather
from gateway_codecs.datagrams import Datagrams

PEERS_SHOWN, REFUSED_SHOWN = 4, 5


class UdpSource:
    """Datagrams of whoever is allowed to send them. There is no connection: the socket stays until it is shut."""

    resumable = False
    connectionless = True

    def __init__(
        self,
        network: Network,
        host: str,
        port: int,
        allowed_peers: tuple[str, ...] = (),
        buffer_octets: int = 32 << 20,
    ) -> None:
        self._network, self._host, self._port = network, host, port
        self._allowed, self._buffer_octets = frozenset(allowed_peers), buffer_octets
        self._socket: DatagramSocket | None = None
        self.read_octets = READ_OCTETS  # of streams; what is read of datagrams in a turn is bounded by the socket
        self.refused = 0
        self._refused_peers: dict[str, None] = {}
        self._peers: dict[str, None] = {}  # the newest is last
        self._lost_before = 0  # by sockets that are closed
        self._notice = ""

    @property
    def listening(self) -> bool:
        """Whether datagrams can come."""
        return self._socket is not None

    @property
    def port(self) -> int:
        """The port bound, 0 when none."""
        return self._socket.port if self._socket else 0

    async def prepare(self) -> None:
        """Bind, if need be. Datagrams that come before the link reads wait in the kernel."""
        await self._bound()

    async def _bound(self) -> DatagramSocket:
        if self._socket is None:
            self._socket = await self._network.receive_datagrams(self._host, self._port, self._buffer_octets)
            self._notice = _advice(self._socket, self._buffer_octets)
        return self._socket

    async def open(self, offset: int) -> str:
        """Bind if need be; returns where."""
        socket = await self._bound()
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{host}:{socket.port}"

    async def read(self) -> Datagrams:
        """Wait for datagrams of allowed peers, and return those that are here."""
        while True:
            if self._socket is None:
                raise ConnectionError("not bound")
            try:
                received = await self._socket.receive()
            except OSError:
                await self.shut()
                raise
            if found := self._allow(received):
                return found
            await asyncio.sleep(0)  # a flood of others must not hold up the loop

    def waiting(self) -> Datagrams | None:
        """Return datagrams of allowed peers that the kernel still has, None when there are none. No more come."""
        while self._socket is not None and (received := self._socket.waiting()).lengths:
            if found := self._allow(received):
                return found
        return None

    def _allow(self, received: Received) -> Datagrams | None:
        """Return what came from allowed peers; the others are counted."""
        lengths = np.array(received.lengths, np.int64)
        found = Datagrams(received.octets, lengths, received.lost_at)
        allowed = self._allowed
        if allowed and not allowed.issuperset(host for host, *_ in received.peers):
            found = self._only(found, [host in allowed for host, *_ in received.peers])
            self._refuse(host for host, *_ in received.peers if host not in allowed)
            received = Received(b"", [], [peer for peer in received.peers if peer[0] in allowed])
        if not received.peers:
            return None
        self._note(*received.peers[-1][:2])
        return found

    @staticmethod
    def _only(found: Datagrams, wanted: list[bool]) -> Datagrams:
        index = np.flatnonzero(wanted)
        octets: U8Array = np.frombuffer(found.octets, np.uint8)
        left = gather(octets, found.starts[index], found.lengths[index]).tobytes()
        lost_at = int(np.searchsorted(index, found.lost_at)) if found.lost_at >= 0 else -1
        return Datagrams(left, found.lengths[index], lost_at if lost_at < len(index) else -1)

    def _refuse(self, hosts: Iterable[str]) -> None:
        for host in hosts:
            self.refused += 1
            if len(self._refused_peers) < REFUSED_SHOWN:
                self._refused_peers[host] = None

    def _note(self, host: str, port: int) -> None:
        peer = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._peers.pop(peer, None)
        self._peers[peer] = None
        if len(self._peers) > PEERS_SHOWN:
            del self._peers[next(iter(self._peers))]

    async def reread(self, offset: int, length: int) -> bytes:
        """Datagrams cannot be read again."""
        raise OSError("a UDP source cannot be read again")

    async def close(self) -> None:
        """Nothing is closed: what comes meanwhile waits in the kernel's buffer."""

    async def shut(self) -> None:
        """Close the socket. What nobody took of what it has is lost, as what the kernel dropped."""
        if self._socket is not None:
            socket, self._socket = self._socket, None
            with contextlib.suppress(OSError):
                while (left := socket.waiting()).lengths:
                    self._lost_before += len(left.lengths)
            self._lost_before += socket.dropped() or 0
            await socket.close()

    def progress(self) -> tuple[int, int] | None:
        """Datagrams have no end."""
        return None

    def remarks(self) -> Remarks:
        """Return what was noticed beside the data."""
        lost = self._lost_before + ((self._socket.dropped() or 0) if self._socket else 0)
        return Remarks(lost, self.refused, tuple(self._refused_peers), tuple(self._peers), self._notice)


def _advice(socket: DatagramSocket, wanted_octets: int) -> str:
    """Return what would mend what is wrong with a socket, or nothing."""
    text = []
    if socket.buffer_octets < wanted_octets:
        text.append(
            f"the kernel gave {socket.buffer_octets} of {wanted_octets} octets for the receive buffer: "
            f"sysctl -w net.core.rmem_max={wanted_octets}, then disable and enable the link"
        )
    if socket.dropped() is None:
        text.append("this kernel does not say what it drops: only counts in the data tell")
    return "; ".join(text)
