"""Reads a configuration directory: everything is checked, everything that is wrong is told, nothing is started."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from gateway_config.documents import Document, read_document
from gateway_config.explain import explain, look_again
from gateway_config.gateway_settings import GatewaySettings
from gateway_config.homes import Home
from gateway_config.links import LinkConfig
from gateway_config.missions import Mission
from gateway_config.problems import ConfigError, Problem
from gateway_config.references import Read, contacts_lead_somewhere, links_lead_somewhere, names_unique, one_prime

FILES_MAX = 1000
"""Files in one folder."""
GATEWAY_FILE = "gateway.yaml"
FOLDERS = ("missions", "links", "homes")
M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Configuration:
    """A whole configuration in which everything goes together."""

    directory: Path
    gateway: GatewaySettings
    missions: Mapping[str, Mission]
    links: Mapping[str, LinkConfig]
    homes: Mapping[str, Home]

    @property
    def data_dir(self) -> Path:
        """The data directory; relative ones count from the configuration directory."""
        return self.directory / self.gateway.data_dir

    @property
    def content_hash(self) -> str:
        """SHA-256 (hex) of what is configured: order, comments and written defaults do not change it."""
        content = {
            "gateway": self.gateway.model_dump(mode="json"),
            "missions": {name: mission.model_dump(mode="json") for name, mission in self.missions.items()},
            "links": {name: link.model_dump(mode="json") for name, link in self.links.items()},
            "homes": {name: home.model_dump(mode="json") for name, home in self.homes.items()},
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def load(directory: Path) -> Configuration:
    """Return the configuration of a directory. Raises ConfigError with all problems at once."""
    directory = Path(directory)
    if not directory.is_dir():
        remedy = f"give a directory with {GATEWAY_FILE}, {', '.join(f'{folder}/' for folder in FOLDERS)}"
        raise ConfigError([Problem(str(directory), 1, "", "no directory", remedy)])
    problems = list(_strangers(directory))
    gateway = _read_gateway(directory, problems)
    missions = _read_folder(directory, "missions", Mission, problems)
    links = _read_folder(directory, "links", LinkConfig, problems)
    homes = _read_folder(directory, "homes", Home, problems)
    for documents in ([file.document for file in files] for files in (missions, links, homes)):
        problems += names_unique(documents)
    problems += links_lead_somewhere(missions, links)
    problems += contacts_lead_somewhere(missions, links)
    problems += one_prime(links)
    if not missions:
        problems.append(Problem("missions/", 1, "", "no files", "add a file for each mission: missions/NAME.yaml"))
    if problems:
        raise ConfigError(problems)
    return Configuration(directory, gateway, _by_name(missions), _by_name(links), _by_name(homes))


def schemas() -> dict[str, Any]:
    """Return the JSON Schema of each kind of file: `gateway`, `missions`, `links`, `homes`."""
    models: dict[str, type[BaseModel]] = {
        "gateway": GatewaySettings,
        "missions": Mission,
        "links": LinkConfig,
        "homes": Home,
    }
    return {kind: model.model_json_schema() for kind, model in models.items()}


def validate(document: Document, model: type[M], problems: list[Problem]) -> M | None:
    """Return the document as a model, or None with its problems added to the list."""
    before = len(problems)
    problems += document.problems
    if document.data is None and document.problems:
        return None  # not even YAML
    try:
        value = model.model_validate(document.data)
    except ValidationError as error:
        problems += explain(error, document, model)
        problems += look_again(error, document, model)
        return None
    return value if len(problems) == before else None


def _read_gateway(directory: Path, problems: list[Problem]) -> GatewaySettings:
    path = directory / GATEWAY_FILE
    if not path.exists():
        return GatewaySettings()
    return validate(read_document(path, GATEWAY_FILE), GatewaySettings, problems) or GatewaySettings()


def _read_folder(directory: Path, folder: str, model: type[M], problems: list[Problem]) -> list[Read[M]]:
    try:
        paths = sorted((directory / folder).glob("*.yaml"))
    except OSError as error:
        problems.append(Problem(f"{folder}/", 1, "", "cannot be read", str(error)))
        return []
    if len(paths) > FILES_MAX:
        problems.append(Problem(f"{folder}/", 1, "", f"{len(paths)} files", f"at most {FILES_MAX} are read"))
    documents = [read_document(path, f"{folder}/{path.name}") for path in paths[:FILES_MAX]]
    return [Read(document, validate(document, model, problems)) for document in documents]


def _strangers(directory: Path) -> Iterator[Problem]:
    """Yield files and folders that look like configuration and would be passed over in silence."""
    for path in sorted(directory.iterdir()):
        if path.suffix in {".yaml", ".yml"} and path.name != GATEWAY_FILE:
            yield Problem(path.name, 1, "", "not read", f"the file is called {GATEWAY_FILE}, others stand in folders")
        elif path.is_dir() and path.name not in FOLDERS and get_close_matches(path.name, FOLDERS, 1, 0.8):
            close = get_close_matches(path.name, FOLDERS, 1, 0.8)[0]
            yield Problem(f"{path.name}/", 1, "", "not read", f"did you mean {close}/?")
    for folder in FOLDERS:
        for path in sorted((directory / folder).glob("*.yml")):
            yield Problem(f"{folder}/{path.name}", 1, "", "not read", f"call it {path.stem}.yaml")


def _by_name(files: Sequence[Read[M]]) -> dict[str, M]:
    return {file.document.text("name"): file.model for file in files if file.model is not None}
