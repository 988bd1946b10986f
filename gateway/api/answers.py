"""What is told of links, contacts, subscriptions, events, missions and runs: the shape of answers, with examples.

The models mirror what the service returns. A test holds each against the answers of a real service.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Data = dict[str, Any]
STATISTICS: Data = {
    "frames": 1200, "causes": {"FECF": 1}, "idle_octets": 88000, "padding_octets": 0, "mc_count_jumps": 1,
    "vcs": {
        "42/1": {
            "counting": "vc_count", "frames": 1199, "first_count": 17, "last_count": 192, "count_jumps": 1,
            "repeated_counts": 0, "frames_missing_mod": 1, "packets": 2467, "octets": 602112, "unreadable_times": 0,
            "apids": {
                "200": {
                    "counting": "apid", "packets": 2467, "octets": 602112, "seq_gaps": 1, "missing": 2,
                    "first_seq": 0, "last_seq": 2468,
                },
            },
            "groups": {},
        },
    },
}  # fmt: skip
LINK: Data = {
    "name": "station", "type": "tcp_client", "spacecraft": "picard", "prime": True, "state": "receiving",
    "detail": "10.1.2.3:5500", "contact": "contact", "age_s": 0.2, "peer": "10.1.2.3:5500", "notice": "",
    "sync": None, "hint": "", "unrecorded_octets": 0, "unjournalled_items": 0, "rejected": 1, "bad_frames": 1,
    "progress": None, "upstream": None,
    "counters": {"frames": 1200, "packets": 2467, "connects": 1, "rejected_fecf": 1},
}  # fmt: skip
CONTACT: Data = {
    "id": "7", "spacecraft": "picard", "peer": "kiruna", "state": "active", "opened_by": "plan", "closed_by": "",
    "planned_aos_utc": "2026-11-24T10:00:00.000000000Z", "planned_los_utc": "2026-11-24T10:12:00.000000000Z",
    "first_good_utc": "2026-11-24T10:00:03.120000000Z", "last_good_utc": "2026-11-24T10:03:09.480000000Z",
}  # fmt: skip
SUBSCRIPTION: Data = {
    "home": "laboratory-a", "subscription": "all", "mode": "complete", "version": 1, "state": "live", "low_water": 2400,
    "acknowledged_ranges": [[2420, 2440]], "lag_items": 47, "selection": {"apids": [200]}, "drops": 0,
    "sent_items": 2440, "sent_octets": 595200, "window_octets": {"live": 12000, "backfill": 0},
}  # fmt: skip
ENDED: Data = {
    "type": "subscription ended", "severity": "info", "home": "laboratory-a", "subscription": "all",
    "by": "operator local", "low_water": 2400, "backlog_items": 47,
    "message": "operator local ended subscription laboratory-a/all: 47 positions were not acknowledged",
}  # fmt: skip
TIMELY: Data = {"home": "laboratory-a", "delivered_items": 2440, "skipped_items": 27}
EVENT: Data = {
    "position": 2468, "type": "link", "severity": "info", "message": "station: connected -> receiving (good unit)",
    "link": "station", "link_id": 1, "before": "connected", "after": "receiving",
}  # fmt: skip
RUN: Data = {
    "run": "first", "file": "/data/passes/pass-2024-10-07.bin", "size_octets": 1_113_000, "mission": "hera",
    "support_mode": "simulation", "spacecraft": "hera", "unit": "frames", "container": "none", "frames_per_s": 500.0,
    "rate_bps": None, "instance": "hera.simulation.replay-first",
}  # fmt: skip
SCIDS: Data = {"name": "picard", "scids": [42]}


class Answer(BaseModel):
    """A part of an answer. More keys may come in later versions."""

    model_config = ConfigDict(extra="allow")


def example(row: Data) -> ConfigDict:
    """Return the configuration of an answer that has an example."""
    return ConfigDict(extra="allow", json_schema_extra={"examples": [row]})


class Progress(Answer):
    """How far a file is read."""

    octets: int
    of_octets: int


class Upstream(Answer):
    """What a link has of the gateway that is its peer."""

    address: str
    subscription: str = Field(description="home base and subscription there")
    journal_id: str | None = Field(description="the journal there; null = never connected")
    revision: int | None
    low_water: int = Field(description="all positions of that journal below it are here, or are missing for ever")
    acknowledged_ranges: list[list[int]] = Field(description="above the low water: [from, upto)")
    lag_items: int | None = Field(description="positions there that are not here yet; null = not connected")
    path: list[str] = Field(description="journals that its items have passed through")


class LinkState(Answer):
    """A link as an operator sees it."""

    name: str
    type: Literal["file", "tcp_client", "tcp_server", "udp", "gateway"]
    spacecraft: str
    prime: bool = Field(description="its items are delivered")
    state: Literal["disabled", "unavailable", "connected", "receiving", "finished"]
    detail: str = Field(description="one line on the state")
    contact: Literal["contact", "no contact"]
    age_s: float | None = Field(description="since the last good unit; null = none yet")
    peer: str = Field(
        description="address of the peer, or the file; udp: where it listens, and who sent last; empty = none yet"
    )
    notice: str = Field(description="what the operator should mend, or empty; udp: a receive buffer that is too small")
    sync: Literal["search", "verify", "lock", "flywheel"] | None = Field(
        description="where the synchroniser of a stream of CADUs stands; null on other links"
    )
    hint: str = Field(description="what the octets look like when most are refused, or empty")
    unrecorded_octets: int = Field(description="octets that could not be recorded")
    unjournalled_items: int = Field(description="lost to the journal since its disk refuses; journalled as a gap later")
    counters: dict[str, int] = Field(description="by name; rejected_CAUSE counts refused units")
    rejected: int = Field(description="refused units of all causes")
    bad_frames: int = Field(description="frames refused by their own check")
    progress: Progress | None = Field(description="of a file; null for connections")
    upstream: Upstream | None = Field(description="of a link whose peer is another gateway; null on other links")

    model_config = example(LINK)


class LinkRow(LinkState):
    """A link and its mission instance."""

    instance: str

    model_config = example({"instance": "demo.simulation", **LINK})


class ApidCounts(Answer):
    """What was counted of one APID."""

    counting: str = Field(description="the counting rule; `none`: gaps and missing mean nothing")
    packets: int
    octets: int
    seq_gaps: int = Field(description="steps of the sequence count other than +1")
    missing: int = Field(description="packets missing by their count (modulo 16384)")
    first_seq: int | None
    last_seq: int | None


class GroupCounts(Answer):
    """What was counted of APIDs that share one sequence count."""

    seq_gaps: int = Field(description="steps of the sequence count other than +1")
    missing: int = Field(description="packets missing by their count (modulo 16384)")


class ChannelCounts(Answer):
    """What was counted of one virtual channel, or of a stream of packets."""

    counting: str = Field(description="the counting rule; `none`: jumps and missing mean nothing")
    frames: int
    first_count: int | None
    last_count: int | None
    count_jumps: int
    repeated_counts: int
    frames_missing_mod: int = Field(description="frames missing by their count (modulo its range)")
    packets: int
    octets: int = Field(description="of packets, or of opaque frames")
    unreadable_times: int
    apids: dict[int, ApidCounts]
    groups: dict[str, GroupCounts] = Field(description="by the name of the shared count")


class SyncCounts(Answer):
    """What became of the bits of CADUs that are in no frame, and of their alignment."""

    state: Literal["search", "verify", "lock", "flywheel"]
    marker_bits: int
    parity_octets: int
    tail_octets: int = Field(description="between code blocks and the next marker: of neither, left out")
    outside_bits: int = Field(description="bits outside CADUs: kept as octets with the cause sync")
    locks: int
    sync_losses: int
    slips: int
    inversions: int
    sync_misses: int = Field(description="CADUs that were taken without a marker")
    suspect_frames: int = Field(description="no marker, or a displaced or inverted one, stood where they end")
    corrected_symbols: int = Field(description="by Reed-Solomon, in good code blocks")


class Statistics(Answer):
    """What a link's intake counted since the link was reset."""

    frames: int
    causes: dict[str, int] = Field(description="refused units by cause")
    idle_octets: int
    padding_octets: int
    mc_count_jumps: int
    vcs: dict[str, ChannelCounts] = Field(
        description="by spacecraft id/virtual channel[/MAP][/replay or /expedited], or `packets` without frames"
    )
    sync: SyncCounts | None = Field(default=None, description="of a link of CADUs")


