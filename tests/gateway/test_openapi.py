"""The OpenAPI document says what a running gateway really answers, also when it refuses; its pages need no internet."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import BaseModel, TypeAdapter

from gateway.api import (
    answers,
    configuration_answers,
    models,
    playback_answers,
    playback_requests,
    report_answers,
    requests,
    value_answers,
)
from gateway.api.app import build_app
from gateway.service import Gateway
from gateway_config import load
from tests.home_files import everything, opened

MISSION = """name: m
spacecraft:
  - name: s
    packets: {packet_versions: [0]}
"""
LINK = "name: l\nmission: m\nspacecraft: s\ntype: file\nunit: packets\npath: packets.bin\n"
PACKET = bytes.fromhex("0064c000000300010203")
REPLAY = {"file": "packets.bin", "mission": "m", "run": "first"}
INSTANCE = "/api/v1/instances/m.simulation"
MODULES = (
    answers, configuration_answers, models, playback_answers, playback_requests, report_answers, requests,
    value_answers,
)  # fmt: skip
MODELS = [m for module in MODULES for m in vars(module).values() if isinstance(m, type)]
ANSWERS = list(dict.fromkeys(m for m in MODELS if issubclass(m, BaseModel) and m.__module__.startswith("gateway.api.")))


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Gateway]:
    """A gateway that has taken a file of packets."""
    for name, text in {"missions/m": MISSION, "links/l": LINK, "homes/h": everything("h", "m")}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.yaml").write_text(text)
    (tmp_path / "gateway.yaml").write_text("replay_folders: [.]\n")
    (tmp_path / "packets.bin").write_bytes(PACKET * 3)
    running = Gateway(opened(load(tmp_path)))
    await running.start()
    yield running
    await running.drain()
    await running.stop()


@pytest.fixture
async def client(service: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    """A client of its control plane, in memory."""
    transport = httpx.ASGITransport(build_app(service), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as found:
        await found.get(f"{INSTANCE}/events", params={"position": 0, "wait_s": 5})
        yield found


@pytest.fixture
def published(service: Gateway) -> dict[str, Any]:
    """The published document of the gateway."""
    return build_app(service).openapi()


def operations(published: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every operation below /api/v1."""
    for path, methods in published["paths"].items():
        for method, operation in methods.items():
            if path.startswith("/api/v1"):
                yield path, method, operation


def unknown(value: Any, path: str = "") -> list[str]:
    """Keys of an answer that its model does not name; events have keys of their own."""
    if isinstance(value, answers.Event):
        return []
    if isinstance(value, BaseModel):
        named = [row for key in type(value).model_fields for row in unknown(getattr(value, key), f"{path}.{key}")]
        return [f"{path}.{key}" for key in value.model_extra or {}] + named
    if isinstance(value, dict):
        return [row for key, part in value.items() for row in unknown(part, f"{path}.{key}")]
    return [row for part in value for row in unknown(part, path)] if isinstance(value, list) else []


def checked(model: Any, answer: httpx.Response) -> Any:
    """The answer as its model, nothing added, nothing left out."""
    value = TypeAdapter(model).validate_json(answer.content, strict=True)
    assert not unknown(value)
    return value


PLAYBACK = {"home": "h", "from_position": 0, "upto_position": 1}


async def asks_for_playbacks(client: httpx.AsyncClient) -> None:
    """Two playback requests, one of them cancelled."""
    for wish in (PLAYBACK, {"home": "h", "from_utc": "2020-01-01T00:00:00Z", "to_utc": "2100-01-01T00:00:00Z"}):
        asked = await client.post(f"{INSTANCE}/playbacks", json=wish)
        assert asked.status_code == 201, asked.text
        row = checked(playback_answers.PlaybackRow, asked)
    assert checked(playback_answers.PlaybackRow, await client.post(f"{INSTANCE}/playbacks/{row.playback}/cancel"))


