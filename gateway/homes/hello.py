"""What a home base says first, and every control message: checked before anything is done (docs/wire-format.md)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from gateway_routes.delivery import DeliveryError

CONTROL_MAX_OCTETS = 1 << 18
HELLO_KEYS = {"type", "home", "subscription", "mode", "selection", "sequential", "from", "cursor"}
HELLO_KEYS |= {"from_position", "upto_position", "max_delay_ms", "rate_limit_bps", "priority", "path", "confirm"}
VALUE_KEYS = {"parameters", "delivery", "interval_ms", "spacecraft", "mdb"}
HELLO_KEYS |= VALUE_KEYS
MODES = ("complete", "timely", "offline", "values", "playback")


def parse_control(message: str | bytes) -> dict[str, Any]:
    """Return a control message of a home base, over whatever transport. Raises DeliveryError."""
    if len(message) > CONTROL_MAX_OCTETS:
        raise DeliveryError("bad message", f"a control message has at most {CONTROL_MAX_OCTETS} octets")
    try:
        value = json.loads(message)
    except (ValueError, RecursionError):
        raise DeliveryError("bad message", "the message is no JSON") from None
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        raise DeliveryError("bad message", 'a message is an object with a "type"')
    return value


def checked(hello: Mapping[str, Any]) -> tuple[str, str, str, dict[str, Any]]:
    """Return home base, subscription, mode and selection of a subscribe message. Raises DeliveryError."""
    if hello["type"] != "subscribe":
        raise DeliveryError("no subscribe", f"the first message is subscribe, not {hello['type'][:64]!r}")
    if unknown := sorted(set(hello) - HELLO_KEYS):
        known = ", ".join(sorted(HELLO_KEYS))
        raise DeliveryError("bad message", f"subscribe has no {unknown[0][:64]!r}; it takes {known}")
    for key in ("sequential", "path", "confirm"):
        if not isinstance(hello.get(key, False), bool):
            raise DeliveryError("bad message", f'"{key}" is true or false')
    if hello.get("from", "tail") not in ("tail", "head"):
        raise DeliveryError("bad message", '"from" is "tail" or "head"')
    wish, mode = hello.get("selection") or {}, hello.get("mode", "complete")
    if mode not in MODES:
        raise DeliveryError("bad mode", f"mode is {', '.join(MODES[:-1])} or {MODES[-1]}, not {str(mode)[:64]!r}")
    if not isinstance(wish, dict):
        raise DeliveryError("bad selection", "selection must be an object")
    return _name(hello, "home"), _name(hello, "subscription"), mode, wish


def _name(hello: Mapping[str, Any], key: str) -> str:
    value = hello.get(key)
    if not isinstance(value, str) or not 0 < len(value) <= 64 or not value.replace("-", "").replace("_", "").isalnum():
        shown = f"{str(value)[:80]!r}"
        raise DeliveryError("bad name", f"{key!r} must be 1 to 64 letters, digits, '-' or '_', not {shown}")
    return value
