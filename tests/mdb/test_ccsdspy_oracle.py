"""ccsdspy on the same CSV files and packets: random layouts, fixed and variable, field by field.

What ccsdspy reads otherwise is in docs/decisions/0023, each with the test below that shows it; the strategies here
leave only those layouts out.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ccsdspy import FixedLength, VariableLength
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_codecs.mdb.ccsdspy_csv import read_ccsdspy
from gateway_codecs.mdb.columns import Column, Validity
from gateway_codecs.mdb.decoder import Decoder

APID = 5
Rows = list[tuple[str, str, int]]  # name, data type, bits


def as_csv(rows: Rows) -> str:
    """Return the rows as a file."""
    return "name,data_type,bit_length\n" + "".join(f'{name},"{kind}",{bits}\n' for name, kind, bits in rows)


def theirs(rows: Rows, data: bytes, reader: Any = FixedLength) -> dict[str, Any]:
    """Return what ccsdspy finds."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.csv"
        path.write_text(as_csv(rows))
        found: dict[str, Any] = reader.from_file(str(path)).load(io.BytesIO(data))
        return found


def ours(rows: Rows, packets: list[bytes]) -> dict[str, list[Any]]:
    """Return the raw value of each packet by field; None = flagged."""
    reading = read_ccsdspy(as_csv(rows).encode(), "x.csv", APID)
    assert not reading.remarks
    lengths = np.array([len(one) for one in packets], np.int64)
    offsets = np.cumsum(lengths) - lengths
    found: dict[str, list[Any]] = {name: [None] * len(packets) for name, kind, _ in rows if kind != "fill"}
    for one in Decoder(reading.database).decode(np.frombuffer(b"".join(packets), np.uint8), offsets, lengths):
        for name, values in found.items():
            if (column := one.columns.get(f"/x/{name}")) is not None:
                _fill(values, one.rows.tolist(), column)
    return found


def _fill(values: list[Any], rows: list[int], column: Column) -> None:
    for at, row in enumerate(rows):
        if (column.validity[at] == Validity.VALID).all():
            values[row] = column.raw[at].tolist()


def packets_of(body: Callable[[int], bytes], count: int) -> list[bytes]:
    """Return packets with these bodies."""
    bodies = [body(k) for k in range(count)]
    heads = [bytes([0, APID, 0xC0 | k >> 8, k & 0xFF]) for k in range(count)]
    return [head + (len(one) - 1).to_bytes(2, "big") + one for head, one in zip(heads, bodies, strict=True)]


def random_packets(random: Any, sizes: list[int]) -> list[bytes]:
    """Return packets with random bodies of so many octets."""
    return packets_of(lambda k: random.randbytes(sizes[k]), len(sizes))


def octets_touched(at: int, bits: int) -> int:
    """Return in how many octets a field has bits."""
    return (at + bits - 1) // 8 - at // 8 + 1


class Layout:
    """Fields back to back, each as ccsdspy can read it."""

    def __init__(self, at: int = 0) -> None:
        self.rows: Rows = []
        self.at = at

    def align(self) -> None:
        """Fill up to whole octets."""
        if self.at % 8:
            self.add("fill", 8 - self.at % 8)

    def add(self, kind: str, bits: int, dimensions: list[int] | None = None) -> None:
        """Add a field or an array, with filling before it where ccsdspy needs that."""
        count = int(np.prod(dimensions)) if dimensions else 1
        if kind in {"float", "str"}:
            self.align()
        while kind in {"uint", "int"} and any(octets_touched(self.at + k * bits, bits) > 8 for k in range(count)):
            bits -= 1
        shape = f"({', '.join(map(str, dimensions))})" if dimensions else ""
        self.rows.append((f"F{len(self.rows)}", kind + shape, bits))
        self.at += bits * count


PLAIN = [("uint", st.integers(1, 64)), ("int", st.integers(1, 64)), ("fill", st.integers(1, 40))]
PLAIN += [("float", st.sampled_from([16, 32, 64])), ("str", st.sampled_from([8, 16, 32, 64, 72, 104]))]


@st.composite
def layouts(draw: st.DrawFn, least: int = 1, most: int = 10, arrays: bool = True) -> Layout:
    """Draw fields back to back, filled up to whole octets."""
    layout = Layout()
    for _ in range(draw(st.integers(least, most))):
        kind, bits = draw(st.sampled_from(PLAIN))
        may_be = arrays and kind in {"uint", "int", "float"}
        dimensions = draw(st.lists(st.integers(1, 4), max_size=2)) if may_be else []
        layout.add(kind, draw(bits), dimensions or None)
    layout.align()
    return layout


