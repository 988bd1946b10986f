"""CRC-16 and CRC-32 of the frame error control field, and CRC-32C of the journal.

CRC-16: CCSDS 132.0-B-3 4.1.6, 732.0-B-4 4.1.6, 732.1-B-2 annex B1; CRC-32: 732.1-B-2 annex B2 (that of Proximity-1).
"""

from __future__ import annotations

from typing import Literal

import anycrc
import numpy as np

from gateway_codecs.batches import BoolArray, U8Array

_CRC16 = anycrc.CRC(width=16, poly=0x1021, init=0xFFFF, refin=False, refout=False, xorout=0)
_CRC32 = anycrc.CRC(width=32, poly=0x00A00805, init=0, refin=False, refout=False, xorout=0)
_CRC32C = anycrc.Model("CRC32C")


Fecf = bool | Literal["crc32"]
"""The frame error control field: none, of 16 bits, or of 32 bits."""


def fecf_octets(fecf: Fecf) -> int:
    """Return the length of the field."""
    return 4 if fecf == "crc32" else 2 * bool(fecf)


def frame_check(data: bytes | memoryview, fecf: Fecf) -> bytes:
    """Return the field of a frame whose other octets are given, empty when frames have none."""
    if not fecf:
        return b""
    return crc32(data).to_bytes(4, "big") if fecf == "crc32" else crc16(data).to_bytes(2, "big")


def crc16(data: bytes | memoryview) -> int:
    """Return the CRC-16 of the octets: polynomial 0x1021, preset all ones, no reflection, no final XOR."""
    return int(_CRC16.calc(data))


def crc32(data: bytes | memoryview) -> int:
    """Return the CRC-32 of the octets: polynomial 0x00A00805, preset zeros, no reflection, no final XOR."""
    return int(_CRC32.calc(data))


def crc32c(data: bytes | memoryview) -> int:
    """Return the CRC-32C (Castagnoli) of the octets."""
    return int(_CRC32C.calc(data))


def fecf_good(frames: U8Array, fecf: Fecf = True) -> BoolArray:
    """Return for each frame, a row of uint8 (n, frame length), whether it ends with its CRC, of 16 or 32 bits."""
    if not len(frames):
        return np.zeros(0, np.bool_)
    view = np.ascontiguousarray(frames).data
    size = frames.shape[1]
    calc, flat = (_CRC32 if fecf == "crc32" else _CRC16).calc, view.cast("B")
    return np.fromiter((calc(flat[at : at + size]) == 0 for at in range(0, len(flat), size)), np.bool_, len(frames))
