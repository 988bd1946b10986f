"""The database of the demo: what a scientist would write, in our own form."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway_codecs.mdb import declared
from gateway_codecs.mdb.model import Database, Points, Source
from gateway_codecs.mdb.yaml_form import read_yaml

FILE = Path(__file__).parents[2] / "config/gateway_config/examples/demo/databases/solar.yaml"
DATABASE = read_yaml(FILE.read_bytes(), FILE.name).database
PACKETS = [name for name, one in DATABASE.containers.items() if not one.abstract]


def test_it_is_as_large_as_a_real_payload() -> None:
    """About 20 packet types and 300 parameters, with thermistor curves and derived parameters among them."""
    assert len(PACKETS) >= 20
    assert len(DATABASE.parameters) >= 300
    assert isinstance(DATABASE.types["/SOLAR/thermistor"].calibration.default, Points)
    assert sum(one.source is Source.DERIVED for one in DATABASE.parameters.values()) >= 5


@pytest.mark.parametrize("container", PACKETS)
def test_each_packet_can_be_built_and_read(container: str) -> None:
    """Each packet type stands as the database says, from the first header bit to the last."""
    packet = declared.space_packet(DATABASE, container, {})
    assert len(packet) == 7 + int.from_bytes(packet[4:6], "big")
    found = declared.parse(DATABASE, container, packet)
    assert _apid(DATABASE, container) == found["/SOLAR/CCSDS_APID"]


def _apid(database: Database, container: str) -> list[int]:
    """Return the APID that the restrictions of a packet type demand."""
    text = repr([one.restriction for one in declared.chain(database, container)])
    return [int(text.split("parameter='/SOLAR/CCSDS_APID', value=")[1].split(",")[0])]
