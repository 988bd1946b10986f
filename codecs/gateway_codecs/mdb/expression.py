"""The expression language of calibrations and derived parameters: arithmetic over parameters, and nothing else.

    1.8 * raw + 32          if(MODE == 2, V1 * I1, 0)          '/SAT/power/V_BUS' / max(R, 0.1)

Numbers (decimal, exponent, 0x), parameter names (plain, or qualified ones in single quotes), `pi`, the operators
`or and not == != < <= > >= + - * / % ** ` with brackets, and the functions of `FUNCTIONS`. Every value is a float64;
true is 1 and anything but 0 counts as true. There is no assignment, attribute, loop or text, and nothing of Python
is reached: text becomes a flat program for a stack, each step one numpy operation over whole columns. What has no
result (division by zero, a root of -1) is NaN or infinite and never an exception.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gateway_codecs.mdb.report import DatabaseError

Values: TypeAlias = NDArray[np.float64]
TEXT_MAX, STEPS_MAX, DEPTH_MAX = 10_000, 2_000, 60


class Step(NamedTuple):
    """One step of the program: `number` and `name` push a value, the others take `takes` values and push one."""

    what: str
    value: float = 0.0
    name: str = ""
    takes: int = 0


@dataclass(frozen=True, slots=True)
class Parsed:
    """An expression that can be evaluated: its steps in order (postfix) and the parameters that it reads."""

    text: str
    steps: tuple[Step, ...]
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Function:
    """What a function of the language does, how many values it takes (`most` None = any number), how it is told."""

    apply: Callable[..., Any]
    least: int
    most: int | None
    meaning: str


def _polynomial(x: Values, *coefficients: Values) -> Values:
    return reduce(lambda sum_, coefficient: sum_ * x + coefficient, reversed(coefficients), np.zeros_like(x))


def _whole(x: Values) -> NDArray[np.int64]:
    """Return x as int64, cut off towards zero; what does not fit is 0."""
    fits = np.abs(x) < 2.0**63
    return np.where(fits, x, 0.0).astype(np.int64)


def _bits(operation: Callable[[Any, Any], Any]) -> Callable[[Values, Values], Values]:
    return lambda a, b: np.asarray(operation(_whole(a), _whole(b)), np.float64)


def _shift(operation: Callable[[Any, Any], Any]) -> Callable[[Values, Values], Values]:
    return lambda a, b: np.asarray(operation(_whole(a), np.clip(_whole(b), 0, 63)), np.float64)


_FACTORIALS = np.cumprod(np.concatenate([[1.0], np.arange(1.0, 171.0)]))


def _factorial(x: Values) -> Values:
    good = (x >= 0) & (x <= 170) & (x == np.floor(x))
    return np.where(good, _FACTORIALS[np.where(good, x, 0.0).astype(np.intp)], np.nan)


def _truth(test: Callable[..., Any]) -> Callable[..., Values]:
    return lambda *values: np.asarray(test(*values), np.float64)


def _one(apply: Callable[..., Any], meaning: str) -> Function:
    return Function(apply, 1, 1, meaning)


def _two(apply: Callable[..., Any], meaning: str) -> Function:
    return Function(apply, 2, 2, meaning)


FUNCTIONS: Mapping[str, Function] = {
    "abs": _one(np.abs, "absolute value"),
    "sqrt": _one(np.sqrt, "square root"),
    "exp": _one(np.exp, "e to the power of x"),
    "ln": _one(np.log, "natural logarithm"),
    "log10": _one(np.log10, "logarithm to base 10"),
    "log2": _one(np.log2, "logarithm to base 2"),
    "sin": _one(np.sin, "sine of radians"),
    "cos": _one(np.cos, "cosine of radians"),
    "tan": _one(np.tan, "tangent of radians"),
    "asin": _one(np.arcsin, "arc sine, radians"),
    "acos": _one(np.arccos, "arc cosine, radians"),
    "atan": _one(np.arctan, "arc tangent, radians"),
    "sinh": _one(np.sinh, "hyperbolic sine"),
    "cosh": _one(np.cosh, "hyperbolic cosine"),
    "tanh": _one(np.tanh, "hyperbolic tangent"),
    "asinh": _one(np.arcsinh, "hyperbolic arc sine"),
    "acosh": _one(np.arccosh, "hyperbolic arc cosine"),
    "atanh": _one(np.arctanh, "hyperbolic arc tangent"),
    "rad": _one(np.deg2rad, "degrees to radians"),
    "deg": _one(np.rad2deg, "radians to degrees"),
    "floor": _one(np.floor, "greatest whole number not above x"),
    "ceil": _one(np.ceil, "least whole number not below x"),
    "trunc": _one(np.trunc, "x without its fraction"),
    "round": _one(np.rint, "nearest whole number, halves to the even one"),
    "factorial": _one(_factorial, "x! for whole x from 0 to 170"),
    "atan2": _two(np.arctan2, "angle of (y, x), radians"),
    "hypot": _two(np.hypot, "length of (x, y)"),
    "bitand": _two(_bits(np.bitwise_and), "bits in both"),
    "bitor": _two(_bits(np.bitwise_or), "bits in one or both"),
    "bitxor": _two(_bits(np.bitwise_xor), "bits in one of both"),
    "shl": _two(_shift(np.left_shift), "shifted left by y bits"),
    "shr": _two(_shift(np.right_shift), "shifted right by y bits"),
    "min": Function(lambda *values: reduce(np.minimum, values), 1, None, "the least"),
    "max": Function(lambda *values: reduce(np.maximum, values), 1, None, "the greatest"),
    "poly": Function(_polynomial, 2, None, "poly(x, c0, c1, ...): c0 + c1 x + c2 x**2 ..."),
    "if": Function(lambda c, a, b: np.where(c != 0, a, b), 3, 3, "if(c, a, b): a where c is true, else b"),
}
_CONSTANTS = {"pi": np.pi}
_OPERATORS: Mapping[str, Callable[..., Any]] = {
    "or": _truth(lambda a, b: (a != 0) | (b != 0)),
    "and": _truth(lambda a, b: (a != 0) & (b != 0)),
    "==": _truth(np.equal),
    "!=": _truth(np.not_equal),
    "<": _truth(np.less),
    "<=": _truth(np.less_equal),
    ">": _truth(np.greater),
    ">=": _truth(np.greater_equal),
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "%": np.mod,
    "**": np.power,
    "negate": np.negative,
    "not": _truth(lambda a: a == 0),
}
_BINDING = {
    "or": 1, "and": 2, "==": 4, "!=": 4, "<": 4, "<=": 4, ">": 4, ">=": 4, "+": 5, "-": 5, "*": 6, "/": 6, "%": 6,
    "**": 8,
}  # fmt: skip
_NOT, _SIGN, _POWER = 3, 7, 8
_RESERVED = {"and", "or", "not", *_CONSTANTS}
_COMPARISONS = 4
_TOKEN = re.compile(
    r"\s*(?:(?P<number>0[xX][0-9a-fA-F]{1,16}|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"
    r"|'(?P<quoted>[^'\n]*)'|(?P<word>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*|\[\d+\])*)"
    r"|(?P<sign>\*\*|==|!=|<=|>=|[-+*/%<>(),])|(?P<wrong>\S))",
    re.ASCII,
)


def parse(text: str) -> Parsed:
    """Return the program of an expression. Raises DatabaseError: where, what is expected, what is found."""
    if len(text) > TEXT_MAX:
        raise DatabaseError(f"an expression of {len(text)} characters; at most {TEXT_MAX}")
    parser = _Parser(text)
    parser.expression(0, 0)
    parser.expect_end()
    names = dict.fromkeys(step.name for step in parser.steps if step.what == "name")
    return Parsed(text, tuple(parser.steps), tuple(names))


def quote(name: str) -> str:
    """Return a parameter name as an expression writes it. Raises DatabaseError for one that it cannot name."""
    if "'" in name or "\n" in name:
        raise DatabaseError(f"the name {name!r} has a quotation mark or a line end: an expression cannot name it")
    return f"'{name}'"


def renamed(text: str, change: Callable[[str], str]) -> str:
    """Return an expression with every parameter name changed, all else as it is.

    A name that needs no quotes has none afterwards, except one that was quoted and stays as it is. Raises
    DatabaseError for a new name that an expression cannot write.
    """
    pieces, end = [], 0
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup
        if kind not in {"quoted", "word"} or (kind == "word" and not _names(text, match)):
            continue
        old = match[kind]
        new = change(old)
        if new != old:
            start = match.start(kind) - (kind == "quoted")
            pieces += [text[end:start], new if _needs_no_quotes(new) else quote(new)]
            end = match.end()
    return "".join([*pieces, text[end:]])


def _names(text: str, match: re.Match[str]) -> bool:
    """Whether a word of an expression is a parameter."""
    called = text[match.end() :].lstrip()[:1] == "("
    return not called and match["word"] not in _RESERVED


def _needs_no_quotes(name: str) -> bool:
    match = _TOKEN.fullmatch(name)
    return match is not None and match["word"] == name and name not in _RESERVED and name != "raw"


def evaluate(parsed: Parsed, values: Mapping[str, NDArray[Any]]) -> Values:
    """Return the value for each row, float64 of the common shape of the named columns (scalars: shape ()).

    Raises KeyError for a name without a column.
    """
    stack: list[Any] = []
    with np.errstate(all="ignore"):
        for step in parsed.steps:
            if step.what == "number":
                stack.append(np.float64(step.value))
            elif step.what == "name":
                stack.append(np.asarray(values[step.name]).astype(np.float64, copy=False))
            else:
                taken = stack[len(stack) - step.takes :]
                del stack[len(stack) - step.takes :]
                apply = _OPERATORS[step.name] if step.what == "operator" else FUNCTIONS[step.name].apply
                stack.append(apply(*taken))
    (result,) = stack
    shape = np.broadcast_shapes(*(np.shape(values[name]) for name in parsed.names))
    return np.broadcast_to(np.asarray(result, np.float64), shape)


class _Parser:
    """Operator precedence (Pratt) over the tokens; what is read is appended to `steps` in postfix order."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = [(match.lastgroup or "", match[match.lastgroup or 0], match.start(match.lastgroup or 0))
                        for match in _TOKEN.finditer(text)]  # fmt: skip
        self._at = 0
        self.steps: list[Step] = []

    def _peek(self) -> tuple[str, str, int]:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("end", "", len(self._text))

    def _next(self) -> tuple[str, str, int]:
        token = self._peek()
        self._at += 1
        return token

    def _refuse(self, expected: str, token: tuple[str, str, int]) -> DatabaseError:
        found = "the end" if token[0] == "end" else repr(token[1])
        return DatabaseError(f"expression {_short(self._text)}: {expected} expected at character {token[2] + 1}, "
                             f"found {found}")  # fmt: skip

    def _take(self, sign: str) -> None:
        token = self._next()
        if token[:2] != ("sign", sign):
            raise self._refuse(repr(sign), token)

    def _emit(self, step: Step) -> None:
        if len(self.steps) >= STEPS_MAX:
            raise DatabaseError(f"expression {_short(self._text)}: more than {STEPS_MAX} operations")
        self.steps.append(step)

    def expect_end(self) -> None:
        """Raise DatabaseError when something stands behind the expression."""
        if self._peek()[0] != "end":
            raise self._refuse("an operator or the end", self._peek())

    def expression(self, binding: int, depth: int) -> None:
        """Read operands and operators that bind tighter than `binding`."""
        if depth > DEPTH_MAX:
            raise DatabaseError(f"expression {_short(self._text)}: nested deeper than {DEPTH_MAX}")
        self._operand(depth)
        compared = False
        while True:
            kind, sign, _ = self._peek()
            mine = _BINDING.get(sign, 0) if kind in {"sign", "word"} else 0
            if mine <= binding:
                return
            if mine == _COMPARISONS and compared:
                raise self._refuse("one comparison (join two with 'and')", self._peek())
            compared = compared or mine == _COMPARISONS
            self._next()
            self.expression(mine - (sign == "**"), depth + 1)
            self._emit(Step("operator", name=sign, takes=2))

    def _operand(self, depth: int) -> None:
        token = self._next()
        kind, text, _ = token
        if kind == "number":
            value = float(int(text, 16)) if text[:2].lower() == "0x" else float(text)
            self._emit(Step("number", value))
        elif kind == "quoted" and text:
            self._emit(Step("name", name=text))
        elif kind == "word":
            self._word(token, depth)
        elif text == "(" and kind == "sign":
            self.expression(0, depth + 1)
            self._take(")")
        elif text in {"-", "+"} and kind == "sign":
            self.expression(_SIGN, depth + 1)
            if text == "-":
                self._emit(Step("operator", name="negate", takes=1))
        else:
            raise self._refuse("a number, a parameter, a function or '('", token)

    def _word(self, token: tuple[str, str, int], depth: int) -> None:
        word = token[1]
        if word == "not":
            self.expression(_NOT, depth + 1)
            self._emit(Step("operator", name="not", takes=1))
        elif word in {"and", "or"}:
            raise self._refuse("a number, a parameter, a function or '('", token)
        elif self._peek()[:2] == ("sign", "("):
            self._call(token, depth)
        elif word in _CONSTANTS:
            self._emit(Step("number", _CONSTANTS[word]))
        else:
            self._emit(Step("name", name=word))

    def _call(self, token: tuple[str, str, int], depth: int) -> None:
        name = token[1]
        function = FUNCTIONS.get(name)
        if function is None:
            raise self._refuse(f"one of the functions {', '.join(FUNCTIONS)}", token)
        self._take("(")
        count = 0
        while count == 0 or self._peek()[:2] == ("sign", ","):
            if count:
                self._next()
            self.expression(0, depth + 1)
            count += 1
        self._take(")")
        if count < function.least or (function.most is not None and count > function.most):
            wanted = str(function.least) if function.most == function.least else f"at least {function.least}"
            raise DatabaseError(f"expression {_short(self._text)}: {name} takes {wanted} values, {count} given")
        self._emit(Step("call", name=name, takes=count))


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
