"""Real MIBs: the counts that others found, and packets of every definition, built from the rows with plain integers."""

from __future__ import annotations

import bisect
import json
import math
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gateway_codecs.mdb.columns import Decoded, Validity
from gateway_codecs.mdb.decoder import Decoder
from gateway_codecs.mdb.mib import read_mib
from gateway_codecs.mdb.model import (
    Comparison,
    Database,
    IntegerEncoding,
    Location,
    ParameterEntry,
    Points,
    Reference,
    States,
    TimeEncoding,
)
from gateway_codecs.mdb.report import Reading
from tests.mdb.mibs import SHARED, SIZES, Bits, decoded, folder_of, random_bits, rows, spids

SMILE, TINY = SHARED / "mdb/smile_sxi_mib_dbs", SHARED / "mdb/spacepylibrary_mib"
pytestmark = pytest.mark.skipif(not SHARED.exists(), reason="the shared recordings are not beside the checkout")


@pytest.fixture(scope="module")
def smile() -> Reading:
    return read_mib(folder_of(SMILE.name), SMILE.name)


@pytest.fixture(scope="module")
def expected() -> Any:
    return json.loads((SHARED / "mdb/expected_smile_sxi_mib_dbs.json").read_text())


def _name(database: Database, name: str) -> str:
    return f"/{database.name}/{name}"


def _container(database: Database, spid: str) -> str:
    (name,) = [name for name, one in database.containers.items() if one.description.endswith(f"(SPID {spid})")]
    return name


def test_every_row_is_counted(smile: Reading, expected: Any) -> None:
    """The rows of each table are as many as others counted, empty tables included; no table is forgotten."""
    assert {name: count for name, count in smile.counts.items() if count} == expected["rows"]
    assert sorted(name for name, count in smile.counts.items() if not count) == sorted(expected["empty_tables"])
    tiny = json.loads((SHARED / "mdb/expected_spacepylibrary_mib.json").read_text())
    counts = read_mib(folder_of(TINY.name), TINY.name).counts
    assert counts == {Path(name).stem: one["rows"] for name, one in tiny["files"].items()}


def test_packets_are_known_by_what_pid_says(smile: Reading, expected: Any) -> None:
    """Each of the 26 packets demands its APID, type, subtype and additional field."""
    database = smile.database
    types = Decoder(database).packet_types
    assert len(types) == expected["packets"] == len(expected["packet_keys"])
    for key in expected["packet_keys"]:
        container = database.containers[_container(database, key["spid"])]
        assert container.description.startswith(key["descr"])
        base = database.containers[container.base]
        terms = {one.parameter: one.value for one in base.restriction.terms}  # type: ignore[union-attr]
        assert terms == {
            _name(database, "CCSDS_APID"): int(key["apid"]),
            _name(database, "PUS_TYPE"): int(key["type"]),
            _name(database, "PUS_SUBTYPE"): int(key["subtype"]),
        }
        pi1 = _name(database, "PI1_16")
        assert container.restriction == Comparison(pi1, int(key["pi1"]), calibrated=False)
        assert [entry.parameter for entry in base.entries] == [pi1]  # type: ignore[union-attr]


def test_layouts_are_where_others_found_them(smile: Reading, expected: Any) -> None:
    """The first parameters of each packet stand at the octet and bit, and have the width, of the expectation."""
    database = smile.database
    assert len(expected["packet_layouts"]) == 26
    for layout in expected["packet_layouts"]:
        entries = database.containers[_container(database, layout["spid"])].entries
        assert len(entries) == layout["rows"]
        for entry, (name, octet, bit, width) in zip(entries, layout["parameters"], strict=False):
            assert isinstance(entry, ParameterEntry)
            assert entry.parameter == _name(database, name)
            assert entry.location == Location(Reference.PACKET, 8 * octet + bit)
            encoding = database.types[entry.parameter].encoding
            assert isinstance(encoding, IntegerEncoding | TimeEncoding)
            size = encoding.size_bits if isinstance(encoding, IntegerEncoding) else 8 * encoding.code.octets
            assert size == width


