"""How fast packets become calibrated, limit-checked values, beside a struct loop, space-packet-parser and ccsdspy.

One mission is written as an XTCE document, so that ours and space-packet-parser read the same definitions: housekeeping
packets of 60 parameters (linear, quadratic, curves of points, states, flags, reals) and the 7 of the header, with two
limits on each number. The struct loop does the same for each packet and nothing else; the other two know no limits.
"""

from __future__ import annotations

import io
import logging
import struct
import tempfile
from bisect import bisect_right
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.codecs import best
from gateway_codecs.mdb.decoder import Decoder
from gateway_codecs.mdb.xtce import read_xtce

BATCHES = (1, 8, 64, 2000)
FLOORS = {64: 500_000, 2000: 5_000_000}
TYPES = 20
HEADER = (("VERSION", 3), ("TYPE", 1), ("SEC_HDR", 1), ("APID", 11), ("FLAGS", 2), ("COUNT", 14), ("LENGTH", 16))
LINEAR, QUADRATIC = (1.5, 0.02), (-40.0, 0.004, 1e-8)
CURVE = ((0.0, 90.0), (9000.0, 60.0), (20000.0, 35.0), (33000.0, 10.0), (48000.0, -15.0), (65535.0, -60.0))
LABELS = ("OFF", "STANDBY", "ON", "SAFE")
WARNING, CRITICAL = (-200.0, 200.0), (-400.0, 400.0)
NAMES = (
    [f"V{k}" for k in range(20)]
    + [f"T{k}" for k in range(10)]
    + [f"R{k}" for k in range(4)]
    + [f"S{k}" for k in range(4)]
    + [f"F{k}" for k in range(8)]
    + [f"C{k}" for k in range(8)]
    + [f"E{k}" for k in range(6)]
)
FORMAT = struct.Struct(">HHH20h10H4H4B8BB6f")
PARAMETERS = len(HEADER) + len(NAMES)


def document() -> bytes:
    """Return the mission as XTCE 1.2."""
    types = [_type("Integer", "U8", _integer(8)), _type("Boolean", "F", _integer(1)), _states()]
    types += [_type("Integer", name, _integer(bits)) for name, bits in HEADER]
    types += [
        _type("Float", "V", _integer(16, "twosComplement", _polynomial(LINEAR)), alarms=True),
        _type("Float", "T", _integer(16, inside=_polynomial(QUADRATIC)), alarms=True),
        _type("Float", "R", _integer(16, inside=_spline()), alarms=True),
        _type("Float", "E", '<FloatDataEncoding sizeInBits="32"/>', alarms=True),
    ]
    of = {"V": "V", "T": "T", "R": "R", "S": "STATE", "F": "F", "C": "U8", "E": "E"}
    parameters = [_parameter(name, name) for name, _ in HEADER] + [_parameter(name, of[name[0]]) for name in NAMES]
    refs = "".join(f'<ParameterRefEntry parameterRef="{name}"/>' for name in _sent())
    head = "".join(f'<ParameterRefEntry parameterRef="{name}"/>' for name, _ in HEADER)
    containers = [f'<SequenceContainer name="ROOT" abstract="true"><EntryList>{head}</EntryList></SequenceContainer>']
    containers += [
        f'<SequenceContainer name="HK{k}"><EntryList>{refs}</EntryList><BaseContainer containerRef="ROOT">'
        f'<RestrictionCriteria><Comparison parameterRef="APID" value="{100 + k}"/></RestrictionCriteria>'
        "</BaseContainer></SequenceContainer>"
        for k in range(TYPES)
    ]
    return (
        '<SpaceSystem name="BENCH" xmlns="http://www.omg.org/spec/XTCE/20180204"><TelemetryMetaData>'
        f"<ParameterTypeSet>{''.join(types)}</ParameterTypeSet><ParameterSet>{''.join(parameters)}</ParameterSet>"
        f"<ContainerSet>{''.join(containers)}</ContainerSet></TelemetryMetaData></SpaceSystem>"
    ).encode()


def _sent() -> list[str]:
    """Parameters in the order of the packet: numbers of 16 bits, then states and counts, flags, reals."""
    return [name for kind in "VTRSCFE" for name in NAMES if name[0] == kind]


