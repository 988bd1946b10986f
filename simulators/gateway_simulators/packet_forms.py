"""Packets of a mission database, made fast: a template of zeros, and where each field stands in it."""

from __future__ import annotations

from dataclasses import dataclass

from gateway_codecs.mdb import declared, scalar
from gateway_codecs.mdb.declared import Given, Place
from gateway_codecs.mdb.model import Database, IntegerEncoding
from gateway_codecs.mdb.scalar import Raw


@dataclass(frozen=True, slots=True)
class Field:
    """A parameter in a packet: its place, and how far its last bit is from the packet's last one."""

    place: Place
    shift_bits: int

    def pattern(self, raw: Raw) -> int:
        """Return the bits of a raw value, in place."""
        encoding, size = self.place.encoding, self.place.size_bits
        if isinstance(encoding, IntegerEncoding) and not encoding.byte_order:
            pattern = scalar.integer_pattern(int(raw), size, encoding.kind)
        else:
            octets = scalar.octets(scalar.to_bits(raw, encoding, size))
            pattern = int.from_bytes(octets, "big") >> (8 * len(octets) - size)
        return pattern << self.shift_bits


class PacketForm:
    """The form of one packet type whose layout does not depend on values; what `given` holds is the same in all."""

    def __init__(self, database: Database, container: str, given: Given) -> None:
        packet, places = declared.build_with_places(database, container, given)
        self._octets = len(packet)
        self._template = int.from_bytes(packet, "big")
        self.fields: dict[str, list[Field]] = {}
        for place in places:
            if place.parameter not in given:
                shift = 8 * len(packet) - place.at_bit - place.size_bits
                self.fields.setdefault(place.parameter, []).append(Field(place, shift))

    def make(self, values: Given) -> bytes:
        """Return a packet with these raw values, a list for what occurs several times; the others as in the form.

        Raises Undecodable for a value that does not fit.
        """
        whole = self._template
        for name, given in values.items():
            fields = self.fields[name]
            raws = [given] * len(fields) if isinstance(given, int | float | bytes) else given
            for field, raw in zip(fields, raws, strict=True):
                whole &= ~(((1 << field.place.size_bits) - 1) << field.shift_bits)
                whole |= field.pattern(raw)
        return whole.to_bytes(self._octets, "big")
