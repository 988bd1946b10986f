"""What our own broker is told of who may come in: one account for each home base (a fence beside the sessions' rights).

Home bases are kept apart by accounts, not by permissions: in one account a home base could take another's client id
and throw it off. The gateway's account exports; a home base's imports its own topics and the shared topics that it is
granted, so that it may listen to `#` and hears nothing else. A user is a token: its name `gwt_ID`, its password the
secret, of which a bcrypt hash is here.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from gateway_config import Mission
from gateway_routes.rights import Grant, Where
from gateway_routes.shared_topics import topic_level

GATEWAY = "gateway"
NO_VC = -1
MQTT_ONLY = "allowed_connection_types: [MQTT]"


@dataclass(frozen=True, slots=True)
class BrokerUser:
    """A token at the broker. `instances`: for these mission instances alone; None = all."""

    name: str
    bcrypt: str
    instances: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class HomeAccount:
    """A home base at the broker: who may come in for it, and which shared topics it hears."""

    home: str
    users: tuple[BrokerUser, ...]
    instances: tuple[str, ...]
    shared: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Accounts:
    """All of them. `operators` hear everything."""

    operators: tuple[BrokerUser, ...]
    homes: tuple[HomeAccount, ...]


def shrunk(before: Accounts, after: Accounts) -> Accounts:
    """Return `after` without the users of home bases that lose something: what both have is not touched."""
    known = {one.home: one for one in before.homes}
    kept = []
    for one in after.homes:
        old = known.get(one.home, one)
        narrower = not set(old.shared) <= set(one.shared) or not set(old.instances) <= set(one.instances)
        kept.append(replace(one, users=()) if narrower else one)
    return replace(after, homes=tuple(kept))


def without(accounts: Accounts, homes: Collection[str]) -> Accounts:
    """Return accounts in which nobody may come in for some home bases."""
    rows = [replace(one, users=()) if one.home in homes else one for one in accounts.homes]
    return replace(accounts, homes=tuple(rows))


def subject(topic: str) -> str:
    """Return an MQTT topic as nats-server names it: levels are parted by dots, a dot in a level is doubled slashes."""
    return ".".join(level.replace(".", "//") for level in topic.split("/"))


def shared_topics(grants: Iterable[Grant], where: Where, mission: Mission, *, bad_quality: bool) -> list[str]:
    """Return the shared topics (docs/mqtt.md) of a mission instance that grants give, `+` = any APID.

    A shared topic carries all data modes, and rejected units where `bad_quality`: it is given by a grant of all of
    that alone. Channels are named one by one, so that no two of the topics overlap: an import of each is heard once.
    """
    found: dict[tuple[str, int], set[int] | None] = {}
    for grant in grants:
        if not _gives_topics(grant, where, bad_quality):
            continue
        wanted, vcids, apids = (grant.items.get(key) for key in ("spacecraft", "vcids", "apids"))
        for craft in mission.spacecraft:
            if wanted is not None and craft.name not in wanted:
                continue
            there = [NO_VC, *(craft.frames.vcs if craft.frames is not None else ())]
            for vcid in there if vcids is None else [v for v in there if v in vcids]:
                key = (craft.name, vcid)
                known = found.get(key, set())
                found[key] = None if apids is None or known is None else known | set(apids)
    return [
        f"gw/v1/{where.instance}/{craft}/tm/{topic_level(vcid)}/{level}"
        for (craft, vcid), apids in sorted(found.items())
        for level in (["+"] if apids is None else [topic_level(apid) for apid in sorted(apids)])
    ]


def _gives_topics(grant: Grant, where: Where, bad_quality: bool) -> bool:
    whole = "data_modes" not in grant.items and (not bad_quality or bool(grant.items.get("bad_quality")))
    return grant.reaches(where) and "timely" in grant.modes and "tm" in grant.items.get("kinds", ["tm"]) and whole


def accounts_text(accounts: Accounts, gateway: tuple[str, str], listener: tuple[str, str] | None) -> list[str]:
    """Return the `accounts` section of nats-server's configuration.

    `gateway` and `listener` (who is configured to hear everything): name and password.
    """
    users = [_user(*gateway)]
    hears_all = 'permissions: { publish: { deny: [">"] }, subscribe: ["gw", "gw.>"] }'
    if listener is not None:
        users.append(_user(*listener, hears_all))
    asks = 'permissions: { publish: ["gw.v1.*.home.*.*.request"], subscribe: ["gw", "gw.>"] }'
    users += [_user(user.name, user.bcrypt, asks) for user in accounts.operators]
    requests = [_import(_account(one.home), f"gw.v1.*.home.{one.home}.*.request") for one in accounts.homes]
    exports = [_export(one) for one in ("gw.v1.*.home.*.*", "gw.v1.*.*.tm.>", "gw.v1.*.*")]
    lines = ["accounts {", *_section(GATEWAY, users, exports, requests)]
    for one in accounts.homes:
        lines += _section(_account(one.home), [_home_user(one.home, user) for user in one.users],
                          [_export(f"gw.v1.*.home.{one.home}.*.request")], _imports(one))  # fmt: skip
    return [*lines, "}"]


def _imports(one: HomeAccount) -> list[str]:
    topics = [f"gw.v1.*.home.{one.home}.*", *map(_wildcard, one.shared)]
    for instance in one.instances:
        topics += [subject(f"gw/v1/{instance}/{what}") for what in ("streams", "links", "contacts")]
    return [_import(GATEWAY, topic) for topic in (*topics, "gw.v1.status.*")]


def _wildcard(topic: str) -> str:
    return subject(topic).replace("+", "*")


def _home_user(home: str, user: BrokerUser) -> str:
    where = ["*"] if user.instances is None else [subject(name) for name in user.instances]
    asks = [f"gw.v1.{instance}.home.{home}.*.request" for instance in where]
    hears = [] if user.instances is None else [f"gw.v1.{instance}.>" for instance in where]
    listen = f", subscribe: {json.dumps(hears)}" if user.instances is not None else ""
    return _user(user.name, user.bcrypt, f"permissions: {{ publish: {json.dumps(asks)}{listen} }}")


def _account(home: str) -> str:
    return f"home-{home}"


def _user(name: str, password: str, more: str = "") -> str:
    told = f"{{ user: {json.dumps(name)}, password: {json.dumps(password)}, {MQTT_ONLY}"
    return f"{told}, {more} }}" if more else f"{told} }}"


def _import(account: str, topic: str) -> str:
    return f"{{ stream: {{ account: {json.dumps(account)}, subject: {json.dumps(topic)} }} }}"


def _export(topic: str) -> str:
    return f"{{ stream: {json.dumps(topic)} }}"


def _section(name: str, users: Sequence[str], exports: Sequence[str], imports: Sequence[str]) -> list[str]:
    parts: Mapping[str, Sequence[str]] = {"users": users, "exports": exports, "imports": imports}
    rows = [f"    {key}: [\n      " + "\n      ".join(values) + "\n    ]" for key, values in parts.items() if values]
    return [f"  {json.dumps(name)} {{", "    jetstream: enabled", *rows, "  }"]
