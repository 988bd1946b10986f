"""Packets of a MIB: how they are known (pid, pic, tpcf) and what fixed ones hold (plf)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway_codecs.mdb.headers import Header, all_of
from gateway_codecs.mdb.mib import schema
from gateway_codecs.mdb.mib.encodings import BITS_MAX
from gateway_codecs.mdb.mib.names import Names
from gateway_codecs.mdb.mib.parameters import Held, Parameters
from gateway_codecs.mdb.mib.tables import Row, TableSet
from gateway_codecs.mdb.mib.variable import OCCURRENCES_MAX, Structures
from gateway_codecs.mdb.model import (
    Comparison,
    Container,
    ContainerEntry,
    Entry,
    IntegerEncoding,
    Location,
    Match,
    Parameter,
    ParameterEntry,
    ParameterType,
    Reference,
    Repeat,
)
from gateway_codecs.mdb.remarks import RemarkList

FIXED = -1
PRIMARY_OCTETS, PUS_OCTETS = 6, 3
APIDS = 2048
TIMES_MAX_MS = 10**12


@dataclass(frozen=True, slots=True)
class PacketRows:
    """The rows that say which packet holds which parameter; packets are known by their SPID."""

    packets: tuple[Row, ...]
    fixed: tuple[Row, ...]
    variable: tuple[Row, ...]

    def packets_of(self) -> dict[str, frozenset[int]]:
        """Return the SPIDs of the packets that hold each parameter."""
        structures: dict[int, set[int]] = {}
        for row in self.packets:
            structures.setdefault(row.whole("TPSD"), set()).add(row.whole("SPID"))
        found: dict[str, set[int]] = {}
        for row in self.fixed:
            found.setdefault(row.text("NAME"), set()).add(row.whole("SPID"))
        for row in self.variable:
            found.setdefault(row.text("NAME"), set()).update(structures.get(row.whole("TPSD"), ()))
        return {name: frozenset(spids) for name, spids in found.items()}


def read_rows(tables: TableSet, remarks: RemarkList) -> PacketRows:
    """Return the rows of packets and their contents, without the packets that the MIB calls invalid."""
    packets, invalid = [], set()
    for row in tables.rows(schema.PID):
        if row.text("VALID") == "Y":
            packets.append(row)
        else:
            invalid.add(row.whole("SPID"))
            remarks.ignored(f"pid {row.whole('SPID')}", "is not valid (VALID N): the packet is left out", row.where)
    fixed = tuple(row for row in tables.rows(schema.PLF) if row.whole("SPID") not in invalid)
    return PacketRows(tuple(packets), fixed, tuple(tables.rows(schema.VPD)))


class Packets:
    """The containers of all packets."""

    def __init__(
        self,
        tables: TableSet,
        rows: PacketRows,
        parameters: Parameters,
        structures: Structures,
        header: Header,
        names: Names,
        remarks: RemarkList,
    ) -> None:
        self._rows, self._known, self._structures = rows, parameters, structures
        self._header, self._names, self._remarks = header, names, remarks
        self._identities = {
            (row.whole("TYPE"), row.whole("STYPE"), row.whole("APID")): row for row in tables.rows(schema.PIC)
        }
        self._names_of = {row.whole("SPID"): row for row in tables.rows(schema.TPCF)}
        self._held = self._by_packet()
        self._header_from_start = self._counts_from_start()
        self.types: dict[str, ParameterType] = {}
        self.parameters: dict[str, Parameter] = {}
        self.containers: dict[str, Container] = {}
        self._bases: dict[tuple[int, ...], str] = {}
        self._seen: dict[tuple[int, ...], Row] = {}
        for row in rows.packets:
            self._define(row)
        self._unused()

    def _by_packet(self) -> dict[int, list[Row]]:
        found: dict[int, list[Row]] = {row.whole("SPID"): [] for row in self._rows.packets}
        for row in self._rows.fixed:
            if row.whole("SPID") in found:
                found[row.whole("SPID")].append(row)
            else:
                why = "there is no such packet in pid: left out"
                self._remarks.wrong(f"plf {row.text('NAME')}: SPID {row.whole('SPID')}", why, row.where)
        for rows in found.values():
            rows.sort(key=lambda row: (row.whole("OFFBY"), row.whole("OFFBI")))
        return found

    def _counts_from_start(self) -> bool:
        """Tell whether DFHSIZE has the primary header in it: no parameter stands before it, but some right behind."""
        sizes = {row.whole("SPID"): row.whole("DFHSIZE") for row in self._rows.packets}
        behind = [row.whole("OFFBY") - sizes[spid] for spid, rows in self._held.items() for row in rows]
        found = bool(behind) and 0 <= min(behind) < PRIMARY_OCTETS and max(sizes.values()) > PRIMARY_OCTETS
        if found and any(row.whole("TPSD") != FIXED for row in self._rows.packets):
            why = "parameters stand before its end: it is read as counted from the start of the packet"
            self._remarks.often("wrong", "pid: DFHSIZE", why, self._rows.packets[0].where)
        return found

    def _define(self, row: Row) -> None:
        spid = row.whole("SPID")
        what = f"pid {spid}"
        if not 0 <= row.whole("APID") < APIDS:
            why = "no space packet has it: made on ground, left out"
            return self._remarks.ignored(f"{what}: APID {row.whole('APID')}", why, row.where)
        key = tuple(row.whole(column) for column in ("TYPE", "STYPE", "APID", "PI1_VAL", "PI2_VAL"))
        if key in self._seen:
            why = f"is known by the same values as {self._seen[key].whole('SPID')}: the packet is left out"
            return self._remarks.wrong(what, why, row.where)
        self._seen[key] = row
        name = self._name(row)
        base, restriction = self._identity(row)
        entries = self._fixed(row) if row.whole("TPSD") == FIXED else self._variable(row)
        about = f"{row.text('DESCR')} (SPID {spid})".strip()
        self.containers[name] = Container(name, tuple(entries), base, restriction, False, about, row.where)
        if row.text("EVENT") != "N":
            self._remarks.often("ignored", "pid: EVENT", "no event is raised when a packet comes", row.where)
        return None

    def _name(self, row: Row) -> str:
        spid = row.whole("SPID")
        told = self._names_of.get(spid)
        name = self._structures.names.give(told.text("NAME")) if told is not None and told.text("NAME") else None
        return name or self._structures.give(f"SPID_{spid}")

    # ---- how a packet is known ----

    def _identity(self, row: Row) -> tuple[str, Match]:
        """Return the container that a packet continues, and what else must hold."""
        kind, subtype, apid = row.whole("TYPE"), row.whole("STYPE"), row.whole("APID")
        octets = row.whole("DFHSIZE") - (PRIMARY_OCTETS if self._header_from_start else 0)
        is_pus = kind != 0 and octets >= PUS_OCTETS
        if kind != 0 and not is_pus:
            why = "has no room for a service type: the packet is known by its APID only"
            self._remarks.wrong(f"pid {row.whole('SPID')}: DFHSIZE {row.whole('DFHSIZE')}", why, row.where)
        base = self._header.container if is_pus else self._header.root
        match = self._header.of_packet(apid, kind if is_pus else None, subtype if is_pus else None)
        found = self._identities.get((kind, subtype, apid)) or next(
            (one for (a, b, any_), one in self._identities.items() if (a, b) == (kind, subtype) and any_ >= APIDS), None
        )
        fields = [] if found is None else _identity_fields(found)
        values = (row.whole("PI1_VAL"), row.whole("PI2_VAL"))
        for index, value in enumerate(values, start=1):
            if value and index not in {number for number, _, _ in fields}:
                why = "pic has no such field for this packet: it is not looked at"
                self._remarks.wrong(f"pid {row.whole('SPID')}: PI{index}_VAL {value}", why, row.where)
        if found is None or not fields:
            return base, match
        shared = (kind, subtype, apid, int(is_pus))
        if shared not in self._bases:
            self._bases[shared] = self._shared(shared, found, fields, base, match)
        demanded = [
            Comparison(self._field(number, bits), values[number - 1], calibrated=False) for number, _, bits in fields
        ]
        return self._bases[shared], all_of(list(demanded))

    def _shared(
        self, key: tuple[int, ...], row: Row, fields: Sequence[tuple[int, int, int]], base: str, match: Match
    ) -> str:
        """Return the container of all packets of a type, which holds the fields that tell them apart."""
        name = self._structures.give("TM_{}_{}_{}".format(*key))
        entries = tuple(
            ParameterEntry(self._field(number, bits), Location(Reference.PACKET, 8 * offset))
            for number, offset, bits in fields
        )
        about = f"service {key[0]}, subtype {key[1]}, APID {key[2]}"
        self.containers[name] = Container(name, entries, base, match, True, about, row.where)
        return name

    def _field(self, number: int, bits: int) -> str:
        name = f"{self._names.system}/PI{number}_{bits}"
        if name not in self.parameters:
            self.types[name] = ParameterType(name, "integer", IntegerEncoding(bits), signed=False)
            about = f"additional identification field {number} of {bits} bits"
            self.parameters[name] = Parameter(name, name, description=about)
        return name

    # ---- what it holds ----

    def _fixed(self, row: Row) -> list[Entry]:
        told = self._names_of.get(row.whole("SPID"))
        size = told.maybe("SIZE") if told is not None else None
        return [entry for one in self._held[row.whole("SPID")] for entry in self._placed(one, size)]

    def _placed(self, row: Row, packet_octets: int | None) -> list[Entry]:
        at, what = 8 * row.whole("OFFBY") + row.whole("OFFBI"), f"plf {row.text('NAME')} in {row.whole('SPID')}"
        if not (0 <= row.whole("OFFBI") < 8 and 0 <= at < BITS_MAX):
            self._remarks.wrong(what, f"octet {row.whole('OFFBY')} bit {row.whole('OFFBI')} is no place", row.where)
            return []
        location = Location(Reference.PACKET, at)
        if row.text("NAME") in self._known.deduced:
            container = self._structures.deduced(row.text("NAME"), "")
            return [] if container is None else [ContainerEntry(container, location)]
        held = self._known.held.get(row.text("NAME"))
        if held is None:
            self._missing(what, row)
            return []
        repeat = self._repeat(row, held, what)
        last = at + (held.size_bits or 0)
        if repeat is not None and isinstance(repeat.count, int) and isinstance(repeat.offset_bits, int):
            last += (repeat.count - 1) * ((held.size_bits or 0) + repeat.offset_bits)
        if packet_octets and last > 8 * packet_octets:
            why = f"ends at bit {last}, the packet (tpcf) at bit {8 * packet_octets}"
            self._remarks.wrong(what, why, row.where)
        return [ParameterEntry(held.name, location, repeat=repeat)]

    def _missing(self, what: str, row: Row) -> None:
        if self._names.of(row.text("NAME")) is None:
            self._remarks.wrong(what, "there is no such parameter in pcf: left out", row.where)
        else:
            self._remarks.wrong(what, "a parameter that is in no packet, or cannot be decoded: left out", row.where)

    def _repeat(self, row: Row, held: Held, what: str) -> Repeat | None:
        count, step, first_ms = row.whole("NBOCC"), row.whole("LGOCC"), row.whole("TIME")
        if count <= 1 and not first_ms:
            return None
        if not 1 <= count <= OCCURRENCES_MAX or held.size_bits is None:
            self._remarks.wrong(what, f"{count} occurrences (NBOCC) cannot be: the first is read", row.where)
            return None
        gap = step - held.size_bits if count > 1 else 0
        if gap < 0:
            why = f"LGOCC {step} is less than its {held.size_bits} bits: read back to back"
            self._remarks.wrong(what, why, row.where)
            gap = 0
        period_ms = row.whole("TDOCC") if count > 1 else 0
        if abs(first_ms) + count * abs(period_ms) >= TIMES_MAX_MS:
            why = f"TIME {first_ms}, TDOCC {period_ms}: beyond {TIMES_MAX_MS:,} ms, taken as the packet's time"
            self._remarks.wrong(what, why, row.where)
            return Repeat(count, gap) if count > 1 else None
        return Repeat(count, gap, period_ms * 10**6, first_ms * 10**6)

    def _variable(self, row: Row) -> list[Entry]:
        octets = row.whole("DFHSIZE") + (0 if self._header_from_start else PRIMARY_OCTETS)
        structure = self._structures.of(row.whole("TPSD"))
        if structure is None:
            why = "has no rows in vpd: nothing of the packet is decoded"
            self._remarks.wrong(f"pid {row.whole('SPID')}: TPSD {row.whole('TPSD')}", why, row.where)
            return []
        for one in self._held[row.whole("SPID")]:
            why = "the packet is variable (TPSD): left out"
            self._remarks.wrong(f"plf {one.text('NAME')} in {row.whole('SPID')}", why, one.where)
        return [ContainerEntry(structure, Location(Reference.PACKET, 8 * octets))]

    def _unused(self) -> None:
        known = {row.whole("SPID") for row in self._rows.packets}
        for spid, row in self._names_of.items():
            if spid not in known:
                self._remarks.wrong(f"tpcf {spid}", "there is no such packet in pid", row.where)


def _identity_fields(row: Row) -> list[tuple[int, int, int]]:
    """Return (number, offset in octets, bits) of the fields of `pic` that are used."""
    found = []
    for number in (1, 2):
        offset, bits = row.whole(f"PI{number}_OFF"), row.whole(f"PI{number}_WID")
        if 0 <= offset < BITS_MAX // 8 and 1 <= bits <= 64:
            found.append((number, offset, bits))
    return found
