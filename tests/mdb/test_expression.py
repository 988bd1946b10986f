"""The expression language: right values, whole columns, nothing of Python within reach."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_codecs.mdb.expression import DEPTH_MAX, FUNCTIONS, evaluate, parse, quote
from gateway_codecs.mdb.report import DatabaseError


def value(text: str, **names: float) -> float:
    """Return the value of an expression over scalars."""
    return float(evaluate(parse(text), {name: np.float64(number) for name, number in names.items()}))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1.8 * raw + 32", 212.0),
        ("2 + 3 * 4 ** 2 / 8 - 1", 7.0),
        ("-2 ** 2", -4.0),
        ("2 ** -1", 0.5),
        ("2 ** 3 ** 2", 512.0),
        ("(2 ** 3) ** 2", 64.0),
        ("10 - 4 - 3", 3.0),
        ("-7 % 3", 2.0),
        ("0x1F + .5e1", 36.0),
        ("not raw == 100 or raw > 99 and raw < 101", 1.0),
        ("not (raw == 100)", 0.0),
        ("if(raw >= 100, 5, 6)", 5.0),
        ("max(1, raw, 3) - min(4)", 96.0),
        ("poly(raw, 1, 2, 3)", 30201.0),
        ("atan2(1, 1) * 4 - pi", 0.0),
        ("bitand(0xFF, 0x0F0) + shr(256, 4) + bitxor(6, 3)", 261.0),
        ("factorial(5)", 120.0),
        ("round(2.5) + round(3.5)", 6.0),
        ("'/SAT/V BUS[2].x' + 1", 8.0),
        ("A.b[3] * 2", 6.0),
    ],
)
def test_values(text: str, expected: float) -> None:
    """An expression means what a scientist expects of it."""
    names = {"raw": 100.0, "/SAT/V BUS[2].x": 7.0, "A.b[3]": 3.0}
    assert value(text, **names) == pytest.approx(expected, abs=1e-12)


def test_whole_columns_and_no_exceptions() -> None:
    """One bad sample has no value; those around it have theirs."""
    raw = np.array([4.0, 0.0, -1.0, np.nan])
    found = evaluate(parse("sqrt(raw) / raw"), {"raw": raw})
    assert found[0] == 0.5
    assert np.isnan(found[1:]).all()
    assert evaluate(parse("3"), {}).shape == ()
    assert evaluate(parse("a + b"), {"a": np.arange(3, dtype=np.uint8), "b": np.int64(1)}).tolist() == [1.0, 2.0, 3.0]
    assert evaluate(parse("0 * a + 1"), {"a": np.zeros((2, 3))}).shape == (2, 3)


def test_every_function_takes_columns() -> None:
    """Each function works on whole columns and hostile values alike."""
    column = np.array([0.5, 1e308, -1e308, np.inf, -np.inf, np.nan, -3.0, 170.5])
    for name, function in FUNCTIONS.items():
        text = f"{name}({', '.join(['x'] * max(function.least, 2 if function.most is None else function.least))})"
        assert evaluate(parse(text), {"x": column}).shape == column.shape, name
        assert function.meaning


def test_names_are_told_once_in_order() -> None:
    """A database knows which parameters an expression reads."""
    assert parse("B + 'A' * B + if(C, pi, A)").names == ("B", "A", "C")
    assert quote("/X/A") == "'/X/A'"
    with pytest.raises(DatabaseError):
        quote("it's")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "character 1, found the end"),
        ("1 +", "found the end"),
        ("1 2", "character 3, found '2'"),
        ("a b", "an operator or the end"),
        ("(1", "')' expected"),
        ("1 < 2 < 3", "one comparison"),
        ("sin()", "found ')'"),
        ("sin(1, 2)", "sin takes 1 values, 2 given"),
        ("if(1, 2)", "if takes 3"),
        ("open(1)", "one of the functions"),
        ("__import__(1)", "one of the functions"),
        ("a.__class__", ""),
        ("'' + 1", "a number"),
        ("a; b", "';'"),
        ("and", "a number"),
        ("a = 3", "'='"),
        ("(" * 100_000, "characters"),
        ("(" * 5_000, f"deeper than {DEPTH_MAX}"),
        ("-" * 5_000 + "1", "deeper"),
        ("1" + "+1" * 4_000, "operations"),
        ("9**" * 3_000 + "9", "deeper"),
    ],
)
def test_what_is_refused(text: str, told: str) -> None:
    """A wrong or hostile expression is refused at once, and says where and why."""
    begun = time.process_time()
    if text == "a.__class__":  # a name like any other: it reaches a column of that name and nothing else
        assert parse(text).names == ("a.__class__",)
        return
    with pytest.raises(DatabaseError) as refusal:
        parse(text)
    assert told in str(refusal.value)
    assert time.process_time() - begun < 5


def test_no_value_grows() -> None:
    """An expression bomb costs a few floats."""
    assert math.isinf(value("9 ** 9 ** 9 ** 9 ** 9"))


@given(st.text(alphabet="aA1.0(),+-*/%<>=! '\t\nxif_[]é", max_size=60))
def test_rubbish_is_refused_or_evaluated(text: str) -> None:
    """No text raises anything but DatabaseError, and what is accepted can be evaluated."""
    try:
        parsed = parse(text)
    except DatabaseError:
        return
    assert evaluate(parsed, {name: np.ones(2) for name in parsed.names}).dtype == np.float64


OPERANDS = st.tuples(
    st.sampled_from(["", "-", "+", "- -"]), st.sampled_from(["1", "2", "3.5", "a", "(b - 4)", "(a*-b)"])
)
SUMS = st.lists(st.tuples(OPERANDS, st.sampled_from([" + ", " - ", " * ", "/", "%", "**"])), min_size=1, max_size=7)


@given(SUMS, SUMS, st.sampled_from(["", " < ", " <= ", " == ", " != ", " >= "]))
def test_precedence_is_that_of_python(left: list[tuple[tuple[str, str], str]], right: list[tuple[tuple[str, str], str]],
                                      compare: str) -> None:  # fmt: skip
    """Arithmetic without brackets means what it means in Python, which every scientist knows."""
    text = _sum(left) + (compare + _sum(right) if compare else "")
    names = {"a": 2.0, "b": 3.0}
    try:
        expected, *sides = (eval(one, {"__builtins__": {}}, names) for one in (text, _sum(left), _sum(right)))
    except (ZeroDivisionError, OverflowError, TypeError):  # TypeError: a root of a negative number is complex there
        return
    found = value(text, **names)
    if not any(isinstance(one, complex) for one in (expected, *sides)) and not math.isnan(found):
        assert found == pytest.approx(float(expected), rel=1e-9)


def _sum(terms: list[tuple[tuple[str, str], str]]) -> str:
    parts = [part for (sign, operand), operator in terms for part in (sign, operand, operator)]
    return "".join(parts[:-1])
