"""The configuration's models. Every key is documented in docs/configuration.md; unknown keys are errors."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
SupportMode = Literal["flight", "simulation", "test", "training"]
Octets = Annotated[int, Field(ge=0)]
PacketVersion = Annotated[int, Field(ge=0, le=7)]
Counting = Annotated[str, Field(pattern=r"^(apid|none)$")]


class Model(BaseModel):
    """Strict: unknown keys are refused, nothing is coerced but whole numbers to floats."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ApiSettings(Model):
    """Where the control plane listens."""

    host: str = Field("127.0.0.1", description="address to listen on; other than loopback needs expose: true")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(8440, description="0 = any free port")
    expose: bool = Field(False, description="allow an address that is not loopback (there is no authentication yet)")


class JournalKeys(Model):
    """The journal family; 0 = no limit."""

    segment_octets: Annotated[int, Field(ge=1 << 16)] = Field(1 << 30, description="a segment rolls at this size")
    keep_days: Annotated[float, Field(ge=0, strict=False)] = Field(0, description="remove older segments")
    keep_octets: Octets = Field(0, description="remove oldest segments beyond this size")
    reserve_octets: Octets = Field(64 << 20, description="intake stops when less is free on the device")
    memory_octets: Annotated[int, Field(ge=1 << 20)] = Field(32 << 20, description="recent blocks kept in memory")


class RecordingKeys(Model):
    """The recording of raw link octets."""

    keep_days: Annotated[float, Field(ge=0, strict=False)] = Field(7, description="remove older files; 0 = keep all")


class GatewaySettings(Model):
    """gateway.yaml"""

    api: ApiSettings = Field(default_factory=ApiSettings)
    data_dir: str = Field("var", description="relative to the configuration directory")
    journal: JournalKeys = Field(default_factory=JournalKeys)
    recording: RecordingKeys = Field(default_factory=RecordingKeys)
    replay_folders: list[str] = Field(default_factory=list, description="folders whose files the API may replay")


class ApidSettings(Model):
    """One APID of a virtual channel."""

    counting: Counting = Field("apid", description="apid: each step of the count other than +1 is a gap; none")
    name: str = Field("", description="for people")


class VcSettings(Model):
    """One virtual channel, or the packets of a link without frames."""

    service: Literal["packets", "opaque", "idle"] = Field("packets", description="what its frames carry")
    counting: Literal["vc_count", "none"] = Field("vc_count", description="none: the frame count says nothing")
    packet_versions: list[PacketVersion] = Field([0, 7], description="packet versions accepted (7 = encapsulation)")
    max_packet_octets: Annotated[int, Field(ge=7, le=1 << 20)] = Field(65542, description="longer ones are refused")
    packet_start: Literal["pointer"] | Octets = Field(
        "pointer", description="first header pointer, or packets at this fixed octet of the data field"
    )
    default_counting: Counting = Field("apid", description="counting rule of APIDs that are not listed")
    apids: dict[Annotated[int, Field(ge=0, le=2047, strict=False)], ApidSettings] = Field(
        default_factory=dict, description="settings by APID"
    )


class FrameSettings(Model):
    """The transfer frames of a spacecraft, as a link delivers them."""

    version: Literal["tm", "aos"] = Field(description="transfer frame: tm (CCSDS 132.0-B) or aos (CCSDS 732.0-B)")
    frame_length_octets: Annotated[int, Field(ge=8, le=65536)] = Field(description="of the frame alone")
    fecf: bool = Field(True, description="frame error control field present")
    ocf: Literal["absent", "present", "by_flag"] = Field("absent", description="operational control field")
    insert_zone_octets: Octets = Field(0, description="AOS insert zone")
    secondary_header: Literal["absent", "by_flag"] | Octets = Field("by_flag", description="TM secondary header")
    unknown_vc: Literal["opaque", "bad"] = Field("opaque", description="frames of channels that are not listed")
    mc_counting: bool = Field(True, description="the master channel frame count is checked")
    octet_interleave: Annotated[int, Field(ge=1, le=8)] = Field(1, description="stored octet-interleaved to this depth")
    prefix_octets: Octets = Field(0, description="octets before each stored frame")
    suffix_octets: Octets = Field(0, description="octets after each stored frame")
    vcs: dict[Annotated[int, Field(ge=0, le=63, strict=False)], VcSettings] = Field(
        default_factory=dict, description="virtual channels by id"
    )

    @model_validator(mode="after")
    def _fits(self) -> FrameSettings:
        least = 6 + self.insert_zone_octets + 2 * self.fecf + 4 * (self.ocf == "present")
        if self.frame_length_octets <= least:
            raise ValueError(
                f"a frame of {self.frame_length_octets} octets has no room beside {least} octets of headers"
            )
        if self.frame_length_octets % self.octet_interleave:
            raise ValueError("frame_length_octets must be a multiple of octet_interleave")
        highest = 7 if self.version == "tm" else 63
        if any(vcid > highest for vcid in self.vcs):
            raise ValueError(f"virtual channels of {self.version} frames go from 0 to {highest}")
        return self


