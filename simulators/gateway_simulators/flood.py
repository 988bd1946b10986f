"""AOS frames of one virtual channel in datagrams, as evenly as this machine can: what is missing shows in the counts.

SCID 42, VC 1, frame counts from 0, each with FECF; the data field is no packets (an opaque channel).
"""

from __future__ import annotations

import socket
import time
from typing import Any

from gateway_codecs.crc import crc16

SCID, VCID, FRAME_OCTETS = 42, 1, 1115
LAST_FRAMES, LAST_S = 5, 0.1
TOGETHER = 8


class Flood:
    """Sends frames; blocking. Raises OSError."""

    def __init__(self, host: str, port: int, frame_octets: int = FRAME_OCTETS) -> None:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        self._socket = socket.socket(family, kind, protocol)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 22)
        self._socket.connect(address)
        self._frame = bytearray(frame_octets)
        self._frame[:2] = (1 << 14 | SCID << 6 | VCID).to_bytes(2, "big")
        self.sent = 0

    def run(self, frames_per_s: float, duration_s: float) -> dict[str, Any]:
        """Send for so long, then a few more frames slowly: a loss at the very end shows too. Returns what was sent."""
        began = time.perf_counter()
        wanted = int(frames_per_s * duration_s)
        while self.sent < wanted:
            due = began + self.sent / frames_per_s
            if (early_s := due - time.perf_counter()) > 0:
                time.sleep(early_s)
            for _ in range(min(TOGETHER, wanted - self.sent)):
                self._send()
        took_s = time.perf_counter() - began
        for _ in range(LAST_FRAMES):
            time.sleep(LAST_S)
            self._send()
        self._socket.close()
        return {"sent": self.sent, "took_s": took_s, "frames_per_s": wanted / took_s}

    def _send(self) -> None:
        frame = self._frame
        frame[2:5] = (self.sent & 0xFFFFFF).to_bytes(3, "big")
        frame[-2:] = crc16(memoryview(frame)[:-2]).to_bytes(2, "big")
        self._socket.send(frame)
        self.sent += 1
