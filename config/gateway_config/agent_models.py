"""The configuration of a home base's agent: home.yaml. Every key is documented in docs/configuration.md."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from gateway_config.models import Host, Model, Name, PathText, Rule, Wrong

USERS = {
    "subscription": ("tcp", "udp", "websocket", "files"),
    "host": ("tcp", "udp", "websocket"),
    "port": ("tcp", "udp", "websocket"),
    "expose": ("tcp", "udp", "websocket"),
    "order": ("tcp", "udp"),
    "clients_max": ("tcp", "websocket"),
    "origins": ("websocket",),
    "begin": ("tcp", "udp", "csv"),
    "folder": ("files", "csv"),
    "hour_of": ("files",),
    "parameters": ("csv",),
    "spacecraft": ("csv",),
}
"""Keys that only some types of outlets use."""
RESERVED = ("outlets",)
ParameterName = Annotated[str, Field(min_length=1, max_length=1024)]


class AgentSelection(Model):
    """What a subscription is to get, within what the home base is granted."""

    kinds: list[Literal["tm", "event"]] = Field(["tm"], min_length=1, description="telemetry, events")
    spacecraft: list[Name] | None = Field(None, min_length=1, description="none = all")
    links: list[Name] | None = Field(None, min_length=1, description="none = the prime links")
    vcids: list[Annotated[int, Field(ge=-1, le=63)]] | None = Field(None, min_length=1, description="none = all")
    apids: list[Annotated[int, Field(ge=-1, le=2047)]] | None = Field(None, min_length=1, description="none = all")
    data_modes: list[Literal["real_time", "dump", "playback"]] | None = Field(
        None, min_length=1, description="none = all"
    )
    idle: bool = Field(False, description="idle packets too")
    bad_quality: bool = Field(False, description="rejected units too; outlets of packets leave them out")


class AgentSubscription(Model):
    """A subscription that the agent keeps in its store."""

    selection: AgentSelection = Field(default_factory=AgentSelection, description="what it gets")
    begin: Literal["oldest", "now"] = Field(
        "oldest", description="of a new store: all that the gateway has, or from now"
    )
    priority: Literal["high", "normal", "low"] = Field("normal", description="beside others of this gateway")
    rate_limit_bps: Annotated[int, Field(ge=1000, le=10**12)] | None = Field(None, description="of messages")
    keep_days: Annotated[float, Field(gt=0, le=36_500, allow_inf_nan=False)] | None = Field(
        None,
        description="what is older here goes, in whole files, once every outlet of type files has written it; "
        "none = it is kept for ever",
    )
    keep_octets: Annotated[int, Field(ge=1 << 16, le=1 << 50)] | None = Field(
        None, description="the oldest beyond goes, likewise; none = no limit"
    )
    sequential: bool = Field(False, description="one lane: what comes live waits for what is caught up")


class AgentOutlet(Model):
    """A tool of the laboratory's, served from the store."""

    type: Literal["tcp", "udp", "websocket", "files", "csv"] = Field(
        description="tcp: whole packets back to back, to whoever connects; udp: a packet a datagram, to an address; "
        "websocket: items as JSON; files: packets by APID and UTC hour; csv: parameters by UTC day"
    )
    subscription: Name | None = Field(
        None, description="tcp, udp, websocket, files: whose store it reads; none: the only one"
    )
    host: Host = Field(
        "127.0.0.1",
        description="tcp, websocket: to listen on; udp: to send to; other than loopback needs expose",
    )
    port: Annotated[int, Field(ge=0, le=65535)] = Field(
        0, description="tcp, websocket: 0 = any free port, in the status"
    )
    expose: bool = Field(False, description="allow an address that is not loopback: nothing is encrypted, nobody asked")
    begin: Literal["oldest", "now"] = Field(
        "now", description="tcp: what a client gets first; udp: after each start; csv: of a new outlet"
    )
    order: Literal["arrival", "position"] = Field(
        "arrival", description="tcp, udp: live before what is caught up, in turns; or by position, which waits"
    )
    clients_max: Annotated[int, Field(ge=1, le=1024)] = Field(32, description="tcp, websocket: clients at a time")
    origins: list[Annotated[str, Field(pattern=r"^https?://[^\s/?#@]+$", max_length=300)]] = Field(
        default_factory=list,
        max_length=64,
        description="websocket: the pages that may read it, as http://localhost:3000; none: programs alone",
    )
    folder: PathText = Field("", description="files, csv: where they are written; relative to this file")
    hour_of: Literal["receive_time", "generation_time"] = Field(
        "receive_time", description="files: which time; where no generation time is known it is the receive time"
    )
    parameters: list[ParameterName] = Field(default_factory=list, max_length=1000, description="csv: names or aliases")
    spacecraft: Name | None = Field(None, description="csv: whose parameters; none: the only one with a database")

    def rules(self) -> tuple[Rule, ...]:
        """The outlet's type has what it needs, and nothing that it does not use."""
        return self._users, self._needs, self._loopback

    def _users(self) -> Iterator[Wrong]:
        for key, types in USERS.items():
            if self.type not in types:
                remedy = f"a {self.type} outlet does not use it ({', '.join(types)} do): leave it out"
                yield from self._without_effect([key], remedy)

    def _needs(self) -> Iterator[Wrong]:
        if self.type == "udp" and not self.port:
            yield ("port",), self.port, "a udp outlet needs a port to send to"
        if self.type in {"files", "csv"} and not self.folder:
            yield ("folder",), self.folder, f"a {self.type} outlet needs a folder"
        if self.type == "csv" and not self.parameters:
            yield ("parameters",), self.parameters, "a csv outlet needs at least one parameter"

    def _loopback(self) -> Iterator[Wrong]:
        if self.expose or self.host == "localhost":
            return
        try:
            loopback = ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            loopback = False
        if not loopback:
            yield ("host",), self.host, "not loopback: set expose: true if the network is the laboratory's alone"


