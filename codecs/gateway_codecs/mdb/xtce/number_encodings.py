"""Integer and float encodings of XTCE as values; what of them is decoded and what is not."""

from __future__ import annotations

from typing import NamedTuple

from gateway_codecs.mdb.model import BIG, FloatEncoding, FloatKind, IntegerEncoding, IntegerKind, little
from gateway_codecs.mdb.xtce.elements import Element
from gateway_codecs.mdb.xtce.numbers import whole

_INTEGERS = {
    "unsigned": IntegerKind.UNSIGNED,
    "signMagnitude": IntegerKind.SIGN_MAGNITUDE,
    "twosComplement": IntegerKind.TWOS_COMPLEMENT,
    "twosCompliment": IntegerKind.TWOS_COMPLEMENT,  # XTCE 1.0 and 1.1 spell it so
    "signed": IntegerKind.TWOS_COMPLEMENT,  # in no version, in many files
    "onesComplement": IntegerKind.ONES_COMPLEMENT,
    "onesCompliment": IntegerKind.ONES_COMPLEMENT,
    "BCD": IntegerKind.BCD,
    "packedBCD": IntegerKind.PACKED_BCD,
}
_FLOATS = {
    "IEEE754_1985": (FloatKind.IEEE_754, {16, 32, 64}),
    "IEEE754": (FloatKind.IEEE_754, {16, 32, 64}),
    "IEEE-754": (FloatKind.IEEE_754, {16, 32, 64}),
    "MILSTD_1750A": (FloatKind.MIL_STD_1750A, {32, 48}),
    "MIL-1750A": (FloatKind.MIL_STD_1750A, {32, 48}),
}
_DIGIT_BITS = {IntegerKind.BCD: 8, IntegerKind.PACKED_BCD: 4}
LITTLE = "leastSignificantByteFirst"
_BIG = "mostSignificantByteFirst"


class NumberCoding(NamedTuple):
    """A number's encoding; without one, its size (0 = unknown or none) and why it is not decoded."""

    encoding: IntegerEncoding | FloatEncoding | None
    size_bits: int
    why: str = ""


def number_coding(element: Element) -> NumberCoding:
    """Return what an IntegerDataEncoding or FloatDataEncoding says."""
    is_float = element.name == "FloatDataEncoding"
    size = whole(element.get("sizeInBits", "32" if is_float else "8"))
    if size is None or size <= 0:
        return NumberCoding(None, 0, f"sizeInBits={element.get('sizeInBits')!r}: it takes no place in a packet")
    order, wrong = _byte_order(element, size)
    if wrong:
        return NumberCoding(None, size, wrong)
    reverse = element.get("bitOrder") == "leastSignificantBitFirst"
    name = element.get("encoding", "IEEE754_1985" if is_float else "unsigned")
    if is_float:
        float_kind, sizes = _FLOATS.get(name, (FloatKind.IEEE_754, set()))
        if size in sizes:
            return NumberCoding(FloatEncoding(size, float_kind, order, reverse), size)
        return NumberCoding(None, size, f"real numbers {name!r} of {size} bits are not decoded")
    kind = _INTEGERS.get(name)
    if kind is None or size > 64 or size % _DIGIT_BITS.get(kind, 1):
        return NumberCoding(None, size, f"integers {name!r} of {size} bits are not decoded")
    return NumberCoding(IntegerEncoding(size, kind, order, reverse), size)


def _byte_order(element: Element, size: int) -> tuple[tuple[int, ...], str]:
    told = element.get("byteOrder") or _BIG
    listed = element.first("ByteOrderList")  # XTCE 1.0 and 1.1
    if listed:
        told = ",".join(one.get("byteSignificance") for one in listed.all("Byte"))
    if told == _BIG or size <= 8:
        return BIG, ""
    if size % 8:
        return BIG, f"byte order {told[:60]!r} of {size} bits, which are no whole octets, is not decoded"
    octets = size // 8
    if told == LITTLE and octets <= 8:
        return little(octets), ""
    order = tuple(value for text in told.split(",")[:17] if (value := whole(text)) is not None)
    if sorted(order) != list(range(min(octets, 17))):
        return BIG, f"byte order {told[:60]!r} of {octets} octets is not decoded"
    return (BIG if order == little(octets)[::-1] else order), ""
