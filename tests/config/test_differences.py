"""What a new configuration changes is told exactly: streams in words, links and instances with what a reload does."""

from __future__ import annotations

import copy
import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gateway_config
from gateway_config import Configuration, Grant, Home, Mission, example_mission, example_names, load
from gateway_config.differences import NUMBERED, Effect, contents, difference, of_contents, revision
from gateway_config.models import Model
from gateway_config.streams import BOXES_MAX, gained_and_lost, item_boxes, minus

CRAFT = {"name": "hera", "packets": {"packet_versions": [0]}}
TOLD: dict[str, Any] = {
    "gateway": {},
    "missions": {"m": {"name": "m", "support_modes": ["flight"], "spacecraft": [CRAFT]}},
    "links": {
        "l": {
            "name": "l", "mission": "m", "support_mode": "flight", "spacecraft": "hera", "type": "tcp_client",
            "unit": "packets", "port": 5,
        },
    },
    "homes": {"a": {"name": "a", "grants": [{"mission": "m", "apids": [1, 2]}]}},
}  # fmt: skip


def configured(**changes: Any) -> Configuration:
    """The configuration of these tests with some of it changed; `a__b` is the key b of a, None takes it away."""
    told = copy.deepcopy(TOLD)
    for path, value in changes.items():
        *parents, key = path.split("__")
        at = told
        for parent in parents:
            at = at.setdefault(parent, {})
        if value is None:
            del at[key]
        else:
            at[key] = value
    return of_contents(told, Path("/nowhere"))


