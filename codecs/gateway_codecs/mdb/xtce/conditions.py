"""Conditions of XTCE (MatchCriteriaType): comparisons, lists of them, expressions; and numbers that a packet states.

None stands for a condition or number that cannot be read; a remark has then said why. What hangs on it must not be
guessed: who asks decides what is safe.
"""

from __future__ import annotations

from gateway_codecs.mdb.model import (
    AllOf,
    AnyOf,
    Comparison,
    DynamicInteger,
    Integer,
    LookupInteger,
    Match,
    Number,
    Operator,
)
from gateway_codecs.mdb.xtce.elements import Element
from gateway_codecs.mdb.xtce.numbers import number, whole
from gateway_codecs.mdb.xtce.scope import Scope, Sketch
from gateway_codecs.time_scales import parse_utc

NEVER = AnyOf()
_OPERATORS = {one.value: one for one in Operator} | {
    "=": Operator.EQUAL, "eq": Operator.EQUAL, "neq": Operator.NOT_EQUAL, "lt": Operator.LESS,
    "leq": Operator.LESS_OR_EQUAL, "gt": Operator.GREATER, "geq": Operator.GREATER_OR_EQUAL,
}  # fmt: skip


def match(holder: Element, scope: Scope, system: str, what: str) -> Match | None:
    """Return the condition that stands in an element. `what` names for the remarks whose condition it is."""
    for child in holder.all("Comparison", "ComparisonList", "BooleanExpression", "CustomAlgorithm"):
        if child.name == "Comparison":
            return _comparison(child, scope, system, what)
        if child.name == "ComparisonList":
            return _all([_comparison(one, scope, system, what) for one in child.all("Comparison")])
        if child.name == "BooleanExpression":
            return _expression(child, scope, system, what)
        scope.remarks.ignored(f"CustomAlgorithm in {what}", "algorithms in other languages are not run", child.line)
        return None
    scope.remarks.wrong(what, f"{holder.name} holds no condition", holder.line)
    return None


def _all(terms: list[Match | None]) -> Match | None:
    kept = tuple(term for term in terms if term is not None)
    if len(kept) != len(terms):
        return None
    return kept[0] if len(kept) == 1 else AllOf(kept)


def _any(terms: list[Match | None]) -> Match | None:
    kept = tuple(term for term in terms if term is not None)
    return AnyOf(kept) if len(kept) == len(terms) else None


def _expression(holder: Element, scope: Scope, system: str, what: str) -> Match | None:
    terms: list[Match | None] = []
    for child in holder.all("Condition", "ANDedConditions", "ORedConditions"):
        if child.name == "Condition":
            terms.append(_condition(child, scope, system, what))
        else:
            terms.append(_expression(child, scope, system, what))
    if not terms:
        scope.remarks.wrong(what, f"{holder.name} holds no condition", holder.line)
        return None
    return _any(terms) if holder.name == "ORedConditions" else _all(terms)


def reference(element: Element, scope: Scope, system: str, what: str) -> str:
    """Return the parameter that a ParameterInstanceRef means; "" and a remark when it is none, or an older sample."""
    told = element.get("parameterRef")
    name = scope.parameter_name(told, system)
    if not name:
        scope.remarks.wrong(what, f"parameter {told!r} is not defined", element.line)
        return ""
    if whole(element.get("instance", "0")) != 0:
        why = f"instance={element.get('instance')} of {told!r}: only the current sample can be asked for"
        scope.remarks.ignored(what, why, element.line)
        return ""
    return name


def _comparison(element: Element, scope: Scope, system: str, what: str) -> Match | None:
    name = reference(element, scope, system, what)
    operator = _operator(element.get("comparisonOperator", "=="), element, scope, what)
    if not name or operator is None:
        return None
    calibrated = element.flag("useCalibratedValue", True)
    return _against(name, operator, element.get("value"), calibrated, element, scope, what)


def _condition(element: Element, scope: Scope, system: str, what: str) -> Match | None:
    sides = list(element.all("ParameterInstanceRef"))
    operator = _operator(element.child_text("ComparisonOperator") or "==", element, scope, what)
    names = [reference(side, scope, system, what) for side in sides]
    if not names or "" in names or operator is None:
        if not names:
            scope.remarks.wrong(what, "a Condition without ParameterInstanceRef", element.line)
        return None
    calibrated = [side.flag("useCalibratedValue", True) for side in sides]
    if len(sides) == 1:
        return _against(names[0], operator, element.child_text("Value"), calibrated[0], element, scope, what)
    if calibrated[0] != calibrated[1]:
        scope.remarks.ignored(what, "a raw value compared with an engineering value", element.line)
        return None
    return Comparison(names[0], operator=operator, calibrated=calibrated[0], other=names[1])


