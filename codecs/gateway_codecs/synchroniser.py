"""CADU synchroniser (CCSDS 131.0-B-4, clause 9): code blocks out of a stream of bits, behind their markers.

`feed` takes octets in any pieces; what comes out does not depend on how they were cut. The machine is the table
`TABLE`; in lock it moves over all good markers of a batch at once. A CADU comes out when the marker behind it has
shown where it ends, so a CADU that is intact between two good markers is never given up for a false one:

- In search a marker counts when `verify` more follow it at the distance of a CADU; a false one costs one bit.
- In lock a marker may have `lock_errors` wrong bits. Where none stands, places up to `slip_bits` away and the other
  polarity are tried: the CADU before is suspect then.
- After a miss the CADUs are held, at most `flywheel` behind missing markers. A marker in its place releases them. When
  none comes, or when good markers stand elsewhere, the search goes back to one bit behind the last good marker: what it
  finds there comes first, and of the CADUs held those come out, as suspect, that end before it.

Bits in no CADU come out as they were received, in pieces.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

import numpy as np

from gateway_codecs.batches import BoolArray, I64Array, Records, Transition, U8Array
from gateway_codecs.bit_buffer import BitBuffer
from gateway_codecs.kept_state import mapping, natural
from gateway_codecs.sync_markers import SyncMarker

PIECE_BITS = 8 * 65536
"""Bits outside CADUs come out in pieces of at most this size."""
FIRST_SCAN_BITS, LONGEST_SCAN_BITS = 1 << 14, 1 << 18
SHORTEST_RUN, MARKERS_AT_ONCE = 1 << 3, 1 << 13
"""How many markers are looked at together: few after a new alignment, more while they are good."""
CANDIDATES_AT_ONCE = 1 << 6


class SyncState(StrEnum):
    """Where the synchroniser stands."""

    SEARCH = "search"
    VERIFY = "verify"
    LOCK = "lock"
    FLYWHEEL = "flywheel"


class SyncInput(StrEnum):
    """What stands at the place looked at."""

    HIT = "hit"  # a marker (in verify: and more are wanted)
    CONFIRMED = "confirmed"  # the last marker that was wanted
    SHIFTED = "shifted"  # a marker some bits beside it, or an inverted one
    MISS = "miss"  # none
    SPENT = "spent"  # none, and the flywheel is used up
    CONTRADICTED = "contradicted"  # a marker, and good ones between it and the last one
    END = "end"  # nothing: the source ended before


class Act(StrEnum):
    """What is done about it."""

    CANDIDATE = "the marker may be one: look behind it"
    WAIT = "look one CADU further on"
    GO_BACK = "look on one bit behind the false marker"
    ALIGN = "CADUs begin here"
    DELIVER = "what was held is CADUs"
    REALIGN = "what was held is suspect CADUs, the next one begins where the marker stands"
    HOLD = "hold one more CADU"
    GIVE_UP = "search again from one bit behind the last good marker"
    CLOSE_SEARCH = "everything left lies outside CADUs"
    CLOSE_CANDIDATE = "a whole CADU behind the marker is a suspect one"
    CLOSE_LOCK = "a whole CADU behind the last marker is one"
    CLOSE_FLYWHEEL = "search what is held"


TABLE: Mapping[tuple[SyncState, SyncInput], tuple[SyncState, Act]] = {
    (SyncState.SEARCH, SyncInput.HIT): (SyncState.VERIFY, Act.CANDIDATE),
    (SyncState.SEARCH, SyncInput.CONFIRMED): (SyncState.LOCK, Act.ALIGN),
    (SyncState.SEARCH, SyncInput.END): (SyncState.SEARCH, Act.CLOSE_SEARCH),
    (SyncState.VERIFY, SyncInput.HIT): (SyncState.VERIFY, Act.WAIT),
    (SyncState.VERIFY, SyncInput.CONFIRMED): (SyncState.LOCK, Act.ALIGN),
    (SyncState.VERIFY, SyncInput.MISS): (SyncState.SEARCH, Act.GO_BACK),
    (SyncState.VERIFY, SyncInput.END): (SyncState.SEARCH, Act.CLOSE_CANDIDATE),
    (SyncState.LOCK, SyncInput.HIT): (SyncState.LOCK, Act.DELIVER),
    (SyncState.LOCK, SyncInput.SHIFTED): (SyncState.LOCK, Act.REALIGN),
    (SyncState.LOCK, SyncInput.MISS): (SyncState.FLYWHEEL, Act.HOLD),
    (SyncState.LOCK, SyncInput.SPENT): (SyncState.SEARCH, Act.GIVE_UP),
    (SyncState.LOCK, SyncInput.CONTRADICTED): (SyncState.SEARCH, Act.GIVE_UP),
    (SyncState.LOCK, SyncInput.END): (SyncState.SEARCH, Act.CLOSE_LOCK),
    (SyncState.FLYWHEEL, SyncInput.HIT): (SyncState.LOCK, Act.DELIVER),
    (SyncState.FLYWHEEL, SyncInput.SHIFTED): (SyncState.LOCK, Act.REALIGN),
    (SyncState.FLYWHEEL, SyncInput.MISS): (SyncState.FLYWHEEL, Act.HOLD),
    (SyncState.FLYWHEEL, SyncInput.SPENT): (SyncState.SEARCH, Act.GIVE_UP),
    (SyncState.FLYWHEEL, SyncInput.CONTRADICTED): (SyncState.SEARCH, Act.GIVE_UP),
    (SyncState.FLYWHEEL, SyncInput.END): (SyncState.SEARCH, Act.CLOSE_FLYWHEEL),
}
"""What is not here cannot happen: a search passes over misses, and without `verify` a marker is confirmed at once."""


@dataclass(frozen=True, slots=True)
class SyncSettings:
    """How CADUs are found: `block_octets` behind each marker; tolerances in wrong bits of a marker."""

    block_octets: int
    marker: SyncMarker = field(default_factory=SyncMarker)
    alignment: Literal["bit", "octet"] = "bit"
    search_errors: int = 0
    verify: int = 1
    lock_errors: int = 3
    flywheel: int = 3
    slip_bits: int = 2
    polarity: Literal["either", "normal"] = "either"

    @property
    def period_bits(self) -> int:
        """Bits from marker to marker."""
        return self.marker.bits + 8 * self.block_octets


CADU_DTYPE = np.dtype(
    [
        ("position_bits", "<i8"),  # where its marker begins, in bits of the source; without markers its first bit
        ("mark_bits", "<i8"),  # the last good marker up to there: another place when its own one is missing
        ("marker_errors", "<i2"),  # wrong bits of its marker, -1 = no markers
        ("inverted", "?"),  # it was received inverted
        ("sync_miss", "?"),  # no marker stands before it
        ("suspect", "?"),  # no marker, or a displaced or inverted one, stands where it ends
    ]
)


@dataclass(frozen=True, slots=True)
class Outside:
    """Bits in no CADU as received: where they begin in the source, how many, and the bits, the first one highest."""

    position_bits: int
    bits: int
    octets: bytes


@dataclass(frozen=True, slots=True, eq=False)
class SyncBatch:
    """What a piece of the source completed: code blocks `bodies` uint8 (n, L) with `cadus` CADU_DTYPE (n,), and what
    lies between; all in order of place."""

    bodies: U8Array
    cadus: Records
    outside: tuple[Outside, ...]
    transitions: tuple[Transition, ...]


class Synchroniser:
    """See the module. `begin_bits` is where in the source the first octet fed begins (a multiple of 8)."""

    def __init__(self, settings: SyncSettings, begin_bits: int = 0) -> None:
        self._settings = settings
        self._marker, self._period = settings.marker, settings.period_bits
        self._marker_bits, self._marker_value = settings.marker.bits, settings.marker.value
        self._either, self._octets_only = settings.polarity == "either", settings.alignment == "octet"
        self._buffer = BitBuffer(begin_bits)
        self.state = SyncState.SEARCH if self._marker_bits else SyncState.LOCK
        self._done = self._look = self._mark = self._buffer.begin  # bits told of; searched; of the last good marker
        self._hits = self._misses = 0  # behind the candidate; behind the last good marker
        self._held = 0  # CADUs from `_done` on that come out unless the search finds better ones
        self._inverted = False
        self._errors = 0  # of the last good marker
        self._place, self._place_inverted, self._place_errors = 0, False, 0  # that an input is about
        self._run_errors: I64Array | None = None  # of the markers of a run of good ones
        self._scan_bits, self._run_at_most = FIRST_SCAN_BITS, SHORTEST_RUN
        self._scanned = (0, 0)  # the bits where markers were looked for, and what was found there
        self._candidates = np.zeros(0, np.int64), np.zeros(0, np.bool_)
        self._last = False
        self._clear()

    def _clear(self) -> None:
        self._bodies: list[U8Array] = []
        self._cadus: list[Records] = []
        self._outside: list[Outside] = []
        self._transitions: list[Transition] = []

    @property
    def done_bits(self) -> int:
        """Where the bits begin that nothing was told of; what comes is found again from there and from `kept`."""
        return self._done

    def feed(self, octets: bytes | U8Array) -> SyncBatch:
        """Take the next octets of the source."""
        self._buffer.append(np.frombuffer(octets, np.uint8) if isinstance(octets, bytes) else octets)
        return self._run()

    def end(self, rest: bytes | U8Array = b"", spare_bits: int = 0) -> SyncBatch:
        """The source ended or was cut: tell of what is left, and of a `rest` whose last bits are none.

        What comes next is searched anew.
        """
        self._buffer.append(np.frombuffer(rest, np.uint8) if isinstance(rest, bytes) else rest, spare_bits)
        self._last = True
        batch = self._run()
        self._last = False
        self._done = self._look = self._buffer.close()
        return batch

    def _run(self) -> SyncBatch:
        if self._marker_bits:
            while self._step():
                pass
        else:
            self._take_blocks()
        self._buffer.forget(self._done)
        empty = np.zeros((0, self._settings.block_octets), np.uint8)
        bodies = np.concatenate([empty, *self._bodies]) if len(self._bodies) != 1 else self._bodies[0]
        cadus = np.concatenate([np.zeros(0, CADU_DTYPE), *self._cadus])
        batch = SyncBatch(bodies, cadus, tuple(self._outside), tuple(self._transitions))
        self._clear()
        return batch

    def _take_blocks(self) -> None:
        """Without markers code blocks follow each other from the first octet on."""
        whole = (self._buffer.end - self._done) // self._period
        if whole:
            self._put(self._done, whole, np.full(whole, -1))
        if self._last:
            self._put_outside(self._buffer.end)

    def _take(self, what: SyncInput) -> None:
        self.state, act = TABLE[self.state, what]
        getattr(self, f"_{act.name.lower()}")()

    def _step(self) -> bool:
        """Go one step; returns whether more can be said of what is here."""
        if self.state is SyncState.SEARCH:
            return self._search()
        if self.state is SyncState.VERIFY:
            return self._verify()
        return self._expect()

    # ---- search and verify ----

    def _search(self) -> bool:
        limit = self._buffer.end - self._marker_bits + 1
        while self._look < limit:
            self._scan(limit)
            found = self._first_candidate()
            if found is not None:
                self._place, self._place_inverted = found
                self._look = self._place
                self._release()
                self._take(SyncInput.HIT if self._settings.verify else SyncInput.CONFIRMED)
                return True
            self._look = self._scanned[1]
            self._release()
        if self._last and self._done < self._buffer.end:
            self._take(SyncInput.END)
        return False

    def _scan(self, limit: int) -> None:
        """Look for markers from where the search stands, unless that was done: a search may come back to bits."""
        if not self._scanned[0] <= self._look < self._scanned[1]:
            upto = min(limit, self._look + self._scan_bits)
            self._candidates, self._scanned = self._find(self._look, upto), (self._look, upto)
            self._scan_bits = min(2 * self._scan_bits, LONGEST_SCAN_BITS)

    def _first_candidate(self) -> tuple[int, bool] | None:
        """Return the first marker found (place, inverted) that nothing speaks against."""
        places, inverted = self._candidates
        for at in range(int(np.searchsorted(places, self._look)), len(places), CANDIDATES_AT_ONCE):
            some = slice(at, at + CANDIDATES_AT_ONCE)
            still = self._not_refuted(places[some], inverted[some])
            if len(still):
                return int(places[at + still[0]]), bool(inverted[at + still[0]])
        return None

    def _find(self, first: int, upto: int) -> tuple[I64Array, BoolArray]:
        errors = self._settings.search_errors
        return self._buffer.find(self._marker, first, upto, errors, self._octets_only, self._either)

    def _wrong(self, places: I64Array, inverted: BoolArray | bool) -> I64Array:
        """Return the wrong bits of markers that are inverted or not, int64 (n,)."""
        errors = self._buffer.errors(places, self._marker)
        return np.where(inverted, self._marker_bits - errors, errors)

    def _wrong_at(self, place: int, inverted: bool) -> int:
        errors = self._buffer.errors_at(place, self._marker_value, self._marker_bits)
        return self._marker_bits - errors if inverted else errors

    def _not_refuted(self, places: I64Array, inverted: BoolArray) -> I64Array:
        """Return the indices of candidates behind which no marker is missing, as far as the source is here."""
        still = np.arange(len(places))
        for hit in range(1, self._settings.verify + 1):
            behind = places[still] + hit * self._period
            here = behind + self._marker_bits <= self._buffer.end
            wrong = np.zeros(len(still), np.int64)
            wrong[here] = self._wrong(behind[here], inverted[still][here])
            still = still[wrong <= self._settings.search_errors]
        return still

    def _verify(self) -> bool:
        place = self._look + (self._hits + 1) * self._period
        if place + self._marker_bits > self._buffer.end:
            if self._last:
                self._take(SyncInput.END)
            return self._last
        if self._wrong_at(place, self._place_inverted) > self._settings.search_errors:
            self._take(SyncInput.MISS)
        else:
            self._take(SyncInput.HIT if self._hits + 1 < self._settings.verify else SyncInput.CONFIRMED)
        return True

    def _candidate(self) -> None:
        self._hits = 0

    def _wait(self) -> None:
        self._hits += 1

    def _go_back(self) -> None:
        self._look += 1

    def _align(self) -> None:
        place = self._look
        self._held = 0
        self._transitions.append(Transition("lock", place, place - self._done))
        self._put_outside(place)
        self._mark, self._misses, self._inverted = place, 0, self._place_inverted
        self._errors = self._wrong_at(place, self._inverted)
        self._scan_bits, self._run_at_most = FIRST_SCAN_BITS, SHORTEST_RUN

    def _close_search(self) -> None:
        self._look = self._buffer.end
        self._release()
        self._held = 0
        self._put_outside(self._buffer.end)

    def _close_candidate(self) -> None:
        """Deliver what is whole: nothing will come that could refute it."""
        whole = min(self._hits + 1, (self._buffer.end - self._look) // self._period)
        if whole:
            self._held = 0
            self._put_outside(self._look)
            self._inverted, self._mark = self._place_inverted, self._look
            errors = self._wrong(self._look + self._period * np.arange(whole), self._inverted)
            self._put(self._look, whole, errors, suspect=True)
        self._look = self._done if whole else self._buffer.end

    # ---- lock and flywheel ----

    def _expect(self) -> bool:
        """Look where the next marker should stand."""
        if self.state is SyncState.LOCK:
            self._pass_good_markers()
        place = self._mark + (self._misses + 1) * self._period
        if place + self._marker_bits > self._buffer.end:
            if self._last:
                self._take(SyncInput.END)
            return self._last
        found = self._near(place)
        if found is None:
            return False
        self._take(found)
        return True

    def _pass_good_markers(self) -> None:
        """Deliver the CADUs between good markers, all at once."""
        while (count := (self._buffer.end - self._marker_bits - self._mark) // self._period) > 0:
            places = self._mark + self._period * np.arange(1, min(count, self._run_at_most) + 1)
            wrong = self._wrong(places, self._inverted)
            bad = np.flatnonzero(wrong > self._settings.lock_errors)
            run = int(bad[0]) if len(bad) else len(wrong)
            if not run:
                return
            self._place, self._place_errors = int(places[run - 1]), int(wrong[run - 1])
            self._run_errors = np.concatenate([[self._errors], wrong[: run - 1]])
            self._take(SyncInput.HIT)
            self._run_at_most = min(4 * self._run_at_most, MARKERS_AT_ONCE)

    def _near(self, place: int) -> SyncInput | None:
        """Return what stands at an expected place or near it; None = it is not here yet."""
        slip = 0 if self._octets_only else self._settings.slip_bits
        if self._wrong_at(place, self._inverted) <= self._settings.lock_errors:
            return self._judged(place, self._inverted, SyncInput.HIT)
        if place + self._marker_bits + slip > self._buffer.end and not self._last:
            return None
        last = self._buffer.end - self._marker_bits
        near = [at for at in range(place - slip, place + slip + 1) if at <= last]
        polarities = (self._inverted, not self._inverted) if self._either else (self._inverted,)
        wrong, other, _, at = min(
            (self._wrong_at(at, inverted), inverted != self._inverted, abs(at - place), at)
            for inverted in polarities
            for at in near
        )
        if wrong <= self._settings.lock_errors:
            return self._judged(at, self._inverted != other, SyncInput.SHIFTED)
        return SyncInput.SPENT if self._misses >= self._settings.flywheel else SyncInput.MISS

    def _judged(self, place: int, inverted: bool, what: SyncInput) -> SyncInput | None:
        """Return what a marker behind missing ones is worth: good ones elsewhere contradict it; None = not here yet."""
        ahead = max(1, self._settings.verify) * self._period + self._marker_bits
        if place + ahead > self._buffer.end and not self._last:
            return None
        self._place, self._place_inverted = place, inverted
        self._place_errors = self._wrong_at(place, inverted)
        upto = min(place, self._buffer.end - ahead + 1)
        places, polarity = self._find(self._mark + 1, upto)
        behind = place + self._period
        confirmed = behind + self._marker_bits <= self._buffer.end and (
            self._wrong_at(behind, inverted) <= self._settings.search_errors
        )
        if confirmed:  # only CADUs that end before it speak against it
            before = places + self._period <= place
            places, polarity = places[before], polarity[before]
        return SyncInput.CONTRADICTED if len(self._not_refuted(places, polarity)) else what

    def _deliver(self) -> None:
        if self._run_errors is not None:
            errors, self._run_errors = self._run_errors, None
            self._put(self._mark, len(errors), errors)
        else:
            self._put_held()
        self._mark, self._errors, self._misses = self._place, self._place_errors, 0

    def _realign(self) -> None:
        place = self._mark + (self._misses + 1) * self._period
        self._put_held(suspect=True)
        if self._place != place:
            self._transitions.append(Transition("slip", self._place, self._place - place))
        if self._place_inverted != self._inverted:
            self._transitions.append(Transition("inversion", self._place))
        self._put_outside(max(place, self._place))
        self._done = self._mark = self._place
        self._errors, self._misses, self._inverted = self._place_errors, 0, self._place_inverted
        self._run_at_most = SHORTEST_RUN

    def _hold(self) -> None:
        self._misses += 1

    def _give_up(self) -> None:
        place = self._mark + (self._misses + 1) * self._period
        self._transitions.append(Transition("loss", self._mark + self._period, place - self._mark))
        self._held, self._look = self._misses + 1, self._mark + 1

    def _close_lock(self) -> None:
        if self._mark + self._period <= self._buffer.end:
            self._put_held()
        self._look = self._buffer.end

    def _close_flywheel(self) -> None:
        self._held = min(self._misses + 1, (self._buffer.end - self._mark) // self._period)
        self._look = self._mark + 1

    # ---- what comes out ----

    def _put_held(self, suspect: bool = False) -> None:
        """Deliver the CADUs from the last good marker on."""
        self._held = self._misses + 1
        self._put_of_held(self._held, suspect)

    def _put_of_held(self, count: int, suspect: bool) -> None:
        errors = self._wrong(self._done + self._period * np.arange(count), self._inverted)
        self._held -= count
        self._put(self._done, count, errors, suspect, in_flywheel=True)

    def _put(self, first: int, count: int, errors: I64Array, suspect: bool = False, in_flywheel: bool = False) -> None:
        """Deliver CADUs that follow each other; in flywheel only one at the last good marker has a marker."""
        rows = np.zeros(count, CADU_DTYPE)
        rows["position_bits"] = first + self._period * np.arange(count)
        rows["mark_bits"] = self._mark if in_flywheel else rows["position_bits"]
        rows["marker_errors"], rows["inverted"], rows["suspect"] = errors, self._inverted, suspect
        rows["sync_miss"] = rows["mark_bits"] != rows["position_bits"]
        bodies = self._buffer.rows(first + self._marker_bits, self._period, count, self._settings.block_octets)
        if self._inverted:
            np.invert(bodies, out=bodies)
        self._bodies.append(bodies)
        self._cadus.append(rows)
        self._done = first + count * self._period

    def _release(self) -> None:
        """Deliver held CADUs that end before what is searched, then pieces of what lies outside."""
        count = min(self._held, (self._look - self._done) // self._period)
        if count > 0:
            self._put_of_held(count, suspect=True)
        while not self._held and self._look - self._done >= PIECE_BITS:
            self._put_outside(self._done + PIECE_BITS)

    def _put_outside(self, upto: int) -> None:
        """Tell of all bits up to a place as outside CADUs."""
        while self._done < upto:
            bits = min(PIECE_BITS, upto - self._done)
            self._outside.append(Outside(self._done, bits, self._buffer.piece(self._done, bits)))
            self._done += bits

    # ---- durable state ----

    def kept(self) -> dict[str, Any]:
        """Return the state, JSON-able; with the source from the octet of `done_bits` on it is all that is needed."""
        return {
            "state": self.state.value, "done": self._done, "look": self._look, "mark": self._mark, "hits": self._hits,
            "misses": self._misses, "held": self._held, "errors": self._errors, "inverted": self._inverted,
            "candidate_inverted": self._place_inverted,
        }  # fmt: skip

    @classmethod
    def restored(cls, settings: SyncSettings, kept: object) -> Synchroniser:
        """Return a synchroniser that goes on from a state; from one that cannot be it searches, at the octet of `done`.

        Feed the source from that octet on. Nothing raises.
        """
        state = mapping(kept)
        names = ("done", "look", "mark", "hits", "misses", "held", "errors")
        numbers = {name: natural(state.get(name)) for name in names}
        fresh = cls(settings, numbers["done"] or 0)
        whole = {name: number for name, number in numbers.items() if number is not None}
        if len(whole) < len(names) or state.get("state") not in [state.value for state in SyncState]:
            return fresh
        return fresh._resumed(SyncState(state["state"]), whole, state)

    def _resumed(self, at: SyncState, kept: Mapping[str, int], state: Mapping[str, Any]) -> Synchroniser:
        settings = self._settings
        longest = kept["done"] + PIECE_BITS + (settings.flywheel + settings.verify + 2) * self._period
        in_lock = kept["mark"] == kept["done"]
        in_search = kept["mark"] <= kept["done"] <= kept["look"] < longest
        fits = (
            kept["misses"] <= settings.flywheel and kept["hits"] < max(1, settings.verify)
            and kept["held"] <= settings.flywheel + 1 and kept["errors"] <= settings.marker.bits
            and (in_lock if at in {SyncState.LOCK, SyncState.FLYWHEEL} else in_search)
        )  # fmt: skip
        if not self._marker_bits:
            self._done = kept["done"]
            return self
        if not fits:
            return self
        self.state, self._done, self._mark = at, kept["done"], kept["mark"]
        self._look = kept["look"]
        self._hits, self._misses, self._held, self._errors = (
            kept[name] for name in ("hits", "misses", "held", "errors")
        )
        self._inverted = state.get("inverted") is True and self._either
        self._place_inverted = state.get("candidate_inverted") is True and self._either
        return self

    @classmethod
    def locked(cls, settings: SyncSettings, mark_bits: int, inverted: bool) -> Synchroniser:
        """Return a synchroniser in lock at a marker that was good: feed the source from its octet on."""
        found = cls(settings, mark_bits)
        found._done = found._look = found._mark = mark_bits
        found._inverted = inverted
        if settings.marker.bits:
            found.state = SyncState.LOCK
        return found
