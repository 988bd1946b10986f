"""Real packets decoded with their XTCE definitions: every value is what an independent decoder finds."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gateway_codecs.mdb.columns import Column, Decoded, Validity
from gateway_codecs.mdb.decoder import Decoder
from gateway_codecs.mdb.model import Database
from gateway_codecs.mdb.report import Reading
from gateway_codecs.mdb.xtce import read_xtce
from tests.recordings.test_recordings import SHARED

pytestmark = pytest.mark.skipif(not SHARED.exists(), reason="the shared recordings are not beside the checkout")


def expectation(name: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((SHARED / f"packets/expected_{name}.json").read_text())
    return told


def definition(file: str) -> Reading:
    return read_xtce((SHARED / file).read_bytes(), file)


def packets(expected: dict[str, Any]) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]:
    """Return the octets of a file, and where its packets begin and how long they are, by their length fields."""
    octets = np.fromfile(SHARED / "packets" / expected["packets_file"], np.uint8)
    before, at, offsets, lengths = expected["bytes_before_each_packet"], 0, [], []
    while at < len(octets):
        at += before
        length = 7 + int(octets[at + 4]) * 256 + int(octets[at + 5])
        offsets.append(at)
        lengths.append(length)
        at += length
    assert at == len(octets)
    return octets, np.array(offsets), np.array(lengths)


def decoded(xtce: str, expected: dict[str, Any]) -> list[Decoded]:
    return Decoder(definition(f"packets/{xtce}").database).decode(*packets(expected))


def values(column: Column, row: int) -> tuple[Any, Any]:
    """Return the raw and the engineering value of a row as plain values."""
    raw, value = column.raw[row], column.engineering[row]
    if column.labels:
        return raw.item(), column.labels[int(value)]
    if isinstance(raw, np.ndarray):
        return raw.tobytes(), value.tobytes()
    return raw.item(), value.item()


def same(found: Any, expected: Any) -> bool:
    if isinstance(expected, dict):
        whole = hashlib.sha256(found).hexdigest() == expected["hex_sha256"]
        return bool(whole and len(found) == expected["len"] and found.hex().startswith(expected["hex_head"]))
    return bool(found == expected)


def assert_as_expected(groups: list[Decoded], expected: dict[str, Any]) -> None:
    """Compare counts, least, greatest and sum of each parameter, and each value of the packets told in full."""
    ((_, stats),) = expected["parameter_stats"].items()
    seen: dict[str, list[Column]] = {}
    for group in groups:
        for name, column in group.columns.items():
            assert (column.validity == Validity.VALID).all(), name
            seen.setdefault(name.rpartition("/")[2], []).append(column)
    assert set(seen) == set(stats)
    assert sum(len(c.raw) for columns in seen.values() for c in columns) == expected["parameters_decoded_total"]
    for name, told in stats.items():
        assert sum(len(column.raw) for column in seen[name]) == told["n"], name
        if "labels" in told:
            labels = [column.labels[k] for column in seen[name] for k in column.engineering]
            assert {label: labels.count(label) for label in set(labels)} == told["labels"], name
        elif "min" in told:
            every = np.concatenate([column.engineering for column in seen[name]])
            assert (every.min(), every.max()) == (told["min"], told["max"]), name
            assert float(every.sum(dtype=np.float64)) == pytest.approx(told["sum"], rel=1e-12, abs=1e-6), name
    for full in expected["full_decodes"]:
        (group,) = [one for one in groups if full["packet_index"] in one.rows]
        row = int(np.flatnonzero(group.rows == full["packet_index"])[0])
        assert {name.rpartition("/")[2] for name in group.columns} == set(full["values"])
        for name, column in group.columns.items():
            raw, value = values(column, row)
            told = full["values"][name.rpartition("/")[2]]
            assert same(raw, told["raw"]), (name, raw, told)
            assert same(value, told["value"]), (name, value, told)


@pytest.mark.parametrize("xtce", ["jpss1_geolocation_xtce_v1.xml", "jpss1_contrived_inheritance.xml"])
def test_jpss_1(xtce: str) -> None:
    """All 7,200 packets, every field equal; both documents (flat and with inheritance by expression) say the same."""
    expected = expectation("jpss1")
    counts, database = expected["xtce_counts"], definition(f"packets/{xtce}").database
    alone = xtce == "jpss1_contrived_inheritance.xml"  # one container more, which nothing uses
    assert (len(database.parameters), len(database.types)) == (counts["parameters"], counts["parameter_types"])
    assert len(database.containers) == counts["containers"] + alone
    groups = decoded(xtce, expected)
    assert sum(map(len, groups)) == expected["decoded"]
    assert_as_expected(groups, expected)


def test_jpss_1_sums_of_another_decoder() -> None:
    """The sums that ccsdspy finds in the same packets, a third program, are ours too."""
    expected = expectation("jpss1")
    (group,) = decoded("jpss1_geolocation_xtce_v1.xml", expected)
    columns = {name.rpartition("/")[2]: column for name, column in group.columns.items()}
    for name, told in expected["ccsdspy_fields"].items():
        found = columns[name].engineering.astype(np.float64)
        assert float(found[0]) == pytest.approx(float(told["first"]), rel=1e-12)
        assert float(found[-1]) == pytest.approx(float(told["last"]), rel=1e-12)
        assert float(found.sum()) == pytest.approx(float(told["sum"]), rel=1e-9)


@pytest.mark.parametrize("name", ["idex", "suda"])
def test_dust_analysers(name: str) -> None:
    """IDEX and SUDA: packets of several types and of variable length, with four octets before each SUDA packet."""
    expected = expectation(name)
    groups = decoded(expected["xtce_file"], expected)
    assert sum(map(len, groups)) == expected["decoded"]
    assert_as_expected(groups, expected)
    reading = definition(f"packets/{expected['xtce_file']}")
    counts = expected["xtce_counts"]
    found = reading.database
    assert [len(found.containers), len(found.parameters), len(found.types)] == [
        counts["containers"],
        counts["parameters"],
        counts["parameter_types"],
    ]
    assert {remark.kind for remark in reading.remarks} == {"ignored"}


@pytest.mark.parametrize("file", ["BogusSAT-1.xml", "Diagnostic_Log_Packets.xml"])
def test_documents_have_the_elements_that_others_count(file: str) -> None:
    """Each element is counted by its name, also in the parts that are not read; every reference is resolved or told."""
    (told,) = [one for one in json.loads((SHARED / "mdb/expected_xtce_documents.json").read_text())["files"]
               if one["file"] == file]  # fmt: skip
    reading = definition(f"mdb/{file}")
    assert {name: reading.counts[name] for name in told["element_counts"]} == told["element_counts"]
    database, counts = reading.database, told["element_counts"]
    assert (database.name, len(database.parameters)) == (told["root_name"], counts["Parameter"])
    assert len(database.types) == sum(count for name, count in counts.items() if name.endswith("ParameterType"))
    assert len(database.containers) == counts["SequenceContainer"]
    assert {one.type_name for one in database.parameters.values()} <= set(database.types)
    assert {one.base for one in database.containers.values()} <= {"", *database.containers}
    assert all(one.where.file == f"mdb/{file}" and one.where.line and one.why for one in reading.remarks)


def test_the_defects_of_bogussat_are_told() -> None:
    """The document has deliberate errors: each is told by its line, and what it spoils is never a plausible value."""
    reading = definition("mdb/BogusSAT-1.xml")
    wrong = {remark.where.line for remark in reading.remarks if remark.kind == "wrong"}
    assert wrong == {150, 156, 392, 403, 412, 490, 514, 526, 652}
    bus = "/BogusSAT/SC001/BusElectronics/"
    spoiled = [
        name.removeprefix(bus)
        for name, one in reading.database.types.items()
        if getattr(one.calibration.default, "points", None) == ()
    ]
    assert [name.removesuffix("_Type") for name in spoiled] == [
        "Spline_Quad_Interpolate",
        "Spline_Quad_Infinite_Slope",
        "Float_Missing_PolyTerms",
        "Float_Missing_SplinePoints",
        *(f"Float_MathOpCal_{k}" for k in (3, 4, 5, 6, 10)),
    ]
    assert (
        reading.database.parameters[bus + "Battery_State_Of_Charge"].derivation
        == f"('{bus}Battery_Voltage' - 11.7) / 0.9"
    )


def bogussat(name: str) -> bytes:
    return (SHARED / f"mdb/bogussat_containers/Container-{name}.bin").read_bytes()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("CCSDS_SpacePacket1", [0, 0, 0, 1, 3, 0x0EC7, 0x000B]),
        ("ECSS_3_25_HK-ECSS_SpacePacket2-NoInc", [0, 0, 1, 100, 3, 0x0EC8, 0x0011]),
        ("ECSS_Service_1_Subservice_1", [0, 0, 1, 100, 3, 0x0EC8, 0x0008]),
    ],
)
def test_headers_of_bogussat_packets(name: str, expected: list[int]) -> None:
    """The primary headers of the three space packets are decoded (the other containers of the set are in no document
    that we have)."""
    database = definition("mdb/BogusSAT-1.xml").database
    packet = np.frombuffer(bogussat(name), np.uint8)
    wanted = ["Version", "Type", "SecH", "APID", "GroupFlags", "SourceSequenceCount", "PacketLength"]
    header = Decoder(concrete(database, "/BogusSAT/CCSDSPacket"))
    (group,) = header.decode(packet, np.array([0]), np.array([len(packet)]))
    found = {one.removeprefix("/BogusSAT/CCSDS"): int(column.raw[0]) for one, column in group.columns.items()}
    assert [found[one] for one in wanted] == expected
    assert expected[-1] + 7 == len(packet)


def concrete(database: Database, name: str) -> Database:
    """Return the database with one container as the only, not abstract, root."""
    one = replace(database.containers[name], abstract=False, base="")
    return replace(database, containers={**{k: c for k, c in database.containers.items() if not c.base}, name: one},
                   roots=(name,))  # fmt: skip


def test_a_sensor_history_of_bogussat() -> None:
    """Four records of a repeated container, with times, labels and calibrators chosen by labels, worked out by hand."""
    database = concrete(definition("mdb/BogusSAT-1.xml").database, "/BogusSAT/SC001/BusElectronics/SensorHistoryBuffer")
    records = [(1_000_000_000 + k, k % 3, 2 - k % 3, 4 * k, 5 * k) for k in range(4)]
    octets = b"".join(
        time.to_bytes(8, "big") + bytes([sun, earth]) + level.to_bytes(2, "big") + light.to_bytes(2, "big")
        for time, sun, earth, level, light in records
    )
    (group,) = Decoder(database).decode(np.frombuffer(octets, np.uint8), np.array([0]), np.array([len(octets)]))
    bus = "/BogusSAT/SC001/BusElectronics/"
    sun = [line * 4 * k + base for k, (base, line) in enumerate([(-10, 5), (0, 5), (0, 15), (-10, 5)])]
    columns = group.columns
    labels = columns[bus + "SunSensorMode"].labels
    assert [labels[k] for k in columns[bus + "SunSensorMode"].engineering[0]] == ["OFF", "LOW", "HIGH", "OFF"]
    assert columns[bus + "SunSensorLevel"].engineering[0].tolist() == pytest.approx(sun)
    times = columns[bus + "SensorTime"].engineering[0]
    assert np.diff(times).tolist() == [10**9] * 3


def test_a_diagnostic_log() -> None:
    """Containers repeated by a count that a calibrator makes of a length, of a fixed size of their own (104 bits)."""
    reading = definition("mdb/Diagnostic_Log_Packets.xml")
    record = (1_500_000_000).to_bytes(8, "big") + bytes(
        [0b00_000101, 0b1_0_001010, 0b1_10_000_01, 0b011_000_00, 0b010_00000]
    )
    data = (78).to_bytes(2, "big") + bytes([3, 0]) + record * 2
    (group,) = Decoder(reading.database).decode(np.frombuffer(data, np.uint8), np.array([0]), np.array([len(data)]))
    system = "/Payload_Diagnostic_Buffer/Diag_Formats/"
    columns = {name.removeprefix(system): column for name, column in group.columns.items()}
    assert group.packet_type == system + "FORMAT1"
    assert columns["FMT1_REC_COUNT"].engineering.tolist() == [2]
    found = {name: columns[name].raw.ravel().tolist() for name in ("FLEETID", "ANT_BEAMID", "RX_MODEM_PORTID")}
    assert found == {"FLEETID": [5, 5], "ANT_BEAMID": [10, 10], "RX_MODEM_PORTID": [11, 11]}
    assert columns["RF_TIMESLOT"].engineering.ravel().tolist() == [3, 3]  # raw 2, one more calibrated
