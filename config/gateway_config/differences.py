"""What changes from one configuration to another: for each home base, mission instance, link and key of gateway.yaml.

Pure: `gateway diff` shows it, a reload applies it. What it says of a link or an instance (`Effect`) is what a reload
does with it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from pydantic import BaseModel

from gateway_config.gateway_models import GatewaySettings
from gateway_config.home_models import Home
from gateway_config.link_models import LinkConfig
from gateway_config.loader import Configuration
from gateway_config.models import Mission, Spacecraft
from gateway_config.streams import gained_and_lost

M = TypeVar("M", bound=BaseModel)
LIVE_KEYS = frozenset({"replay_folders", "api.line_bps", "journal.keep_days", "journal.keep_octets"})
"""Keys of gateway.yaml that a reload changes; every other one needs a restart."""
OF_PEOPLE = frozenset({"description", "lifecycle"})
APART = frozenset({"contacts", "database"})
"""Keys of a spacecraft that its links do not use."""
NO_RESTART = frozenset({"expected_bps"})
"""Keys of a link that a running one does not use."""
NUMBERED = frozenset({"vcs", "apids", "maps"})
"""Keys whose values are by number, where they are no lists."""
REVISION_DIGITS = 12


class Effect(StrEnum):
    """What a reload does with something."""

    ADDED = "added"
    REMOVED = "removed"
    RESTARTED = "restarted"  # a link: stopped, and started again from where it was
    CHANGED = "changed"  # while it goes on
    NEEDS_RESTART = "needs a restart"  # of the gateway: a reload refuses
    UNTOUCHED = "untouched"


@dataclass(frozen=True, slots=True)
class Change:
    """Something that changes, or is untouched; `why` in words, one for each thing."""

    what: str  # home, instance, link, gateway
    name: str
    effect: Effect
    why: tuple[str, ...] = ()

    @property
    def told(self) -> tuple[str, ...]:
        """All of it in words."""
        return self.why

    def __str__(self) -> str:
        return f"{self.what} {self.name}: {self.effect}" + (f" ({'; '.join(self.told)})" if self.told else "")


@dataclass(frozen=True, slots=True)
class HomeChange(Change):
    """What changes for a home base, streams in words."""

    gained: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()

    @property
    def told(self) -> tuple[str, ...]:
        """All of it in words."""
        return (*self.why, *(f"gains {one}" for one in self.gained), *(f"loses {one}" for one in self.lost))


@dataclass(frozen=True, slots=True)
class InstanceChange(Change):
    """What changes for a mission instance."""

    databases: tuple[str, ...] = ()  # of these spacecraft
    prime: bool = False  # other links are the prime ones: who names no links gets others


@dataclass(frozen=True, slots=True)
class Difference:
    """All of it, untouched instances and links too. `before` and `after` are the revisions."""

    before: str
    after: str
    homes: tuple[HomeChange, ...] = ()
    instances: tuple[InstanceChange, ...] = ()
    links: tuple[Change, ...] = ()
    gateway: tuple[Change, ...] = ()

    @property
    def all(self) -> tuple[Change, ...]:
        """Every change, in the order in which it is told."""
        return (*self.gateway, *self.instances, *self.links, *self.homes)

    @property
    def changes(self) -> tuple[Change, ...]:
        """What is not untouched."""
        return tuple(change for change in self.all if change.effect is not Effect.UNTOUCHED)

    @property
    def refused(self) -> tuple[Change, ...]:
        """What no reload can apply."""
        return tuple(change for change in self.all if change.effect is Effect.NEEDS_RESTART)


def revision(configuration: Configuration) -> str:
    """Return what names the content of a configuration: the same for the same content, however it is written."""
    text = json.dumps(_plain(contents(configuration, whole=True)), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:REVISION_DIGITS]


def as_rows(found: Difference) -> dict[str, Any]:
    """Return a difference as JSON: revisions, changes, and what is untouched by name."""
    untouched = [change for change in found.all if change.effect is Effect.UNTOUCHED]
    return {
        "before": found.before,
        "after": found.after,
        "changes": [_row(change) for change in found.changes],
        "untouched": [{"what": change.what, "name": change.name, "why": list(change.why)} for change in untouched],
    }


def _row(change: Change) -> dict[str, Any]:
    row = {"what": change.what, "name": change.name, "effect": change.effect.value, "why": list(change.why)}
    return row | ({"gained": list(change.gained), "lost": list(change.lost)} if isinstance(change, HomeChange) else {})


def _plain(value: Any) -> Any:
    """Return JSON in which 7.0 is 7: a file may say either."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def contents(configuration: Configuration, whole: bool = False) -> dict[str, Any]:
    """Return a configuration as JSON, what it says or, `whole`, with every default. It holds no secret: files do."""

    def rows(models: Mapping[str, BaseModel]) -> dict[str, Any]:
        return {name: _json(model, whole) for name, model in sorted(models.items())}

    return {
        "gateway": _json(configuration.gateway, whole),
        "missions": rows(configuration.missions),
        "links": rows(configuration.links),
        "homes": rows(configuration.homes),
    }


