"""The ccsdspy CSV form: columns, arrays, byte order, calibrations, defects told by line, hostile files."""

from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_codecs.mdb.canonical import from_text, to_text
from gateway_codecs.mdb.ccsdspy_csv import read_ccsdspy
from gateway_codecs.mdb.columns import Decoded, Validity
from gateway_codecs.mdb.decoder import Decoder
from gateway_codecs.mdb.model import Polynomial, State, States
from gateway_codecs.mdb.report import Budget, DatabaseError, Reading

HEAD = "name,data_type,bit_length"


def read(text: str, budget: Budget = Budget()) -> Reading:  # noqa: B008 (frozen)
    """Read a file of APID 5."""
    return read_ccsdspy(text.encode(), "x.csv", 5, budget)


def decode(reading: Reading, body: bytes, apid: int = 5) -> Decoded:
    """Decode one packet."""
    packet = bytes([0, apid, 0xC0, 0]) + (len(body) - 1).to_bytes(2, "big") + body
    (found,) = Decoder(reading.database).decode(
        np.frombuffer(packet, np.uint8), np.zeros(1, np.int64), np.array([len(packet)], np.int64)
    )
    return found


def said(reading: Reading) -> list[str]:
    """Return the remarks as text."""
    return [f"{one.where}: {one.what}: {one.why}" for one in reading.remarks]


def test_the_packet_and_its_fields() -> None:
    """Fields follow each other behind the primary header; filling is no parameter; counts say what was read."""
    reading = read(f'{HEAD}\nA,uint,4\nPAD,fill,4\nB,int,8\nC,float,32\nD,str,16\nE,"uint(2, 2)",4\n')
    assert not reading.remarks
    assert reading.counts == {"rows": 6, "uint": 1, "fill": 1, "int": 1, "float": 1, "str": 1, "uint array": 1}
    found = decode(reading, bytes.fromhex("9fff3fc000004142" + "1234"))
    assert found.packet_type == "/x/PACKET"
    values = {name: column.engineering[0].tolist() for name, column in found.columns.items() if "CCSDS" not in name}
    assert values == {"/x/A": 9, "/x/B": -1, "/x/C": 1.5, "/x/D": b"AB", "/x/E": [[1, 2], [3, 4]]}
    assert str(reading.database.parameters["/x/B"].where) == "x.csv:4"


def test_whose_packets_they_are() -> None:
    """With an APID only its packets are of this type; without one all are, and the report says so."""
    text = f"{HEAD}\nA,uint,8\n".encode()
    of_all = read_ccsdspy(text, "folder/x.csv")
    assert decode(of_all, b"\7", apid=99).columns["/x/A"].raw.tolist() == [7]
    assert [one.kind for one in of_all.remarks] == ["ignored"]
    with pytest.raises(ValueError, match="unpack"):
        decode(read_ccsdspy(text, "x.csv", 5), b"\7", apid=99)
    with pytest.raises(DatabaseError, match="APID 2048"):
        read_ccsdspy(text, "x.csv", 2048)


def test_columns_of_our_own() -> None:
    """Byte order, unit and description; columns in any order; one that is not known is told."""
    reading = read(
        "unit,name,bit_length,data_type,byte_order,description,who\nK,A,16,uint,little,warm,me\n,B,24,uint,231,,\n"
    )
    assert said(reading) == ["x.csv:1: column 'who': is not known"]
    found = decode(reading, bytes.fromhex("0201" + "abcdef"))
    assert found.columns["/x/A"].raw.tolist() == [0x0102]
    assert found.columns["/x/B"].raw.tolist() == [0xEFABCD]
    assert found.columns["/x/A"].unit == "K"
    assert reading.database.parameters["/x/A"].description == "warm"


@pytest.mark.parametrize(
    ("told", "calibrator"),
    [
        ('{"0": 1, "2": 0.5}', Polynomial((1.0, 0.0, 0.5))),
        ('{"0": "OFF", "[1,3]": "ON"}', States((State(0, 0, "OFF"), State(1, 3, "ON")))),
        ('{"[-2, 0.5]": "LOW"}', States((State(-2, 0.5, "LOW"),))),
    ],
)
def test_calibrations(told: str, calibrator: object) -> None:
    """Coefficients by power, or labels by value and range."""
    reading = read(f'{HEAD},calibration\nA,int,8,"{told.replace(chr(34), chr(34) * 2)}"\n')
    assert not reading.remarks
    assert reading.database.types["/x/A"].calibration.default == calibrator


