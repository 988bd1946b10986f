"""The solar payload of the demo: packets whose values move, as its mission database describes them. Pure.

Everything depends on the on-board time alone: an orbit of 40 s heats and cools, filter wheel and shutter go through
their positions, pointing and radiometer have noise, and some values leave their limits for a while in each orbit.
What a packet says is the same for the same time, so packets are kept and only their counts and times are put in anew.
"""

from __future__ import annotations

import functools
import math
import random
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gateway_codecs.mdb import declared, scalar
from gateway_codecs.mdb.declared import Place
from gateway_codecs.mdb.model import (
    Calibrator,
    Database,
    FloatEncoding,
    IntegerEncoding,
    IntegerKind,
    Limits,
    ParameterType,
    Severity,
    States,
)
from gateway_codecs.mdb.scalar import Raw, Undecodable
from gateway_codecs.mdb.yaml_form import read_yaml
from gateway_codecs.time_codes import TimeCode
from gateway_codecs.time_scales import SECOND_NS
from gateway_config.loader import EXAMPLES
from gateway_simulators.packet_forms import PacketForm

SYSTEM = "/SOLAR/"
EPOCH_TAI_NS = TimeCode("cuc", epoch="2000-01-01T00:00:00", scale="tai").epoch_ns
TIME_OCTET = 6 + 7  # behind the primary header and the seven octets of the PUS-C header before its time
Chosen = Raw | str | list[Raw]
STEP_NS = 250_000_000
ORBIT_STEPS = 160
MOST_SERIES = 8
HOUSEKEEPING = {
    100: (
        "HK_POWER",
        "HK_COMPUTER",
        "HK_AOCS",
        "HK_COMMUNICATION",
        "HK_TEMPERATURES",
        "TIME_REPORT",
        "REPORT_ACCEPTED",
    ),
    101: ("HK_PAYLOAD", "HK_CAMERA", "HK_MECHANISMS", "HK_POINTING", "HK_HEATERS", "EVENT"),
    102: ("TEMP_TELESCOPE", "TEMP_RADIOMETER", "TEMP_ELECTRONICS"),
    200: ("RADIOMETER_ABSOLUTE", "RADIOMETER_FILTERS", "RADIOMETER_BOLOMETER"),
    201: ("IMAGE_HEADER", "IMAGE_PART"),
}
WEIGHTS = {"TIME_REPORT": 0.2, "REPORT_ACCEPTED": 0.2, "EVENT": 0.1, "IMAGE_HEADER": 0.1}
FILTERS = ("NM_215", "NM_393", "NM_535", "NM_607", "NM_782")
CHANNELS_NM = (215, 268, 535, 607, 782)
EVENTS = ("filter wheel 1 in position", "shutter closed", "image stored", "heater 3 at its set point", "guiding locked")
TARGETS = {"degC": 21.0, "W/m2": 1361.0, "%": 60.0}
"""Engineering values around which parameters without limits move, by unit."""
LEAVING = frozenset({"V_BUS", "OBC_LOAD", "TT_WINDOW", "CCD_TEMPERATURE", "GUIDE_ERROR_X", "SHUTTER_OPEN_DELAY"})
"""They leave their limits for a while in each orbit."""


@functools.cache
def solar_database() -> Database:
    """Return the mission database of the demo, as the gateway reads it."""
    file = EXAMPLES / "demo" / "databases" / "solar.yaml"
    return read_yaml(file.read_bytes(), file.name).database