GETS = {
    f"{INSTANCE}/playbacks": list[playback_answers.PlaybackRow],
    f"{INSTANCE}/playbacks?home=h": list[playback_answers.PlaybackRow],
    f"{INSTANCE}/playbacks/playback-1": playback_answers.PlaybackRow,
    "/api/v1/status": models.GatewayState,
    "/api/v1/instances": list[models.InstanceState],
    INSTANCE: models.InstanceState,
    f"{INSTANCE}/reports": report_answers.Report,
    f"{INSTANCE}/homes/h/reports?first=0&end=1": report_answers.Report,
    "/api/v1/missions": list[answers.MissionRow],
    "/api/v1/spacecraft": list[answers.SpacecraftRow],
    "/api/v1/links": list[answers.LinkRow],
    "/api/v1/contacts": list[answers.ContactRow],
    "/api/v1/replays": list[answers.ReplayState],
    "/api/v1/replays/first": answers.ReplayState,
    "/api/v1/replays/first/report": models.ReplayReport,
    f"{INSTANCE}/streams": list[models.StreamRow],
    f"{INSTANCE}/subscriptions": list[answers.SubscriptionState],
    f"{INSTANCE}/events?position=0": answers.Events,
    f"{INSTANCE}/journal": models.JournalRange,
    f"{INSTANCE}/links/l": answers.LinkDetail,
    "/health/live": answers.Health,
    "/health/ready": answers.Health,
}


async def test_answers_are_what_the_document_says(service: Gateway, client: httpx.AsyncClient) -> None:
    """Every answer of a real service is its model, key for key: none is missing, none is dropped on the way."""
    plan = {"spacecraft": "s", "aos_utc": "2100-01-01T00:00:00Z", "los_utc": "2100-01-01T00:10:00Z"}
    made = await client.post(f"{INSTANCE}/contacts", json=plan)
    assert made.status_code == 201
    contact = checked(answers.ContactState, made)
    checked(answers.ContactState, await client.post(f"{INSTANCE}/contacts/{contact.id}/close"))
    checked(answers.LinkDetail, await client.post(f"{INSTANCE}/links/l/reset"))
    started = await client.post("/api/v1/replays", json=REPLAY)
    assert started.status_code == 201, started.text
    checked(answers.ReplayState, started)
    await asks_for_playbacks(client)
    for path, model in GETS.items():
        answer = await client.get(path)
        assert answer.status_code == 200, answer.text
        checked(model, answer)
        if path != f"{INSTANCE}/subscriptions":
            assert answer.json(), path
    rows = (await client.get(INSTANCE)).json()
    assert set(rows) == set(service.instance("m.simulation").state())
    packets = await client.get(f"{INSTANCE}/journal/packets", params={"apid": 100})
    assert (packets.content, packets.headers["content-type"]) == (PACKET * 3, "application/octet-stream")


async def test_subscriptions_are_what_the_document_says(service: Gateway, client: httpx.AsyncClient) -> None:
    """Those that are away and those that are served."""
    from gateway.homes.registry import Subscription
    from gateway_routes.delivery import Cursor

    registry = service.instance("m.simulation").registry
    registry.subscriptions["h", "all"] = Subscription("h", "all", 1, {"apids": [1]}, Cursor(0), 0)
    again = await client.post(f"{INSTANCE}/subscriptions/h/all/resend", json={"from_position": 0, "upto_position": 1})
    assert (again.status_code, "has acknowledged nothing" in again.text) == (409, True)
    answer = await client.get(f"{INSTANCE}/subscriptions")
    (row,) = checked(list[answers.SubscriptionState], answer)
    assert (row.state, row.lag_items) == ("away", service.instance("m.simulation").journal.head)
    assert set(answer.json()[0]) == set(registry.snapshot()[0])
    registry.subscriptions["h", "all"] = Subscription("h", "all", 1, {"apids": [1]}, Cursor(2), 0)
    again = await client.post(f"{INSTANCE}/subscriptions/h/all/resend", json={"from_position": 0, "upto_position": 1})
    assert checked(playback_answers.ResendRow, again).ranges == [[0, 1]]
    assert (await client.get(f"{INSTANCE}/subscriptions")).json()[0]["resend"] == [[0, 1]]
    ended = checked(answers.EndedRow, await client.delete(f"{INSTANCE}/subscriptions/h/all"))
    assert (ended.home, ended.subscription, ended.low_water) == ("h", "all", 0)


