"""docs/bad-weather.md names every condition and every metric that the gateway can show: who is woken looks there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/bad-weather.md").read_text(encoding="utf-8")


def calls(name: str) -> Iterator[ast.Call]:
    """Every call of a class in the gateway and the routes."""
    for folder in ("gateway", "routes"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
                    yield node


def test_every_condition_is_explained() -> None:
    """Operation: a condition that the page does not know leaves the operator alone at night."""
    words = {call.args[1].value for call in calls("Condition") if isinstance(call.args[1], ast.Constant)}
    assert len(words) >= 20
    table = {
        word for line in PAGE.splitlines() if line.startswith("| `") for word in re.findall(r"`([^`]+)`", line[:90])
    }
    assert words <= table, words - table


def test_every_metric_of_the_machine_is_named() -> None:
    """Operation: the names that the page gives exist, with the suffix that they are scraped with."""
    made = {
        call.args[0].value + ("_total" if kind == "CounterMetricFamily" else "")
        for kind in ("GaugeMetricFamily", "CounterMetricFamily")
        for call in calls(kind)
        if isinstance(call.args[0], ast.Constant)
    }
    named = set(re.findall(r"`(gateway_[a-z_]+)[`{]", PAGE))
    assert len(named) >= 18
    assert named <= made, named - made
