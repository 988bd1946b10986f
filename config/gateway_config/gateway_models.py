"""The configuration of the gateway itself: gateway.yaml. Every key is documented in docs/configuration.md."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from gateway_config.models import Days, Host, Model, Name, PathText, Rule, Wrong


class ApiSettings(Model):
    """Where the control plane listens."""

    host: str = Field("127.0.0.1", description="address to listen on; other than loopback needs expose: true")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(8440, description="0 = any free port")
    names: list[Host] = Field(
        default_factory=list, description="host names of this gateway, beside localhost; addresses need none"
    )
    access: Literal["tokens", "open"] = Field(
        "tokens",
        description="tokens: every request but /health shows one; open, on loopback alone: whoever reaches the address"
        " is the operator, and may speak for any home base",
    )
    expose: bool = Field(
        False, description="allow an address that is not loopback: tokens are not encrypted on the way, there is no TLS"
    )
    connections_per_peer: Annotated[int, Field(ge=1, le=65536)] = Field(
        256, description="connections from one address (IPv6: one /64) at a time; more are refused with 503"
    )
    line_bps: Annotated[float, Field(ge=1000, le=10**13, allow_inf_nan=False)] | None = Field(
        None, description="bits/s of the line to the home bases: `gateway check` compares their contracts with it"
    )


class JournalKeys(Model):
    """The journal family; 0 = no limit."""

    segment_octets: Annotated[int, Field(ge=1 << 16, le=1 << 40)] = Field(
        1 << 30, description="a segment rolls at this size"
    )
    keep_days: Days = Field(0, description="remove older segments")
    keep_octets: Annotated[int, Field(ge=0, le=1 << 50)] = Field(
        0, description="remove oldest segments beyond this size"
    )
    reserve_octets: Annotated[int, Field(ge=0, le=1 << 50)] = Field(
        64 << 20, description="intake stops when less is free on the device"
    )
    memory_octets: Annotated[int, Field(ge=1 << 20, le=1 << 36)] = Field(
        32 << 20, description="recent blocks kept in memory"
    )


class RecordingKeys(Model):
    """The recording of raw link octets."""

    keep_days: Days = Field(7, description="remove older files (one holds a day at most); 0 = keep all")


class MqttSettings(Model):
    """Delivery over MQTT 3.1.1 (docs/mqtt.md): shared timely topics, and the subscriptions of home bases."""

    enabled: bool = Field(False, description="publish over MQTT")
    broker: Literal["nats", "external"] = Field(
        "nats", description="nats: the gateway runs a nats-server of its own; external: a broker that runs elsewhere"
    )
    name: Name = Field(
        "gateway", description="of this gateway at the broker: gw/v1/status/NAME tells whether it is there"
    )
    host: Host = Field(
        "127.0.0.1",
        description="nats: IP address to listen on, other than loopback needs expose; external: the broker's",
    )
    port: Annotated[int, Field(ge=0, le=65535)] = Field(1883, description="nats: 0 = any free port")
    expose: bool = Field(
        False, description="nats: allow an address that is not loopback; needs a username and password"
    )
    username: Annotated[str, Field(max_length=256)] | None = Field(
        None, description="nats: what clients give (none: anybody may listen); external: what the gateway gives"
    )
    password_file: PathText | None = Field(
        None, description="file with the password in its first line, relative to the configuration directory"
    )
    password_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = Field(
        None, description="environment variable with the password"
    )
    tls: bool = Field(False, description="external: TLS to the broker")
    tls_ca: PathText | None = Field(
        None, description="external: file with the authorities to trust, default the system's"
    )
    max_message_octets: Annotated[int, Field(ge=4096, le=8 << 20)] = Field(
        900_000, description="largest message; must not exceed the limit of an external broker"
    )
    lease_s: Annotated[float, Field(ge=1, le=3600, allow_inf_nan=False)] = Field(
        30.0, description="a home base that is silent for so long is gone"
    )
    idle: bool = Field(False, description="idle packets on the shared topics too")
    bad_quality: bool = Field(False, description="rejected units on the shared topics too")

    def rules(self) -> tuple[Rule, ...]:
        """The keys are of the kind of broker, and a name goes with its password."""
        return self._nats, self._external, self._port, self._password, self._exposed

    def _nats(self) -> Iterator[Wrong]:
        if self.broker == "nats":
            remedy = "the gateway's own broker has no TLS yet: leave it out, or use broker: external"
            yield from self._without_effect(["tls", "tls_ca"], remedy)

    def _external(self) -> Iterator[Wrong]:
        if self.broker == "external":
            yield from self._without_effect(["expose"], "an external broker exposes itself: leave it out")
            if not self.tls:
                yield from self._without_effect(["tls_ca"], "needs tls: true")

    def _port(self) -> Iterator[Wrong]:
        if self.broker == "external" and not self.port:
            yield ("port",), self.port, "an external broker has a port"

    def _password(self) -> Iterator[Wrong]:
        if self.password_file is not None and self.password_env is not None:
            yield ("password_env",), self.password_env, "give password_file or password_env, not both"
        given = self.password_file is not None or self.password_env is not None
        if self.username is not None and not given:
            yield ("username",), self.username, "needs password_file or password_env"
        if self.username is None:
            yield from self._without_effect(["password_file", "password_env"], "needs a username")

    def _exposed(self) -> Iterator[Wrong]:
        if self.broker == "nats" and self.expose and self.username is None:
            yield ("expose",), self.expose, "nobody listens unnamed beyond loopback: give username and password_file"


class ValuesKeys(Model):
    """Engineering values (docs/values.md): computed from the journalled packets, kept nowhere but in a cache."""

    cache_octets: Annotated[int, Field(ge=0, le=1 << 50)] = Field(
        1 << 30, description="size of the cache of values in DATA_DIR/values, which may be deleted; 0 = none"
    )


class GatewaySettings(Model):
    """gateway.yaml"""

    api: ApiSettings = Field(default_factory=ApiSettings, description="the control plane")
    data_dir: PathText = Field("var", description="relative to the configuration directory")
    journal: JournalKeys = Field(default_factory=JournalKeys, description="the journals of all instances")
    recording: RecordingKeys = Field(default_factory=RecordingKeys, description="the raw recordings of all links")
    mqtt: MqttSettings = Field(default_factory=MqttSettings, description="delivery over MQTT")
    values: ValuesKeys = Field(default_factory=ValuesKeys, description="engineering values")
    replay_folders: list[PathText] = Field(default_factory=list, description="folders whose files the API may replay")
