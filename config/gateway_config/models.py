"""The configuration's models. Every key is documented in docs/configuration.md; unknown keys are errors."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
SupportMode = Literal["flight", "simulation", "test", "training"]
Octets = Annotated[int, Field(ge=0)]
PacketVersion = Annotated[int, Field(ge=0, le=7)]
EPOCH = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z?$"
Counting = Annotated[str, Field(pattern=r"^(apid|none|shared:[A-Za-z0-9_-]{1,32})$")]


class Model(BaseModel):
    """Strict: unknown keys are refused, nothing is coerced but whole numbers to floats."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ApiSettings(Model):
    """Where the control plane listens."""

    host: str = Field("127.0.0.1", description="address to listen on; other than loopback needs expose: true")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(8440, description="0 = any free port")
    names: list[str] = Field(
        default_factory=list, description="host names of this gateway, beside localhost; addresses need none"
    )
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

    api: ApiSettings = Field(default_factory=ApiSettings, description="the control plane")
    data_dir: str = Field("var", description="relative to the configuration directory")
    journal: JournalKeys = Field(default_factory=JournalKeys, description="the journals of all instances")
    recording: RecordingKeys = Field(default_factory=RecordingKeys, description="the raw recordings of all links")
    replay_folders: list[str] = Field(default_factory=list, description="folders whose files the API may replay")


class TimeSettings(Model):
    """A CUC or CDS time code (CCSDS 301.0-B-4) in packet secondary headers, kept to a real time scale on board."""

    code: Literal["cuc", "cds"] = Field(description="CUC: seconds and binary fractions; CDS: days, ms, us or ps")
    p_field: Literal["present", "implied"] = Field("implied", description="whether the P-field stands before it")
    coarse_octets: Annotated[int, Field(ge=1, le=7)] = Field(4, description="cuc: whole seconds")
    fine_octets: Annotated[int, Field(ge=0, le=10)] = Field(2, description="cuc: fractions of a second")
    day_octets: Annotated[int, Field(ge=2, le=3)] = Field(2, description="cds")
    submillisecond: Literal["none", "us", "ps"] = Field("none", description="cds")
    epoch: Annotated[str, Field(pattern=EPOCH)] = Field(
        "1958-01-01T00:00:00Z", description="where the count begins, in its scale"
    )
    scale: Literal["tai", "utc", "gps"] | None = Field(
        None, description="tai, gps: every second counts; utc: leap seconds do not; default cuc: tai, cds: utc"
    )
    offset_octets: Octets = Field(0, description="octets of the secondary header before the code")

    @model_validator(mode="after")
    def _epoch_is_a_time(self) -> TimeSettings:
        try:
            epoch = datetime.fromisoformat(self.epoch.removesuffix("Z"))
        except ValueError:
            raise ValueError(f"epoch {self.epoch!r}: expected a time such as 1958-01-01T00:00:00Z") from None
        if not 1958 <= epoch.year <= 2103:
            raise ValueError(f"epoch {self.epoch!r}: expected a year from 1958 to 2103")
        if self.code == "cds" and epoch.time() != datetime.min.time():
            raise ValueError(f"epoch {self.epoch!r}: a CDS code counts days from midnight")
        return self


class ApidSettings(Model):
    """One APID of a virtual channel."""

    counting: Counting = Field(
        "apid",
        description="apid: each step other than +1 is a gap; shared:GROUP: one count for several APIDs; none",
    )
    name: str = Field("", description="for people")
    time: TimeSettings | Literal["none", "default"] = Field(
        "default", description="its generation time; none: no time, or a free-running counter"
    )


class _PacketKeys(Model):
    packet_versions: list[PacketVersion] = Field([0, 7], description="packet versions accepted (7 = encapsulation)")
    max_packet_octets: Annotated[int, Field(ge=7, le=1 << 20)] = Field(65542, description="longer ones are refused")
    default_counting: Counting = Field("apid", description="counting rule of APIDs that are not listed")
    default_time: TimeSettings | None = Field(None, description="generation time of APIDs that do not say otherwise")
    apids: dict[Annotated[int, Field(ge=0, le=2047, strict=False)], ApidSettings] = Field(
        default_factory=dict, description="settings by APID"
    )


class PacketSettings(_PacketKeys):
    """Packets back to back, on links without frames."""

    prefix_octets: Octets = Field(0, description="octets before each packet")