def _type(kind: str, name: str, inside: str, alarms: bool = False) -> str:
    ranges = "".join(
        f'<{level}Range minInclusive="{low}" maxInclusive="{high}"/>'
        for level, (low, high) in (("Warning", WARNING), ("Critical", CRITICAL))
    )
    alarm = f"<DefaultAlarm><StaticAlarmRanges>{ranges}</StaticAlarmRanges></DefaultAlarm>" if alarms else ""
    signed = ' signed="false"' if kind == "Integer" else ""
    return f'<{kind}ParameterType name="{name}"{signed}><UnitSet/>{inside}{alarm}</{kind}ParameterType>'


def _integer(bits: int, encoding: str = "unsigned", inside: str = "") -> str:
    return f'<IntegerDataEncoding sizeInBits="{bits}" encoding="{encoding}">{inside}</IntegerDataEncoding>'


def _polynomial(coefficients: tuple[float, ...]) -> str:
    terms = "".join(f'<Term coefficient="{one}" exponent="{k}"/>' for k, one in enumerate(coefficients))
    return f"<DefaultCalibrator><PolynomialCalibrator>{terms}</PolynomialCalibrator></DefaultCalibrator>"


def _spline() -> str:
    points = "".join(f'<SplinePoint raw="{x}" calibrated="{y}"/>' for x, y in CURVE)
    return f'<DefaultCalibrator><SplineCalibrator order="1">{points}</SplineCalibrator></DefaultCalibrator>'


def _states() -> str:
    listed = "".join(f'<Enumeration value="{k}" label="{label}"/>' for k, label in enumerate(LABELS))
    inside = f"{_integer(8)}<EnumerationList>{listed}</EnumerationList>"
    return f'<EnumeratedParameterType name="STATE"><UnitSet/>{inside}</EnumeratedParameterType>'


def _parameter(name: str, of: str) -> str:
    return f'<Parameter name="{name}" parameterTypeRef="{of}"/>'


def packets(count: int, types: int) -> list[bytes]:
    """Return packets whose values move within their ranges, a few beyond a limit."""
    rng = np.random.default_rng(4)
    made = []
    for k in range(count):
        numbers = [*rng.integers(-9000, 11000, 20).tolist(), *rng.integers(0, 60000, 14).tolist()]
        octets = [*rng.integers(0, 4, 4).tolist(), *rng.integers(0, 256, 9).tolist()]
        reals = rng.normal(0, 90, 6).tolist()
        head = (100 + k % types, 0xC000 | k % 0x4000, FORMAT.size - 7)
        made.append(FORMAT.pack(*head, *numbers, *octets, *reals))
    return made


# ---- the contestants: each returns how many values it made ----


def ours(decoder: Decoder, octets: Any, offset: Any, length: Any) -> int:
    """Decode one batch, every column looked at."""
    found = decoder.decode(octets, offset, length)
    return sum(len(one) * len([*one.columns.values()]) for one in found)


def struct_loop(listed: list[bytes]) -> int:
    """One packet after the other: unpack, calibrate, check limits; values in a list for each packet."""
    at = [x for x, _ in CURVE]
    values = 0
    for packet in listed:
        first, sequence, size, *rest = FORMAT.unpack(packet)
        made: list[Any] = [first >> 13, first >> 12 & 1, first >> 11 & 1, first & 0x7FF]
        made += [sequence >> 14, sequence & 0x3FFF, size]
        numbers = [LINEAR[0] + LINEAR[1] * raw for raw in rest[:20]]
        numbers += [QUADRATIC[0] + raw * (QUADRATIC[1] + raw * QUADRATIC[2]) for raw in rest[20:30]]
        for raw in rest[30:34]:
            left = min(bisect_right(at, raw), len(at) - 1) - 1
            (x0, y0), (x1, y1) = CURVE[left], CURVE[left + 1]
            numbers.append(y0 + (raw - x0) * (y1 - y0) / (x1 - x0))
        numbers += rest[47:]
        states = [(_severity(value)) for value in numbers]
        made += numbers
        made += [LABELS[raw] for raw in rest[34:38]]
        made += rest[38:46]
        made += [bool(rest[46] >> bit & 1) for bit in range(7, -1, -1)]
        values += len(made) if len(states) == len(numbers) else 0
    return values