class SolarPayload:
    """Makes packets of its APIDs; `seed` decides which comes when, the on-board time what it says."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def packet(self, apid: int, sequence: int, tai_ns: int, length: int) -> bytes:
        """Return the next packet of an APID; `length` octets where its type leaves that open (image parts)."""
        names = HOUSEKEEPING[apid]
        (name,) = self._random.choices(names, [WEIGHTS.get(one, 1.0) for one in names])
        packet = packet_at(name, tai_ns // STEP_NS)
        if name == "IMAGE_PART":
            packet += self._random.randbytes(max(length - len(packet), 0))
        head = packet[:2] + struct.pack(">HH", 0xC000 | sequence, len(packet) - 7)
        time = onboard_time(tai_ns)
        return head + packet[6:TIME_OCTET] + time + packet[TIME_OCTET + len(time) :]


def onboard_time(tai_ns: int) -> bytes:
    """Return the time code of an instant: CUC, whole seconds since 2000 and 1/65536 of them (301.0-B-4, 3.2)."""
    return ((tai_ns - EPOCH_TAI_NS) * 65536 // SECOND_NS).to_bytes(6, "big")


@functools.lru_cache(maxsize=4096)
def packet_at(name: str, step: int) -> bytes:
    """Return a packet of a type at a step of the on-board time, its counts, length and time still zero."""
    varying = _VARIABLE.get(name)
    if varying is not None:
        return declared.build(solar_database(), SYSTEM + name, varying(step))
    form = _form(name)
    return form.make({one: value(step) for one, value in _values(name).items()})


@functools.cache
def _form(name: str) -> PacketForm:
    return PacketForm(solar_database(), SYSTEM + name, {})


@functools.cache
def _values(name: str) -> Mapping[str, Callable[[int], Raw | list[Raw]]]:
    """Return for each parameter of a packet type what gives its raw value at a step."""
    fields = _form(name).fields
    headers = (f"{SYSTEM}CCSDS_", f"{SYSTEM}PUS_", f"{SYSTEM}SID")
    return {one: _value(found[0].place) for one, found in fields.items() if not one.startswith(headers)}


def _value(place: Place) -> Callable[[int], Raw | list[Raw]]:
    name = place.parameter.removeprefix(SYSTEM)
    database = solar_database()
    kind = database.types[database.parameters[place.parameter].type_name]
    if name in _SPECIAL:
        return functools.partial(_named, _SPECIAL[name], kind)
    if isinstance(place.encoding, FloatEncoding):
        return _Wave(name, 0.0, 0.4)
    if not isinstance(place.encoding, IntegerEncoding):
        return _Octets(name, place.size_bits // 8)
    states = kind.calibration.default
    if isinstance(states, States):
        return _Constant(_usual_state(states, kind.alarms.default))
    if kind.unit == "" and states is None and place.encoding.kind is IntegerKind.UNSIGNED:
        return _Counter(name, place.size_bits)
    return _wave(name, kind, place.encoding)


def _named(choose: Callable[[int], Chosen], kind: ParameterType, step: int) -> Raw | list[Raw]:
    """Return the raw value of what a special parameter is; a text is a label."""
    chosen = choose(step)
    states = kind.calibration.default
    if isinstance(chosen, str) and isinstance(states, States):
        return next(state.low for state in states.states if state.label == chosen)
    return chosen.encode() if isinstance(chosen, str) else chosen


@dataclass(frozen=True, slots=True)
class _Constant:
    raw: Raw

    def __call__(self, step: int) -> Raw:
        return self.raw


@dataclass(frozen=True, slots=True)
class _Counter:
    """Counts up at its own pace, and over."""

    name: str
    size_bits: int

    def __call__(self, step: int) -> Raw:
        pace = 1 + _hash(self.name) % 7
        return (step // pace + _hash(self.name)) % (1 << self.size_bits)


@dataclass(frozen=True, slots=True)
class _Octets:
    name: str
    octets: int

    def __call__(self, step: int) -> Raw:
        return f"{self.name}"[: self.octets].encode().ljust(self.octets, b" ")


@dataclass(frozen=True, slots=True)
class _Wave:
    """Goes up and down around a middle once in an orbit, with a little noise."""

    name: str
    middle: float
    swing: float

    def __call__(self, step: int) -> float:
        phase = _hash(self.name) % ORBIT_STEPS
        noise = (_hash(f"{self.name}{step}") % 1000 / 1000 - 0.5) * 0.06
        return self.middle + self.swing * (math.sin(2 * math.pi * (step + phase) / ORBIT_STEPS) + noise)


@dataclass(frozen=True, slots=True)
class _Counts:
    """A wave in whole counts of a converter."""

    wave: _Wave
    low: int
    high: int

    def __call__(self, step: int) -> Raw:
        return min(max(round(self.wave(step)), self.low), self.high)


def _hash(text: str) -> int:
    return zlib.crc32(text.encode())


def _wave(name: str, kind: ParameterType, encoding: IntegerEncoding) -> _Counts:
    """Return a wave that stays within the limits, or leaves them at its crest."""
    signed = encoding.kind is not IntegerKind.UNSIGNED
    low, high = (1 - (1 << encoding.size_bits - 1), (1 << encoding.size_bits - 1) - 1) if signed else (
        0, (1 << encoding.size_bits) - 1
    )  # fmt: skip
    grid = sorted({low + (high - low) * k // 400 for k in range(401)})
    values = [(value, raw) for raw in grid if (value := _engineering(raw, kind.calibration.default)) is not None]
    least, most = _room(kind, [value for value, _ in values])
    share = 0.62 if name in LEAVING else 0.35
    middle, reach = (least + most) / 2, (most - least) * share
    ends = [min(values, key=lambda pair: abs(pair[0] - wanted))[1] for wanted in (middle - reach, middle + reach)]
    return _Counts(_Wave(name, sum(ends) / 2, (ends[1] - ends[0]) / 2), low, high)


def _engineering(raw: int, calibrator: Calibrator | None) -> float | None:
    if calibrator is None:
        return float(raw)
    try:
        value = scalar.calibrated(raw, calibrator, _nothing)
    except Undecodable:
        return None
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _nothing(name: str, calibrated: bool) -> float:
    raise Undecodable(name)


def _room(kind: ParameterType, values: list[float]) -> tuple[float, float]:
    """Return between which engineering values a parameter moves: its narrowest limits, or around its usual value."""
    least, most = min(values), max(values)
    limits = kind.alarms.default
    if limits is not None and limits.ranges:
        narrow = min(limits.ranges, key=lambda one: one.severity).interval
        low = least if narrow.low is None else float(narrow.low)
        high = most if narrow.high is None else float(narrow.high)
        return max(low, least), min(high, most)
    middle = TARGETS.get(kind.unit, (least + most) / 2)
    reach = (most - least) * (0.03 if kind.unit in TARGETS else 0.1)
    return middle - reach, middle + reach


_NOMINAL = ("NOMINAL", "ON", "SUN_FINE", "SCIENCE", "IMAGING", "LOCKED", "GOOD", "OPEN", "RX_A", "LENS")


def _usual_state(states: States, limits: Limits | None) -> Raw:
    """Return the raw value of the state in which a parameter usually is: one that is no alarm."""
    alarms = {one.label for one in limits.labels if one.severity > Severity.NONE} if limits is not None else set()
    good = [state for state in states.states if state.label not in alarms]
    for label in _NOMINAL:
        for state in good:
            if state.label == label:
                return state.low
    return good[0].low


# ---- what does more than go up and down ----


def _filter(step: int) -> str:
    """Return the filter in the beam: each for three seconds, and one step of the way to the next."""
    return "BETWEEN" if step % 12 == 11 else FILTERS[step // 12 % len(FILTERS)]


def _shutter(step: int) -> str:
    return ("CLOSED", "OPENING", "OPEN", "OPEN", "CLOSING", "CLOSED")[step % 6]


def _power_mode(step: int) -> str:
    return "ECLIPSE" if step % ORBIT_STEPS >= ORBIT_STEPS * 3 // 4 else "NOMINAL"


def _turned(axis: int, step: int) -> float:
    """Return one component of the attitude, a slow turn about the line of sight."""
    angle = math.pi * step / ORBIT_STEPS / 8
    return (math.cos(angle), 0.0, 0.0, math.sin(angle))[axis]


def _channel(place: int, channel_nm: int, step: int) -> list[Raw]:
    """Return ten samples of a filter radiometer, bright while the cover is open."""
    level = 900_000 * place if step // 8 % 2 else 1_500
    return [level + _noise(str(channel_nm), step, k, 900) for k in range(10)]


def _noise(name: str, step: int, k: int, reach: int) -> int:
    return _hash(f"{name}{step}/{k}") % (2 * reach + 1) - reach


_SPECIAL: Mapping[str, Callable[[int], Chosen]] = {
    "WHEEL_1_POSITION": _filter,
    "WHEEL_1_MOVING": lambda step: "ON" if _filter(step) == "BETWEEN" else "OFF",
    "WHEEL_2_MOVING": lambda step: "OFF",
    "SHUTTER": _shutter,
    "MODE_POWER": _power_mode,
    "AOCS_ECLIPSE": lambda step: "ON" if _power_mode(step) == "ECLIPSE" else "OFF",
    "PAYLOAD_MODE": lambda step: "CALIBRATION" if step // ORBIT_STEPS % 4 == 3 else "SCIENCE",
    "CAMERA_STATE": lambda step: ("IDLE", "INTEGRATING", "READING")[step // 2 % 3],
    "RA_STATE": lambda step: "OPEN" if step // 8 % 2 else "CLOSED",
    "PAYLOAD_ERRORS": lambda step: step // (ORBIT_STEPS * 2) % 65536,
    "OBC_EDAC_DOUBLE": lambda step: 0,
    "OBC_SOFTWARE": lambda step: "3.2.1",
    "RA_IRRADIANCE": lambda step: 13_610_000 + round(6_000 * math.sin(2 * math.pi * step / ORBIT_STEPS)),
    "QUATERNION_W": functools.partial(_turned, 0),
    "QUATERNION_X": functools.partial(_turned, 1),
    "QUATERNION_Y": functools.partial(_turned, 2),
    "QUATERNION_Z": functools.partial(_turned, 3),
    "IMAGE_NUMBER": lambda step: step // 12,
    "IMAGE_FILTER": lambda step: FILTERS[step // 12 % len(FILTERS)],
    "IMAGE_KIND": lambda step: "SUN",
    "IMAGE_COLUMNS": lambda step: 2048,
    "IMAGE_LINES": lambda step: 2048,
    "PART_IMAGE": lambda step: step // 12,
    "PART_NUMBER": lambda step: step % 12,
    "REPORT_TC": lambda step: 0x1864,
    "REPORT_TC_COUNT": lambda step: 0xC000 | step % 16384,
    "TIME_RATE": lambda step: 4,
    "TIME_ONBOARD": lambda step: onboard_time(step * STEP_NS),
    "RF_COVER": lambda step: step // 8 % 2,
    **{f"RF_{channel}": functools.partial(_channel, k, channel) for k, channel in enumerate(CHANNELS_NM, 1)},
}


def _series(step: int) -> dict[str, Raw | list[Raw]]:
    """Return the bolometer's differences, between one and eight of them."""
    count = 1 + step % MOST_SERIES
    return {
        f"{SYSTEM}RB_SENSOR": 26_000 + _noise("sensor", step, 0, 40),
        f"{SYSTEM}RB_REFERENCE": 25_900,
        f"{SYSTEM}RB_FLUX": 13_000 + _noise("flux", step, 0, 400),
        f"{SYSTEM}RB_SAMPLES": count,
        f"{SYSTEM}RB_SERIES": [_noise("series", step, k, 60) for k in range(count)],
    }


