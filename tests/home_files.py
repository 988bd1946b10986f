"""Home files for tests."""

from __future__ import annotations

from dataclasses import replace

from gateway_config import Configuration


def everything(home: str, mission: str) -> str:
    """Return the text of a home file that grants all of a mission: every support mode, replay runs too."""
    return (
        f"name: {home}\ngrants:\n  - mission: {mission}\n    support_modes: [flight, simulation, test, training]\n"
        '    replays: true\n    kinds: [tm, event]\n    bad_quality: true\n    parameters: ["*"]\n'
    )


def opened(configuration: Configuration) -> Configuration:
    """Return the configuration of a gateway that asks for no tokens."""
    gateway = configuration.gateway
    api = gateway.api.model_copy(update={"access": "open"})
    return replace(configuration, gateway=gateway.model_copy(update={"api": api}))