class VcSettings(_PacketKeys):
    """One virtual channel."""

    service: Literal["packets", "opaque", "idle"] = Field("packets", description="what its frames carry")
    counting: Literal["vc_count", "none"] = Field("vc_count", description="none: the frame count says nothing")
    packet_start: Literal["pointer"] | Octets = Field(
        "pointer", description="first header pointer, or packets at this fixed octet of the data field"
    )
    packet_zone_padding: Literal["none", "ignore"] = Field(
        "none", description="ignore: one packet starts in a frame, what follows it is padding (counted, not kept)"
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


class PlannedContact(Model):
    """A contact planned in advance; more can be planned while the gateway runs."""

    peer: str = Field(min_length=1, max_length=64, description="station or centre, for people")
    aos_utc: Annotated[str, Field(pattern=EPOCH)] = Field(
        description="acquisition of signal, such as 2026-11-24T12:00:00Z"
    )
    los_utc: Annotated[str, Field(pattern=EPOCH)] = Field(description="loss of signal")

    @model_validator(mode="after")
    def _ends_after_it_begins(self) -> PlannedContact:
        try:
            aos, los = (datetime.fromisoformat(t.removesuffix("Z")) for t in (self.aos_utc, self.los_utc))
        except ValueError as error:
            raise ValueError(f"expected UTC times such as 2026-11-24T12:00:00Z: {error}") from None
        if not aos < los:
            raise ValueError(f"los_utc {self.los_utc} must be after aos_utc {self.aos_utc}")
        return self


class Spacecraft(Model):
    """One spacecraft of a mission."""

    name: Name
    scids: list[Annotated[int, Field(ge=0, le=1023)]] = Field(default_factory=list, description="ids in its frames")
    frames: FrameSettings | None = Field(None, description="its transfer frames")
    packets: PacketSettings = Field(default_factory=PacketSettings, description="its packets on links without frames")
    contacts: list[PlannedContact] = Field(default_factory=list, description="contacts planned in advance")


class Mission(Model):
    """missions/NAME.yaml"""

    name: Name
    description: str = Field("", description="for people")
    lifecycle: Literal["planned", "rehearsal", "operational", "archived"] = Field(
        "operational", description="where the mission stands, for people"
    )
    support_modes: list[SupportMode] = Field(["simulation"], min_length=1, description="one mission instance each")
    contact_silence_s: Annotated[float, Field(gt=0, strict=False)] = Field(
        60.0, description="silence that closes a contact without a plan"
    )
    spacecraft: list[Spacecraft] = Field(min_length=1, description="one or more")


class LinkConfig(Model):
    """links/NAME.yaml"""

    name: Name
    mission: Name = Field(description="a name in missions/")
    support_mode: SupportMode = Field("simulation", description="one of the mission's support modes")
    spacecraft: Name = Field(description="one of the mission's spacecraft")
    type: Literal["file", "tcp_client", "tcp_server"] = Field(description="who connects to whom, or a file")
    unit: Literal["frames", "packets"] = Field("frames", description="transfer frames, or packets back to back")
    path: str = Field("", description="file: relative to the configuration directory")
    frames_per_s: Annotated[float, Field(gt=0, strict=False)] | None = Field(None, description="file: pace")
    rate_bps: Annotated[float, Field(gt=0, strict=False)] | None = Field(None, description="file: pace in bits/s")
    speed: Annotated[float, Field(gt=0, strict=False)] = Field(1.0, description="file: factor on the pace")
    host: str = Field("127.0.0.1", description="tcp_client: of the peer; tcp_server: to listen on")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(0, description="tcp; tcp_server: 0 = any free port")
    allowed_peers: list[str] = Field(default_factory=list, description="tcp_server: addresses; empty = any")
    data_mode: Literal["real_time", "dump", "playback"] = Field(
        "real_time", description="of its items, unless the frames say otherwise (AOS replay flag)"
    )
    prime: bool = Field(True, description="its items are delivered; others are journalled only")
    record: bool = Field(True, description="frames: keep the raw octets too")
    enabled: bool = Field(True, description="started with the gateway; `gateway links` changes it while it runs")
    watchdog_s: Annotated[float, Field(gt=0, strict=False)] = Field(10.0, description="silence in a contact = down")
    retry_min_s: Annotated[float, Field(gt=0, strict=False)] = Field(
        0.5, description="first wait before connecting again"
    )
    retry_max_s: Annotated[float, Field(gt=0, strict=False)] = Field(
        30.0, description="longest wait before connecting again"
    )

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
    description: str = Field("", description="for people")
    organisation: str = Field("", description="for people")
