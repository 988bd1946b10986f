"""What the readers of the single definitions share: the elements by qualified name, what a name means, the remarks."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from gateway_codecs.mdb.model import Where
from gateway_codecs.mdb.report import Budget, DatabaseError
from gateway_codecs.mdb.xtce.elements import Element
from gateway_codecs.mdb.xtce.names import resolve, resolve_parameter
from gateway_codecs.mdb.xtce.number_encodings import number_coding
from gateway_codecs.mdb.xtce.numbers import has_comma, number, whole
from gateway_codecs.mdb.xtce.remarks import Remarks

_STEP = re.compile(r"\.([^./\[\]]+)|\[\d+\]")
_ENCODINGS = ("IntegerDataEncoding", "FloatDataEncoding", "StringDataEncoding", "BinaryDataEncoding")


class Definition(NamedTuple):
    """An element that defines something, its qualified name, and the path of the system that it stands in."""

    name: str
    element: Element
    system: str


@dataclass(frozen=True, slots=True)
class Sketch:
    """As much of a type as a comparison has to know: kind, texts, and how its raw values look."""

    kind: str = ""  # the type element's name without ParameterType: Integer, Enumerated, ...
    labels: frozenset[str] = frozenset()
    zero_text: str = "False"
    one_text: str = "True"
    raw: str = ""  # the encoding element's name without DataEncoding; "" = no encoding


@dataclass(slots=True, eq=False)
class Scope:
    """All definitions of a file. The mappings go from qualified name to definition, in the order of the file."""

    file: str
    budget: Budget
    remarks: Remarks
    types: dict[str, Definition] = field(default_factory=dict)
    parameters: dict[str, Definition] = field(default_factory=dict)
    containers: dict[str, Definition] = field(default_factory=dict)
    algorithms: dict[str, Definition] = field(default_factory=dict)
    _whole: dict[str, Element] = field(default_factory=dict)
    _sketches: dict[str, Sketch] = field(default_factory=dict)

    def where(self, element: Element) -> Where:
        """Return the place of an element."""
        return Where(self.file, element.line)

    def error(self, message: str, element: Element, hint: str = "") -> DatabaseError:
        """Return the error to raise for what must not be read."""
        return DatabaseError(message, self.where(element), hint)

    def number(self, element: Element, attribute: str, what: str) -> int | float | None:
        """Return a finite number of an attribute; None, and a remark, when it is there and none."""
        text = element.get(attribute)
        value = number(text) if text else None
        if isinstance(value, float) and not math.isfinite(value):
            self.remarks.wrong(what, f"{attribute}={_short(text)} is not finite", element.line)
            return None
        if text and value is None:
            self.remarks.wrong(what, f"{attribute}={_short(text)} is no number", element.line)
        elif has_comma(text):
            self.remarks.wrong(what, f"{attribute}={_short(text)} has a comma; read as a decimal point", element.line)
        return value

    # ---- names ----

    def type_name(self, reference: str, system: str) -> str:
        """Return the qualified name of a type; "" when there is none."""
        return resolve(reference, system, self.types)

    def container_name(self, reference: str, system: str) -> str:
        """Return the qualified name of a container; "" when there is none."""
        return resolve(reference, system, self.containers)

    def parameter_name(self, reference: str, system: str) -> str:
        """Return the qualified name of a parameter, member or element; "" when there is none of this name and type."""
        name, path = resolve_parameter(reference, system, self.parameters)
        return name + path if name and (not path or self.sketch(name + path).kind) else ""

    # ---- types with what they inherit ----

    def whole_type(self, name: str) -> Element:
        """Return a type with what its `baseType`s say where it says nothing. Raises DatabaseError for a circle."""
        if name not in self._whole:
            chain = self._bases(name)
            for derived, base in zip(reversed(chain[:-1]), reversed(chain[1:]), strict=True):
                self._whole[derived] = _merged(
                    self.types[derived].element, self._whole.get(base, self.types[base].element)
                )
            self._whole.setdefault(name, self.types[name].element)
        return self._whole[name]

    def _bases(self, name: str) -> list[str]:
        chain = [name]
        while reference := self.types[chain[-1]].element.get("baseType"):
            here = self.types[chain[-1]]
            base = self.type_name(reference, here.system)
            if not base:
                self.remarks.wrong(
                    here.name, f"baseType={reference!r} is not defined; read without it", here.element.line
                )
                break
            if base in chain:
                raise self.error(f"type {here.name} is its own baseType through {base}", here.element)
            chain.append(base)
            if len(chain) > self.budget.depth:
                raise self.error(f"type {name} has more than {self.budget.depth} baseTypes", here.element)
        return chain

    def sketch(self, parameter: str) -> Sketch:
        """Return the sketch of the type of a parameter, member (`P.x`) or element (`P[1]`); no kind = no such thing."""
        base, path = parameter, ""
        if parameter not in self.parameters:
            base, path = resolve_parameter(parameter, "", self.parameters)
        definition = self.parameters.get(base)
        if definition is None:
            return Sketch()
        name = self.type_name(definition.element.get("parameterTypeRef"), definition.system)
        for step in _STEP.finditer(path):
            name = self._inner_type(name, step[1]) if name else ""
        return self.type_sketch(name) if name else Sketch()

    def _inner_type(self, name: str, member: str | None) -> str:
        element, system = self.whole_type(name), self.types[name].system
        if member is None:
            return self.type_name(element.get("arrayTypeRef"), system) if element.name == "ArrayParameterType" else ""
        for one in members(element):
            if one.get("name") == member:
                return self.type_name(one.get("typeRef"), system)
        return ""

    def type_sketch(self, name: str) -> Sketch:
        """Return the sketch of a type."""
        if name not in self._sketches:
            element = self.whole_type(name)
            found = encoding(element)
            is_number = found is not None and found.name in {"IntegerDataEncoding", "FloatDataEncoding"}
            if found and is_number and number_coding(found).encoding is None:  # kept as octets
                self._sketches[name] = Sketch("Binary", raw="Binary")
                return self._sketches[name]
            self._sketches[name] = Sketch(
                kind=element.name.removesuffix("ParameterType"),
                labels=frozenset(one.get("label") for one in enumerations(element)),
                zero_text=element.get("zeroStringValue", "False"),
                one_text=element.get("oneStringValue", "True"),
                raw=found.name.removesuffix("DataEncoding") if found else "",
            )
        return self._sketches[name]

    def takes_no_place(self, name: str) -> bool:
        """Return whether a type has an encoding of 0 bits: a defect that moves nothing."""
        found = encoding(self.whole_type(name))
        if found is None:
            return False
        if found.name in {"IntegerDataEncoding", "FloatDataEncoding"}:
            return whole(found.get("sizeInBits")) == 0
        holder = found.first("SizeInBits")
        box = (holder.first("Fixed") or holder) if holder else None
        return box is not None and whole(box.child_text("FixedValue")) == 0


def encoding(type_element: Element) -> Element | None:
    """Return the encoding of a type; that of a time stands in an element of its own."""
    inner = type_element.first("Encoding") if "Time" in type_element.name else None
    return (inner or type_element).first(*_ENCODINGS)


def enumerations(type_element: Element) -> Iterator[Element]:
    """Give the Enumeration elements of a type."""
    found = type_element.first("EnumerationList")
    return found.all("Enumeration") if found else iter(())


def members(type_element: Element) -> Iterator[Element]:
    """Give the Member elements of a type."""
    found = type_element.first("MemberList")
    return found.all("Member") if found else iter(())


def _merged(derived: Element, base: Element) -> Element:
    has_encoding = encoding(derived) is not None
    said = {child.name for child in derived.children}
    inherited = [
        child for child in base.children if child.name not in said and not (has_encoding and child.name in _ENCODINGS)
    ]
    return Element(derived.name, derived.line, base.attributes | derived.attributes, [*derived.children, *inherited])


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")