def _json(model: BaseModel, whole: bool) -> dict[str, Any]:
    return model.model_dump(mode="json", exclude_unset=not whole)


def of_contents(told: Mapping[str, Any], directory: Any) -> Configuration:
    """Return the configuration that `contents` told. Raises pydantic.ValidationError (a ValueError), KeyError."""

    def read(model: type[M], row: Any) -> M:
        return model.model_validate(_numbered(row))

    return Configuration(
        directory,
        read(GatewaySettings, told["gateway"]),
        {name: read(Mission, row) for name, row in told["missions"].items()},
        {name: read(LinkConfig, row) for name, row in told["links"].items()},
        {name: read(Home, row) for name, row in told["homes"].items()},
    )


def _numbered(value: Any, numbers: bool = False) -> Any:
    """Return what JSON told with the numbers that are keys: there they are texts."""
    if isinstance(value, dict):
        return {int(key) if numbers else key: _numbered(one, key in NUMBERED) for key, one in value.items()}
    return [_numbered(one) for one in value] if isinstance(value, list) else value


def instances_of(configuration: Configuration) -> dict[str, tuple[Mission, str]]:
    """Return the mission instances: name to mission and support mode."""
    return {
        f"{mission.name}.{mode}": (mission, mode)
        for mission in configuration.missions.values()
        for mode in mission.support_modes
    }


def instance_of(link: LinkConfig) -> str:
    """Return the name of a link's mission instance."""
    return f"{link.mission}.{link.support_mode}"


def prime_links(configuration: Configuration, instance: str) -> frozenset[str]:
    """Return the prime links of an instance."""
    links = configuration.links.values()
    return frozenset(link.name for link in links if link.prime and instance_of(link) == instance)


def difference(before: Configuration, after: Configuration) -> Difference:
    """Return what changes from one to the other."""
    return Difference(
        revision(before),
        revision(after),
        tuple(_homes(before, after)),
        tuple(_instances(before, after)),
        tuple(_links(before, after)),
        tuple(_gateway(before.gateway, after.gateway)),
    )


# ---- gateway.yaml ----


def _gateway(before: GatewaySettings, after: GatewaySettings) -> Iterator[Change]:
    for key, old, new in _keys(before, after):
        effect = Effect.CHANGED if key in LIVE_KEYS else Effect.NEEDS_RESTART
        yield Change("gateway", key, effect, (_told(old, new),))


