"""Headers that databases share."""

from __future__ import annotations

import pytest
from spacepackets.ccsds import SpacePacketHeader
from spacepackets.ccsds.spacepacket import PacketType, SequenceFlags

from gateway_codecs.mdb.headers import HeaderForm, header
from gateway_codecs.mdb.model import (
    ALWAYS,
    AllOf,
    Comparison,
    FixedEntry,
    IntegerEncoding,
    ParameterEntry,
    TimeEncoding,
)
from gateway_codecs.time_codes import TimeCode

CUC = TimeCode("cuc")


def _sizes(form: HeaderForm) -> list[tuple[str, int]]:
    made, rows = header("/X", form), []
    for name in dict.fromkeys((made.root, made.container)):
        for entry in made.containers[name].entries:
            if isinstance(entry, FixedEntry):
                rows.append(("", entry.size_bits))
            elif isinstance(entry, ParameterEntry):
                encoding = made.types[made.parameters[entry.parameter].type_name].encoding
                assert isinstance(encoding, IntegerEncoding | TimeEncoding)
                bits = encoding.size_bits if isinstance(encoding, IntegerEncoding) else 8 * encoding.code.octets
                rows.append((entry.parameter.removeprefix("/X/"), bits))
    return rows


def test_the_primary_header_is_that_of_the_standard() -> None:
    """Field by field the header is what an independent library writes."""
    octets = SpacePacketHeader(PacketType.TC, 0x5A5, 0x1234, 0x4321, True, SequenceFlags.FIRST_SEGMENT).pack()
    value, left = int.from_bytes(octets), 48
    found = {}
    for name, bits in _sizes(HeaderForm()):
        left -= bits
        found[name] = value >> left & (1 << bits) - 1
    assert left == 0
    assert found == {
        "CCSDS_VERSION": 0, "CCSDS_TYPE": 1, "CCSDS_SEC_HDR": 1, "CCSDS_APID": 0x5A5,
        "CCSDS_SEQ_FLAGS": 1, "CCSDS_SEQ_COUNT": 0x1234, "CCSDS_LENGTH": 0x4321,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("form", "octets"),
    [
        (HeaderForm("pus_c", CUC), 6 + 7 + 6),
        (HeaderForm("pus_c", CUC, spare_bits=8), 6 + 7 + 6 + 1),
        (HeaderForm("pus_a", CUC), 6 + 3 + 6),
        (HeaderForm("pus_a", CUC, counter_bits=8, destination_bits=8), 6 + 5 + 6),
        (HeaderForm("ccsds", CUC), 12),
        (HeaderForm("ccsds"), 6),
    ],
)
def test_secondary_headers_have_their_size(form: HeaderForm, octets: int) -> None:
    """What stands behind a header is found where it is."""
    assert sum(bits for _, bits in _sizes(form)) == 8 * octets


def test_a_packet_is_told_by_what_is_known_of_it() -> None:
    """A restriction is as short as what it says."""
    made = header("/X", HeaderForm("pus_c"))
    assert made.of_packet() == ALWAYS
    assert made.of_packet(5) == Comparison("/X/CCSDS_APID", 5)
    assert made.of_packet(5, 3, 25) == AllOf(
        (Comparison("/X/CCSDS_APID", 5), Comparison("/X/PUS_TYPE", 3), Comparison("/X/PUS_SUBTYPE", 25))
    )
