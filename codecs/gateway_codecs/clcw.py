"""Communications link control word (CCSDS 232.0-B-4, clause 4.2), carried in the operational control field."""

from __future__ import annotations

from dataclasses import dataclass

import construct as c

from gateway_codecs.declared import FormatError, build, fits, parse

CLCW = c.BitStruct(
    "control_word_type" / c.BitsInteger(1),
    "version" / c.BitsInteger(2),
    "status" / c.BitsInteger(3),
    "cop_in_effect" / c.BitsInteger(2),
    "vcid" / c.BitsInteger(6),
    "spare" / c.BitsInteger(2),
    "no_rf" / c.Flag,
    "no_bit_lock" / c.Flag,
    "lockout" / c.Flag,
    "wait" / c.Flag,
    "retransmit" / c.Flag,
    "farm_b_counter" / c.BitsInteger(2),
    "spare_2" / c.BitsInteger(1),
    "report_value" / c.BitsInteger(8),
)


@dataclass(frozen=True, slots=True)
class Clcw:
    """One CLCW."""

    vcid: int
    report_value: int
    status: int = 0
    cop_in_effect: int = 1
    no_rf: bool = False
    no_bit_lock: bool = False
    lockout: bool = False
    wait: bool = False
    retransmit: bool = False
    farm_b_counter: int = 0

    def __post_init__(self) -> None:
        fits(
            "CLCW", vcid=(self.vcid, 6), report_value=(self.report_value, 8), status=(self.status, 3),
            cop_in_effect=(self.cop_in_effect, 2), farm_b_counter=(self.farm_b_counter, 2),
        )  # fmt: skip


def encode(clcw: Clcw) -> bytes:
    """Return the four octets."""
    fields = {name: getattr(clcw, name) for name in clcw.__slots__}
    return build(CLCW, {**fields, "control_word_type": 0, "version": 0, "spare": 0, "spare_2": 0}, "CLCW")


def decode(data: bytes) -> Clcw:
    """Decode four octets. Raises FormatError for a control word of another type."""
    word = parse(CLCW, data, "CLCW")
    if word.control_word_type != 0 or word.version != 0 or len(data) != 4:
        raise FormatError(f"CLCW: type {word.control_word_type}, version {word.version}, {len(data)} octets")
    return Clcw(**{name: word[name] for name in Clcw.__slots__})
