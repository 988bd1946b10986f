"""The parts of types that values depend on: calibrators and limits; both ways, as in `parts`."""

from __future__ import annotations

from typing import Any

from gateway_codecs.mdb.model import (
    Alarms,
    Calibration,
    Calibrator,
    ContextCalibrator,
    ContextLimits,
    DeltaLimit,
    Expression,
    Interval,
    LabelLimit,
    Limits,
    Logarithmic,
    Number,
    Points,
    Polynomial,
    RangeLimit,
    Severity,
    State,
    States,
)
from gateway_codecs.mdb.yaml_form import fields
from gateway_codecs.mdb.yaml_form.fields import Refused, given, keys, real, wanted, whole
from gateway_codecs.mdb.yaml_form.names import Names
from gateway_codecs.mdb.yaml_form.nodes import Mapping, Node, Scalar, Sequence, scalar_text, understood
from gateway_codecs.mdb.yaml_form.parts import read_match, write_match

ELSE, TO = "else", ".."
SEVERITIES = {severity.name.lower(): severity for severity in Severity}
CALIBRATORS = ("polynomial", "points", "logarithmic", "expression", "states")
CALIBRATOR_KEYS = (*CALIBRATORS, "order", "extrapolate")
INTERVAL_KEYS = ("low", "high", "low_included", "high_included")
RANGE_KEYS = (*INTERVAL_KEYS, "inside")
DELTA_KEYS = ("change", "rise", "fall")
LIMIT_KEYS = (*SEVERITIES, "ranges", "labels", "deltas", "otherwise", "of_raw", "persistence")


# ---- calibration ------------------------------------------------------------------------------------------------


def read_calibration(node: Mapping, what: str, names: Names) -> Calibration:
    """Return the calibration that the keys of a type state."""
    contexts = given(node, "calibrations", fields.items, [])
    return Calibration(read_calibrator(node, what, names), tuple(_read_context(one, names) for one in contexts))


def _read_context(node: Node, names: Names) -> ContextCalibrator:
    told = keys(node, "a calibration", ("when", *CALIBRATOR_KEYS))
    if "when" not in told.items:
        raise Refused(node, "a calibration has no when", "say when it holds; what always holds is no context")
    return ContextCalibrator(
        read_match(told.items["when"], "when", names), read_calibrator(told, "a calibration", names)
    )


def read_calibrator(node: Mapping, what: str, names: Names) -> Calibrator | None:
    """Return the calibrator among the keys of a type or context; None = there is none."""
    stated = [key for key in CALIBRATORS if key in node.items]
    if len(stated) > 1:
        raise Refused(node.lines[stated[1]], f"{what} has {stated[0]} and {stated[1]}", "one of them calibrates it")
    if stated != ["points"]:
        for key in ("order", "extrapolate"):
            if key in node.items:
                raise Refused(node.lines[key], f"{key} without points", f"give points, or remove {key}")
    if not stated:
        return None
    key, one = stated[0], node.items[stated[0]]
    if key == "polynomial":
        return Polynomial(tuple(real(each, "a coefficient") for each in fields.items(one, key)))
    if key == "logarithmic":
        return Logarithmic(tuple(real(each, "a coefficient") for each in fields.items(one, key)))
    if key == "expression":
        return Expression(names.expression(fields.text(one, key), one))
    return _read_points(node, one) if key == "points" else _read_states(one)


def _read_points(node: Mapping, rows: Node) -> Points:
    points = tuple(_read_point(one) for one in fields.items(rows, "points"))
    for k in range(1, len(points)):
        if not points[k - 1][0] <= points[k][0]:
            hint = "raw values rise from point to point"
            raise Refused(fields.items(rows, "points")[k], f"{points[k][0]:g} stands behind {points[k - 1][0]:g}", hint)
    order = given(node, "order", lambda one, key: whole(one, key, 0, 1), 1)
    return Points(points, order, given(node, "extrapolate", fields.flag, False))


def _read_point(node: Node) -> tuple[float, float]:
    pair = fields.items(node, "a point")
    if len(pair) != 2:
        raise Refused(node, f"a point of {len(pair)} values", "a point is [raw, value]")
    return real(pair[0], "a point"), real(pair[1], "a point")


