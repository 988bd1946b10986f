"""XTCE as a tree of elements, read from an untrusted file: nothing expanded, nothing fetched, everything bounded.

expat is used directly: a document type declaration ends the reading before any entity is known, so none is ever
expanded; no address in the file is opened. Depth, number of elements, and the length of each text, name and attribute
are bounded (`Budget`), also while expat still waits for the end of an endless token. Names lose their prefix: XTCE 1.0
to 1.3 differ in their namespaces, and files mix them up. Sets of definitions that are not used are counted, not kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from xml.parsers import expat

from gateway_codecs.mdb.model import Where
from gateway_codecs.mdb.report import Budget, DatabaseError

_CHUNK_OCTETS = 1 << 16
_NO_ATTRIBUTES: dict[str, str] = {}
NOT_KEPT = frozenset({
    "Header", "MetaCommandSet", "ArgumentTypeSet", "CommandContainerSet", "MessageSet", "StreamSet", "ServiceSet",
    "AncillaryDataSet",
})  # fmt: skip
"""Elements whose content is counted and not kept."""


@dataclass(slots=True, eq=False)
class Element:
    """An element by its local name. `used` says that a reader asked for it; `within` counts what was not kept of it."""

    name: str
    line: int
    attributes: dict[str, str]
    children: list[Element] | tuple[()] = ()
    text: str = ""
    used: bool = False
    within: Counter[str] | None = None

    def append(self, child: Element) -> None:
        """Put a child behind the others."""
        if isinstance(self.children, list):
            self.children.append(child)
        else:
            self.children = [child]

    def get(self, attribute: str, default: str = "") -> str:
        """Return an attribute without blanks around it."""
        return self.attributes.get(attribute, default).strip()

    def flag(self, attribute: str, default: bool) -> bool:
        """Return an xs:boolean attribute; other text is the default."""
        return {"true": True, "1": True, "false": False, "0": False}.get(self.get(attribute).lower(), default)

    def first(self, *names: str) -> Element | None:
        """Return the first child of one of these names."""
        return next(self.all(*names), None)

    def all(self, *names: str) -> Iterator[Element]:
        """Give the children of these names in order, all of them without a name."""
        for child in self.children:
            if not names or child.name in names:
                child.used = True
                yield child

    def child_text(self, name: str) -> str:
        """Return the text of the first child of this name, without blanks around it; "" when there is none."""
        child = self.first(name)
        return child.text if child else ""


@dataclass(frozen=True, slots=True)
class Document:
    """A whole file: its root, how many elements of each name, and the namespace that the root says."""

    root: Element
    counts: Counter[str]
    namespace: str


def parse(data: bytes, file: str, budget: Budget) -> Document:
    """Return the elements of an XTCE file. Raises DatabaseError: no XML, or more than the budget allows."""
    if len(data) > budget.file_octets:
        raise DatabaseError(f"{len(data):,} octets; at most {budget.file_octets:,} are read", Where(file))
    return _Builder(file, budget).document(data)


class _Builder:
    def __init__(self, file: str, budget: Budget) -> None:
        self._file, self._budget = file, budget
        self._root: Element | None = None
        self._stack: list[Element] = []
        self._texts: list[str] = []
        self._text_length = 0
        self._depth = 0
        self._elements = 0
        self._skipping: tuple[Element, int] | None = None  # an element that is not kept, and its depth
        self._within: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        parser: Any = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.StartDoctypeDeclHandler = self._doctype
        parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
        self._parser = parser

    def document(self, data: bytes) -> Document:
        try:
            view = memoryview(data)
            for start in range(0, len(data), _CHUNK_OCTETS):
                self._parser.Parse(bytes(view[start : start + _CHUNK_OCTETS]), False)
                self._refuse_endless_token(min(start + _CHUNK_OCTETS, len(data)))
            self._parser.Parse(b"", True)
        except expat.ExpatError as error:
            raise self._error(f"no XML: {expat.ErrorString(error.code)}", line=error.lineno) from None
        except (ValueError, LookupError) as error:  # an encoding that cannot be
            if isinstance(error, DatabaseError):
                raise
            raise self._error(f"no XML: {error}") from None
        root = self._root or Element("nothing", 1, _NO_ATTRIBUTES)
        if root.name != "SpaceSystem":
            raise self._error(f"no XTCE: the root element is {_short(root.name)}, expected SpaceSystem", line=root.line)
        return Document(root, self.counts, self._namespace(root))

    def _namespace(self, root: Element) -> str:
        told = [value for name, value in root.attributes.items() if name == "xmlns" or name.startswith("xmlns:")]
        return next((value for value in told if "xtce" in value.lower() or value.endswith("omg.org/space")), "")

    def _error(self, message: str, hint: str = "", line: int | None = None) -> DatabaseError:
        at = self._parser.CurrentLineNumber if line is None else line
        return DatabaseError(message, Where(self._file, at), hint)

    def _refuse_endless_token(self, fed: int) -> None:
        waiting = fed - self._parser.CurrentByteIndex
        if waiting > self._budget.text_octets + 2 * _CHUNK_OCTETS:
            raise self._error(
                f"a tag, comment or attribute of more than {self._budget.text_octets:,} octets",
                "no definition is that long: is this an XTCE file?",
            )

    def _doctype(self, *_: object) -> None:
        raise self._error(
            "a document type declaration (DOCTYPE): entities are never expanded and no DTD is fetched",
            "take the DOCTYPE out; XTCE needs none",
        )

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        name = tag.rpartition(":")[2]
        self._elements += 1
        self._depth += 1
        self._check(name, attributes)
        self.counts[name] += 1
        if self._skipping:
            self._within[name] += 1
            return
        self._keep_text()
        element = Element(name, self._parser.CurrentLineNumber, attributes or _NO_ATTRIBUTES)
        if self._stack:
            self._stack[-1].append(element)
        else:
            self._root = element
        self._stack.append(element)
        if name in NOT_KEPT:
            element.within = self._within = Counter()
            self._skipping = element, self._depth

    def _check(self, name: str, attributes: dict[str, str]) -> None:
        if self._depth > self._budget.depth:
            raise self._error(f"elements nested deeper than {self._budget.depth}")
        if self._elements > self._budget.definitions:
            raise self._error(f"more than {self._budget.definitions:,} elements")
        most = self._budget.text_octets
        for text in attributes.values():
            if len(text) > most:
                raise self._error(f"an attribute of more than {most:,} characters")
        if len(name) > most:
            raise self._error(f"a name of more than {most:,} characters")

    def _end(self, _: str) -> None:
        if self._skipping and self._skipping[1] != self._depth:
            self._depth -= 1
            return
        self._skipping = None
        self._depth -= 1
        self._keep_text()
        self._stack.pop()

    def _characters(self, text: str) -> None:
        if self._skipping or (not self._texts and text.isspace()):
            return
        self._text_length += len(text)
        if self._text_length > self._budget.text_octets:
            raise self._error(f"a text of more than {self._budget.text_octets:,} characters")
        self._texts.append(text)

    def _keep_text(self) -> None:
        if self._texts and self._stack and not self._stack[-1].children:  # XTCE has no text between elements
            self._stack[-1].text = "".join(self._texts).strip()
        self._texts.clear()
        self._text_length = 0


def _short(name: str) -> str:
    return repr(name if len(name) <= 40 else name[:37] + "...")
