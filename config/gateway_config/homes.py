"""A home base: a laboratory that receives. In this release homes exist as names."""

from __future__ import annotations

from pydantic import Field

from gateway_config.findings import Model, Name


class Home(Model):
    """One home base, `homes/NAME.yaml`."""

    name: Name = Field(description="its name; unique among all home bases")
    description: str = Field(default="", description="what it is, for people")
    organisation: str = Field(default="", description="who runs it, for people")
