"""What a database says, for people and programs: parameters to find, their definitions, containers, bucket rows."""

from __future__ import annotations

import math
from difflib import get_close_matches
from typing import Any

from gateway.values import rendered
from gateway_codecs.mdb.canonical import plain
from gateway_codecs.mdb.decimation import Buckets
from gateway_codecs.mdb.holders import apids, base_name
from gateway_codecs.mdb.lookup import kind_of, members, type_of
from gateway_codecs.mdb.model import Database, States

NEAR = 3


def search(database: Database, text: str, limit: int, offset: int) -> tuple[list[dict[str, Any]], int]:
    """Return some of the parameters that have all words in name, alias or description; and how many there are."""
    words = text.lower().split()
    found = []
    for name, parameter in database.parameters.items():
        where = " ".join((name, *parameter.aliases, parameter.description)).lower()
        if all(word in where for word in words):
            found += list(members(database, name))
    return [summary(database, name) for name in found[offset : offset + limit]], len(found)


def summary(database: Database, name: str) -> dict[str, Any]:
    """Return a parameter, member or element as one row."""
    parameter = database.parameters.get(name) or database.parameters[base_name(name)]
    return {
        "parameter": name, "kind": kind_of(database, name), "source": parameter.source.value,
        "description": parameter.description, "aliases": list(parameter.aliases), **unit_and_labels(database, name),
        "decimals": decimals(database, name),
    }  # fmt: skip


def decimals(database: Database, name: str) -> int | None:
    """Return how many decimals are to be shown; None = as many as needed."""
    parameter = database.parameters.get(name) or database.parameters.get(base_name(name))
    return parameter.decimals if parameter is not None and parameter.decimals >= 0 else None


def unit_and_labels(database: Database, name: str) -> dict[str, Any]:
    """Return the unit of a parameter, and the labels of its states."""
    found = type_of(database, name)
    for _ in range(8):
        if found is None or found.kind != "array":
            break
        found = database.types.get(found.element_type)
    calibrator = found.calibration.default if found is not None else None
    labels = [one.label for one in calibrator.states] if isinstance(calibrator, States) else []
    return {"unit": found.unit if found is not None else "", "labels": list(dict.fromkeys(labels))}


def definition(database: Database, name: str) -> dict[str, Any]:
    """Return everything a database says of a parameter: its rows are the model's (docs/values.md)."""
    parameter = database.parameters.get(name) or database.parameters[base_name(name)]
    kind = type_of(database, name)
    holders = apids(database, name)
    return {
        **summary(database, name),
        "long_description": parameter.long_description,
        "derivation": parameter.derivation,
        "apids": None if holders is None else sorted(holders),
        "definition": plain(parameter),
        "type": None if kind is None else plain(kind),
        "defined_at": str(parameter.where),
    }


def containers(database: Database) -> list[dict[str, Any]]:
    """Return the containers with their entries by name, bases before heirs."""
    rows = []
    for name in _bases_first(database):
        one = database.containers[name]
        entries = [getattr(entry, "parameter", "") or getattr(entry, "container", "") for entry in one.entries]
        rows.append(
            {
                "container": name, "base": one.base, "abstract": one.abstract, "root": name in database.roots,
                "description": one.description, "entries": [entry for entry in entries if entry],
            }
        )  # fmt: skip
    return rows


def _bases_first(database: Database) -> list[str]:
    order: dict[str, None] = {}
    for name in database.containers:
        chain = []
        here = name
        while here in database.containers and here not in order and here not in chain:
            chain.append(here)
            here = database.containers[here].base
        order.update(dict.fromkeys(reversed(chain)))
    return list(order)


def near(database: Database, text: str) -> list[str]:
    """Return parameters whose names are much like `text`."""
    last = {name.rpartition("/")[2]: name for name in database.parameters}
    return [last[one] for one in get_close_matches(text.rpartition("/")[2], last, NEAR)]


def bucket_rows(found: Buckets) -> list[dict[str, Any]]:
    """Return the spans of time in which there is something."""
    edges, means = found.edges_ns().tolist(), found.mean.tolist()
    rows = []
    for k in range(found.buckets):
        if not found.count[k] and not found.unusable[k]:
            continue
        good = bool(found.count[k])
        rows.append(
            {
                "from_utc": rendered.utc(edges[k]), "count": int(found.count[k]), "unusable": int(found.unusable[k]),
                "min": _number(found.low[k]), "max": _number(found.high[k]), "mean": _number(means[k]),
                "min_time_utc": rendered.utc(int(found.low_time_ns[k])) if good else None,
                "max_time_utc": rendered.utc(int(found.high_time_ns[k])) if good else None,
                "limit": rendered.limit_text(int(found.worst[k])),
            }
        )  # fmt: skip
    return rows


def _number(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None
