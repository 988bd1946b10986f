"""Reads one YAML file, bounded, with the line of every key.

Scalars are read by the core schema of YAML 1.2: only `true` and `false` are truth values, `no` and
`12:30` are text, `0x2A` is a number. Aliases, tags and keys that stand twice are refused: in a file that
people compare line by line, a value stands where it is used. Nothing in a file can make
anything but text, numbers, truth values, lists and mappings.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from gateway_config.problems import Problem, shown

FILE_MAX_OCTETS = 1 << 18
DEPTH_MAX = 16
NODES_MAX = 20_000
INTEGER_MAX_CHARACTERS = 24
KeyPath = tuple[str, ...]

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE, _FALSE = frozenset({"true", "True", "TRUE"}), frozenset({"false", "False", "FALSE"})
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_PLAIN_TAGS = frozenset({f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map")})


@dataclass(slots=True)
class Document:
    """What a file holds: plain data, and the line (from 1) of every key path and list element."""

    file: str
    data: Any = None
    lines: dict[KeyPath, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def line(self, path: tuple[str | int, ...]) -> int:
        """Return the line of a key, or of the nearest key above it."""
        keys = tuple(map(str, path))
        while keys and keys not in self.lines:
            keys = keys[:-1]
        return self.lines.get(keys, 1)

    def text(self, key: str, default: str = "") -> str:
        """Return a top-level value when it is text, even if the rest of the file is wrong."""
        value = self.data.get(key, default) if isinstance(self.data, dict) else ""
        return value if isinstance(value, str) else ""

    def problem(self, path: tuple[str | int, ...], value: object, remedy: str) -> Problem:
        """Return a problem at a key of this file."""
        return Problem(self.file, self.line(path), ".".join(map(str, path)), shown(value), remedy)


def read_document(path: Path, name: str) -> Document:
    """Return the file as a document; what cannot be read is among its problems. Never raises for its contents."""
    try:
        text = _read_text(path)
    except (OSError, ValueError) as error:
        return Document(name, problems=[Problem(name, 1, "", "cannot be read", str(error))])
    return parse_document(text, name)


def _read_text(path: Path) -> str:
    if not path.is_file():
        raise ValueError("must be a regular file")
    with path.open("rb") as file:
        octets = file.read(FILE_MAX_OCTETS + 1)
    if len(octets) > FILE_MAX_OCTETS:
        raise ValueError(f"larger than {FILE_MAX_OCTETS} octets: split it")
    try:
        return octets.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"octet {error.start} is not UTF-8: save the file as UTF-8") from None


def parse_document(text: str, name: str) -> Document:
    """Return YAML text as a document; an empty one is an empty mapping. Never raises for its contents."""
    document = Document(name)
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        document.data = {} if node is None else _Reader(document).value(node, ())
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        document.problems.append(Problem(name, line, "", "no YAML", str(error.problem or error.context)))
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        document.problems.append(Problem(name, line, "", "no YAML", f"remove the character #x{error.character:04x}"))
    except (ValueError, OverflowError) as error:  # the scanner's own, such as an escape beyond Unicode
        document.problems.append(Problem(name, 1, "", "no YAML", str(error)))
    finally:
        if loader is not None:
            loader.dispose()
    return document


class _Loader(yaml.BaseLoader):
    """Composes nodes with bounded depth and number; aliases are refused (they multiply, and can be endless)."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(
                problem="aliases are not used here: write the value", problem_mark=event.start_mark
            )
        self._depth += 1
        self._nodes += 1
        if self._depth > DEPTH_MAX or self._nodes > NODES_MAX:
            limit = f"at most {DEPTH_MAX} levels and {NODES_MAX} values"
            raise yaml.MarkedYAMLError(problem=f"too deep or too large: {limit}", problem_mark=event.start_mark)
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node


class _Reader:
    """Turns nodes into plain data, noting lines and problems in the document."""

    def __init__(self, document: Document) -> None:
        self._document = document

    def value(self, node: yaml.Node, path: KeyPath) -> Any:
        """Return the data of a node."""
        line = node.start_mark.line + 1
        self._document.lines.setdefault(path, line)
        if node.tag not in _PLAIN_TAGS:
            self._wrong(line, path, node.tag, "remove the tag: tags are not used here")
        if isinstance(node, yaml.MappingNode):
            return dict(self._entries(node, path))
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, str(index))) for index, item in enumerate(node.value)]
        return plain_value(node.value) if _is_plain(node) else node.value

    def _entries(self, node: yaml.MappingNode, path: KeyPath) -> Iterator[tuple[str | int, Any]]:
        seen: dict[str, int] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self._wrong(line, path, "a list or mapping as key", "write a name or a number as key")
                continue
            key = plain_value(key_node.value) if _is_plain(key_node) else key_node.value
            key = key if type(key) is int else key_node.value
            here = (*path, str(key))
            if str(key) in seen:
                self._wrong(
                    line,
                    here,
                    _scalar(value_node),
                    f"this key stands in line {seen[str(key)]} already: remove one of the two",
                )
                continue
            seen[str(key)] = self._document.lines[here] = line
            yield key, self.value(value_node, here)

    def _wrong(self, line: int, path: KeyPath, value: object, remedy: str) -> None:
        problem = Problem(self._document.file, line, ".".join(path), shown(value), remedy)
        self._document.problems.append(problem)


def _scalar(node: yaml.Node) -> Any:
    """Return a scalar for a message; of lists and mappings only that they are."""
    return node.value if isinstance(node, yaml.ScalarNode) else "(a list or keys)"


def _is_plain(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.style is None


def plain_value(text: str) -> Any:
    """Return an unquoted scalar by the core schema of YAML 1.2; numbers of absurd length stay text."""
    if text in _NULL:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if len(text) <= INTEGER_MAX_CHARACTERS and _INTEGER.fullmatch(text):
        return int(text, 0) if text.startswith(("0x", "0o")) else int(text)
    if len(text) <= INTEGER_MAX_CHARACTERS and _FLOAT.fullmatch(text):
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text
