"""MIBs as text for tests, and packets built from the rows themselves: bits put at their places with plain integers."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from gateway_codecs.mdb.columns import Decoded
from gateway_codecs.mdb.decoder import Decoder
from gateway_codecs.mdb.mib import MibForm, read_mib
from gateway_codecs.mdb.model import Database
from gateway_codecs.mdb.report import Budget, Reading

SHARED = Path(__file__).parents[3] / "shared" / "data"

PCF = (
    "NAME", "DESCR", "PID", "UNIT", "PTC", "PFC", "WIDTH", "VALID", "RELATED", "CATEG", "NATUR", "CURTX", "INTER",
    "USCON", "DECIM", "PARVAL", "SUBSYS", "VALPAR", "SPTYPE", "CORR", "OBTID", "DARC", "ENDIAN", "DESCR2",
)  # fmt: skip
SIZES = {(3, pfc): pfc + 4 for pfc in range(13)} | {(3, 13): 24, (3, 14): 32, (3, 15): 48, (3, 16): 64, (1, 0): 1}
SIZES |= {(4, pfc): size for (ptc, pfc), size in SIZES.items() if ptc == 3}
SIZES |= {(2, n): n for n in range(1, 33)} | {(5, 1): 32, (5, 2): 64, (9, 18): 56, (8, 8): 64}


def rows(folder: Path, table: str) -> list[list[str]]:
    """Return the rows of a table by nothing but splitting lines."""
    return [line.split("\t") for line in (folder / f"{table}.dat").read_text("latin-1").splitlines() if line.strip()]


def folder_of(name: str) -> dict[str, bytes]:
    """Return the tables of a real MIB."""
    return {path.stem.lower(): path.read_bytes() for path in sorted((SHARED / "mdb" / name).glob("*.dat"))}


def mib(budget: Budget = Budget(), form: MibForm = MibForm(), **tables: str) -> Reading:  # noqa: B008 (frozen)
    """Read a MIB of tables given as text: rows by line, cells between `|`; one that packets need is there anyway."""
    given = {"pcf": "", "pid": "", "vdf": "M"} | tables
    return read_mib({name: text.replace("|", "\t").encode() for name, text in given.items()}, "mib", budget, form)


def pcf(name: str, ptc: int, pfc: int, **more: object) -> str:
    """Return a row of `pcf`; `more` by column name."""
    cells: dict[str, object] = {"NAME": name, "PTC": ptc, "PFC": pfc, "CATEG": "N", "NATUR": "R"} | more
    return "|".join(str(cells.get(column, "")) for column in PCF)


def table(*lines: str) -> str:
    """Return lines as a table."""
    return "".join(line + "\r\n" for line in lines)


class Bits:
    """A packet under construction: one integer, and bits put into it."""

    def __init__(self, octets: int) -> None:
        self.size, self.value = 8 * octets, 0

    def put(self, at: int, size: int, value: int) -> None:
        """Put the low `size` bits of a value at bit `at`, whatever was there."""
        shift = self.size - at - size
        mask = (1 << size) - 1
        self.value = self.value & ~(mask << shift) | (value & mask) << shift

    def get(self, at: int, size: int) -> int:
        """Return bits as they stand there."""
        return self.value >> (self.size - at - size) & (1 << size) - 1

    def octets(self) -> bytes:
        """Return the packet."""
        return self.value.to_bytes(self.size // 8, "big")

    def header(self, apid: int, kind: int = 3, subtype: int = 25, count: int = 0) -> Bits:
        """Put a primary header, and the first octets of a PUS one."""
        for at, size, value in (
            (0, 3, 0), (3, 1, 0), (4, 1, 1), (5, 11, apid), (16, 2, 3), (18, 14, count), (32, 16, self.size // 8 - 7),
            (48, 8, 0x10), (56, 8, kind), (64, 8, subtype),
        ):  # fmt: skip
            self.put(at, size, value)
        return self


def decoded(database: Database, packets: list[bytes]) -> list[Decoded]:
    """Decode packets that stand back to back."""
    lengths = np.array([len(packet) for packet in packets], np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)
    return Decoder(database).decode(np.frombuffer(b"".join(packets), np.uint8), offsets, lengths)


def only(database: Database, packet: bytes) -> Decoded:
    """Decode one packet that is of a known type."""
    (found,) = decoded(database, [packet])
    return found


def random_bits(packet: Bits, first_octet: int, seed: int) -> Bits:
    """Fill what stands behind the header."""
    packet.put(8 * first_octet, packet.size - 8 * first_octet, random.Random(seed).getrandbits(packet.size))
    return packet


def remarks(reading: Reading, kind: str = "wrong") -> list[str]:
    """Return remarks of a kind as one text each."""
    return [f"{one.where}: {one.what}: {one.why}" for one in reading.remarks if one.kind == kind]


def spids(folder: Path) -> Mapping[str, list[str]]:
    """Return the rows of `pid` by SPID."""
    return {row[5]: row for row in rows(folder, "pid")}
