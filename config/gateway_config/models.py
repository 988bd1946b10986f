"""Models of missions and spacecraft. Keys are documented in docs/configuration.md; unknown ones are errors."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from difflib import get_close_matches
from functools import cache
from itertools import pairwise
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import PydanticCustomError

NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"
EPOCH = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T([01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?Z?$"
MARKER = r"^([0-9A-Fa-f]{6,48}|none)$"
COUNTING = r"^(apid|none|shared:[A-Za-z0-9_-]{1,32})$"
LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
WRONGS = "wrongs"
AS_FAR_AS_READABLE = "as far as readable"
"""Context of a validation that leaves out what is wrong: asking a model for such a value is an AttributeError."""
T = TypeVar("T")
CONTACT_YEARS = (1958, 2249)  # what int64 nanoseconds TAI hold, in whole years
Wrong = tuple[tuple[str | int, ...], Any, str]
"""Keys down to what is wrong in a model, its value, what would be right."""
Rule = Callable[[], Iterator[Wrong]]
WIDTHS = {"cuc": ("coarse_octets", "fine_octets"), "cds": ("day_octets", "submillisecond")}


def _host(text: str) -> str:
    """A host name (RFC 1123, and _) or an IP address without brackets or port."""
    labels = text.removesuffix(".").split(".")
    is_name = len(text) <= 253 and all(LABEL.fullmatch(label) for label in labels) and not labels[-1].isdigit()
    try:
        return text if is_name else str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError("expected a host name or an IP address, without brackets, port or spaces") from None


def _peer(text: str) -> str:
    """An IP address, written as a connection shows it: peers are compared as text."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        why = "networks are not known here" if "/" in text else "names are not looked up"
        raise ValueError(f"expected an IP address of one peer: {why}") from None


def _path(text: str) -> str:
    if "\0" in text:
        raise ValueError("expected a path without NUL")
    return text


Name = Annotated[str, Field(pattern=NAME)]
SupportMode = Literal["flight", "simulation", "test", "training"]
Octets = Annotated[int, Field(ge=0, le=1 << 16)]
PacketVersion = Annotated[int, Field(ge=0, le=7)]
Counting = Annotated[str, Field(pattern=COUNTING)]
Host = Annotated[str, AfterValidator(_host)]
Peer = Annotated[str, AfterValidator(_peer)]
PathText = Annotated[str, AfterValidator(_path)]
Days = Annotated[float, Field(ge=0, le=36_500, allow_inf_nan=False)]
RetryS = Annotated[float, Field(ge=0.01, le=86_400, allow_inf_nan=False)]
Pace = Annotated[float, Field(ge=0.001, le=10_000_000, allow_inf_nan=False)]


def judged(rule: Iterable[T]) -> Iterator[T]:
    """Yield what a rule finds, until it needs a value that could not be read: that is not there (`_without`)."""
    with suppress(AttributeError):
        yield from rule


