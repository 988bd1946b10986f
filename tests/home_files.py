"""Home files for tests."""

from __future__ import annotations


def everything(home: str, mission: str) -> str:
    """Return the text of a home file that grants all of a mission: every support mode, replay runs too."""
    return (
        f"name: {home}\ngrants:\n  - mission: {mission}\n    support_modes: [flight, simulation, test, training]\n"
        '    replays: true\n    kinds: [tm, event]\n    bad_quality: true\n    parameters: ["*"]\n'
    )
