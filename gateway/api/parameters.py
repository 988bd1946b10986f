"""The names in the addresses of the API, described once."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path

InstanceName = Annotated[str, Path(description="mission instance, such as demo.simulation")]
LinkName = Annotated[str, Path(description="a link of the instance")]
ContactId = Annotated[str, Path(description="id of a contact of the instance")]
HomeName = Annotated[str, Path(description="a home base")]
SubscriptionName = Annotated[str, Path(description="a subscription of the home base")]
RunName = Annotated[str, Path(description="id of a replay run")]