class Model(BaseModel):
    """Strict: unknown keys are refused, nothing is coerced but whole numbers to floats."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        wrongs = list(self.wrongs())
        if wrongs:
            text = "; ".join(f"{'.'.join(map(str, keys))}: {remedy}" for keys, _, remedy in wrongs)
            raise PydanticCustomError(WRONGS, "{text}", {"text": text, "wrongs": wrongs})
        return self

    @model_validator(mode="wrap")
    @classmethod
    def _is_readable(cls, data: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        """Refuse what is wrong; as far as readable, leave it out."""
        try:
            return handler(data)
        except ValidationError as error:
            if info.context != AS_FAR_AS_READABLE or not isinstance(data, dict):
                raise
            return cls._without({str(row["loc"][0]) for row in error.errors() if row["loc"]}, data)

    @classmethod
    def _without(cls, wrong: set[str], data: dict[str, Any]) -> Self:
        """Return a model without what is wrong, and without the defaults of keys that unknown ones are meant to be."""
        right = {key: field for key, field in _fields(cls).items() if key in data and key not in wrong}
        values = {
            key: field.validate_python(data[key], strict=True, context=AS_FAR_AS_READABLE)
            for key, field in right.items()
        }
        meant = {near for key in wrong - _fields(cls).keys() for near in get_close_matches(key, _fields(cls), 1)}
        part = super().model_construct(set(values), **values)
        for key in (wrong | meant) - values.keys():
            vars(part).pop(key, None)
        return part

    def wrongs(self) -> Iterator[Wrong]:
        """Yield everything that does not fit together, though each key alone is right."""
        for rule in self.rules():
            yield from judged(rule())

    def rules(self) -> tuple[Rule, ...]:
        """Return what is judged, each rule for itself."""
        return ()

    def _without_effect(self, keys: Iterable[str], remedy: str) -> Iterator[Wrong]:
        """Yield the keys that were given and would do nothing."""
        for key in keys:
            if key in self.model_fields_set:
                given = self.model_dump(include={key}, exclude_unset=True, warnings=False)
                yield (key,), given[key], remedy


@cache
def _fields(model: type[Model]) -> dict[str, TypeAdapter[Any]]:
    """Return what validates each key of a model for itself."""
    kinds: dict[str, Any] = {key: Annotated[field.annotation, field] for key, field in model.model_fields.items()}
    return {key: TypeAdapter(kind) for key, kind in kinds.items()}


class TimeSettings(Model):
    """A CUC or CDS time code (CCSDS 301.0-B-4) in packet secondary headers, kept to a real time scale on board."""

    code: Literal["cuc", "cds"] = Field(description="CUC: seconds and binary fractions; CDS: days, ms, us or ps")
    p_field: Literal["present", "implied"] = Field("implied", description="whether the P-field stands before it")
    coarse_octets: Annotated[int, Field(ge=1, le=7)] = Field(4, description="cuc, p_field implied: whole seconds")
    fine_octets: Annotated[int, Field(ge=0, le=10)] = Field(
        2, description="cuc, p_field implied: fractions of a second"
    )
    day_octets: Annotated[int, Field(ge=2, le=3)] = Field(2, description="cds, p_field implied: days")
    submillisecond: Literal["none", "us", "ps"] = Field(
        "none", description="cds, p_field implied: unit of what follows the milliseconds"
    )
    epoch: Annotated[str, Field(pattern=EPOCH)] = Field(
        "1958-01-01T00:00:00Z", description="where the count begins, in its scale"
    )
    scale: Literal["tai", "utc", "gps"] | None = Field(
        None, description="tai, gps: every second counts; utc: leap seconds do not; default cuc: tai, cds: utc"
    )
    offset_octets: Octets = Field(0, description="octets of the secondary header before the code")

    def rules(self) -> tuple[Rule, ...]:
        """The epoch is a time, and the widths are those of the code."""
        return self._epoch, self._widths

    def _epoch(self) -> Iterator[Wrong]:
        try:
            epoch = datetime.fromisoformat(self.epoch.removesuffix("Z"))
        except ValueError:
            yield ("epoch",), self.epoch, "expected a time such as 1958-01-01T00:00:00Z"
            return
        if not 1958 <= epoch.year <= 2103:
            yield ("epoch",), self.epoch, "expected a year from 1958 to 2103"
        if self.code == "cds" and epoch.time() != datetime.min.time():
            yield ("epoch",), self.epoch, "a CDS code counts days from midnight"

    def _widths(self) -> Iterator[Wrong]:
        other = "cds" if self.code == "cuc" else "cuc"
        yield from self._without_effect(WIDTHS[other], f"a width of {other} codes, this is {self.code}: leave it out")
        if self.p_field == "present":
            remedy = "each P-field says it: leave it out, or use p_field: implied"
            yield from self._without_effect(WIDTHS[self.code], remedy)


class ApidSettings(Model):
    """One APID of a virtual channel."""

    counting: Counting = Field(
        "apid",
        description="apid: each step other than +1 is a gap; shared:GROUP: one count for several APIDs; none",
    )
    name: str = Field("", description="for people, shown nowhere yet")
    time: TimeSettings | Literal["none", "default"] = Field(
        "default", description="its generation time; none: no time, or a free-running counter"
    )


Service = Literal["packets", "opaque", "idle", "bitstream"]


class _PacketKeys(Model):
    packet_versions: list[PacketVersion] = Field([0, 7], description="packet versions accepted (7 = encapsulation)")
    max_packet_octets: Annotated[int, Field(ge=7, le=1 << 20)] = Field(65542, description="longer ones are refused")
    default_counting: Counting = Field("apid", description="counting rule of APIDs that are not listed")
    default_time: TimeSettings | None = Field(None, description="generation time of APIDs that do not say otherwise")
    apids: dict[Annotated[int, Field(ge=0, le=2047)], ApidSettings] = Field(
        default_factory=dict, description="settings by APID"
    )


class PacketSettings(_PacketKeys):
    """Packets back to back, on links without frames."""

    prefix_octets: Octets = Field(0, description="octets before each packet")


class VcSettings(_PacketKeys):
    """One virtual channel."""

    service: Service = Field(
        "packets", description="what its frames carry; bitstream: the valid bits of AOS B_PDUs, USLP octet streams"
    )
    counting: Literal["vc_count", "none"] = Field("vc_count", description="none: the frame count says nothing")
    packet_start: Literal["pointer"] | Octets = Field(
        "pointer", description="first header pointer, or packets at this fixed octet of the data field"
    )
    packet_zone_padding: Literal["none", "ignore"] = Field(
        "none", description="ignore: one packet starts in a frame, what follows it is padding (counted, not kept)"
    )
    maps: dict[Annotated[int, Field(ge=0, le=15)], Service] = Field(
        default_factory=dict, description="USLP: MAPs with another service than the channel's, by id"
    )
    truncated_frame_octets: Annotated[int, Field(ge=6, le=65536)] | None = Field(
        None, description="USLP, variable_length: length of truncated frames; without it there are none"
    )

    def rules(self) -> tuple[Rule, ...]:
        """Packets are described where they are looked at."""
        return (self._packets,)

    @property
    def services(self) -> set[Service]:
        """What its frames may carry."""
        return {self.service, *self.maps.values()}

    def _packets(self) -> Iterator[Wrong]:
        if "packets" not in self.services:
            looked_at = f"packets of a channel with service: {self.service} are not looked at"
            keys = (*_PacketKeys.model_fields, "packet_start", "packet_zone_padding")
            yield from self._without_effect(keys, f"{looked_at}: leave it out, or use service: packets")


class FrameSettings(Model):
    """The transfer frames of a spacecraft, as a link delivers them."""

    version: Literal["tm", "aos", "uslp"] = Field(
        description="transfer frame: tm (CCSDS 132.0-B), aos (CCSDS 732.0-B) or uslp (CCSDS 732.1-B)"
    )
    frame_length_octets: Annotated[int, Field(ge=8, le=65536)] = Field(
        description="of the frame alone; with variable_length of the longest one"
    )
    variable_length: bool = Field(False, description="USLP: frames of varying length, delimited by their length field")
    fecf: bool | Literal["crc32"] = Field(
        True, description="frame error control field: none, of 16 bits, or of 32 bits (crc32: USLP)"
    )
    ocf: Literal["absent", "present", "by_flag"] = Field(
        "absent", description="operational control field of TM and AOS frames; a USLP frame says it itself"
    )
    header_error_control: bool = Field(
        False, description="AOS frame header error control field: headers are corrected; it does not protect the count"
    )
    insert_zone_octets: Octets = Field(0, description="AOS, USLP insert zone")
    secondary_header: Literal["absent", "by_flag"] | Octets = Field("by_flag", description="TM secondary header")
    unknown_vc: Literal["opaque", "bad"] = Field("opaque", description="frames of channels that are not listed")
    mc_counting: bool = Field(True, description="the TM master channel frame count is checked")
    octet_interleave: Annotated[int, Field(ge=1, le=8)] = Field(1, description="stored octet-interleaved to this depth")
    prefix_octets: Octets = Field(0, description="octets before each stored frame")
    suffix_octets: Octets = Field(0, description="octets after each stored frame")
    vcs: dict[Annotated[int, Field(ge=0, le=63)], VcSettings] = Field(
        default_factory=dict, description="virtual channels by id"
    )

    def rules(self) -> tuple[Rule, ...]:
        """Everything is of the frame's version, and leaves room for data."""
        layout = (self._insert_zone, self._headers, self._ocf, self._error_control, self._varying, self._interleave)
        return self._channels, self._services, *layout, self._room

    def _channels(self) -> Iterator[Wrong]:
        highest = 7 if self.version == "tm" else 63
        for vcid in self.vcs:
            if vcid > highest:
                yield ("vcs", vcid), vcid, f"virtual channels of {self.version} frames go from 0 to {highest}"

    def _insert_zone(self) -> Iterator[Wrong]:
        if self.version == "tm" and self.insert_zone_octets:
            yield ("insert_zone_octets",), self.insert_zone_octets, "TM frames have no insert zone: leave it out"

    def _services(self) -> Iterator[Wrong]:
        """Every channel carries what frames of the version can."""
        for vcid, vc in self.vcs.items():
            at = ("vcs", vcid)
            if self.version == "tm" and vc.service == "bitstream":
                yield (*at, "service"), vc.service, "TM frames carry no bitstreams: packets, opaque or idle"
            if self.version != "uslp" and vc.maps:
                yield (*at, "maps"), vc.maps, f"{self.version.upper()} frames have no MAPs: leave it out"
            if self.version == "uslp" and vc.packet_start != "pointer":
                yield (*at, "packet_start"), vc.packet_start, "USLP frames say where packets start: leave it out"
            if vc.truncated_frame_octets is not None:
                yield from self._truncated(at, vc.truncated_frame_octets)

    def _truncated(self, at: tuple[str | int, ...], octets: int) -> Iterator[Wrong]:
        key, least = (*at, "truncated_frame_octets"), 6 + self._fecf_octets
        if self.version != "uslp" or not self.variable_length:
            yield key, octets, "only USLP frames with variable_length: true can be truncated: leave it out"
        elif not least <= octets <= self.frame_length_octets:
            yield key, octets, f"expected {least} to frame_length_octets ({self.frame_length_octets})"

    def _headers(self) -> Iterator[Wrong]:
        if self.version != "tm":
            name = self.version.upper()
            remedy = f"{name} frames have no secondary header: leave it out, or use insert_zone_octets"
            yield from self._without_effect(["secondary_header"], remedy)
            remedy = f"{name} frames have no master channel frame count: leave it out"
            yield from self._without_effect(["mc_counting"], remedy)

    def _ocf(self) -> Iterator[Wrong]:
        if self.version == "aos" and self.ocf == "by_flag":
            yield ("ocf",), self.ocf, "the AOS header has no OCF flag: present or absent"
        if self.version == "uslp":
            yield from self._without_effect(["ocf"], "each USLP frame says whether it has one: leave it out")

    def _error_control(self) -> Iterator[Wrong]:
        name = self.version.upper()
        if self.fecf == "crc32" and self.version != "uslp":
            yield ("fecf",), self.fecf, f"the field of {name} frames has 16 bits: true, or false if there is none"
        if self.header_error_control and self.version != "aos":
            remedy = f"{name} frames have no header error control: leave it out"
            yield ("header_error_control",), self.header_error_control, remedy

    def _varying(self) -> Iterator[Wrong]:
        if self.variable_length and self.version != "uslp":
            remedy = f"{self.version.upper()} frames of a link have one length: leave it out"
            yield ("variable_length",), self.variable_length, remedy
        elif self.variable_length:
            remedy = "frames of varying length are delimited by their length field alone: leave it out"
            yield from self._without_effect(["octet_interleave", "prefix_octets", "suffix_octets"], remedy)

    def _interleave(self) -> Iterator[Wrong]:
        length = self.frame_length_octets
        if length % self.octet_interleave:
            remedy = f"frame_length_octets ({length}) must be a multiple of octet_interleave"
            yield ("octet_interleave",), self.octet_interleave, remedy

    def _room(self) -> Iterator[Wrong]:
        length = self.frame_length_octets
        room = self._data_octets()
        pointers = any(
            vc.services & {"packets", "bitstream"} and vc.packet_start == "pointer" for vc in self.vcs.values()
        )
        least = 3 if self.version != "tm" and pointers else 1  # AOS, USLP: the pointer stands in the data field
        if room < least:
            beside = length - room + least - 1
            yield ("frame_length_octets",), length, f"no room for data beside {beside} octets of headers and trailers"
            return
        for vcid, vc in self.vcs.items():
            if vc.packet_start != "pointer" and vc.packet_start >= room:
                yield ("vcs", vcid, "packet_start"), vc.packet_start, f"the data field has {room} octets"

    def _data_octets(self) -> int:
        """Octets of the data field when everything that may stand beside it does."""
        secondary = 0 if isinstance(self.secondary_header, str) else self.secondary_header
        header = {"tm": 6, "aos": 6 + 2 * self.header_error_control, "uslp": 8}[self.version]
        beside = header + self.insert_zone_octets + secondary + 4 * (self.ocf != "absent") + self._fecf_octets
        return self.frame_length_octets - beside

    @property
    def _fecf_octets(self) -> int:
        return 4 if self.fecf == "crc32" else 2 * bool(self.fecf)

    @property
    def unit_octets(self) -> int:
        """Octets of one stored frame, of the longest one if they vary."""
        return self.prefix_octets + self.frame_length_octets + self.suffix_octets


