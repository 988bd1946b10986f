"""The rights of the home files as an access control file of mosquitto: a second fence at a broker that is not ours.

A home base comes in under its own name. Sessions are decided by tokens and grants all the same.
"""

from __future__ import annotations

from collections.abc import Iterable

from gateway.access.policy import rights_of
from gateway.errors import UsageError
from gateway.mqtt.accounts import shared_topics
from gateway_config import Configuration
from gateway_config.differences import instances_of
from gateway_routes.rights import HomeRights, Where

HEAD = """\
# Access control for mosquitto (acl_file), written by `gateway homes acl`: write it anew when grants or dates change.
# In mosquitto.conf: allow_anonymous false, password_file FILE (mosquitto_passwd FILE NAME), acl_file THIS FILE,
# use_username_as_clientid false. Users are named as the home bases are; who is not named here hears nothing.
# Replay runs: their complete subscriptions pass; their shared topics are named nowhere here, so nobody hears them.
"""
DESCRIPTORS = ("streams", "links", "contacts")


def mosquitto_acl(configuration: Configuration, now_ns: int) -> str:
    """Return the text of the file as of `now_ns` (ns TAI since 1958-01-01). Raises UsageError where it has no use."""
    mqtt = configuration.gateway.mqtt
    if mqtt.broker != "external":
        raise UsageError(
            f"mqtt.broker is {mqtt.broker}: the gateway gives each home base an account there by itself",
            "an access control file is for `broker: external`",
        )
    if mqtt.username is None:
        raise UsageError(
            "mqtt.username is not set: without a name of its own the gateway cannot be told from others",
            "set mqtt.username and mqtt.password_file in gateway.yaml",
        )
    if mqtt.username in configuration.homes or not mqtt.username.isprintable():
        raise UsageError(
            f"mqtt.username: {mqtt.username!r} is the name of a home base, or not printable",
            "give the gateway a name of its own",
        )
    lines = [f"user {mqtt.username}", "topic write gw/v1/#", "topic read gw/v1/+/home/+/+/request"]
    lines += [f"topic read gw/v1/status/{mqtt.name}", ""]
    for name, own in sorted(rights_of(configuration.homes).items()):
        lines += [*_home(configuration, name, own, now_ns), ""]
    return HEAD + "\n" + "\n".join(lines)


def _home(configuration: Configuration, name: str, own: HomeRights, now_ns: int) -> Iterable[str]:
    if not own.valid_from_ns <= now_ns < own.valid_until_ns:
        yield f"# {name}: outside of its dates (valid_from_utc, valid_until_utc) it hears nothing"
        return
    yield f"user {name}"
    yield f"topic read gw/v1/+/home/{name}/+"
    yield f"topic write gw/v1/+/home/{name}/+/request"
    yield "topic read gw/v1/status/+"
    for instance, (mission, mode) in sorted(instances_of(configuration).items()):
        where = Where(instance, mission.name, mode)
        if not any(grant.reaches(where) for grant in own.grants):
            continue
        yield from (f"topic read gw/v1/{instance}/{what}" for what in DESCRIPTORS)
        shared = shared_topics(own.grants, where, mission, bad_quality=configuration.gateway.mqtt.bad_quality)
        yield from (f"topic read {topic}" for topic in shared)
