"""Confirmed digests: the gateway asks a home base for the digest of a range, compares, and keeps the answer durably.

Asked is who says `confirm` in `subscribe`, per contact that has ended and per UTC day that is over, when everything of
it is acknowledged. What differs is told: as an event, as a condition that holds until the range is confirmed, to the
home base. It is asked again in the next session: a store that was repaired can confirm then.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from gateway.accounting.rules import contract_of
from gateway.accounting.walking import walk_in_pieces
from gateway.homes.registry import Key, SubscriptionRegistry
from gateway.homes.session import Session
from gateway.journal import SmallStore
from gateway.world import Worker
from gateway_codecs.batches import I64Array, ItemBatch
from gateway_routes.conditions import Condition

DIGESTS_KEPT = 64
DIFFERING_SHOWN = 3  # of one subscription; more are summed up
CONFIRMED, DIFFERS, NOT_COMPARABLE = "confirmed", "differs", "cannot be compared"


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What a home base said of positions [first, end). Digests in hexadecimal; `at_ns` TAI."""

    what: str
    first: int
    end: int
    version: int
    state: str
    items: int
    sha256: str
    told_items: int | None
    told_sha256: str | None
    at_ns: int


@dataclass(frozen=True, slots=True)
class Digest:
    """Of what a subscription is granted of a range. `whole`: all of the range could be read."""

    items: int
    sha256: str
    whole: bool


