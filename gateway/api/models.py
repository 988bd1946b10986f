"""What the control plane says, as pydantic models: the OpenAPI document and its examples come from here.

Nothing else needs them: `gateway.api.document` imports them when the document is asked for, not at the start.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from gateway.api.answers import (
    CONTACT,
    LINK,
    RUN,
    SUBSCRIPTION,
    TIMELY,
    Answer,
    ContactState,
    LinkState,
    ReplayRun,
    ReplayState,
    SubscriptionState,
    TimelyCounts,
    example,
)
from gateway.api.configuration_answers import CONFIGURATION, ConfigurationState
from gateway.api.playback_answers import OUTLET, PLAYBACK, OutletRow, PlaybackRow
from gateway.api.report_answers import HOME, HomeState
from gateway.api.value_answers import VALUES, ValuesState

Range = Annotated[list[int], Field(min_length=2, max_length=2)]
Severity = Literal["critical", "error", "warning", "info"]


CONDITION = {
    "severity": "warning", "what": "link unavailable", "subject": "link station of demo.simulation",
    "text": "unavailable: connection refused", "remedy": "it is tried again by itself; look at the peer",
    "since_utc": "2026-11-24T10:02:11.000000000Z",
}  # fmt: skip
JOURNAL = {
    "journal_id": "6f1c0f7e-7d0b-4b39-8f5e-5d1a4c1f2a11", "revision": 1, "tail": 0, "head": 2467, "octets": 602112,
    "blocked": None, "damaged": [], "commits": {
        "last_minute": 4211, "p50_s": 0.0004, "p99_s": 0.002, "longest_s": 0.011, "under_way_s": 0.0,
    },
}  # fmt: skip
MACHINE = {
    "clock": {"steps": 0, "offset_s": 0.0, "last_step_s": 0.0},
    "descriptors": {"open": 41, "limit": 65536, "reserve": 16},
    "connections": {
        "open": 5, "admitted": 1207, "refused": {"per peer": 3}, "closed": {"no request": 12}, "limit": 65400,
        "limit_per_peer": 256,
    },
    "disk": {"free_octets": 81_604_378_624, "reserve_octets": 67_108_864},
    "workers": {"journal-writer": 0.0, "journal-reader": 0.0, "small-store": 0.0, "thinker": 0.0},
    "log_lines_lost": 0, "task_failures": {},
}  # fmt: skip
STREAM = {
    "link": "station", "spacecraft": "picard", "scid": 42, "vcid": 1, "map_id": None, "replay": False,
    "expedited": False, "apid": 200, "frames": None,
    "packets": 2467, "octets": 602112, "missing_frames": None, "missing_packets": 2, "shared_missing": {},
    "count_jumps": None, "seq_gaps": 1,
}  # fmt: skip
INSTANCE = {
    "instance": "demo.simulation", "mission": "demo", "support_mode": "simulation", "data_mode": "real time",
    "lifecycle": "operational", "replay": None, "spacecraft": ["picard"], "journal": JOURNAL, "links": [LINK],
    "contacts": [CONTACT], "streams": [STREAM], "subscriptions": [SUBSCRIPTION], "homes": [HOME], "timely": [TIMELY],
    "refused": {"not granted": 2}, "values": VALUES, "outlets": [OUTLET], "playbacks": [PLAYBACK],
    "conditions": [CONDITION],
}  # fmt: skip
REPORT = {
    **RUN, "finished": True, "state": "finished", "detail": "end of the file", "head": 2470,
    "progress": {"octets": 1_113_000, "of_octets": 1_113_000}, "streams": [STREAM],
    "counters": {"octets": 1_113_000, "frames": 1000, "packets": 2467}, "hint": "", "journalled_packets": {"1": 2467},
}  # fmt: skip


MQTT = {
    "broker": "nats", "address": "127.0.0.1:1883", "state": "connected", "detail": "127.0.0.1:1883",
    "broker_pid": 4711, "refused_topics": [], "sessions": 2,
    "counters": {"connects": 1, "messages": 1830, "shared_items": 2467, "skipped_items": 0, "bad_requests": 0},
}  # fmt: skip


class Condition(Answer):
    """Something the operator should know; the worst come first."""

    severity: Severity
    what: str = Field(description="which condition, in fixed words: docs/bad-weather.md lists them")
    subject: str = Field(description="what it is about: link, journal, subscription, contact, disk, clock and others")
    text: str
    remedy: str = Field(description="what to do, or empty")
    since_utc: str = Field(description="since when it holds")

    model_config = example(CONDITION)


class CommitState(Answer):
    """How long commits of a journal took in the last minute."""

    last_minute: int = Field(description="commits in the last minute")
    p50_s: float
    p99_s: float
    longest_s: float
    under_way_s: float = Field(description="since when one is under way now; 0 = none")


class ClockState(Answer):
    """Steps of the wall clock since the start."""

    steps: int
    offset_s: float = Field(description="how far the wall clock is ahead of the time that plans and retention go by")
    last_step_s: float


class DescriptorState(Answer):
    """File descriptors of the process."""

    open: int = Field(description="in use, without the reserve")
    limit: int
    reserve: int = Field(description="kept back for the journal")


class ConnectionState(Answer):
    """Connections to the control plane, home bases' included."""

    open: int
    admitted: int = Field(description="since the start")
    refused: dict[str, int] = Field(description="since the start, by reason: `per peer`, `in all`")
    closed: dict[str, int] = Field(description="closed by the gateway since the start, by reason")
    limit: int
    limit_per_peer: int


