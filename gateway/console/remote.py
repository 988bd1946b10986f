"""The console's way to a running gateway: its HTTP API."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import httpx

from gateway.access.local import token_for
from gateway.errors import GatewayError, Refused, UsageError

DEFAULT_URL = "http://127.0.0.1:8440"
KINDS: dict[int, type[GatewayError]] = {403: Refused, 422: UsageError}
"""What a status means; every other one is a plain GatewayError."""


class Unreachable(GatewayError):
    """No gateway answers at the address."""


class Remote:
    """A thin client of /api/v1. Every failure is a GatewayError that names the address and the way out."""

    def __init__(self, url: str = DEFAULT_URL, timeout_s: float = 10.0, token_file: Path | None = None) -> None:
        self.url, self._token_file = url.rstrip("/"), token_file
        tls = self.url.lower().startswith("https:")  # without it there is nothing to verify: no certificates are read
        self._client = httpx.Client(
            base_url=self.url + "/api/v1", timeout=timeout_s, trust_env=False, auth=self._show_token, verify=tls
        )

    def _show_token(self, request: httpx.Request) -> httpx.Request:
        """Add the token, read anew each time: a gateway that was started again has left another."""
        token = token_for(self.url, self._token_file)
        if token is not None:
            request.headers["Authorization"] = f"Bearer {token}"
        return request

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._client.close()

    def get(self, path: str, **parameters: Any) -> Any:
        """Return the JSON answer of a GET."""
        wanted = {key: value for key, value in parameters.items() if value is not None}
        return self._answer("GET", path, params=wanted)

    def post(self, path: str, body: Any = None) -> Any:
        """Return the JSON answer of a POST."""
        return self._answer("POST", path, json=body)

    def delete(self, path: str) -> Any:
        """Return the JSON answer of a DELETE."""
        return self._answer("DELETE", path)

    def _answer(self, method: str, path: str, **arguments: Any) -> Any:
        try:
            response = self._client.request(method, path, **arguments)
        except httpx.HTTPError as error:
            hint = "start it with `gateway run`, or name it with --url"
            raise Unreachable(f"no gateway answers at {self.url}: {error}", hint) from error
        if response.is_success:
            return response.json()
        raise self._refusal(response)

    def instances(self) -> list[dict[str, Any]]:
        """Return the mission instances. Raises GatewayError, UsageError for a home base, which may not see them."""
        try:
            found: list[dict[str, Any]] = self.get("/instances")
        except Refused:
            raise UsageError(
                "which mission instance?", "say --instance: a home base's token does not list them"
            ) from None
        return found

    def now_utc(self) -> str:
        """Return the gateway's time; for a home base, which may not ask for it, that of this machine."""
        try:
            return str(self.get("/status")["time_utc"])
        except Refused:
            from gateway.real import SystemClock  # late, both: other commands need neither
            from gateway_codecs.time_scales import format_utc

            return format_utc(SystemClock().tai_ns())

    def _refusal(self, response: httpx.Response) -> GatewayError:
        try:
            problem = response.json()
        except ValueError:
            problem = {"error": response.text[:200]}
        text = problem.get("error") or problem.get("detail") or response.reason_phrase
        kind = KINDS.get(response.status_code, GatewayError)
        return kind(f"{self.url} answered {response.status_code}: {text}", str(problem.get("hint", "")))