@settings(max_examples=100, deadline=None)
@given(layouts(), st.integers(1, 4), st.integers(0, 3), st.randoms(use_true_random=False))
def test_fixed_layouts(layout: Layout, count: int, more: int, random: Any) -> None:
    """Every value of every field and array is the one that ccsdspy reads, also in packets that go on behind them."""
    packets = random_packets(random, [layout.at // 8 + more] * count)
    wanted, found = theirs(layout.rows, b"".join(packets)), ours(layout.rows, packets)
    for name, values in found.items():
        np.testing.assert_equal(values, wanted[name].tolist(), err_msg=str(layout.rows))


@settings(max_examples=100, deadline=None)
@given(
    layouts(0, 3, arrays=False),
    layouts(0, 3, arrays=False),
    st.sampled_from(["expand", "COUNT"]),
    st.sampled_from([8, 16, 32, 64]),
    st.lists(st.integers(0, 6), min_size=1, max_size=4),
    st.randoms(use_true_random=False),
)
def test_variable_layouts(before: Layout, behind: Layout, kind: str, bits: int, counts: list[int], random: Any) -> None:
    """An array of as many elements as fit, or as a field before it says, and what stands in front and behind."""
    rows: Rows = [*before.rows, ("COUNT", "uint", 8), ("DATA", f"uint({kind})", bits)]
    rows += [(f"B{name}", *rest) for name, *rest in behind.rows]

    def body(k: int) -> bytes:
        octets = bytearray(random.randbytes((before.at + behind.at + counts[k] * bits) // 8 + 1))
        octets[before.at // 8] = counts[k]
        return bytes(octets)

    packets = packets_of(body, len(counts))
    wanted, found = theirs(rows, b"".join(packets), VariableLength), ours(rows, packets)
    for name, values in found.items():
        np.testing.assert_equal(values, [one.tolist() for one in wanted[name]], err_msg=f"{rows} {name}")


# ---- where we read otherwise, and why (docs/decisions/0023) ----


def one_value(rows: Rows, body: bytes) -> Any:
    """Return the value of V."""
    return ours(rows, packets_of(lambda _: body, 1))["V"][0]


def test_a_field_in_nine_octets() -> None:
    """ccsdspy cannot read a field with bits in nine octets; here it has its value."""
    rows: Rows = [("X", "fill", 4), ("V", "uint", 64), ("Y", "fill", 4)]
    body = bytes.fromhex("0123456789abcdef01")
    with pytest.raises(TypeError):
        theirs(rows, b"".join(packets_of(lambda _: body, 1)))
    assert one_value(rows, body) == 0x123456789ABCDEF0


@pytest.mark.parametrize(
    ("kind", "bits", "body", "value"),
    [("float", 32, "03fc000000", 1.5), ("str", 8, "0410", b"A"), ("str", 16, "041420", b"AB")],
)
def test_reals_and_texts_between_octets(kind: str, bits: int, body: str, value: object) -> None:
    """ccsdspy takes reals and texts from the octet in which they begin; here they begin at their bit."""
    rows: Rows = [("X", "fill", 4), ("V", kind, bits), ("Y", "fill", 4)]
    packet = b"".join(packets_of(lambda _: bytes.fromhex(body), 1))
    assert theirs(rows, packet)["V"][0] != value
    assert one_value(rows, bytes.fromhex(body)) == value


def test_texts_of_three_octets() -> None:
    """ccsdspy puts a zero in front of texts of 3, 5, 6 and 7 octets."""
    rows: Rows = [("V", "str", 24)]
    assert theirs(rows, b"".join(packets_of(lambda _: b"ABC", 1)))["V"][0] == b"\0ABC"
    assert one_value(rows, b"ABC") == b"ABC"


def test_offsets_from_the_start_of_the_packet() -> None:
    """Offsets below 48 would be in the primary header: ccsdspy reads that, we count them from its end and say so."""
    csv = "name,data_type,bit_length,bit_offset\nV,uint,8,0\nW,uint,8,8\n"
    packet = packets_of(lambda _: b"\1\2", 1)[0]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "x.csv").write_text(csv)
        found = FixedLength.from_file(str(Path(folder) / "x.csv")).load(io.BytesIO(packet))
    assert (found["V"][0], found["W"][0]) == (0, APID)
    reading = read_ccsdspy(csv.encode(), "x.csv", APID)
    assert [one.what for one in reading.remarks] == ["bit_offset: the primary header"]
    (one,) = Decoder(reading.database).decode(np.frombuffer(packet, np.uint8), np.zeros(1, np.int64), np.full(1, 8))
    assert [one.columns[f"/x/{name}"].raw.tolist() for name in "VW"] == [[1], [2]]
    counted = csv.replace("8,0", "8,48").replace("8,8", "8,56")
    reading = read_ccsdspy(counted.encode(), "x.csv", APID)
    assert not reading.remarks
    (one,) = Decoder(reading.database).decode(np.frombuffer(packet, np.uint8), np.zeros(1, np.int64), np.full(1, 8))
    assert [one.columns[f"/x/{name}"].raw.tolist() for name in "VW"] == [[1], [2]]
