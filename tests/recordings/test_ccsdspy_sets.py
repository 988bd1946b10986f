"""Packets with ccsdspy definitions: every field of every packet, against what ccsdspy and plain shifts found."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gateway_codecs.mdb.ccsdspy_csv import read_ccsdspy
from gateway_codecs.mdb.columns import Column, Decoded, Validity
from gateway_codecs.mdb.decoder import Decoder
from gateway_codecs.mdb.model import Database
from tests.mdb.mibs import SHARED

PACKETS = SHARED / "packets"
pytestmark = pytest.mark.skipif(not SHARED.exists(), reason="the shared recordings are not beside the checkout")


def _decode(database: Database, file: Path) -> list[Decoded]:
    data = file.read_bytes()
    offsets, lengths, at = [], [], 0
    while at < len(data):
        offsets.append(at)
        lengths.append(int.from_bytes(data[at + 4 : at + 6], "big") + 7)
        at += lengths[-1]
    octets = np.frombuffer(data, np.uint8)
    return Decoder(database).decode(octets, np.array(offsets, np.int64), np.array(lengths, np.int64))


def _sets() -> list[dict[str, Any]]:
    if not SHARED.exists():
        return []
    found = json.loads((PACKETS / "expected_packets2.json").read_text())["files"]
    return [one for one in found if "definition" in one]


def _set(name: str) -> dict[str, Any]:
    files = json.loads((PACKETS / "expected_packets2.json").read_text())["files"]
    (found,) = [one for one in files if one["file"].endswith(name)]
    return dict(found)


def test_jpss_1_by_its_csv() -> None:
    """All 7,200 packets: each of the 20 fields is what struct unpacks, and the sums are those of two other tools."""
    expected = json.loads((PACKETS / "expected_jpss1.json").read_text())
    csv = (PACKETS / "jpss1_geolocation_ccsdspy.csv").read_bytes()
    (found,) = _decode(read_ccsdspy(csv, "jpss1.csv", 11).database, PACKETS / expected["packets_file"])
    assert len(found) == expected["packets"] == 7200
    names = [line.split(",")[0] for line in csv.decode().splitlines()[1:]]
    code = struct.Struct(">HIHBHIHffffffHIHffff")
    data = (PACKETS / expected["packets_file"]).read_bytes()
    rows = [code.unpack_from(data, at + 6) for at in range(0, len(data), 71)]
    for name, values in zip(names, zip(*rows, strict=True), strict=True):
        column = found.columns[f"/jpss1/{name}"]
        assert column.engineering.tolist() == list(values), name
        assert not column.validity.any()
        for told in (expected["ccsdspy_fields"][name], expected["parameter_stats"]["11"][name]):
            assert math.isclose(sum(values), float(told["sum"]), rel_tol=1e-12)
        told = expected["ccsdspy_fields"][name]
        assert (values[0], values[-1]) == (float(told["first"]), float(told["last"]))
    for full in expected["full_decodes"]:
        for name in names:
            value = found.columns[f"/jpss1/{name}"].engineering[full["packet_index"]]
            assert value == full["values"][name]["value"]


def _same(column: Column, told: dict[str, Any], name: str) -> None:
    if isinstance(told["first"], str):
        shown = [repr(bytes(one)) for one in (column.raw[0], column.raw[-1])]
        assert shown == [told["first"], told["last"]], name
        return
    raw = column.raw.astype(object).tolist()
    assert (raw[0], raw[-1]) == (told["first"], told["last"]), name
    if told["sum"] is not None and column.raw.dtype.kind == "f":
        assert (min(raw), max(raw)) == (told["min"], told["max"]), name
        assert math.isclose(math.fsum(raw), told["sum"], rel_tol=1e-6, abs_tol=1e-6), name
    elif told["sum"] is not None:
        assert (sum(raw), min(raw), max(raw)) == (told["sum"], told["min"], told["max"]), name


def _labelled(column: Column, told: dict[str, str]) -> None:
    ranges = []
    for key, label in told.items():
        low, _, high = key.strip("[]").partition(",")
        ranges.append((int(low), int(high or low), label))
    for raw, index, validity in zip(column.raw.tolist(), column.engineering, column.validity, strict=True):
        label = next((label for low, high, label in ranges if low <= raw <= high), None)
        assert (column.labels[index] if index >= 0 else None) == label
        assert validity == (Validity.UNCALIBRATED if label is None else Validity.VALID)


def _powers(column: Column, told: dict[str, float]) -> None:
    powers = np.array([float(told.get(str(k), 0)) for k in range(1 + max(map(int, told)))])
    wanted = np.polynomial.polynomial.polyval(column.raw.astype(np.float64), powers)
    np.testing.assert_allclose(column.engineering, wanted, rtol=1e-9)


@pytest.mark.parametrize("told", _sets(), ids=lambda one: Path(one["file"]).stem)
def test_the_sets_of_ccsdspy(told: dict[str, Any]) -> None:
    """First, last, sum and extremes of every field are ccsdspy's; labels and polynomials are those of the file."""
    reading = read_ccsdspy((PACKETS / told["definition"]).read_bytes(), told["definition"], int(*told["apids"]))
    (found,) = _decode(reading.database, PACKETS / told["file"])
    assert len(found) == told["packets"]
    columns = {
        name.rpartition("/")[2].upper(): column for name, column in found.columns.items() if "CCSDS_" not in name
    }
    assert set(columns) == set(told["fields"])
    for name, field in told["fields"].items():
        _same(columns[name], field, name)
        calibration = json.loads(told["calibration_columns"].get(name, "{}"))
        labels = [isinstance(value, str) for value in calibration.values()]
        if calibration and all(labels):
            _labelled(columns[name], calibration)
        elif calibration:
            _powers(columns[name], calibration)
        elif not isinstance(field["first"], str):
            np.testing.assert_array_equal(columns[name].engineering, columns[name].raw)


