"""What is told of home bases and reports: the shape of answers, with examples."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from gateway.api.answers import Answer, Data, TimelyCounts, example

COUNTS: Data = {
    "received": 2467, "not_selected": 0, "not_granted": 0, "of_before": 0, "entitled": 2467, "acknowledged": 2440,
    "sent": 27, "waiting": 0, "expired": 0, "damaged": 0, "delivered": 2467,
}  # fmt: skip
NAMED: Data = {"spacecraft": "picard", "link": "station", "vcid": 1, "apid": 200, "unit": "packet"}
MISSING = {"space_link": 2, "bad_frame": 1}
HOME: Data = {
    "home": "laboratory-a", "sessions": 1, "subscriptions": 1, "lag_items": 47, "lag_s": 0.4, "backlog_items": 47,
    "drops": {"expired": 12}, "last_seen_utc": "2026-11-24T10:03:09.480000000Z", "last_seen_age_s": 0.1,
    "digests_unconfirmed": 1, "digests_differing": 0,
}  # fmt: skip
DIGEST: Data = {
    "first": 0, "end": 2470, "items": 2467, "octets": 602112,
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "state": "confirmed",
    "confirmed_utc": "2026-11-24T10:12:31.000000000Z",
}  # fmt: skip
LATENCY: Data = {
    "measured_items": 2440, "p50_s": 0.002, "p90_s": 0.004, "p99_s": 0.011, "p100_s": 0.031,
    "live": {"measured_items": 2440, "p50_s": 0.002, "p90_s": 0.004, "p99_s": 0.011, "p100_s": 0.031},
}  # fmt: skip
SCOPE = (
    "home bases: mode complete; timely since the gateway was started, not of the range; values, offline ranges, "
    "playbacks and outlets are not reconciled"
)
RECONCILIATION: Data = {
    "instance": "demo.simulation",
    "range": {
        "what": "contact 7", "first": 0, "end": 2470, "from_utc": "2026-11-24T10:00:03.120000000Z",
        "to_utc": "2026-11-24T10:12:19.480000000Z", "under_way": False, "spacecraft": "picard", "peer": "kiruna",
    },
    "journal": {
        "journal_id": "6f1c0f7e-7d0b-4b39-8f5e-5d1a4c1f2a11", "revision": 1, "items": 2470, "events": 2,
        "idle_packets": 0, "expired_positions": 0, "expired_items": 0, "damaged_positions": 0, "damaged_items": 0,
        "damaged": [],
    },
    "streams": [
        {**NAMED, "counting": "apid", "expected": 2470, "received": 2467, "octets": 602112, "missing": MISSING}
    ],
    "shared_counts": [
        {
            "link": "station", "vcid": 1, "group": "bus", "apids": [300, 301], "received": 40, "expected": 41,
            "missing": {"space_link": 1},
        }
    ],
    "refused": [{"link": "station", "cause": "fecf", "units": 1}],
    "link_gaps": [{"link": "station", "what": "frames of VC1", "reason": "space link", "missing": 3}],
    "homes": [
        {
            "home": "laboratory-a",
            "subscriptions": [
                {
                    "subscription": "all", "version": 2, "version_from": 0, **COUNTS, "streams": [{**NAMED, **COUNTS}],
                    "former": [{"version": 1, "selection": {"apids": [200, 201]}, "acknowledged": 0}],
                    "latency": LATENCY, "digest": DIGEST,
                }
            ],
        }
    ],
    "timely": [{"home": "laboratory-b", "delivered_items": 2467, "skipped_items": 12}],
    "scope": SCOPE,
    "remarks": [],
}  # fmt: skip
State = Literal["confirmed", "differs", "not confirmed", "cannot be compared"]


class HomeState(Answer):
    """One home base as an operator sees it, in one mission instance."""

    home: str
    sessions: int = Field(description="open now, in every mode")
    subscriptions: int = Field(description="in complete mode")
    lag_items: int = Field(description="positions that its worst subscription has not acknowledged")
    lag_s: float = Field(
        description="for how long the oldest position that it has not acknowledged is committed; while it catches up "
        "from far behind, of the position that was so a second ago"
    )
    backlog_items: int = Field(description="positions not acknowledged, of all its subscriptions together")
    drops: dict[str, int] = Field(
        description="positions told as missing, and items skipped in timely mode (late), since the gateway started"
    )
    last_seen_utc: str | None = Field(description="when its newest message came, by the wall clock; null = never")
    last_seen_age_s: float | None
    digests_unconfirmed: int = Field(description="contacts and days that it has not confirmed; 0 if it never confirms")
    digests_differing: int = Field(description="ranges where its store and the gateway differ")

    model_config = example(HOME)


class ReportRange(Answer):
    """What the report is about. Positions [first, end)."""

    what: str
    first: int
    end: int
    from_utc: str | None = Field(description="of the commit; null = not bounded by a time")
    to_utc: str | None
    under_way: bool = Field(description="more may come to it")
    spacecraft: str | None = Field(description="streams of this one alone are shown")
    peer: str | None


class ReportJournal(Answer):
    """What of the range can be read."""

    journal_id: str
    revision: int
    items: int | None = Field(description="null in the report of one home base")
    events: int | None
    idle_packets: int | None
    expired_positions: int = Field(description="removed by retention")
    expired_items: int | None = Field(description="of these counted before they were removed; what others held is lost")
    damaged_positions: int = Field(description="that cannot be read")
    damaged_items: int | None = Field(description="of these known by stream still; what the others held is not known")
    damaged: list[list[int | str]] = Field(description="what nothing is known of: [first, end, cause], the first 100")


class _StreamName(Answer):
    """One stream; null and -1 = none."""

    spacecraft: str | None
    link: str | None
    vcid: int
    apid: int
    unit: str


class StreamAccount(_StreamName):
    """What of a stream was expected and received. expected = received + missing."""

    counting: str | None = Field(description="its rule in the configuration; null = not known")
    expected: int | None = Field(description="null = not known: no count, not known how, or one that others share")
    received: int
    octets: int
    missing: dict[str, int] = Field(description="by reason; of a shared count in `shared_counts`")


class SharedCount(Answer):
    """APIDs that share one sequence count."""

    link: str | None
    vcid: int
    group: str
    apids: list[int]
    received: int
    expected: int
    missing: dict[str, int]


class RefusedUnits(Answer):
    """Units that were refused."""

    link: str | None
    cause: str
    units: int


class LinkGap(Answer):
    """Frames or datagrams that were missing, as they were told."""

    link: str | None
    what: str
    reason: str
    missing: int


class _ItemCounts(Answer):
    """received = not_selected + not_granted + of_before + entitled.

    entitled = acknowledged + sent + waiting + expired + damaged.
    """

    received: int
    not_selected: int = Field(description="the home base did not ask for it")
    not_granted: int = Field(description="it asked, no grant gives it")
    of_before: int = Field(description="before the subscription began, or acknowledged under a version not kept")
    entitled: int
    acknowledged: int
    sent: int = Field(description="in flight: sent, not acknowledged")
    waiting: int = Field(description="not sent yet")
    expired: int = Field(description="removed by retention before it was acknowledged")
    damaged: int = Field(description="cannot be read any more, or could not when it was to be sent")
    delivered: int = Field(description="acknowledged + sent")


class StreamDelivery(_StreamName, _ItemCounts):
    """What became of one stream in a subscription."""


class LiveLatency(Answer):
    """From the gateway's receiving an item until its acknowledgement: that share took at most so long."""

    measured_items: int = Field(description="of the range, since the gateway started")
    p50_s: float | None = None
    p90_s: float | None = None
    p99_s: float | None = None
    p100_s: float | None = None


