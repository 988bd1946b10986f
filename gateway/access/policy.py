"""The rights in use: what the home files grant, and which tokens hold. Every decision comes from here."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway_codecs.batches import Kind
from gateway_codecs.time_scales import parse_utc
from gateway_config import Grant as GrantKeys
from gateway_config import Home
from gateway_routes import rights
from gateway_routes.rights import Action, Actor, Decision, Grant, HomeRights, Rights, Where
from gateway_routes.selection import Selection, parse_selection

EVENTS = frozenset({Kind.EVENT})
OF_NO_EVENT = ("vcids", "apids", "data_modes")
ITEM_KEYS = ("kinds", "spacecraft", "vcids", "apids", "data_modes")


@dataclass(slots=True)
class Policy:
    """The rights in use. `exchange` puts new ones in their place; who holds a session asks `decide` again then."""

    rights: Rights = field(default_factory=dict)
    now_ns: Callable[[], int] = lambda: 0  # TAI, of the clock that no step moves
    token_holds: Callable[[Actor], bool] = lambda actor: True
    version: int = 0

    def exchange(self, new: Rights) -> None:
        """Take new rights."""
        self.rights, self.version = new, self.version + 1

    def decide(
        self, actor: Actor, action: Action, *, home: str = "", where: Where | None = None, selector: str = ""
    ) -> Decision:
        """Decide, as `gateway_routes.rights.decide` does, also that the token holds still."""
        if not self.token_holds(actor):
            return Decision(False, "token ended", "this token has expired or was revoked")
        return rights.decide(
            self.rights, actor, action, home=home, where=where, selector=selector, now_ns=self.now_ns()
        )


def rights_of(homes: Mapping[str, Home]) -> Rights:
    """Return what the home files say."""
    return {name: _home_rights(home) for name, home in homes.items()}


def _home_rights(home: Home) -> HomeRights:
    dates = {
        key: parse_utc(text)
        for key, text in (("valid_from_ns", home.valid_from_utc), ("valid_until_ns", home.valid_until_utc))
        if text is not None
    }
    grants = tuple(_grant(keys) for keys in home.grants)
    return HomeRights(grants, sessions=home.quotas.sessions, subscriptions=home.quotas.subscriptions, **dates)


def _grant(keys: GrantKeys) -> Grant:
    items: dict[str, Any] = {key: value for key in ITEM_KEYS if (value := getattr(keys, key)) is not None}
    if keys.bad_quality:
        items["bad_quality"] = True
    return Grant(
        keys.mission, frozenset(keys.support_modes), keys.replays, items, tuple(keys.parameters), frozenset(keys.modes)
    )


def granted_selections(grants: Sequence[Grant], spacecraft: Mapping[str, int]) -> tuple[Selection, ...]:
    """Return what grants give, with the journal's ids of spacecraft. A spacecraft that it has not met gives nothing.

    Events have no VC and no APID: a grant of them is not narrowed by those.
    """
    found: list[Selection] = []
    for grant in grants:
        known = [name for name in grant.items.get("spacecraft", ()) if name in spacecraft]
        items = {**grant.items, "idle": True, **({"spacecraft": known} if "spacecraft" in grant.items else {})}
        kinds = list(items.pop("kinds", ["tm"]))
        if "event" in kinds:
            of_events = {key: value for key, value in items.items() if key == "spacecraft"}
            found.append(parse_selection({**of_events, "kinds": ["event"], "bad_quality": True}, spacecraft))
        if others := [kind for kind in kinds if kind != "event"]:
            found.append(parse_selection({**items, "kinds": others}, spacecraft))
    return tuple(found)


def not_granted(
    wish: Mapping[str, Any], asked: Selection, granted: Sequence[Selection], spacecraft: Mapping[str, int]
) -> str:
    """Return what a wish names and no grant gives, for people; empty when there is nothing of the kind."""
    for key in ITEM_KEYS:
        for told in wish.get(key) or ():
            (value,) = getattr(parse_selection({key: [told]}, spacecraft), key)
            able = [one for one in granted if one.kinds != EVENTS or key not in OF_NO_EVENT]
            if not any(_gives(one, key, value) for one in able):
                return f"{key} {told}"
    if asked.bad_quality and not any(one.bad_quality for one in granted if one.kinds != EVENTS):
        return "bad_quality"
    return ""


def _gives(one: Selection, key: str, value: int) -> bool:
    given = getattr(one, key)
    return given is None or value in given


def described(selection: Selection) -> dict[str, Any]:
    """Return a selection as JSON that is the same for the same selection, to be kept beside a cursor."""
    fields = {name: getattr(selection, name) for name in Selection.__dataclass_fields__ if name != "grants"}
    row = {name: sorted(value) if isinstance(value, frozenset) else value for name, value in fields.items()}
    if selection.grants is not None:
        row["grants"] = sorted((described(one) for one in selection.grants), key=json.dumps)
    return row


def home_row(home: Home, own: HomeRights, now_ns: int, tokens: int) -> dict[str, Any]:
    """Return what the API shows of a home base."""
    return {
        "home": home.name,
        "description": home.description,
        "valid": own.valid_from_ns <= now_ns < own.valid_until_ns,
        "valid_from_utc": home.valid_from_utc,
        "valid_until_utc": home.valid_until_utc,
        "grants": [
            {
                "mission": grant.mission,
                "support_modes": sorted(grant.support_modes),
                "replays": grant.replays,
                "items": dict(grant.items),
                "parameters": list(grant.parameters),
                "modes": sorted(grant.modes),
            }
            for grant in own.grants
        ],
        "sessions_max": own.sessions,
        "subscriptions_max": own.subscriptions,
        "rate_limit_bps": home.quotas.rate_limit_bps,
        "backlog_days": home.quotas.backlog_days,
        "tokens": tokens,
    }
