"""The configuration of links: links/NAME.yaml. Every key is documented in docs/configuration.md."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from gateway_config.models import Host, Model, Name, Pace, PathText, Peer, RetryS, Rule, SupportMode, Wrong
from gateway_config.upstream_models import UpstreamKeys

NO_GATEWAY = ("file", "tcp_client", "tcp_server", "udp")
USERS = {
    "path": ("file",),
    "container": ("file", "tcp_client", "tcp_server"),
    "frames_per_s": ("file",),
    "rate_bps": ("file",),
    "speed": ("file",),
    "host": ("tcp_client", "tcp_server", "udp"),
    "port": ("tcp_client", "tcp_server", "udp"),
    "allowed_peers": ("tcp_server", "udp"),
    "receive_buffer_octets": ("udp",),
    "unit": NO_GATEWAY,
    "sync": NO_GATEWAY,
    "data_mode": NO_GATEWAY,
    "record": NO_GATEWAY,
    "upstream": ("gateway",),
}
"""Keys that only some types of links use."""


class SyncKeys(Model):
    """How CADUs are found in a link's octets."""

    alignment: Literal["bit", "octet"] = Field("bit", description="where markers may begin: at every bit, every octet")
    search_errors: Annotated[int, Field(ge=0, le=8)] = Field(0, description="wrong bits of a marker that is searched")
    verify: Annotated[int, Field(ge=0, le=8)] = Field(1, description="markers that must follow a found one: then lock")
    lock_errors: Annotated[int, Field(ge=0, le=48)] = Field(3, description="wrong bits of a marker in lock")
    flywheel: Annotated[int, Field(ge=0, le=16)] = Field(
        3, description="CADUs taken without a marker before lock is lost"
    )
    slip_bits: Annotated[int, Field(ge=0, le=8)] = Field(
        2, description="alignment: bit: in lock a marker may come so many bits early or late"
    )
    polarity: Literal["either", "normal"] = Field("either", description="either: inverted bits are found and mended")

    def rules(self) -> tuple[Rule, ...]:
        """Nothing is looser in search than in lock, and octets do not slip by bits."""
        return self._errors, self._slip

    def _errors(self) -> Iterator[Wrong]:
        if self.search_errors > self.lock_errors:
            remedy = f"must not be above lock_errors ({self.lock_errors}): a marker that is found must hold"
            yield ("search_errors",), self.search_errors, remedy

    def _slip(self) -> Iterator[Wrong]:
        if self.alignment == "octet":
            yield from self._without_effect(
                ["slip_bits"], "octets do not slip by bits: leave it out, or alignment: bit"
            )


