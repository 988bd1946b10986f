"""A directory becomes one frozen configuration; what it means does not depend on how it is written."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from gateway_config import ConfigError, FrameSettings, GatewaySettings, LinkConfig, Mission, load, schemas
from gateway_config.documents import parse_document, plain_value

from .directories import GATEWAY, GOOD, HOME, LINK, MISSION, changed, write


def test_a_good_directory(tmp_path: Path) -> None:
    """Everything that is written is found again, by name."""
    found = load(write(tmp_path, {}))
    assert list(found.missions) == ["demo"]
    assert found.links["station"].port == 5500
    assert list(found.homes) == ["laboratory-a"]
    assert found.gateway.api.port == 0
    assert found.data_dir == tmp_path / "var"


def test_gateway_file_may_be_missing(tmp_path: Path) -> None:
    """Without gateway.yaml everything has its default: loopback, port 8440, ./var."""
    found = load(write(tmp_path, {"gateway.yaml": None, "homes/laboratory-a.yaml": None}))
    assert found.gateway == GatewaySettings()
    assert (found.gateway.api.host, found.gateway.api.port) == ("127.0.0.1", 8440)
    assert found.homes == {}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("missions/demo.yaml", "# a comment\n" + MISSION),
        ("missions/demo.yaml", changed(MISSION, "      ocf: by_flag\n", "      ocf: by_flag\n      fecf: true\n")),
        ("links/station.yaml", "\n".join(reversed(LINK.splitlines()))),
        ("gateway.yaml", '{"api": {"port": 0x0}, "data_dir": "./var"}'),
    ],
)
def test_hash_is_of_what_is_meant(tmp_path: Path, name: str, text: str) -> None:
    """Comments, order, written defaults and another notation do not change the content hash."""
    first, second = write(tmp_path / "a", {}), write(tmp_path / "b", {name: text})
    assert load(first).content_hash == load(second).content_hash


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("missions/demo.yaml", changed(MISSION, "1115", "1114")),
        ("links/station.yaml", changed(LINK, "5500", "5501")),
        ("gateway.yaml", GATEWAY + "data_dir: other\n"),
        ("homes/laboratory-a.yaml", HOME + "description: x\n"),
    ],
)
def test_hash_changes_with_the_content(tmp_path: Path, name: str, text: str) -> None:
    """Any change of meaning changes the content hash."""
    first, second = write(tmp_path / "a", {}), write(tmp_path / "b", {name: text})
    assert load(first).content_hash != load(second).content_hash


def test_two_links_of_one_spacecraft(tmp_path: Path) -> None:
    """A second link is fine when it is not prime, or in another support mode."""
    second = changed(LINK, "name: station", "name: second") + "prime: false\n"
    other = changed(changed(LINK, "name: station", "name: other"), "mode: flight", "mode: simulation")
    found = load(write(tmp_path, {"links/second.yaml": second, "links/other.yaml": other}))
    assert set(found.links) == {"station", "second", "other"}


@pytest.mark.parametrize(
    "text",
    [
        "type: file\npath: pass.bin\nframes_per_s: 100\nspeed: 2.5\ndata_mode: playback\n",
        "type: file\npath: ../pass.bin\nrate_bps: 1000000\n",
        "type: tcp_server\nhost: 0.0.0.0\nport: 0\nallowed_peers: [192.0.2.7, '::1']\n",
        "type: tcp_server\nhost: '::1'\nrecord: false\nenabled: false\n",
        "type: tcp_client\nhost: station.example\nport: 1\nretry_min_s: 1\nretry_max_s: 1\nwatchdog_s: 0.5\n",
    ],
)
def test_links_that_are_fine(tmp_path: Path, text: str) -> None:
    """Each type of link takes its own keys."""
    head = "name: station\nmission: demo\nspacecraft: picard\n"
    assert load(write(tmp_path, {"links/station.yaml": head + text})).links["station"].support_mode == "flight"


def test_exposed_on_purpose(tmp_path: Path) -> None:
    """Beyond loopback the API listens when `expose: true` says that it is meant."""
    found = load(write(tmp_path, {"gateway.yaml": "api: {host: '::', expose: true}\n"}))
    assert found.gateway.api.host == "::"


def test_planned_contacts(tmp_path: Path) -> None:
    """A planned contact of a known link is kept with its times."""
    plan = "contacts: [{peer: station, aos: 2024-02-29T12:00:00Z, los: 2024-02-29T12:10:00Z}]"
    text = changed(MISSION, "packets: {packet_versions: [0]}", plan)
    contact = load(write(tmp_path, {"missions/demo.yaml": text})).missions["demo"].spacecraft[1].contacts[0]
    assert (contact.peer, contact.aos, contact.los) == ("station", "2024-02-29T12:00:00Z", "2024-02-29T12:10:00Z")


@pytest.mark.parametrize("special", ["fifo", "folder", "dangling"])
def test_files_that_are_none(tmp_path: Path, special: str) -> None:
    """A pipe, a folder or a dangling link in place of a file is told, never waited for."""
    path = write(tmp_path, {"homes/laboratory-a.yaml": None}) / "homes" / "x.yaml"
    path.parent.mkdir(exist_ok=True)
    {"fifo": lambda: os.mkfifo(path), "folder": path.mkdir, "dangling": lambda: path.symlink_to("nothing")}[special]()
    with pytest.raises(
        ConfigError, match=r"^homes/x\.yaml:1: \(whole file\) = cannot be read: must be a regular file$"
    ):
        load(tmp_path)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None), ("~", None), ("null", None), ("true", True), ("False", False), ("no", "no"), ("on", "on"),
        ("y", "y"), ("12:30", "12:30"), ("010", 10), ("0x2A", 42), ("0o17", 15), ("-3", -3), ("+3", 3), ("1.5", 1.5),
        ("1e3", 1000.0), (".5", 0.5), (".inf", math.inf), ("-.Inf", -math.inf), ("1_000", "1_000"),
        ("2024-02-29", "2024-02-29"), ("0x", "0x"), ("9" * 30, "9" * 30), ("١", "١"),
    ],
)  # fmt: skip
def test_scalars_of_the_core_schema(text: str, value: Any) -> None:
    """Plain scalars are read as YAML 1.2 says: no surprise truth values, octals, clocks or dates."""
    found = plain_value(text)
    assert (type(found), found) == (type(value), value)


def test_quoted_scalars_are_text() -> None:
    """A quoted scalar is text, whatever it looks like."""
    document = parse_document("a: '1'\nb: \"true\"\nc: |\n  1\nd: 1\n", "x")
    assert document.data == {"a": "1", "b": "true", "c": "1\n", "d": 1}
    assert not document.problems


def test_models_are_strict_and_frozen() -> None:
    """Made by hand, models refuse the same things; once made they do not change."""
    with pytest.raises(ValidationError, match="write at least"):
        FrameSettings(version="tm", frame_length_octets=8)
    with pytest.raises(ValidationError, match="port"):
        LinkConfig(name="a", mission="b", spacecraft="c", type="tcp_client")
    settings = GatewaySettings()
    with pytest.raises(ValidationError, match="frozen"):
        settings.data_dir = "elsewhere"  # type: ignore[misc]


def test_schemas_describe_every_kind_of_file() -> None:
    """The JSON Schemas are JSON, refuse unknown keys and describe each key."""
    found = json.loads(json.dumps(schemas()))
    assert set(found) == {"gateway", "missions", "links", "homes"}
    for schema in found.values():
        assert schema["additionalProperties"] is False
        assert all(key.get("description") for key in schema["properties"].values())
    assert found["missions"]["properties"].keys() == Mission.model_fields.keys()


def test_every_good_file_is_needed(tmp_path: Path) -> None:
    """The directory that these tests change is itself without a problem, and without strangers."""
    assert load(write(tmp_path, {})).missions.keys() == {"demo"}
    assert sum(1 for path in tmp_path.rglob("*.yaml")) == len(GOOD)
