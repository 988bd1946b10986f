"""Where a home base asks for a playback: the gateway's API. What is returned comes over the home base's way in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

from gateway.errors import UsageError
from gateway.homes.client import SubscriptionRefused
from gateway_codecs.time_scales import parse_utc

if TYPE_CHECKING:
    import httpx

ANSWER_S = 60.0
OPEN = frozenset({"accepted", "running"})


class Desk(Protocol):
    """Takes what is asked, as the body of POST /playbacks."""

    async def ask(self, body: Mapping[str, Any]) -> str:
        """Return the id of the request: one for the same that is open, so that who was killed before it had noted the
        answer asks once, or a new one. Raises SubscriptionRefused, ConnectionError, UsageError."""
        ...


class ApiDesk:
    """The desk of a gateway at http(s)://. `token` is asked for each time: a file may be exchanged."""

    def __init__(self, url: str, instance: str, token: Callable[[], str | None]) -> None:
        self._url, self._instance, self._token = url.rstrip("/"), instance, token

    async def ask(self, body: Mapping[str, Any]) -> str:
        """See Desk."""
        import httpx

        token = self._token()
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        path = f"/api/v1/instances/{quote(self._instance, safe='')}/playbacks"
        async with httpx.AsyncClient(base_url=self._url, timeout=ANSWER_S, trust_env=False, headers=headers) as client:
            for row in reversed(await self._answer(client, "GET", path, params={"home": body["home"]})):
                if row["state"] in OPEN and _same(row, body):
                    return str(row["playback"])
            return str((await self._answer(client, "POST", path, json=dict(body)))["playback"])

    async def _answer(self, client: httpx.AsyncClient, method: str, path: str, **arguments: Any) -> Any:
        import httpx

        try:
            response = await client.request(method, path, **arguments)
            told = response.json()
        except (httpx.HTTPError, ValueError) as error:
            raise ConnectionError(f"{self._url} gives no answer to be read: {error}") from None
        if response.is_success:
            return told
        text = f"{told.get('error') or response.reason_phrase}" + (f" ({told['hint']})" if told.get("hint") else "")
        if response.status_code >= 500:
            raise ConnectionError(f"{self._url} answered {response.status_code}: {text}")
        raise SubscriptionRefused(
            f"the gateway refused a playback ({response.status_code}): {text}", "playback refused"
        )


class NoDesk:
    """Behind a broker there is none."""

    async def ask(self, body: Mapping[str, Any]) -> str:
        """Raises UsageError."""
        raise UsageError(
            "over MQTT nobody can be asked for a playback",
            "fetch one that was asked for: playback('playback-7'), as `gateway homes playback ask` prints it",
        )


def asked_for(
    home: str,
    selection: Mapping[str, Any],
    times: tuple[str | None, str | None],
    by: str,
    positions: tuple[int | None, int | None],
) -> dict[str, Any]:
    """Return what is asked of a range [first, end). Raises UsageError for what is no range."""
    given = [pair for pair in (times, positions) if pair != (None, None)]
    if len(given) != 1 or None in given[0]:
        hint = "from_utc and to_utc, or from_position and upto_position, or the id of a request"
        raise UsageError("a playback is of one range with two ends, either times or positions", hint)
    body: dict[str, Any] = {"home": home, "selection": dict(selection)}
    if given[0] is positions:
        return {**body, "from_position": positions[0], "upto_position": positions[1]}
    for text in times:
        try:
            parse_utc(str(text))
        except ValueError as error:
            raise UsageError(f"{text!r} is no time in UTC: {error}", "such as 2026-11-24T10:00:00Z") from None
    return {**body, "from_utc": times[0], "to_utc": times[1], "by": by}


def _same(row: Mapping[str, Any], body: Mapping[str, Any]) -> bool:
    """Return whether a request is for what is asked."""
    span = row["range"]
    if row["home"] != body["home"] or row["selection"] != body["selection"]:
        return False
    if span["by"] == "positions":
        return (span["first"], span["end"]) == (body.get("from_position"), body.get("upto_position"))
    if span["by"] != body.get("by"):
        return False
    wanted = (body["from_utc"], body["to_utc"])
    return [parse_utc(text) for text in (span["first"], span["end"])] == [parse_utc(text) for text in wanted]
