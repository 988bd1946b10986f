"""Samples of several parameters in the order of the journal, as rows: what subscriptions to parameters send."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.values import rendered
from gateway.values.versions import Version
from gateway_codecs.batches import I64Array, ItemBatch
from gateway_codecs.mdb.holders import apids
from gateway_codecs.mdb.lookup import kind_of
from gateway_codecs.mdb.samples import samples_of


def apids_of(version: Version, names: Sequence[str]) -> frozenset[int] | None:
    """Return the APIDs of the packets that can hold one of the parameters; None = of any."""
    found: frozenset[int] = frozenset()
    for name in names:
        mine = apids(version.database, name)
        if mine is None:
            return None
        found |= mine
    return found


def rows_of(
    version: Version, names: Sequence[str], positions: I64Array, batch: ItemBatch, links: Mapping[int, str]
) -> list[dict[str, Any]]:
    """Return the samples of packets as rows, in position order. In the worker of the version's decoder."""
    items = batch.items
    found: list[dict[str, Any]] = []
    lengths = items["length"].astype("int64")
    for decoded in version.decoder.decode(batch.octets, items["offset"], lengths, frozenset(names)):
        for name in names:
            column = decoded.columns.get(name)
            if column is None or not column.validity.size:
                continue
            samples = samples_of(batch, positions, decoded.rows, column)
            rows = rendered.rows(samples, kind_of(version.database, name), links, with_raw=False)
            found += [{"parameter": name, "unit": column.unit, **row} for row in rows]
    return sorted(found, key=lambda row: int(row["position"]))
