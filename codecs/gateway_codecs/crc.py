"""CRC-16 of the frame error control field (CCSDS 132.0-B-3 4.1.6, 732.0-B-4 4.1.6) and CRC-32C of the journal."""

from __future__ import annotations

import anycrc
import numpy as np

from gateway_codecs.batches import BoolArray, U8Array

_CRC16 = anycrc.CRC(width=16, poly=0x1021, init=0xFFFF, refin=False, refout=False, xorout=0)
_CRC32C = anycrc.Model("CRC32C")


def crc16(data: bytes | memoryview) -> int:
    """Return the CRC-16 of the octets: polynomial 0x1021, preset all ones, no reflection, no final XOR."""
    return int(_CRC16.calc(data))


def crc32c(data: bytes | memoryview) -> int:
    """Return the CRC-32C (Castagnoli) of the octets."""
    return int(_CRC32C.calc(data))


def fecf_good(frames: U8Array) -> BoolArray:
    """Return for each frame, a row of uint8 (n, frame length), whether its last two octets are its CRC-16."""
    if not len(frames):
        return np.zeros(0, np.bool_)
    view = np.ascontiguousarray(frames).data
    size = frames.shape[1]
    calc, flat = _CRC16.calc, view.cast("B")
    return np.fromiter((calc(flat[at : at + size]) == 0 for at in range(0, len(flat), size)), np.bool_, len(frames))