def _read_states(node: Node) -> States:
    states: list[State] = []
    otherwise = ""
    if isinstance(node, Mapping):
        for key, one in node.items.items():
            if key == ELSE:
                otherwise = fields.text(one, key)
            else:
                states.append(_read_state(key, node.lines[key], one))
        return States(tuple(states), otherwise)
    for row in fields.items(node, "states"):
        if isinstance(row, Mapping):
            otherwise = fields.text(keys(row, "a state", (ELSE,)).items.get(ELSE, row), ELSE)
            continue
        cells = fields.items(row, "a state")
        if len(cells) not in {2, 3}:
            raise Refused(row, f"a state of {len(cells)} values", "a state is [raw, label] or [low, high, label]")
        bounds = [fields.number(one, "a state") for one in cells[:-1]]
        states.append(State(bounds[0], bounds[-1], fields.text(cells[-1], "a label")))
    return States(tuple(states), otherwise)


def _read_state(key: str, line: int, label: Node) -> State:
    low, to, high = key.partition(TO)
    bounds = [Scalar(line, understood(one.strip()), one) for one in ((low, high) if to else (low, low))]
    try:
        first, last = (fields.number(one, "a state") for one in bounds)
    except Refused:
        raise Refused(line, f"states has the key {key[:60]}", "a raw value, low..high, or else; as in 0: OFF") from None
    return State(first, last, fields.text(label, f"state {key[:60]}"))


def write_calibration(calibration: Calibration, names: Names) -> dict[str, Any]:
    """Return the keys that state a calibration."""
    told = write_calibrator(calibration.default, names)
    if calibration.contexts:
        told["calibrations"] = [
            {"when": write_match(one.context, names)} | write_calibrator(one.calibrator, names)
            for one in calibration.contexts
        ]
    return told


def write_calibrator(calibrator: Calibrator | None, names: Names) -> dict[str, Any]:
    """Return the keys that state a calibrator."""
    if calibrator is None:
        return {}
    if isinstance(calibrator, Polynomial | Logarithmic):
        key = "polynomial" if isinstance(calibrator, Polynomial) else "logarithmic"
        return {key: [short_real(one) for one in calibrator.coefficients]}
    if isinstance(calibrator, Expression):
        return {"expression": names.short_expression(calibrator.text)}
    if isinstance(calibrator, States):
        return {"states": _write_states(calibrator)}
    told: dict[str, Any] = {"points": [[short_real(x), short_real(y)] for x, y in calibrator.points]}
    if calibrator.order != 1:
        told["order"] = calibrator.order
    return told | ({"extrapolate": True} if calibrator.extrapolate else {})


def short_real(value: float) -> Number:
    """Return a real number as it is best written: whole ones without a point."""
    whole_number = abs(value) < 1e15 and value == int(value) and not (value == 0 and str(value)[0] == "-")
    return int(value) if whole_number else float(value)


def _write_states(states: States) -> Any:
    told = {_state_key(one): one.label for one in states.states}
    back = _read_states(
        Mapping(0, {key: Scalar(0, label, label) for key, label in told.items()}, dict.fromkeys(told, 0))
    )
    if repr(back.states) == repr(states.states):
        return told | ({ELSE: states.otherwise} if states.otherwise else {})
    rows: list[Any] = [[one.low, one.high, one.label] for one in states.states]
    return rows + ([{ELSE: states.otherwise}] if states.otherwise else [])


def _state_key(state: State) -> str:
    low, high = scalar_text(state.low), scalar_text(state.high)
    return low if low == high else f"{low}{TO}{high}"


# ---- limits -----------------------------------------------------------------------------------------------------


def read_alarms(node: Mapping, names: Names) -> Alarms:
    """Return the limits that the keys of a type state."""
    contexts = given(node, "limits_when", fields.items, [])
    return Alarms(given(node, "limits", _read_limits, None), tuple(_read_limits_when(one, names) for one in contexts))


def _read_limits_when(node: Node, names: Names) -> ContextLimits:
    told = keys(node, "limits_when", ("when", "limits"))
    if "when" not in told.items:
        raise Refused(node, "limits_when has no when", "say when they hold; limits that always hold are no context")
    return ContextLimits(read_match(told.items["when"], "when", names), given(told, "limits", _read_limits, None))


