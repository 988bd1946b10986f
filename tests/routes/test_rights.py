"""The one decision: deny by default, and a session's filter never gives more than is granted."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from gateway_codecs.batches import ITEM_DTYPE, Kind
from gateway_routes.rights import (
    LOCAL_OPERATOR,
    NOBODY,
    Action,
    Actor,
    ActorKind,
    Grant,
    HomeRights,
    Where,
    decide,
)
from gateway_routes.selection import Selection, within

FLIGHT = Where("hera.flight", "hera", "flight")
SIMULATION = Where("hera.simulation", "hera", "simulation")
REPLAY = Where("hera.flight-run1", "hera", "flight", replay=True)
ME, OTHER = Actor(ActorKind.HOME, "a"), Actor(ActorKind.HOME, "b")
RIGHTS = {
    "a": HomeRights((Grant("hera", parameters=("/HERA/HK/*", "/X[0]")),)),
    "b": HomeRights((Grant("hera", frozenset({"simulation"}), modes=frozenset({"timely"})),)),
    "none": HomeRights(),
    "dated": HomeRights((Grant("hera"),), valid_from_ns=100, valid_until_ns=200),
}


@pytest.mark.parametrize(
    ("actor", "action", "asked", "code"),
    [
        (NOBODY, Action.KNOW, {}, ""),
        *[(NOBODY, action, {}, "no token") for action in Action if action != Action.KNOW],
        *[(LOCAL_OPERATOR, action, {}, "") for action in Action],
        *[(Actor(ActorKind.OBSERVER), a, {}, "") for a in (Action.KNOW, Action.OBSERVE)],
        *[(Actor(ActorKind.OBSERVER), a, {}, "not allowed") for a in Action if a not in {Action.KNOW, Action.OBSERVE}],
        *[(ME, a, {}, "not allowed") for a in (Action.OBSERVE, Action.OPERATE, Action.ADMINISTER, Action.READ)],
        (ME, Action.OWN, {"home": "a"}, ""),
        (ME, Action.OWN, {"home": "b"}, "not yours"),
        (ME, Action.RECEIVE, {"home": "b", "where": SIMULATION, "selector": "timely"}, "not yours"),
        (ME, Action.RECEIVE, {"home": "a", "where": FLIGHT, "selector": "complete"}, ""),
        (ME, Action.RECEIVE, {"home": "a", "where": SIMULATION, "selector": "complete"}, "not granted"),
        (ME, Action.RECEIVE, {"home": "a", "where": REPLAY, "selector": "complete"}, "not granted"),
        (OTHER, Action.RECEIVE, {"home": "b", "where": SIMULATION, "selector": "complete"}, "not granted"),
        (OTHER, Action.RECEIVE, {"home": "b", "where": SIMULATION, "selector": "timely"}, ""),
        (LOCAL_OPERATOR, Action.RECEIVE, {"home": "none", "where": FLIGHT, "selector": "complete"}, "not granted"),
        (LOCAL_OPERATOR, Action.RECEIVE, {"home": "c", "where": FLIGHT, "selector": "complete"}, "unknown home"),
        (ME, Action.VALUE, {"where": FLIGHT, "selector": "/HERA/HK/TEMP"}, ""),
        (ME, Action.VALUE, {"where": FLIGHT, "selector": "/X[0]"}, ""),
        (ME, Action.VALUE, {"where": FLIGHT, "selector": "/X0"}, "not granted"),
        (ME, Action.VALUE, {"where": FLIGHT, "selector": "/HERA/SCIENCE/TEMP"}, "not granted"),
        (OTHER, Action.VALUE, {"where": SIMULATION}, "not granted"),
        (LOCAL_OPERATOR, Action.OWN, {"home": "dated", "now_ns": 99}, "not valid"),
        (LOCAL_OPERATOR, Action.OWN, {"home": "dated", "now_ns": 100}, ""),
        (LOCAL_OPERATOR, Action.OWN, {"home": "dated", "now_ns": 200}, "not valid"),
        (Actor(ActorKind.HOME, "a", frozenset({"x.flight"})), Action.RECEIVE,
         {"home": "a", "where": FLIGHT, "selector": "complete"}, "not allowed"),
    ],
)  # fmt: skip
def test_who_may_what(actor: Actor, action: Action, asked: dict[str, Any], code: str) -> None:
    """Each kind of actor may what is stated, and nothing else; a refusal says why."""
    found = decide(RIGHTS, actor, action, **asked)
    assert (found.allowed, found.code) == (not code, code), found
    assert found.allowed or found.why


ids = st.none() | st.frozensets(st.integers(0, 3), max_size=3)
kinds = st.none() | st.frozensets(st.sampled_from([Kind.TM, Kind.EVENT, Kind.TC]), min_size=1)
selections = st.builds(
    Selection,
    kinds=kinds,
    units=ids,
    spacecraft=ids,
    links=ids,
    vcids=ids,
    apids=ids,
    data_modes=ids,
    idle=st.booleans(),
    bad_quality=st.booleans(),
)


@st.composite
def items(draw: st.DrawFn) -> Any:
    """Draw items whose every column is small, so that selections meet them."""
    rows = np.zeros(draw(st.integers(1, 30)), ITEM_DTYPE)
    for name in ("kind", "unit", "spacecraft", "link", "vcid", "apid", "data_mode", "quality"):
        rows[name] = draw(st.lists(st.integers(0, 3), min_size=len(rows), max_size=len(rows)))
    rows["kind"] = draw(st.lists(st.sampled_from([1, 1, 2, 5]), min_size=len(rows), max_size=len(rows)))
    rows["flags"] = draw(st.lists(st.sampled_from([0, 0, 128]), min_size=len(rows), max_size=len(rows)))
    return rows


@given(selections, st.lists(selections, max_size=3), items())
def test_a_filter_is_the_wish_within_the_grants(wish: Selection, grants: list[Selection], rows: Any) -> None:
    """No item comes that is not both asked for and granted, and none of those is kept back."""
    found = within(wish, grants)
    given_ = np.zeros(len(rows), np.bool_)
    for grant in grants:
        given_ |= grant.mask(rows)
    expected = wish.mask(rows) & given_
    assert found.mask(rows).tolist() == expected.tolist()
    for row in rows[expected]:  # a group that holds a wanted item is read
        group = (int(row[name]) for name in ("kind", "unit", "spacecraft", "vcid", "apid"))
        assert found.wants_group(*group)
