"""Live values of one mission instance: the newest of each parameter, limit transitions, counts by packet type.

Fed with committed packets of the prime links, real-time and good, in position order, and with nothing else (DESIGN 1).
A packet that is older than one of its APID that was seen already is late: it is in the history, and changes nothing
here (gateway.values.lateness).
`take` runs in a worker; what it returns is applied and read on the event loop.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from gateway.values import described, rendered
from gateway.values.lateness import Lateness
from gateway.values.versions import DIGEST_SHORT, Version
from gateway_codecs.batches import ABSENT, BoolArray, I64Array, ItemBatch, U8Array
from gateway_codecs.mdb.arriving import Arriving, Joining
from gateway_codecs.mdb.columns import Column, Decoded, LimitFlag, Validity
from gateway_codecs.mdb.decoder import Decoder
from gateway_codecs.mdb.derive import plain_name
from gateway_codecs.mdb.holders import base_name
from gateway_codecs.mdb.limits import LimitMonitor, Transition
from gateway_codecs.mdb.lookup import kind_of, type_of
from gateway_codecs.mdb.model import Alarms, Severity
from gateway_codecs.mdb.samples import Samples, concatenated, samples_of
from gateway_codecs.mdb.standing import all_alarms, applied, fed, limit_runs, watch_of, worst_in_packet

STALE_PERIODS, STALE_MIN_S = 5.0, 10.0
PERIOD_WEIGHT = 0.2
SECOND_NS = 1_000_000_000
FEW_ROWS = 64
EVENT_SEVERITY = {
    Severity.NONE: "info", Severity.WATCH: "info", Severity.WARNING: "warning", Severity.DISTRESS: "error",
    Severity.CRITICAL: "critical", Severity.SEVERE: "critical",
}  # fmt: skip
Event = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Latest:
    """The newest value of a parameter: row `row` of a decoded column, and where it came from."""

    column: Column
    row: int
    packet_type: str
    position: int
    time_ns: int
    generated: bool
    receive_time_ns: int
    digest: str
    limit: int = 0  # with persistence and changes; of several samples in the packet the worst


@dataclass(frozen=True, slots=True, eq=False)
class LiveBatch:
    """What one read of the journal became: packets of one spacecraft, decoded; `live` bool (n,) are not late."""

    spacecraft: str
    version: Version
    positions: I64Array
    batch: ItemBatch
    decoded: list[Decoded]
    live: BoolArray
    latest: Mapping[str, Latest] = field(default_factory=dict)
    events: tuple[Event, ...] = ()


@dataclass(slots=True)
class TypeCounts:
    """What was counted of one packet type since the start."""

    packets: int = 0
    late: int = 0
    ambiguous: int = 0  # packets that are of another type too
    out_of_limit: int = 0  # samples beyond a limit
    invalid: int = 0  # samples that cannot be used
    given_up: int = 0  # packets of too much work: see `codecs.mdb.shapes`
    receive_time_ns: int = ABSENT  # of the newest
    period_s: float = 0.0  # between packets as they are received, smoothed; 0 = not known yet


@dataclass(slots=True)
class _Joined:
    """How far a parameter that is derived of several packet types was told: its newest time, its limit state then."""

    time_ns: int = ABSENT
    state: int = 0


class Live:
    """See the module. One for each spacecraft that has a database."""

    def __init__(self, spacecraft: str) -> None:
        self.spacecraft = spacecraft
        self.latest: dict[str, Latest] = {}
        self.counts: dict[str, TypeCounts] = {}
        self.unidentified: Counter[int] = Counter()  # packets by APID
        self.out_of_limit: dict[str, tuple[int, Latest]] = {}
        self.version: Version | None = None
        self.lateness = Lateness()
        self._monitor = LimitMonitor()
        self._decoder: Decoder
        self._alarms: dict[str, Alarms] = {}
        self._joining: dict[str, Joining] = {}
        self._arriving: dict[str, Arriving] = {}
        self._joined: dict[str, _Joined] = {}
        self._inputs: frozenset[str] = frozenset()

    # ---- in the worker ----

    def take(self, version: Version, positions: I64Array, batch: ItemBatch, quiet: bool = False) -> LiveBatch:
        """Decode packets in position order; `quiet`: they were told of before, no events come of them."""
        if self.version is not version:
            self._begin_with(version)
        items = batch.items
        live = self.lateness.not_late(items)
        decoded = self._decoder.decode(batch.octets, items["offset"], items["length"].astype(np.int64))
        self._count_unidentified(items, decoded)
        latest: dict[str, Latest] = {}
        events: list[Event] = []
        for one in decoded:
            self._take_type(version, one, positions, items, live, latest, events)
        for name, given_up in self._decoder.given_up.items():
            self.counts[name].given_up += given_up
        self._decoder.given_up.clear()
        if self._joining:
            self._take_joined(version, self._inputs_of(decoded, positions, batch, live), latest, events)
        return LiveBatch(
            self.spacecraft, version, positions, batch, decoded, live, latest, () if quiet else tuple(events)
        )

    def _begin_with(self, version: Version) -> None:
        """Values out of limits are told again by a new database: it may have other limits."""
        self.version = version
        self._decoder = Decoder(version.database)  # not that of history: it is of another thread
        self._alarms = all_alarms(version.database)
        self._monitor = LimitMonitor()
        joined = self._decoder.joined()
        watches = {name: watch_of(version.database, name) for name in joined}
        self._joining = {name: Joining(one, frozenset(joined), watches[name]) for name, one in joined.items()}
        self._arriving = {name: Arriving(watch, True) for name, watch in watches.items() if watch is not None}
        read = {name for one in joined.values() for name in one.parsed.names}
        self._inputs = frozenset(base_name(name) if name.endswith("]") else name for name in read)
        self._joined = {}
        self.out_of_limit = {}
        self.latest = {name: one for name, one in self.latest.items() if type_of(version.database, name) is not None}

    def _count_unidentified(self, items: Any, decoded: list[Decoded]) -> None:
        known = np.zeros(len(items), np.bool_)
        for one in decoded:
            known[one.rows] = True
        apids, counts = np.unique(items["apid"][~known], return_counts=True)
        for apid, count in zip(apids.tolist(), counts.tolist(), strict=True):
            self.unidentified[apid] += count

    def _take_type(
        self,
        version: Version,
        one: Decoded,
        positions: I64Array,
        items: Any,
        live: BoolArray,
        latest: dict[str, Latest],
        events: list[Event],
    ) -> None:
        """Count the packets of one type, and take the newest values and the limit states of those that are not late."""
        inside = np.flatnonzero(live[one.rows])
        counts = self.counts.setdefault(one.packet_type, TypeCounts())
        counts.packets += len(one)
        counts.late += len(one) - len(inside)
        counts.ambiguous += one.ambiguous
        if not len(inside):
            return
        rows = one.rows[inside]
        _note_reception(counts, items["receive_time_ns"][rows])
        for name, column in one.columns.items():
            at = _newest_present(column, inside)
            if at >= 0:
                latest[name] = self._latest(version, one, column, at, positions, items)
            if name in self._alarms:
                limit = self._check(version, name, column, (inside, at), counts, (one, positions, items), events)
                latest |= {name: replace(latest[name], limit=limit)} if at >= 0 else {}

    def _take_joined(
        self, version: Version, came: dict[str, Samples], latest: dict[str, Latest], events: list[Event]
    ) -> None:
        """Take what is derived of several packet types, at each packet that changes it; the newest in time is told."""
        for name, joining in self._joining.items():
            samples = joining.take(came)
            if not len(samples):
                continue
            watched = self._arriving.get(name)
            came[name] = samples = watched.shown(samples) if watched is not None else samples
            before = self._joined.get(name, _Joined())
            newest_ns = np.maximum.accumulate(np.append(before.time_ns, samples["time_ns"]))
            now = np.flatnonzero(samples["time_ns"] >= newest_ns[:-1])
            if not len(now):
                continue
            self._joined[name] = after = _Joined(int(newest_ns[-1]), before.state)
            latest[name] = self._joined_latest(version, joining, samples, int(now[-1]), latest)
            if name in self._alarms:
                usable = now[samples["validity"][now] == Validity.VALID]
                states = np.append(np.uint8(before.state), samples["limit"][usable])
                after.state = int(states[-1])
                if (counts := self.counts.get(latest[name].packet_type)) is not None:
                    counts.out_of_limit += int(np.count_nonzero(states[1:] & LimitFlag.SEVERITY))
                    counts.invalid += len(now) - len(usable)
                changed = np.flatnonzero(states[1:] != states[:-1])
                transitions = [Transition(name, int(k), int(states[k]), int(states[k + 1])) for k in changed]
                self._passed(version, name, transitions, latest[name], events)

    def _joined_latest(
        self, version: Version, joining: Joining, samples: Samples, row: int, latest: Mapping[str, Latest]
    ) -> Latest:
        some = samples.take(slice(row, row + 1))
        raw, engineering, validity, limit = (some[one].copy() for one in ("raw", "engineering", "validity", "limit"))
        column = Column(samples.parameter, raw, engineering, validity, limit, samples.unit, samples.labels)
        position = int(some["position"][0])
        plain = [plain_name(one, latest) or plain_name(one, self.latest) for one in joining.derived.parsed.names]
        known = [latest.get(one) or self.latest.get(one) for one in plain if one is not None]
        types = [one.packet_type for one in known if one is not None and one.position == position]
        packet_type = next(iter(types), next((one.packet_type for one in known if one is not None), ""))
        return Latest(
            column, 0, packet_type, position, int(some["time_ns"][0]), bool(some["generated"][0]),
            int(some["receive_time_ns"][0]), version.digest, int(limit[0]),
        )  # fmt: skip

    def _inputs_of(
        self, decoded: list[Decoded], positions: I64Array, batch: ItemBatch, live: BoolArray
    ) -> dict[str, Samples]:
        """Return the samples of those packets that are not late of what others are derived of, by position."""
        found: dict[str, list[Samples]] = {}
        for one in decoded if self._inputs else ():
            inside = np.flatnonzero(live[one.rows])
            for name in self._inputs & one.columns.keys() if len(inside) else ():
                column = _some(one.columns[name], inside)
                if column.validity.size:
                    found.setdefault(name, []).append(samples_of(batch, positions, one.rows[inside], column))
        whole = {name: concatenated(pieces) for name, pieces in found.items()}
        return {name: one.take(np.lexsort((one["element"], one["position"]))) for name, one in whole.items()}

    def _latest(
        self, version: Version, one: Decoded, column: Column, at: int, positions: I64Array, items: Any
    ) -> Latest:
        row = int(one.rows[at])
        time_ns, generated = _time_of(items[row])
        held, held_at = (column, at) if len(one) <= FEW_ROWS else (_only(column, at), 0)
        received_ns = int(items["receive_time_ns"][row])
        return Latest(
            held, held_at, one.packet_type, int(positions[row]), time_ns, generated, received_ns, version.digest
        )

    # ---- limits ----

    def _check(
        self,
        version: Version,
        name: str,
        column: Column,
        rows: tuple[I64Array, int],
        counts: TypeCounts,
        where: tuple[Decoded, I64Array, Any],
        events: list[Event],
    ) -> int:
        """Count and tell what is beyond limits; returns the limit state to show of the newest of `rows`, the second."""
        inside, at = rows
        one, positions, items = where
        said, usable, transitions = self._stands(name, column, one.columns, inside)
        counts.out_of_limit += int(np.count_nonzero(said[usable] & LimitFlag.SEVERITY))
        counts.invalid += len(inside) - int(usable.sum())
        if transitions:
            row = transitions[-1].row
            latest = self._latest(version, one, column, int(inside[row]), positions, items)
            latest = replace(latest, limit=_shown_limit(column, int(inside[row]), said, usable, row))
            self._passed(version, name, transitions, latest, events)
        return 0 if at < 0 else _shown_limit(column, at, said, usable, int(np.searchsorted(inside, at)))

    def _stands(
        self, name: str, column: Column, columns: Mapping[str, Column], inside: I64Array
    ) -> tuple[U8Array, BoolArray, list[Transition]]:
        """Return the limit states of packets `inside` with persistence and changes, which count, where they changed."""
        states, usable = worst_in_packet(column)
        index = applied(self._alarms[name], columns, len(states))[inside]
        numbers = column.raw[inside], column.engineering[inside]
        runs = limit_runs(self._alarms[name], index)
        said, transitions = fed(self._monitor, name, numbers, states[inside], usable[inside], runs)
        return said, usable[inside], transitions

    def _passed(
        self, version: Version, name: str, transitions: list[Transition], latest: Latest, events: list[Event]
    ) -> None:
        """Note that a limit was passed, and tell of it."""
        if not transitions:
            return
        last = transitions[-1]
        if last.after & LimitFlag.SEVERITY:
            self.out_of_limit = {**self.out_of_limit, name: (last.after, latest)}
        else:
            self.out_of_limit = {key: row for key, row in self.out_of_limit.items() if key != name}
        events.append(self._event(version, name, latest, transitions))

    def _event(self, version: Version, name: str, latest: Latest, transitions: list[Transition]) -> Event:
        """Return one event for all changes of a parameter in a batch: from the state before to the state behind."""
        told, changes = self.shown(name, latest), len(transitions)
        was, now = rendered.limit_text(transitions[0].before), rendered.limit_text(transitions[-1].after)
        highest = max((one.after for one in transitions), key=lambda state: state & LimitFlag.SEVERITY)
        worst, between = Severity(highest & LimitFlag.SEVERITY), rendered.limit_text(highest)
        often = f", after {changes} changes" if changes > 1 else ""
        often += f", {between} between" if changes > 1 and between not in {was, now} else ""
        value = rendered.text(told["value"], told["unit"], told["decimals"])
        return {
            "type": "limit", "severity": EVENT_SEVERITY[worst],
            "message": f"{self.spacecraft} {name}: {was} -> {now} ({value}){often}", "spacecraft": self.spacecraft,
            "parameter": name, "before": was, "after": now, "value": told["value"], "unit": told["unit"],
            "changes": changes, "packet_position": latest.position, "time_utc": told["time_utc"],
            "database": version.digest[:DIGEST_SHORT],
        }  # fmt: skip

    # ---- on the loop ----

    def apply(self, batch: LiveBatch) -> None:
        """Take what a batch brought as the newest."""
        self.latest |= batch.latest

    def shown(self, name: str, latest: Latest, now_ns: int | None = None) -> dict[str, Any]:
        """Return a newest value as the API tells it; `now_ns` (steady) adds its age and whether it is stale."""
        column, row = latest.column, latest.row
        kind = kind_of(self.version.database, name) if self.version is not None else None
        value, raw = column.engineering[row : row + 1], column.raw[row : row + 1]
        validity = np.max(column.validity[row])
        told: dict[str, Any] = {
            "parameter": name, "spacecraft": self.spacecraft, "value": rendered.values(value, column.labels, kind)[0],
            "raw": rendered.values(raw)[0], "unit": column.unit,
            "decimals": None if self.version is None else described.decimals(self.version.database, name),
            "validity": rendered.VALIDITY[int(validity)],
            "limit": rendered.limit_text(latest.limit), "time_utc": rendered.utc(latest.time_ns),
            "generated": latest.generated, "receive_time_utc": rendered.utc(latest.receive_time_ns),
            "position": latest.position, "packet_type": latest.packet_type, "database": latest.digest,
        }  # fmt: skip
        return told if now_ns is None else told | self._age(latest, now_ns)

    def _age(self, latest: Latest, now_ns: int) -> dict[str, Any]:
        age_s = max(0.0, (now_ns - latest.receive_time_ns) / SECOND_NS)
        period_s = self.counts[latest.packet_type].period_s if latest.packet_type in self.counts else 0.0
        return {"age_s": round(age_s, 3), "stale": age_s > max(STALE_MIN_S, STALE_PERIODS * period_s)}


def _time_of(item: Any) -> tuple[int, bool]:
    generation = int(item["generation_time_ns"])
    return (int(item["receive_time_ns"]), False) if generation == ABSENT else (generation, True)


def _note_reception(counts: TypeCounts, received_ns: I64Array) -> None:
    """Take the mean time between packets of a type, smoothed, for staleness."""
    last = int(received_ns[-1])
    if counts.receive_time_ns != ABSENT and last > counts.receive_time_ns:
        period_s = (last - counts.receive_time_ns) / SECOND_NS / len(received_ns)
        weight = PERIOD_WEIGHT if counts.period_s else 1.0
        counts.period_s += weight * (period_s - counts.period_s)
    counts.receive_time_ns = max(counts.receive_time_ns, last)


def _newest_present(column: Column, inside: I64Array) -> int:
    """Return the last of the rows `inside` that holds a value; -1 = none."""
    last = int(inside[-1])
    if column.validity.ndim == 1 and column.validity[last] != Validity.ABSENT:
        return last
    present = (column.validity[inside] != Validity.ABSENT).reshape(len(inside), -1).any(axis=1)
    return int(inside[np.flatnonzero(present)[-1]]) if present.any() else -1


def _some(column: Column, rows: I64Array) -> Column:
    """Return some of the packets of a column."""
    if len(rows) == len(column.validity):
        return column
    return column._replace(
        raw=column.raw[rows], engineering=column.engineering[rows], validity=column.validity[rows],
        limit=column.limit[rows],
    )  # fmt: skip


def _only(column: Column, at: int) -> Column:
    """Return a column with one row: what is kept of a large batch must not keep all of it."""
    row = slice(at, at + 1)
    return Column(
        column.parameter, column.raw[row].copy(), column.engineering[row].copy(), column.validity[row].copy(),
        column.limit[row].copy(), column.unit, column.labels, column.time_offset_ns,
    )  # fmt: skip


def _shown_limit(column: Column, at: int, said: U8Array, usable: BoolArray, row: int) -> int:
    """Return what is shown of packet `at` of a column, of which persistence and changes say `said[row]`.

    Of several samples in a packet it is the worst, where the packet is beyond a limit; as history shows each of them.
    """
    if not usable[row] or not said[row] & LimitFlag.SEVERITY:
        return 0
    if column.validity.ndim == 1:
        return int(said[row])
    limit = np.where(column.validity[at] == Validity.VALID, column.limit[at], 0).reshape(-1)
    return int(limit[int(np.argmax(limit & LimitFlag.SEVERITY))])
