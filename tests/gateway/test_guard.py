"""Access: every route asks who it is, refuses with the right status, and says why; tokens end when they are ended."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from gateway import daemon
from gateway.api.app import build_app
from gateway.api.guard import ACTIONS, route_key
from gateway.service import Gateway
from gateway_config import load
from gateway_routes.rights import Action
from tests.home_files import everything

MISSION = "name: m\nspacecraft: [{name: s, packets: {packet_versions: [0]}}]\n"
INSTANCE = "m.simulation"
VALUES = {"instance": INSTANCE, "link": "l", "action": "reset", "contact": "c", "home": "a", "subscription": "x",
          "run": "r", "token": "t", "spacecraft": "s", "playback": "p"}  # fmt: skip


class Site:
    """A running gateway, and tokens of everybody."""

    def __init__(self, service: Gateway, port: int) -> None:
        self.service, self.port, self.url = service, port, f"http://127.0.0.1:{port}"
        self.operator = service.access.local_token()
        self.client = httpx.AsyncClient(base_url=self.url, verify=False, trust_env=False, timeout=60)

    async def token(self, name: str, kind: str = "home", **more: Any) -> dict[str, Any]:
        return await self.service.make_token(
            {"kind": kind, "name": name, "expires_utc": None, "instances": None, **more}
        )

    async def ask(self, method: str, path: str, token: str | None = None, **more: Any) -> httpx.Response:
        headers = {**more.pop("headers", {}), **({} if token is None else {"Authorization": f"Bearer {token}"})}
        return await self.client.request(method, path, headers=headers, **more)

    async def hello(self, token: str | None, **hello: Any) -> dict[str, Any]:
        """Open a session and return the answer; raises InvalidStatus when the handshake is refused."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        address = f"ws://127.0.0.1:{self.port}/api/v1/instances/{INSTANCE}/subscribe"
        async with connect(address, additional_headers=headers, proxy=None) as socket:
            await socket.send(json.dumps({"type": "subscribe", "subscription": "s", **hello}))
            return dict(json.loads(await socket.recv()))


@pytest_asyncio.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """Return a running gateway with two home bases, that asks for tokens, as is the default."""
    for name, text in {"missions/m": MISSION, "homes/a": everything("a", "m"), "homes/b": "name: b\n"}.items():
        (tmp_path / f"{name}.yaml").parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.yaml").write_text(text)
    service = Gateway(load(tmp_path))
    await service.start()
    async with daemon.serving(service, daemon.bind("127.0.0.1", 0)) as port:
        made = Site(service, port)
        yield made
        await made.client.aclose()
        await service.drain()
    await service.stop()


def routes() -> list[tuple[str, str]]:
    """Return the method and path of every route, from the application itself."""

    class Anything:
        def __getattr__(self, name: str) -> Any:
            return [] if name == "names" else Anything()

    document = build_app(Anything()).openapi()  # type: ignore[arg-type]
    return [(method.upper(), path) for path, operations in document["paths"].items() for method in operations]


ROUTES = routes()
CLOSED = [route for route in ROUTES if ACTIONS.get(route_key(*route)) is not Action.KNOW]


def test_every_route_is_in_the_table() -> None:
    """Deny by default: a route that nobody thought of is the operator's alone, and this test tells which it is."""
    assert [route for route in ROUTES if route_key(*route) not in ACTIONS] == []
    assert len(CLOSED) > 30