def _event(step: int) -> dict[str, Raw | list[Raw]]:
    number = step % len(EVENTS)
    return {f"{SYSTEM}EVENT_NUMBER": number, f"{SYSTEM}EVENT_TEXT": EVENTS[number].encode()}


def _image_header(step: int) -> dict[str, Raw | list[Raw]]:
    database = solar_database()
    given: dict[str, Raw | list[Raw]] = {}
    for name in ("IMAGE_NUMBER", "IMAGE_FILTER", "IMAGE_KIND", "IMAGE_COLUMNS", "IMAGE_LINES"):
        kind = database.types[database.parameters[SYSTEM + name].type_name]
        given[SYSTEM + name] = _named(_SPECIAL[name], kind, step)
    more: dict[str, Raw] = {
        "IMAGE_EXPOSURE": 1400,
        "IMAGE_MEAN": 21_000 + step % 50,
        "IMAGE_MAXIMUM": 52_000 + step % 99,
    }
    label = f"sun {FILTERS[step // 12 % len(FILTERS)].removeprefix('NM_')} nm no {step // 12}"
    more["IMAGE_LABEL"] = label.encode()
    more["IMAGE_START"] = onboard_time(step // 12 * 12 * STEP_NS)
    return given | {SYSTEM + name: raw for name, raw in more.items()}


_VARIABLE: Mapping[str, Callable[[int], dict[str, Raw | list[Raw]]]] = {
    "RADIOMETER_BOLOMETER": _series,
    "EVENT": _event,
    "IMAGE_HEADER": _image_header,
}