class ReedSolomonSettings(Model):
    """Reed-Solomon code (CCSDS 131.0-B); its virtual fill follows from frame_length_octets."""

    e: Literal[16, 8] = Field(16, description="wrong symbols corrected in a code word: 16 = (255,223), 8 = (255,239)")
    interleave: Annotated[int, Field(ge=1, le=8)] = Field(1, description="code words of a code block")
    basis: Literal["dual", "conventional"] = Field("dual", description="of its symbols; by the book dual")

    @property
    def data_octets(self) -> int:
        """Octets of a code word before its parity."""
        return 255 - 2 * self.e


class CodingSettings(Model):
    """How the physical channel is coded: used by links with unit: cadus."""

    marker: Annotated[str, Field(pattern=MARKER)] = Field(
        "1ACFFC1D", description="sync marker before each code block, 6 to 48 hex digits; none: code blocks back to back"
    )
    randomiser: Literal["none", "short", "long"] = Field(
        description="sequence added to each code block: short (255 bits, all issues of the book), long (131,071 bits)"
    )
    reed_solomon: ReedSolomonSettings | None = Field(None, description="absent = the frames are not coded")
    tail_octets: Octets = Field(0, description="octets between a code block and the next marker, of neither: left out")

    @property
    def marker_bits(self) -> int:
        """Length of the marker, 0 when there is none."""
        return 0 if self.marker == "none" else 4 * len(self.marker)

    def block_octets(self, frame_octets: int) -> int:
        """Octets behind a marker: of a code block and its tail."""
        code = self.reed_solomon
        return frame_octets + self.tail_octets + (0 if code is None else code.interleave * 2 * code.e)