def test_parameters_and_calibrations_are_all_there(smile: Reading, expected: Any) -> None:
    """Types, categories, calibrations and their points are those of the expectation, and nothing dangles."""
    database = smile.database
    ours = [one for one in database.parameters.values() if one.where.file.endswith("pcf.dat")]
    assert len(ours) == expected["tm_parameters"]
    assert not expected["parameters_referenced_but_missing_in_pcf"]
    table = {row[0]: row for row in rows(SMILE, "pcf")}
    assert Counter(f"{row[4]},{row[5]}" for row in table.values()) == expected["pcf_types"]
    kinds = {_name(database, name): row[9] for name, row in table.items()}
    assert (
        Counter("S" if database.types[name].kind == "enumerated" else "N" for name in kinds)
        == (expected["pcf_categories"])
    )
    points = {one["id"]: one for one in expected["caf_examples"]}
    used = {row[11] for row in table.values() if row[9] == "N" and row[11]}
    assert used <= set(expected["numeric_calibrations"]) == set(points)
    for name, row in table.items():
        calibrator = database.types[_name(database, name)].calibration.default
        if row[9] == "S":
            assert isinstance(calibrator, States)
            assert row[11] in expected["text_calibrations"]
        elif row[11]:
            assert isinstance(calibrator, Points)
            assert calibrator.extrapolate
            wanted = points[row[11]]
            assert len(calibrator.points) == wanted["npoints"]
            first = [(float(x), float(y)) for x, y in wanted["points"]]
            assert list(calibrator.points[: len(first)]) == first
    assert not [one for one in smile.remarks if one.kind == "wrong"]
    ignored = {one.what.partition(":")[0] for one in smile.remarks if one.kind == "ignored"}
    commands = {"ccf", "cdf", "cpc", "cvp", "cvs", "paf", "pas", "pcdf", "pcpc", "prf", "prv", "tcp"}
    assert ignored == commands


def _calibrated(table: list[tuple[float, float]], raw: int) -> float:
    """Straight lines between points, and beyond them the first and the last line."""
    at = min(max(bisect.bisect_right([x for x, _ in table], raw), 1), len(table) - 1)
    (x0, y0), (x1, y1) = table[at - 1], table[at]
    return y0 + (raw - x0) * (y1 - y0) / (x1 - x0)


def _packets(folder: Path, spid: str, seed: int) -> list[Bits]:
    """Build packets of a fixed definition from its rows, with random bits wherever nothing else is demanded."""
    pid = spids(folder)[spid]
    size = max((int(row[2]) + 16 for row in rows(folder, "plf") if row[1] == spid), default=24)
    pics = [row for row in rows(folder, "pic") if row[:2] == pid[:2] and int(row[2]) >= 0]
    found = []
    for count in range(5):
        packet = random_bits(Bits(size), 9, seed + count).header(int(pid[2]), int(pid[0]), int(pid[1]), count)
        for pic in pics:
            packet.put(8 * int(pic[2]), int(pic[3]), int(pid[3]))
        found.append(packet)
    return found


