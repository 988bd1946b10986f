"""What holds the octets: text of hexadecimal digits, bits in octets, KISS, captures, compressed files."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

import numpy as np

from gateway_codecs.batches import U8Array
from gateway_codecs.probe.findings import Notes, Storage

KISS_END, KISS_ESCAPE = 0xC0, 0xDB
KISS_ESCAPED = frozenset({0xDC, 0xDD})
LEAST_DIGITS = 32
HEX_TEXT = re.compile(rb"[0-9A-Fa-f\s]+")
MAGIC = {
    b"\x1f\x8b": ("gzip", "decompress it first: gunzip"),
    b"PK\x03\x04": ("zip", "unpack it first: unzip"),
    b"\xfd7zXZ\x00": ("xz", "decompress it first: unxz"),
    b"BZh": ("bzip2", "decompress it first: bunzip2"),
    b"\x28\xb5\x2f\xfd": ("zstandard", "decompress it first: unzstd"),
    b"\xd4\xc3\xb2\xa1": ("a capture of network packets (pcap)", "take the payload out first, for example with tshark"),
    b"\xa1\xb2\xc3\xd4": ("a capture of network packets (pcap)", "take the payload out first, for example with tshark"),
    b"\x0a\x0d\x0d\x0a": (
        "a capture of network packets (pcapng)",
        "take the payload out first, for example with tshark",
    ),
    b"RIFF": ("RIFF (a sound recording?)", "demodulate it first"),
}


@dataclass(frozen=True, slots=True)
class Unpacked:
    """The octets that a storage holds, uint8 (n,)."""

    storage: Storage
    octets: U8Array


def unpack(data: U8Array, notes: Notes) -> Unpacked:
    """Return what the recording, uint8 (n,), holds; of text and of bits in octets what they mean."""
    if len(data) >= 64 and int(data.max()) <= 1 and 0 < float(data.mean()) < 1:
        notes.found("storage", "one bit in each octet", len(data), len(data), "octets are 0 or 1")
        return Unpacked("bits", np.packbits(data[: len(data) // 8 * 8]))
    text = data.tobytes() if _is_hex(data[:4096]) else b""
    if text and _is_hex(data):
        digits = b"".join(text.split())
        if len(digits) % 2:
            notes.open("last digit", "the digits are odd in number: the last one was not looked at")
        notes.found("storage", "text, hexadecimal digits", len(data), len(data), "characters are digits or spaces")
        return Unpacked("hex", np.frombuffer(bytes.fromhex(digits[: len(digits) // 2 * 2].decode()), np.uint8))
    return Unpacked("octets", data)


def _is_hex(data: U8Array) -> bool:
    return len(data) >= LEAST_DIGITS and HEX_TEXT.fullmatch(data.tobytes()) is not None


def known_file(data: U8Array) -> tuple[str, str] | None:
    """Return (what file it is by its first octets, the way out), None when they say nothing."""
    head = data[:8].tobytes()
    return next((said for magic, said in MAGIC.items() if head.startswith(magic)), None)


def find_kiss(data: U8Array, whole_file: bool, notes: Notes) -> bool:
    """Whether these are KISS frames (C0 command data C0, DB as escape), and note what says so."""
    if len(data) < 8 or data[0] != KISS_END or (whole_file and data[-1] != KISS_END):
        return False
    frames = [frame for frame in data.tobytes().split(bytes([KISS_END])) if frame]
    commands = Counter(frame[0] & 0x0F for frame in frames if frame[0] != 0xFF)
    escapes = np.flatnonzero(data[:-1] == KISS_ESCAPE)
    escaped = int(np.isin(data[escapes + 1], list(KISS_ESCAPED)).sum())
    ends = int((data == KISS_END).sum())
    usual = commands[0] + commands[9]
    if len(frames) < 2 or escaped < len(escapes) or usual < 0.9 * len(frames) or ends < len(frames) + 1:
        return False
    notes.found("KISS frames", len(frames), usual, len(frames), "frames begin with the command for data or time (0, 9)")
    notes.found("KISS escapes", len(escapes), escaped, len(escapes), "escapes are followed by DC or DD")
    lengths = sorted({len(frame) - 1 for frame in frames if not frame[0] & 0x0F})
    notes.found(
        "lengths", f"{lengths[0]} to {lengths[-1]} octets" if lengths else "none", len(frames), len(frames), "frames"
    )
    return True