def test_every_operation_has_an_example(published: dict[str, Any]) -> None:
    """What comes back has a schema with an example; what is sent has one too."""
    for path, method, operation in operations(published):
        (good,) = [answer for status, answer in operation["responses"].items() if status.startswith("2")]
        for content in good.get("content", {}).values():
            schema = content["schema"]
            assert schema.get("format") == "binary" or "examples" in _resolved(published, schema), f"{method} {path}"
        assert good.get("content") or "204" in operation["responses"]
        for content in operation.get("requestBody", {}).get("content", {}).values():
            assert "examples" in _resolved(published, content["schema"]), f"{method} {path}"


def _resolved(published: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    schema = schema.get("items", schema)
    return published["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]] if "$ref" in schema else schema


@pytest.mark.parametrize("model", ANSWERS, ids=lambda m: m.__name__)
def test_examples_are_right(model: type[BaseModel]) -> None:
    """An example is an answer that could be."""
    for example in model.model_json_schema().get("examples", []):
        assert not unknown(model.model_validate_json(json.dumps(example), strict=True))


def test_every_model_that_is_named_is_there(published: dict[str, Any]) -> None:
    """Operations name the models of their answers; the document has each, and no model that nobody names."""
    schemas = published["components"]["schemas"]
    named = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(published)))
    assert named == set(schemas)
    assert len(named) > 30


def test_every_refusal_is_documented(published: dict[str, Any]) -> None:
    """Errors are `Problem`; whoever asks too much is told, a name can be not found, what is stored can fail."""
    for path, method, operation in operations(published):
        refusals = {s: a for s, a in operation["responses"].items() if not s.startswith("2")}
        for status, answer in refusals.items():
            assert answer["content"]["application/json"]["schema"]["$ref"].endswith("/Problem"), f"{path} {status}"
            assert answer["description"]
        assert "429" in refusals, path
        if "{" in path:
            assert {"404", "422"} <= set(refusals), path
        if "requestBody" in operation:
            assert "400" in refusals, path
        if method in {"post", "delete"}:
            assert "503" in refusals, path
    assert "HTTPValidationError" not in json.dumps(published)


def test_every_parameter_is_described(published: dict[str, Any]) -> None:
    """Query parameters have a meaning and bounds."""
    for path, _, operation in operations(published):
        for parameter in operation.get("parameters", []):
            assert parameter.get("description"), f"{path} {parameter['name']}"
    packets = published["paths"]["/api/v1/instances/{instance}/journal/packets"]["get"]
    bounds = {p["name"]: json.dumps(p["schema"]) for p in packets["parameters"]}
    assert '"maximum": 63, "minimum": -1' in bounds["vcid"]
    assert '"maximum": 2047, "minimum": -1' in bounds["apid"]


def test_every_address_fits_a_request_line(published: dict[str, Any]) -> None:
    """Issue: what the document allows is answered as it says: the HTTP server refuses request lines of more than
    64 KiB before anything of ours sees them."""
    for path, method, operation in operations(published):
        longest = len(path)
        for one in operation.get("parameters", ()):
            for kind in [one["schema"], *one["schema"].get("anyOf", ())]:
                each = kind.get("items", kind).get("maxLength", 64)
                longest += (len(one["name"]) + 2 + each) * kind.get("maxItems", 1)
        assert longest < 60_000, (method, path)


def test_the_websocket_is_told_of(published: dict[str, Any]) -> None:
    """OpenAPI knows no WebSocket: the description has its address and where its format is."""
    text = published["info"]["description"]
    assert "/api/v1/instances/{instance}/subscribe" in text
    assert "docs/wire-format.md" in text
    assert "subscribe" in text


