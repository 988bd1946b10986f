"""Type codes of MIB parameters: every PTC and PFC, in both byte orders, against values made with plain Python."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from gateway_codecs.mdb.columns import Column
from gateway_codecs.mdb.mib import MibForm
from gateway_codecs.mdb.model import Database
from gateway_codecs.mdb.report import Reading
from gateway_codecs.time_codes import CUC_AGENCY, TimeCode
from gateway_codecs.time_scales import parse_utc
from tests.mdb.mibs import Bits, mib, only, pcf, remarks, table

APID, TAI_2000 = 100, parse_utc("2000-01-01T00:00:00Z")


def one_parameter(ptc: int, pfc: int, form: MibForm = MibForm(), **more: object) -> Reading:  # noqa: B008 (frozen)
    """Return a MIB with one packet that holds one parameter, P at octet 10."""
    return mib(
        form=form,
        pcf=table(pcf("P", ptc, pfc, **more)),
        pid=table(f"3|25|{APID}|0|0|1|Packet||-1|3"),
        plf=table("P|1|10|0"),
    )


def value(database: Database, size: int, content: int, at: int = 80) -> Column:
    """Return the column of P, its bits being `content`."""
    packet = Bits(10 + (size + at - 80 + 7) // 8).header(APID)
    packet.put(at, size, content)
    return only(database, packet.octets()).columns["/M/P"]


INTEGERS = [(3, pfc, pfc + 4) for pfc in range(13)] + [(3, 13, 24), (3, 14, 32), (3, 15, 48), (3, 16, 64)]
INTEGERS += [(2, n, n) for n in (1, 5, 8, 24, 32)] + [(1, 0, 1), (1, 8, 8)]


@pytest.mark.parametrize(("ptc", "pfc", "size"), INTEGERS)
def test_whole_numbers(ptc: int, pfc: int, size: int) -> None:
    """Unsigned, enumerated and boolean types have the width of the table and are unsigned."""
    reading = one_parameter(ptc, pfc)
    assert not remarks(reading)
    for content in (0, 1, (1 << size) - 1, 1 << (size - 1)):
        column = value(reading.database, size, content)
        assert column.raw.tolist() == [content]
        assert column.engineering.tolist() == [bool(content) if ptc == 1 else content]


@pytest.mark.parametrize(("pfc", "size"), [(pfc, size) for ptc, pfc, size in INTEGERS if ptc == 3])
def test_signed_numbers(pfc: int, size: int) -> None:
    """PTC 4 is two's complement of the same widths."""
    reading = one_parameter(4, pfc)
    for number in (0, -1, -(1 << (size - 1)), (1 << (size - 1)) - 1):
        assert value(reading.database, size, number).engineering.tolist() == [number]


def test_real_numbers() -> None:
    """PTC 5: IEEE 754 of 32 and 64 bits, MIL-STD-1750A of 32 and 48 (values of the standard's table)."""
    single, double = (int.from_bytes(struct.pack(code, -1.5e3), "big") for code in (">f", ">d"))
    assert value(one_parameter(5, 1).database, 32, single).engineering.tolist() == [-1500]
    assert value(one_parameter(5, 2).database, 64, double).engineering.tolist() == [-1500]
    assert value(one_parameter(5, 3).database, 32, 0x60000004).engineering.tolist() == [12]
    assert value(one_parameter(5, 3).database, 32, 0xA0000000).engineering.tolist() == [-0.75]
    assert value(one_parameter(5, 4).database, 48, 0x400000040000).engineering.tolist() == [8]


def test_strings() -> None:
    """Bit, octet and character strings, of fixed length and with their length in front."""
    assert bytes(value(one_parameter(6, 12).database, 12, 0xABC).raw[0]) == b"\xab\xc0"
    assert bytes(value(one_parameter(7, 3).database, 24, 0x00FF01).raw[0]) == b"\x00\xff\x01"
    assert value(one_parameter(8, 3, CATEG="T").database, 24, 0x414200).engineering.tolist() == [b"AB"]
    latin = value(one_parameter(8, 1, CATEG="T").database, 8, 0xB0)
    assert latin.engineering.tolist() == ["°".encode()]
    counted = one_parameter(7, 0).database
    assert bytes(value(counted, 24, 0x02ABCD).raw[0]) == b"\xab\xcd"
    assert value(one_parameter(8, 0, CATEG="T").database, 32, 0x03414243).engineering.tolist() == [b"ABC"]
    bits = one_parameter(6, 0, MibForm(length_bits=16)).database
    assert bytes(value(bits, 28, 0x000CABC).raw[0]) == b"\xab\xc0"


def test_a_bit_string_with_texts_is_a_number() -> None:
    """A status parameter of PTC 6 has labels, so its bits are read as a number."""
    reading = mib(
        pcf=table(pcf("P", 6, 5, CATEG="S", CURTX="T")),
        pid=table(f"3|25|{APID}|0|0|1|Packet||-1|3"),
        plf=table("P|1|10|3"),
        txf="T||U|1",
        txp="T|9|9|NINE",
    )
    column = value(reading.database, 5, 9, at=83)
    assert [column.labels[k] for k in column.engineering] == ["NINE"]


