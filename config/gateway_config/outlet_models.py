"""Models of outlets: space packets as they are, over TCP or UDP, for tools of a home base that speak nothing else."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gateway_config.models import Model, Name, SupportMode

OutletDataMode = Literal["real_time", "dump", "playback"]


class Outlet(Model):
    """Packets of one mission instance, within the grants of the home base (mode timely). Best effort: docs/homes.md."""

    name: Name
    type: Literal["tcp", "udp"] = Field(
        description="tcp: clients connect here and get packets back to back; udp: sent there, a datagram each"
    )
    mission: Name = Field(description="of this configuration")
    support_mode: SupportMode = Field("flight", description="of which mission instance")
    host: str = Field(
        "127.0.0.1", description="IP address; tcp: to listen on, udp: to send to; other than loopback needs expose"
    )
    port: Annotated[int, Field(ge=1, le=65535)] = Field(description="tcp: to listen on; udp: to send to")
    expose: bool = Field(False, description="allow an address that is not loopback: nothing is encrypted, nobody asked")
    max_clients: Annotated[int, Field(ge=1, le=64)] = Field(4, description="tcp: at a time; more are refused")
    max_delay_ms: Annotated[int, Field(ge=10, le=60_000)] = Field(
        1000, description="what waits longer for a slow client or line is skipped, and counted"
    )
    spacecraft: list[Name] | None = Field(None, min_length=1, description="none = all that are granted")
    vcids: list[Annotated[int, Field(ge=0, le=63)]] | None = Field(None, min_length=1, description="none = all")
    apids: list[Annotated[int, Field(ge=0, le=2047)]] | None = Field(None, min_length=1, description="none = all")
    data_modes: list[OutletDataMode] = Field(["real_time"], min_length=1, description="which data")
    idle: bool = Field(False, description="idle packets too")
