"""The payload of the demo says what its database describes, and something happens in it."""

from __future__ import annotations

import numpy as np

from gateway_codecs.batches import BoolArray
from gateway_codecs.mdb.columns import LimitFlag, Validity
from gateway_codecs.mdb.decoder import Decoder
from gateway_codecs.time_scales import parse_utc
from gateway_simulators.solar_payload import LEAVING, SYSTEM, SolarPayload, solar_database

START_NS = parse_utc("2026-03-01T12:00:00Z")


def packets(seconds: int) -> list[bytes]:
    """Return twenty packets a second of all APIDs."""
    payload, apids = SolarPayload(5), (100, 101, 102, 200, 201)
    return [payload.packet(apids[k % 5], k % 16384, START_NS + k * 50_000_000, 900) for k in range(20 * seconds)]


def test_every_packet_is_known_and_its_values_move() -> None:
    """Each packet of the simulated payload has a type, times are right, and limits are left and come back."""
    made = packets(90)
    length = np.array([len(packet) for packet in made])
    decoder = Decoder(solar_database())
    decoded = decoder.decode(np.frombuffer(b"".join(made), np.uint8), np.cumsum(length) - length, length)
    assert sum(len(one) for one in decoded) == len(made)
    assert len({one.packet_type for one in decoded}) == 21
    seen: dict[str, list[BoolArray]] = {}
    for one in decoded:
        told = one.columns[f"{SYSTEM}PUS_TIME"].engineering
        assert np.abs(told - (START_NS + one.rows * 50_000_000)).max() < 20_000
        for name, column in one.columns.items():
            assert int(column.validity.max(initial=0)) <= Validity.INVALID, name
            seen.setdefault(name, []).append((column.limit & LimitFlag.SEVERITY) > 0)
    for name in LEAVING:
        states = np.concatenate(seen[SYSTEM + name])
        assert 0.05 < states.mean() < 0.7, name


def test_the_same_seed_says_the_same() -> None:
    """A pass can be made again."""
    assert packets(3) == packets(3)
