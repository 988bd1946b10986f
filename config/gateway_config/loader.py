"""Reads a configuration directory and reports every problem at once: file, line, key, value, what would be right."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from gateway_config.models import GatewaySettings, Home, LinkConfig, Mission

FILE_MAX_OCTETS = 1 << 20
M = TypeVar("M", bound=BaseModel)
EXAMPLES = files("gateway_config") / "examples"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong."""

    file: str
    line: int
    key: str
    value: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.key or '(file)'} = {self.value}: {self.remedy}"


class _Loader(yaml.SafeLoader):
    """YAML without timestamps: a time in a configuration is text, quoted or not."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in rows if tag != "tag:yaml.org,2002:timestamp"]
    for first, rows in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class ConfigError(Exception):
    """Everything that is wrong with a configuration."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(p) for p in problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Configuration:
    """A whole, consistent configuration."""

    directory: Path
    gateway: GatewaySettings
    missions: Mapping[str, Mission]
    links: Mapping[str, LinkConfig]
    homes: Mapping[str, Home]

    @property
    def data_dir(self) -> Path:
        """The data directory, absolute or relative to the working directory."""
        return self.directory / self.gateway.data_dir


@dataclass(slots=True)
class _Document:
    file: str
    data: Any
    lines: dict[tuple[Any, ...], int] = field(default_factory=dict)

    def line(self, path: tuple[Any, ...]) -> int:
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def load(directory: Path) -> Configuration:
    """Return the configuration of a directory. Raises ConfigError with all problems."""
    problems: list[Problem] = []
    if not directory.is_dir():
        raise ConfigError([Problem(str(directory), 1, "", "missing", "give a configuration directory")])
    gateway = GatewaySettings()
    if (directory / "gateway.yaml").exists():
        gateway = _read(directory / "gateway.yaml", GatewaySettings, directory, problems)[0] or gateway
    missions = _read_all(directory, "missions", Mission, problems)
    links = _read_all(directory, "links", LinkConfig, problems)
    homes = _read_all(directory, "homes", Home, problems)
    _check_api(gateway, problems)
    _check_links(missions, links, problems)
    _check_missions(missions, problems)
    if not missions and not problems:
        problems.append(Problem(str(directory / "missions"), 1, "", "empty", "add at least one mission file"))
    if problems:
        raise ConfigError(problems)
    return Configuration(directory, gateway, _models(missions), _models(links), _models(homes))


def _models(group: dict[str, tuple[M, _Document]]) -> dict[str, M]:
    return {name: model for name, (model, _) in group.items()}


def _read_all(directory: Path, folder: str, model: type[M], problems: list[Problem]) -> dict[str, tuple[M, _Document]]:
    found: dict[str, tuple[M, _Document]] = {}
    for path in sorted((directory / folder).glob("*.yaml")):
        value, document = _read(path, model, directory, problems)
        if value is None or document is None:
            continue
        name = str(value.name)  # type: ignore[attr-defined]
        if name in found:
            other = found[name][1].file
            problems.append(Problem(document.file, document.line(("name",)), "name", name, f"already used in {other}"))
        else:
            found[name] = (value, document)
    return found


def _read(path: Path, model: type[M], directory: Path, problems: list[Problem]) -> tuple[M | None, _Document | None]:
    name = str(path.relative_to(directory))
    try:
        if path.stat().st_size > FILE_MAX_OCTETS:
            raise ValueError(f"larger than {FILE_MAX_OCTETS} octets")
        document = parse(path.read_text(encoding="utf-8"), name)
        return model.model_validate(document.data), document
    except ValidationError as error:
        problems += [_explained(e, document) for e in error.errors()]
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        problems.append(Problem(name, line, "", "no YAML", str(error.problem)))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        problems.append(
            Problem(name, 1, "", "cannot be read", str(error).splitlines()[0] if str(error) else "bad file")
        )
    return None, None


def parse(text: str, file: str) -> _Document:
    """Parse YAML text and remember the line of every key. Raises yaml.YAMLError."""
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        document = _Document(file, None)
        if node is None:
            raise yaml.MarkedYAMLError(problem="the file is empty")
        _note_lines(node, (), document.lines, 0)
        document.data = loader.construct_document(node)
        return document
    finally:
        loader.dispose()


