"""Alarms of XTCE as limits: ranges, changes from sample to sample, labels and conditions, by context."""

from __future__ import annotations

from gateway_codecs.mdb.model import (
    Alarms,
    AllOf,
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
from gateway_codecs.mdb.xtce.conditions import match
from gateway_codecs.mdb.xtce.elements import Element
from gateway_codecs.mdb.xtce.numbers import whole
from gateway_codecs.mdb.xtce.scope import Scope, enumerations

_LEVELS = {"normal": Severity.NONE} | {one.name.lower(): one for one in Severity}
_RANGES = {f"{level.title()}Range": severity for level, severity in _LEVELS.items()}
_CONDITIONS = {f"{level.title()}Alarm": severity for level, severity in _LEVELS.items() if severity}
_PATTERN_SIGNS = frozenset(".^$*+?{}[]\\|()")
_PERSISTENCE_MAX = 1_000_000


def alarms(type_element: Element, kind: str, scope: Scope, system: str, what: str) -> Alarms:
    """Return the limits of a type. `kind` is the kind of its values."""
    default = type_element.first("DefaultAlarm")
    listed = type_element.first("ContextAlarmList")
    contexts: list[ContextLimits] = []
    for one in listed.all("ContextAlarm") if listed else ():
        holder = one.first("ContextMatch")
        context = match(holder, scope, system, what) if holder else None
        if context is None:
            why = "a context that cannot be evaluated: where no context before it holds, there are no limits"
            scope.remarks.ignored(f"ContextAlarm of {what}", why, one.line)
            return Alarms(None, tuple(contexts))
        contexts.extend(_conditions(one, kind, scope, system, what, (context,)))
        contexts.append(ContextLimits(context, _limits(one, type_element, kind, scope, what)))
    if default is None:
        return Alarms(None, tuple(contexts))
    contexts.extend(_conditions(default, kind, scope, system, what, ()))
    return Alarms(_limits(default, type_element, kind, scope, what), tuple(contexts))


def interval(element: Element, scope: Scope, what: str) -> Interval:
    """Return the range of minInclusive, minExclusive, maxInclusive and maxExclusive."""
    low, low_included = _bound(element, "min", scope, what)
    high, high_included = _bound(element, "max", scope, what)
    return Interval(low, high, low_included, high_included)


def _bound(element: Element, side: str, scope: Scope, what: str) -> tuple[Number | None, bool]:
    open_side = "-INF" if side == "min" else "INF"  # as xs:double writes it
    if open_side in {element.get(f"{side}Inclusive").strip(), element.get(f"{side}Exclusive").strip()}:
        return None, True
    value = scope.number(element, f"{side}Inclusive", what)
    if value is not None:
        return value, True
    value = scope.number(element, f"{side}Exclusive", what)
    return value, value is None


def _limits(alarm: Element, type_element: Element, kind: str, scope: Scope, what: str) -> Limits | None:
    ranges: list[RangeLimit] = []
    if static := alarm.first("StaticAlarmRanges"):
        if kind == "absolute_time":
            scope.remarks.ignored(
                f"StaticAlarmRanges of {what}", "limits of absolute times are not checked", static.line
            )
        else:
            ranges += _ranges(static, static.get("rangeForm") == "inside", scope, what)
    if many := alarm.first("AlarmMultiRanges"):
        for one in many.all("Range"):
            severity = _severity(one.get("level"), one, scope, what)
            ranges.append(RangeLimit(severity, interval(one, scope, what), one.get("rangeForm") == "inside"))
    limits = Limits(
        ranges=tuple(one for one in ranges if one.severity),
        labels=tuple(_labels(alarm, type_element, scope, what)),
        deltas=tuple(_deltas(alarm, scope, what)),
        otherwise=_severity(alarm.get("defaultAlarmLevel") or "normal", alarm, scope, what),
        persistence=_persistence(alarm, scope, what),
    )
    if custom := alarm.first("CustomAlarm"):
        scope.remarks.ignored(f"CustomAlarm of {what}", "algorithms in other languages are not run", custom.line)
    return limits if limits != Limits(persistence=limits.persistence) else None


def _ranges(holder: Element, inside: bool, scope: Scope, what: str) -> list[RangeLimit]:
    return [RangeLimit(_RANGES[one.name], interval(one, scope, what), inside) for one in holder.all(*_RANGES)]


def _persistence(alarm: Element, scope: Scope, what: str) -> int:
    violations = whole(alarm.get("minViolations") or "1")
    if violations is None or not 1 <= violations <= _PERSISTENCE_MAX:
        scope.remarks.wrong(what, f"minViolations={alarm.get('minViolations')!r}; read as 1", alarm.line)
        violations = 1
    if alarm.get("minConformance") and whole(alarm.get("minConformance")) != violations:
        why = "leaving an alarm after a number of good samples of its own; the first good sample ends it"
        scope.remarks.ignored(f"minConformance of {what}", why, alarm.line)
    return violations


def _severity(level: str, element: Element, scope: Scope, what: str) -> Severity:
    found = _LEVELS.get(level.lower())
    if found is None:
        scope.remarks.wrong(what, f"alarm level {level!r}; read as warning", element.line)
    return Severity.WARNING if found is None else found


def _labels(alarm: Element, type_element: Element, scope: Scope, what: str) -> list[LabelLimit]:
    found: list[LabelLimit] = []
    listed = alarm.first("EnumerationAlarmList")
    if listed:
        values = {one.get("value"): one.get("label") for one in enumerations(type_element)}
        known = set(values.values())
        for one in listed.all("EnumerationAlarm"):
            label = one.get("enumerationLabel") or values.get(one.get("enumerationValue"), "")
            if label in known:
                found.append(LabelLimit(_severity(one.get("alarmLevel"), one, scope, what), label))
            else:
                told = one.get("enumerationLabel") or one.get("enumerationValue")
                scope.remarks.wrong(what, f"an alarm of {told!r}, which is no label of the type", one.line)
    texts = alarm.first("StringAlarmList")
    for one in texts.all("StringAlarm") if texts else ():
        pattern = one.get("matchPattern")
        if _PATTERN_SIGNS.isdisjoint(pattern):
            found.append(LabelLimit(_severity(one.get("alarmLevel"), one, scope, what), pattern))
        else:
            scope.remarks.ignored(
                f"StringAlarm of {what}", f"the pattern {pattern!r}: only whole texts are compared", one.line
            )
    return found


def _deltas(alarm: Element, scope: Scope, what: str) -> list[DeltaLimit]:
    told = alarm.first("ChangeAlarmRanges", "ChangePerSecondAlarmRanges")
    if told is None:
        return []
    known = (
        told.get("changeType") == "changePerSample"
        and told.get("changeBasis", "absoluteChange") == "absoluteChange"
        and told.get("rangeForm", "outside") == "outside"
        and whole(told.get("spanOfInterestInSamples", "1")) == 1
    )
    if not known:
        why = "only absolute changes per sample, over one sample, outside a range, are checked"
        scope.remarks.ignored(f"{told.name} of {what}", why, told.line)
        return []
    found: list[DeltaLimit] = []
    for one in told.all(*_RANGES):
        span = interval(one, scope, what)
        rise, fall = span.high, None if span.low is None else -span.low
        if (rise is not None and rise < 0) or (fall is not None and fall < 0):
            scope.remarks.ignored(f"{one.name} of {what}", "a change that must not be small is not checked", one.line)
        else:
            found.append(DeltaLimit(_RANGES[one.name], rise, fall))
    return [one for one in found if one.severity]


def _conditions(
    alarm: Element, kind: str, scope: Scope, system: str, what: str, within: tuple[Match, ...]
) -> list[ContextLimits]:
    """AlarmConditions: where the condition of a level holds, every value has it; the most severe first."""
    told = alarm.first("AlarmConditions")
    found: list[tuple[Severity, Match]] = []
    for one in told.all(*_CONDITIONS) if told else ():
        condition = match(one, scope, system, what)
        if condition is None:
            scope.remarks.ignored(f"{one.name} of {what}", "a condition that cannot be evaluated", one.line)
        else:
            found.append((_CONDITIONS[one.name], condition))
    found.sort(key=lambda pair: -pair[0])
    persistence = _persistence(alarm, scope, what) if found else 1
    return [
        ContextLimits(AllOf((*within, condition)) if within else condition, _always(severity, kind, persistence))
        for severity, condition in found
    ]


def _always(severity: Severity, kind: str, persistence: int) -> Limits:
    if kind in {"integer", "float", "relative_time", "absolute_time"}:
        return Limits(ranges=(RangeLimit(severity, Interval(), inside=True),), persistence=persistence)
    return Limits(otherwise=severity, persistence=persistence)