class DiskState(Answer):
    """The device of the data directory."""

    free_octets: int | None = Field(description="null = not measured yet")
    reserve_octets: int = Field(description="intake stops when less is free")


class MachineState(Answer):
    """The machine under the gateway."""

    clock: ClockState
    descriptors: DescriptorState
    connections: ConnectionState
    disk: DiskState
    workers: dict[str, float] = Field(description="for how many seconds each thread does the same piece of work")
    log_lines_lost: int = Field(description="lines that could not be written since the start")
    task_failures: dict[str, int] = Field(description="internal failures since the start, by task")

    model_config = example(MACHINE)


class ClockAccepted(Answer):
    """By how much plans and retention moved."""

    moved_s: float

    model_config = example({"moved_s": 86400.0})


class JournalState(Answer):
    """The journal of one mission instance."""

    journal_id: str
    revision: int = Field(description="stream revision")
    tail: int = Field(description="oldest position that can be read")
    head: int = Field(description="the next position to be given")
    octets: int = Field(description="octets of the segments on disk")
    blocked: str | None = Field(description="why nothing can be committed now, or null")
    damaged: list[Range] = Field(description="position ranges [from, upto) that cannot be read")
    commits: CommitState

    model_config = example(JOURNAL)


class JournalRange(JournalState):
    """The journal and its segments."""

    segments: list[str] = Field(description="file names, oldest first")

    model_config = example({**JOURNAL, "segments": ["00000000000000000000.seg"]})


class StreamRow(Answer):
    """One virtual channel (apid null) or one APID of it, as counted by one link; null = not counted there.

    Of USLP frames the channel has a row, and each MAP of it: frames are counted for the channel, packets by MAP.
    A sequence count that APIDs share counts for the channel, not for each APID.
    """

    link: str
    spacecraft: str
    scid: int | None = Field(description="spacecraft id; null on a link without frames")
    vcid: int | None
    map_id: int | None = Field(description="MAP of a USLP channel; null = the channel")
    replay: bool = Field(description="replayed frames of an AOS channel, counted apart")
    expedited: bool = Field(description="expedited frames of a USLP channel, counted apart")
    apid: int | None
    frames: int | None
    packets: int
    octets: int
    missing_frames: int | None = Field(description="by the VC count; null where the channel does not count")
    missing_packets: int | None = Field(description="by the sequence counts; null where they do not count")
    shared_missing: dict[str, int] = Field(description="of a channel's missing packets, those by shared counts")
    count_jumps: int | None
    seq_gaps: int | None

    model_config = example(STREAM)


