"""Every name: missions, spacecraft, links, homes, limits. YAML files, checked as a whole."""

from gateway_config.agent_models import AgentOutlet, AgentSelection, AgentSettings, AgentSubscription
from gateway_config.gateway_models import GatewaySettings, MqttSettings, ValuesKeys
from gateway_config.home_models import Grant, Home, Quotas
from gateway_config.link_models import LinkConfig
from gateway_config.loader import (
    ConfigError,
    Configuration,
    agent_example,
    example_mission,
    example_names,
    load,
    load_agent,
    schemas,
)
from gateway_config.models import (
    DatabaseSettings,
    FrameSettings,
    MibSettings,
    Mission,
    PacketSettings,
    Spacecraft,
    TimeSettings,
    VcSettings,
)
from gateway_config.outlet_models import Outlet

__all__ = [
    "AgentOutlet",
    "AgentSelection",
    "AgentSettings",
    "AgentSubscription",
    "ConfigError",
    "Configuration",
    "DatabaseSettings",
    "FrameSettings",
    "GatewaySettings",
    "Grant",
    "Home",
    "LinkConfig",
    "MibSettings",
    "Mission",
    "MqttSettings",
    "Outlet",
    "PacketSettings",
    "Quotas",
    "Spacecraft",
    "TimeSettings",
    "ValuesKeys",
    "VcSettings",
    "agent_example",
    "example_mission",
    "example_names",
    "load",
    "load_agent",
    "schemas",
]
