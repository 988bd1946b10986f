"""What is told of playback requests, re-sending and outlets, as pydantic models with examples."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from gateway.api.answers import Answer, Data, example

PLAYBACK: Data = {
    "playback": "playback-7", "instance": "hera.flight", "home": "laboratory-a", "asked_by": "home laboratory-a",
    "selection": {"apids": [200]}, "source": "journal", "state": "running", "reason": "",
    "range": {"by": "receive_time", "first": "2026-11-24T10:00:00.000000000Z", "end": "2026-11-24T11:00:00.000000000Z"},
    "first_position": 0, "end_position": 48_000, "low_water": 12_000, "progress": 0.25, "items": 311, "octets": 77_750,
    "missing_positions": 0, "sessions": 2, "receiving": True, "requested_utc": "2026-11-26T08:00:00.000000000Z",
    "accepted_utc": "2026-11-26T08:00:00.000000000Z", "began_utc": "2026-11-26T08:00:04.000000000Z", "ended_utc": None,
}  # fmt: skip
OUTLET: Data = {
    "home": "laboratory-a", "outlet": "quicklook", "type": "tcp", "address": "127.0.0.1:5600", "state": "serving",
    "detail": "", "clients": 1, "max_clients": 4, "waiting_items": 0, "connects": 3, "clients_refused": 0,
    "delivered_items": 2467, "delivered_octets": 602_112, "skipped_items": 12, "not_sent": 0,
}  # fmt: skip
RESENT: Data = {
    "type": "resend", "severity": "info", "home": "laboratory-a", "subscription": "all", "by": "operator local",
    "message": "operator local ordered positions 1200..1500 to be sent again to laboratory-a/all",
    "ranges": [[1200, 1500]], "positions": 300, "waiting": [[1200, 1500]], "expired": None,
}  # fmt: skip


class PlaybackRange(Answer):
    """[first, end): positions, or times in UTC."""

    by: Literal["positions", "receive_time", "generation_time"]
    first: int | str
    end: int | str


class PlaybackRow(Answer):
    """A playback request: who asked for what, and how far its return is. Times in UTC, null = not yet."""

    playback: str = Field(description="its id, and the name of the subscription that fetches it")
    instance: str
    home: str
    asked_by: str = Field(description="the home base or the operator")
    selection: dict[str, Any]
    range: PlaybackRange
    source: Literal["journal"] = Field(description="where the data come from: this gateway's journal")
    state: Literal["requested", "accepted", "refused", "running", "done", "failed", "cancelled"]
    reason: str = Field(description="why it is refused, failed or cancelled, or empty")
    first_position: int = Field(description="from here on the journal is looked through")
    end_position: int = Field(description="up to here, as it was at the acceptance")
    low_water: int = Field(description="everything below is acknowledged, or told as missing")
    progress: float = Field(description="of the positions, 0 to 1")
    items: int = Field(description="acknowledged; what is fetched once more counts once more")
    octets: int = Field(description="of these items")
    missing_positions: int = Field(description="told as missing: removed by retention, or damaged")
    sessions: int = Field(description="how often it was fetched, or went on")
    receiving: bool = Field(description="a session of the home base is open")
    requested_utc: str | None
    accepted_utc: str | None
    began_utc: str | None
    ended_utc: str | None

    model_config = example(PLAYBACK)


class OutletRow(Answer):
    """Plain packets over TCP or UDP for tools of a home base: counts since the start, over all clients."""

    home: str
    outlet: str
    type: Literal["tcp", "udp"]
    address: str = Field(description="where it listens, or sends to")
    state: Literal["starting", "serving", "not granted", "unavailable", "finished"]
    detail: str = Field(description="why it is not serving, or empty")
    clients: int = Field(description="now; udp: 1 while it sends")
    max_clients: int
    waiting_items: int = Field(description="in the queues of the clients now")
    connects: int
    clients_refused: int = Field(description="more than max_clients")
    delivered_items: int = Field(description="handed to the network: nobody acknowledges")
    delivered_octets: int
    skipped_items: int = Field(description="for slow clients or a slow line; not told in band")
    not_sent: int = Field(description="udp: longer than a datagram, or refused at the other end")

    model_config = example(OUTLET)


class ResendRow(Answer):
    """What became of an order; the same is journalled as an event."""

    type: Literal["resend"]
    severity: Literal["info"]
    message: str
    home: str
    subscription: str
    by: str = Field(description="who ordered it")
    ranges: list[list[int]] = Field(description="[first, end): what was acknowledged and is sent again")
    positions: int = Field(description="how many these are")
    waiting: list[list[int]] = Field(description="all that is to be sent again, earlier orders included")
    expired: list[int] | None = Field(description="[first, end) of the range that retention has removed")

    model_config = example(RESENT)
