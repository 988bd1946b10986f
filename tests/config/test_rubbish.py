"""Whatever stands in the files, loading either gives a configuration or ConfigError with readable lines."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gateway_config import ConfigError, load
from gateway_config.documents import parse_document

from .directories import GOOD, write

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
WORDS = st.sampled_from(
    [
        "name", "mission", "spacecraft", "frames", "vcs", "scids", "version", "tm", "aos", "frame_length_octets",
        "packets", "apids", "counting", "shared:x", "api", "host", "port", "0.0.0.0", "expose", "journal", "type",
        "file", "tcp_server", "unit", "path", "prime", "contacts", "peer", "aos", "los", "0", "7", "63", "-1", "1e9",
    ]
)  # fmt: skip
ANYTHING: st.SearchStrategy[Any] = st.recursive(
    SCALARS | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS | SCALARS, inner, max_size=6),
    max_leaves=20,
)
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def assert_only_readable_errors(files: dict[str, str | bytes | None]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            load(write(Path(folder), files))
        except ConfigError as error:
            assert_readable(error)


def assert_readable(error: ConfigError) -> None:
    lines = str(error).split("\n")
    assert len(lines) == len(error.problems)
    for problem, line in zip(error.problems, lines, strict=True):
        assert problem.line >= 1
        assert problem.remedy
        assert line.startswith(f"{problem.file}:{problem.line}: ")
        assert len(line) <= 1500
        assert line.isprintable()


@quick
@given(st.sampled_from(sorted(GOOD)), st.binary(max_size=200))
@example("homes/laboratory-a.yaml", b"%YAML 9.9\n---\na: 1")
@example("homes/laboratory-a.yaml", b'"\\UFFFFFFFF"')
@example("homes/laboratory-a.yaml", b"&a [*a]")
@example("homes/laboratory-a.yaml", b'"a\\n\\x1b[31m\\uD800": 1')
@example("missions/demo.yaml", b'name: "a\\nb\\uD800"')
@example("homes/laboratory-a.yaml", b"k" * 900 + b": 1")
@example("homes/laboratory-a.yaml", b"? " + b"k" * 20_000 + b"\n: 1")
@example("homes/laboratory-a.yaml", b"<<: {name: a}")
@example("homes/laboratory-a.yaml", b"? {a: 1}\n: 2")
@example("homes/laboratory-a.yaml", b"[" * 100_000)
@example("homes/laboratory-a.yaml", b"- " * 100_000)
@example("homes/laboratory-a.yaml", b"name: " + b"9" * 100_000)
@example("homes/laboratory-a.yaml", b"\xff\xfe\x00")
@example("homes/laboratory-a.yaml", b"name: 2024-99-99")
@example("homes/laboratory-a.yaml", b"name: !!timestamp x")
def test_any_octets(name: str, octets: bytes) -> None:
    """Any octets as any file raise nothing but ConfigError."""
    assert_only_readable_errors({name: octets})


@quick
@given(st.sampled_from(sorted(GOOD)), st.text(alphabet="ab01:-,[]{}&*!|>'\"%#?~ \n\t.", max_size=80))
def test_any_yaml_text(name: str, text: str) -> None:
    """Text made of YAML's own signs raises nothing but ConfigError."""
    assert_only_readable_errors({name: text.encode()})


@quick
@given(st.sampled_from(sorted(GOOD)), ANYTHING)
def test_any_shape(name: str, data: Any) -> None:
    """Any YAML data of any shape, with our own keys in wrong places, raises nothing but ConfigError."""
    text = yaml.safe_dump(data, allow_unicode=True)
    assert_only_readable_errors({name: text.encode("utf-8", "surrogatepass")})


def places(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [path, *(p for key, value in inner for p in places(value, (*path, key)))]


def replaced(data: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    copy = data.copy()
    copy[path[0]] = replaced(data[path[0]], path[1:], value)
    return copy


@settings(quick, max_examples=150)
@given(st.sampled_from(sorted(GOOD)), st.data())
def test_one_value_replaced(name: str, draw: st.DataObject) -> None:
    """A good file in which any one value is something else raises nothing but ConfigError."""
    data = parse_document(GOOD[name], name).data
    path = draw.draw(st.sampled_from(places(data)))
    text = yaml.safe_dump(replaced(data, path, draw.draw(ANYTHING)), allow_unicode=True)
    assert_only_readable_errors({name: text.encode("utf-8", "surrogatepass")})
