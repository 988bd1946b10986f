"""What the control plane says, as pydantic models: the OpenAPI document and its examples come from here."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Severity = Literal["critical", "error", "warning", "info"]


class Condition(BaseModel):
    """Something the operator should know; the worst come first."""

    severity: Severity
    subject: str = Field(description="what it is about: link, journal, subscription, contact")
    text: str

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"severity": "warning", "subject": "link station", "text": "unavailable: connection refused"}]
        }
    )


class JournalState(BaseModel):
    """The journal of one mission instance."""

    journal_id: str
    revision: int = Field(description="stream revision")
    tail: int = Field(description="oldest position that can be read")
    head: int = Field(description="the next position to be given")
    octets: int = Field(description="octets of the segments on disk")
    blocked: str | None = Field(description="why nothing can be committed now, or null")
    damaged: list[tuple[int, int]] = Field(description="position ranges [from, upto) that cannot be read")

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "journal_id": "6f1c0f7e-7d0b-4b39-8f5e-5d1a4c1f2a11",
                    "revision": 1,
                    "tail": 0,
                    "head": 2467,
                    "octets": 602112,
                    "blocked": None,
                    "damaged": [],
                }
            ]
        }
    )


class StreamRow(BaseModel):
    """One virtual channel (apid null) or one APID of it, as counted by one link."""

    link: str
    spacecraft: str
    vcid: int | None
    apid: int | None
    frames: int = 0
    packets: int = 0
    octets: int = 0
    missing_frames: int = 0
    missing_packets: int = 0
    count_jumps: int = 0
    seq_gaps: int = 0


class InstanceState(BaseModel):
    """One mission instance: a mission in one support mode, or one replay run."""

    instance: str
    mission: str
    support_mode: str
    data_mode: str
    lifecycle: str
    replay: dict[str, Any] | None = None
    spacecraft: list[str]
    journal: JournalState
    links: list[dict[str, Any]]
    contacts: list[dict[str, Any]]
    streams: list[StreamRow]
    subscriptions: list[dict[str, Any]]
    conditions: list[Condition]


class GatewayState(BaseModel):
    """The whole gateway, worst first."""

    version: str
    time_utc: str
    ready: bool
    uptime_s: float
    conditions: list[Condition]
    instances: list[InstanceState]


class ContactRequest(BaseModel):
    """Open a contact now, or plan one."""

    spacecraft: str = Field(max_length=64)
    peer: str = Field(default="operator", pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._:-]{0,63}$", description="the other end")
    aos_utc: str | None = Field(
        default=None, max_length=40, description="planned acquisition of signal; none = open now"
    )
    los_utc: str | None = Field(default=None, max_length=40, description="planned loss of signal")

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

    file: str = Field(max_length=4096, description="path below one of the configured replay folders")
    mission: str = Field(max_length=64)
    run: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$", description="the same id continues, a new id is new")
    support_mode: Literal["flight", "simulation", "test", "training"] = "simulation"
    frames_per_s: float | None = Field(
        default=None, ge=0.001, le=1e6, allow_inf_nan=False, description="none = as fast as possible"
    )

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"file": "pass-2024-10-07.bin", "mission": "hera", "run": "first", "frames_per_s": 500}]
        },
    )


class Problem(BaseModel):
    """Why a request was refused, and the way out."""

    error: str
    hint: str = ""
