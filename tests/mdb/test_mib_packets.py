"""Packets of a MIB: which one it is, where its values stand, repeated, variable and deduced."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from gateway_codecs.mdb.columns import Validity
from gateway_codecs.mdb.model import Database, Repeat
from gateway_codecs.mdb.report import Reading
from tests.mdb.mibs import Bits, decoded, mib, only, pcf, remarks, table

APID = 100
OFFSET = "|" * 11  # between the name and the last column of vpd
BYTES = [pcf(name, 3, 4) for name in "ABCDEFGH"]


def types_of(database: Database, packets: Sequence[bytes]) -> list[str]:
    """Return the type of each packet, without the system; empty = none."""
    found = [""] * len(packets)
    for one in decoded(database, list(packets)):
        for row in one.rows.tolist():
            found[row] = one.packet_type.rpartition("/")[2]
    return found


def packet(body: bytes, kind: int = 3, subtype: int = 25, apid: int = APID) -> bytes:
    """Return a packet with this behind a data field header of three octets."""
    return Bits(9 + len(body)).header(apid, kind, subtype).octets()[:9] + body


def test_identification_by_additional_fields() -> None:
    """PI1 and PI2 tell packets of one type apart; the row of pic for an APID goes before that for any."""
    reading = mib(
        pcf=table(*BYTES),
        pid=table(
            "3|25|100|1|0|11|||-1|3", "3|25|100|2|7|12|||-1|3", "3|25|100|2|8|13|||-1|3",
            "3|25|101|5|0|14|||-1|3", "5|1|100|0|0|15|||-1|3",
        ),
        pic=table("3|25|9|8|10|16|100", "3|25|11|4|-1|0|", "5|1|-1|0|-1|0"),
    )  # fmt: skip
    assert not remarks(reading)
    packets = [
        packet(b"\x01\x00\x00"), packet(b"\x02\x00\x07"), packet(b"\x02\x00\x08"), packet(b"\x02\x00\x09"),
        packet(b"\x00\x00\x5f", apid=101), packet(b"\x00\x00\x6f", apid=101), packet(b"", 5, 1), packet(b"", 5, 2),
        packet(b"\x01"),
    ]  # fmt: skip
    wanted = ["SPID_11", "SPID_12", "SPID_13", "", "SPID_14", "", "SPID_15", "", ""]
    assert types_of(reading.database, packets) == wanted


def test_packets_without_a_pus_header() -> None:
    """Type 0 means that there is no service type to look at: the APID is enough."""
    reading = mib(pcf=table(*BYTES), pid=table("0|0|300|0|0|1|||-1|0"), plf=table("A|1|6|0"), tpcf="1|TIME|7")
    found = only(reading.database, bytes([0x01, 0x2C, 0xC0, 0, 0, 0, 99]))
    assert found.packet_type == "/M/TIME"
    assert found.columns["/M/A"].engineering.tolist() == [99]


def test_supercommutation() -> None:
    """NBOCC samples stand LGOCC bits apart from start to start, each at its own time."""
    reading = mib(
        pcf=table(*BYTES, pcf("S", 4, 0)),
        pid=table("3|25|100|0|0|1|||-1|3"),
        plf=table("A|1|9|0|3|16|-250|125", "S|1|10|4|3|16", "B|1|15|0|1|0|40"),
    )
    assert not remarks(reading)
    found = only(reading.database, packet(bytes([10, 0x0F, 20, 0x07, 30, 0x08, 40])))
    assert found.columns["/M/A"].engineering.tolist() == [[10, 20, 30]]
    assert found.columns["/M/S"].engineering.tolist() == [[-1, 7, -8]]
    times = found.columns["/M/A"].time_offset_ns
    assert times is not None
    assert times.tolist() == [-250_000_000, -125_000_000, 0]
    late = found.columns["/M/B"]
    assert late.engineering.tolist() == [[40]]
    assert late.time_offset_ns is not None
    assert late.time_offset_ns.tolist() == [40_000_000]


def test_samples_that_would_overlap_are_read_back_to_back() -> None:
    """A step (LGOCC) below the width of a sample is a defect that is told."""
    reading = mib(pcf=table(*BYTES), pid=table("3|25|100|0|0|1|||-1|3"), plf=table("A|1|9|0|3|0"))
    assert remarks(reading) == ["mib/plf.dat:1: plf A in 1: LGOCC 0 is less than its 8 bits: read back to back"]
    assert only(reading.database, packet(b"\1\2\3")).columns["/M/A"].engineering.tolist() == [[1, 2, 3]]


def variable(*rows: str, parameters: Sequence[str] = (), header: int = 3) -> Reading:
    """Return a MIB with one variable packet of structure 7."""
    return mib(
        pcf=table(*BYTES, *parameters), pid=table(f"3|25|100|0|0|1|||7|{header}"), vpd=table(*rows), tpcf="1|V|0"
    )


def values(reading: Reading, body: bytes) -> dict[str, object]:
    """Return the engineering values of a packet by name, headers left out."""
    columns = only(reading.database, packet(body)).columns
    plain = {name.rpartition("/")[2]: column for name, column in columns.items()}
    return {
        name: column.engineering[0].tolist()
        for name, column in plain.items()
        if not name.startswith(("CCSDS_", "PUS_")) and (column.validity[0] == Validity.VALID).all() and column.raw.size
    }


def test_groups_within_groups() -> None:
    """A counter repeats the next rows, another counter among them too; what follows stands behind all of them."""
    reading = variable("7|1|A|3", "7|2|B", "7|3|C|1", "7|4|D", "7|5|E")
    assert not remarks(reading)
    found = values(reading, bytes([2, 11, 2, 21, 22, 12, 1, 23, 99]))
    assert found == {"A": 2, "B": [11, 12], "C": [2, 1], "D": [21, 22, 23], "E": 99} or found["D"] == [
        [21, 22],
        [23, 0],
    ]
    assert values(reading, bytes([0, 99])) == {"A": 0, "E": 99}


def test_a_fixed_number_of_repetitions() -> None:
    """FIXREP says how often, and the counter itself stands in no packet."""
    reading = variable("7|1|A", "7|2|B|2|3", "7|3|C", "7|4|D", "7|5|E")
    assert values(reading, bytes([1, 10, 20, 11, 21, 12, 22, 9])) == {
        "A": 1, "C": [10, 11, 12], "D": [20, 21, 22], "E": 9,
    }  # fmt: skip


def test_padding_and_offsets() -> None:
    """PCF_WIDTH is the room a parameter takes, OFFSET moves the next one, also back."""
    reading = variable("7|1|W", "7|2|A", f"7|3|B{OFFSET}8", f"7|4|C{OFFSET}-8", parameters=[pcf("W", 3, 0, WIDTH=16)])
    assert not remarks(reading)
    assert values(reading, bytes([0xA5, 0xFF, 1, 2, 3])) == {"W": 10, "A": 1, "B": 3, "C": 3}


def test_a_choice_of_structures() -> None:
    """CHOICE: the value is the number of the structure that follows."""
    reading = variable("7|1|A|||Y", "8|1|B", "8|2|C", "9|1|D|1", "9|2|E")
    assert not remarks(reading)
    assert values(reading, bytes([8, 1, 2])) == {"A": 8, "B": 1, "C": 2}
    assert values(reading, bytes([9, 2, 3, 4])) == {"A": 9, "D": 2, "E": [3, 4]}
    assert values(reading, bytes([10, 2, 3, 4])) == {"A": 10}


DEDUCED = [
    pcf("N", 3, 4), pcf("X", 11, 0, RELATED="N"), pcf("P1", 3, 12, PID=1), pcf("P2", 5, 1, PID=2),
    pcf("P3", 3, 0, PID=3, WIDTH=8), pcf("Y", 11, 0, WIDTH=32), pcf("Z", 11, 0),
]  # fmt: skip


def test_deduced_parameters() -> None:
    """A deduced parameter is the one whose on-board number stands before it, as wide as that one is."""
    reading = variable("7|1|N||||Y", "7|2|X", "7|3|A", parameters=DEDUCED)
    assert not remarks(reading)
    assert values(reading, bytes([1, 0x12, 0x34, 9])) == {"N": 1, "P1": 0x1234, "A": 9}
    assert values(reading, bytes([2, 0x3F, 0x80, 0, 0, 9])) == {"N": 2, "P2": 1.0, "A": 9}
    assert values(reading, bytes([3, 0x50, 9])) == {"N": 3, "P3": 5, "A": 9}


def test_deduced_parameters_in_a_place_of_fixed_width() -> None:
    """With a width of its own the deduced parameter always takes that; its number is the last PIDREF."""
    reading = variable("7|1|N||||Y", "7|2|Y", "7|3|A", parameters=DEDUCED)
    assert values(reading, bytes([1, 0x12, 0x34, 0, 0, 9])) == {"N": 1, "P1": 0x1234, "A": 9}
    assert values(reading, bytes([77, 0x12, 0x34, 0, 0, 9])) == {"N": 77, "A": 9}


def test_repeated_deduced_parameters() -> None:
    """A list of numbers and values, each value of another type: the columns of each parameter have its samples."""
    reading = variable("7|1|A|2", "7|2|N||||Y", "7|3|X", parameters=DEDUCED)
    found = values(reading, bytes([3, 1, 0x12, 0x34, 2, 0x3F, 0x80, 0, 0, 1, 0, 5]))
    assert found["A"] == 3
    assert found["N"] == [1, 2, 1]
    column = only(reading.database, packet(bytes([3, 1, 0x12, 0x34, 2, 0x3F, 0x80, 0, 0, 1, 0, 5]))).columns["/M/P1"]
    assert column.engineering[0][column.validity[0] == Validity.VALID].tolist() == [0x1234, 5]


def test_the_size_of_the_data_field_header() -> None:
    """DFHSIZE is behind the primary header, unless fixed packets show that it was counted from the packet's start."""
    reading = variable("7|1|A", header=5)
    assert values(reading, bytes([0, 0, 42])) == {"A": 42}
    shown = mib(
        pcf=table(*BYTES),
        pid=table("3|25|100|0|0|1|||7|12", "3|26|100|0|0|2|||-1|12"),
        vpd="7|1|A",
        plf=table("B|2|12|0"),
    )
    assert len(remarks(shown)) == 1
    assert values(shown, bytes([0, 0, 0, 42])) == {"A": 42}