class Latency(LiveLatency):
    """Of both lanes, and of what came live."""

    live: LiveLatency


class RangeDigest(Answer):
    """SHA-256 over the octets of what the subscription gets of [first, end), in position order."""

    first: int
    end: int
    items: int
    octets: int
    sha256: str
    state: State
    confirmed_utc: str | None
    home_items: int | None = Field(default=None, description="what the home base said, when it differs")
    home_sha256: str | None = None


class FormerVersionRow(Answer):
    """A version that the subscription had before, and what of the range was acknowledged under it."""

    version: int
    selection: dict[str, Any]
    acknowledged: int


class SubscriptionAccount(_ItemCounts):
    """What became of all items in one subscription."""

    subscription: str
    version: int
    version_from: int
    streams: list[StreamDelivery]
    former: list[FormerVersionRow] = Field(description="by whose selection and rights what was acknowledged counts")
    latency: Latency
    digest: RangeDigest


class HomeAccount(Answer):
    """One home base."""

    home: str
    subscriptions: list[SubscriptionAccount]


class Report(Answer):
    """The reconciliation of a range (docs/homes.md)."""

    instance: str
    range: ReportRange
    journal: ReportJournal
    streams: list[StreamAccount]
    shared_counts: list[SharedCount]
    refused: list[RefusedUnits]
    link_gaps: list[LinkGap]
    homes: list[HomeAccount]
    timely: list[TimelyCounts] = Field(description="since the gateway was started")
    scope: str = Field(description="what is reconciled, and what is not")
    remarks: list[str]

    model_config = example(RECONCILIATION)
