"""A mission: its spacecraft, the support modes it runs in, its planned contacts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from gateway_config.findings import Finding, Model, Name, Seconds
from gateway_config.frame_settings import FrameSettings, PacketSettings

SupportMode = Literal["flight", "simulation", "test", "training"]
AOS_LAST_SCID = 255
_UTC = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")


def _utc(text: str) -> str:
    remedy = "write UTC as 2024-02-29T12:34:56Z"
    if not _UTC.fullmatch(text):
        raise ValueError(remedy)
    try:
        datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{remedy}; this day or time of day does not exist") from None
    return text


UtcText = Annotated[str, AfterValidator(_utc)]


class PlannedContact(Model):
    """A pass that is planned: silence inside it is told, silence outside wakes nobody."""

    peer: Name = Field(description="the link it comes over")
    aos: UtcText = Field(description="acquisition of signal, UTC, `2024-02-29T12:34:56Z`")
    los: UtcText = Field(description="loss of signal, UTC")

    def findings(self) -> Iterator[Finding]:
        """Yield a pass that ends before it begins (times of one form compare as text)."""
        if self.los <= self.aos:
            yield Finding(("los",), self.los, f"must be after aos, {self.aos}")


class Spacecraft(Model):
    """One spacecraft of a mission."""

    name: Name = Field(description="its name in topics, files and addresses")
    scids: Annotated[tuple[Annotated[int, Field(ge=0, le=1023)], ...], Field(strict=False)] = Field(
        default=(), description="spacecraft ids in its frames: TM 0 to 1023, AOS 0 to 255"
    )
    frames: FrameSettings | None = Field(default=None, description="its transfer frames, for links with `unit: frames`")
    packets: PacketSettings = Field(
        default_factory=PacketSettings, description="its packets on links with `unit: packets`"
    )
    contacts: Annotated[tuple[PlannedContact, ...], Field(strict=False)] = Field(
        default=(), description="planned contacts"
    )

    def findings(self) -> Iterator[Finding]:
        """Yield spacecraft ids that cannot be."""
        if self.frames is not None and not self.scids:
            yield Finding(("scids",), [], "frames are told by their spacecraft id: list at least one", ("frames",))
        for index, scid in enumerate(self.scids):
            if self.frames is not None and self.frames.version == "aos" and scid > AOS_LAST_SCID:
                yield Finding(("scids", index), scid, f"AOS spacecraft ids go from 0 to {AOS_LAST_SCID}")
            if scid in self.scids[:index]:
                yield Finding(("scids", index), scid, "stands twice: remove one")


class Mission(Model):
    """One mission, `missions/NAME.yaml`."""

    name: Name = Field(description="its name; instances are called NAME.SUPPORT_MODE")
    description: str = Field(default="", description="what it is, for people")
    lifecycle: Literal["planned", "rehearsal", "operational", "archived"] = Field(
        default="operational", description="`planned`, `rehearsal`, `operational` or `archived`"
    )
    support_modes: Annotated[tuple[SupportMode, ...], Field(strict=False, min_length=1)] = Field(
        default=("flight",),
        description="one mission instance for each: `flight`, `simulation`, `test`, `training`",
    )
    contact_silence_s: Seconds = Field(default=60.0, description="silence that closes a contact which no plan closes")
    spacecraft: Annotated[tuple[Spacecraft, ...], Field(strict=False, min_length=1)] = Field(
        description="its spacecraft, at least one"
    )

    def findings(self) -> Iterator[Finding]:
        """Yield modes, names and ids that stand twice."""
        for index, mode in enumerate(self.support_modes):
            if mode in self.support_modes[:index]:
                yield Finding(("support_modes", index), mode, "stands twice: remove one")
        names: dict[str, int] = {}
        owners: dict[tuple[str, int], str] = {}
        for index, craft in enumerate(self.spacecraft):
            if craft.name in names:
                yield Finding(("spacecraft", index, "name"), craft.name, "another spacecraft has this name: change one")
            names.setdefault(craft.name, index)
            for scid in dict.fromkeys(craft.scids):
                version = craft.frames.version if craft.frames else ""
                owner = owners.setdefault((version, scid), craft.name)
                if owner != craft.name:
                    yield Finding(("spacecraft", index, "scids"), scid, f"{owner} has this spacecraft id already")
