"""What a report is counted by: the counting rules of the configured links, and the subscriptions as contracts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gateway import wiring
from gateway.homes.registry import Subscription, SubscriptionRegistry
from gateway_codecs.batches import Unit
from gateway_config import LinkConfig, Mission
from gateway_routes.accounts import StreamKey
from gateway_routes.entitled import Contract, Former
from gateway_routes.selection import Selection

SETS = ("kinds", "units", "spacecraft", "links", "vcids", "apids", "data_modes")


class CountingRules:
    """The counting rule of a stream, as the configuration has it now; "" = it says nothing of it."""

    def __init__(self, mission: Mission, links: Mapping[str, LinkConfig], names: Mapping[int, str]) -> None:
        self._links, self._names = links, names
        self._crafts = {craft.name: craft for craft in mission.spacecraft}

    def __call__(self, key: StreamKey) -> str:
        """Return apid, shared:GROUP, vc_count, none or ""."""
        link = self._links.get(self._names.get(key.link, ""))
        craft = None if link is None else self._crafts.get(str(getattr(link, "spacecraft", "")))
        if link is None or craft is None:
            return ""
        unit = getattr(link, "unit", None)
        if unit == "packets" and key.unit == Unit.PACKET:
            return wiring.packet_format(craft.packets).counting_of(key.apid) if key.apid >= 0 else ""
        if unit not in ("frames", "cadus") or craft.frames is None:
            return ""
        settings = wiring.frame_format(craft.frames, dict.fromkeys(craft.scids, key.spacecraft)).vc(key.vcid)
        if settings is None:
            return ""
        if key.unit == Unit.FRAME:
            return settings.counting if not settings.maps else ""  # other MAPs of the VC have frames too
        return settings.counting_of(key.apid) if key.unit == Unit.PACKET and key.apid >= 0 else ""


def selection_of(described: Mapping[str, Any]) -> Selection:
    """Return the selection that `gateway.access.policy.described` has made JSON of. Raises KeyError, TypeError."""
    sets = {key: None if described[key] is None else frozenset(described[key]) for key in SETS}
    grants = described.get("grants")
    given = None if grants is None else tuple(selection_of(one) for one in grants)
    return Selection(**sets, idle=described["idle"], bad_quality=described["bad_quality"], grants=given)


def contract_of(registry: SubscriptionRegistry, subscription: Subscription) -> Contract:
    """Return a subscription as it is accounted for. Raises ValueError when its selection cannot be read any more."""
    home, name = subscription.home, subscription.name
    session = registry.sessions.get((home, name))
    wish, granted = _rights(registry, subscription.selection, subscription.granted)
    former, forgotten = [], list[int]()
    for one in registry.versions.of(home, name, subscription.version):
        try:
            former.append(Former(one.version, *_rights(registry, one.selection, one.granted), one.ranges))
        except ValueError:  # it names what is not there any more
            forgotten += [end for _, end in one.ranges]
    return Contract(
        home, name, wish, granted, subscription.cursor, subscription.version, subscription.version_from,
        () if session is None else tuple(session.sent_ranges()), tuple(former),
        max([subscription.begun, *forgotten]), subscription.missing,
    )  # fmt: skip


def _rights(
    registry: SubscriptionRegistry, wish: Mapping[str, Any], granted: Mapping[str, Any]
) -> tuple[Selection, Selection]:
    """Return a wish and what of it was granted. Raises ValueError."""
    wished = registry.selection(wish)
    try:
        return wished, selection_of(granted) if granted else replace(wished)
    except (KeyError, TypeError) as error:
        raise ValueError(f"the rights of its version cannot be read: {error}") from None