@pytest.mark.parametrize("pfc", range(3, 19))
def test_cuc_times(pfc: int) -> None:
    """PTC 9 and 10 of PFC 3 to 18 are CUC of 1 to 4 octets of seconds and 0 to 3 of fractions, 10 with a sign."""
    coarse, fine = (pfc - 3) // 4 + 1, (pfc - 3) % 4
    size = 8 * (coarse + fine)
    form = MibForm(cuc=TimeCode("cuc", epoch="2000-01-01T00:00:32Z", scale="tai"))
    content = 100 << 8 * fine | ((1 << 8 * fine) >> 1)
    column = value(one_parameter(9, pfc, form).database, size, content)
    wanted_ns = TAI_2000 + 100 * 10**9 + (5 * 10**8 if fine else 0)
    assert abs(int(column.engineering[0]) - wanted_ns) <= 1
    assert bytes(column.raw[0]) == content.to_bytes(size // 8, "big")
    relative = value(one_parameter(10, pfc).database, size, -content)
    assert relative.engineering.tolist() == [-100.5 if fine else -100]


def test_cds_times_and_a_p_field() -> None:
    """PTC 9 of PFC 1 and 2 is CDS without and with microseconds; PFC 0 has its layout in front."""
    days, ms, us = 15340, 3_600_000, 7
    first = value(one_parameter(9, 1).database, 48, days << 32 | ms)
    assert int(first.engineering[0]) == parse_utc("2000-01-01T01:00:00Z")
    second = value(one_parameter(9, 2).database, 64, days << 48 | ms << 16 | us)
    assert int(second.engineering[0]) == parse_utc("2000-01-01T01:00:00.000007Z")
    told = CUC_AGENCY << 4 | (4 - 1) << 2 | 1
    form = MibForm(cuc=TimeCode("cuc", epoch="2000-01-01T00:00:32Z", scale="tai"))
    column = value(one_parameter(9, 0, form).database, 48, told << 40 | 60 << 8 | 128)
    assert int(column.engineering[0]) == TAI_2000 + 60_500_000_000


@pytest.mark.parametrize(("ptc", "pfc", "size"), [(3, 12, 16), (3, 13, 24), (3, 14, 32), (4, 16, 64), (5, 1, 32)])
def test_little_endian(ptc: int, pfc: int, size: int) -> None:
    """ENDIAN L swaps the octets of the field."""
    content = 0x8123456789ABCDEF & (1 << size) - 1 if ptc != 5 else 0xC0490FDB
    swapped = int.from_bytes(content.to_bytes(size // 8, "little"), "big")
    big = value(one_parameter(ptc, pfc).database, size, content)
    little = value(one_parameter(ptc, pfc, ENDIAN="L").database, size, swapped)
    np.testing.assert_array_equal(big.engineering, little.engineering)


@pytest.mark.parametrize(("ptc", "pfc"), [(3, 0), (8, 2), (9, 6)])
def test_little_endian_of_no_whole_octets(ptc: int, pfc: int) -> None:
    """ENDIAN L of anything but numbers of whole octets is a defect that is told; the value is read as it stands."""
    reading = one_parameter(ptc, pfc, ENDIAN="L")
    assert [one.where.line for one in reading.remarks if one.kind == "wrong"] == [1]
    assert "/M/P" in reading.database.parameters
    assert reading.database.types["/M/P"].encoding == one_parameter(ptc, pfc).database.types["/M/P"].encoding


@pytest.mark.parametrize(
    ("ptc", "pfc"), [(3, 17), (4, -1), (5, 5), (2, 0), (2, 65), (1, 65), (9, 19), (10, 2), (12, 1)]
)
def test_unknown_codes(ptc: int, pfc: int) -> None:
    """A type code without a meaning is told with its line, the parameter has no values, the packet is still known."""
    reading = one_parameter(ptc, pfc)
    said = remarks(reading)
    assert f"mib/pcf.dat:1: pcf P: PTC {ptc} PFC {pfc} is not known: it is not decoded" in said
    assert reading.database.types["/M/P"].encoding is None
    assert only(reading.database, Bits(12).header(APID).octets()).packet_type == "/M/SPID_1"


def test_saved_synthetic_and_other_natures() -> None:
    """What is made on ground is a parameter without values in packets; a constant has its value."""
    reading = mib(
        pcf=table(
            pcf("SAVED", 13, 0, NATUR="S"),
            pcf("DYNAMIC", 5, 1, NATUR="D"),
            pcf("SPEL", 3, 12, NATUR="P"),
            pcf("HARD", 3, 12, NATUR="H"),
            pcf("CONST", 5, 2, NATUR="C", PARVAL="2,5"),
            pcf("TEXT", 8, 4, NATUR="C", CATEG="T", PARVAL="ab"),
        ),
        pid=table(f"3|25|{APID}|0|0|1|Packet||-1|3"),
        plf=table("HARD|1|10|0"),
    )
    parameters, types = reading.database.parameters, reading.database.types
    assert all(one.encoding is None for name, one in types.items() if name in parameters and one.where.file)
    sources = {name.rpartition("/")[2]: str(one.source) for name, one in parameters.items() if one.where.file}
    assert sources == dict.fromkeys(["SAVED", "DYNAMIC", "SPEL", "HARD"], "ground") | dict.fromkeys(
        ["CONST", "TEXT"], "constant"
    )
    assert (parameters["/M/CONST"].initial, parameters["/M/TEXT"].initial) == (2.5, "ab")
    assert [one.what for one in reading.remarks if one.kind == "ignored"] == [
        "pcf: synthetic parameters (4 times, first here)"
    ]
    assert remarks(reading) == [
        "mib/plf.dat:1: plf HARD in 1: a parameter that is in no packet, or cannot be decoded: left out"
    ]
