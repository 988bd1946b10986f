"""Parameter type and format codes (PTC, PFC) as encodings (ICD appendix A; ECSS-E-70-41A, 23)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gateway_codecs.mdb.mib.form import MibForm
from gateway_codecs.mdb.model import (
    BIG,
    BinaryEncoding,
    Encoding,
    FloatEncoding,
    FloatKind,
    IntegerEncoding,
    IntegerKind,
    StringEncoding,
    TimeEncoding,
    TimeMeaning,
    TypeKind,
    little,
)

BITS_MAX = 8 * 65542
"""Of the longest space packet."""
_INTEGER_BITS = {**{pfc: pfc + 4 for pfc in range(13)}, 13: 24, 14: 32, 15: 48, 16: 64}
_REALS = {
    1: (32, FloatKind.IEEE_754),
    2: (64, FloatKind.IEEE_754),
    3: (32, FloatKind.MIL_STD_1750A),
    4: (48, FloatKind.MIL_STD_1750A),
}
BOOLEAN, ENUMERATED, UNSIGNED, SIGNED, REAL, BITS, OCTETS, TEXT, ABSOLUTE, RELATIVE, DEDUCED, SAVED = *range(1, 12), 13
NUMBERS = (BOOLEAN, ENUMERATED, UNSIGNED, SIGNED, REAL)


@dataclass(frozen=True, slots=True)
class Coded:
    """How a parameter stands in a packet; `size_bits` None = the packet says."""

    kind: TypeKind
    encoding: Encoding
    size_bits: int | None
    time: TimeMeaning | None = None

    @property
    def is_number(self) -> bool:
        """Whether calibrations and limits by number apply."""
        return isinstance(self.encoding, IntegerEncoding | FloatEncoding) and self.kind != "relative_time"


class Unsupported(ValueError):
    """PTC and PFC that have no meaning."""


def coded(ptc: int, pfc: int, form: MibForm, is_little: bool = False, as_number: bool = False) -> Coded:
    """Return how (PTC, PFC) stands in a packet; `as_number`: a bit string is to be calibrated. Raises Unsupported.

    `is_little` (ENDIAN L) swaps the octets of numbers that are whole octets, and is refused for all others.
    """
    found = _coded(ptc, pfc, form, as_number)
    if not is_little:
        return found
    encoding = found.encoding
    if not isinstance(encoding, IntegerEncoding | FloatEncoding) or encoding.size_bits % 8:
        raise Unsupported(f"ENDIAN L needs a number of whole octets, not PTC {ptc} PFC {pfc}")
    return replace(found, encoding=replace(encoding, byte_order=little(encoding.size_bits // 8)))


def _coded(ptc: int, pfc: int, form: MibForm, as_number: bool) -> Coded:
    if ptc in NUMBERS or (ptc == BITS and as_number and pfc):
        found = _number(ptc, pfc)
    elif ptc in {BITS, OCTETS, TEXT} and 0 <= pfc * (1 if ptc == BITS else 8) <= BITS_MAX:
        found = _string(ptc, pfc, form)
    else:
        found = _time(ptc, pfc, form)
    if found is None:
        raise Unsupported(f"PTC {ptc} PFC {pfc} is not known")
    return found


def _number(ptc: int, pfc: int) -> Coded | None:
    if ptc == REAL and pfc in _REALS:
        size, kind = _REALS[pfc]
        return Coded("float", FloatEncoding(size, kind, BIG), size)
    if ptc in {UNSIGNED, SIGNED} and pfc in _INTEGER_BITS:
        return _integer("integer", _INTEGER_BITS[pfc], ptc == SIGNED)
    if ptc == BOOLEAN and 0 <= pfc <= 64:
        return _integer("boolean", max(1, pfc))
    return _integer("integer", pfc) if ptc in {ENUMERATED, BITS} and 1 <= pfc <= 64 else None


def _integer(kind: TypeKind, size_bits: int, is_signed: bool = False) -> Coded:
    sign = IntegerKind.TWOS_COMPLEMENT if is_signed else IntegerKind.UNSIGNED
    return Coded(kind, IntegerEncoding(size_bits, sign), size_bits)


def _string(ptc: int, pfc: int, form: MibForm) -> Coded:
    unit = 1 if ptc == BITS else 8
    size = pfc * unit or None
    if ptc == TEXT:
        charset = "latin-1"
        if size is None:
            return Coded("string", StringEncoding(None, charset, tag_bits=form.length_bits, tag_unit_bits=8), None)
        return Coded("string", StringEncoding(size, charset), size)
    if size is None:
        return Coded("binary", BinaryEncoding(0, form.length_bits, unit), None)
    return Coded("binary", BinaryEncoding(size), size)


def _cuc(pfc: int) -> tuple[int, int]:
    return (pfc - 3) // 4 + 1, (pfc - 3) % 4


def _time(ptc: int, pfc: int, form: MibForm) -> Coded | None:
    if ptc == RELATIVE and 3 <= pfc <= 18:
        coarse, fine = _cuc(pfc)
        size = 8 * (coarse + fine)
        encoding = IntegerEncoding(size, IntegerKind.TWOS_COMPLEMENT)
        return Coded("relative_time", encoding, size, TimeMeaning(scale=256.0**-fine))
    if ptc != ABSOLUTE or not 0 <= pfc <= 18:
        return None
    if pfc == 0:
        return Coded("absolute_time", TimeEncoding(replace(form.cuc, p_field="present")), None)
    if pfc <= 2:
        code = replace(form.cds, p_field="implied", day_octets=2, submillisecond="us" if pfc == 2 else "none")
    else:
        coarse, fine = _cuc(pfc)
        code = replace(form.cuc, p_field="implied", coarse_octets=coarse, fine_octets=fine)
    return Coded("absolute_time", TimeEncoding(code), 8 * code.t_field_octets)