@pytest.mark.parametrize("order", ["1234", "4321", "2143"])
def test_byte_orders(order: str) -> None:
    """80 values in each of ten packets have the octets in the order that the file's name says."""
    told = _set(f"byteorder_{order}.bin")
    truth = np.loadtxt(PACKETS / told["truth"].split()[0], delimiter=",", dtype=np.uint64)
    csv = f"name,data_type,bit_length,byte_order\nvalue,uint({told['values_per_packet']}),32,{order}\n"
    reading = read_ccsdspy(csv.encode(), "order.csv", 226)
    (found,) = _decode(reading.database, PACKETS / told["file"])
    assert not [one for one in reading.remarks if one.kind == "wrong"]
    np.testing.assert_array_equal(found.columns["/order/value"].engineering, truth)


def test_an_expanding_array_before_a_footer() -> None:
    """Each packet has as many elements as fit, and its footer stands at its end."""
    told = _set("var_length_packets_with_footer.bin")
    csv = b"name,data_type,bit_length\ndata,uint(expand),16\nfooter,uint,16\n"
    decoded = _decode(read_ccsdspy(csv, "v.csv", 226).database, PACKETS / told["file"])
    rows: dict[int, list[int]] = {}
    for one in decoded:
        assert one.columns["/v/footer"].engineering.tolist() == [1] * len(one)
        for row, values in zip(one.rows.tolist(), one.columns["/v/data"].engineering.tolist(), strict=True):
            rows[row] = values
    counts = [2, 3, 5, 7, 11, 13, 17, 19, 23, 29]
    assert rows == {row: list(range(n, 2 * n)) for row, n in enumerate(counts)}
    assert sum(10 + 2 * n - 2 for n in counts) == told["size"]


def test_packets_without_a_definition_are_taken_whole() -> None:
    """Six APIDs of an instrument, of 24 to 1,508 octets: a definition of octets up to the end loses none of them."""
    told = _set("europa_clipper_ecm_raw2.bin")
    csv = b"name,data_type,bit_length\nbody,uint(expand),8\n"
    data = (PACKETS / told["file"]).read_bytes()
    octets = {}
    for apid, one in told["apids"].items():
        found = _decode(read_ccsdspy(csv, "e.csv", int(apid)).database, PACKETS / told["file"])
        bodies = {
            int(row): body for each in found for row, body in zip(each.rows, each.columns["/e/body"].raw, strict=True)
        }
        assert len(bodies) == one["packets"]
        assert sum(len(body) + 6 for body in bodies.values()) == one["bytes"]
        octets |= bodies
    at = 0
    for row in sorted(octets):
        size = int.from_bytes(data[at + 4 : at + 6], "big") + 1
        assert bytes(octets[row].astype(np.uint8)) == data[at + 6 : at + 6 + size]
        at += size + 6
    assert at == len(data)