class PacketSettings(VcSettings):
    """A stream of packets without frames."""

    prefix_octets: Octets = Field(0, description="octets before each packet")


class Spacecraft(Model):
    """One spacecraft of a mission."""

    name: Name
    scids: list[Annotated[int, Field(ge=0, le=1023)]] = Field(default_factory=list, description="ids in its frames")
    frames: FrameSettings | None = Field(None, description="its transfer frames")
    packets: PacketSettings = Field(default_factory=PacketSettings, description="its packets on links without frames")


class Mission(Model):
    """missions/NAME.yaml"""

    name: Name
    description: str = ""
    lifecycle: Literal["planned", "rehearsal", "operational", "archived"] = "operational"
    support_modes: list[SupportMode] = Field(["simulation"], min_length=1, description="one mission instance each")
    contact_silence_s: Annotated[float, Field(gt=0, strict=False)] = Field(
        60.0, description="silence that closes a contact without a plan"
    )
    spacecraft: list[Spacecraft] = Field(min_length=1)


class LinkConfig(Model):
    """links/NAME.yaml"""

    name: Name
    mission: Name
    support_mode: SupportMode = "simulation"
    spacecraft: Name
    type: Literal["file", "tcp_client", "tcp_server"]
    unit: Literal["frames", "packets"] = "frames"
    path: str = Field("", description="file: relative to the configuration directory")
    frames_per_s: Annotated[float, Field(gt=0, strict=False)] | None = Field(None, description="file: pace")
    rate_bps: Annotated[float, Field(gt=0, strict=False)] | None = Field(None, description="file: pace in bits/s")
    speed: Annotated[float, Field(gt=0, strict=False)] = Field(1.0, description="file: factor on the pace")
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    allowed_peers: list[str] = Field(default_factory=list, description="tcp_server: addresses; empty = any")
    data_mode: Literal["real_time", "dump", "playback"] = "real_time"
    prime: bool = Field(True, description="its items are delivered; others are journalled only")
    record: bool = Field(True, description="frames: keep the raw octets too")
    enabled: bool = True
    watchdog_s: Annotated[float, Field(gt=0, strict=False)] = Field(10.0, description="silence in a contact = down")
    retry_min_s: Annotated[float, Field(gt=0, strict=False)] = 0.5
    retry_max_s: Annotated[float, Field(gt=0, strict=False)] = 30.0

    @model_validator(mode="after")
    def _complete(self) -> LinkConfig:
        if self.type == "file" and not self.path:
            raise ValueError("a file link needs a path")
        if self.type == "tcp_client" and not self.port:
            raise ValueError("a tcp_client link needs a port")
        if self.frames_per_s and self.rate_bps:
            raise ValueError("give frames_per_s or rate_bps, not both")
        if self.frames_per_s and self.unit == "packets":
            raise ValueError("frames_per_s needs unit: frames; use rate_bps for packets")
        if self.retry_max_s < self.retry_min_s:
            raise ValueError("retry_max_s must not be below retry_min_s")
        return self


class Home(Model):
    """homes/NAME.yaml"""

    name: Name
    description: str = ""
    organisation: str = ""
