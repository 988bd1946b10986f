"""Limits: of one sample, of samples in a row, and live; against the plain meaning of each."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_codecs.mdb.columns import LimitFlag, Validity
from gateway_codecs.mdb.decoder import Decoder
from gateway_codecs.mdb.limits import LimitMonitor, check_ranges, persistent, range_rows
from gateway_codecs.mdb.model import (
    Alarms,
    Calibration,
    Comparison,
    ContextLimits,
    DeltaLimit,
    FloatEncoding,
    IntegerEncoding,
    IntegerKind,
    Interval,
    LabelLimit,
    Limits,
    ParameterEntry,
    ParameterType,
    Polynomial,
    RangeLimit,
    Severity,
    State,
    States,
)
from tests.mdb.test_decoder import batch, database

bounds = st.none() | st.integers(-5, 5) | st.sampled_from([-2.5, 0.5, 3.25])
intervals = st.builds(Interval, bounds, bounds, st.booleans(), st.booleans())
ranges = st.lists(st.builds(RangeLimit, st.sampled_from(Severity), intervals, st.booleans()), max_size=4)


def within(value: float, interval: Interval) -> bool:
    """Whether a number lies in an interval, as it is written."""
    low = interval.low is None or (value >= interval.low if interval.low_included else value > interval.low)
    high = interval.high is None or (value <= interval.high if interval.high_included else value < interval.high)
    return low and high


@given(ranges, st.lists(st.integers(-7, 7) | st.sampled_from([-2.5, 0.5, 0.75, math.nan]), min_size=1, max_size=8))
def test_the_most_severe_range_wins(listed: list[RangeLimit], values: list[float]) -> None:
    """A sample has the highest severity of all ranges that it violates; what is no number violates none."""
    states = check_ranges(np.array(values, np.float64), range_rows(Limits(tuple(listed))))
    for value, state in zip(values, states.tolist(), strict=True):
        violated = [one.severity for one in listed if within(value, one.interval) == one.inside]
        expected = 0 if math.isnan(value) else max(violated, default=0)
        assert state & LimitFlag.SEVERITY == expected


@given(ranges, ranges, st.lists(st.binary(min_size=2, max_size=2), min_size=1, max_size=5), st.booleans())
def test_columns_are_checked_as_single_samples(
    one: list[RangeLimit], other: list[RangeLimit], packets: list[bytes], real: bool
) -> None:
    """Limits of many parameters checked together, and those with a context by themselves, are those of each alone."""
    plain, special = Limits(tuple(one)), Limits(tuple(other))
    encoding = IntegerEncoding(4, IntegerKind.TWOS_COMPLEMENT)
    calibration = Calibration(Polynomial((0.5, 0.5)) if real else None)
    context = ContextLimits(Comparison("/X/A", 2, calibrated=False), special)
    alarms = {"/X/A": Alarms(plain), "/X/B": Alarms(plain, (context,)), "/X/C": Alarms(special), "/X/D": Alarms()}
    types = {
        name: ParameterType(name, "float" if real else "integer", encoding, calibration, given_alarms)
        for name, given_alarms in alarms.items()
    }
    mission = database(types, [ParameterEntry(name) for name in types])
    (found,) = Decoder(mission).decode(*batch(packets))
    for name in types:
        column = found.columns[name]
        for k in range(len(packets)):
            chosen = {"/X/A": plain, "/X/C": special, "/X/D": None}.get(name, plain)
            if name == "/X/B" and found.columns["/X/A"].raw[k] == 2:
                chosen = special
            alone = check_ranges(column.engineering[k : k + 1], range_rows(chosen))
            assert column.limit[k] == alone[0]


def test_labels_and_texts_have_limits() -> None:
    """A state in the list has its severity, another one that of `otherwise`; raw limits look at the raw value."""
    states = Calibration(States((State(0, 0, "OFF"), State(1, 1, "ON"), State(2, 2, "SAFE"))))
    limits = Limits(labels=(LabelLimit(Severity.NONE, "ON"), LabelLimit(Severity.SEVERE, "SAFE")),
                    otherwise=Severity.WATCH)  # fmt: skip
    raw = Limits((RangeLimit(Severity.WARNING, Interval(0, 1)),), of_raw=True)
    types = {
        "/X/MODE": ParameterType("/X/MODE", "enumerated", IntegerEncoding(8), states, Alarms(limits)),
        "/X/RAW": ParameterType(
            "/X/RAW", "float", IntegerEncoding(8), Calibration(Polynomial((100.0, 1.0))), Alarms(raw)
        ),
    }
    mission = database(types, [ParameterEntry("/X/MODE"), ParameterEntry("/X/RAW")])
    (found,) = Decoder(mission).decode(*batch([b"\x00\x00", b"\x01\x01", b"\x02\x02", b"\x03\x03"]))
    label, high = LimitFlag.LABEL, LimitFlag.HIGH
    assert found.columns["/X/MODE"].limit.tolist() == [1 | label, 0, 5 | label, 0]
    assert found.columns["/X/MODE"].validity.tolist() == [0, 0, 0, Validity.UNCALIBRATED]
    assert found.columns["/X/RAW"].limit.tolist() == [0, 0, 2 | high, 2 | high]


def test_wide_integers_are_compared_exactly() -> None:
    """Integers that float64 does not hold are checked as they are."""
    limits = Limits((RangeLimit(Severity.WARNING, Interval(None, 2**60)),))
    types = {"/X/A": ParameterType("/X/A", "integer", IntegerEncoding(64), alarms=Alarms(limits),
                                   valid_range=Interval(0, 2**63))}  # fmt: skip
    mission = database(types, [ParameterEntry("/X/A")])
    values = [2**60 - 1, 2**60, 2**63, 2**63 + 1]
    (found,) = Decoder(mission).decode(*batch([value.to_bytes(8, "big") for value in values]))
    assert found.columns["/X/A"].raw.tolist() == values
    assert found.columns["/X/A"].validity.tolist() == [0, 0, 0, Validity.OUT_OF_RANGE]
    assert (found.columns["/X/A"].limit & LimitFlag.SEVERITY).tolist() == [0, 0, 2, 0]


def said_plainly(states: list[int], persistence: int, checked: list[bool]) -> list[int]:
    """One sample after the other."""
    row, current, said = 0, 0, []
    for state, is_checked in zip(states, checked, strict=True):
        if is_checked:
            row = row + 1 if state else 0
            current = state if row >= persistence else 0
        said.append(current)
    return said


samples = st.lists(st.tuples(st.sampled_from([0, 0, 2, 4]), st.booleans()), max_size=12)


@given(samples, st.integers(1, 4))
def test_persistence_counts_in_a_row(listed: list[tuple[int, bool]], persistence: int) -> None:
    """A violation is said from the n-th checked sample in a row; those not checked neither count nor end it."""
    states, checked = [state for state, _ in listed], [one for _, one in listed]
    found = persistent(np.array(states, np.uint8), persistence, np.array(checked, np.bool_))
    assert found.tolist() == said_plainly(states, persistence, checked)


@given(samples, st.integers(1, 4), st.lists(st.integers(0, 12), max_size=3))
def test_the_monitor_sees_no_batches(listed: list[tuple[int, bool]], persistence: int, cuts: list[int]) -> None:
    """However samples are batched, the monitor says the same, and its transitions are where the state changed."""
    limits = Limits(persistence=persistence)
    states = np.array([state for state, _ in listed], np.uint8)
    valid = np.array([one for _, one in listed], np.bool_)
    monitor, said, changes = LimitMonitor(), [], []
    edges = sorted({0, *(min(cut, len(listed)) for cut in cuts), len(listed)})
    for a, b in itertools.pairwise(edges):
        part, transitions = monitor.feed("/X/A", np.zeros(b - a), states[a:b], valid[a:b], limits)
        said += part.tolist()
        changes += [(a + one.row, one.before, one.after) for one in transitions]
    expected = said_plainly(states.tolist(), persistence, valid.tolist())
    assert said == expected
    before = [0, *expected[:-1]]
    assert changes == [(k, before[k], expected[k]) for k in range(len(expected)) if before[k] != expected[k]]


@pytest.mark.parametrize("at_once", [True, False])
def test_changes_too_large_are_seen(at_once: bool) -> None:
    """A delta limit compares with the valid sample before, across batches; the first sample has nothing before it."""
    limits = Limits(deltas=(DeltaLimit(Severity.WARNING, rise=5, fall=2), DeltaLimit(Severity.CRITICAL, rise=50)))
    values = np.array([100.0, 105.0, 999.0, 111.0, 109.0, 106.0, 200.0])
    valid = np.array([True, True, False, True, True, True, True])
    monitor, said = LimitMonitor(), []
    for part in [slice(0, 7)] if at_once else [slice(k, k + 1) for k in range(7)]:
        states, _ = monitor.feed("/X/A", values[part], np.zeros(len(values[part]), np.uint8), valid[part], limits)
        said += states.tolist()
    delta = LimitFlag.DELTA
    assert said == [0, 0, 0, 2 | delta, 0, 2 | delta, 4 | delta]
    assert monitor.states() == {"/X/A": 4 | delta}


def test_what_is_not_valid_is_not_checked() -> None:
    """NaN, values out of range (NaN is in none) and truncated ones have no limit state."""
    limits = Alarms(Limits((RangeLimit(Severity.CRITICAL, Interval(0, 1)),)))
    kind = ParameterType("/X/A", "float", FloatEncoding(32), alarms=limits, valid_range=Interval(-10, 10))
    values: list[Any] = [np.float32(v).tobytes()[::-1] for v in (0.5, 5, 50, math.nan)]
    found = Decoder(database({"/X/A": kind}, [ParameterEntry("/X/A")])).decode(*batch([*values, b"\x00"]))
    whole, short = found
    assert whole.columns["/X/A"].limit.tolist() == [0, 4 | LimitFlag.HIGH, 0, 0]
    assert whole.columns["/X/A"].validity.tolist() == [0, 0, Validity.OUT_OF_RANGE, Validity.OUT_OF_RANGE]
    assert short.columns["/X/A"].limit.tolist() == [0]
