"""Real databases, damaged packets: values as the declaration reads them, or flags; nothing is raised."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import gateway_config
from gateway.databases import load_database
from gateway_codecs.mdb import declared
from gateway_codecs.mdb.columns import Validity
from gateway_codecs.mdb.decoder import Decoder
from gateway_codecs.mdb.model import Database
from gateway_codecs.mdb.scalar import Undecodable
from tests.conftest import SEEDS
from tests.mdb.test_decoder import batch
from tests.mdb.test_variable_layouts import _alike, _bad_text, flat
from tests.recordings.test_mibs import SMILE, TINY, _packets, spids
from tests.recordings.test_recordings import SHARED
from tests.recordings.test_xtce_values import expectation
from tests.recordings.test_xtce_values import packets as recorded

pytestmark = pytest.mark.skipif(not SHARED.exists(), reason="the shared recordings are not beside the checkout")
SOLAR = Path(gateway_config.__file__).parent / "examples/demo/databases/solar.yaml"
PACKETS, COMPARED = max(SEEDS // 2, 60), max(SEEDS // 10, 12)


def from_recording(name: str) -> Callable[[Database], list[bytes]]:
    def packets(_: Database) -> list[bytes]:
        octets, offset, length = recorded(expectation(name))
        rows = np.linspace(0, len(offset) - 1, min(len(offset), 40)).astype(int)
        return [octets[offset[row] : offset[row] + length[row]].tobytes() for row in rows]

    return packets


def built(mission: Database) -> list[bytes]:
    """A packet of each type, all values zero but for what tells it."""
    found = []
    for name in Decoder(mission).packet_types:
        try:
            found.append(declared.space_packet(mission, name, {}))
        except Undecodable:
            continue
    return found or [bytes(40)]


def from_rows(folder: Path) -> Callable[[Database], list[bytes]]:
    return lambda _: [packet.octets() for spid in spids(folder) for packet in _packets(folder, spid, int(spid))]


def log_records(_: Database) -> list[bytes]:
    return [(26 + 26 * count).to_bytes(2, "big") + bytes([count + 1, 0]) + bytes(range(13)) * count for count in (1, 2)]


REAL: dict[str, tuple[Path, Callable[[Database], list[bytes]]]] = {
    "solar": (SOLAR, built),
    "jpss1": (SHARED / "packets/jpss1_geolocation_xtce_v1.xml", from_recording("jpss1")),
    "jpss1 csv": (SHARED / "packets/jpss1_geolocation_ccsdspy.csv", from_recording("jpss1")),
    "idex": (SHARED / "packets/idex_combined_science_definition.xml", from_recording("idex")),
    "smile": (SMILE, from_rows(SMILE)),
    "spacepylibrary": (TINY, from_rows(TINY)),
    "bogussat": (SHARED / "mdb/BogusSAT-1.xml", built),
    "diagnostic log": (SHARED / "mdb/Diagnostic_Log_Packets.xml", log_records),
}


def damaged(packet: bytes, rng: random.Random) -> bytes:
    """The packet with octets behind its header changed, cut, put in; or one of nothing but noise behind a header."""
    mutable = bytearray(packet)
    for _ in range(rng.choice([1, 1, 3, 20])):
        at = rng.randrange(len(mutable)) if mutable else 0
        match rng.choice(["flip", "flip", "cut", "grow", "ones", "noise", "identification"]):
            case "flip" if len(mutable) > 6:
                mutable[max(at, 6)] ^= 1 << rng.randrange(8)
            case "cut":
                del mutable[at:]
            case "grow":
                mutable[at:at] = rng.randbytes(rng.choice([1, 7, 300]))
            case "ones":
                mutable[max(at, 6) : at + 8] = b"\xff" * len(mutable[max(at, 6) : at + 8])
            case "noise":
                mutable[6:] = rng.randbytes(max(len(mutable) - 6, 0))
            case _:
                mutable[:at] = rng.randbytes(at)
    return bytes(mutable)[:65_542]


@pytest.mark.parametrize("name", REAL)
def test_damaged_packets_of_a_real_mission(name: str) -> None:
    """Each is of one type or of none, the undamaged among them have the values that they have alone; where the
    declaration reads a damaged packet to its end, the columns are equal to it."""
    path, packets = REAL[name]
    mission = load_database(path).database
    if name == "bogussat":  # all its containers are abstract: no packet would be of any type
        containers = {key: replace(one, abstract=False) for key, one in mission.containers.items()}
        mission = replace(mission, containers=containers)
    rng = random.Random(f"{name} 1")
    good = packets(mission)
    sent = [damaged(rng.choice(good), rng) for _ in range(PACKETS)] + [b"", b"\xff" * 65_542, bytes(65_542)]
    rng.shuffle(sent)
    decoder = Decoder(mission)
    found = decoder.decode(*batch([*sent, *good]))
    types = decoder.identify(*batch([*sent, *good]))
    placed = sorted(row for one in found for row in one.rows.tolist())
    assert placed == np.flatnonzero(types >= 0).tolist()
    rows = {row: (one, k) for one in found for k, row in enumerate(one.rows.tolist())}
    compared = 0
    comparable = [row for row in rows if row < len(sent) and len(sent[row]) < 10_000]
    rng.shuffle(comparable)
    for row in comparable:
        if compared < COMPARED:
            one, k = rows[row]
            compared += compare(mission, one.packet_type, sent[row], {c: flat(v, k) for c, v in one.columns.items()})
    assert compared, "no damaged packet was compared"
    for k, packet in enumerate(good[:5]):
        (alone,) = Decoder(mission).decode(*batch([packet])) or [None]
        if alone is None:
            assert len(sent) + k not in rows
            continue
        one, at = rows[len(sent) + k]
        assert repr({c: flat(v, at) for c, v in one.columns.items()}) == repr(
            {c: flat(v, 0) for c, v in alone.columns.items()}
        )


def compare(mission: Database, name: str, packet: bytes, got: dict[str, list[tuple[object, int]]]) -> bool:
    """Whether the declaration can read it; then it says the same."""
    try:
        expected = declared.parse(mission, name, packet)
    except Undecodable:
        return False
    for parameter, column in got.items():
        values = [value for value in column if value[1] != Validity.ABSENT]
        wanted = expected.get(parameter, [])
        if parameter in mission.parameters and mission.parameters[parameter].derivation:
            continue
        assert len(values) == len(wanted), parameter
        for (value, validity), right in zip(values, wanted, strict=True):
            flagged = validity in {Validity.TRUNCATED, Validity.UNDECODABLE}
            assert not flagged or _bad_text(mission, parameter) or right == b"", parameter
            assert _alike(value, right), parameter
    return True