DEFECTS = {
    "plf: no such parameter": ("plf", "NONE|1|9|0", "plf.dat:1: plf NONE in 1: there is no such parameter in pcf"),
    "plf: no such packet": ("plf", "A|9|9|0", "plf.dat:1: plf A: SPID 9: there is no such packet in pid"),
    "plf: a bit beyond the octet": ("plf", "A|1|9|8", "plf.dat:1: plf A in 1: octet 9 bit 8 is no place"),
    "plf: beyond every packet": ("plf", "A|1|99999999|0", "plf.dat:1: plf A in 1: octet 99999999 bit 0 is no place"),
    "plf: twice": ("plf", "A|1|9|0\nA|1|9|0", "plf.dat:2: plf A 1: stands in line 1 already"),
    "plf: beyond its packet": ("plf", "A|1|20|0", "plf A in 1: ends at bit 168, the packet (tpcf) at bit 160"),
    "pid: twice": ("pid", "3|25|100|0|0|1|||-1|3\n4|1|100|0|0|1|||-1|3", "pid.dat:2: pid 1: stands in line 1 already"),
    "pid: the same packet": (
        "pid", "3|25|100|0|0|1|||-1|3\n3|25|100|0|0|2|||-1|3", "pid.dat:2: pid 2: is known by the same values as 1",
    ),
    "pid: no structure": ("pid", "3|25|100|0|0|1|||5|3", "pid.dat:1: pid 1: TPSD 5: has no rows in vpd"),
    "pid: no room for a type": ("pid", "3|25|100|0|0|1|||-1|1", "pid.dat:1: pid 1: DFHSIZE 1: has no room"),
    "pid: no field to look at": ("pid", "3|25|100|4|0|1|||-1|3", "pid.dat:1: pid 1: PI1_VAL 4: pic has no such field"),
    "pid: no number": ("pid", "x|25|100|0|0|1|||-1|3", "pid.dat:1: pid x: TYPE 'x': is no whole number"),
    "plf: samples for ever": ("plf", "A|1|9|0|70000|8", "plf.dat:1: plf A in 1: 70000 occurrences (NBOCC) cannot be"),
    "plf: times for ever": ("plf", "A|1|9|0|2|8|0|999999999999", "plf.dat:1: plf A in 1: TIME 0, TDOCC 999999999999"),
    "plf: a number for ever": ("plf", "A|1|99999999999999999999|0", "is too large: below 1,000,000,000,000"),
    "tpcf: no such packet": ("tpcf", "9|X|2", "tpcf.dat:1: tpcf 9: there is no such packet in pid"),
    "vpd: no such parameter": ("vpd", "7|1|NONE", "vpd.dat:1: vpd 7: no packet in pid has this structure"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "text", "said"), DEFECTS.values(), ids=DEFECTS)