def _operator(text: str, element: Element, scope: Scope, what: str) -> Operator | None:
    operator = _OPERATORS.get(text)
    if operator is None:
        scope.remarks.wrong(what, f"comparison operator {text!r}; expected one of == != < <= > >=", element.line)
    return operator


def _against(
    name: str, operator: Operator, text: str, calibrated: bool, element: Element, scope: Scope, what: str
) -> Match | None:
    sketch = scope.sketch(name)
    value = _engineering(sketch, text) if calibrated else _raw(sketch, text)
    if value is not None:
        return Comparison(name, value, operator, calibrated)
    other = _raw(sketch, text) if calibrated else _engineering(sketch, text)
    if sketch.kind != "Enumerated" or other is None:
        why = f"{name} is compared with {text!r}, which is no value of its type {sketch.kind or 'without a type'}"
        scope.remarks.wrong(what, why, element.line)
        return None
    kind = "a raw value, not a label" if calibrated else "a label, not a raw value"
    scope.remarks.wrong(what, f"{name} is compared with {text!r}: {kind}; read as that", element.line)
    return Comparison(name, other, operator, not calibrated)


def _engineering(sketch: Sketch, text: str) -> Number | str | bool | None:
    if sketch.kind == "Enumerated":
        return text if text in sketch.labels else None
    if sketch.kind == "Boolean":
        known = {"true": True, "1": True, "false": False, "0": False}
        return {sketch.one_text: True, sketch.zero_text: False}.get(text, known.get(text.lower()))
    if sketch.kind == "String":
        return text
    if sketch.kind == "AbsoluteTime":
        try:
            return parse_utc(text if text.endswith("Z") else text + "Z")
        except ValueError:
            return None
    return number(text) if sketch.kind in {"Integer", "Float", "RelativeTime"} else None


def _raw(sketch: Sketch, text: str) -> Number | str | bool | None:
    if sketch.raw == "String":
        return text
    return number(text) if sketch.raw in {"Integer", "Float"} else None


# ---- numbers that a packet states ----


def integer(holder: Element, scope: Scope, system: str, what: str) -> Integer | None:
    """Return the IntegerValue (FixedValue, DynamicValue, DiscreteLookupList) that stands in an element."""
    child = holder.first("FixedValue", "DynamicValue", "DiscreteLookupList")
    if child is None:
        scope.remarks.wrong(what, f"{holder.name} holds no value", holder.line)
        return None
    if child.name == "DynamicValue":
        return _dynamic(child, scope, system, what)
    if child.name == "DiscreteLookupList":
        return _lookup(child, scope, system, what)
    value = whole(child.text)
    if value is None:
        scope.remarks.wrong(what, f"FixedValue {child.text!r} is no whole number", child.line)
    return value


def _dynamic(element: Element, scope: Scope, system: str, what: str) -> Integer | None:
    told = element.first("ParameterInstanceRef")
    if told is None:
        scope.remarks.wrong(what, "a DynamicValue without ParameterInstanceRef", element.line)
        return None
    name = reference(told, scope, system, what)
    slope: Number | None = 1
    intercept: Number | None = 0
    if adjustment := element.first("LinearAdjustment"):
        slope = scope.number(adjustment, "slope", what) if "slope" in adjustment.attributes else 1
        intercept = scope.number(adjustment, "intercept", what) if "intercept" in adjustment.attributes else 0
    if not name or slope is None or intercept is None:
        return None
    return DynamicInteger(name, slope, intercept, told.flag("useCalibratedValue", True))


def _lookup(element: Element, scope: Scope, system: str, what: str) -> Integer | None:
    cases: list[tuple[Match, int]] = []
    for one in element.all("DiscreteLookup"):
        condition, value = match(one, scope, system, what), whole(one.get("value"))
        if condition is None or value is None:
            if value is None:
                scope.remarks.wrong(what, f"DiscreteLookup value={one.get('value')!r} is no whole number", one.line)
            return None
        cases.append((condition, value))
    return LookupInteger(tuple(cases))