class LinkDetail(LinkState):
    """A link with the counts of its channels."""

    statistics: Statistics

    model_config = example({**LINK, "statistics": STATISTICS})


class ContactState(Answer):
    """A contact; times in UTC, null = not known."""

    id: str
    spacecraft: str
    peer: str
    state: Literal["planned", "active", "done", "missed", "withdrawn"] = Field(
        description="missed: no good data; withdrawn: a plan that was taken back, or what went on as a planned contact"
    )
    opened_by: str = Field(description="plan, operator or data")
    closed_by: str = Field(description="plan, operator, silence, or empty")
    planned_aos_utc: str | None
    planned_los_utc: str | None
    first_good_utc: str | None
    last_good_utc: str | None

    model_config = example(CONTACT)


class ContactRow(ContactState):
    """A contact and its mission instance."""

    instance: str

    model_config = example({"instance": "demo.simulation", **CONTACT})


class SubscriptionState(Answer):
    """A subscription: what is durable of it (complete), and what its session does (live, timely, offline)."""

    home: str
    subscription: str
    mode: Literal["complete", "timely", "offline", "values", "playback"]
    state: Literal["connecting", "live", "away"]
    drops: int = Field(
        description="positions told as missing, by retention or damage; complete: since it was made; "
        "timely: items told as skipped by this session"
    )
    version: int | None = Field(default=None, description="complete: rises with each change of the selection")
    low_water: int | None = Field(default=None, description="complete: everything below is acknowledged")
    acknowledged_ranges: list[list[int]] | None = Field(default=None, description="complete: [first, end) above that")
    resend: list[list[int]] | None = Field(
        default=None, description="complete: [first, end) ordered to be sent again, not acknowledged since"
    )
    lag_items: int | None = Field(default=None, description="complete: positions between cursor and head")
    selection: dict[str, Any] | None = Field(default=None, description="complete: docs/wire-format.md")
    sent_items: int | None = Field(default=None, description="by this session")
    sent_octets: int | None = Field(default=None, description="by this session")
    window_octets: dict[str, int] | None = Field(default=None, description="not yet acknowledged, by lane")
    waiting_items: int | None = Field(default=None, description="timely: in the queue now")
    max_delay_ms: int | None = Field(default=None, description="timely: what waits longer is skipped")
    priority: Literal["high", "normal", "low"] | None = Field(default=None, description="of this session")
    rate_limit_bps: int | None = Field(default=None, description="bits/s that it may get, with its home base's others")

    model_config = example(SUBSCRIPTION)