class PlannedContact(Model):
    """A contact planned in advance; more can be planned while the gateway runs."""

    peer: str = Field(min_length=1, max_length=64, description="station or centre, for people")
    aos_utc: Annotated[str, Field(pattern=EPOCH)] = Field(
        description="acquisition of signal, such as 2026-11-24T12:00:00Z"
    )
    los_utc: Annotated[str, Field(pattern=EPOCH)] = Field(description="loss of signal")

    def rules(self) -> tuple[Rule, ...]:
        """Both are times that the gateway can hold, LOS after AOS."""
        return (self._times,)

    def _times(self) -> Iterator[Wrong]:
        first, last = CONTACT_YEARS
        times = {"aos_utc": self.aos_utc, "los_utc": self.los_utc}
        right = 0
        for key, text in times.items():
            try:
                year = datetime.fromisoformat(text.removesuffix("Z")).year
            except ValueError as error:
                yield (key,), text, f"expected a UTC time such as 2026-11-24T12:00:00Z: {error}"
                continue
            if first <= year <= last:
                right += 1
            else:
                yield (key,), text, f"expected a year from {first} to {last}"
        if right == 2 and self.span[0] >= self.span[1]:
            yield ("los_utc",), self.los_utc, f"must be after aos_utc {self.aos_utc}"

    @property
    def span(self) -> tuple[datetime, datetime]:
        """AOS and LOS."""
        aos, los = (datetime.fromisoformat(text.removesuffix("Z")) for text in (self.aos_utc, self.los_utc))
        return aos, los


