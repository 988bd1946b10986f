"""The examples in the package: missions of real recordings, the demo, and a directory to begin with."""

from __future__ import annotations

from pathlib import Path

from gateway_config.documents import read_document
from gateway_config.loader import validate
from gateway_config.missions import Mission
from gateway_config.problems import ConfigError, Problem

EXAMPLES = Path(__file__).parent / "examples"


def example_names() -> list[str]:
    """Return the names of the example missions, sorted."""
    return sorted(path.stem for path in (EXAMPLES / "missions").glob("*.yaml"))


def example_mission(name: str) -> Mission:
    """Return an example mission. Raises ConfigError for an unknown name."""
    if name not in example_names():
        remedy = f"the built-in missions are: {', '.join(example_names())}"
        raise ConfigError([Problem("(built-in)", 1, "mission", repr(name), remedy)])
    problems: list[Problem] = []
    mission = validate(read_document(EXAMPLES / "missions" / f"{name}.yaml", f"{name}.yaml"), Mission, problems)
    if mission is None:
        raise ConfigError(problems)
    return mission


def example_directory(name: str) -> Path:
    """Return a whole example directory: `demo` (what `gateway demo` runs) or `minimal` (to copy). Raises KeyError."""
    return {"demo": EXAMPLES / "demo", "minimal": EXAMPLES / "minimal"}[name]
