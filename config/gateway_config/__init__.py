"""Every name: missions, spacecraft, links, homes, limits. YAML files parsed into pydantic models, checked as a whole."""

from gateway_config.loader import Configuration, ConfigError, example_mission, example_names, load, schemas
from gateway_config.models import (
    FrameSettings,
    GatewaySettings,
    Home,
    LinkConfig,
    Mission,
    PacketSettings,
    Spacecraft,
    VcSettings,
)

__all__ = [
    "ConfigError",
    "Configuration",
    "FrameSettings",
    "GatewaySettings",
    "Home",
    "LinkConfig",
    "Mission",
    "PacketSettings",
    "Spacecraft",
    "VcSettings",
    "example_mission",
    "example_names",
    "load",
    "schemas",
]