class MibSettings(Model):
    """What the tables of a SCOS-2000 MIB leave to the control system."""

    cuc_epoch: Annotated[str, Field(pattern=EPOCH)] = Field(
        "1958-01-01T00:00:00Z", description="where CUC times (PTC 9) begin to count, in their scale"
    )
    cuc_scale: Literal["tai", "utc", "gps"] = Field("tai", description="time scale that CUC times count")
    cds_epoch: Annotated[str, Field(pattern=EPOCH)] = Field(
        "1958-01-01T00:00:00Z", description="midnight from which CDS times (PTC 9) count days, UTC"
    )
    length_bits: Literal[8, 16, 24, 32] = Field(
        8, description="length in front of texts and octets of variable size (PFC 0)"
    )

    def rules(self) -> tuple[Rule, ...]:
        """Epochs are times; that of CDS is a midnight."""
        return (self._epochs,)

    def _epochs(self) -> Iterator[Wrong]:
        for key, text in (("cuc_epoch", self.cuc_epoch), ("cds_epoch", self.cds_epoch)):
            try:
                epoch = datetime.fromisoformat(text.removesuffix("Z"))
            except ValueError:
                yield (key,), text, "expected a time such as 1958-01-01T00:00:00Z"
                continue
            if not 1958 <= epoch.year <= 2103:
                yield (key,), text, "expected a year from 1958 to 2103"
            elif key == "cds_epoch" and epoch.time() != datetime.min.time():
                yield (key,), text, "a CDS code counts days from midnight"