def _severity(value: float) -> int:
    if not CRITICAL[0] <= value <= CRITICAL[1]:
        return 4
    return 0 if WARNING[0] <= value <= WARNING[1] else 2


def space_packet_parser(path: Path) -> Callable[[list[bytes]], int] | None:
    """Return space-packet-parser with the same document, None when it is not installed."""
    try:
        from space_packet_parser import XtcePacketDefinition
    except ImportError:
        return None
    definition = XtcePacketDefinition.from_xtce(path, root_container_name="ROOT")
    return lambda listed: sum(len(definition.parse_bytes(packet)) for packet in listed)


def ccsdspy_fields() -> Callable[[list[bytes]], int] | None:
    """Return ccsdspy with the same fields, polynomials and states, None when it is not installed."""
    logging.getLogger("ccsdspy").disabled = True
    try:
        import ccsdspy
        from ccsdspy import converters
    except ImportError:
        return None
    bits = {"V": ("int", 16), "T": ("uint", 16), "R": ("uint", 16), "S": ("uint", 8)}
    bits |= {"F": ("uint", 1), "C": ("uint", 8), "E": ("float", 32)}
    layout = ccsdspy.FixedLength([ccsdspy.PacketField(name, *bits[name[0]]) for name in _sent()])
    for name in NAMES:
        if name[0] in "VT":
            coefficients = [*(LINEAR if name[0] == "V" else QUADRATIC)][::-1]
            layout.add_converted_field(name, f"{name}_", converters.PolyConverter(coefficients))
        elif name[0] == "S":
            layout.add_converted_field(name, f"{name}_", converters.EnumConverter(dict(enumerate(LABELS))))

    def run(listed: list[bytes]) -> int:
        found = layout.load(io.BytesIO(b"".join(listed)), include_primary_header=True)
        return len(listed) * sum(1 for name in found if not name.endswith("_"))

    return run


def measure() -> list[tuple[str, float, str]]:
    """Return rows (what, parameters per second on one core, note)."""
    text = document()
    decoder = Decoder(read_xtce(text, "bench.xml").database)
    made = {(count, types): packets(count, types) for count in BATCHES for types in (1, TYPES) if count >= types}
    loop = PARAMETERS * 2000 / best(lambda: struct_loop(made[2000, 1]))
    rows = []
    for (count, types), listed in made.items():
        length = np.array([len(one) for one in listed], np.int64)
        batch = np.frombuffer(b"".join(listed), np.uint8), np.cumsum(length) - length, length
        assert ours(decoder, *batch) == count * PARAMETERS
        rate = count * PARAMETERS / best(lambda batch=batch: ours(decoder, *batch), 20)  # type: ignore[misc]
        floor = f"; floor {FLOORS[count]:,}" if count in FLOORS else ""
        about = "one packet type" if types == 1 else f"{types} packet types"
        rows.append((f"values, batch of {count}", rate, f"{about}; {rate / loop:.2f} x the struct loop{floor}"))
    rows.append(("values, struct loop", loop, "one packet after the other, same calibrations and limits"))
    with tempfile.NamedTemporaryFile(suffix=".xml") as file:
        file.write(text)
        file.flush()
        others = (
            ("space-packet-parser", space_packet_parser(Path(file.name)), 200, "same XTCE, no limits"),
            ("ccsdspy", ccsdspy_fields(), 2000, "same fields, no curves, no limits"),
        )
        for name, run, count, note in others:
            if run is None:
                rows.append((f"values, {name}", 0.0, "not installed"))
                continue
            listed = made[2000, 1][:count]
            assert run(listed) >= count * (PARAMETERS - len(HEADER))
            rate = count * PARAMETERS / best(lambda run=run, listed=listed: run(listed))  # type: ignore[misc]
            rows.append((f"values, {name}", rate, f"{note}; {rate / loop:.2f} x the struct loop"))
    return rows


if __name__ == "__main__":
    for what, rate, note in measure():
        print(f"{what:<34} {rate:>12,.0f}  parameters/s, {note}")
