"""Who may do what: the one decision of the gateway (DESIGN 5, 7). Deny by default. No sockets, no clock.

A *grant* gives a home base some streams of one mission. An *actor* is who a token names. `decide` is asked for every
request, session and playback, when it begins and again when rights change; nothing else says yes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Any

FOREVER_NS = (1 << 63) - 1


class ActorKind(StrEnum):
    """What somebody is to the gateway."""

    OPERATOR = "operator"  # runs it: everything
    OBSERVER = "observer"  # looks at everything but payload data, changes nothing
    HOME = "home"  # a home base: what it is granted
    NOBODY = "nobody"  # shows no token


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks. `instances`: the mission instances that the token is for; None = all."""

    kind: ActorKind
    name: str = ""
    instances: frozenset[str] | None = None
    token: str = ""  # the id of the token shown; none was needed

    def __str__(self) -> str:
        return f"{self.kind} {self.name}".strip()


NOBODY = Actor(ActorKind.NOBODY)
LOCAL_OPERATOR = Actor(ActorKind.OPERATOR, "local")


class Action(StrEnum):
    """What can be asked for."""

    KNOW = "know"  # that the gateway is there: health, the description of its API
    OBSERVE = "observe"  # the state of everything
    OPERATE = "operate"  # change links, contacts, replays, the clock
    ADMINISTER = "administer"  # tokens and rights of others
    READ = "read"  # data of any home base: packets, values, events
    OWN = "own"  # what is about one's own home base
    RECEIVE = "receive"  # items, in a delivery mode
    VALUE = "value"  # engineering values of a parameter


@dataclass(frozen=True, slots=True)
class Where:
    """A mission instance; a replay run is one of its own."""

    instance: str
    mission: str
    support_mode: str
    replay: bool = False


@dataclass(frozen=True, slots=True)
class Grant:
    """What a home base gets of one mission. `items` is a wish as in `parse_selection`, with names."""

    mission: str
    support_modes: frozenset[str] = frozenset({"flight"})
    replays: bool = False
    items: Mapping[str, Any] = field(default_factory=dict)
    parameters: tuple[str, ...] = ()
    modes: frozenset[str] = frozenset({"complete", "timely", "offline", "values", "playback"})

    def reaches(self, where: Where) -> bool:
        """Whether it is about a mission instance."""
        return (
            self.mission == where.mission
            and where.support_mode in self.support_modes
            and (self.replays or not where.replay)
        )

    def names(self, parameter: str) -> bool:
        """Whether it gives the values of a parameter, by its whole name."""
        return any(_pattern(text).fullmatch(parameter) for text in self.parameters)


@lru_cache(maxsize=4096)
def _pattern(text: str) -> re.Pattern[str]:
    """Names with *: everything else stands for itself, brackets too."""
    return re.compile(".*".join(re.escape(part) for part in text.split("*")), re.DOTALL)


@dataclass(frozen=True, slots=True)
class HomeRights:
    """What a home base is granted, and when. Times in ns TAI since 1958-01-01."""

    grants: tuple[Grant, ...] = ()
    valid_from_ns: int = -FOREVER_NS
    valid_until_ns: int = FOREVER_NS
    sessions: int = 64
    subscriptions: int = 64


Rights = Mapping[str, HomeRights]
"""By home base."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Yes with the grants that give it, or no: `code` for machines, `why` for people."""

    allowed: bool
    code: str = ""
    why: str = ""
    grants: tuple[Grant, ...] = ()


_IN_WORDS: Mapping[Action, str] = {
    Action.KNOW: "know that it is there",
    Action.OBSERVE: "look at the state of the gateway",
    Action.OPERATE: "change links, contacts, replays, subscriptions or the clock",
    Action.ADMINISTER: "make or end tokens, or change the configuration",
    Action.READ: "read data of every home base",
    Action.OWN: "ask about a home base as its own",
    Action.RECEIVE: "receive",
    Action.VALUE: "receive values",
}
"""Behind "may not"."""

_MAY: Mapping[ActorKind, frozenset[Action]] = {
    ActorKind.OPERATOR: frozenset(Action),
    ActorKind.OBSERVER: frozenset({Action.KNOW, Action.OBSERVE}),
    ActorKind.HOME: frozenset({Action.KNOW, Action.OWN, Action.RECEIVE, Action.VALUE}),
    ActorKind.NOBODY: frozenset({Action.KNOW}),
}


def decide(
    rights: Rights,
    actor: Actor,
    action: Action,
    *,
    home: str = "",
    where: Where | None = None,
    selector: str = "",
    now_ns: int = 0,
) -> Decision:
    """Say whether an actor may do something, as or about `home`, in a mission instance.

    `selector` is the delivery mode of RECEIVE, and the whole name of the parameter of VALUE ("" = any at all). An
    operator may speak for a home base, and gets then what that home base is granted, no more.
    """
    if action not in _MAY[actor.kind]:
        if actor.kind is ActorKind.NOBODY:
            return Decision(False, "no token", "show a token: Authorization: Bearer gwt_...")
        who = "a home base" if actor.kind is ActorKind.HOME else f"an {actor.kind}"
        return Decision(False, "not allowed", f"{who} may not {_IN_WORDS[action]}")
    if where is not None and actor.instances is not None and where.instance not in actor.instances:
        return Decision(False, "not allowed", f"this token is not for {where.instance}")
    if actor.kind is ActorKind.HOME and home and home != actor.name:
        return Decision(False, "not yours", f"this token is of home base {actor.name!r}, not of {home[:64]!r}")
    if actor.kind is not ActorKind.HOME and not home:
        return Decision(True)
    return _of_home(rights, home or actor.name, action, where, selector, now_ns)


def _of_home(rights: Rights, home: str, action: Action, where: Where | None, selector: str, now_ns: int) -> Decision:
    """What a home base itself may do."""
    own = rights.get(home)
    if own is None:
        return Decision(False, "unknown home", f"no home base is named {home[:64]!r}")
    if not own.valid_from_ns <= now_ns < own.valid_until_ns:
        when = "yet (valid_from_utc" if now_ns < own.valid_from_ns else "any more (valid_until_utc"
        return Decision(False, "not valid", f"home base {home!r} is not valid {when} of its file at the gateway)")
    if action not in {Action.RECEIVE, Action.VALUE} or where is None:
        return Decision(True)
    there = tuple(grant for grant in own.grants if grant.reaches(where))
    found, told = _giving(there, action, selector)
    if not found:
        told = told if there else "anything"
        return Decision(False, "not granted", f"home base {home!r} is not granted {told} in {where.instance}")
    return Decision(True, grants=found)


def _giving(grants: tuple[Grant, ...], action: Action, selector: str) -> tuple[tuple[Grant, ...], str]:
    """Return the grants that give something, and what was asked for."""
    if action is Action.RECEIVE:
        return tuple(grant for grant in grants if selector in grant.modes), f"mode {selector[:64]!r}"
    valued = [grant for grant in grants if "values" in grant.modes]
    if selector:
        return tuple(grant for grant in valued if grant.names(selector)), f"the values of {selector[:200]!r}"
    return tuple(grant for grant in valued if grant.parameters), "values"
