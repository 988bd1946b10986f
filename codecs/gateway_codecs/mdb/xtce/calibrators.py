"""Calibrators of XTCE: polynomials, splines, mathematics, and which of them applies in which context.

A calibrator that cannot be read never gives way to the raw value: it is replaced by one that reaches no value, so that
the samples are flagged as uncalibrated.
"""

from __future__ import annotations

import itertools
import math

from gateway_codecs.mdb.model import (
    UNUSABLE,
    Calibration,
    Calibrator,
    ContextCalibrator,
    Expression,
    Points,
    Polynomial,
    State,
    States,
)
from gateway_codecs.mdb.xtce.conditions import match
from gateway_codecs.mdb.xtce.elements import Element
from gateway_codecs.mdb.xtce.math_operation import infix
from gateway_codecs.mdb.xtce.numbers import number, whole
from gateway_codecs.mdb.xtce.scope import Scope, enumerations

_DEGREE_MAX, _EXPONENT_MAX = 63, 1000
_KINDS = ("PolynomialCalibrator", "SplineCalibrator", "MathOperationCalibrator")


def calibration(encoding: Element, scope: Scope, system: str, what: str) -> Calibration:
    """Return the calibration that an IntegerDataEncoding or FloatDataEncoding has."""
    told = encoding.first("DefaultCalibrator")
    default = _calibrator(told, scope, system, what) if told else None
    contexts: list[ContextCalibrator] = []
    listed = encoding.first("ContextCalibratorList")
    for one in listed.all("ContextCalibrator") if listed else ():
        holder, inner = one.first("ContextMatch"), one.first("Calibrator")
        context = match(holder, scope, system, what) if holder else None
        if context is None:  # which calibrator holds from here on depends on what cannot be known
            why = "a context that cannot be evaluated: where no context before it holds, values are uncalibrated"
            scope.remarks.ignored(f"ContextCalibrator of {what}", why, one.line)
            return Calibration(UNUSABLE, tuple(contexts))
        contexts.append(ContextCalibrator(context, _calibrator(inner or one, scope, system, what)))
    return Calibration(default, tuple(contexts))


def _calibrator(holder: Element, scope: Scope, system: str, what: str) -> Calibrator:
    told = holder.first(*_KINDS)
    read: Calibrator | None = None
    if told is None:
        scope.remarks.wrong(what, f"{holder.name} holds no calibrator that is known", holder.line)
    elif told.name == "PolynomialCalibrator":
        read = _polynomial(told, scope, what)
    elif told.name == "SplineCalibrator":
        read = _spline(told, scope, what)
    else:
        text = infix(told, scope, system, what, "raw")
        read = Expression(text) if text else None
    if read is None:
        list(told.all() if told else ())  # the remark is about all of it
        why = "the calibrator cannot be used (see the remark on it): values are uncalibrated"
        scope.remarks.ignored(f"{holder.name} of {what}", why, holder.line)
    return read or UNUSABLE


def _polynomial(element: Element, scope: Scope, what: str) -> Calibrator | None:
    terms: dict[float, float] = {}
    for term in element.all("Term"):
        coefficient, exponent = scope.number(term, "coefficient", what), scope.number(term, "exponent", what)
        if coefficient is None or exponent is None or not math.isfinite(coefficient):
            scope.remarks.wrong(what, "a Term without coefficient and exponent that are numbers", term.line)
            return None
        if abs(exponent) > _EXPONENT_MAX:
            scope.remarks.wrong(what, f"exponent {exponent}; at most {_EXPONENT_MAX} makes sense", term.line)
            return None
        terms[exponent] = terms.get(exponent, 0.0) + coefficient
    if not terms:
        scope.remarks.wrong(what, "a PolynomialCalibrator without Term", element.line)
        return None
    if any(exponent != int(exponent) or not 0 <= exponent <= _DEGREE_MAX for exponent in terms):
        return Expression(" + ".join(f"{value!r} * raw ** {exponent!r}" for exponent, value in terms.items()))
    degree = int(max(terms))
    return Polynomial(tuple(float(terms.get(exponent, 0.0)) for exponent in range(degree + 1)))


def _spline(element: Element, scope: Scope, what: str) -> Calibrator | None:
    order = whole(element.get("order", "1"))
    points: dict[float, float] = {}
    for point in element.all("SplinePoint"):
        raw, value = scope.number(point, "raw", what), scope.number(point, "calibrated", what)
        if raw is None or value is None or not (math.isfinite(raw) and math.isfinite(value)):
            scope.remarks.wrong(what, "a SplinePoint without raw and calibrated that are numbers", point.line)
            return None
        if points.get(raw, value) != value:
            scope.remarks.wrong(
                what, f"two values, {points[raw]} and {value}, for the same raw value {raw}", point.line
            )
            return None
        if whole(point.get("order", str(order))) != order:
            scope.remarks.ignored(what, "a SplinePoint with an order of its own", point.line)
            return None
        points[float(raw)] = float(value)
    if order not in {0, 1}:
        scope.remarks.ignored(what, f"a spline of order {element.get('order')}: 0 and 1 are read", element.line)
        return None
    if len(points) < (2 if order else 1):
        scope.remarks.wrong(what, f"a spline of {len(points)} points", element.line)
        return None
    return Points(tuple(sorted(points.items())), order, element.flag("extrapolate", False))


def states(type_element: Element, scope: Scope, what: str) -> States:
    """Return the labels of an EnumeratedParameterType as raw ranges."""
    found: list[tuple[State, int]] = []
    labels: set[str] = set()
    for one in enumerations(type_element):
        low = number(one.get("value"))
        high = number(one.get("maxValue")) if one.get("maxValue") else low
        label = one.get("label")
        if low is None or high is None or high < low or math.inf in {abs(low), abs(high)}:
            why = f"Enumeration {label!r}: value {one.get('value')!r} to {one.get('maxValue')!r} is no range of numbers"
            scope.remarks.wrong(what, why, one.line)
            continue
        if label in labels:
            scope.remarks.wrong(what, f"Enumeration {label!r}: the label stands for several values", one.line)
        labels.add(label)
        found.append((State(low, high, label), one.line))
    rising = sorted(found, key=lambda pair: pair[0].low)
    for (before, _), (state, line) in itertools.pairwise(rising):
        if state.low <= before.high:
            why = f"Enumeration {state.label!r}: {state.low} is {before.label!r} too; the first in the file holds"
            scope.remarks.wrong(what, why, line)
    return States(tuple(state for state, _ in found))
