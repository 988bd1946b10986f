"""How a spacecraft's frames and packets are built: everything that real links vary, as settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from gateway_config.findings import Finding, Model

HEADER_OCTETS = 6
"""Primary header: TM (CCSDS 132.0-B, 4.1.2) and AOS without header error control (CCSDS 732.0-B, 4.1.2)."""
M_PDU_HEADER_OCTETS = 2
OCF_OCTETS = 4
FECF_OCTETS = 2
TM_MAX_OCTETS = 2048
TM_LAST_VCID = 7
AOS_LAST_VCID = 63
AOS_IDLE_VCID = 63
ROOM_KEYS = ("insert_zone_octets", "secondary_header", "ocf", "fecf")
"""The optional keys that decide how long the data field is."""

COUNTING_PATTERN = r"^(apid|none|shared:[A-Za-z0-9_-]{1,64})$"
Counting = Annotated[str, Field(pattern=COUNTING_PATTERN)]
PacketVersion = Annotated[int, Field(ge=0, le=7)]
Apid = Annotated[int, Field(ge=0, le=2047)]
Vcid = Annotated[int, Field(ge=0, le=AOS_LAST_VCID)]


def _word_or_octets(*words: str, least: int, most: int) -> BeforeValidator:
    """Return a validator that says both possibilities in one error, where a union would give one for each."""

    def check(value: object) -> object:
        if value in words or (type(value) is int and least <= value <= most):
            return value
        raise ValueError(f"write {', '.join(words)}, or a number of octets from {least} to {most}")

    return BeforeValidator(check)


PacketStart = Annotated[Literal["pointer"] | int, _word_or_octets("pointer", least=0, most=65535)]
SecondaryHeader = Annotated[Literal["absent", "by_flag"] | int, _word_or_octets("absent", "by_flag", least=1, most=64)]


class ApidSettings(Model):
    """One application process."""

    counting: Counting = Field(
        default="apid",
        description="`apid`: counted by APID, each step other than +1 is a gap; `none`; `shared:GROUP`",
    )
    name: str = Field(default="", description="what it is, for people")


class PacketRules(Model):
    """What packets are accepted and how they are counted."""

    packet_versions: Annotated[tuple[PacketVersion, ...], Field(strict=False, min_length=1)] = Field(
        default=(0, 7),
        description="packet version numbers accepted: 0 space packets, 7 encapsulation packets",
    )
    max_packet_octets: Annotated[int, Field(ge=7, le=1 << 20)] = Field(
        default=65542, description="longer packets are refused, before anything is allocated for them"
    )
    default_apid_counting: Counting = Field(default="apid", description="`counting` of APIDs that are not listed")
    apids: Mapping[Apid, ApidSettings] = Field(default_factory=dict, description="settings by APID, 0 to 2047")


class PacketSettings(PacketRules):
    """Packets back to back without frames."""

    packet_prefix_octets: Annotated[int, Field(ge=0, le=65535)] = Field(
        default=0, description="octets of the recorder's before each packet"
    )


class VcSettings(PacketRules):
    """One virtual channel."""

    service: Literal["packets", "opaque", "idle"] = Field(
        default="packets",
        description="`packets`; `opaque`: each frame is kept as it is; `idle`: counted, not kept",
    )
    counting: Literal["vc_count", "none"] = Field(
        default="vc_count", description="`none`: the frame count of this channel says nothing about losses"
    )
    packet_start: PacketStart = Field(
        default="pointer",
        description="`pointer` (first header pointer), or the octet of the data field where packets begin",
    )
    padding: bool = Field(
        default=False, description="with a fixed `packet_start`: what follows the first packet is padding"
    )

    def findings(self) -> Iterator[Finding]:
        """Yield what does not go together in one channel."""
        if self.service != "packets" and self.apids:
            yield Finding(
                ("apids",), sorted(self.apids), f"a channel with service: {self.service} has no packets", ("service",)
            )
        if self.padding and self.packet_start == "pointer":
            yield Finding(
                ("padding",), True, "give packet_start as a number of octets, or leave padding out", ("packet_start",)
            )


class FrameSettings(Model):
    """The transfer frames of a spacecraft as a link delivers them."""

    version: Literal["tm", "aos"] = Field(description="`tm` (CCSDS 132.0-B) or `aos` (CCSDS 732.0-B)")
    frame_length_octets: Annotated[int, Field(ge=HEADER_OCTETS + 1, le=65535)] = Field(
        description="length of every frame, without prefix and suffix"
    )
    fecf: bool = Field(default=True, description="a frame error control field (CRC-16) ends each frame")
    ocf: Literal["absent", "present", "by_flag"] = Field(
        default="absent",
        description="operational control field; `by_flag` reads the flag of each TM frame (AOS has none)",
    )
    insert_zone_octets: Annotated[int, Field(ge=0, le=65535)] = Field(
        default=0, description="AOS: insert zone after the header of every frame"
    )
    secondary_header: SecondaryHeader = Field(
        default="by_flag",
        description="TM: `by_flag` (its own first octet says how long), `absent`, or a fixed length, 1 to 64",
    )
    vcs: Mapping[Vcid, VcSettings] = Field(
        default_factory=dict, description="virtual channels by id: TM 0 to 7, AOS 0 to 63"
    )
    unknown_vc: Literal["opaque", "bad"] = Field(
        default="opaque",
        description="frames of channels that are not listed: opaque, or counted as bad; kept either way",
    )
    mc_counting: bool = Field(default=True, description="TM: the master channel frame count tells lost frames")
    octet_interleave: Annotated[int, Field(ge=1, le=16)] = Field(
        default=1, description="depth at which frames are stored octet-interleaved; 1 = not at all"
    )
    prefix_octets: Annotated[int, Field(ge=0, le=65535)] = Field(
        default=0, description="octets before each stored frame"
    )
    suffix_octets: Annotated[int, Field(ge=0, le=65535)] = Field(
        default=0, description="octets after each stored frame"
    )

    @property
    def overhead_octets(self) -> int:
        """Octets of a frame that are never data field: header, insert zone, fixed secondary header, OCF, FECF."""
        secondary = self.secondary_header if isinstance(self.secondary_header, int) else 0
        ocf = OCF_OCTETS if self.ocf == "present" else 0
        return HEADER_OCTETS + self.insert_zone_octets + secondary + ocf + FECF_OCTETS * self.fecf

    def findings(self) -> Iterator[Finding]:
        """Yield what does not go together in the frames."""
        checks: tuple[Callable[[], Iterator[Finding]], ...] = (self._of_version, self._of_length, self._of_channels)
        for check in checks:
            yield from check()

    def _of_version(self) -> Iterator[Finding]:
        if self.version == "tm" and self.insert_zone_octets:
            yield Finding(("insert_zone_octets",), self.insert_zone_octets, "TM frames have none: write 0")
        if self.version == "aos" and self.ocf == "by_flag":
            yield Finding(("ocf",), self.ocf, "AOS frames have no OCF flag: write absent or present")
        if self.version == "aos" and isinstance(self.secondary_header, int):
            remedy = "AOS frames have no secondary header: leave it out (an insert zone is insert_zone_octets)"
            yield Finding(("secondary_header",), self.secondary_header, remedy)

    def _of_length(self) -> Iterator[Finding]:
        length, least = self.frame_length_octets, self.overhead_octets + 1
        if length < least:
            remedy = f"headers, OCF and FECF take {least - 1} octets: write at least {least}"
            yield Finding(("frame_length_octets",), length, remedy, ROOM_KEYS)
        if self.version == "tm" and length > TM_MAX_OCTETS:
            yield Finding(("frame_length_octets",), length, f"TM frames have at most {TM_MAX_OCTETS} octets")
        if length % self.octet_interleave:
            remedy = f"must divide the frame length of {length} octets"
            yield Finding(("octet_interleave",), self.octet_interleave, remedy)

    def _of_channels(self) -> Iterator[Finding]:
        last = TM_LAST_VCID if self.version == "tm" else AOS_LAST_VCID
        for vcid, vc in self.vcs.items():
            if vcid > last:
                yield Finding(("vcs", vcid), vcid, f"virtual channels of {self.version} frames go from 0 to {last}")
            if self.version == "aos" and vcid == AOS_IDLE_VCID and vc.service != "idle":
                remedy = "AOS channel 63 carries only idle data: write idle"
                yield Finding(("vcs", vcid, "service"), vc.service, remedy)
            yield from self._of_packets(vcid, vc)

    def _of_packets(self, vcid: int, vc: VcSettings) -> Iterator[Finding]:
        if vc.service != "packets":
            return
        room = self.frame_length_octets - self.overhead_octets
        if isinstance(vc.packet_start, int):
            if vc.packet_start >= room > 0:
                remedy = f"the data field ends at octet {room}: write less"
                yield Finding(("vcs", vcid, "packet_start"), vc.packet_start, remedy, ROOM_KEYS)
        elif self.version == "aos" and 0 < room <= M_PDU_HEADER_OCTETS:
            remedy = f"no room for packets in a data field of {room} octets: make frame_length_octets longer"
            yield Finding(("vcs", vcid, "service"), vc.service, remedy, ROOM_KEYS)
