"""Conditions as people write them: `MODE == SCIENCE and raw(COUNT) > 3`, and back.

    condition   all of: any of: not ... joined by `and`, `or`, `not` and brackets
    comparison  NAME == VALUE, also != < <= > >=; raw(NAME) compares what is in the packet instead of what it means
    VALUE       a number, true, false, a word (a label), 'text in quotes', or parameter(NAME)
    NAME        plain, or in quotes where it holds other signs than letters, digits and _ . / [ ] -

Two quotes in a text are one. What cannot be said so (an `and` of one term, a number that is none) has the form of
lists: see `parts`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from gateway_codecs.mdb.model import AllOf, AnyOf, Comparison, Match, Not, Number, Operator
from gateway_codecs.mdb.report import DatabaseError
from gateway_codecs.mdb.yaml_form.nodes import understood

TEXT_MAX, DEPTH_MAX = 20_000, 40
_TOKEN = re.compile(
    r"\s*(?:(?P<sign>==|!=|<=|>=|[<>()])|'(?P<quoted>(?:[^']|'')*)'|(?P<word>[\w/.+\-\[\]]+)|(?P<wrong>\S))", re.ASCII
)
_NAME = re.compile(r"[A-Za-z_/][\w/.\-\[\]]*", re.ASCII)
_JOINED = {"and", "or", "not"}
_OPERATORS = {str(operator) for operator in Operator}
Names = Callable[[str], str]


def parse(text: str, qualified: Names) -> Match:
    """Return the condition; `qualified` makes a full name of each. Raises DatabaseError: what was expected."""
    if len(text) > TEXT_MAX:
        raise DatabaseError(f"a condition of {len(text):,} characters; at most {TEXT_MAX:,}")
    parser = _Parser(text, qualified)
    match = parser.any_of(0)
    if parser.peek()[0] != "end":
        raise parser.refuse("'and', 'or' or the end")
    return match


class _Parser:
    def __init__(self, text: str, qualified: Names) -> None:
        self._text, self._qualified, self._at = text, qualified, 0
        self._tokens = [(one.lastgroup or "", one[one.lastgroup or 0]) for one in _TOKEN.finditer(text)]

    def peek(self) -> tuple[str, str]:
        """Return (kind, text) of what comes next."""
        return self._tokens[self._at] if self._at < len(self._tokens) else ("end", "")

    def refuse(self, expected: str) -> DatabaseError:
        """Return the error that something else was expected."""
        found = repr(self.peek()[1]) if self.peek()[0] != "end" else "the end"
        text = self._text if len(self._text) <= 60 else self._text[:57] + "..."
        return DatabaseError(f"condition {text!r}: {expected} expected, found {found}", hint="as in: MODE == SCIENCE")

    def _take(self, kind: str, *texts: str) -> str | None:
        if self.peek()[0] == kind and (not texts or self.peek()[1] in texts):
            self._at += 1
            return self._tokens[self._at - 1][1]
        return None

    def any_of(self, depth: int) -> Match:
        """Read terms joined by `or`."""
        terms = [self._all_of(depth)]
        while self._take("word", "or"):
            terms.append(self._all_of(depth))
        return terms[0] if len(terms) == 1 else AnyOf(tuple(terms))

    def _all_of(self, depth: int) -> Match:
        terms = [self._term(depth)]
        while self._take("word", "and"):
            terms.append(self._term(depth))
        return terms[0] if len(terms) == 1 else AllOf(tuple(terms))

    def _term(self, depth: int) -> Match:
        if depth > DEPTH_MAX:
            raise DatabaseError(f"a condition nested deeper than {DEPTH_MAX}")
        if self._take("word", "not"):
            return Not(self._term(depth + 1))
        if self._take("sign", "("):
            match = self.any_of(depth + 1)
            self._close()
            return match
        return self._comparison()

    def _close(self) -> None:
        if not self._take("sign", ")"):
            raise self.refuse("')'")

    def _name(self) -> str:
        quoted = self._take("quoted")
        if quoted is not None:
            return self._qualified(quoted.replace("''", "'"))
        word = self.peek()[1]
        if self.peek()[0] != "word" or word in _JOINED or not _NAME.fullmatch(word):
            raise self.refuse("a parameter")
        self._at += 1
        return self._qualified(word)

    def _call(self, word: str) -> bool:
        if self.peek() == ("word", word) and self._tokens[self._at + 1 : self._at + 2] == [("sign", "(")]:
            self._at += 2
            return True
        return False

    def _comparison(self) -> Match:
        raw = self._call("raw")
        name = self._name()
        if raw:
            self._close()
        operator = self._take("sign", *_OPERATORS)
        if operator is None:
            raise self.refuse("== != < <= > or >=")
        if self._call("parameter"):
            other = self._name()
            self._close()
            return Comparison(name, 0, Operator(operator), not raw, other)
        return Comparison(name, self._value(), Operator(operator), not raw)

    def _value(self) -> Number | str | bool:
        quoted = self._take("quoted")
        if quoted is not None:
            return quoted.replace("''", "'")
        if self.peek()[0] != "word" or self.peek()[1] in _JOINED:
            raise self.refuse("a value")
        value = understood(self._take("word") or "")
        if value is None:
            raise DatabaseError(f"condition {self._text[:60]!r}: null is no value", hint="quote it if it is a text")
        return value


def text_of(match: Match, short: Names) -> str | None:
    """Return the text of a condition, None when only lists can say it; `short` makes a name as it is written."""
    try:
        return _text(match, short, False)
    except _Unsayable:
        return None


class _Unsayable(Exception):
    """There is no text for it."""


def _text(match: Match, short: Names, within: bool) -> str:
    if isinstance(match, Comparison):
        return _comparison_text(match, short)
    if isinstance(match, Not):
        return f"not {_text(match.term, short, True)}"
    if len(match.terms) < 2:
        raise _Unsayable
    word = " and " if isinstance(match, AllOf) else " or "
    text = word.join(_text(term, short, True) for term in match.terms)
    return f"({text})" if within else text


def _comparison_text(match: Comparison, short: Names) -> str:
    name = _name_text(short(match.parameter))
    left = name if match.calibrated else f"raw({name})"
    if match.other:
        if match.value != 0 or type(match.value) is not int:
            raise _Unsayable
        return f"{left} {match.operator} parameter({_name_text(short(match.other))})"
    return f"{left} {match.operator} {_value_text(match.value)}"


def _name_text(name: str) -> str:
    return name if _NAME.fullmatch(name) and name not in _JOINED else _quote(name)


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _value_text(value: Number | str | bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        plain = _NAME.fullmatch(value) and value not in _JOINED and understood(value) == value
        return value if plain else _quote(value)
    text = repr(value)
    if understood(text) != value:
        raise _Unsayable
    return text
