"""History as CSV: made by columns, and equal to what a row after the other gives."""

from __future__ import annotations

import csv
import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.values import as_csv, rendered
from gateway.values.sample_csv import HISTORY_COLUMNS
from gateway_codecs.batches import ABSENT
from gateway_codecs.mdb.samples import DTYPES, Again, Samples

LINKS = {1: "station", 2: 'odd, "name"'}
DIGEST = "ab" * 32
LABELS = ("OFF", "=1+1", "a,b", 'say "x"', "-9", "two\nlines")
TEXTS = st.text(max_size=8).map(str.encode)


def row_by_row(samples: Samples, kind: str | None) -> str:
    """The same samples as the API tells them, each written by the standard library."""
    out = io.StringIO()
    writer = csv.writer(out)
    for row in rendered.rows(samples, kind, LINKS, True):
        told: dict[str, Any] = {**row, "parameter": samples.parameter, "unit": samples.unit, "database": DIGEST}
        told["also"] = ";".join(str(one["position"]) for one in row.get("also", ()))
        writer.writerow([_guarded(told.get(name)) for name in HISTORY_COLUMNS])
    return out.getvalue()


def _guarded(value: Any) -> Any:
    formula = isinstance(value, str) and value[:1] in {"=", "+", "@", "-", "\t", "\r"}
    return "" if value is None else f"'{value}" if formula else value


@st.composite
def some_samples(draw: st.DrawFn) -> tuple[Samples, str | None]:
    """Samples of any kind: times of all eras, absent ones, leap seconds; labels and texts that need quotes."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n = draw(st.integers(0, 40))
    times = rng.integers(-(2**62), 2**62, n) if draw(st.booleans()) else rng.integers(1_861_920_030, 1_861_920_040, n)
    times = times * (1 if abs(int(times.max(initial=0))) > 2**40 else 10**9) + rng.integers(0, 10**9, n)
    received = np.where(rng.random(n) < 0.2, ABSENT, times)
    engineering, kind = _values(draw, rng, n)
    columns = {name: np.zeros(n, dtype) for name, dtype in DTYPES.items()} | {
        "time_ns": times, "receive_time_ns": received, "position": np.sort(rng.integers(0, 2**62, n)),
        "element": rng.integers(0, draw(st.sampled_from([1, 3])), n).astype(np.int32),
        "generated": rng.random(n) < 0.5, "data_mode": rng.choice([*rendered.MODES], n).astype(np.uint8),
        "link": rng.integers(0, 4, n).astype(np.uint16), "validity": rng.integers(0, 7, n).astype(np.uint8),
        "limit": rng.integers(0, 128, n).astype(np.uint8), "engineering": engineering,
        "raw": rng.integers(-5, 2**60, n) if draw(st.booleans()) else rng.normal(0, 1e300, n),
    }  # fmt: skip
    rows = np.sort(rng.integers(0, n, draw(st.integers(0, 6)))) if n else np.zeros(0, np.int64)
    zeros = np.zeros(len(rows), np.uint16), np.ones(len(rows), np.uint8)
    unit = draw(st.sampled_from(["", "V", "=x", 'in"']))
    labels = LABELS if kind == "enumerated" else ("no", "yes") if kind == "boolean" else ()
    return Samples("/S/P", columns, unit, labels, Again(rows, rng.integers(0, 2**62, len(rows)), *zeros)), kind


def _values(draw: st.DrawFn, rng: np.random.Generator, n: int) -> tuple[Any, str | None]:
    kind = draw(st.sampled_from(["float", "integer", "enumerated", "boolean", "string", "binary", "absolute_time", ""]))
    match kind:
        case "float":
            odd = np.array([np.nan, np.inf, -np.inf, -0.0, 1e-7, 1e16])
            return np.where(rng.random(n) < 0.3, rng.choice(odd, n), rng.normal(0, 1e3, n)), kind
        case "enumerated":
            return rng.integers(-1, len(LABELS) + 1, n).astype(np.int32), kind
        case "boolean":
            return rng.random(n) < 0.5, kind
        case "string":
            return np.array(draw(st.lists(TEXTS, min_size=n, max_size=n)), "S8"), kind
        case "binary":
            return np.frombuffer(rng.bytes(3 * n), "V3"), kind
        case "absolute_time":
            return np.where(rng.random(n) < 0.2, ABSENT, rng.integers(-(2**62), 2**62, n)), kind
        case _:
            return rng.integers(0, 2**64, n, np.uint64), kind or None


@settings(max_examples=150)
@given(some_samples(), st.sampled_from([1, 7, 4096]))
def test_columns_give_the_text_that_rows_give(drawn: tuple[Samples, str | None], piece: int) -> None:
    """Whatever the samples are and however the text is cut in pieces, it is the same to the octet."""
    samples, kind = drawn
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(as_csv, "PIECE_ROWS", piece)
        assert "".join(as_csv.pieces(samples, kind, LINKS, DIGEST)) == row_by_row(samples, kind)
