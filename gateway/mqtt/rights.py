"""The rights in use as accounts of our own broker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.mqtt.accounts import Accounts, BrokerUser, HomeAccount, shared_topics
from gateway_routes.rights import ActorKind

if TYPE_CHECKING:
    from gateway.access.tokens import Token
    from gateway.service import Gateway


def broker_accounts(service: Gateway) -> Accounts | None:
    """Return who may come in at the broker now, and what each hears; None where access is open."""
    if service.access.open:
        return None
    tokens = service.access.valid_tokens()
    operators = [_user(token) for token in tokens if token.kind is ActorKind.OPERATOR]
    homes = [_home(service, name, [t for t in tokens if t.kind is ActorKind.HOME and t.name == name])
             for name in sorted(service.policy.rights)]  # fmt: skip
    return Accounts(tuple(operators), tuple(homes))


def _home(service: Gateway, name: str, tokens: list[Token]) -> HomeAccount:
    own, now_ns = service.policy.rights[name], service.policy.now_ns()
    valid = own.valid_from_ns <= now_ns < own.valid_until_ns
    bad_quality, instances, shared = service.configuration.gateway.mqtt.bad_quality, list[str](), list[str]()
    for instance in service.instances.values():
        if any(grant.reaches(instance.where) for grant in own.grants):
            instances.append(instance.name)
            shared += shared_topics(own.grants, instance.where, instance.mission, bad_quality=bad_quality)
    users = tuple(_user(token) for token in tokens) if valid else ()
    return HomeAccount(name, users, tuple(sorted(instances)), tuple(sorted(shared)))


def _user(token: Token) -> BrokerUser:
    return BrokerUser(f"gwt_{token.id}", token.secret_bcrypt, token.instances)