@pytest.mark.parametrize(
    "told", ["x", "[]", "{}", '{"a": 1}', '{"0": "A", "1": 2}', '{"[3,1]": "A"}', '{"99": 1}', "[" * 9999]
)
def test_calibrations_that_are_none(told: str) -> None:
    """What is no calibration is told, and the value stays as it is."""
    reading = read(f'{HEAD},calibration\nA,uint,8,"{told.replace(chr(34), chr(34) * 2)}"\n')
    assert [one.kind for one in reading.remarks] == ["wrong"]
    assert decode(reading, b"\7").columns["/x/A"].engineering.tolist() == [7]


def test_offsets() -> None:
    """bit_offset places a field, also back and beyond; a field without one follows the field before it."""
    reading = read(f"{HEAD},bit_offset\nA,uint,8,48\nB,uint,4,68\nC,uint,4,\nD,uint,16,48\nE,uint(2),8,72\n")
    assert not reading.remarks
    found = decode(reading, bytes.fromhex("0102f30405"))
    values = {name: found.columns[f"/x/{name}"].raw[0].tolist() for name in "ABCDE"}
    assert values == {"A": 1, "B": 3, "C": 0, "D": 0x0102, "E": [4, 5]}


def test_arrays_of_other_than_whole_octets() -> None:
    """An expanding array of 12 bits has as many elements as fit before its footer, for every length of packet."""
    reading = read(f"{HEAD}\nA,uint(expand),12\nF,uint,8\n")
    for octets in range(1, 60):
        found = decode(reading, bytes(octets - 1) + b"\x55")
        assert found.columns["/x/A"].raw.shape == (1, (octets - 1) * 8 // 12)
        assert found.columns["/x/F"].raw.tolist() == [0x55]


def test_hostile_counts() -> None:
    """A count beyond the packet flags its values, and nothing else."""
    reading = read(f"{HEAD}\nN,uint,32\nA,uint(N),16\n")
    found = decode(reading, b"\xff\xff\xff\xff\0\1")
    assert found.columns["/x/N"].raw.tolist() == [0xFFFFFFFF]
    column = found.columns["/x/A"]
    assert column.raw.size < 1000
    assert (column.validity != Validity.VALID).any() or not column.raw.size


def test_an_array_that_expands_behind_a_counted_one() -> None:
    """Its number depends on two others: it is read as octets up to what stands behind, and told."""
    reading = read(f"{HEAD}\nN,uint,8\nA,uint(N),8\nB,uint(expand),8\nF,uint,8\n")
    assert any("read as octets" in one for one in said(reading))
    found = decode(reading, bytes([2, 10, 11, 20, 21, 22, 99]))
    assert found.columns["/x/A"].raw.tolist() == [[10, 11]]
    assert bytes(found.columns["/x/B"].raw[0]) == bytes([20, 21, 22])
    assert found.columns["/x/F"].raw.tolist() == [99]


DEFECTS = {
    "a type that is none": ("A,uint,8\nB,word,8\nC,uint,8", "x.csv:3: B: data_type 'word'", {"A": 1, "C": 3}),
    "no name": ("A,uint,8\n,uint,8\nC,uint,8", "x.csv:3: : data_type 'uint'", {"A": 1, "C": 3}),
    "a length that is none": ("A,uint,8\nB,uint,x\nC,uint,8", "x.csv:3: B: bit_length 'x'", {"A": 1}),
    "an array of nothing": ("A,uint,8\nB,uint(0),8\nC,uint,8", "x.csv:3: B: array (0)", {"A": 1}),
    "an array beyond a packet": ("A,uint,8\nB,uint(999999999),8", "x.csv:3: B: array (999999999)", {"A": 1}),
    "a count by nobody": ("A,uint,8\nB,uint(N),8\nC,uint,8", "x.csv:3: B: data_type 'uint(N)'", {"A": 1}),
    "a count by a later field": ("A,uint,8\nB,uint(C),8\nC,uint,8", "x.csv:3: B: data_type 'uint(C)'", {"A": 1}),
    "two that expand": ("A,uint,8\nB,uint(expand),8\nC,uint(expand),8", "x.csv:3: B: uint(expand)", {"A": 1}),
    "a name twice": ("A,uint,8\nA,uint,8", "x.csv:3: A: another field has this name", {"A": 1, "A-2": 2}),
    "a name of the header": ("CCSDS_APID,uint,8", "x.csv:2: CCSDS_APID: another field", {"CCSDS_APID-2": 1}),
    "a real of 24 bits": ("A,float,24\nB,uint,8", "x.csv:2: A: float: cannot have 24 bits", {"B": 4}),
    "a whole number of 65 bits": ("A,uint,72\nB,uint,8", "x.csv:2: A: uint: cannot have 72 bits", {}),
    "a text of 9 bits": ("A,str,9\nB,uint,7", "x.csv:2: A: str: cannot have 9 bits", {"B": 2}),
}


@pytest.mark.parametrize(("rows", "remark", "values"), DEFECTS.values(), ids=DEFECTS)
def test_defects(rows: str, remark: str, values: dict[str, int]) -> None:
    """Each defect is told with its line; what can still be placed is read."""
    reading = read(f"{HEAD}\n{rows}\n")
    assert any(one.startswith(remark) for one in said(reading)), said(reading)
    found = decode(reading, bytes([1, 2, 3, 4]))
    assert {name: found.columns[f"/x/{name}"].raw[0].tolist() for name in values} == values


@pytest.mark.parametrize("told", ["middle", "12", "1123", "4321", "0123"])
def test_byte_orders_that_are_none(told: str) -> None:
    """An order that is not one of the field's octets is told, and the value is read most significant first."""
    reading = read(f"{HEAD},byte_order\nA,uint,24,{told}\n")
    assert any("byte_order" in one for one in said(reading))
    assert decode(reading, b"\1\2\3").columns["/x/A"].raw.tolist() == [0x010203]


@pytest.mark.parametrize(
    "data", [b"", b"\n", b"a,b\n1,2", b"name;data_type;bit_length\nA;uint;8", b"\x89PNG\r\n\x1a\n\0"]
)
def test_no_such_file(data: bytes) -> None:
    """A file of another kind is refused, and the error says what the first line must be."""
    with pytest.raises(DatabaseError, match=r"x.csv:1: no column") as caught:
        read_ccsdspy(data, "x.csv")
    assert "name, data_type, bit_length" in caught.value.hint


def test_hostile_files() -> None:
    """Octets, rows and lines beyond the budget, and a quotation without an end, are refused in bounded time."""
    tracemalloc.start()
    begin = time.process_time()
    head = HEAD.encode() + b"\n"
    for data, budget in (
        (head + bytes(2000), Budget(file_octets=1000)),
        (head + b"A,uint,8\n" * 2000, Budget(definitions=1000)),
        (head + b"A" * (20 << 20) + b",uint,8\n", Budget()),
        (head + b'"' + b"A,uint,8\n" * (1 << 20), Budget()),
    ):
        with pytest.raises(DatabaseError, match=r"x\.csv"):
            read_ccsdspy(data, "x.csv", 5, budget)
    assert tracemalloc.get_traced_memory()[1] < 256 << 20
    tracemalloc.stop()
    assert time.process_time() - begin < 30


WORDS = ["A", "uint", "int(2)", "uint(expand)", "uint(A)", "8", "12", "0", "-1", "str"]
CELL = st.one_of(st.sampled_from(WORDS), st.text(max_size=6))


@settings(max_examples=80, deadline=None)
@given(st.lists(st.lists(CELL, max_size=7).map(",".join), max_size=6), st.binary(min_size=1, max_size=40))
def test_rubbish(lines: list[str], body: bytes) -> None:
    """Whatever the lines say, there is a database that can be kept and decoded with, or a clear error."""
    text = "\n".join([f"{HEAD},bit_offset,byte_order,calibration", *lines])
    try:
        reading = read_ccsdspy(text.encode(errors="surrogatepass"), "x.csv", 5)
    except DatabaseError:
        return
    assert from_text(to_text(reading.database)) == reading.database
    decode(reading, body)


@pytest.mark.parametrize("text", ["x" * (16 << 20), HEAD + "\n" + "x" * (16 << 20), HEAD + '\n"' + "x\n" * (8 << 20)])
def test_a_file_of_one_line_costs_no_more_than_its_octets(text: str) -> None:
    """A line is looked at up to a bound: the rest of it is neither split nor copied."""
    data = text.encode()
    tracemalloc.start()
    with pytest.raises(DatabaseError, match="no CSV: field larger"):
        read_ccsdspy(data, "one.csv")
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 1.5 * len(data) + (8 << 20)


@pytest.mark.parametrize("end", [b"\r", b"\n", b"\r\n"])
def test_any_end_of_line(end: bytes) -> None:
    """Lines of every system are lines; within quotes they are part of the text."""
    lines = [b"name,data_type,bit_length,description", b"A,uint,8,plain", b'B,int,16,"two', b'lines"']
    database = read_ccsdspy(b"\xef\xbb\xbf" + end.join(lines), "x.csv").database
    assert [name for name in database.parameters if "CCSDS" not in name] == ["/x/A", "/x/B"]
    assert database.parameters["/x/B"].description == b"".join((b"two", end, b"lines")).decode()


def test_a_line_that_is_too_long_is_told_with_its_number() -> None:
    """A line of many short cells is bounded too."""
    budget = Budget(text_octets=1000)
    with pytest.raises(DatabaseError, match=r"x\.csv:2: a line of more than 1,000 characters"):
        read(f"{HEAD}\nA,uint,8{',abcdefghi' * 500}\n", budget)
