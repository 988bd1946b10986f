"""Which way in a home base's address names: a gateway's WebSocket, or its MQTT broker."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from gateway.errors import UsageError
from gateway.homes.channel import Channel
from gateway.homes.client import WebSocketDial

Dial = Callable[[], Awaitable[Channel]]


def way_in(
    url: str,
    instance: str,
    home: str,
    subscription: str,
    token: Callable[[], str | None] = lambda: None,
    password: Callable[[], str | None] = lambda: None,
) -> Dial:
    """Return what opens channels for a subscription. `token` is the home base's; `password` is for a broker's user that
    stands in a mqtt(s):// address. Both are asked for each time: a file may be exchanged. Raises UsageError.
    """
    if url.startswith(("http://", "https://")):
        return WebSocketDial(url, instance, token)
    if not url.startswith(("mqtt://", "mqtts://")):
        raise UsageError(f"{url!r} is no address of a gateway", "give http(s)://HOST:PORT, or mqtt(s)://[USER@]HOST")
    from gateway.homes.mqtt_dial import MqttDial, broker_address

    broker_address(url)

    async def dial() -> Channel:
        shown = token()
        return await MqttDial(broker_address(url, password(), shown), instance, home, subscription, shown)()

    return dial
