"""The configuration of an upstream: another gateway as the peer of a link (docs/chaining.md)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Annotated, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, Field

from gateway_config.models import Model, Name, PathText, Rule, Wrong

INSTANCE = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$"
EXPECTED = "expected http://HOST:PORT or https://HOST:PORT, without a path"


def _url(text: str) -> str:
    """An address of a control plane: nothing but scheme, host and port."""
    try:
        parts = urlsplit(text)
        plain = parts.hostname and parts.port != 0 and parts.path in {"", "/"} and not parts.query + parts.fragment
    except ValueError:
        raise ValueError(EXPECTED) from None
    if parts.scheme not in {"http", "https"} or not plain:
        raise ValueError(EXPECTED)
    if parts.username is not None:
        raise ValueError("expected no user or password in it: a token is in token_file")
    return text


class UpstreamSelection(Model):
    """What is taken from the upstream, in its names; null = all (docs/wire-format.md)."""

    kinds: list[Literal["tm", "event"]] | None = Field(None, description="tm, event; null = both")
    units: list[Literal["packet", "frame", "octets", "event"]] | None = Field(
        None, description="packet, frame, octets, event; null = all"
    )
    spacecraft: list[Name] | None = Field(None, description="names at the upstream, which are the names here too")
    links: list[Name] | None = Field(None, description="links of the upstream; null = its prime links")
    vcids: list[Annotated[int, Field(ge=-1, le=63)]] | None = Field(None, description="virtual channels; -1 = none")
    apids: list[Annotated[int, Field(ge=-1, le=2047)]] | None = Field(None, description="APIDs; -1 = none")
    data_modes: list[Literal["real_time", "dump", "playback"]] | None = Field(
        None, description="real_time, dump, playback; null = all"
    )
    idle: bool = Field(False, description="idle packets too")
    bad_quality: bool = Field(False, description="units that the upstream refused too")


class UpstreamKeys(Model):
    """The gateway that a link of type gateway gets its items from."""

    url: Annotated[str, AfterValidator(_url)] = Field(description="its control plane: http://HOST:PORT or https://…")
    instance: Annotated[str, Field(pattern=INSTANCE)] = Field(description="mission instance there")
    home: Name = Field(description="home base there, as which we subscribe")
    token_file: PathText | None = Field(
        None, description="file with that home base's token, relative to the configuration directory; null = no token"
    )
    subscription: Name | None = Field(
        None, description="name of the subscription there; null = made of the link's name and our journal's id"
    )
    selection: UpstreamSelection = Field(default_factory=UpstreamSelection, description="what is taken")

    def rules(self) -> tuple[Rule, ...]:
        """A token is not told to everybody on the way."""
        return (self._token,)

    def _token(self) -> Iterator[Wrong]:
        parts = urlsplit(self.url)
        if self.token_file is not None and parts.scheme == "http" and not _is_loopback(parts):
            remedy = "a token over http could be read on the way: use https, or a tunnel that ends at 127.0.0.1"
            yield ("url",), self.url, remedy


def _is_loopback(parts: SplitResult) -> bool:
    host = parts.hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