class Confirmations:
    """Of one mission instance."""

    def __init__(
        self,
        registry: SubscriptionRegistry,
        store: SmallStore,
        keeper: Worker,
        worker: Worker,
        now_ns: Callable[[], int],
        emit: Callable[[dict[str, Any]], None],
    ) -> None:
        self._registry, self._store, self._keeper, self._worker = registry, store, keeper, worker
        self._now_ns, self._emit = now_ns, emit
        self._kept: dict[Key, dict[str, Confirmation]] = {}
        self._asked: dict[Key, tuple[Session, set[str]]] = {}  # in which session what was asked
        self._digests: OrderedDict[tuple[str, int, int], Digest] = OrderedDict()

    async def load(self) -> None:
        """Read what is kept of this journal. Raises OSError."""
        rows = await self._keeper(lambda: self._store.confirmations(str(self._registry.journal.journal_id)))
        for home, name, value in rows:
            kept = Confirmation(**value)
            self._kept.setdefault((home, name), {})[kept.what] = kept

    # ---- asking ----

    async def ask(self, ranges: Sequence[tuple[str, int, int]]) -> None:
        """Ask each session that confirms for the oldest of these ranges (what, first, end) that it has not confirmed
        and has acknowledged. Raises OSError."""
        for key, session in list(self._registry.sessions.items()):
            if session.asking.wanted and session.state == "live" and session.asking.asked is None:
                await self._ask_one(key, session, ranges)

    async def _ask_one(self, key: Key, session: Session, ranges: Sequence[tuple[str, int, int]]) -> None:
        subscription = self._registry.subscriptions.get(key)
        if subscription is None:
            return
        before, asked = self._asked.get(key, (None, set[str]()))
        if before is not session:
            asked = set()
            self._asked[key] = (session, asked)
        for what, first, end in ranges:
            begin = max(first, subscription.version_from)
            if begin >= end or what in asked or self._is_confirmed(key, what, begin, end):
                continue
            if subscription.cursor.low_water < end:
                continue
            asked.add(what)
            digest = await self.digest(subscription.granted, key, begin, end)
            if digest is None or self._registry.sessions.get(key) is not session:
                return
            told = any(a < end and begin < b for a, b, _ in subscription.missing)
            if told or not digest.whole:  # what it was told as missing it may have, or not
                row = Confirmation(
                    what, begin, end, subscription.version, NOT_COMPARABLE, digest.items, digest.sha256, None, None,
                    self._now_ns(),
                )  # fmt: skip
                await self._keep(key, row)
                continue
            await session.asking.ask(what, begin, end)
            return

    def _is_confirmed(self, key: Key, what: str, first: int, end: int) -> bool:
        kept = self._kept.get(key, {}).get(what)
        return kept is not None and (kept.first, kept.end) == (first, end) and kept.state != DIFFERS

    async def digest(self, granted: Mapping[str, Any], key: Key, first: int, end: int) -> Digest | None:
        """Return the digest of what a subscription gets of a range; None when its rights cannot be read."""
        known = (json.dumps(granted, sort_keys=True), first, end)
        if known in self._digests:
            return self._digests[known]
        subscription = self._registry.subscriptions[key]
        try:
            wanted = contract_of(self._registry, subscription).granted
        except ValueError:
            return None
        found = self._digests[known] = await self._compute(wanted, first, end)
        while len(self._digests) > DIGESTS_KEPT:
            self._digests.popitem(last=False)
        return found

    async def _compute(self, wanted: Any, first: int, end: int) -> Digest:
        journal, sha256, items = self._registry.journal, hashlib.sha256(), 0

        def take(positions: I64Array, batch: ItemBatch) -> None:
            nonlocal items
            items += len(positions)
            sha256.update(batch.octets.data)

        damaged = await walk_in_pieces(journal, self._worker, first, end, take, wanted)
        whole = first >= journal.tail and not damaged
        return Digest(items, sha256.hexdigest(), whole)

    # ---- the answers ----

    async def answered(self, session: Session, told: Mapping[str, Any]) -> dict[str, Any] | None:
        """Take a home base's digest: compare, keep, and return what to answer; None when it could not say any.

        The answer is durable before it is told. Raises OSError.
        """
        key, asked = (session.home, session.name), session.asking.asked
        subscription = self._registry.subscriptions.get(key)
        items, sha256 = told.get("items"), told.get("sha256")
        if asked is None or subscription is None or not isinstance(items, int) or not isinstance(sha256, str):
            return None
        what, first, end = asked
        own = await self.digest(subscription.granted, key, first, end)
        if own is None:
            return None
        state = CONFIRMED if (items, sha256[:64]) == (own.items, own.sha256) else DIFFERS
        row = Confirmation(
            what, first, end, subscription.version, state, own.items, own.sha256, items, sha256[:64], self._now_ns()
        )
        before = self._kept.get(key, {}).get(what)
        if before is None or replace(before, at_ns=row.at_ns) != row:  # who says the same again costs no forced write
            await self._keep(key, row)
        if state == CONFIRMED:
            return {"type": CONFIRMED}
        if before is None or (before.state, before.first, before.end) != (DIFFERS, first, end):
            self._tell(key, row)
        return {"type": DIFFERS, "items": own.items, "sha256": own.sha256}

    async def forget(self, key: Key) -> None:
        """The subscription ends: one that is begun by its name later has confirmed nothing. Raises OSError."""
        if self._kept.pop(key, None):
            journal_id = str(self._registry.journal.journal_id)
            await self._keeper(lambda: self._store.remove_confirmations(journal_id, *key))
        self._asked.pop(key, None)

    async def _keep(self, key: Key, row: Confirmation) -> None:
        journal_id = str(self._registry.journal.journal_id)
        await self._keeper(lambda: self._store.put_confirmation(journal_id, *key, asdict(row)))
        self._kept.setdefault(key, {})[row.what] = row

    def _tell(self, key: Key, row: Confirmation) -> None:
        self._emit(
            {
                "type": "digest differs", "severity": "error", "home": key[0], "subscription": key[1],
                "message": _text(key, row), "what": row.what, "first": row.first, "end": row.end,
                "items": row.items, "home_items": row.told_items,
            }
        )  # fmt: skip

    # ---- what is seen ----

    def of_range(self, key: Key, first: int, end: int) -> Confirmation | None:
        """Return what a home base said of exactly this range."""
        rows = self._kept.get(key, {}).values()
        return next((row for row in rows if (row.first, row.end) == (first, end)), None)

    def differing(self, home: str) -> int:
        """Return how many ranges of a home base differ."""
        mine = [rows for key, rows in self._kept.items() if key[0] == home and key in self._registry.subscriptions]
        return sum(row.state == DIFFERS for rows in mine for row in rows.values())

    def unconfirmed(self, key: Key, ranges: Sequence[tuple[str, int, int]], version_from: int) -> int:
        """Return how many of the ranges a subscription has not confirmed; 0 for one that never confirms."""
        if key not in self._kept and key not in self._asked:
            return 0
        begun = [(what, max(first, version_from), end) for what, first, end in ranges]
        return sum(begin < end and not self._is_confirmed(key, what, begin, end) for what, begin, end in begun)

    def conditions(self) -> list[Condition]:
        """Return one for each range that differs; of a subscription with many of them one in all."""
        remedy = (
            "compare the home base's store (docs/read_blocks.py STORE FIRST END) with the report, and send it again"
        )
        found = list[Condition]()
        for key in [key for key in self._kept if key in self._registry.subscriptions]:
            rows = [row for row in self._kept[key].values() if row.state == DIFFERS]
            subject = f"subscription {key[0]}/{key[1]}"
            if len(rows) > DIFFERING_SHOWN:
                oldest = min(rows, key=lambda row: (row.end, row.first))
                text = f"{len(rows)} contacts and days differ; the oldest: {_text(key, oldest)}"
                found.append(Condition("error", "digest differs", subject, text, remedy))
                continue
            found += [
                Condition("error", "digest differs", f"{subject} {row.what}", _text(key, row), remedy) for row in rows
            ]
        return found


def _text(key: Key, row: Confirmation) -> str:
    return (
        f"{key[0]}/{key[1]} has stored {row.told_items} items of {row.what} (positions {row.first}..{row.end}), the "
        f"gateway has {row.items}: the digests differ"
    )
