"""The configuration: every error at once, with file, line, key, value and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_config import ConfigError, example_mission, example_names, load, schemas
from gateway_config.documentation import documentation
from gateway_config.loader import EXAMPLES

MISSION = """name: m
support_modes: [simulation]
spacecraft:
  - name: s
    scids: [1]
    frames: {version: tm, frame_length_octets: 100}
"""
LINK = "name: l\nmission: m\nspacecraft: s\ntype: tcp_client\nport: 1\n"


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        kind, _, stem = name.partition("__")
        path = folder / (f"{kind}/{stem}.yaml" if stem else f"{kind}.yaml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def problems(folder: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load(folder)
    return str(caught.value)


@pytest.mark.parametrize("name", example_names())
def test_every_built_in_mission_loads(name: str) -> None:
    """The shipped examples are right."""
    assert example_mission(name).name == name


@pytest.mark.parametrize("name", ["demo", "minimal"])
def test_the_shipped_directories_load(name: str) -> None:
    """The shipped directories are right."""
    found = load(Path(str(EXAMPLES)) / name)
    assert found.links["station"].spacecraft == "picard"


def test_another_gateway_as_the_peer(tmp_path: Path) -> None:
    """A link of type gateway needs no frames of its spacecraft; a token file that is not there yet is a warning."""
    link = "name: l\nmission: m\nspacecraft: s\ntype: gateway\nupstream:\n  url: http://127.0.0.1:8440\n"
    more = "  instance: m.flight\n  home: b\n  token_file: b.token\n  selection: {kinds: [tm], vcids: [1, -1]}\n"
    found = load(write(tmp_path, missions__m="name: m\nspacecraft: [{name: s}]\n", links__l=link + more))
    keys = found.links["l"].upstream
    assert keys is not None
    assert (keys.home, keys.selection.vcids, keys.selection.idle) == ("b", [1, -1], False)
    assert [warning.key for warning in found.warnings] == ["upstream.token_file"]


def test_a_good_directory(tmp_path: Path) -> None:
    """Defaults are loopback and a data directory beside the configuration."""
    found = load(write(tmp_path, missions__m=MISSION, links__l=LINK, homes__h="name: h\n"))
    assert (found.gateway.api.host, found.gateway.api.port) == ("127.0.0.1", 8440)
    assert found.data_dir == tmp_path / "var"


def test_all_errors_at_once(tmp_path: Path) -> None:
    """One run shows every error of every file: file, line, key, value, what would be right."""
    write(
        tmp_path,
        gateway="api:\n  port: 99999\njournall: 1\n",
        missions__m=MISSION.replace("version: tm", "version: xx"),
        links__l=LINK.replace("tcp_client", "sctp") + "watchdog_s: -1\n",
        homes__h="name: h h\n",
    )
    text = problems(tmp_path)
    for wanted in (
        "gateway.yaml:2: api.port = 99999",
        "gateway.yaml:3: journall = 1: unknown key",
        "missions/m.yaml:6: spacecraft.0.frames.version = 'xx': expected 'tm', 'aos' or 'uslp'",
        "links/l.yaml:4: type = 'sctp'",
        "links/l.yaml:6: watchdog_s = -1",
        "homes/h.yaml:1: name = 'h h'",
    ):
        assert wanted in text, text


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        ({"links__l": LINK.replace("mission: m", "mission: x")}, "no such mission; known: m"),
        ({"links__l": LINK.replace("spacecraft: s", "spacecraft: x")}, "m has s"),
        ({"links__l": LINK + "support_mode: flight\n"}, "m has simulation"),
        ({"links__l": LINK, "links__k": LINK.replace("name: l", "name: k")}, "is the prime link of s already"),
        ({"links__l": LINK, "links__k": LINK}, "already used in links/k.yaml"),
        ({"links__l": LINK.replace("port: 1", "port: 0")}, "needs a port"),
        ({"links__l": "name: l\nmission: m\nspacecraft: s\ntype: file\n"}, "needs a path"),
        ({"gateway": "api: {host: 0.0.0.0}\n"}, "expose: true"),
        ({"gateway": "api: {host: nowhere}\n"}, "give an IP address"),
        ({"homes__h": "name: h\nname: i\n"}, "name = i: the key stands twice"),
        ({"homes__h": "[unclosed\n"}, "no YAML"),
        ({"homes__h": ""}, "the file is empty"),
        ({"homes__h": "- a\n"}, "dictionary"),
        ({"missions__m": MISSION.replace("scids: [1]", "scids: []")}, "at least one spacecraft id"),
        ({"missions__m": MISSION.replace("100}", "100, vcs: {9: {}}}")}, "go from 0 to 7"),
        ({"missions__m": MISSION.replace("100}", "101, octet_interleave: 4}")}, "multiple of octet_interleave"),
        ({"missions__m": MISSION.replace("100}", "8}")}, "no room"),
        ({"links__l": LINK + "retry_min_s: 9\nretry_max_s: 1\n"}, "must not be below"),
    ],
)  # fmt: skip
def test_each_error_names_the_way_out(tmp_path: Path, files: dict[str, str], wanted: str) -> None:
    """Every kind of error says what would be right."""
    assert wanted in problems(write(tmp_path, **{"missions__m": MISSION, **files}))


def test_an_empty_directory_says_so(tmp_path: Path) -> None:
    """A directory without missions, and one that is not there."""
    assert "add at least one mission" in problems(tmp_path)
    assert "missing" in problems(tmp_path / "nowhere")


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=8),
        lambda c: st.lists(c, max_size=3) | st.dictionaries(st.text(max_size=8), c, max_size=3),
        max_leaves=12,
    )
)
@settings(max_examples=60, deadline=None)
def test_rubbish_raises_config_errors_only(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    """Whatever stands in a file, the answer is a ConfigError."""
    folder = write(tmp_path_factory.mktemp("c"), homes__h=yaml.safe_dump(value), missions__m=yaml.safe_dump(value))
    with pytest.raises(ConfigError):
        load(folder)


@given(st.text(max_size=60))
@settings(max_examples=60)
def test_rubbish_text(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """Text that is no YAML at all."""
    folder = tmp_path_factory.mktemp("c")
    (folder / "missions").mkdir()
    (folder / "missions/m.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError):
        load(folder)


def test_schemas_name_every_key() -> None:
    """The published JSON Schema has the keys of the models."""
    assert set(schemas()) == {"gateway", "missions", "links", "homes", "home"}
    assert "watchdog_s" in schemas()["links"]["properties"]


def test_the_documentation_is_made_from_the_models() -> None:
    """docs/configuration.md says every key, value, default and meaning, and nothing else."""
    text = (Path(__file__).parents[2] / "docs/configuration.md").read_text()
    assert text == documentation(), "run: python -m gateway_config.documentation > docs/configuration.md"
    for schema in schemas().values():
        for part in [schema, *schema.get("$defs", {}).values()]:
            for key, field in part.get("properties", {}).items():
                assert f"`{key}`" in text
                assert key == "name" or field.get("description") or "$ref" in field, (
                    f"{part['title']}.{key}: say what it means"
                )


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("default_time: {code: cuc, epoch: yesterday}", "default_time.epoch"),
        ("default_time: {code: cuc, epoch: 1950-01-01T00:00:00Z}", "a year from 1958 to 2103"),
        ("default_time: {code: cds, epoch: 2000-01-01T12:00:00Z}", "midnight"),
        ("default_time: {code: cuc, coarse_octets: 9}", "expected at most 7"),
        ("default_counting: shared", "apid, none or shared:GROUP"),
        ("service: opaque", "unknown key"),
    ],
)
def test_mistakes_in_packet_settings(tmp_path: Path, line: str, says: str) -> None:
    """Time codes and counting rules that cannot be are refused with the key and what would be right."""
    text = f"name: m\nspacecraft:\n  - name: s\n    packets:\n      {line}\n"
    assert says in problems(write(tmp_path, missions__m=text))


def test_planned_contacts(tmp_path: Path) -> None:
    """Contacts are planned in UTC text, quoted or not; LOS must be after AOS."""
    contact = "    contacts:\n      - {{peer: redu, aos_utc: 2026-11-24T12:00:00Z, los_utc: '{}'}}\n"
    good = write(tmp_path / "a", missions__m=MISSION + contact.format("2026-11-24T12:10:00Z"))
    assert load(good).missions["m"].spacecraft[0].contacts[0].aos_utc == "2026-11-24T12:00:00Z"
    text = problems(write(tmp_path / "b", missions__m=MISSION + contact.format("2026-11-24T11:10:00Z")))
    assert "missions/m.yaml:8" in text
    assert "must be after aos_utc" in text