def test_defects_are_told_and_the_rest_is_read(name: str, text: str, said: str) -> None:
    """Each defect is told with file and line; parameters, and other packets, are there."""
    tables = {
        "pcf": table(*BYTES),
        "pid": "3|25|100|0|0|1|||-1|3\n",
        "plf": "B|1|9|0\n",
        "tpcf": "1|P|20\n",
    }
    tables[name] = text.replace("\n", "\r\n") if name in {"pid", "vpd"} else text + "\r\n" + tables[name]
    reading = mib(**tables)
    assert any(said in one for one in remarks(reading)), remarks(reading)
    assert "/M/A" in reading.database.parameters
    if name != "pid":
        found = only(reading.database, packet(b"\x07"))
        assert found.columns["/M/B"].engineering.tolist() == [7]


VARIABLE_DEFECTS = {
    "a parameter that is not there": (("7|1|A", "7|2|NONE"), "vpd 7 2 NONE: there is no such parameter"),
    "a group for ever": (("7|1|A", "7|2|A|1|70000", "7|3|B"), "vpd 7 2 A: FIXREP 70000"),
    "too few rows for a group": (("7|1|A|3", "7|2|B"), "vpd 7 1 A: GRPSIZE 3: 1 rows follow"),
    "a counter that is no number": (("7|1|R|1", "7|2|B"), "vpd 7 1 R: is no whole number: it counts nothing"),
    "a choice by no number": (("7|1|R|||Y",), "vpd 7 1 R: is no whole number, so it chooses nothing"),
    "a deduced one without a number": (("7|1|A", "7|2|Q"), "pcf Q: its number '' (RELATED, or the last PIDREF)"),
}


