"""YAML text as nodes that know their line, within bounds; and plain values as text that reads well.

Only what a database needs is read: no anchors and aliases (a short text would become a huge one), no tags, one
document. Words are understood as YAML 1.2 has them: `on`, `off`, `yes` and `no` are text, `1e-3` is a number, `012`
is text. What is written is understood alike by YAML 1.1.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import yaml

from gateway_codecs.mdb.model import Where
from gateway_codecs.mdb.report import Budget, DatabaseError

FILE_OCTETS_MAX, DIGITS_MAX, KEY_MAX = 64 << 20, 400, 1 << 16
WIDTH, LONG_KEY = 118, 120
_Scalar: TypeAlias = "str | int | float | bool | None"
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)|0x[0-9a-fA-F]+", re.ASCII)
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", re.ASCII)
_WORDS: dict[str, _Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
}
_PLAIN_WORDS = (  # what the parser says, and what somebody who does not know it needs to hear
    (
        "that cannot start any token",
        "a character that cannot stand here: use spaces instead of tabs, or quote the text",
    ),
    ("found a tab", "a tab that cannot stand here: indent with spaces instead of tabs"),
    ("exceeded maximum nesting depth", "nested deeper than anybody writes"),
    ("but found another document", "one file holds one database: remove what follows ---"),
    ("mapping values are not allowed", "a ':' that cannot stand here: quote the text, or mind the indentation"),
    ("did not find expected ',' or '}'", "',' or '}' expected: text that holds , : { } [ ] is quoted"),
    ("did not find expected ',' or ']'", "',' or ']' expected: text that holds , : { } [ ] is quoted"),
)


@dataclass(slots=True)
class Scalar:
    """One value: as it is understood, and as it is written."""

    line: int
    value: _Scalar
    text: str


@dataclass(slots=True)
class Sequence:
    """A list."""

    line: int
    items: list[Node]


@dataclass(slots=True)
class Mapping:
    """Keys, always as text, with their lines and values."""

    line: int
    items: dict[str, Node]
    lines: dict[str, int]


Node: TypeAlias = Scalar | Sequence | Mapping


def parse(data: bytes, file: str, budget: Budget) -> Node:
    """Return the one document of a text. Raises DatabaseError: what is wrong, with file and line."""
    most = min(budget.file_octets, FILE_OCTETS_MAX)
    if len(data) > most:
        raise DatabaseError(f"{len(data):,} octets; at most {most:,} are read", Where(file), "split the database")
    try:
        root = _Tree(file, budget).build(data)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = str(error.problem)
        plain = next((words for part, words in _PLAIN_WORDS if part in problem), problem)
        raise DatabaseError(plain, Where(file, mark.line + 1 if mark else 0), "the file is no YAML there") from None
    except (yaml.YAMLError, UnicodeError) as error:
        raise DatabaseError(f"no YAML: {' '.join(str(error).split())[:200]}", Where(file)) from None
    if root is None:
        raise DatabaseError("the file is empty", Where(file), "gateway mdb schema says what it may hold")
    return root


def of(value: Any, line: int = 0) -> Node:
    """Return the node of plain values, as it would be read from their text."""
    if isinstance(value, dict):
        return Mapping(
            line, {str(key): of(one, line) for key, one in value.items()}, dict.fromkeys(map(str, value), line)
        )
    if isinstance(value, list | tuple):
        return Sequence(line, [of(one, line) for one in value])
    return Scalar(line, value, value if isinstance(value, str) else scalar_text(value))


class _Tree:
    """Builds nodes from the parser's events, one at a time, so that bounds hold before memory is taken."""

    def __init__(self, file: str, budget: Budget) -> None:
        self._file, self._budget, self._count = file, budget, 0

    def build(self, data: bytes) -> Node | None:
        """Return the root, None when there is none."""
        open_: list[tuple[Sequence | Mapping, list[Scalar]]] = []  # with the key that waits for its value
        root: Node | None = None
        documents = 0
        for event in self._events(data):
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise self._error(event, "one file holds one database", "remove what follows ---")
            elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
                open_.pop()
            elif isinstance(event, yaml.NodeEvent):
                node = self._node(event)
                if open_:
                    self._add(*open_[-1], node)
                else:
                    root = node
                if not isinstance(node, Scalar):
                    open_.append((node, []))
                    if len(open_) > self._budget.depth:
                        raise self._error(event, f"nested deeper than {self._budget.depth}", "flatten it")
        return None if isinstance(root, Scalar) and root.value is None else root

    def _events(self, data: bytes) -> Iterator[yaml.Event]:
        loader = _LOADER(data)
        try:
            while loader.check_event():
                yield loader.get_event()
        finally:
            loader.dispose()

    def _node(self, event: yaml.NodeEvent) -> Node:
        self._count += 1
        if self._count > self._budget.definitions:
            raise self._error(event, f"more than {self._budget.definitions:,} values", "split the database")
        if event.anchor is not None:
            sign = "*" if isinstance(event, yaml.AliasEvent) else "&"
            hint = "what several parameters share is a type: define it under types, and name it"
            raise self._error(event, f"{sign}{event.anchor[:40]}: anchors and aliases are not read", hint)
        line = _line(event)
        if isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            if event.tag is not None:
                raise self._error(event, f"the tag {event.tag[:40]} is not read", "remove it")
            return Mapping(line, {}, {}) if isinstance(event, yaml.MappingStartEvent) else Sequence(line, [])
        return self._scalar(event, line)

    def _scalar(self, event: Any, line: int) -> Scalar:
        text: str = event.value
        if len(text) > self._budget.text_octets:
            raise self._error(event, f"a text of {len(text):,} characters; at most {self._budget.text_octets:,}")
        if event.tag is not None:
            raise self._error(event, f"the tag {event.tag[:40]} is not read", "quote the text")
        if not event.implicit[0]:
            return Scalar(line, text, text)
        if len(text) > DIGITS_MAX and _INT.fullmatch(text):
            raise self._error(event, f"a number of {len(text)} digits")
        return Scalar(line, understood(text), text)

    def _add(self, parent: Sequence | Mapping, waiting: list[Scalar], node: Node) -> None:
        if isinstance(parent, Sequence):
            parent.items.append(node)
        elif waiting:
            key = waiting.pop()
            if key.text in parent.items:
                first = parent.lines[key.text]
                where = Where(self._file, key.line)
                raise DatabaseError(f"{key.text[:80]} stands twice", where, f"the first is in line {first}")
            parent.items[key.text], parent.lines[key.text] = node, key.line
        elif not isinstance(node, Scalar) or len(node.text) > KEY_MAX:
            raise DatabaseError("a key is a short text or a number", Where(self._file, node.line))
        else:
            waiting.append(node)

    def _error(self, event: yaml.Event, message: str, hint: str = "") -> DatabaseError:
        return DatabaseError(message, Where(self._file, _line(event)), hint)


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark is not None else 0


