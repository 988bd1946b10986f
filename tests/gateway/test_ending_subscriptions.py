"""Ending a subscription: by the operator any, by a home base its own; what is forgotten with it, and what is not."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway.accounting.ranges import LATE_NS
from gateway.console.app import app
from gateway.console.remote import Remote
from gateway.errors import Conflict
from gateway.homes.registry import Subscription
from gateway.playback.book import ASKS_PER_MINUTE
from gateway_routes.delivery import Cursor
from tests.gateway.reported_world import World
from tests.gateway.simulated import on_virtual_time
from tests.gateway.test_guard import INSTANCE, Site, site
from tests.gateway.test_sessions import Peer

__all__ = ["site"]  # a fixture
HERE = f"/api/v1/instances/{INSTANCE}/subscriptions"


async def kept(site: Site, home: str, name: str) -> None:
    """A subscription is there, and nobody is served by it."""
    await site.service.instance(INSTANCE).registry.put(Subscription(home, name, 1, {}, Cursor(1)))


async def test_who_may_end_a_subscription(site: Site) -> None:
    """Issue: an operator may end any subscription, also of a home base that the configuration has no more; a home base
    its own alone; nobody else any. Who did it is journalled."""
    a, observer = await site.token("a"), await site.token("o", "observer")
    scoped = await site.token("a", instances=[])
    for home, name in (("a", "x"), ("a", "y"), ("b", "x"), ("gone", "x")):
        await kept(site, home, name)
    for token, path, status, why in (
        (observer["token"], "a/x", 403, "an observer may not ask about a home base as its own"),
        (a["token"], "b/x", 403, "this token is of home base 'a', not of 'b'"),
        (scoped["token"], "a/x", 403, "this token is not for"),
        (a["token"], "a/z", 404, "home base 'a' has no subscription 'z'"),
        (site.operator, "gone/z", 404, "home base 'gone' has no subscription 'z'"),
    ):
        answer = await site.ask("DELETE", f"{HERE}/{path}", token)
        assert (answer.status_code, why in answer.json()["error"]) == (status, True), answer.text
    assert (await site.ask("DELETE", f"{HERE}/a/z", a["token"])).json()["hint"] == "its subscriptions are: x, y"
    mine = await site.ask("DELETE", f"{HERE}/a/x", a["token"])
    assert (mine.status_code, mine.json()["by"], mine.json()["low_water"]) == (200, "home a", 1)
    for path in ("a/y", "b/x", "gone/x"):
        assert (await site.ask("DELETE", f"{HERE}/{path}", site.operator)).status_code == 200
    assert (await site.ask("GET", HERE, site.operator)).json() == []
    told = (await site.ask("GET", f"/api/v1/instances/{INSTANCE}/events?limit=1000", site.operator)).json()["events"]
    ended = [(one["by"], one["home"], one["subscription"]) for one in told if one["type"] == "subscription ended"]
    assert ended == [("home a", "a", "x"), *[("operator local", *path.split("/")) for path in ("a/y", "b/x", "gone/x")]]


async def test_a_home_base_ends_no_more_than_so_many_a_minute(site: Site) -> None:
    """R13: each end is an event in everybody's journal; a home base that does nothing else is told to wait."""
    a = await site.token("a")
    registry = site.service.instance(INSTANCE).registry
    for _ in range(ASKS_PER_MINUTE):
        await kept(site, "a", "x")
        await site.service.instance(INSTANCE).end_subscription("a", "x", site.service.access.identify(a["token"]))
    await kept(site, "a", "x")
    answer = await site.ask("DELETE", f"{HERE}/a/x", a["token"])
    assert (answer.status_code, "within a minute" in answer.text) == (409, True)
    assert ("a", "x") in registry.subscriptions
    assert (await site.ask("DELETE", f"{HERE}/a/x", site.operator)).status_code == 200


@on_virtual_time
async def test_the_refusal_names_the_way_out() -> None:
    """R13: who has as many subscriptions as it may is told which, and how to come to have fewer; after that it may."""
    world = await World.open()
    registry = world.registry
    most = registry.policy.rights["a"].subscriptions
    for k in range(most):
        await registry.put(Subscription("a", f"s{k:03}", 1, {}, Cursor(0)))
    peer = Peer(registry)
    told = await peer.hello(subscription="more")
    assert told["code"] == "too many"
    for words in (f"as many subscriptions as it may, {most}: s000, s001, ", f"and {most - 8} more",
                  f"`gateway homes unsubscribe a NAME --instance {registry.where.instance}`",
                  "quotas.subscriptions of homes/a.yaml"):  # fmt: skip
        assert words in told["message"]
    assert len(told["message"]) < 1000
    await registry.remove("a", "s000")
    assert (await Peer(registry).hello(subscription="more"))["type"] == "welcome"


