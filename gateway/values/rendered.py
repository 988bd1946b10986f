"""Values as JSON has them: numbers, truth, text, UTC; octets in hexadecimal digits; null for what is no number."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway_codecs.batches import ABSENT, DataMode
from gateway_codecs.mdb.columns import LimitFlag, Validity
from gateway_codecs.mdb.model import Severity
from gateway_codecs.mdb.samples import Samples, octets_of
from gateway_codecs.time_scales import format_utc

VALIDITY = {int(one): one.name.lower() for one in Validity}
SEVERITY = {int(one): one.name.lower() for one in Severity}
MODES = {int(one): one.name.lower() for one in DataMode}
FIXED_MAX = 1e15
"""Above this a number has no decimals to show."""
SIDES = ((LimitFlag.LOW, "low"), (LimitFlag.HIGH, "high"), (LimitFlag.DELTA, "delta"), (LimitFlag.LABEL, "state"))


def utc(tai_ns: int) -> str | None:
    """Return UTC, null for a time that is not known."""
    return None if tai_ns == ABSENT else format_utc(tai_ns)


def values(column: NDArray[Any], labels: Sequence[str] = (), kind: str | None = None) -> list[Any]:
    """Return a column, or a part of it, as JSON values; those of several dimensions as lists of lists."""
    if column.dtype.kind in "SV":
        as_text = kind == "string" or column.dtype.kind == "S"
        octets = column.tolist() if column.dtype.kind == "S" else [octets_of(bytes(one)) for one in column.tolist()]
        return [one.decode("utf-8", "replace") if as_text else one.hex() for one in octets]
    if column.dtype == np.uint8 and column.ndim == 2:
        return [bytes(one).hex() for one in column]
    plain: list[Any] = column.tolist()
    if kind in {"enumerated", "boolean"} and labels:
        return [_each(one, lambda k: labels[int(k)] if 0 <= int(k) < len(labels) else None) for one in plain]
    if kind == "absolute_time" and column.dtype.kind in "iu":
        return [_each(one, utc) for one in plain]
    if column.dtype.kind == "f":
        return [_each(one, lambda x: x if math.isfinite(x) else None) for one in plain]
    return plain


def _each(value: Any, function: Any) -> Any:
    return [_each(one, function) for one in value] if isinstance(value, list) else function(value)


def text(value: Any, unit: str = "", decimals: int | None = None) -> str:
    """Return a value for people."""
    plain = number(value, decimals) if isinstance(value, float) else "no number" if value is None else str(value)
    return f"{plain} {unit}".strip()


def number(value: float, decimals: int | None = None) -> str:
    """Return a real number for people: with the decimals that the database says, else six digits."""
    return f"{value:.6g}" if decimals is None or abs(value) >= FIXED_MAX else f"{value:.{decimals}f}"


def limit_text(limit: int) -> str:
    """Return a limit state for people and programs: `ok`, `high warning`, `low critical`, `state watch`."""
    severity = limit & LimitFlag.SEVERITY
    if not severity:
        return "ok"
    sides = [name for flag, name in SIDES if limit & flag]
    return " ".join([*sides[:1], SEVERITY.get(severity, "severe")])


def rows(samples: Samples, kind: str | None, links: Mapping[int, str], with_raw: bool) -> list[dict[str, Any]]:
    """Return samples as the API tells them, each with its provenance."""
    shown = values(samples["engineering"], samples.labels, kind)
    raw = values(samples["raw"]) if with_raw else [None] * len(samples)
    several = len(samples) > 0 and int(samples["element"].max()) > 0
    columns = [samples[n].tolist() for n in ("time_ns", "receive_time_ns", "generated", "position", "element")]
    flags = [samples[n].tolist() for n in ("validity", "limit", "link", "data_mode")]
    found = []
    for value, of_raw, time_ns, received_ns, generated, position, element, validity, limit, link, mode in zip(
        shown, raw, *columns, *flags, strict=True
    ):
        row: dict[str, Any] = {
            "time_utc": utc(time_ns), "value": value, "validity": VALIDITY[validity], "limit": limit_text(limit),
            "position": position, "receive_time_utc": utc(received_ns), "link": links.get(link),
            "data_mode": MODES[mode], "generated": generated,
        }  # fmt: skip
        row |= {"raw": of_raw} if with_raw else {}
        row |= {"element": element} if several else {}
        found.append(row)
    again = samples.again
    for row_number, position, link, mode in zip(
        again.row.tolist(), again.position.tolist(), again.link.tolist(), again.data_mode.tolist(), strict=True
    ):
        source = {"position": position, "link": links.get(link), "data_mode": MODES[mode]}
        found[row_number].setdefault("also", []).append(source)
    return found
