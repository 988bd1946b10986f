"""YAML documents that remember their lines, and what YAML makes of a text without saying so."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import yaml

NESTED_MAX, KEYS_MAX, DIGITS_MAX = 32, 100_000, 30
TAG = "tag:yaml.org,2002:"
Path = tuple[str, ...]
WORDS = (
    (
        "that cannot start any token",
        "a character that cannot stand here: use spaces instead of tabs, or quote the text",
    ),
    ("but found another document", "one file holds one document: remove what follows ---"),
    ("determine a constructor for the tag", "tags such as !foo are not known here: quote the text"),
    ("found unhashable key", "a key is text or a whole number"),
)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong."""

    file: str
    line: int
    key: str
    value: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.key or '(file)'} = {self.value}: {self.remedy}"


@dataclass(slots=True)
class Document:
    """One file's data, the line of every key in it, and what YAML alone shows to be wrong."""

    file: str
    data: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def line(self, path: Iterable[Any]) -> int:
        """Return the line of a key, or of the nearest part around it that stands in the file."""
        wanted = tuple(str(part) for part in path)
        while wanted and wanted not in self.lines:
            wanted = wanted[:-1]
        return self.lines.get(wanted, 1)

    def wrong(self, path: Iterable[Any], value: str, remedy: str) -> Problem:
        """Return a problem of this file."""
        wanted = tuple(str(part) for part in path)
        return Problem(self.file, self.line(wanted), ".".join(wanted), value, remedy)


class _Loader(yaml.SafeLoader):
    """YAML without timestamps: a time in a configuration is text, quoted or not."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in rows if tag != f"{TAG}timestamp"]
    for first, rows in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def parse(text: str, file: str) -> Document:
    """Parse YAML text and remember the line of every key. Raises yaml.YAMLError when nothing can be read."""
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        document = Document(file)
        if node is None:
            raise yaml.MarkedYAMLError(problem="the file is empty")
        _Notes(loader, document).note(node, (), 0)
        document.data = loader.construct_document(node)
        return document
    finally:
        loader.dispose()


def in_plain_words(error: yaml.MarkedYAMLError) -> str:
    """Return what is wrong for somebody who does not know the parser."""
    text = str(error.problem)
    return next((words for part, words in WORDS if part in text), text)


class _Notes:
    """Walks the nodes once, before anything is made of them."""

    def __init__(self, loader: _Loader, document: Document) -> None:
        self._loader, self._document = loader, document

    def note(self, node: yaml.Node, path: Path, depth: int) -> None:
        """Note the lines below a node, and what is wrong there."""
        lines = self._document.lines
        if depth > NESTED_MAX or len(lines) > KEYS_MAX:
            raise yaml.MarkedYAMLError(problem="nested too deeply or too large", problem_mark=node.start_mark)
        lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            self._mapping(node, path, depth)
        elif isinstance(node, yaml.SequenceNode):
            for k, value in enumerate(node.value):
                self.note(value, (*path, str(k)), depth + 1)
        else:
            self._number(node, path)

    def _mapping(self, node: yaml.MappingNode, path: Path, depth: int) -> None:
        seen = set()
        for key, value in node.value:
            name = self._key(key)
            at = (*path, name)
            if name in seen:
                self._wrong(at, key, "the key stands twice", value)
            else:
                self._document.lines[at] = key.start_mark.line + 1
                self._number(key, at)
            if key.tag in {f"{TAG}null", f"{TAG}bool", f"{TAG}float"}:
                self._wrong(at, key, "a key is text or a whole number: quote it if it is text")
            seen.add(name)
            self.note(value, at, depth + 1)

    def _key(self, key: yaml.Node) -> str:
        if not isinstance(key, yaml.ScalarNode) or key.tag in {f"{TAG}merge", f"{TAG}value"}:
            return str(key.value)
        self._check_digits(key)
        return str(self._loader.construct_object(key))

    def _number(self, node: yaml.Node, path: Path) -> None:
        """A number that is read otherwise than people write it is told: octal digits and sixties."""
        if node.tag not in {f"{TAG}int", f"{TAG}float"}:
            return
        self._check_digits(node)
        octal = re.fullmatch(r"[-+]?0[0-7_]+", node.value)
        if octal or ":" in node.value:
            value, how = self._loader.construct_object(node), "octal" if octal else "base 60"
            self._wrong(path, node, f"YAML reads this as {value} ({how}): write {value}, or quote it if it is text")

    def _check_digits(self, node: yaml.Node) -> None:
        if node.tag == f"{TAG}int" and len(node.value) > DIGITS_MAX:
            problem = f"a number of {len(node.value)} digits"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)

    def _wrong(self, path: Path, node: yaml.Node, remedy: str, value: yaml.Node | None = None) -> None:
        shown = value.value if isinstance(value, yaml.ScalarNode) else node.value
        line, key = node.start_mark.line + 1, ".".join(path)
        self._document.problems.append(Problem(self._document.file, line, key, str(shown)[:80], remedy))