class DatabaseSettings(Model):
    """The mission database of a spacecraft: what its packets hold, and what the values mean (docs/values.md)."""

    file: PathText = Field(
        description="the file, or the folder of a SCOS-2000 MIB, relative to the configuration directory"
    )
    format: Literal["auto", "xtce", "mib", "ccsdspy", "yaml"] = Field("auto", description="auto: as it looks")
    apid: Annotated[int, Field(ge=0, le=2047)] | None = Field(
        None, description="ccsdspy: APID of the packets that the file describes; none = of all packets"
    )

    mib: MibSettings = Field(default_factory=MibSettings, description="mib: what its tables do not say")

    def rules(self) -> tuple[Rule, ...]:
        """What is given is of a format that does not say it itself."""
        return self._apid, self._mib

    def _mib(self) -> Iterator[Wrong]:
        if self.format not in {"auto", "mib"}:
            yield from self._without_effect(["mib"], f"a database in {self.format} says it itself: leave it out")

    def _apid(self) -> Iterator[Wrong]:
        if self.format not in {"auto", "ccsdspy"}:
            yield from self._without_effect(["apid"], f"a database in {self.format} says it itself: leave it out")


class Spacecraft(Model):
    """One spacecraft of a mission."""

    name: Name
    scids: list[Annotated[int, Field(ge=0, le=65535)]] = Field(default_factory=list, description="ids in its frames")
    frames: FrameSettings | None = Field(None, description="its transfer frames")
    packets: PacketSettings = Field(default_factory=PacketSettings, description="its packets on links without frames")
    coding: CodingSettings | None = Field(None, description="how its frames are sent as CADUs")
    contacts: list[PlannedContact] = Field(default_factory=list, description="contacts planned in advance")
    database: DatabaseSettings | None = Field(None, description="its mission database: engineering values")

    def rules(self) -> tuple[Rule, ...]:
        """Ids fit the header, and one contact ends before the next begins."""
        return self._ids, self._coding, self._one_contact_at_a_time

    def _ids(self) -> Iterator[Wrong]:
        for k, scid in enumerate(self.scids):
            highest = 65535 if self.frames is None else {"tm": 1023, "aos": 255, "uslp": 65535}[self.frames.version]
            if self.frames is not None and scid > highest:
                yield ("scids", k), scid, f"{self.frames.version.upper()} frames: 0 to {highest}"

    def _coding(self) -> Iterator[Wrong]:
        if self.coding is None:
            return
        if self.frames is None:
            yield ("coding",), "given", "code blocks hold frames: describe them under frames, or leave coding out"
            return
        if self.frames.variable_length:
            yield ("coding",), "given", "code blocks hold frames of one length: leave variable_length or coding out"
            return
        code, length = self.coding.reed_solomon, self.frames.frame_length_octets
        if code is None:
            return
        longest = code.interleave * code.data_octets
        keys = ("coding", "reed_solomon", "interleave")
        if length % code.interleave:
            yield keys, code.interleave, f"frame_length_octets ({length}) must be a multiple of interleave"
        elif length > longest:
            need = -(-length // code.data_octets)
            fits = next((depth for depth in range(need, 9) if length % depth == 0), None)
            way_out = (
                f"a frame of {length} needs interleave {fits}" if fits else f"no frame of {length} fits e {code.e}"
            )
            yield keys, code.interleave, f"{code.interleave} code words hold {longest} octets of frame: {way_out}"

    def _one_contact_at_a_time(self) -> Iterator[Wrong]:
        right = [(k, contact) for k, contact in enumerate(self.contacts) if not any(contact.wrongs())]
        for (_, before), (k, contact) in pairwise(sorted(right, key=lambda row: row[1].span)):
            if contact.span[0] < before.span[1]:
                remedy = f"overlaps the contact with {before.peer} until {before.los_utc}: one contact at a time"
                yield ("contacts", k, "aos_utc"), contact.aos_utc, remedy


class Mission(Model):
    """missions/NAME.yaml"""

    name: Name
    description: str = Field("", description="for people")
    lifecycle: Literal["planned", "rehearsal", "operational", "archived"] = Field(
        "operational", description="where the mission stands, for people"
    )
    support_modes: list[SupportMode] = Field(["simulation"], min_length=1, description="one mission instance each")
    contact_silence_s: Annotated[float, Field(ge=0.05, le=604_800, allow_inf_nan=False)] = Field(
        60.0, description="silence that closes a contact without a plan"
    )
    spacecraft: list[Spacecraft] = Field(min_length=1, description="one or more")

    def rules(self) -> tuple[Rule, ...]:
        """Each support mode makes one instance."""
        return (self._modes,)

    def _modes(self) -> Iterator[Wrong]:
        for k, mode in enumerate(self.support_modes):
            if mode in self.support_modes[:k]:
                yield ("support_modes",), self.support_modes, f"{mode} stands twice"