class AgentSettings(Model):
    """home.yaml"""

    url: Annotated[str, Field(pattern=r"^(https?|mqtts?)://[^\s/?#]+/?$", max_length=300)] = Field(
        description="http(s)://HOST:PORT of the gateway, or mqtt(s)://[USER@]HOST[:PORT] of its broker"
    )
    instance: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,199}$")] = Field(
        description="mission instance: MISSION.SUPPORT_MODE"
    )
    home: Name = Field(description="name of this home base at the gateway")
    token_file: PathText = Field(
        "",
        description="file with the token, relative to this file; none: GATEWAY_TOKEN_FILE, or, at a gateway of the "
        "same user on this machine, the operator's",
    )
    password_file: PathText = Field(
        "", description="mqtt(s)://USER@HOST: file with that user's password; relative to this file"
    )
    store: PathText = Field("store", description="folder of what is received, one agent's alone; relative to this file")
    reserve_octets: Annotated[int, Field(ge=0, le=1 << 50)] = Field(
        64 << 20, description="below so much free space nothing more is stored or acknowledged"
    )
    subscriptions: dict[Name, AgentSubscription] = Field(default_factory=dict, description="by name", max_length=64)
    outlets: dict[Name, AgentOutlet] = Field(default_factory=dict, description="by name", max_length=64)

    def rules(self) -> tuple[Rule, ...]:
        """Outlets have something to read, and do not write over each other."""
        return self._something, self._names, self._sources, self._folders, self._ports, self._password

    def _password(self) -> Iterator[Wrong]:
        if self.url.startswith("http"):
            yield from self._without_effect(["password_file"], "it is for mqtt(s):// alone: leave it out")

    def _something(self) -> Iterator[Wrong]:
        if not self.subscriptions and not any(outlet.type == "csv" for outlet in self.outlets.values()):
            yield ("subscriptions",), {}, "an agent needs a subscription, or an outlet of type csv"

    def _names(self) -> Iterator[Wrong]:
        for name in set(RESERVED) & set(self.subscriptions):
            yield ("subscriptions", name), name, "this folder of the store is the agent's own: choose another name"

    def _sources(self) -> Iterator[Wrong]:
        known = ", ".join(self.subscriptions) or "(none)"
        for name, outlet in self.outlets.items():
            if outlet.type == "csv":
                continue
            if outlet.subscription is None and len(self.subscriptions) != 1:
                yield ("outlets", name, "subscription"), None, f"say which of the subscriptions: {known}"
            elif outlet.subscription is not None and outlet.subscription not in self.subscriptions:
                yield ("outlets", name, "subscription"), outlet.subscription, f"not one of the subscriptions: {known}"

    def _folders(self) -> Iterator[Wrong]:
        count = Counter(outlet.folder.rstrip("/") for outlet in self.outlets.values() if outlet.folder)
        for name, outlet in self.outlets.items():
            if outlet.folder and count[outlet.folder.rstrip("/")] > 1:
                yield ("outlets", name, "folder"), outlet.folder, "another outlet writes there: give each its own"

    def _ports(self) -> Iterator[Wrong]:
        taken: set[tuple[str, int]] = set()
        for name, outlet in self.outlets.items():
            if outlet.type in {"tcp", "websocket"} and outlet.port:
                if (outlet.host, outlet.port) in taken:
                    yield ("outlets", name, "port"), outlet.port, "another outlet listens there"
                taken.add((outlet.host, outlet.port))

    def source_of(self, outlet: AgentOutlet) -> str:
        """Return the subscription whose store an outlet reads."""
        return outlet.subscription or next(iter(self.subscriptions))
