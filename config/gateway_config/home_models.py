"""Models of the home bases: who they are, what they are granted, how much they may take (docs/homes.md)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from gateway_config.models import CONTACT_YEARS, EPOCH, Model, Name, Rule, SupportMode, Wrong
from gateway_config.outlet_models import Outlet

GrantedKind = Literal["tm", "tc", "video", "voice", "event"]
GrantedMode = Literal["complete", "timely", "offline", "values", "playback"]
DataModeName = Literal["real_time", "dump", "playback"]


def whole_name(text: str) -> str:
    """Return a pattern that can match: names of a mission database begin with a slash. Raises ValueError."""
    if text[0] not in "/*":
        raise ValueError(f"expected a whole name, which begins with /, or a pattern such as */{text}")
    return text


Pattern = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[^\s\x00-\x1f]+$")]
ParameterPattern = Annotated[Pattern, AfterValidator(whole_name)]
ALL_MODES: list[GrantedMode] = ["complete", "timely", "offline", "values", "playback"]


class Grant(Model):
    """What a home base gets of one mission. What no grant gives is not given."""

    mission: Name = Field(description="of this configuration; for replay runs also a built-in one")
    support_modes: list[SupportMode] = Field(["flight"], min_length=1, description="of which mission instances")
    replays: bool = Field(False, description="replay runs of these support modes too")
    spacecraft: list[Name] | None = Field(None, min_length=1, description="none = all of the mission")
    kinds: list[GrantedKind] = Field(
        ["tm"], min_length=1, description="event: all events of the instance, other home bases' too"
    )
    vcids: list[Annotated[int, Field(ge=0, le=63)]] | None = Field(
        None, min_length=1, description="virtual channels; none = all, also what came without frames"
    )
    apids: list[Annotated[int, Field(ge=0, le=2047)]] | None = Field(
        None, min_length=1, description="none = all, also what has no APID"
    )
    data_modes: list[DataModeName] | None = Field(None, min_length=1, description="none = all")
    bad_quality: bool = Field(
        False, description="rejected units too: their VC and APID may be wrong, so that they may be another's"
    )
    parameters: list[ParameterPattern] = Field(
        default_factory=list,
        description="engineering values: whole names such as /SOLAR/V_BUS, * stands for anything, as in */V_BUS; never "
        "their packets, nor the reverse",
    )
    modes: list[GrantedMode] = Field(ALL_MODES, min_length=1, description="ways of delivery")


class Quotas(Model):
    """How much a home base may take."""

    sessions: Annotated[int, Field(ge=1, le=1024)] = Field(
        64, description="at a time, in one mission instance, over all transports"
    )
    subscriptions: Annotated[int, Field(ge=1, le=1024)] = Field(
        64, description="complete subscriptions that are kept, in one mission instance"
    )
    rate_limit_bps: Annotated[int, Field(ge=1000, le=10**12)] | None = Field(
        None, description="all its sessions together, of messages; a subscription may ask for less"
    )
    backlog_days: Annotated[float, Field(gt=0, le=36_500, allow_inf_nan=False)] | None = Field(
        None, description="for how long it may be away by its contract: `gateway check` compares the disk with it"
    )


class Home(Model):
    """homes/NAME.yaml"""

    name: Name
    description: str = Field("", description="for people, shown by `gateway homes list`")
    valid_from_utc: Annotated[str, Field(pattern=EPOCH)] | None = Field(None, description="before it is refused")
    valid_until_utc: Annotated[str, Field(pattern=EPOCH)] | None = Field(None, description="from then on it is refused")
    grants: list[Grant] = Field(
        default_factory=list, description="what it gets; without grants it gets nothing", max_length=256
    )
    quotas: Quotas = Field(default_factory=Quotas, description="how much it may take")
    outlets: list[Outlet] = Field(
        default_factory=list, max_length=16, description="plain space packets for its tools, best effort"
    )

    def rules(self) -> tuple[Rule, ...]:
        """Its dates are times, in order."""
        return (self._dates,)

    def _dates(self) -> Iterator[Wrong]:
        times = {}
        for key, text in (("valid_from_utc", self.valid_from_utc), ("valid_until_utc", self.valid_until_utc)):
            if text is None:
                continue
            try:
                times[key] = datetime.fromisoformat(text.removesuffix("Z"))
            except ValueError as error:
                yield (key,), text, f"expected a UTC time such as 2026-11-24T12:00:00Z: {error}"
                continue
            first, last = CONTACT_YEARS
            if not first <= times[key].year <= last:
                yield (key,), text, f"expected a year from {first} to {last}"
        if len(times) == 2 and times["valid_from_utc"] >= times["valid_until_utc"]:
            yield ("valid_until_utc",), self.valid_until_utc, f"must be after valid_from_utc {self.valid_from_utc}"
