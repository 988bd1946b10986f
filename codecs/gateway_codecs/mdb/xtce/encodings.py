"""Data encodings of XTCE: how integers, real numbers, texts and octets stand in a packet.

What cannot be decoded but has a known size is kept as octets (`Coded.opaque` says why), so that nothing behind it
moves. What has no known size cannot stand in a packet: `Coded.encoding` is None.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway_codecs.mdb.model import BinaryEncoding, Encoding, Size, StringEncoding
from gateway_codecs.mdb.xtce.conditions import integer
from gateway_codecs.mdb.xtce.elements import Element
from gateway_codecs.mdb.xtce.number_encodings import LITTLE, number_coding
from gateway_codecs.mdb.xtce.numbers import whole
from gateway_codecs.mdb.xtce.scope import Scope

PACKET_BITS = 8 * 65_542
"""No space packet (133.0-B-2) is longer."""
_CHARSETS = {
    "UTF-8": "utf-8", "US-ASCII": "ascii", "ISO-8859-1": "iso-8859-1", "WINDOWS-1252": "cp1252",
    "UTF-16LE": "utf-16-le", "UTF-16BE": "utf-16-be", "UTF-32LE": "utf-32-le", "UTF-32BE": "utf-32-be",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Coded:
    """An encoding as it is read; `opaque` is why the value is kept as octets, "" = it is decoded."""

    encoding: Encoding | None = None
    opaque: str = ""


def coded(element: Element, scope: Scope, system: str, what: str) -> Coded:
    """Return what an IntegerDataEncoding, FloatDataEncoding, StringDataEncoding or BinaryDataEncoding says.

    Raises DatabaseError for a size beyond any packet.
    """
    if element.name == "StringDataEncoding":
        return _string(element, scope, system, what)
    if element.name == "BinaryDataEncoding":
        return _binary(element, scope, system, what)
    return _number(element, scope, what)


def _number(element: Element, scope: Scope, what: str) -> Coded:
    found = number_coding(element)
    if found.encoding is None and not found.size_bits:
        scope.remarks.wrong(what, found.why, element.line)
        return Coded()
    refuse_absurd(found.size_bits, scope, element, what)
    if found.encoding is None:
        return _opaque(found.size_bits, found.why, scope, element, what)
    return Coded(found.encoding)


def _opaque(size: Size, why: str, scope: Scope, element: Element, what: str) -> Coded:
    scope.remarks.ignored(what, f"{why}; the value is kept as octets", element.line)
    return Coded(BinaryEncoding(size), why)


def _string(element: Element, scope: Scope, system: str, what: str) -> Coded:
    size: Size | None = None
    holder = element.first("SizeInBits", "Variable")
    if holder is None:
        scope.remarks.wrong(what, "a StringDataEncoding without SizeInBits or Variable: of no known size", element.line)
        return Coded()
    box = holder.first("Fixed") or (
        holder if holder.first("FixedValue", "DynamicValue", "DiscreteLookupList") else None
    )
    if box:
        size = integer(box, scope, system, what)
        if size is None:
            return Coded()
        refuse_absurd(size, scope, box, what)
    tag = holder.first("LeadingSize")
    tag_bits = (whole(tag.get("sizeInBitsOfSizeTag", "16")) or 0) if tag else 0
    terminator = _terminator(holder, scope, what)
    terminator = b"" if tag else terminator  # the book: it has no meaning then
    if size is None and not tag_bits and not terminator:
        scope.remarks.wrong(what, "a StringDataEncoding of no known size", element.line)
        return Coded()
    if not 0 <= tag_bits <= 64 or size == 0:
        scope.remarks.wrong(what, f"a text of {size} bits with a size tag of {tag_bits} bits", element.line)
        return Coded()
    charset = _charset(element)
    if not charset:
        why = f"character set {element.get('encoding')!r} is not read"
        if size is not None:
            return _opaque(size, why, scope, element, what)
        scope.remarks.ignored(what, f"{why}; it is read as ISO-8859-1", element.line)
    most = min(whole(holder.get("maxSizeInBits")) or PACKET_BITS, PACKET_BITS)
    return Coded(StringEncoding(size, charset or "iso-8859-1", terminator, tag_bits, 1, most) if tag_bits
                 else StringEncoding(size, charset or "iso-8859-1", terminator, max_bits=most))  # fmt: skip


def _charset(element: Element) -> str:
    name = (element.get("encoding") or "UTF-8").upper()
    if name in {"UTF-16", "UTF-32"}:
        name += "LE" if element.get("byteOrder") == LITTLE else "BE"
    return _CHARSETS.get(name, "")


def _terminator(holder: Element, scope: Scope, what: str) -> bytes:
    told = holder.first("TerminationChar")
    if told is None:
        return b""
    text = told.text or "00"
    try:
        return bytes.fromhex(text.removeprefix("0x").removeprefix("0X"))[:8]
    except ValueError:
        scope.remarks.wrong(what, f"TerminationChar {text[:20]!r} is not hexadecimal; read as 00", told.line)
        return b"\0"


def _binary(element: Element, scope: Scope, system: str, what: str) -> Coded:
    holder = element.first("SizeInBits")
    tag = holder.first("LeadingSize") if holder else None
    if tag:
        tag_bits = whole(tag.get("sizeInBitsOfSizeTag", "16")) or 0
        if not 0 < tag_bits <= 64:
            scope.remarks.wrong(what, f"a size tag of {tag_bits} bits", tag.line)
            return Coded()
        return Coded(BinaryEncoding(0, tag_bits, 1))
    size = integer((holder.first("Fixed") if holder else None) or holder or element, scope, system, what)
    if size is None or size == 0:
        if size == 0:
            scope.remarks.wrong(what, "a binary value of 0 bits: it takes no place in a packet", element.line)
        return Coded()
    refuse_absurd(size, scope, element, what)
    if transform := element.first("FromBinaryTransformAlgorithm"):
        why = "a FromBinaryTransformAlgorithm is not run; the value is the octets before it"
        scope.remarks.ignored(what, why, transform.line)
    return Coded(BinaryEncoding(size))


def refuse_absurd(size: Size, scope: Scope, element: Element, what: str) -> None:
    """Raise DatabaseError for a fixed size that no packet holds, or a negative one."""
    if isinstance(size, int) and not 0 <= size <= PACKET_BITS:
        raise scope.error(f"{what} has {size:,} bits; a packet holds at most {PACKET_BITS:,}", element)