BEFORE = configured()
EXAMPLES = [Path(gateway_config.__file__).parent / "examples" / name for name in ("demo", "minimal")]
LINK2 = TOLD["links"]["l"] | {"name": "k", "port": 6}
TABLE = [
    ("nothing", {}, []),
    ("a link comes", {"links__k": LINK2}, [
        "instance m.flight: changed (prime links: +k: sessions that name no links subscribe again)",
        "link k: added (to m.flight)",
    ]),
    ("a link goes", {"links__l": None}, [
        "instance m.flight: changed (prime links: -l: sessions that name no links subscribe again)",
        "link l: removed (from m.flight)",
    ]),
    ("a link has another port", {"links__l__port": 7}, ["link l: restarted (port: 5 -> 7)"]),
    ("only what is expected of it", {"links__l__expected_bps": 7.0}, ["link l: changed (expected_bps: none -> 7)"]),
    ("its spacecraft has other packets", {"missions__m__spacecraft": [CRAFT | {"packets": {"packet_versions": [7]}}]}, [
        "instance m.flight: changed (spacecraft hera: packets.packet_versions: [0] -> [7])",
        "link l: restarted (spacecraft hera: packets.packet_versions: [0] -> [7])",
    ]),
    ("a database", {"missions__m__spacecraft": [CRAFT | {"database": {"file": "x.yaml"}}]}, [
        'instance m.flight: changed (spacecraft hera: database: none -> {"file": "x.yaml"})',
    ]),
    ("contacts", {"missions__m__spacecraft": [CRAFT | {"contacts": [
        {"peer": "p", "aos_utc": "2026-01-01T00:00:00Z", "los_utc": "2026-01-01T00:10:00Z"},
    ]}]}, ["instance m.flight: changed (spacecraft hera: 1 contacts planned, 0 withdrawn)"]),
    ("a support mode comes", {"missions__m__support_modes": ["flight", "test"]}, ["instance m.test: added"]),
    ("a description", {"missions__m__description": "d"}, ['instance m.flight: changed (description: "" -> "d")']),
    ("the port", {"gateway__api__port": 9}, ["gateway api.port: needs a restart (8440 -> 9)"]),
    ("what a restart is not needed for", {"gateway__journal__keep_days": 9.0}, [
        "gateway journal.keep_days: changed (0 -> 9)",
    ]),
    ("a home goes", {"homes__a": None}, ["home a: removed (loses m (flight): tm, all VCs, APIDs 1, 2; all modes)"]),
    ("a quota", {"homes__a__quotas": {"sessions": 3}}, ["home a: changed (quotas.sessions: 64 -> 3)"]),
    ("dates", {"homes__a__valid_until_utc": "2027-01-01T00:00:00Z"}, [
        'home a: changed (valid_until_utc: none -> "2027-01-01T00:00:00Z")',
    ]),
    ("the same rights in other words", {"homes__a__grants": [
        {"mission": "m", "apids": [2]}, {"mission": "m", "apids": [1]},
    ]}, [
        "home a: changed (grants: written otherwise, the streams are the same)",
    ]),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "told"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_each_kind_of_change(changes: dict[str, Any], told: list[str]) -> None:
    """Every kind of change is told with what a reload does; what is not told is untouched."""
    found = difference(BEFORE, configured(**changes))
    assert [str(change) for change in found.changes] == told
    assert bool(told) == (found.before != found.after)
    back = difference(configured(**changes), BEFORE)
    assert {change.name for change in back.changes} == {change.name for change in found.changes}


def test_who_is_refused() -> None:
    """What no reload can do is known before anything is done."""
    found = difference(BEFORE, configured(gateway__data_dir="x", links__l__port=7))
    assert [str(change) for change in found.refused] == ['gateway data_dir: needs a restart ("var" -> "x")']


def test_streams_in_words() -> None:
    """What a home base gains and loses is told as streams, not as keys."""

    def home(*grants: dict[str, Any]) -> Home:
        return Home.model_validate({"name": "a", "grants": [{"mission": "m", **grant} for grant in grants]})

    gained, lost = gained_and_lost(home({"apids": [1, 2]}), home({"apids": [2, 3]}))
    ways = "all modes"
    assert gained == [f"m (flight): tm, all VCs, APID 3; {ways}"]
    assert lost == [f"m (flight): tm, all VCs, APID 1; {ways}"]
    gained, lost = gained_and_lost(home({"apids": [1]}), home({}))
    assert (gained, lost) == ([f"m (flight): tm, all VCs, all APIDs but 1; {ways}"], [])
    gained, lost = gained_and_lost(
        home({"parameters": ["/A*", "/B"]}), home({"replays": True, "kinds": ["tm", "event"]})
    )
    assert lost == ["m (flight): values of /A*, /B"]
    assert gained == [
        f"m (flight, replay runs too): event; {ways}",
        f"m (flight, replay runs): tm, all VCs, all APIDs; {ways}",
    ]


def some(values: list[Any]) -> st.SearchStrategy[Any]:
    """Some of the values, or none given: all."""
    return st.none() | st.lists(st.sampled_from(values), min_size=1, max_size=3, unique=True)


GRANTS = st.builds(
    lambda **keys: Grant.model_validate(keys),
    mission=st.sampled_from(["m", "n"]),
    support_modes=st.lists(st.sampled_from(["flight", "test"]), min_size=1, unique=True),
    replays=st.booleans(),
    spacecraft=some(["s", "t"]),
    kinds=st.lists(st.sampled_from(["tm", "event", "tc"]), min_size=1, unique=True),
    vcids=some([0, 1, 2]),
    apids=some([0, 1, 2, 3]),
    bad_quality=st.booleans(),
    modes=st.lists(st.sampled_from(["complete", "timely", "values"]), min_size=1, unique=True),
)
POINTS = list(
    itertools.product(
        ["m", "n"], ["flight", "test"], ["live", "replay"], ["s", "t", "u"], ["tm", "event", "tc"], [0, 1, 9],
        [0, 3, 9], ["real_time"], ["good", "bad"], ["complete", "timely"],
    )
)  # fmt: skip


def holds(boxes: Any, point: tuple[Any, ...]) -> int:
    """In how many boxes a stream is."""
    return sum(all(value in choice for value, choice in zip(point, box, strict=True)) for box in boxes)


@given(st.lists(GRANTS, max_size=4), st.lists(GRANTS, max_size=4), st.lists(st.sampled_from(POINTS), min_size=20))
def test_what_is_gained_is_what_was_not_there(old: list[Grant], new: list[Grant], points: list[Any]) -> None:
    """A stream is told as gained exactly if the new grants give it and the old ones did not; and once."""
    before, after = item_boxes(old), item_boxes(new)
    gained = minus(after, before)
    for point in points:
        assert holds(gained, point) == int(bool(holds(after, point)) and not holds(before, point))


def test_a_difference_that_nobody_reads_is_not_reckoned() -> None:
    """A hostile pair of files costs little: more than some thousand parts are said to be too many."""
    rows = [
        Grant.model_validate({"mission": "m", "apids": [k], "vcids": [k % 64], "spacecraft": [f"s{k}"]})
        for k in range(256)
    ]
    everything = Grant.model_validate({"mission": "m"})
    gained, lost = gained_and_lost(Home(name="a", grants=rows), Home(name="a", grants=[everything]))
    assert gained == lost
    assert str(BOXES_MAX) in gained[0]


def test_the_revision_names_the_content() -> None:
    """The same content has the same revision, however it is written; any other content another one."""
    written = configured(homes__a__quotas={"sessions": 64}, gateway__journal={"keep_days": 0})
    assert revision(BEFORE) == revision(written)
    seen = {revision(configured(**changes)) for _, changes, _ in TABLE}
    assert len(seen) == len(TABLE)


def test_a_configuration_that_was_told_is_the_same() -> None:
    """What a gateway tells of its configuration is all of it: `gateway diff` finds no difference to it."""
    for one in [BEFORE, *(load(folder) for folder in EXAMPLES)]:
        told = of_contents(json.loads(json.dumps(contents(one))), Path("/nowhere"))
        assert not difference(told, one).changes
        assert revision(told) == revision(one)
    untouched = difference(BEFORE, BEFORE).all
    assert {change.effect for change in untouched} == {Effect.UNTOUCHED}


def test_what_is_by_number_is_known() -> None:
    """Keys that are numbers are texts in JSON: whatever model has some is read back as it was told."""

    def models(kind: type[Model]) -> list[type[Model]]:
        return [one for sub in kind.__subclasses__() for one in (sub, *models(sub))]

    by_number = {
        name
        for model in models(Model)
        for name, about in model.model_fields.items()
        if get_origin(about.annotation) is dict and "int" in repr(get_args(about.annotation)[0])
    }
    assert by_number == NUMBERED


@pytest.mark.parametrize("name", example_names())
def test_every_mission_comes_back_as_it_was_told(name: str) -> None:
    """A mission over the API, whatever it says of frames, channels and packets, is the same mission."""
    mission = example_mission(name)
    one = replace(BEFORE, missions={name: mission}, links={}, homes={})
    told = of_contents(json.loads(json.dumps(contents(one))), Path("/nowhere"))
    assert isinstance(told.missions[name], Mission)
    assert (told.missions[name], revision(told)) == (mission, revision(one))