class _Collected:
    def __init__(self) -> None:
        self.ranges: list[RangeLimit] = []
        self.labels: list[LabelLimit] = []
        self.deltas: list[DeltaLimit] = []

    def add(self, severity: Severity, node: Node) -> None:
        """Add what one severity says: a range, a label, a change, or a list of those."""
        if isinstance(node, Sequence):
            if _is_range(node):
                self.ranges.append(RangeLimit(severity, _read_interval(node, "a range")))
            else:
                for one in node.items:
                    if isinstance(one, Sequence) and not _is_range(one):
                        raise wanted(one, "a limit", "[low, high], a label, or keys such as rise and fall")
                    self.add(severity, one)
        elif isinstance(node, Mapping):
            self.add_keys(severity, node)
        elif isinstance(node.value, str):
            self.labels.append(LabelLimit(severity, node.value))
        else:
            raise wanted(node, severity.name.lower(), "[low, high], a label (numbers as labels in quotes), or keys")

    def add_keys(self, severity: Severity, node: Mapping) -> None:
        """Add a range or a change that is told with keys."""
        if not any(key in node.items for key in DELTA_KEYS):
            told = keys(node, "a range", RANGE_KEYS)
            inside = given(told, "inside", fields.flag, False)
            self.ranges.append(RangeLimit(severity, _interval(told), inside))
            return
        told = keys(node, "a change", DELTA_KEYS)
        both = given(told, "change", _bound, None)
        rise, fall = (given(told, key, _bound, both) for key in ("rise", "fall"))
        self.deltas.append(DeltaLimit(severity, rise, fall))


def _is_range(node: Sequence) -> bool:
    return len(node.items) == 2 and all(
        isinstance(one, Scalar)
        and (one.value is None or (isinstance(one.value, int | float) and not isinstance(one.value, bool)))
        for one in node.items
    )


def _bound(node: Node, key: str) -> Number | None:
    return None if isinstance(node, Scalar) and node.value is None else fields.number(node, key)


def read_interval(node: Node, key: str) -> Interval:
    """Return an interval: [low, high], null for an open side, or keys."""
    if isinstance(node, Mapping):
        return _interval(keys(node, key, INTERVAL_KEYS))
    return _read_interval(node, key)


def _read_interval(node: Node, key: str) -> Interval:
    pair = fields.items(node, key)
    if len(pair) != 2:
        raise Refused(node, f"{key} of {len(pair)} values", f"{key} is [low, high], null for an open side")
    low, high = _bound(pair[0], "low"), _bound(pair[1], "high")
    if low is not None and high is not None and low > high:
        raise Refused(node, f"{key} from {low} to {high}", "the lower bound stands first")
    return Interval(low, high)


def _interval(node: Mapping) -> Interval:
    return Interval(
        given(node, "low", _bound, None),
        given(node, "high", _bound, None),
        given(node, "low_included", fields.flag, True),
        given(node, "high_included", fields.flag, True),
    )


def _severity(node: Node, key: str) -> Severity:
    return SEVERITIES[fields.word(node, key, SEVERITIES)]


def _read_limits(node: Node, key: str) -> Limits:
    told, collected = keys(node, key, LIMIT_KEYS), _Collected()
    for name, one in told.items.items():
        if name in SEVERITIES:
            collected.add(SEVERITIES[name], one)
        elif name in {"ranges", "labels", "deltas"}:
            for row in fields.items(one, name):
                _read_in_full(collected, name, row)
    return Limits(
        tuple(collected.ranges),
        tuple(collected.labels),
        tuple(collected.deltas),
        given(told, "otherwise", _severity, Severity.NONE),
        given(told, "of_raw", fields.flag, False),
        given(told, "persistence", lambda one, called: whole(one, called, 1, 1 << 31), 1),
    )


