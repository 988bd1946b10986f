"""Variable packets (vpd): structures that are walked from the end of the data field header.

A counter repeats the rows behind it (GRPSIZE), a choice says which structure follows (CHOICE), a deduced parameter is
whichever one the number before it names (PTC 11, PCF_RELATED or PIDREF). Each becomes a container of its own.
"""

from __future__ import annotations

import itertools

from gateway_codecs.mdb.mib.names import Names
from gateway_codecs.mdb.mib.parameters import Held, Parameters
from gateway_codecs.mdb.mib.tables import Row
from gateway_codecs.mdb.model import (
    Comparison,
    Container,
    ContainerEntry,
    DynamicInteger,
    Entry,
    FixedEntry,
    Integer,
    Location,
    ParameterEntry,
    Reference,
    Repeat,
)
from gateway_codecs.mdb.remarks import RemarkList
from gateway_codecs.mdb.report import Budget, DatabaseError

TO_THE_END = -1
OCCURRENCES_MAX = 65536


class Structures:
    """The structures of `vpd` as containers, made when they are asked for. `names` are those of all containers."""

    def __init__(
        self, rows: tuple[Row, ...], parameters: Parameters, names: Names, budget: Budget, remarks: RemarkList
    ) -> None:
        self.names, self._known, self._budget, self._remarks = names, parameters, budget, remarks
        self._rows: dict[int, list[Row]] = {}
        for row in rows:
            self._rows.setdefault(row.whole("TPSD"), []).append(row)
        for each in self._rows.values():
            each.sort(key=lambda row: row.whole("POS"))
        self.containers: dict[str, Container] = {}
        self._made: dict[int, str] = {}
        self._deduced: dict[tuple[str, str], str | None] = {}
        self._choices: dict[str, str] = {}
        self._entries = 0
        self._depth = 0

    def give(self, name: str) -> str:
        """Return a new container name: `name`, or with a number behind it."""
        tries = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
        return next(given for one in tries if (given := self.names.give(one)) is not None)

    def of(self, structure: int) -> str | None:
        """Return the container of a structure (TPSD), None when it has no rows."""
        if structure not in self._rows:
            return None
        if structure not in self._made:
            self._made[structure] = self.give(f"STRUCTURE_{structure}")
            self._container(self._made[structure], self._rows[structure], self._rows[structure][0])
        return self._made[structure]

    def unused(self, used: set[int]) -> None:
        """Tell of structures that no packet has."""
        for structure, rows in self._rows.items():
            if structure not in used and structure not in self._made:
                self._remarks.wrong(f"vpd {structure}", "no packet in pid has this structure (TPSD)", rows[0].where)

    def _container(self, name: str, rows: list[Row], first: Row, about: str = "") -> None:
        self._depth += 1
        if self._depth > self._budget.depth:
            raise DatabaseError(f"groups are nested deeper than {self._budget.depth}", first.where)
        entries = self._walk(rows, name)
        self._depth -= 1
        self.containers[name] = Container(name, tuple(entries), description=about, where=first.where)

    def _walk(self, rows: list[Row], name: str) -> list[Entry]:
        entries: list[Entry] = []
        number_before = ""
        at = 0
        while at < len(rows):
            row = rows[at]
            entries += self._entry(row, number_before)
            if row.text("PIDREF") == "Y":
                number_before = row.text("NAME")
            size = row.whole("GRPSIZE")
            at += 1
            if size > 0:
                group = rows[at : at + size]
                if len(group) < size:
                    why = f"{len(group)} rows follow: the group has these"
                    self._remarks.wrong(f"{_what(row)}: GRPSIZE {size}", why, row.where)
                entries += self._group(row, group, name)
                at += len(group)
            elif row.text("CHOICE") == "Y":
                entries += self._choice(row)
        self._spend(len(entries), rows[0])
        return entries

    def _spend(self, entries: int, row: Row) -> None:
        self._entries += entries
        if self._entries > self._budget.definitions:
            raise DatabaseError(f"variable packets of more than {self._budget.definitions:,} entries", row.where)

    def _entry(self, row: Row, number_before: str) -> list[Entry]:
        """Return the entry of a row, with what is left of its place (PCF_WIDTH) behind it."""
        location = Location(Reference.PREVIOUS, row.whole("OFFSET"))
        name = row.text("NAME")
        if row.whole("FIXREP") > 0 and row.whole("GRPSIZE") > 0:  # such a counter is not in the packet
            return [FixedEntry(0, b"", location)] if row.whole("OFFSET") else []
        if name in self._known.deduced:
            container = self.deduced(name, number_before)
            return [] if container is None else [ContainerEntry(container, location)]
        held = self._known.held.get(name)
        if held is None:
            why = "there is no such parameter in pcf, or it is in no packet: what follows it is misplaced"
            self._remarks.wrong(_what(row), why, row.where)
            return []
        entry = ParameterEntry(held.name, location)
        padding = self._padding(held)
        return [entry, FixedEntry(padding)] if padding else [entry]

    def _padding(self, held: Held) -> int:
        width = held.row.maybe("WIDTH")
        if width is None or held.size_bits is None or width == 0:
            return 0
        if width < held.size_bits:
            why = f"is less than its {held.size_bits} bits: not looked at"
            self._remarks.often("wrong", f"pcf {held.row.text('NAME')}: WIDTH {width}", why, held.row.where)
        return max(0, width - held.size_bits)

    def _group(self, row: Row, group: list[Row], name: str) -> list[Entry]:
        count = self._count(row)
        if count is None or not group:
            return []
        inner = self.give(f"{name.rpartition('/')[2]}_{row.whole('POS')}")
        self._container(inner, group, group[0], f"repeated as {row.text('NAME')} says")
        return [ContainerEntry(inner, repeat=Repeat(count))]

    def _count(self, row: Row) -> Integer | None:
        fixed, held = row.whole("FIXREP"), self._known.held.get(row.text("NAME"))
        if 0 < fixed <= OCCURRENCES_MAX:
            return fixed
        if fixed > OCCURRENCES_MAX:
            self._remarks.wrong(
                _what(row), f"FIXREP {fixed}: at most {OCCURRENCES_MAX}, its group is left out", row.where
            )
            return None
        if fixed == TO_THE_END:
            self._remarks.ignored(_what(row), "a group up to the end of the packet (FIXREP -1) is not read", row.where)
            return None
        if held is None or not held.is_integer:
            self._remarks.wrong(_what(row), "is no whole number: it counts nothing, its group is left out", row.where)
            return None
        return DynamicInteger(held.name)

    def _choice(self, row: Row) -> list[Entry]:
        held = self._known.held.get(row.text("NAME"))
        if held is None or not held.is_integer:
            self._remarks.wrong(_what(row), "is no whole number, so it chooses nothing (CHOICE)", row.where)
            return []
        if held.name not in self._choices:
            self._choices[held.name] = self.give(f"CHOICE_{row.text('NAME')}")
            self._make_choice(held, row)
        return [ContainerEntry(self._choices[held.name])]

    def _make_choice(self, held: Held, row: Row) -> None:
        """Make the container of all structures that may follow: those that choose nothing themselves."""
        entries: list[Entry] = []
        for structure, rows in self._rows.items():
            if any(one.text("CHOICE") == "Y" for one in rows):
                if structure != row.whole("TPSD"):
                    why = "chooses a structure itself: it is not looked for behind a choice"
                    self._remarks.often("ignored", f"vpd {structure}", why, rows[0].where)
                continue
            inner = self.of(structure) or ""
            entries.append(ContainerEntry(inner, condition=Comparison(held.name, structure, calibrated=False)))
        self._spend(len(entries), row)
        name = self._choices[held.name]
        about = f"the structure that {row.text('NAME')} names"
        self.containers[name] = Container(name, tuple(entries), description=about, where=row.where)

    # ---- deduced parameters ----

    def deduced(self, name: str, number_before: str) -> str | None:
        """Return the container of a deduced parameter: whichever parameter its number (RELATED) names, or none."""
        row = self._known.deduced[name]
        by = row.text("RELATED") or number_before
        if (name, by) not in self._deduced:
            self._deduced[name, by] = self._make_deduced(row, by)
        return self._deduced[name, by]

    def _make_deduced(self, row: Row, by: str) -> str | None:
        number = self._known.held.get(by)
        if number is None or not number.is_integer:
            why = f"its number {by!r} (RELATED, or the last PIDREF) is no whole number of a packet: left out"
            self._remarks.wrong(f"pcf {row.text('NAME')}", why, row.where)
            return None
        width = row.maybe("WIDTH") or row.whole("PFC")
        entries: list[Entry] = []
        for identifier, held in self._known.by_board_identifier().items():
            entries.append(self._candidate(held, number, identifier, bool(width)))
        self._spend(len(entries), row)
        if width:
            entries.append(FixedEntry(width, b"", Location(Reference.CONTAINER)))
        name = self.give(f"DEDUCED_{row.text('NAME')}")
        about = f"the parameter whose number {by} is"
        self.containers[name] = Container(name, tuple(entries), description=about, where=row.where)
        return name

    def _candidate(self, held: Held, number: Held, identifier: int, is_placed: bool) -> Entry:
        holds = Comparison(number.name, identifier, calibrated=False)
        if is_placed:
            return ParameterEntry(held.name, Location(Reference.CONTAINER), holds)
        padding = self._padding(held)
        if not padding:
            return ParameterEntry(held.name, condition=holds)
        name = f"{self.names.system}/PADDED_{held.name.rpartition('/')[2]}"
        if name not in self.containers:
            entries = (ParameterEntry(held.name), FixedEntry(padding))
            self.containers[name] = Container(name, entries, where=held.row.where)
        return ContainerEntry(name, condition=holds)


def _what(row: Row) -> str:
    return f"vpd {row.whole('TPSD')} {row.whole('POS')} {row.text('NAME')}"
