"""What concerns the gateway itself: where it listens, where it keeps its data, its limits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from gateway_config.findings import Finding, Model, Octets
from gateway_config.links import is_address, is_loopback

KeepDays = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]


class ApiSettings(Model):
    """Where the control plane and the home bases' WebSocket are served."""

    host: str = Field(default="127.0.0.1", description="IP address to listen on; beyond loopback `expose` must be true")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(default=8440, description="TCP port; 0 = any free port")
    expose: bool = Field(
        default=False, description="true: listen beyond loopback although there is no authentication yet"
    )

    def findings(self) -> Iterator[Finding]:
        """Yield an address that cannot be, or that nobody meant to open."""
        if not is_address(self.host) and self.host != "localhost":
            yield Finding(("host",), self.host, "write an IP address, for example 127.0.0.1")
        elif not is_loopback(self.host) and not self.expose:
            remedy = "everybody who reaches this address may do everything: add expose: true if you want that"
            yield Finding(("host",), self.host, remedy, ("expose",))


class JournalKeys(Model):
    """The journal: packets, frame columns, what is bad or opaque."""

    segment_octets: Annotated[int, Field(ge=1 << 16, le=1 << 40)] = Field(
        default=1 << 30, description="a segment file ends at this size (and at the UTC day)"
    )
    keep_days: KeepDays = Field(default=0.0, description="segments older than this are removed; 0 = kept for ever")
    keep_octets: Octets = Field(default=0, description="the oldest segments beyond this size are removed; 0 = no limit")
    reserve_octets: Octets = Field(default=64 << 20, description="intake stops when the device has less than this free")
    memory_octets: Annotated[int, Field(ge=1 << 20, le=1 << 34)] = Field(
        default=32 << 20, description="recent blocks kept in memory for live subscribers"
    )


class RecordingKeys(Model):
    """The recording: raw octets of links, for replays."""

    keep_days: KeepDays = Field(default=7.0, description="files older than this are removed; 0 = kept for ever")


class Limits(Model):
    """What one peer may use."""

    sessions: Count = Field(default=200, description="sessions of home bases at the same time")
    sessions_per_home: Count = Field(default=16, description="of them for one home base")
    message_octets: Annotated[int, Field(ge=1024, le=1 << 24)] = Field(
        default=1 << 20, description="longest control message of a client"
    )


class GatewaySettings(Model):
    """The gateway itself, `gateway.yaml`. The file may be missing: everything has a default."""

    api: ApiSettings = Field(default_factory=ApiSettings, description="where it listens")
    data_dir: Annotated[str, Field(min_length=1)] = Field(
        default="./var",
        description="journal, recordings and cursors; relative to the configuration directory",
    )
    journal: JournalKeys = Field(default_factory=JournalKeys, description="the journal's sizes and retention")
    recording: RecordingKeys = Field(default_factory=RecordingKeys, description="the recording's retention")
    limits: Limits = Field(default_factory=Limits, description="limits")
    replay_folders: Annotated[tuple[str, ...], Field(strict=False)] = Field(
        default=(),
        description="folders whose files the API may replay, relative to the configuration directory",
    )
