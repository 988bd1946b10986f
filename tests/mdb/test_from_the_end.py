"""Entries that are placed from the end of a packet (XTCE containerEnd): checksums behind what varies."""

from __future__ import annotations

import pytest

from gateway.console.mdb_pictures import packet
from gateway_codecs.mdb import canonical, declared
from gateway_codecs.mdb.columns import Validity
from gateway_codecs.mdb.decoder import Decoder
from gateway_codecs.mdb.model import (
    ContainerEntry,
    DynamicInteger,
    FixedEntry,
    Location,
    ParameterEntry,
    Reference,
    Repeat,
)
from gateway_codecs.mdb.report import Reading
from gateway_codecs.mdb.yaml_form import read_yaml, write_yaml
from tests.gateway.test_console_params import drawn
from tests.mdb.test_decoder import batch
from tests.mdb.xtce_documents import container, parameter, read, unsigned

TYPES = (
    unsigned("U8")
    + unsigned("U16", 16)
    + (
        '<StringParameterType name="TXT"><StringDataEncoding><SizeInBits><TerminationChar>00</TerminationChar>'
        "</SizeInBits></StringDataEncoding></StringParameterType>"
    )
)
PARAMETERS = (
    parameter("N", "U8") + parameter("A", "U8") + parameter("B", "U8") + parameter("CRC", "U16") + parameter("T", "TXT")
)


def placed(name: str, bits: str = "<FixedValue>0</FixedValue>", more: str = "") -> str:
    """An entry that ends so many bits before its container does."""
    at = f'<LocationInContainerInBits referenceLocation="containerEnd">{bits}</LocationInContainerInBits>'
    return f'<ParameterRefEntry parameterRef="{name}">{at}{more}</ParameterRefEntry>'


def mission(*entries: str, more: str = "") -> Reading:
    """A base of N and these entries, from which P with A derives."""
    criteria = (
        '<BaseContainer containerRef="root"><RestrictionCriteria><Comparison parameterRef="N" value="7"/>'
        "</RestrictionCriteria></BaseContainer>"
    )
    containers = container("root", "N", *entries) + container("P", "A", base=criteria) + more
    return read(TYPES, PARAMETERS, containers)


def test_a_checksum_of_the_base_stands_behind_what_derives_from_it() -> None:
    """XTCE says where the entry ends, the model where it begins; what follows goes on where the entry before ended."""
    reading = mission(placed("CRC"), placed("B", "<FixedValue>16</FixedValue>"))
    assert reading.remarks == ()
    assert reading.database.containers["/S/root"].entries == (
        ParameterEntry("/S/N"),
        ParameterEntry("/S/CRC", Location(Reference.END, 16)),
        ParameterEntry("/S/B", Location(Reference.END, 24)),
    )
    sent = [bytes.fromhex(one) for one in ("07 aa 55 1234", "07 aa 00000000 55 1234", "07 aa bb 1234", "07 01", "07")]
    found = {
        row: (one.columns, k)
        for one in Decoder(reading.database).decode(*batch(sent))
        for k, row in enumerate(one.rows)
    }

    def values(name: str) -> list[int]:
        return [int(columns[name].engineering[k]) for _, (columns, k) in sorted(found.items())]

    assert values("/S/A") == [0xAA, 0xAA, 0xAA, 0x01, 0]
    assert values("/S/CRC") == [0x1234, 0x1234, 0x1234, 0x0701, 0]
    assert values("/S/B") == [0x55, 0x55, 0xBB, 0, 0]
    columns, k = found[4]
    assert columns["/S/A"].validity[k] == Validity.TRUNCATED
    assert columns["/S/CRC"].validity[k] == Validity.UNDECODABLE  # it would begin before the packet


def test_a_place_that_the_packet_states_a_repeat_and_padding() -> None:
    """Distances by a parameter, several of one, fixed values: all from the end."""
    stated = "<DynamicValue><ParameterInstanceRef parameterRef='N' useCalibratedValue='false'/></DynamicValue>"
    at = "<LocationInContainerInBits referenceLocation='containerEnd'><FixedValue>8</FixedValue>"
    reading = mission(
        placed("B", stated),
        placed("A", more="<RepeatEntry><Count><FixedValue>3</FixedValue></Count></RepeatEntry>"),
        f"<FixedValueEntry sizeInBits='4' binaryValue='0F'>{at}</LocationInContainerInBits></FixedValueEntry>",
    )
    assert reading.remarks == ()
    assert reading.database.containers["/S/root"].entries[1:] == (
        ParameterEntry("/S/B", Location(Reference.END, DynamicInteger("/S/N", 1, 8))),
        ParameterEntry("/S/A", Location(Reference.END, 24), repeat=Repeat(3)),
        FixedEntry(4, b"\x0f", Location(Reference.END, 12)),
    )


def test_what_cannot_be_placed_is_told() -> None:
    """An entry whose size varies, one within a container that ends before its packet, one behind the end."""
    criteria = "<BaseContainer containerRef='root'/>"
    inner = container("inner", placed("B")) + container("Q", '<ContainerRefEntry containerRef="inner"/>', base=criteria)
    reading = mission(placed("T"), placed("B", "<FixedValue>-8</FixedValue>"), more=inner)
    told = [(one.what, one.why) for one in reading.remarks]
    assert sorted(told) == [
        (
            "ParameterRefEntry B in /S/inner",
            "it is placed from the end of a container that ends before its packet does: not read",
        ),
        ("ParameterRefEntry B in /S/root", "it ends 8 bits behind the end of its container: not read"),
        ("ParameterRefEntry T in /S/root", "it is placed from the end of its container, and its size varies: not read"),
    ]
    assert all(one.where.line for one in reading.remarks)
    assert reading.database.containers["/S/root"].entries == (ParameterEntry("/S/N"),)
    assert reading.database.containers["/S/Q"].entries == (ContainerEntry("/S/inner"),)


@pytest.mark.parametrize("octets", [3, 40])
def test_a_packet_is_built_with_its_end_behind_all_else(octets: int) -> None:
    """Built packets read back: the simulator makes them so."""
    database = read_yaml(
        b"mission_database: 1\nname: S\npackets:\n  P:\n    parameters:\n      - CRC: {bits: 16, from_end_bits: 16}\n"
        b"      - N: 8\n      - DATA: {binary: {octets: N}}\n", "x.yaml",
    ).database  # fmt: skip
    given = {"/S/CRC": 0xBEEF, "/S/N": octets, "/S/DATA": b"\x55" * octets}
    built = declared.build(database, "/S/P", given)
    assert built == bytes([octets]) + b"\x55" * octets + b"\xbe\xef"
    assert declared.parse(database, "/S/P", built) == {name: [value] for name, value in given.items()}
    (found,) = Decoder(database).decode(*batch([built]))
    assert found.columns["/S/CRC"].engineering.tolist() == [0xBEEF]


def test_it_is_written_and_shown() -> None:
    """Our YAML says it, and the table of a packet too."""
    database = mission(placed("CRC")).database
    text = write_yaml(database)
    assert "from_end_bits: 16" in text
    assert canonical.digest(read_yaml(text.encode(), "x.yaml").database) == canonical.digest(database)
    lines = drawn(packet(database, "/S/P"), 160)
    (line,) = (line for line in lines if "CRC" in line)
    assert "16 bits before the end" in line
    assert "varies" in line
    (line,) = (line for line in lines if line.split()[2:3] == ["A"])
    assert line.split()[:2] == ["1.0", "8"]