def _note_lines(node: yaml.Node, path: tuple[Any, ...], lines: dict[tuple[Any, ...], int], depth: int) -> None:
    if depth > 32 or len(lines) > 100_000:
        raise yaml.MarkedYAMLError(problem="nested too deeply or too large", problem_mark=node.start_mark)
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else str(key)
            if name in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {name!r} stands twice", problem_mark=key.start_mark)
            seen.add(name)
            lines[(*path, name)] = key.start_mark.line + 1
            _note_lines(value, (*path, name), lines, depth + 1)
    elif isinstance(node, yaml.SequenceNode):
        for k, value in enumerate(node.value):
            _note_lines(value, (*path, k), lines, depth + 1)


def _explained(error: Any, document: _Document) -> Problem:
    path = tuple(part if isinstance(part, int) else str(part) for part in error["loc"])
    remedy = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        remedy = "unknown key; docs/configuration.md lists the known ones"
    elif error["type"] == "missing":
        remedy = "this key is required"
    value = "missing" if error["type"] == "missing" else repr(error.get("input"))[:80]
    as_written = tuple(str(p) if not isinstance(p, int) else p for p in path)
    return Problem(document.file, document.line(as_written), ".".join(map(str, path)), value, remedy)


def _check_api(gateway: GatewaySettings, problems: list[Problem]) -> None:
    api = gateway.api
    try:
        loopback = api.host == "localhost" or ipaddress.ip_address(api.host).is_loopback
    except ValueError:
        problems.append(
            Problem("gateway.yaml", 1, "api.host", repr(api.host), "give an IP address, for example 127.0.0.1")
        )
        return
    if not loopback and not api.expose:
        remedy = "not loopback: there is no authentication yet; set api.expose: true if the network is yours alone"
        problems.append(Problem("gateway.yaml", 1, "api.host", repr(api.host), remedy))


def _check_missions(missions: dict[str, tuple[Mission, _Document]], problems: list[Problem]) -> None:
    for mission, document in missions.values():
        names = [craft.name for craft in mission.spacecraft]
        for k, craft in enumerate(mission.spacecraft):
            line = document.line(("spacecraft", k))
            if craft.name in names[:k]:
                problems.append(Problem(document.file, line, f"spacecraft.{k}.name", craft.name, "stands twice"))
            if craft.frames is not None and not craft.scids:
                remedy = "frames need at least one spacecraft id"
                problems.append(Problem(document.file, line, f"spacecraft.{k}.scids", "[]", remedy))


def _check_links(
    missions: dict[str, tuple[Mission, _Document]],
    links: dict[str, tuple[LinkConfig, _Document]],
    problems: list[Problem],
) -> None:
    primes: dict[tuple[str, str, str], str] = {}
    for link, document in links.values():

        def wrong(key: str, value: object, remedy: str, document: _Document = document) -> None:
            problems.append(Problem(document.file, document.line((key,)), key, repr(value), remedy))

        known = missions.get(link.mission)
        if known is None:
            wrong("mission", link.mission, f"no such mission; known: {', '.join(sorted(missions)) or 'none'}")
            continue
        mission = known[0]
        if link.support_mode not in mission.support_modes:
            wrong("support_mode", link.support_mode, f"{mission.name} has {', '.join(mission.support_modes)}")
        craft = next((c for c in mission.spacecraft if c.name == link.spacecraft), None)
        if craft is None:
            wrong("spacecraft", link.spacecraft, f"{mission.name} has {', '.join(c.name for c in mission.spacecraft)}")
        elif link.unit == "frames" and craft.frames is None:
            wrong("unit", link.unit, f"{craft.name} has no frames settings: add them, or use unit: packets")
        if link.prime:
            key = (link.mission, link.support_mode, link.spacecraft)
            if key in primes:
                wrong("prime", True, f"{primes[key]} is the prime link of {link.spacecraft} already: set prime: false")
            primes.setdefault(key, link.name)


def schemas() -> dict[str, Any]:
    """Return the JSON Schema of each kind of file."""
    models: dict[str, type[BaseModel]] = {
        "gateway": GatewaySettings,
        "missions": Mission,
        "links": LinkConfig,
        "homes": Home,
    }
    return {name: model.model_json_schema() for name, model in models.items()}


def example_names() -> list[str]:
    """Return the names of the built-in example missions."""
    folder = EXAMPLES / "missions"
    return sorted(p.name.removesuffix(".yaml") for p in folder.iterdir() if p.name.endswith(".yaml"))


def example_mission(name: str) -> Mission:
    """Return a built-in example mission. Raises ConfigError."""
    if name not in example_names():
        remedy = f"built-in missions: {', '.join(example_names())}"
        raise ConfigError([Problem("(built-in)", 1, "mission", repr(name), remedy)])
    document = parse((EXAMPLES / "missions" / f"{name}.yaml").read_text(encoding="utf-8"), name)
    return Mission.model_validate(document.data)
