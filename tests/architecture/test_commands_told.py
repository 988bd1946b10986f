"""What texts tell people to type is there to be typed."""

from __future__ import annotations

import re
from pathlib import Path

from typer.main import get_command

from gateway.console.app import app

ROOT = Path(__file__).parents[2]
TOLD = re.compile(r"`gateway ([a-z]+)(?: ([a-z]+))?")
ROOMS = ("gateway", "routes/gateway_routes", "config/gateway_config", "simulators/gateway_simulators", "docs")


def test_every_command_that_a_text_names_exists() -> None:
    """House rule (no untrue sentence): a hint, a docstring or a page names no command that there is not."""
    paths = [path for room in ROOMS for path in (ROOT / room).rglob("*") if path.suffix in {".py", ".md", ".yaml"}]
    told = [(path, *found) for path in (*paths, ROOT / "README.md") for found in TOLD.findall(path.read_text())]
    commands = getattr(get_command(app), "commands")  # noqa: B009 - click's type has none
    unknown = []
    for path, name, second in told:
        group = getattr(commands.get(name), "commands", None)
        if name not in commands or (group is not None and second and second not in group):
            unknown.append(f"{path.relative_to(ROOT)}: gateway {name} {second}")
    assert unknown == []
    assert len(told) > 150