class EndedRow(Answer):
    """A subscription that was ended; the same is journalled as an event."""

    type: Literal["subscription ended"]
    severity: Literal["info"]
    message: str
    home: str
    subscription: str
    by: str = Field(description="the operator, or the home base itself")
    low_water: int = Field(description="everything below was acknowledged")
    backlog_items: int = Field(description="positions that were not")

    model_config = example(ENDED)


class TimelyCounts(Answer):
    """What a home base got and missed in timely mode, over all its sessions since the gateway started."""

    home: str
    delivered_items: int
    skipped_items: int = Field(description="told in band as skipped")

    model_config = example(TIMELY)


class Event(Answer):
    """Something that happened; further keys depend on its type."""

    position: int
    type: str = Field(description="link, contact, gap, retention, upstream and others")
    severity: Literal["critical", "error", "warning", "info"]
    message: str

    model_config = example(EVENT)


class Events(Answer):
    """Events in position order."""

    events: list[Event]
    next_position: int = Field(description="the position to ask for next")

    model_config = example({"events": [EVENT], "next_position": 2469})


class SpacecraftIds(Answer):
    """A spacecraft and the ids in its frames."""

    name: str
    scids: list[int]


class SpacecraftRow(SpacecraftIds):
    """A spacecraft and its mission."""

    mission: str

    model_config = example({"mission": "demo", **SCIDS})