async def test_every_route_refuses_who_may_not(site: Site) -> None:
    """No token is 401 on every route there is, and so are unknown, expired and revoked ones (one kind on each route, in
    turn); a home base's is 403 where it has no business: with why and the way out. The operator is let in."""
    home, observer = await site.token("a"), await site.token("o", "observer")
    revoked, expired = await site.token("a"), await site.token("a", expires_utc="2126-01-01T00:00:00Z")
    await site.service.revoke_token(revoked["id"])
    book = site.service.access._book
    book._tokens[expired["id"]] = replace(book._tokens[expired["id"]], expires_ns=1)
    told = {
        None: "answers who shows a token", "gwt_0.x": "not known", "x" * 5000: "not known",
        home["token"][:-1]: "not known",
        revoked["token"]: "was revoked", expired["token"]: "has expired",
    }  # fmt: skip
    for method, path in CLOSED:
        address, action = path.format(**VALUES), ACTIONS[route_key(method, path)]
        others = list(told.items())[1:]
        for token, why in ((None, told[None]), others[CLOSED.index((method, path)) % len(others)]):
            answer = await site.ask(method, address, token)
            assert (answer.status_code, why in answer.json()["error"]) == (401, True), (method, path, token)
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        answer = await site.ask(method, address, home["token"])
        assert (answer.status_code == 403) == (action is not Action.OWN), (method, path, answer.text)
        answer = await site.ask(method, address, observer["token"])
        assert (answer.status_code == 403) == (action is not Action.OBSERVE), (method, path, answer.text)
        answer = await site.ask(method, f"{address}?token={home['token']}", site.operator)
        assert (answer.status_code, "logs" in answer.text) == (400, True), (method, path)
    assert site.service.access.refused["no token"] == len(CLOSED)
    for path in ("/api/v1/status", "/api/v1/links", "/metrics", "/api/v1/homes", "/api/v1/tokens"):
        assert (await site.ask("GET", path, site.operator)).status_code == 200


@pytest.mark.parametrize("path", ["/health/live", "/docs", "/api/v1/openapi.json"])
async def test_what_anybody_may_know(site: Site, path: str) -> None:
    """That the gateway lives, and how it is spoken to, is told to who shows no token."""
    assert (await site.ask("GET", path)).status_code == 200


async def test_a_refusal_says_what_was_not_allowed(site: Site) -> None:
    """Errors: who may not is told what, in words that are not those of the code, and who may."""
    home, observer = await site.token("a"), await site.token("o", "observer")
    for path, token, words in (
        ("/api/v1/status", home, "a home base may not look at the state of the gateway"),
        ("/api/v1/tokens", home, "a home base may not make or end tokens, or change the configuration"),
        (f"/api/v1/instances/{INSTANCE}/playbacks", observer, "an observer may not ask about a home base as its own"),
        (
            f"/api/v1/instances/{INSTANCE}/parameters/latest",
            observer,
            "an observer may not read data of every home base",
        ),
    ):
        answer = await site.ask("GET", path, token["token"])
        assert (answer.status_code, words in answer.json()["error"]) == (403, True), answer.text
    refused = await site.ask("POST", "/api/v1/clock/accept", observer["token"])
    assert "an observer may not change links, contacts, replays, subscriptions or the clock" in refused.text
    nobody = await site.ask("GET", f"/api/v1/instances/{INSTANCE}/playbacks/playback-9", site.operator)
    assert (nobody.status_code, "playback list" in nobody.json()["hint"]) == (404, True)


async def test_a_session_is_its_own_home_base_s(site: Site) -> None:
    """Over the WebSocket: no token 401 in the handshake, another home base's stream and a mode that is not granted are
    errors with a code, and a page of elsewhere is not let in, whatever token it shows."""
    a, b = await site.token("a"), await site.token("b")
    for token in (None, "gwt_1.2"):
        with pytest.raises(InvalidStatus) as refused:
            await site.hello(token, home="a")
        assert refused.value.response.status_code == 401
    assert (await site.hello(a["token"], home="a"))["type"] == "welcome"
    assert (await site.hello(a["token"], home="b"))["code"] == "not yours"
    assert (await site.hello(b["token"], home="b"))["code"] == "not granted"
    observer = await site.token("o", "observer")
    with pytest.raises(InvalidStatus) as refused:
        await site.hello(observer["token"], home="a")
    assert refused.value.response.status_code == 403
    scoped = await site.token("a", instances=[])
    assert (await site.hello(scoped["token"], home="a"))["code"] == "not allowed"
    address = f"ws://127.0.0.1:{site.port}/api/v1/instances/{INSTANCE}/subscribe"
    bearer = {"Authorization": f"Bearer {a['token']}"}
    assert await handshake(site, address, bearer) == 101
    assert await handshake(site, address, {**bearer, "Origin": "http://elsewhere.example"}) == 403
    assert await handshake(site, address.replace("127.0.0.1", "elsewhere.example"), bearer) == 421
    assert await handshake(site, f"{address}?token={a['token']}", {}) == 400