def _keys(before: BaseModel, after: BaseModel, within: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Return the keys whose values differ, with both, parts by their parts."""
    for name in type(before).model_fields:
        old, new = getattr(before, name), getattr(after, name)
        if old == new:
            continue
        if isinstance(old, BaseModel) and type(old) is type(new):
            yield from _keys(old, new, f"{within}{name}.")
        else:
            yield f"{within}{name}", old, new


def _told(old: object, new: object) -> str:
    return f"{_value(old)} -> {_value(new)}"


def _value(value: object) -> str:
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json", exclude_unset=True)
    text = "none" if value is None else json.dumps(_plain(value), default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."


# ---- links ----


def _links(before: Configuration, after: Configuration) -> Iterator[Change]:
    for name in sorted({*before.links, *after.links}):
        old, new = before.links.get(name), after.links.get(name)
        if old is None and new is not None:
            yield Change("link", name, Effect.ADDED, (f"to {instance_of(new)}",))
        elif new is None and old is not None:
            yield Change("link", name, Effect.REMOVED, (f"from {instance_of(old)}",))
        elif old is not None and new is not None:
            yield _link(old, new, before, after)


def _link(old: LinkConfig, new: LinkConfig, before: Configuration, after: Configuration) -> Change:
    """A link that moves to another instance has no place there to go on from: it begins anew."""
    own = [(key, _told(mine, other)) for key, mine, other in _keys(old, new)]
    why = [f"{key}: {told}" for key, told in own]
    had, has = _craft(before, old), _craft(after, new)
    if old.spacecraft == new.spacecraft and had is not None and has is not None:
        of_craft = [(key, _told(a, b)) for key, a, b in _keys(had, has) if key.split(".")[0] not in APART]
        why += [f"spacecraft {new.spacecraft}: {key}: {told}" for key, told in of_craft]
    if new.type == "gateway" and (known := _spacecraft(before, old)) != _spacecraft(after, new):
        why.append(f"the mission's spacecraft: {_told(known, _spacecraft(after, new))}")
    if not why:
        return Change("link", old.name, Effect.UNTOUCHED, ("nothing that it uses changes",))
    if len(why) == len(own) and {key for key, _ in own} <= NO_RESTART:
        return Change("link", old.name, Effect.CHANGED, tuple(why))
    return Change("link", old.name, Effect.RESTARTED, tuple(why))


def _spacecraft(configuration: Configuration, link: LinkConfig) -> list[str]:
    """Return the spacecraft of a link's mission: a link to another gateway may bring items of each."""
    mission = configuration.missions.get(link.mission)
    return [craft.name for craft in mission.spacecraft] if mission is not None else []


def _craft(configuration: Configuration, link: LinkConfig) -> Spacecraft | None:
    mission = configuration.missions.get(link.mission)
    return next((c for c in mission.spacecraft if c.name == link.spacecraft), None) if mission is not None else None


# ---- mission instances ----


def _instances(before: Configuration, after: Configuration) -> Iterator[InstanceChange]:
    old, new = instances_of(before), instances_of(after)
    for name in sorted({*old, *new}):
        if name not in old:
            yield InstanceChange("instance", name, Effect.ADDED)
        elif name not in new:
            yield InstanceChange("instance", name, Effect.REMOVED, ("its journal stays on the disk",))
        else:
            yield _instance(name, old[name][0], new[name][0], before, after)


def _instance(name: str, old: Mission, new: Mission, before: Configuration, after: Configuration) -> InstanceChange:
    why = [f"{key}: {_told(a, b)}" for key, a, b in _keys(old, new) if key in {*OF_PEOPLE, "contact_silence_s"}]
    crafts = {c.name: c for c in old.spacecraft}, {c.name: c for c in new.spacecraft}
    if set(old.support_modes) == set(new.support_modes) and old.support_modes != new.support_modes:
        why.append(f"support_modes: {_told(old.support_modes, new.support_modes)}")
    if set(crafts[0]) == set(crafts[1]) and list(crafts[0]) != list(crafts[1]):
        why.append(f"spacecraft: {_told(list(crafts[0]), list(crafts[1]))}")
    databases = []
    for craft in sorted({*crafts[0], *crafts[1]}):
        a, b = (side.get(craft) for side in crafts)
        why += _of_spacecraft(craft, a, b)
        if (a and a.database) != (b and b.database):
            databases.append(craft)
    primes = [prime_links(one, name) for one in (before, after)]
    if primes[0] != primes[1]:
        gone, come = sorted(primes[0] - primes[1]), sorted(primes[1] - primes[0])
        told = [f"+{link}" for link in come] + [f"-{link}" for link in gone]
        why.append(f"prime links: {' '.join(told)}: sessions that name no links subscribe again")
    effect = Effect.CHANGED if why else Effect.UNTOUCHED
    return InstanceChange("instance", name, effect, tuple(why), tuple(databases), primes[0] != primes[1])


def _of_spacecraft(name: str, old: Spacecraft | None, new: Spacecraft | None) -> list[str]:
    """Return what changes of a spacecraft, in words; what its links use is told of them, too."""
    if old is None or new is None:
        return [f"spacecraft {name} {'added' if old is None else 'removed'}"]
    told = []
    for key, a, b in _keys(old, new):
        if key == "contacts":
            gone, come = (len(_not_in(one, other)) for one, other in ((a, b), (b, a)))
            told.append(f"spacecraft {name}: {come} contacts planned, {gone} withdrawn")
        else:
            told.append(f"spacecraft {name}: {key}: {_told(a, b)}")
    return told


def _not_in(rows: Iterable[Any], others: Iterable[Any]) -> list[Any]:
    kept = list(others)
    return [row for row in rows if row not in kept]


# ---- home bases ----


def _homes(before: Configuration, after: Configuration) -> Iterator[HomeChange]:
    for name in sorted({*before.homes, *after.homes}):
        old, new = before.homes.get(name), after.homes.get(name)
        if old == new:
            continue
        gained, lost = gained_and_lost(old, new)
        effect = Effect.ADDED if old is None else Effect.REMOVED if new is None else Effect.CHANGED
        why: tuple[str, ...] = ()
        if old is not None and new is not None:
            why = tuple(f"{key}: {_told(a, b)}" for key, a, b in _keys(old, new) if key != "grants")
            if old.grants != new.grants and not gained and not lost:
                why += ("grants: written otherwise, the streams are the same",)
        yield HomeChange("home", name, effect, why, tuple(gained), tuple(lost))