class InstanceState(Answer):
    """One mission instance: a mission in one support mode, or one replay run."""

    instance: str
    mission: str
    support_mode: str
    data_mode: Literal["real time", "playback"]
    lifecycle: str
    replay: ReplayRun | None = Field(description="the run that it plays, or null")
    spacecraft: list[str]
    journal: JournalState
    links: list[LinkState]
    contacts: list[ContactState] = Field(description="the newest 20")
    streams: list[StreamRow]
    subscriptions: list[SubscriptionState]
    homes: list[HomeState] = Field(description="home bases that were seen or have a subscription, the worst first")
    timely: list[TimelyCounts] = Field(description="by home base, those that ever were in timely mode")
    refused: dict[str, int] = Field(description="sessions that were refused or ended by an error, by its code")
    values: ValuesState | None = Field(description="live values, or null where no spacecraft has a database")
    outlets: list[OutletRow] = Field(description="plain packets for tools of home bases")
    playbacks: list[PlaybackRow] = Field(description="playback requests that are open")
    conditions: list[Condition]

    model_config = example(INSTANCE)


class ReplayReport(ReplayState):
    """A replay run and what was counted of it."""

    streams: list[StreamRow] = Field(description="counted since the run was opened")
    counters: dict[str, int] = Field(description="since the run was opened; rejected_CAUSE counts refused units")
    hint: str = Field(description="what the file looks like when most of it is refused, or empty")
    journalled_packets: dict[str, int] = Field(
        description="packets in the run's journal, idle ones included, by virtual channel; -1 = none"
    )

    model_config = example(REPORT)


class MqttState(Answer):
    """Delivery over MQTT."""

    broker: Literal["nats", "external"]
    address: str = Field(description="where clients find the broker")
    state: Literal["connecting", "connected", "unavailable"] = Field(
        description="of the gateway's own connection to it"
    )
    detail: str = Field(description="one line on the state")
    broker_pid: int | None = Field(description="of a broker of our own, while it runs")
    refused_topics: list[str] = Field(description="subscriptions of the gateway that the broker refused")
    sessions: int = Field(description="home bases' sessions over MQTT")
    counters: dict[str, int] = Field(description="since the start, by name")

    model_config = example(MQTT)


class AccessState(Answer):
    """Who may ask, and what was refused at the door."""

    open: bool = Field(description="whoever reaches the address is the operator (api.access: open)")
    refused: dict[str, int] = Field(description="requests, by why, since the start")


class GatewayState(Answer):
    """The whole gateway, worst first."""

    version: str
    configuration: ConfigurationState
    time_utc: str
    ready: bool
    uptime_s: float
    conditions: list[Condition]
    machine: MachineState
    access: AccessState
    mqtt: MqttState | None = Field(description="delivery over MQTT, or null where it is off")
    instances: list[InstanceState]

    model_config = example(
        {
            "version": "0.1.0", "configuration": CONFIGURATION,
            "time_utc": "2026-11-24T10:03:10.000000000Z", "ready": True, "uptime_s": 190.5,
            "conditions": [CONDITION], "machine": MACHINE,
            "access": {"open": False, "refused": {"no token": 3}}, "mqtt": MQTT, "instances": [INSTANCE],
        }
    )  # fmt: skip


class Problem(BaseModel):
    """Why a request was refused, and the way out."""

    error: str
    hint: str = Field(default="", description="what to do; may be empty")

    model_config = example(
        {"error": "no mission instance 'demo.flight'", "hint": "there are demo.simulation, hera.simulation"}
    )