def _read_in_full(collected: _Collected, kind: str, row: Node) -> None:
    known = {"ranges": RANGE_KEYS, "labels": ("label",), "deltas": DELTA_KEYS}[kind]
    told = keys(row, f"one of {kind}", ("severity", *known))
    if "severity" not in told.items:
        raise Refused(row, f"one of {kind} has no severity", f"severity is one of {', '.join(SEVERITIES)}")
    severity = _severity(told.items["severity"], "severity")
    rest = Mapping(told.line, {key: one for key, one in told.items.items() if key != "severity"}, told.lines)
    if kind == "labels":
        collected.labels.append(LabelLimit(severity, given(rest, "label", fields.text, "")))
    elif kind == "deltas" and not rest.items:
        collected.deltas.append(DeltaLimit(severity))
    else:
        collected.add_keys(severity, rest)


def write_alarms(alarms: Alarms, names: Names) -> dict[str, Any]:
    """Return the keys that state limits."""
    told: dict[str, Any] = {} if alarms.default is None else {"limits": _write_limits(alarms.default)}
    if alarms.contexts:
        told["limits_when"] = [
            {"when": write_match(one.context, names)}
            | ({} if one.limits is None else {"limits": _write_limits(one.limits)})
            for one in alarms.contexts
        ]
    return told


def _write_limits(limits: Limits) -> dict[str, Any]:
    told = _by_severity(limits)
    if told is None:
        told = {}
        if limits.ranges:
            told["ranges"] = [{"severity": _name(one)} | _range_keys(one) for one in limits.ranges]
        if limits.labels:
            told["labels"] = [{"severity": _name(one), "label": one.label} for one in limits.labels]
        if limits.deltas:
            told["deltas"] = [{"severity": _name(one)} | _delta_keys(one) for one in limits.deltas]
    if limits.otherwise is not Severity.NONE:
        told["otherwise"] = limits.otherwise.name.lower()
    if limits.of_raw:
        told["of_raw"] = True
    return told | ({"persistence": limits.persistence} if limits.persistence != 1 else {})


def _name(limit: RangeLimit | LabelLimit | DeltaLimit) -> str:
    return limit.severity.name.lower()


def _by_severity(limits: Limits) -> dict[str, Any] | None:
    """Return the limits under their severities, None where their order would be lost."""
    rows: dict[str, list[Any]] = {}
    every: tuple[RangeLimit | LabelLimit | DeltaLimit, ...] = (*limits.ranges, *limits.labels, *limits.deltas)
    for limit in every:
        rows.setdefault(_name(limit), []).append(limit)
    in_order = [limit for name in rows for limit in rows[name]]
    kinds: tuple[tuple[type, tuple[object, ...]], ...] = (
        (RangeLimit, limits.ranges), (LabelLimit, limits.labels), (DeltaLimit, limits.deltas)
    )  # fmt: skip
    for kind, told in kinds:
        if [id(one) for one in in_order if isinstance(one, kind)] != [id(one) for one in told]:
            return None
    if any(isinstance(one, DeltaLimit) and one.rise is None and one.fall is None for one in in_order):
        return None
    return {name: _short(group) for name, group in rows.items()}


def _short(group: list[Any]) -> Any:
    written = [_write_limit(one) for one in group]
    return written[0] if len(written) == 1 else written


def _write_limit(limit: RangeLimit | LabelLimit | DeltaLimit) -> Any:
    if isinstance(limit, LabelLimit):
        return limit.label
    if isinstance(limit, DeltaLimit):
        return _delta_keys(limit)
    return _range_keys(limit) if limit.inside else write_interval(limit.interval)


def _delta_keys(limit: DeltaLimit) -> dict[str, Any]:
    if limit.rise is not None and repr(limit.rise) == repr(limit.fall):
        return {"change": limit.rise}
    return {key: one for key, one in (("rise", limit.rise), ("fall", limit.fall)) if one is not None}


def _range_keys(limit: RangeLimit) -> dict[str, Any]:
    return _interval_keys(limit.interval) | ({"inside": True} if limit.inside else {})


def write_interval(interval: Interval) -> Any:
    """Return an interval as it is read."""
    low, high = interval.low, interval.high
    rising = low is None or high is None or low <= high
    if interval.low_included and interval.high_included and rising:
        return [low, high]
    return _interval_keys(interval)


def _interval_keys(interval: Interval) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for key in INTERVAL_KEYS:
        value = getattr(interval, key)
        if value is not (None if key in {"low", "high"} else True):
            told[key] = value
    return told
