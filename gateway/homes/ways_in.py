"""Which way in a home base's address names: a gateway's WebSocket, or its MQTT broker."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from gateway.errors import UsageError
from gateway.homes.client import WebSocketDial
from gateway.homes.session import Channel

Dial = Callable[[], Awaitable[Channel]]
SECRET_MAX_OCTETS = 4096


def way_in(
    url: str,
    instance: str,
    home: str,
    subscription: str,
    token: Callable[[], str | None] = lambda: None,
    password: str | None = None,
) -> Dial:
    """Return what opens channels for a subscription. `token` is for http(s)://, `password` for mqtt(s)://.

    Raises UsageError.
    """
    if url.startswith(("http://", "https://")):
        return WebSocketDial(url, instance, token)
    if not url.startswith(("mqtt://", "mqtts://")):
        raise UsageError(f"{url!r} is no address of a gateway", "give http(s)://HOST:PORT, or mqtt(s)://[USER@]HOST")
    from gateway.homes.mqtt_dial import MqttDial, broker_address

    return MqttDial(broker_address(url, password), instance, home, subscription)


def secret_of(path: Path) -> str:
    """Return the secret that stands alone in a file. Raises UsageError."""
    try:
        with path.open("rb") as file:
            text = file.read(SECRET_MAX_OCTETS + 1).decode("ascii").strip()
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: {error}", "a file with nothing but the token or password") from None
    if not text or len(text) > SECRET_MAX_OCTETS or any(character.isspace() for character in text):
        raise UsageError(f"{path} does not hold one token or password", "one line, without spaces")
    return text