class LinkConfig(Model):
    """links/NAME.yaml"""

    name: Name
    mission: Name = Field(description="a name in missions/")
    support_mode: SupportMode = Field("simulation", description="one of the mission's support modes")
    spacecraft: Name = Field(description="one of the mission's spacecraft")
    type: Literal["file", "tcp_client", "tcp_server", "udp", "gateway"] = Field(
        description="a file, who connects to whom, datagrams of one or more whole units each, or another gateway"
    )
    unit: Literal["frames", "packets", "cadus"] = Field(
        "frames",
        description="transfer frames; packets back to back; cadus: code blocks behind sync markers, as coding says",
    )
    sync: SyncKeys = Field(default_factory=SyncKeys, description="unit: cadus: how they are found")
    container: Literal["none", "kiss", "unpacked_bits"] = Field(
        "none",
        description="kiss: KISS frames, each kept whole with its AX.25 or CSP headers; leave out unit; "
        "unpacked_bits: file with unit: cadus, one bit (0 or 1) per octet",
    )
    path: PathText = Field("", description="file: relative to the configuration directory")
    frames_per_s: Pace | None = Field(None, description="file: pace")
    rate_bps: Annotated[float, Field(ge=1, le=10**12, allow_inf_nan=False)] | None = Field(
        None, description="file: pace in bits/s"
    )
    speed: Annotated[float, Field(ge=0.001, le=10**6, allow_inf_nan=False)] = Field(
        1.0, description="file: factor on frames_per_s or rate_bps"
    )
    host: Host = Field(
        "127.0.0.1", description="name or IP address; tcp_client: of the peer; tcp_server, udp: to listen on"
    )
    port: Annotated[int, Field(ge=0, le=65535)] = Field(0, description="tcp, udp; tcp_server, udp: 0 = any free port")
    allowed_peers: list[Peer] = Field(
        default_factory=list, description="tcp_server, udp: IP addresses, each of one peer, no networks; empty = any"
    )
    receive_buffer_octets: Annotated[int, Field(ge=4096, le=1 << 29)] = Field(
        32 << 20, description="udp: asked of the kernel, which drops what does not fit; `gateway status` tells if less"
    )
    expected_bps: Annotated[float, Field(ge=0, le=10**13, allow_inf_nan=False)] | None = Field(
        None, description="what it brings on average, bits/s, day and night: `gateway check` reckons with it"
    )
    data_mode: Literal["real_time", "dump", "playback"] = Field(
        "real_time", description="of its items, unless the frames say otherwise (AOS replay flag)"
    )
    upstream: UpstreamKeys | None = Field(None, description="gateway: which, and what is taken from it")
    prime: bool = Field(True, description="its items are delivered; others are journalled only")
    record: bool = Field(True, description="frames and CADUs of tcp and udp links: keep the raw octets too")
    enabled: bool = Field(True, description="started with the gateway; `gateway links` changes it while it runs")
    watchdog_s: Annotated[float, Field(ge=0.05, le=86_400, allow_inf_nan=False)] = Field(
        10.0, description="silence in a contact = down"
    )
    retry_min_s: RetryS = Field(0.5, description="first wait before connecting again")
    retry_max_s: RetryS = Field(30.0, description="longest wait before connecting again")

    def rules(self) -> tuple[Rule, ...]:
        """The link's type has what it needs, and nothing that it does not use."""
        return (
            self._users, self._path, self._port, self._container, self._pace, self._speed, self._record, self._sync,
            self._retries, self._upstream,
        )  # fmt: skip

    def _users(self) -> Iterator[Wrong]:
        for key, types in USERS.items():
            if self.type not in types:
                remedy = f"a {self.type} link does not use it ({', '.join(types)} links do): leave it out"
                yield from self._without_effect([key], remedy)

    def _upstream(self) -> Iterator[Wrong]:
        if self.type == "gateway" and self.upstream is None:
            yield ("upstream",), None, "a gateway link needs upstream: url, instance, home"

    def _path(self) -> Iterator[Wrong]:
        if self.type == "file" and not self.path:
            yield ("path",), self.path, "a file link needs a path"

    def _port(self) -> Iterator[Wrong]:
        if self.type == "tcp_client" and not self.port:
            yield ("port",), self.port, "a tcp_client link needs a port"

    def _container(self) -> Iterator[Wrong]:
        if self.container == "kiss":
            yield from self._without_effect(["unit"], "KISS frames are items as they are: leave it out")
            if self.frames_per_s:
                yield ("frames_per_s",), self.frames_per_s, "KISS frames have no common length: use rate_bps"
        if self.container == "unpacked_bits" and self.unit != "cadus":
            yield ("container",), self.container, f"bits hold CADUs: needs unit: cadus, not {self.unit}"
        if self.container == "unpacked_bits" and self.type != "file":
            yield ("container",), self.container, f"a file holds one bit per octet, no {self.type} link: leave it out"

    def _pace(self) -> Iterator[Wrong]:
        if self.frames_per_s and self.rate_bps:
            yield ("rate_bps",), self.rate_bps, "give frames_per_s or rate_bps, not both"
        if self.frames_per_s and self.unit == "packets":
            yield ("frames_per_s",), self.frames_per_s, "needs unit: frames or cadus; use rate_bps for packets"

    def _speed(self) -> Iterator[Wrong]:
        if self.type == "file" and self.frames_per_s is None and self.rate_bps is None:
            yield from self._without_effect(
                ["speed"], "a factor on a pace: give frames_per_s or rate_bps, or leave it out"
            )

    def _record(self) -> Iterator[Wrong]:
        if self.record and (self.type == "file" or self.unit == "packets" or self.container == "kiss"):
            remedy = "only frames and CADUs of tcp_client, tcp_server and udp links are recorded: leave it out"
            yield from self._without_effect(["record"], remedy)

    def _sync(self) -> Iterator[Wrong]:
        if self.unit != "cadus" and self.type != "gateway":
            remedy = f"only CADUs are searched for, this is unit: {self.unit}: leave it out"
            yield from self._without_effect(["sync"], remedy)
        elif self.type == "udp":
            remedy = "a datagram holds whole CADUs, nothing is searched for: leave it out"
            for key in self.sync.model_fields_set - {"lock_errors", "polarity"}:
                yield ("sync", key), getattr(self.sync, key), remedy

    def _retries(self) -> Iterator[Wrong]:
        if self.retry_max_s < self.retry_min_s:
            yield ("retry_max_s",), self.retry_max_s, f"must not be below retry_min_s ({self.retry_min_s:g})"
