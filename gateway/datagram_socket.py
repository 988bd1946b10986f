"""UDP without a protocol object: many datagrams a turn into one buffer, and what the kernel dropped, exactly.

asyncio's DatagramProtocol reads one datagram a turn of the loop and lost 38 % of a burst (measured); this reads what is
there, up to 256 KiB or 2 ms. The kernel (Linux) counts every datagram that it drops for a socket (SO_MEMINFO), and says
with each one that it gives how many it had dropped before (SO_RXQ_OVFL): the one is exact at any time, the other says
where. Each is used for what it can.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import struct
import time

from gateway.world import Buffer, Received

READ_OCTETS, READ_S = 1 << 18, 0.002
ROOM_OCTETS = 1 << 16
"""The largest datagram fits behind everything else: none is ever cut off."""
SEND_AGAIN_S = 0.001
LOOK_AT_CLOCK = 15  # after each 16th datagram
SO_RCVBUFFORCE, SO_RXQ_OVFL, SO_MEMINFO = 33, 40, 55
MEMINFO = struct.Struct("9I")
DROPS = 8  # index in MEMINFO
COUNT = struct.Struct("I")


class UdpSocket:
    """See gateway.world.DatagramSocket."""

    def __init__(self, sock: socket.socket, buffer_octets: int) -> None:
        self._sock, self._loop = sock, asyncio.get_running_loop()
        self._buffer = memoryview(bytearray(READ_OCTETS + ROOM_OCTETS))
        self._granted = _grant(sock, buffer_octets)
        self._dropped, self._seen = 0, _dropped(sock)
        self._dropped_before = 0  # the count that came with the last datagram
        self._deaf = False
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, SO_RXQ_OVFL, 1)

    @property
    def port(self) -> int:
        """The port bound."""
        return int(self._sock.getsockname()[1])

    @property
    def buffer_octets(self) -> int:
        """What the kernel gave."""
        return self._granted

    async def receive(self) -> Received:
        """Return what is here; wait for it if need be."""
        while not (found := self._receive()).lengths:
            await self._readable()
        return found

    def waiting(self) -> Received:
        """Return what is here. A socket that is connected to itself hears nobody else, and keeps what it has."""
        if not self._deaf:
            self._deaf = True
            with contextlib.suppress(OSError):
                self._sock.connect(self._sock.getsockname())
        return self._receive()

    def _receive(self) -> Received:
        lengths: list[int] = []
        peers: list[tuple[str, int]] = []
        at, lost_at, until_s = 0, -1, time.monotonic() + READ_S
        buffer, receive = self._buffer, self._sock.recvmsg_into
        with contextlib.suppress(BlockingIOError):
            while at < READ_OCTETS and (len(lengths) & LOOK_AT_CLOCK or not lengths or time.monotonic() < until_s):
                octets, ancillary, _, peer = receive([buffer[at:]], 32)
                if ancillary and self._dropped_since(ancillary) and lost_at < 0:
                    lost_at = len(lengths)
                at += octets
                lengths.append(octets)
                peers.append(peer)
        return Received(bytes(buffer[:at]), lengths, peers, lost_at)

    def _dropped_since(self, ancillary: list[tuple[int, int, bytes]]) -> bool:
        """Whether the kernel dropped datagrams between the last one and this one."""
        before = self._dropped_before
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == SO_RXQ_OVFL:
                self._dropped_before = COUNT.unpack(data)[0]
        return self._dropped_before != before

    async def _readable(self) -> None:
        """Wait until something is there."""
        waiting: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_reader(self._sock.fileno(), _wake, waiting)
        try:
            await waiting
        finally:
            if self._sock.fileno() >= 0:
                self._loop.remove_reader(self._sock.fileno())

    def dropped(self) -> int | None:
        """Return the kernel's count, which wraps at 2**32, without wrapping."""
        now = _dropped(self._sock)
        if now is None or self._seen is None:
            return None
        self._dropped += (now - self._seen) % (1 << 32)
        self._seen = now
        return self._dropped

    async def close(self) -> None:
        """Close."""
        if self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock.fileno())
        self._sock.close()


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


def _grant(sock: socket.socket, wanted_octets: int) -> int:
    """Ask for a receive buffer, past the system's limit if we may; return what was given (the kernel doubles it)."""
    for option in (SO_RCVBUFFORCE, socket.SO_RCVBUF):
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, option, wanted_octets)
            break
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2


def _dropped(sock: socket.socket) -> int | None:
    """Return the kernel's count of datagrams that it dropped for a socket; None where it keeps none."""
    try:
        return int(MEMINFO.unpack(sock.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, MEMINFO.size))[DROPS])
    except (OSError, struct.error):
        return None


async def bind(host: str, port: int, buffer_octets: int) -> UdpSocket:
    """Bind to an address. Raises OSError."""
    loop = asyncio.get_running_loop()
    rows = await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = rows[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        ready = UdpSocket(sock, buffer_octets)  # with its buffer, before the first datagram can come
        sock.bind(address)
    except BaseException:
        sock.close()
        raise
    return ready


class ConnectedSender:
    """See gateway.world.DatagramSender. Raises OSError when there is no way to the address."""

    def __init__(self, host: str, port: int) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            self._sock.connect((host, port))
        except OSError:
            self._sock.close()
            raise

    async def send(self, datagram: Buffer) -> bool:
        """Hand one to the kernel; while its buffer is full the loop is others'."""
        while True:
            try:
                self._sock.send(datagram)
            except BlockingIOError:
                await asyncio.sleep(SEND_AGAIN_S)
            except ConnectionRefusedError:  # one before it was refused; this one was not sent either
                return False
            except OSError as error:
                if error.errno != errno.EMSGSIZE:
                    raise
                return False
            else:
                return True

    async def close(self) -> None:
        """Close."""
        self._sock.close()