@pytest.mark.parametrize(("rows", "said"), VARIABLE_DEFECTS.values(), ids=VARIABLE_DEFECTS)
def test_defects_of_variable_packets(rows: tuple[str, ...], said: str) -> None:
    """What cannot be walked is told, and the values before it are read."""
    reading = variable(*rows, parameters=[pcf("R", 5, 1), pcf("Q", 11, 0)])
    assert any(said in one for one in remarks(reading)), remarks(reading)
    columns = only(reading.database, packet(bytes([1, 2, 3, 4]))).columns
    first = rows[0].split("|")[2]
    assert columns[f"/M/{first}"].validity.tolist() == [Validity.VALID]


def test_a_group_to_the_end_is_told_as_not_read() -> None:
    """FIXREP -1 is not supported, and says so."""
    reading = variable("7|1|A", "7|2|B|1|-1", "7|3|C")
    assert any("FIXREP -1" in one for one in remarks(reading, "ignored"))


def test_packets_that_are_not_meant_to_be_read() -> None:
    """Packets that are not valid, or made on ground with an APID of no space packet, are left out and told."""
    reading = mib(
        pcf=table(*BYTES),
        pid=table("3|25|100|0|0|1|||-1|3|||N", "3|25|5000|0|0|2|||-1|3", "3|25|101|0|0|3|||-1|3||||1|W"),
        plf=table("A|1|9|0", "A|2|9|0", "A|3|9|0"),
    )
    assert not remarks(reading)
    assert [one.partition(": ")[2].partition(":")[0] for one in remarks(reading, "ignored")] == [
        "pid 1", "pid 2", "pid",
    ]  # fmt: skip
    assert types_of(reading.database, [packet(b"\1"), packet(b"\1", apid=101)]) == ["", "SPID_3"]


def test_names_that_clash() -> None:
    """Two packets of one name have two names; a parameter that is called like a header field is told."""
    reading = mib(
        pcf=table(*BYTES, pcf("CCSDS_APID", 3, 4), pcf("A/B", 3, 4), pcf("A_B", 3, 4)),
        pid=table("3|25|100|0|0|1|||-1|3", "3|26|100|0|0|2|||-1|3"),
        tpcf=table("1|SAME NAME|0", "2|SAME NAME|0"),
    )
    types = types_of(reading.database, [packet(b""), packet(b"", 3, 26)])
    assert types == ["SAME_NAME", "SPID_2"]
    assert [one.partition(": ")[2].partition(":")[0] for one in remarks(reading)] == ["pcf CCSDS_APID", "pcf A_B"]
    assert reading.database.find_parameter("A/B") == ["/M/A_B"]


def test_repeats_are_plain_values() -> None:
    """A sample that occurs once, at the packet's time, is no repetition."""
    reading = mib(pcf=table(*BYTES), pid=table("3|25|100|0|0|1|||-1|3"), plf=table("A|1|9|0|1|0|0|1", "B|1|10|0|2|8"))
    entries = reading.database.containers["/M/SPID_1"].entries
    assert [entry.repeat for entry in entries] == [None, Repeat(2, 0, 1_000_000)]  # type: ignore[union-attr]
