"""Names: missions, spacecraft, links, home bases, limits. YAML files read into strict models, checked as a whole."""

from gateway_config.examples import example_directory, example_mission, example_names
from gateway_config.frame_settings import ApidSettings, FrameSettings, PacketRules, PacketSettings, VcSettings
from gateway_config.gateway_settings import GatewaySettings
from gateway_config.homes import Home
from gateway_config.links import LinkConfig
from gateway_config.loader import Configuration, load, schemas
from gateway_config.missions import Mission, PlannedContact, Spacecraft
from gateway_config.problems import ConfigError, Problem

__all__ = [
    "ApidSettings",
    "ConfigError",
    "Configuration",
    "FrameSettings",
    "GatewaySettings",
    "Home",
    "LinkConfig",
    "Mission",
    "PacketRules",
    "PacketSettings",
    "PlannedContact",
    "Problem",
    "Spacecraft",
    "VcSettings",
    "example_directory",
    "example_mission",
    "example_names",
    "load",
    "schemas",
]
