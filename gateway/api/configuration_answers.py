"""What the control plane tells of its configuration and of reloads, as pydantic models for the OpenAPI document."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from gateway.api.answers import Answer, example

CONFIGURATION = {
    "revision": "0f3c5a1b2d4e", "since_utc": "2026-11-24T10:00:00.000000000Z",
    "reloads": {"applied": 1, "refused": 0}, "last_refusal": "",
}  # fmt: skip


class Reloads(Answer):
    """Reloads since the start."""

    applied: int
    refused: int = Field(description="nothing was changed")


class ConfigurationState(Answer):
    """Which configuration is in use."""

    revision: str = Field(description="of its content: the same content has the same")
    since_utc: str
    reloads: Reloads
    last_refusal: str = Field(description="why the last reload changed nothing, or empty")

    model_config = example(CONFIGURATION)


class ConfigurationInUse(Answer):
    """The configuration in use: what its files say, without the defaults."""

    revision: str
    directory: str
    gateway: dict[str, Any]
    missions: dict[str, Any] = Field(description="by name; the schemas: `gateway check --schema`")
    links: dict[str, Any]
    homes: dict[str, Any]

    model_config = example(
        {
            "revision": "0f3c5a1b2d4e", "directory": "/etc/gateway", "gateway": {"data_dir": "/var/lib/gateway"},
            "missions": {"hera": {"name": "hera", "spacecraft": [{"name": "hera"}]}}, "links": {},
            "homes": {"laboratory-a": {"name": "laboratory-a", "grants": [{"mission": "hera"}]}},
        }
    )  # fmt: skip


class ConfigurationChange(Answer):
    """Something that changed."""

    what: Literal["gateway", "instance", "link", "home"]
    name: str = Field(description="of it; a key of gateway.yaml")
    effect: Literal["added", "removed", "restarted", "changed", "needs a restart"]
    why: list[str] = Field(description="each difference in words")
    gained: list[str] = Field(default_factory=list, description="home: streams in words")
    lost: list[str] = Field(default_factory=list, description="home: streams in words")


class UntouchedPart(Answer):
    """A link or instance that goes on as if nothing had happened."""

    what: Literal["gateway", "instance", "link", "home"]
    name: str
    why: list[str]


class ReloadReport(Answer):
    """What a reload has changed."""

    before: str = Field(description="revision")
    after: str = Field(description="revision")
    applied: bool = Field(description="false: there was nothing to change")
    changes: list[ConfigurationChange]
    untouched: list[UntouchedPart]
    sessions_ended: int = Field(description="whose rights changed; they were told why")
    sessions_left: int = Field(description="of those, which have not ended in time: 0")
    took_s: float
    warnings: list[str] = Field(description="what is right in the files but not there yet")

    model_config = example(
        {
            "before": "0f3c5a1b2d4e", "after": "77aa01c2d3e4", "applied": True, "sessions_ended": 1,
            "sessions_left": 0, "took_s": 0.04, "warnings": [], "changes": [
                {
                    "what": "home", "name": "laboratory-a", "effect": "changed", "why": [], "gained": [],
                    "lost": ["hera (flight): tm, all VCs, APID 7; all modes"],
                },
            ], "untouched": [{"what": "link", "name": "station", "why": ["nothing that it uses changes"]}],
        }
    )  # fmt: skip
