"""Parameters of XTCE, and the mathematics (MathAlgorithm) that derives some of them."""

from __future__ import annotations

from dataclasses import replace

from gateway_codecs.mdb.model import ALWAYS, Match, Number, Parameter, Source
from gateway_codecs.mdb.xtce.conditions import NEVER, match
from gateway_codecs.mdb.xtce.elements import Element
from gateway_codecs.mdb.xtce.math_operation import infix
from gateway_codecs.mdb.xtce.numbers import number, whole
from gateway_codecs.mdb.xtce.scope import Definition, Scope, Sketch

_SOURCES = {one.value: one for one in Source}
_DECIMALS_MAX = 20


def parameter(definition: Definition, type_name: str, scope: Scope) -> Parameter:
    """Return a parameter whose type is known."""
    name, element, system = definition
    properties = element.first("ParameterProperties")
    aliases = element.first("AliasSet")
    whole_type = scope.whole_type(type_name)
    return Parameter(
        name,
        type_name,
        source=_source(properties, scope, name),
        valid_when=_validity(properties, scope, system, name),
        initial=_initial(element, whole_type, scope, type_name, name),
        description=element.get("shortDescription"),
        long_description=element.child_text("LongDescription"),
        aliases=tuple(one.get("alias") for one in aliases.all("Alias")) if aliases else (),
        decimals=_decimals(whole_type),
        where=scope.where(element),
    )


def _source(properties: Element | None, scope: Scope, what: str) -> Source:
    told = properties.get("dataSource") if properties else ""
    if told and told not in _SOURCES:
        why = f"dataSource={told!r}; expected one of {', '.join(_SOURCES)}; read as telemetered"
        scope.remarks.wrong(what, why, properties.line if properties else 0)
    return _SOURCES.get(told, Source.TELEMETERED)


def _validity(properties: Element | None, scope: Scope, system: str, what: str) -> Match:
    told = properties.first("ValidityCondition") if properties else None
    if told is None:
        return ALWAYS
    found = match(told, scope, system, what)
    if found is None:
        why = "a condition that cannot be evaluated: values are flagged as invalid"
        scope.remarks.ignored(f"ValidityCondition of {what}", why, told.line)
    return NEVER if found is None else found


def _initial(
    element: Element, whole_type: Element, scope: Scope, type_name: str, what: str
) -> Number | str | bool | None:
    text = element.get("initialValue") or whole_type.get("initialValue")
    if not text:
        return None
    sketch = scope.type_sketch(type_name)
    value = _value(sketch, text)
    if value is None:
        scope.remarks.wrong(what, f"initialValue={text[:40]!r} is no value of its type {sketch.kind}", element.line)
    return value


def _value(sketch: Sketch, text: str) -> Number | str | bool | None:
    if sketch.kind == "Boolean":
        truths = {sketch.one_text: True, sketch.zero_text: False}
        return truths.get(text, {"true": True, "1": True, "false": False, "0": False}.get(text.lower()))
    if sketch.kind in {"Integer", "Float"}:
        return number(text)
    return None if sketch.kind == "Enumerated" and text not in sketch.labels else text


def _decimals(whole_type: Element) -> int:
    to_string = whole_type.first("ToString")
    shown = to_string.first("NumberFormat") if to_string else None
    digits = whole(shown.get("maximumFractionDigits")) if shown else None
    return digits if digits is not None and 0 <= digits <= _DECIMALS_MAX else -1


def derive(definition: Definition, parameters: dict[str, Parameter], scope: Scope) -> None:
    """Put the mathematics of a MathAlgorithm into the parameter that it gives."""
    name, element, system = definition
    operation = element.first("MathOperation")
    told = operation.get("outputParameterRef") if operation else ""
    output = scope.parameter_name(told, system)
    if operation is None or output not in parameters:
        scope.remarks.wrong(name, f"it gives {told!r}, which is no parameter: not computed", element.line)
        return
    if parameters[output].derivation:
        scope.remarks.wrong(name, f"{output} is derived by another algorithm already: not computed", element.line)
        return
    text = infix(operation, scope, system, name, "")
    _triggers(operation, scope, name)
    if text is None:
        scope.remarks.ignored(name, f"mathematics that cannot be used: {output} is not computed", element.line)
        return
    parameters[output] = replace(parameters[output], derivation=text)


def _triggers(operation: Element, scope: Scope, what: str) -> None:
    told = operation.first("TriggerSet")
    for one in told.all() if told else ():
        if one.name != "OnParameterUpdateTrigger":
            why = "a derived parameter is computed when one that it is made of comes in"
            scope.remarks.ignored(f"{one.name} of {what}", why, one.line)
