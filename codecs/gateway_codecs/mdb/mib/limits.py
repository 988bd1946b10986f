"""Limits of a MIB (ocf, ocp): soft is WARNING, hard is CRITICAL, delta and consistency WARNING, events WATCH.

Of the rows of one type the first that applies is used; the most severe of the types wins. What applies depends on raw
values of other parameters (RLCHK = VALPAR), so that a parameter has one set of limits for each combination of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product

from gateway_codecs.mdb.headers import all_of
from gateway_codecs.mdb.mib import schema
from gateway_codecs.mdb.mib.calibrations import Qualify, grouped
from gateway_codecs.mdb.mib.numbers import number
from gateway_codecs.mdb.mib.tables import Row, TableSet
from gateway_codecs.mdb.model import (
    Alarms,
    Comparison,
    ContextLimits,
    DeltaLimit,
    Interval,
    LabelLimit,
    Limits,
    Match,
    Number,
    RangeLimit,
    Severity,
)
from gateway_codecs.mdb.remarks import RemarkList

SEVERITIES = {
    "S": Severity.WARNING,
    "H": Severity.CRITICAL,
    "D": Severity.WARNING,
    "C": Severity.WARNING,
    "E": Severity.WATCH,
}
CONTEXTS_MAX = 256


@dataclass(frozen=True, slots=True)
class Check:
    """A row of `ocp` that says something: its condition (parameter, raw value), and what it demands."""

    type: str
    parameter: str
    value: int
    demands: RangeLimit | DeltaLimit | str  # a text: the expected label


class LimitTables:
    """The limits of each parameter."""

    def __init__(self, tables: TableSet, remarks: RemarkList) -> None:
        self._remarks = remarks
        self._heads = {row.text("NAME"): row for row in tables.rows(schema.OCF)}
        self._rows = grouped(tables.rows(schema.OCP), "NAME")

    def checked_by(self, name: str) -> list[Row]:
        """Return the rows of `ocp` of a parameter in their order."""
        return sorted(self._rows.get(name, ()), key=lambda row: row.whole("POS"))

    def unused(self, names: Iterable[str]) -> None:
        """Tell of limits that belong to no parameter."""
        known = set(names)
        for name, row in self._heads.items():
            if name not in known:
                self._remarks.wrong(f"ocf {name}", "there is no such parameter in pcf", row.where)
        for name, rows in self._rows.items():
            if name not in self._heads:
                self._remarks.wrong(f"ocp {name}", "has no row in ocf: left out", rows[0].where)

    def alarms(self, name: str, takes: str, labels: frozenset[str], qualify: Qualify) -> Alarms:
        """Return the limits of a parameter; `takes` is what it can be checked by.

        `numbers`: its engineering or raw value; `raw`: its raw value only; `text`: its label, one of `labels` when
        there are any; `nothing`.
        """
        head = self._heads.get(name)
        if head is None:
            return Alarms()
        rows = self.checked_by(name)
        if len(rows) != head.whole("NBOOL"):
            why = f"says {head.whole('NBOOL')}, {len(rows)} rows in ocp: all are used"
            self._remarks.wrong(f"ocf {name}: NBOOL", why, head.where)
        by_text = head.text("CODIN") == "A"
        if takes == "nothing" or (by_text != (takes == "text") and not (takes == "text" and head.text("INTER") == "U")):
            why = f"cannot be checked by {'text' if by_text else 'number'}: its limits are left out"
            self._remarks.wrong(f"ocf {name}: CODIN {head.text('CODIN')}", why, head.where)
            return Alarms()
        checks = [check for row in rows if (check := self._check(row, by_text, labels, qualify)) is not None]
        of_raw = not by_text and (head.text("INTER") == "U" or takes == "raw")
        return self._by_condition(head, checks, of_raw, max(1, head.whole("NBCHCK")))

    def _check(self, row: Row, by_text: bool, labels: frozenset[str], qualify: Qualify) -> Check | None:
        by = ""
        if row.text("RLCHK"):
            found = qualify(row.text("RLCHK"))
            if found is None:
                what = f"ocp {row.text('NAME')}: RLCHK {row.text('RLCHK')}"
                self._remarks.wrong(what, "there is no such parameter in pcf: the row is left out", row.where)
                return None
            by = found
        demands = self._label(row, labels) if by_text else self._numbers(row)
        return None if demands is None else Check(row.text("TYPE"), by, row.whole("VALPAR"), demands)

    def _label(self, row: Row, labels: frozenset[str]) -> str | None:
        what, label = f"ocp {row.text('NAME')} {row.whole('POS')}", row.text("LVALU")
        if row.text("TYPE") == "D":
            self._remarks.wrong(what, "a delta of texts cannot be: left out", row.where)
            return None
        if not label:
            self._empty(row)
            return None
        if labels and label not in labels:
            self._remarks.wrong(what, f"{label!r} is none of the parameter's texts", row.where)
        return label

    def _empty(self, row: Row) -> None:
        what = f"ocp {row.text('NAME')} {row.whole('POS')}"
        if row.text("TYPE") == "C":
            self._remarks.ignored(what, "what is consistent is not in the tables", row.where)
        else:
            self._remarks.wrong(what, "has no value: left out", row.where)

    def _numbers(self, row: Row) -> RangeLimit | DeltaLimit | None:
        what, kind = f"ocp {row.text('NAME')} {row.whole('POS')}", row.text("TYPE")
        texts = (row.text("LVALU"), row.text("HVALU"))
        low, high = (number(one) for one in texts)
        if any(one and value is None for one, value in zip(texts, (low, high), strict=True)):
            self._remarks.wrong(what, f"{texts[0]!r} to {texts[1]!r} are no numbers: left out", row.where)
            return None
        if kind == "D":
            return self._delta(row, what, low, high)
        if low is None and high is None:
            self._empty(row)
            return None
        if kind == "C" and high is None:
            high = low
        if low is not None and high is not None and low > high:
            self._remarks.wrong(what, f"{low} to {high} is no range: left out", row.where)
            return None
        return RangeLimit(SEVERITIES[kind], Interval(low, high))

    def _delta(self, row: Row, what: str, low: Number | None, high: Number | None) -> DeltaLimit | None:
        if low is not None and low > 0:
            self._remarks.ignored(what, "a smallest change (LVALU) is not checked", row.where)
        if high is None:
            if low is None:
                self._empty(row)
            return None
        return DeltaLimit(SEVERITIES["D"], abs(high), abs(high))

    def _by_condition(self, head: Row, checks: list[Check], of_raw: bool, persistence: int) -> Alarms:
        values: dict[str, dict[int, None]] = {}
        for check in checks:
            if check.parameter:
                values.setdefault(check.parameter, {})[check.value] = None
        size = 1
        for each in values.values():
            size *= 1 + len(each)
        if size > CONTEXTS_MAX:
            why = f"its conditions have {size:,} combinations, at most {CONTEXTS_MAX}: only rows without one are used"
            self._remarks.ignored(f"ocp {head.text('NAME')}", why, head.where)
            values = {}
        combinations = [
            dict(zip(values, chosen, strict=True)) for chosen in product(*([*each, None] for each in values.values()))
        ]
        combinations.sort(key=lambda chosen: list(chosen.values()).count(None))
        contexts = []
        for chosen in combinations:
            holds = {(name, value) for name, value in chosen.items() if value is not None} | {("", 0)}
            first: dict[str, Check] = {}
            for check in checks:
                if ((check.parameter, check.value) if check.parameter else ("", 0)) in holds:
                    first.setdefault(check.type, check)
            contexts.append((chosen, _limits(list(first.values()), of_raw, persistence)))
        default = contexts.pop()[1] if contexts else None
        return Alarms(default, tuple(ContextLimits(_context(chosen), limits) for chosen, limits in contexts))


def _context(chosen: dict[str, int | None]) -> Match:
    return all_of([Comparison(name, value, calibrated=False) for name, value in chosen.items() if value is not None])


def _limits(checks: list[Check], of_raw: bool, persistence: int) -> Limits | None:
    if not checks:
        return None
    ranges = tuple(check.demands for check in checks if isinstance(check.demands, RangeLimit))
    deltas = tuple(check.demands for check in checks if isinstance(check.demands, DeltaLimit))
    expected = [(check.demands, SEVERITIES[check.type]) for check in checks if isinstance(check.demands, str)]
    labels = tuple(
        LabelLimit(max((severity for other, severity in expected if other != label), default=Severity.NONE), label)
        for label in dict.fromkeys(label for label, _ in expected)
    )
    otherwise = max((severity for _, severity in expected), default=Severity.NONE)
    return Limits(ranges, labels, deltas, otherwise, of_raw, persistence)
