"""Checks between files: names that must be unique, and names that must lead somewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import BaseModel

from gateway_config.documents import Document
from gateway_config.links import LinkConfig
from gateway_config.missions import Mission, Spacecraft
from gateway_config.problems import Problem

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Read(Generic[M]):
    """A file that was read; `model` is None when something in it is wrong."""

    document: Document
    model: M | None


def names_unique(documents: Sequence[Document]) -> Iterator[Problem]:
    """Yield each name that another file has already, also when a file is otherwise wrong."""
    seen: dict[str, str] = {}
    for document in documents:
        name = document.text("name")
        if name and name in seen:
            yield document.problem(("name",), name, f"{seen[name]} has this name already: change one")
        seen.setdefault(name, document.file)


def links_lead_somewhere(missions: Sequence[Read[Mission]], links: Sequence[Read[LinkConfig]]) -> Iterator[Problem]:
    """Yield each link whose mission, support mode, spacecraft or frames are not there."""
    known = {mission.document.text("name"): mission.model for mission in missions}
    for link in links:
        yield from _leads_somewhere(link.document, known)


def _leads_somewhere(link: Document, known: dict[str, Mission | None]) -> Iterator[Problem]:
    name = link.text("mission")
    if name and name not in known:
        there = ", ".join(sorted(filter(None, known))) or "none"
        yield link.problem(("mission",), name, f"no such mission; there are: {there}")
    mission = known.get(name)
    if mission is None:
        return  # not there, or its own file is wrong and says so
    mode = link.text("support_mode", "flight")
    if mode and mode not in mission.support_modes:
        modes = ", ".join(mission.support_modes)
        yield link.problem(("support_mode",), mode, f"mission {mission.name} has the support modes: {modes}")
    crafts = {craft.name: craft for craft in mission.spacecraft}
    craft = link.text("spacecraft")
    if craft and craft not in crafts:
        yield link.problem(("spacecraft",), craft, f"mission {mission.name} has the spacecraft: {', '.join(crafts)}")
    elif craft:
        yield from _frames_are_there(link, crafts[craft])


def _frames_are_there(link: Document, craft: Spacecraft) -> Iterator[Problem]:
    if link.text("unit", "frames") == "frames" and craft.frames is None:
        remedy = f"spacecraft {craft.name} has no frames: add them to the mission, or write unit: packets"
        yield link.problem(("unit",), "frames", remedy)


def one_prime(links: Sequence[Read[LinkConfig]]) -> Iterator[Problem]:
    """Yield each further prime link of a spacecraft in a support mode: there may be one."""
    primes: dict[tuple[str, str, str], str] = {}
    for link in links:
        model = link.model
        if model is None or not model.prime:
            continue
        first = primes.setdefault((model.mission, model.support_mode, model.spacecraft), model.name)
        if first != model.name:
            remedy = f"{first} is the prime link of {model.spacecraft} in {model.support_mode}: write prime: false"
            yield link.document.problem(("prime",), model.prime, remedy)


def contacts_lead_somewhere(missions: Sequence[Read[Mission]], links: Sequence[Read[LinkConfig]]) -> Iterator[Problem]:
    """Yield each planned contact whose peer is no link of that mission."""
    names = {(link.document.text("mission"), link.document.text("name")) for link in links}
    for mission in missions:
        if mission.model is None:
            continue
        for index, craft in enumerate(mission.model.spacecraft):
            for number, contact in enumerate(craft.contacts):
                if (mission.model.name, contact.peer) not in names:
                    path = ("spacecraft", index, "contacts", number, "peer")
                    there = ", ".join(sorted(link for of, link in names if of == mission.model.name)) or "none"
                    yield mission.document.problem(path, contact.peer, f"no such link; the mission has: {there}")
