"""What one session may have: decided when it begins, and again when rights change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gateway.homes.registry import SubscriptionRegistry
from gateway_routes.delivery import DeliveryError
from gateway_routes.rights import Action, Actor, ActorKind, Decision
from gateway_routes.selection import Selection

RIGHTS_CHANGED = "rights changed: subscribe again"


class Entitlement:
    """The rights of one session. `selection` is what of its wish it is granted.

    Raises DeliveryError when it may not have it.
    """

    def __init__(
        self, registry: SubscriptionRegistry, actor: Actor, home: str, name: str, mode: str, wish: Mapping[str, Any]
    ) -> None:
        self._registry, self._actor, self._home, self._mode, self._wish = registry, actor, home, mode, dict(wish)
        self.selection = self._granted()
        most = registry.policy.rights[home].sessions
        others = [one for one in registry.all_sessions() if one.home == home and (one.name, one.mode) != (name, mode)]
        if len(others) >= most:
            raise DeliveryError("too many", f"home base {home!r} has {most} sessions already, as many as it may")

    def _decided(self, action: Action, selector: str) -> Decision:
        policy, where = self._registry.policy, self._registry.where
        found = policy.decide(self._actor, action, home=self._home, where=where, selector=selector)
        if found.allowed:
            return found
        known = ", ".join(sorted(policy.rights)) or "(none)"
        told = self._actor.kind is ActorKind.OPERATOR and found.code == "unknown home"
        raise DeliveryError(found.code, f"{found.why}; configured: {known}" if told else found.why)

    def _granted(self) -> Selection:
        if self._mode == "values":
            self._decided(Action.VALUE, "")
            return Selection()
        decision = self._decided(Action.RECEIVE, self._mode)
        try:
            return self._registry.granted(self._wish, decision)
        except ValueError as error:
            raise DeliveryError("bad selection", str(error)) from None

    def check_parameter(self, name: str) -> None:
        """Raise DeliveryError for a parameter, by its whole name, whose values are not granted."""
        self._decided(Action.VALUE, name)

    def change(self, parameters: Iterable[str] = ()) -> str:
        """Return why the session may not go on as it is; empty while it may."""
        try:
            same = self._granted() == self.selection
            for name in parameters:
                self.check_parameter(name)
        except DeliveryError as error:
            return f"rights changed: {error}"
        return "" if same else RIGHTS_CHANGED
