"""Postfix mathematics of XTCE (MathOperationType) as text of our expression language.

The stack holds pieces of text with how tight they bind, so that brackets stand only where they must. `dup` and `over`
copy text, so that a few hundred of them would make more of it than there is memory: the length is bounded on the way.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from gateway_codecs.mdb import expression
from gateway_codecs.mdb.report import DatabaseError
from gateway_codecs.mdb.xtce.conditions import reference
from gateway_codecs.mdb.xtce.elements import Element
from gateway_codecs.mdb.xtce.numbers import number
from gateway_codecs.mdb.xtce.scope import Scope

_ATOM, _POWER, _SIGN, _TIMES, _PLUS, _COMPARED, _AND, _OR = 9, 8, 7, 6, 5, 4, 2, 1
_OPERANDS_MAX = 1000


class _Piece(NamedTuple):
    text: str
    binding: int = _ATOM

    def within(self, binding: int) -> str:
        """The text as an operand of what binds so."""
        return self.text if self.binding >= binding else f"({self.text})"


def _infix(sign: str, binding: int) -> Callable[[_Piece, _Piece], _Piece]:
    return lambda a, b: _Piece(f"{a.within(binding)} {sign} {b.within(binding + 1)}", binding)


def _compare(sign: str) -> Callable[[_Piece, _Piece], _Piece]:
    return lambda a, b: _Piece(f"{a.within(_PLUS)} {sign} {b.within(_PLUS)}", _COMPARED)


def _power(base: _Piece, exponent: _Piece) -> _Piece:
    return _Piece(f"{base.within(_ATOM)} ** {exponent.within(_ATOM)}", _POWER)


def _call(name: str) -> Callable[..., _Piece]:
    return lambda *operands: _Piece(f"{name}({', '.join(one.text for one in operands)})")


_ONE: dict[str, Callable[[_Piece], _Piece]] = {
    "ln": _call("ln"), "log": _call("log10"), "e^x": _call("exp"), "x!": _call("factorial"), "abs": _call("abs"),
    "int": _call("trunc"), "tan": _call("tan"), "cos": _call("cos"), "sin": _call("sin"), "atan": _call("atan"),
    "acos": _call("acos"), "asin": _call("asin"), "tanh": _call("tanh"), "cosh": _call("cosh"), "sinh": _call("sinh"),
    "atanh": _call("atanh"), "acosh": _call("acosh"), "asinh": _call("asinh"),
    "1/x": lambda x: _Piece(f"1 / {x.within(_SIGN)}", _TIMES),
    "!": lambda x: _Piece(f"{x.within(_PLUS)} == 0", _COMPARED),
}  # fmt: skip
_TWO: dict[str, Callable[[_Piece, _Piece], _Piece]] = {
    "+": _infix("+", _PLUS), "-": _infix("-", _PLUS), "*": _infix("*", _TIMES), "/": _infix("/", _TIMES),
    "%": _infix("%", _TIMES), "^": _power, "y^x": lambda a, b: _power(b, a), "min": _call("min"), "max": _call("max"),
    "atan2": lambda a, b: _call("atan2")(b, a), "div": lambda a, b: _call("floor")(_infix("/", _TIMES)(a, b)),
    "<<": _call("shl"), ">>": _call("shr"), "&": _call("bitand"), "|": _call("bitor"), "xor": _call("bitxor"),
    "&&": _infix("and", _AND), "||": _infix("or", _OR),
    "==": _compare("=="), "!=": _compare("!="), "<": _compare("<"), "<=": _compare("<="), ">": _compare(">"),
    ">=": _compare(">="),
}  # fmt: skip
_STACK: dict[str, Callable[[list[_Piece]], list[_Piece]]] = {
    "swap": lambda s: [s[1], s[0]], "drop": lambda s: [], "dup": lambda s: [s[0], s[0]],
    "over": lambda s: [s[0], s[1], s[0]],
}  # fmt: skip
_TAKES = {"swap": 2, "drop": 1, "dup": 1, "over": 2}


def infix(holder: Element, scope: Scope, system: str, what: str, this: str) -> str | None:
    """Return the expression that a MathOperation means; None, and a remark, when it means none.

    `this` is what ThisParameterOperand is called ("" = there is none here). Raises DatabaseError for an expression
    beyond the bounds of the expression language.
    """
    stack: list[_Piece] = []
    for child in holder.all("ValueOperand", "ThisParameterOperand", "ParameterInstanceRefOperand", "Operator"):
        if not _step(child, stack, scope, system, what, this):
            return None
        if len(stack) > _OPERANDS_MAX or (stack and len(stack[-1].text) > expression.TEXT_MAX):
            raise scope.error(f"{what}: mathematics of more than {expression.TEXT_MAX:,} characters", child)
    if len(stack) != 1:
        found = f"{len(stack)} values are left" if stack else "there are no operands"
        scope.remarks.wrong(what, f"mathematics: {found} at the end, expected one", holder.line)
        return None
    try:
        expression.parse(stack[0].text)
    except DatabaseError as error:
        raise scope.error(f"{what}: {error.message}", holder) from None
    return stack[0].text


def _step(child: Element, stack: list[_Piece], scope: Scope, system: str, what: str, this: str) -> bool:
    """Do one step; return whether it could be done, with a remark when not."""
    if child.name == "Operator":
        piece: _Piece | str | None = _operate(child.text, stack)
    elif child.name == "ParameterInstanceRefOperand":
        piece = _parameter(child, scope, system, what)
    elif child.name == "ValueOperand":
        value = number(child.text)
        known = value is not None and math.isfinite(value)
        piece = (
            _Piece(repr(value), _ATOM if str(value)[0] != "-" else _SIGN) if known else f"{child.text!r} is no number"
        )
    else:
        piece = _Piece(this) if this else "ThisParameterOperand where there is no such parameter"
    if isinstance(piece, _Piece):
        stack.append(piece)
    elif piece:
        scope.remarks.wrong(what, f"mathematics: {piece}", child.line)
        return False
    return piece is not None or child.name == "Operator"


def _parameter(child: Element, scope: Scope, system: str, what: str) -> _Piece | str | None:
    name = reference(child, scope, system, what)
    if not name:
        return None
    if not child.flag("useCalibratedValue", True) and _differs(scope, name):
        why = f"mathematics: the raw value of {name} is asked for; only its engineering value can be"
        scope.remarks.ignored(what, why, child.line)
        return None
    try:
        return _Piece(expression.quote(name))
    except DatabaseError as error:
        return error.message


def _differs(scope: Scope, parameter: str) -> bool:
    """Return whether the raw value of a parameter may be another than its engineering value."""
    base = scope.parameters.get(parameter)
    if base is None or scope.sketch(parameter).kind not in {"Integer", "Float"}:
        return True
    name = scope.type_name(base.element.get("parameterTypeRef"), base.system)
    told = scope.whole_type(name).first("IntegerDataEncoding", "FloatDataEncoding")
    return told is not None and told.first("DefaultCalibrator", "ContextCalibratorList") is not None


def _operate(operator: str, stack: list[_Piece]) -> str | None:
    """Put the result of an operator on the stack; return what is wrong instead."""
    takes = _TAKES.get(operator, 1 if operator in _ONE else 2 if operator in _TWO else 0)
    if not takes:
        return f"the operator {operator[:20]!r} is not known"
    if len(stack) < takes:
        return f"{operator!r} takes {takes} operands, {len(stack)} are there"
    taken = stack[-takes:]
    del stack[-takes:]
    if operator in _STACK:
        stack.extend(_STACK[operator](taken))
    elif takes == 1:
        stack.append(_ONE[operator](taken[0]))
    else:
        stack.append(_TWO[operator](taken[0], taken[1]))
    return None
