"""Samples of parameters that are derived of several packet types: the inputs joined over time. Pure.

At each sample of any input there is one of the derived parameter, of the newest value that every other input has at or
before that time. It bears the position, link and data mode of the packet that came last of those it is made of.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from gateway_codecs.batches import I64Array
from gateway_codecs.mdb.columns import Column
from gateway_codecs.mdb.derive import Derived, as_of, computed
from gateway_codecs.mdb.samples import Samples, no_samples
from gateway_codecs.mdb.standing import Watch


def element_of(samples: Samples, name: str) -> Samples:
    """Return the samples of the element that `name` says (`/S/A[3]`), or all of them."""
    if not name.endswith("]"):
        return samples
    index = name[name.rfind("[") + 1 : -1]
    return samples.take(samples["element"] == int(index)) if index.isdigit() else samples.take(slice(0, 0))


def joined_samples(derived: Derived, inputs: Mapping[str, Samples], watch: Watch | None = None) -> Samples:
    """Return the samples of a derived parameter; `inputs` are in generation-time order, by the names it reads.

    With `watch` they have the columns that their limit states need.
    """
    times, rows = as_of({name: samples["time_ns"] for name, samples in inputs.items()})
    if not len(times):
        return no_samples(derived.name)
    return made_of(derived, {name: inputs[name].take(rows[name]) for name in inputs}, times, watch)


def made_of(derived: Derived, inputs: Mapping[str, Samples], times: I64Array, watch: Watch | None = None) -> Samples:
    """Return what is derived of inputs row by row, at these times, int64 (n,): each input has n samples."""
    columns = {name: _column(name, samples) for name, samples in inputs.items()}
    column = computed(derived, columns)
    if column is None:
        return no_samples(derived.name)
    positions = np.stack([samples["position"] for samples in inputs.values()])
    newest, each = np.argmax(positions, axis=0), np.arange(len(times))
    found = {
        name: np.stack([samples[name] for samples in inputs.values()])[newest, each]
        for name in ("position", "receive_time_ns", "data_mode", "link")
    }
    generated = np.stack([samples["generated"] for samples in inputs.values()]).all(axis=0)
    found |= {
        "time_ns": times, "element": np.zeros(len(times), np.int32), "generated": generated,
        "identity": np.zeros(len(times), np.uint64), "validity": column.validity, "limit": column.limit,
        "raw": column.raw, "engineering": column.engineering,
    }  # fmt: skip
    found |= watch.columns(column, columns) if watch is not None else {}
    return Samples(derived.name, found, column.unit, column.labels)


def _column(name: str, samples: Samples) -> Column:
    raw, engineering, validity, limit = (samples[one] for one in ("raw", "engineering", "validity", "limit"))
    return Column(name, raw, engineering, validity, limit, samples.unit, samples.labels)
