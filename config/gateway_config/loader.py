"""Reads a configuration directory and reports every problem at once: file, line, key, value, what would be right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from gateway_config import checks
from gateway_config.agent_models import AgentSettings
from gateway_config.checks import Group
from gateway_config.documents import Document, Problem, in_plain_words, parse
from gateway_config.explanations import explained, inconsistent
from gateway_config.gateway_models import GatewaySettings
from gateway_config.home_models import Home
from gateway_config.link_models import LinkConfig
from gateway_config.models import AS_FAR_AS_READABLE, Mission, Model
from gateway_config.outlet_checks import check_outlets

FILE_MAX_OCTETS = 1 << 20
NOT_READ = object()
"""Stands for a value that no key accepts."""
M = TypeVar("M", bound=Model)
EXAMPLES = files("gateway_config") / "examples"
FOLDERS = ("missions", "links", "homes")


class ConfigError(ValueError):
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
    warnings: tuple[Problem, ...] = ()
    """What is right but not there yet, such as a recording."""
    documents: Mapping[tuple[str, str], Document] = field(default_factory=dict, compare=False, repr=False)
    """The files, by folder and name; ("gateway", "") is gateway.yaml."""

    def wrong(self, folder: str, name: str, keys: Sequence[Any], value: str, remedy: str) -> Problem:
        """Return a problem of one of the files, with its line."""
        file = f"{folder}/{name}.yaml" if name else "gateway.yaml"
        return self.documents.get((folder, name), Document(file)).wrong(keys, value, remedy)

    @property
    def data_dir(self) -> Path:
        """The data directory, absolute or relative to the working directory."""
        return self.directory / self.gateway.data_dir


def load(directory: Path) -> Configuration:
    """Return the configuration of a directory. Raises ConfigError with all problems."""
    if not directory.is_dir():
        raise ConfigError([Problem(str(directory), 1, "", "missing", "give a configuration directory")])
    gateway, about_gateway = _read_gateway(directory)
    missions, links = _read_all(directory, "missions", Mission), _read_all(directory, "links", LinkConfig)
    homes = _read_all(directory, "homes", Home)
    problems = [*_misnamed(directory), *about_gateway.problems, *missions.problems, *links.problems, *homes.problems]
    problems += checks.check_gateway(gateway, about_gateway, directory) if gateway else ()
    problems += checks.check_links(missions, links)
    problems += checks.check_ports(gateway, links)
    problems += checks.check_topics(gateway, missions)
    problems += checks.check_missions(missions)
    problems += checks.check_homes(missions, homes, example_names())
    problems += check_outlets(gateway, missions, links, homes)
    if not missions.read and not problems:
        problems.append(Problem(str(directory / "missions"), 1, "", "empty", "add at least one mission file"))
    if problems or gateway is None:
        raise ConfigError(problems)
    warnings = tuple(checks.warnings(gateway, about_gateway, links, directory, missions))
    documents = {("gateway", ""): about_gateway}
    for folder, group in (("missions", missions), ("links", links), ("homes", homes)):
        documents |= {(folder, name): document for name, document in group.documents().items()}
    return Configuration(directory, gateway, missions.by_name(), links.by_name(), homes.by_name(), warnings, documents)


def load_agent(path: Path) -> AgentSettings:
    """Return the configuration of a home base's agent (home.yaml). Raises ConfigError with all problems."""
    if not path.exists():
        text = f"there is no such file; `gateway home init {path}` writes one to begin with"
        raise ConfigError([Problem(str(path), 1, "", "cannot be read", text)])
    settings, document = _read(path, AgentSettings, path.parent)
    if settings is None or document.problems:
        raise ConfigError(document.problems)
    return settings


def agent_example() -> str:
    """Return a commented home.yaml."""
    return (EXAMPLES / "home.yaml").read_text(encoding="utf-8")


def _misnamed(directory: Path) -> list[Problem]:
    """Files that look like ours and would be passed over."""
    candidates = [p for p in directory.glob("gateway.*") if p.stem == "gateway"]
    candidates += [path for folder in FOLDERS for path in (directory / folder).glob("*")]
    return [
        Problem(str(path.relative_to(directory)), 1, "", path.suffix, f"not read: rename it to {path.stem}.yaml")
        for path in sorted(candidates)
        if path.suffix.lower() in {".yml", ".yaml"} and path.suffix != ".yaml"
    ]


def _read_gateway(directory: Path) -> tuple[GatewaySettings | None, Document]:
    """Return the settings; without a file the defaults."""
    path = directory / "gateway.yaml"
    if not path.exists():
        return GatewaySettings(), Document("gateway.yaml")
    return _read(path, GatewaySettings, directory)


def _read_all(directory: Path, folder: str, model: type[M]) -> Group[M]:
    group: Group[M] = Group()
    for path in sorted((directory / folder).glob("*.yaml")):
        group.add(*_read(path, model, directory))
    return group


def _read(path: Path, model: type[M], directory: Path) -> tuple[M | None, Document]:
    """Return what could be read of a file, None when it is nothing, and the document with all its problems."""
    document = Document(str(path.relative_to(directory)))
    try:
        document = parse(_text(path), document.file)
        return _validated(model, document), document
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        document.problems.append(Problem(document.file, line, "", "no YAML", in_plain_words(error)))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        why = str(error).splitlines()[0] if str(error) else "bad file"
        document.problems.append(Problem(document.file, 1, "", "cannot be read", why))
    return None, document


def _validated(model: type[M], document: Document) -> M | None:
    """Return what a document says; when there are problems, what of it is right, so that it can be judged too."""
    doubtful = {problem.key.split(".")[0] for problem in document.problems}
    try:
        value = model.model_validate(document.data)
    except ValidationError as error:
        document.problems += explained(error, document, model)
    return value if not document.problems else _readable(model, document, doubtful)


def _readable(model: type[M], document: Document, doubtful: set[str]) -> M | None:
    if not isinstance(document.data, dict):
        return None
    data = {**document.data, **dict.fromkeys(doubtful & document.data.keys(), NOT_READ)}
    part = model.model_validate(data, context=AS_FAR_AS_READABLE)
    document.problems += [problem for problem in inconsistent(part, document) if problem not in document.problems]
    return part


def _text(path: Path) -> str:
    """Return a file's text. Raises OSError or ValueError."""
    if path.exists() and not path.is_file():
        raise ValueError("not a regular file")
    if path.stat().st_size > FILE_MAX_OCTETS:
        raise ValueError(f"larger than {FILE_MAX_OCTETS} octets")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"expected UTF-8 text, not the octet {error.object[error.start]:#04x}") from None


def schemas() -> dict[str, Any]:
    """Return the JSON Schema of each kind of file."""
    models: dict[str, type[BaseModel]] = {
        "gateway": GatewaySettings,
        "missions": Mission,
        "links": LinkConfig,
        "homes": Home,
        "home": AgentSettings,
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