def _check(column_of: Decoded, name: str, raws: list[int], pcf: list[str], folder: Path) -> None:
    column = column_of.columns[name]
    key = (int(pcf[4]), int(pcf[5]))
    if key[0] in {8, 9}:
        octets = [raw.to_bytes(SIZES[key] // 8, "big") for raw in raws]
        shown = [bytes(one) for one in column.raw]
        assert shown == (octets if key[0] == 9 else [one.rstrip(b"\0") for one in octets])
        return
    if key[0] == 5:
        kind = ">f4" if key[1] == 1 else ">f8"
        wanted = [np.frombuffer(raw.to_bytes(SIZES[key] // 8, "big"), kind)[0] for raw in raws]
        np.testing.assert_array_equal(column.raw.astype(np.float64), np.array(wanted, np.float64))
        return
    assert column.raw.tolist() == raws
    if pcf[9] == "S":
        states = [(int(a), int(b), label) for one, a, b, label in rows(folder, "txp") if one == pcf[11]]
        for row, raw in enumerate(raws):
            label = next((label for low, high, label in states if low <= raw <= high), None)
            index = int(column.engineering[row])
            assert (column.labels[index] if index >= 0 else None) == label
            assert column.validity[row] == (Validity.UNCALIBRATED if label is None else Validity.VALID)
    elif pcf[11]:
        points = sorted((float(x), float(y)) for one, x, y in rows(folder, "cap") if one == pcf[11])
        for row, raw in enumerate(raws):
            assert math.isclose(column.engineering[row], _calibrated(points, raw), rel_tol=1e-9, abs_tol=1e-9)
    else:
        assert column.engineering.tolist() == raws


def test_every_packet_of_the_mibs_is_decoded_as_built() -> None:
    """Every definition of both MIBs decodes packets whose bits were put in place by the rows of plf alone."""
    parameters = 0
    for folder in (SMILE, TINY):
        database = read_mib(folder_of(folder.name), folder.name).database
        table = {row[0]: row for row in rows(folder, "pcf")}
        for spid in spids(folder):
            places = [row for row in rows(folder, "plf") if row[1] == spid]
            packets = _packets(folder, spid, int(spid))
            if not places:
                continue
            (found,) = decoded(database, [packet.octets() for packet in packets])
            assert found.packet_type == _container(database, spid)
            assert found.rows.tolist() == [0, 1, 2, 3, 4]
            for name, _, octet, bit, *_ in places:
                size = SIZES[int(table[name][4]), int(table[name][5])]
                raws = [packet.get(8 * int(octet) + int(bit), size) for packet in packets]
                _check(found, _name(database, name), raws, table[name], folder)
                parameters += 1
    assert parameters == 461 + 28


def test_types_are_told_apart_in_one_batch() -> None:
    """All packets of the real MIB, shuffled into one batch, are each of their own type; strangers are of none."""
    database = read_mib(folder_of(SMILE.name), SMILE.name).database
    wanted = [
        (_container(database, spid), packet.octets()) for spid in spids(SMILE) for packet in _packets(SMILE, spid, 7)
    ]
    random.Random(3).shuffle(wanted)
    strangers = [Bits(40).header(321, 3, 25).octets(), Bits(40).header(322, 5, 1).octets(), bytes(9)]
    packets = [packet for _, packet in wanted] + strangers
    found = {int(row): one.packet_type for one in decoded(database, packets) for row in one.rows}
    assert found == {row: name for row, (name, _) in enumerate(wanted)}


def test_a_variable_packet_of_the_tiny_mib() -> None:
    """Housekeeping of N values begins behind the data field header and has as many values as its counter says."""
    database = read_mib(folder_of(TINY.name), TINY.name).database
    packets = []
    for count in (0, 1, 3, 3):
        packet = Bits(18 + 4 + 4 * count).header(1234, 3, 23)
        for at, size, value in ((144, 16, 77), (160, 16, count), *((176 + 32 * k, 32, 1000 + k) for k in range(count))):
            packet.put(at, size, value)
        packets.append(packet.octets())
    values = {}
    for one in decoded(database, packets):
        assert one.packet_type == _name(database, "TM_PKT0")
        column = one.columns.get(_name(database, "PAR15"))
        for row, number in enumerate(one.rows.tolist()):
            values[number] = [] if column is None else column.engineering[row].tolist()
            assert one.columns[_name(database, "PAR13")].engineering[row] == 77
    assert values == {0: [], 1: [1000], 2: [1000, 1001, 1002], 3: [1000, 1001, 1002]}