async def test_a_refused_handshake_says_why(site: Site) -> None:
    """What is refused before a WebSocket is open is told in the body of the answer, as of any request, and by
    `gateway subscribe` with it: who may not receive, a home base whose time is over, an address that is none."""
    observer, home = await site.token("o", "observer"), await site.token("a")
    stream = f"ws://127.0.0.1:{site.port}/api/v1/instances/{INSTANCE}/subscribe"
    policy = site.service.policy
    for address, token, status, why in (
        (stream, observer, 403, "an observer may not receive"),
        (stream.replace(INSTANCE, "..%2f" + INSTANCE), home, 404, "there is no WebSocket here"),
        (stream, home, 403, "home base 'a' is not valid any more (valid_until_utc"),
    ):
        if "not valid" in why:
            policy.exchange({**policy.rights, "a": replace(policy.rights["a"], valid_until_ns=1)})
        with pytest.raises(InvalidStatus) as refused:
            await connect(address, proxy=None, additional_headers={"Authorization": f"Bearer {token['token']}"})
        answer = refused.value.response
        told = json.loads(bytes(answer.body or b""))
        assert (answer.status_code, why in told["error"], bool(told["hint"])) == (status, True, True), told


async def handshake(site: Site, url: str, headers: dict[str, str]) -> int:
    """Return how the gateway answers a handshake for an address that may name another host."""
    try:
        socket = await connect(url, proxy=None, additional_headers=headers, host="127.0.0.1", port=site.port)
    except InvalidStatus as refused:
        return refused.response.status_code
    await socket.close()
    return 101


async def test_a_revoked_token_ends_its_sessions(site: Site) -> None:
    """Revocation and expiry end open sessions within seconds; those of other tokens go on."""
    a, other = await site.token("a"), await site.token("a")
    address = f"ws://127.0.0.1:{site.port}/api/v1/instances/{INSTANCE}/subscribe"
    sockets = []
    for name, token in (("one", a), ("two", other)):
        headers = {"Authorization": f"Bearer {token['token']}"}
        socket = await connect(address, additional_headers=headers, proxy=None)
        await socket.send(json.dumps({"type": "subscribe", "home": "a", "subscription": name}))
        assert json.loads(await socket.recv())["type"] == "welcome"
        sockets.append(socket)
    assert (await site.ask("DELETE", f"/api/v1/tokens/{a['id']}", site.operator)).status_code == 200
    async with asyncio.timeout(60):
        await sockets[0].wait_closed()
    assert "revoked" in (sockets[0].close_reason or "")
    assert len(site.service.instances[INSTANCE].registry.all_sessions()) == 1
    await sockets[1].close()


async def test_tokens_outlive_the_gateway_and_their_text_does_not(site: Site, tmp_path: Path) -> None:
    """A token is kept as a hash: nothing on the disk shows it; after a restart it is known, and so is its end."""
    kept = await site.token("a")
    await site.service.revoke_token((await site.token("a"))["id"])
    secret = kept["token"].partition(".")[2].encode()
    held = b"".join(path.read_bytes() for path in sorted((tmp_path / "var").rglob("*")) if path.is_file())
    assert kept["id"].encode() in held
    assert secret not in held
    site.service.access.load()
    assert [row["state"] for row in site.service.access.tokens("a")] == ["valid", "revoked"]
    assert site.service.access.identify(kept["token"]).name == "a"


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"name": "nobody"}, 404, "no home base is named 'nobody'"),
        ({"name": "../a"}, 422, "name"),
        ({"name": "a", "kind": "root"}, 422, "kind"),
        ({"name": "a", "expires_utc": "2001-01-01T00:00:00Z"}, 422, "is over"),
        ({"name": "a", "expires_utc": "soon"}, 422, "expires_utc"),
        ({"name": "a", "instances": ["x.flight"]}, 404, "no mission instance 'x.flight'"),
    ],
)
async def test_tokens_that_cannot_be(site: Site, body: dict[str, Any], status: int, says: str) -> None:
    """A token that would be of no use is refused, with why."""
    answer = await site.ask("POST", "/api/v1/tokens", site.operator, json=body)
    assert (answer.status_code, says in answer.json()["error"]) == (status, True), answer.text
    assert site.service.access.tokens() == []
