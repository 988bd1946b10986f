"""What the control plane is asked, as pydantic models: they shape what a handler gets."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from gateway_codecs.time_scales import parse_utc


def utc_text(text: str) -> str:
    """Return a UTC time as it was given. Raises ValueError for what is none."""
    parse_utc(text)
    return text


Utc = Annotated[str, Field(max_length=40), AfterValidator(utc_text)]


class ContactRequest(BaseModel):
    """Open a contact now, or plan one."""

    spacecraft: str = Field(max_length=64)
    peer: str = Field(default="operator", pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._:-]{0,63}$", description="the other end")
    aos_utc: Utc | None = Field(default=None, description="planned acquisition of signal; none = open now")
    los_utc: Utc | None = Field(default=None, description="planned loss of signal")

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "spacecraft": "picard",
                    "peer": "kiruna",
                    "aos_utc": "2026-11-24T10:00:00Z",
                    "los_utc": "2026-11-24T10:12:00Z",
                }
            ]
        },
    )


class ReplayRequest(BaseModel):
    """Replay a recorded file in a mission instance of its own."""

    file: str = Field(
        max_length=4096,
        description="relative to a replay folder of gateway.yaml, the first that has it; or an absolute path below one",
    )
    mission: str = Field(max_length=64)
    run: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$", description="the same id continues, a new id is new")
    support_mode: Literal["flight", "simulation", "test", "training"] = "simulation"
    spacecraft: str | None = Field(default=None, max_length=64, description="whose file it is; default the only one")
    unit: Literal["frames", "packets", "cadus"] | None = Field(
        default=None,
        description="what the file holds; default cadus where it plainly does, frames if the spacecraft has frames",
    )
    container: Literal["none", "kiss", "unpacked_bits"] | None = Field(
        default=None,
        description="what they are packed in; default: as the file looks, none if unit is given; unpacked_bits: one "
        "bit per octet, with unit cadus",
    )
    frames_per_s: float | None = Field(
        default=None, ge=0.001, le=1e7, allow_inf_nan=False, description="pace of frames; default as fast as possible"
    )
    rate_bps: float | None = Field(
        default=None, ge=1, le=1e12, allow_inf_nan=False, description="pace in bits per second, of frames or packets"
    )

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"file": "pass-2024-10-07.bin", "mission": "hera", "run": "first", "frames_per_s": 500}]
        },
    )


class TokenRequest(BaseModel):
    """Make a token for a home base, an operator or an observer."""

    kind: Literal["home", "operator", "observer"] = "home"
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}$", description="the home base, or who it is for")
    expires_utc: Utc | None = Field(default=None, description="from then on it is refused; none = no end")
    instances: list[Annotated[str, Field(max_length=128)]] | None = Field(
        default=None, max_length=64, description="for these mission instances alone; none = all"
    )

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"name": "laboratory-a", "expires_utc": "2027-06-01T00:00:00Z"}]},
    )
