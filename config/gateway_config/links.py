"""A link: where frames or packets of one spacecraft come from."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from gateway_config.findings import Finding, Model, Name, Seconds
from gateway_config.missions import SupportMode

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_HOST_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}")
_FILE_KEYS = ("path", "rate_bps", "frames_per_s", "speed")
_TCP_KEYS = ("host", "port", "retry_min_s", "retry_max_s")


def is_address(text: str) -> bool:
    """Whether the text is an IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether a host never leaves this machine."""
    return host == "localhost" or (is_address(host) and ipaddress.ip_address(host).is_loopback)


def _address(text: str) -> str:
    if not is_address(text):
        raise ValueError("write an IP address, for example 192.0.2.7")
    return text


def _host(text: str) -> str:
    if not is_address(text) and not _HOST_NAME.fullmatch(text):
        raise ValueError("write a host name or an IP address, for example 127.0.0.1")
    return text


class LinkConfig(Model):
    """One link, `links/NAME.yaml`. A link belongs to exactly one mission instance."""

    name: Name = Field(description="its name; unique among all links")
    mission: Name = Field(description="the mission it serves")
    support_mode: SupportMode = Field(default="flight", description="the mission instance it serves")
    spacecraft: Name = Field(description="the spacecraft of that mission; its `frames` or `packets` say what comes")
    type: Literal["file", "tcp_client", "tcp_server"] = Field(description="`file`, `tcp_client` or `tcp_server`")
    unit: Literal["frames", "packets"] = Field(
        default="frames", description="what its octets are: `frames` or `packets`"
    )
    enabled: bool = Field(default=True, description="false: it is there, but not started")
    prime: bool = Field(default=True, description="its items are delivered; those of other links are journalled only")
    record: bool = Field(default=True, description="raw octets are recorded too (links with `unit: frames` only)")
    data_mode: Literal["real_time", "dump", "playback"] = Field(
        default="real_time",
        description="`real_time`, `dump` or `playback`, where the data do not say it themselves",
    )
    watchdog_s: Seconds = Field(
        default=10.0, description="silence inside a contact after which the link is marked down"
    )
    path: str = Field(default="", description="file: the recording, relative to the configuration directory")
    frames_per_s: Positive | None = Field(
        default=None, description="file: pace in frames/s; without a pace as fast as possible"
    )
    rate_bps: Positive | None = Field(default=None, description="file: pace in bit/s")
    speed: Positive = Field(default=1.0, description="file: factor on the pace")
    host: Annotated[str, AfterValidator(_host)] = Field(
        default="127.0.0.1", description="tcp_client: whom to call; tcp_server: the address to listen on"
    )
    port: Annotated[int, Field(ge=0, le=65535)] = Field(
        default=0, description="TCP port; tcp_server: 0 = any free port"
    )
    allowed_peers: Annotated[tuple[Annotated[str, AfterValidator(_address)], ...], Field(strict=False)] = Field(
        default=(), description="tcp_server: addresses that may connect; may be empty on loopback only"
    )
    retry_min_s: Seconds = Field(default=0.5, description="TCP: shortest wait before the next try")
    retry_max_s: Seconds = Field(default=30.0, description="TCP: longest wait; waits double up to it, with jitter")

    def findings(self) -> Iterator[Finding]:
        """Yield what does not go together for this type of link."""
        yield from self._foreign_keys()
        yield from self._of_pace() if self.type == "file" else self._of_tcp()
        if self.retry_max_s < self.retry_min_s:
            yield Finding(
                ("retry_max_s",), self.retry_max_s, f"write at least retry_min_s, {self.retry_min_s}", ("retry_min_s",)
            )

    def _foreign_keys(self) -> Iterator[Finding]:
        foreign: tuple[str, ...] = (*_TCP_KEYS, "allowed_peers") if self.type == "file" else _FILE_KEYS
        if self.type == "tcp_client":
            foreign += ("allowed_peers",)
        for key in foreign:
            if key in self.model_fields_set and getattr(self, key) != type(self).model_fields[key].default:
                yield Finding((key,), getattr(self, key), f"a {self.type} link does not use it: remove it")

    def _of_pace(self) -> Iterator[Finding]:
        if not self.path:
            yield Finding(("path",), self.path, "write the file, relative to the configuration directory")
        if self.frames_per_s is not None and self.rate_bps is not None:
            yield Finding(("rate_bps",), self.rate_bps, "frames_per_s gives the pace already: remove one of the two")
        if self.frames_per_s is not None and self.unit == "packets":
            yield Finding(("frames_per_s",), self.frames_per_s, "packets have no frames: use rate_bps", ("unit",))
        if self.speed != 1 and self.frames_per_s is None and self.rate_bps is None:
            yield Finding(
                ("speed",),
                self.speed,
                "there is no pace to change: add rate_bps or frames_per_s",
                ("rate_bps", "frames_per_s"),
            )

    def _of_tcp(self) -> Iterator[Finding]:
        if self.type == "tcp_client":
            if not self.port:
                yield Finding(("port",), self.port, "write the port to call, 1 to 65535")
            return
        if not is_address(self.host) and self.host != "localhost":
            yield Finding(("host",), self.host, "a server listens on an IP address, for example 127.0.0.1")
        elif not is_loopback(self.host) and not self.allowed_peers:
            remedy = "beyond loopback a server takes only known peers: list their addresses"
            yield Finding(("allowed_peers",), [], remedy, ("host",))