@on_virtual_time
async def test_one_that_is_served_is_not_ended() -> None:
    """R4: nobody's place is forgotten while he receives; when he has left it is."""
    world = await World.open()
    await world.commit(3)
    peer = Peer(world.registry)
    await peer.hello()
    await peer.take(1)
    with pytest.raises(Conflict, match="a session serves a/all"):
        await world.registry.remove("a", "all")
    await peer.leave()
    await world.registry.remove("a", "all")
    assert world.registry.subscriptions == {}
    await world.journal.close()
    assert (await World.open(world)).registry.subscriptions == {}


@on_virtual_time
async def test_what_a_disk_refuses_to_forget_is_there_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """R12: an end that could not be written did not happen, now and after a restart; it can be tried again."""
    world = await World.open()
    await world.commit(3)
    await world.registry.put(Subscription("a", "all", 1, {}, Cursor(2)))

    def refuse(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(world.store, "put_cursors", refuse)
        with pytest.raises(OSError, match="No space"):
            await world.registry.remove("a", "all")
    await world.registry.put(Subscription("b", "all", 1, {}, Cursor(1)))
    assert world.registry.subscriptions["a", "all"].cursor == Cursor(2)
    await world.journal.close()
    again = await World.open(world)
    assert again.registry.subscriptions["a", "all"].cursor == Cursor(2)
    await again.registry.remove("a", "all")
    assert list(again.registry.subscriptions) == [("b", "all")]


@on_virtual_time
async def test_a_name_that_comes_again_has_confirmed_nothing() -> None:
    """Issue: what was confirmed of a subscription that was ended is not said of one that is begun by its name later,
    nor is what differed an alarm of it."""
    world = await World.open()
    begun = world.clock.now_ns
    await world.commit(5)
    world.contact(1, begun, world.clock.now_ns)
    world.clock.now_ns += 3 * LATE_NS
    await world.commit(1)
    peer = Peer(world.registry)
    await peer.hello(confirm=True)
    await peer.take(6)
    await asyncio.sleep(1)
    await world.accounts._look()
    asked = await peer.hear_told("confirm")
    wrong = {
        "type": "digest",
        "first": asked["first"],
        "end": asked["end"],
        "items": 5,
        "sha256": hashlib.sha256().hexdigest(),
    }
    peer.say(wrong)
    await peer.hear_told("differs")
    await peer.leave()
    assert len(world.accounts.conditions()) == 1
    await world.accounts.confirmations.forget(("a", "all"))
    await world.registry.remove("a", "all")
    await world.registry.put(Subscription("a", "all", 1, {}, Cursor(0)))
    assert world.accounts.conditions() == []
    assert world.accounts.homes()[0]["digests_differing"] == 0
    await world.journal.close()
    again = await World.open(world)
    assert again.accounts.conditions() == []


# ---- on the command line ----


def invoked(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[Any, list[tuple[str, str, Any]]]:
    """Run a command; return its result, and what it asked of which gateway with which token's file."""
    asked: list[tuple[str, str, Any]] = []

    def delete(self: Remote, path: str) -> Any:
        asked.append((self.url, path, self._token_file))
        return {"message": "operator local ended subscription a/all: 47 positions were not acknowledged"}

    monkeypatch.setattr(Remote, "delete", delete)
    monkeypatch.setattr(Remote, "instances", lambda self: [{"instance": "m.flight"}])
    return CliRunner().invoke(app, list(arguments)), asked


def test_the_operator_ends_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """`gateway homes unsubscribe` says what was not acknowledged; names are no paths."""
    done, asked = invoked(monkeypatch, "homes", "unsubscribe", "a", "../b")
    assert (done.exit_code, "47 positions were not acknowledged" in done.output) == (0, True), done.output
    assert asked == [("http://127.0.0.1:8440", "/instances/m.flight/subscriptions/a/..%2Fb", None)]
    done, _ = invoked(monkeypatch, "homes", "unsubscribe", "a", "all", "--json")
    assert "ended" in json.loads(done.output)["message"]
    assert invoked(monkeypatch, "homes", "unsubscribe", "a")[0].exit_code == 2


def test_a_home_base_ends_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`gateway home unsubscribe` goes by the agent's configuration, says when that still names it, and who can over
    MQTT."""
    config = tmp_path / "home.yaml"
    about = "url: {}\ninstance: m.flight\nhome: a\ntoken_file: a.token\nsubscriptions: {{all: {{}}}}\n"
    config.write_text(about.format("http://127.0.0.1:9"))
    done, asked = invoked(monkeypatch, "home", "unsubscribe", "old", "-c", str(config))
    assert (done.exit_code, "still names" in done.output) == (0, False), done.output
    assert asked == [("http://127.0.0.1:9", "/instances/m.flight/subscriptions/a/old", tmp_path / "a.token")]
    done, _ = invoked(monkeypatch, "home", "unsubscribe", "all", "-c", str(config))
    assert "still names all: the agent begins it anew" in done.output
    config.write_text(about.format("mqtt://a@127.0.0.1:9"))
    done, asked = invoked(monkeypatch, "home", "unsubscribe", "old", "-c", str(config))
    assert (done.exit_code, asked) == (2, [])
    assert "gateway homes unsubscribe a old --instance m.flight" in " ".join(done.output.split())