class MissionRow(Answer):
    """A mission with its spacecraft and instances."""

    mission: str
    description: str
    lifecycle: Literal["planned", "rehearsal", "operational", "archived"]
    spacecraft: list[SpacecraftIds]
    instances: list[str]

    model_config = example(
        {
            "mission": "demo", "description": "A small solar payload", "lifecycle": "operational",
            "spacecraft": [SCIDS], "instances": ["demo.simulation"],
        }
    )  # fmt: skip


class ReplayRun(Answer):
    """Which file a replay run plays."""

    run: str
    file: str
    size_octets: int
    mission: str
    support_mode: Literal["flight", "simulation", "test", "training"]
    spacecraft: str
    unit: Literal["frames", "packets", "cadus"]
    container: Literal["none", "kiss", "unpacked_bits"] = Field(description="what they are packed in")
    frames_per_s: float | None = Field(description="pace of frames; both paces null = as fast as possible")
    rate_bps: float | None = Field(description="pace in bits per second")
    instance: str

    model_config = example(RUN)


class ReplayState(ReplayRun):
    """A replay run and how far it is."""

    finished: bool
    state: Literal["disabled", "unavailable", "connected", "receiving", "finished"]
    detail: str
    progress: Progress = Field(description="how far its file is played")
    head: int = Field(description="the next position of its journal")

    model_config = example(
        {
            **RUN, "finished": False, "state": "receiving", "detail": "", "head": 1260,
            "progress": {"octets": 556_500, "of_octets": 1_113_000},
        }
    )  # fmt: skip


class Health(Answer):
    """Whether the gateway lives, or can do its work."""

    status: Literal["live", "ready", "not ready"]
    reasons: list[str] | None = Field(default=None, description="why it is not ready")

    model_config = example({"status": "ready"})


TOKEN = {
    "id": "7c9ac7b3a9", "kind": "home", "name": "laboratory-a", "state": "valid", "instances": None,
    "created_utc": "2026-11-24T10:00:00.000000000Z", "expires_utc": None, "revoked_utc": None,
}  # fmt: skip
HOME = {
    "home": "laboratory-a", "description": "owns the radiometer", "valid": True, "valid_from_utc": None,
    "valid_until_utc": "2028-01-01T00:00:00Z",
    "grants": [{
        "mission": "picard", "support_modes": ["flight"], "replays": False, "items": {"kinds": ["tm"], "apids": [100]},
        "parameters": ["/PICARD/HK/TEMP_*"], "modes": ["complete", "offline", "timely", "values"],
    }],
    "sessions_max": 64, "subscriptions_max": 64, "rate_limit_bps": None, "backlog_days": 14.0, "tokens": 1,
}  # fmt: skip


class GrantRow(Answer):
    """What a home base gets of one mission (docs/homes.md)."""

    mission: str
    support_modes: list[str]
    replays: bool
    items: dict[str, Any] = Field(description="kinds, spacecraft, vcids, apids, data_modes: what is not there is all")
    parameters: list[str]
    modes: list[str]


class HomeRow(Answer):
    """A home base."""

    home: str
    description: str
    valid: bool = Field(description="within its dates")
    valid_from_utc: str | None
    valid_until_utc: str | None
    grants: list[GrantRow]
    sessions_max: int
    subscriptions_max: int
    rate_limit_bps: int | None
    backlog_days: float | None
    tokens: int = Field(description="that are valid")

    model_config = example(HOME)


class TokenRow(Answer):
    """A token, without its secret."""

    id: str
    kind: Literal["home", "operator", "observer"]
    name: str
    state: Literal["valid", "expired", "revoked"]
    instances: list[str] | None
    created_utc: str
    expires_utc: str | None
    revoked_utc: str | None

    model_config = example(TOKEN)


class NewToken(TokenRow):
    """A token that was just made."""

    token: str = Field(description="to be shown as `Authorization: Bearer ...`; never told again")

    model_config = example({**TOKEN, "token": "gwt_7c9ac7b3a9.Z9EwNpPdbjwIr3N3gIIZUrC-5V-DvMqNfebLRws7Yk4"})