OVER = {"aos_utc": "2026-01-01T00:00:00Z", "los_utc": "2026-01-01T00:10:00Z"}
REFUSALS: list[tuple[str, str, dict[str, Any], int]] = [
    ("GET", "/api/v1/instances/nope", {}, 404),
    ("GET", "/api/v1/nowhere", {}, 404),
    ("GET", "/nowhere", {}, 404),
    ("DELETE", "/api/v1/status", {}, 405),
    ("GET", f"{INSTANCE}/events?limit=0", {}, 422),
    ("GET", f"{INSTANCE}/events?position=4000", {}, 409),
    ("GET", f"{INSTANCE}/events?wait_s=nan", {}, 422),
    ("GET", f"{INSTANCE}/journal/packets?vcid=64", {}, 422),
    ("GET", f"{INSTANCE}/journal/packets?apid=2048&apid=x", {}, 422),
    ("GET", f"{INSTANCE}/journal/packets?position=4000", {}, 409),
    ("GET", f"{INSTANCE}/journal/packets?upto=4000", {}, 409),
    ("GET", f"{INSTANCE}/journal/packets?position=2&upto=1", {}, 422),
    ("GET", f"{INSTANCE}/journal/packets?link=nope", {}, 422),
    ("GET", f"{INSTANCE}/journal/packets?spacecraft=nope", {}, 422),
    ("POST", f"{INSTANCE}/links/l/explode", {}, 422),
    ("POST", f"{INSTANCE}/contacts/99/close", {}, 404),
    ("POST", f"{INSTANCE}/contacts", {"json": {}}, 422),
    ("POST", f"{INSTANCE}/contacts", {"json": {"spacecraft": "x"}}, 404),
    ("POST", f"{INSTANCE}/contacts", {"json": {"spacecraft": "s", "aos_utc": "2026-01-01T00:00:00Z"}}, 409),
    ("POST", f"{INSTANCE}/contacts", {"json": {"spacecraft": "s", **OVER}}, 409),
    ("POST", f"{INSTANCE}/contacts", {"json": {"spacecraft": "s", "aos_utc": "soon"}}, 422),
    ("POST", f"{INSTANCE}/contacts", {"content": b"{"}, 422),
    ("POST", f"{INSTANCE}/contacts", {"content": b'{"spacecraft": "\xff"}'}, 400),
    ("POST", "/api/v1/replays", {"content": json.dumps({**REPLAY, "frames_per_s": float("nan")})}, 422),
    ("POST", "/api/v1/replays", {"content": json.dumps({**REPLAY, "frames_per_s": float("inf")})}, 422),
    ("POST", "/api/v1/replays", {"content": json.dumps({**REPLAY, "run": float("nan")})}, 422),
    ("POST", "/api/v1/replays", {"json": {**REPLAY, "frames_per_s": 1e-9}}, 422),
    ("POST", "/api/v1/replays", {"json": {**REPLAY, "file": "/etc/passwd"}}, 403),
    ("POST", "/api/v1/replays", {"json": {**REPLAY, "mission": "nope"}}, 404),
    ("POST", f"{INSTANCE}/playbacks", {"json": {}}, 422),
    ("POST", f"{INSTANCE}/playbacks", {"json": {"home": "h"}}, 422),
    ("POST", f"{INSTANCE}/playbacks", {"json": {"home": "h", "from_position": 0}}, 422),
    ("POST", f"{INSTANCE}/playbacks", {"json": {**PLAYBACK, "from_utc": "2026-01-01T00:00:00Z"}}, 422),
    ("POST", f"{INSTANCE}/playbacks", {"json": {**PLAYBACK, "upto_position": 0}}, 422),
    ("POST", f"{INSTANCE}/playbacks", {"json": {**PLAYBACK, "upto_position": 1 << 70}}, 422),
    ("POST", f"{INSTANCE}/playbacks", {"json": {**PLAYBACK, "upto_position": 4000}}, 409),
    ("POST", f"{INSTANCE}/playbacks", {"json": {**PLAYBACK, "home": "nobody"}}, 403),
    ("POST", f"{INSTANCE}/playbacks", {"json": {**PLAYBACK, "selection": {"colour": 1}}}, 422),
    ("POST", f"{INSTANCE}/playbacks", {"json": {**PLAYBACK, "selection": {"apids": {"a": 1}}}}, 422),
    ("POST", f"{INSTANCE}/playbacks", {"json": {**PLAYBACK, "selection": {"kinds": ["voice"]}}}, 403),
    ("POST", f"{INSTANCE}/playbacks", {"json": {**PLAYBACK, "selection": [1]}}, 422),
    ("POST", f"{INSTANCE}/playbacks", {"content": b'{"home": "\xff"}'}, 400),
    ("POST", f"{INSTANCE}/playbacks", {"content": b'{"home": "h", "from_position": 1e400, "upto_position": 2}'}, 422),
    ("GET", f"{INSTANCE}/playbacks/playback-99", {}, 404),
    ("POST", f"{INSTANCE}/playbacks/..%2f..%2f/cancel", {}, 404),
    ("POST", f"{INSTANCE}/playbacks/playback-99/cancel", {}, 404),
    ("POST", f"{INSTANCE}/subscriptions/h/nope/resend", {"json": {"from_position": 0, "upto_position": 1}}, 404),
    ("POST", f"{INSTANCE}/subscriptions/h/nope/resend", {"json": {"from_utc": "soon", "to_utc": "later"}}, 422),
    ("POST", "/api/v1/instances/nope/playbacks", {"json": PLAYBACK}, 404),
]


