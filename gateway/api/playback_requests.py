"""What is asked of playback requests and re-sending, as pydantic models: they shape what a handler gets."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from gateway.api.requests import Utc
from gateway.errors import UsageError
from gateway_codecs.time_scales import parse_utc
from gateway_routes.playback import RangeBy, Span

Position = Annotated[int, Field(ge=0, lt=1 << 62)]


class SpanBody(BaseModel):
    """A range of positions or of time: [from, upto)."""

    from_position: Position | None = Field(default=None, description="first position")
    upto_position: Position | None = Field(default=None, description="behind the last position")
    from_utc: Utc | None = Field(default=None, description="first instant; UTC")
    to_utc: Utc | None = Field(default=None, description="behind the last instant; UTC")
    by: Literal["receive_time", "generation_time"] = Field(
        default="receive_time", description="which time; an item that has none is in no range of it"
    )

    model_config = ConfigDict(extra="forbid")

    def span(self) -> Span:
        """Return the range. Raises UsageError."""
        of_positions, of_times = (self.from_position, self.upto_position), (self.from_utc, self.to_utc)
        given = [pair for pair in (of_positions, of_times) if pair != (None, None)]
        if len(given) != 1 or None in given[0]:
            hint = "from_position and upto_position, or from_utc and to_utc"
            raise UsageError("a range has two ends, either positions or times", hint)
        try:
            if self.from_position is not None and self.upto_position is not None:
                return Span(RangeBy.POSITIONS, self.from_position, self.upto_position)
            return Span(RangeBy(self.by), parse_utc(str(self.from_utc)), parse_utc(str(self.to_utc)))
        except ValueError as error:
            raise UsageError(str(error)) from None


class PlaybackAsk(SpanBody):
    """Ask for a playback: what of which range a home base wants once more."""

    home: str = Field(max_length=64, description="the home base that gets it")
    selection: dict[str, Any] = Field(
        default_factory=dict, max_length=16, description="as in a subscription: docs/wire-format.md"
    )

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "home": "laboratory-a",
                    "selection": {"apids": [200]},
                    "from_utc": "2026-11-24T10:00:00Z",
                    "to_utc": "2026-11-24T11:00:00Z",
                }
            ]
        },
    )


class ResendOrder(SpanBody):
    """Order what a subscription has acknowledged of a range to be sent again."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"from_utc": "2026-11-24T10:00:00Z", "to_utc": "2026-11-24T11:00:00Z"}]},
    )
