"""Samples of several parameters in the order of the journal, as rows: what subscriptions to parameters send."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gateway.values import rendered
from gateway.values.versions import Version
from gateway_codecs.batches import I64Array, ItemBatch
from gateway_codecs.mdb.arriving import Arriving, Joining
from gateway_codecs.mdb.columns import Decoded
from gateway_codecs.mdb.holders import apids, base_name
from gateway_codecs.mdb.lookup import kind_of
from gateway_codecs.mdb.samples import Samples, concatenated, samples_of
from gateway_codecs.mdb.standing import watch_of

Row = dict[str, Any]


def apids_of(version: Version, names: Sequence[str]) -> frozenset[int] | None:
    """Return the APIDs of the packets that can hold one of the parameters, or an input of it; None = of any."""
    found: frozenset[int] = frozenset()
    for name in names:
        mine = apids(version.database, name)
        if mine is None:
            return None
        found |= mine
    return found


class SampleStream:
    """The samples of some parameters of one version, of packets that are shown to it in position order.

    `remembers`: some of them depend on packets before. Made and used in the worker of the version's decoder.
    """

    def __init__(self, version: Version, names: Sequence[str]) -> None:
        self._version, self._names = version, names
        joined = version.decoder.joined()
        needed = set(names)
        for name, derived in reversed(tuple(joined.items())):
            if name in needed:
                needed.update(base_name(one) if one.endswith("]") else one for one in derived.parsed.names)
        watches = {name: watch_of(version.database, name) for name in sorted(needed)}
        self._watched = {name: watch for name, watch in watches.items() if watch is not None}
        self._arriving = {name: Arriving(watch, name in joined) for name, watch in self._watched.items()}
        self._joining = {
            name: Joining(derived, frozenset(joined), watches[name])
            for name, derived in joined.items()
            if name in needed
        }
        read = (one for joining in self._joining.values() for one in joining.derived.parsed.names)
        self._inputs = frozenset(base_name(one) if one.endswith("]") else one for one in read)
        of_contexts = (name for watch in self._watched.values() for name in watch.inputs)
        self._want = frozenset(needed - joined.keys()).union(of_contexts)
        plain = [name for name in (*names, *sorted(self._inputs)) if name not in joined]
        self._plain = tuple(dict.fromkeys(plain))
        self.remembers = bool(self._arriving or self._joining)

    def learn(self, positions: I64Array, batch: ItemBatch) -> None:
        """Take packets whose samples nobody wants, for those behind them."""
        self._taken(positions, batch)

    def rows(self, positions: I64Array, batch: ItemBatch, links: Mapping[int, str]) -> list[Row]:
        """Return the samples of packets as rows, in position order."""
        found: list[Row] = []
        for name, samples in self._taken(positions, batch):
            if name in self._names:
                rows = rendered.rows(samples, kind_of(self._version.database, name), links, with_raw=True)
                found += [{"parameter": name, "unit": samples.unit, **row} for row in rows]
        return sorted(found, key=lambda row: int(row["position"]))

    def _taken(self, positions: I64Array, batch: ItemBatch) -> list[tuple[str, Samples]]:
        """Return the samples by parameter; those that nothing before decides in pieces, as they were decoded."""
        items = batch.items
        decoded = self._version.decoder.decode(
            batch.octets, items["offset"], items["length"].astype(np.int64), self._want
        )
        told, came = list[tuple[str, Samples]](), dict[str, Samples]()
        for name in self._plain:
            pieces = self._pieces(name, positions, batch, decoded)
            if pieces and (name in self._arriving or name in self._inputs):
                whole = concatenated(pieces)
                whole = whole.take(np.lexsort((whole["element"], whole["position"])))
                came[name] = self._arriving[name].shown(whole) if name in self._arriving else whole
                pieces = [came[name]]
            told += [(name, piece) for piece in pieces]
        for name, joining in self._joining.items():
            samples = joining.take(came)
            if len(samples):
                came[name] = self._arriving[name].shown(samples) if name in self._arriving else samples
                told.append((name, came[name]))
        return told

    def _pieces(self, name: str, positions: I64Array, batch: ItemBatch, decoded: list[Decoded]) -> list[Samples]:
        found = []
        for one in decoded:
            column = one.columns.get(name)
            if column is None or not column.validity.size:
                continue
            samples = samples_of(batch, positions, one.rows, column)
            watch = self._watched.get(name)
            more = watch.columns(column, one.columns) if watch is not None else {}
            found.append(Samples(name, {**samples.columns, **more}, samples.unit, samples.labels))
        return found