async def test_every_refusal_is_a_problem(client: httpx.AsyncClient) -> None:
    """Whatever is wrong, the answer is {"error", "hint"}; what was sent is not sent back."""
    for method, path, body, status in REFUSALS:
        headers = {"content-type": "application/json"} if "content" in body else {}
        answer = await client.request(method, path, headers=headers, **body)
        assert answer.status_code == status, (method, path, body, answer.text)
        problem = checked(models.Problem, answer)
        assert problem.error, (method, path, body)
        assert "NaN" not in answer.text


async def test_a_mistyped_query_is_refused(client: httpx.AsyncClient, published: dict[str, Any]) -> None:
    """Issue: who mistypes a parameter is told, by every operation, and does not get the answer to another question;
    nothing is done."""
    tried = 0
    for path, method, operation in operations(published):
        if not path.startswith("/api/v1/"):
            continue
        assert "422" in operation["responses"], path
        where = re.sub(r"\{\w+\}", "m.simulation", path)
        body = {} if "requestBody" not in operation else {"json": {}}
        answer = await client.request(method, where, params={"form": "x"}, **body)
        assert (answer.status_code, "'form'" in answer.text) == (422, True), (path, answer.text)
        tried += 1
    assert tried > 40
    history = f"{INSTANCE}/parameters/history"
    answer = await client.get(history, params={"parameter": "x", "form": "2026-01-01T00:00:00Z"})
    problem = checked(models.Problem, answer)
    assert "did you mean 'from'?" in problem.error
    assert all(name in problem.hint for name in ("parameter", "from", "to", "order"))
    many = await client.get(f"{INSTANCE}/events", params={"x" * 5000: "1", **{f"y{k}": "1" for k in range(100)}})
    assert (many.status_code, len(many.text) < 600) == (422, True)
    assert (await client.get("/health/live?now=1")).status_code == 200


async def test_a_refusal_names_the_field(client: httpx.AsyncClient) -> None:
    """A 422 says which field, and what would be right."""
    body = {**REPLAY, "run": "a b", "frames_per_s": 0, "colour": "red"}
    answer = await client.post("/api/v1/replays", json=body)
    error = answer.json()["error"]
    assert "run: " in error
    assert "frames_per_s: " in error
    assert "colour: " in error
    assert "/docs" in answer.json()["hint"]


async def test_the_pages_need_no_internet(client: httpx.AsyncClient) -> None:
    """The documentation's page loads from this gateway alone, and its policy lets the browser go nowhere else."""
    page = await client.get("/docs")
    assert page.status_code == 200
    assert not re.search(r"""["'(]\s*(https?:)?//""", page.text), page.text
    assert '"validatorUrl": null' in page.text, "Swagger UI would ask validator.swagger.io for a badge"
    assert "default-src 'self'" in page.headers["content-security-policy"]
    wanted = re.findall(r"""(?:src|href)=["']([^"']+)""", page.text)
    assert len(wanted) >= 2
    for address in wanted:
        part = await client.get(address)
        assert part.status_code == 200, address
        if address.endswith(".css"):
            assert not re.search(r"""(@import|url\()\s*["']?(https?:)?//""", part.text)
    assert (await client.get("/api/v1/openapi.json")).json()["openapi"].startswith("3.")
    assert (await client.get("/redoc")).status_code == 404