def understood(text: str) -> _Scalar:
    """Return what an unquoted text means in YAML 1.2."""
    if text in _WORDS:
        return _WORDS[text]
    if len(text) > DIGITS_MAX:
        return text
    if text[0] in "+-.0123456789":
        if _INT.fullmatch(text):
            return int(text, 16 if text[:2] == "0x" else 10)
        if _FLOAT.fullmatch(text):
            return float(text)
    return text


# ---- writing ----------------------------------------------------------------------------------------------------

_NUMBERS = re.compile(r"-?(?:0|[1-9][0-9]{0,18})(?:\.\.-?(?:0|[1-9][0-9]{0,18}))?", re.ASCII)
_BARE_IN_FLOW = re.compile(r"[A-Za-z_/][\w/.\-()+*^%]*(?: [\w/.\-()+*^%<>=!']+)*", re.ASCII)
_OLD_WORDS = re.compile(r"y|n|yes|no|on|off|true|false|null|~", re.IGNORECASE)
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def scalar_text(value: Any) -> str:
    """Return a scalar as YAML text that YAML 1.1 and 1.2 understand alike."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _float_text(value)
    return _quoted(value)


def _float_text(value: float) -> str:
    if not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    mantissa, sign, exponent = repr(value).partition("e")
    if sign and "." not in mantissa:
        mantissa += ".0"
    return mantissa + sign + (exponent if exponent[:1] in {"", "-", "+"} else f"+{exponent}")


def _quoted(text: str) -> str:
    if _BARE_IN_FLOW.fullmatch(text) and not _OLD_WORDS.fullmatch(text):
        return text
    return '"' + "".join(_escaped(sign) for sign in text) + '"'


def _escaped(sign: str) -> str:
    if sign in _ESCAPES:
        return _ESCAPES[sign]
    if sign.isprintable():
        return sign
    code = ord(sign)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def write(value: dict[str, Any]) -> str:
    """Return a mapping as YAML: on one line what fits there, a line for each part of what does not.

    What stands under the keys of the mapping, and under `parameters`, has a line each.
    """
    lines: list[str] = []
    for key, one in value.items():
        if isinstance(one, dict | list) and lines:
            lines.append("")
        lines += _block_item(key, one, 0, True)
    return "\n".join(lines) + "\n"


def _block(value: Any, indent: int) -> list[str]:
    if isinstance(value, dict):
        return [line for key, one in value.items() for line in _block_item(key, one, indent, False)]
    lines, pad = [], " " * indent
    for one in value:
        if isinstance(one, dict) and len(one) == 1:
            lines += _single(one, indent)
            continue
        flow = _flow(one)
        if len(flow) + indent + 2 <= WIDTH or not _has_parts(one):
            lines.append(f"{pad}- {flow}")
        else:
            inner = _block(one, indent + 2)
            lines += [f"{pad}- {inner[0][indent + 2 :]}", *inner[1:]]
    return lines


def _single(value: dict[str, Any], indent: int) -> list[str]:
    """Return a list's item of one key: `- KEY: value`."""
    (key, one), *_ = value.items()
    inner = _block_item(key, one, indent + 2, False)
    return [f"{' ' * indent}- {inner[0][indent + 2 :]}", *inner[1:]]


def _block_item(key: str, value: Any, indent: int, spread: bool) -> list[str]:
    text, pad = key_text(key), " " * indent
    head = [f"{pad}? {text}", f"{pad}:"] if len(text) > LONG_KEY else [f"{pad}{text}:"]
    flow = _flow(value)
    spread = spread or key == "parameters" or (isinstance(value, dict) and "parameters" in value)
    if not _has_parts(value) or (not spread and len(head[-1]) + 1 + len(flow) <= WIDTH):
        return [*head[:-1], f"{head[-1]} {flow}"]
    return [*head, *_block(value, indent + 2)]


def _has_parts(value: Any) -> bool:
    return isinstance(value, dict | list) and len(value) > 0


def _flow(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_flow_key(key)}: {_flow(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_flow(one) for one in value) + "]"
    return scalar_text(value)


def _flow_key(key: str) -> str:
    text = key_text(key)
    return f"? {text} " if len(text) > LONG_KEY else text


def key_text(key: str) -> str:
    """Return a key as text; whole numbers and ranges of them stand as they are."""
    return key if _NUMBERS.fullmatch(key) else _quoted(key)
