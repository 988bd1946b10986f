"""Replay runs of a gateway that runs: what may be asked for, what is refused, and how `gateway replay --url` ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from typer.testing import CliRunner

from gateway import daemon
from gateway.api.app import build_app
from gateway.console.app import app
from gateway.console.replay import ReplayOptions, replay_file
from gateway.errors import GatewayError, UsageError
from gateway.journal import Recording
from gateway.real import LocalStorage, SystemClock
from gateway.service import Gateway
from gateway_codecs import kiss, tm_frame
from gateway_config import load
from tests.codecs.links import packet
from tests.home_files import opened

FRAMES = "frames: {version: tm, frame_length_octets: 100, fecf: false}"
MISSIONS = {
    "p": "name: p\nspacecraft: [{name: s}]\n",
    "coded": f"name: coded\nspacecraft:\n  - name: s\n    scids: [1]\n    {FRAMES}\n    coding: {{randomiser: none}}\n",
    "two": f"name: two\nspacecraft:\n  - name: a\n    scids: [1]\n    {FRAMES}\n  - {{name: b}}\n",
}
PACKETS = b"".join(packet(5, k, 60) for k in range(200))
MARKER = bytes.fromhex("1ACFFC1D")
INVERTED = bytes(255 - octet for octet in MARKER)
WISH = {"file": "packets.bin", "mission": "p", "run": "r", "support_mode": "test"}
TWO = {**WISH, "mission": "two"}


@pytest.fixture(autouse=True)
def _logging_as_it_is() -> Iterator[None]:
    """The command sets the logging of its process up, with this test's standard error; the next test has another."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A configuration of two missions with two replay folders."""
    (tmp_path / "missions").mkdir()
    for name, text in MISSIONS.items():
        (tmp_path / f"missions/{name}.yaml").write_text(text)
    (tmp_path / "gateway.yaml").write_text("replay_folders: [first, second]\n")
    for name in ("first", "second", "elsewhere"):
        (tmp_path / name).mkdir()
    (tmp_path / "second/packets.bin").write_bytes(PACKETS)
    return tmp_path


@contextlib.asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Gateway]:
    """A gateway, from its start to its end."""
    gateway = Gateway(opened(load(folder)))
    await gateway.start()
    yield gateway
    await gateway.drain()
    await gateway.stop()


@pytest.fixture
async def service(folder: Path) -> AsyncIterator[Gateway]:
    """A gateway that runs."""
    async with running(folder) as found:
        yield found


@pytest.fixture
async def api(service: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    """A client of its control plane, in memory."""
    transport = httpx.ASGITransport(build_app(service))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost/api/v1") as found:
        yield found


async def played(api: httpx.AsyncClient, run: str) -> dict[str, Any]:
    """The run's report when it has come to its end."""
    async with asyncio.timeout(60):
        while not (await api.get(f"/replays/{run}")).json()["finished"]:
            await asyncio.sleep(0.02)
    return dict((await api.get(f"/replays/{run}/report")).json())


async def test_a_relative_path_is_of_a_replay_folder(api: httpx.AsyncClient, tmp_path: Path) -> None:
    """Operation: a relative path is that of the first replay folder that has it, wherever the daemon was started."""
    told = await api.post("/replays", json=WISH)
    assert told.status_code == 201, told.text
    assert told.json()["file"] == str(tmp_path / "second/packets.bin")
    (tmp_path / "first/packets.bin").write_bytes(PACKETS[:66])
    told = await api.post("/replays", json={**WISH, "run": "other"})
    assert told.json()["file"] == str(tmp_path / "first/packets.bin")
    absolute = await api.post("/replays", json={**WISH, "run": "third", "file": str(tmp_path / "second/packets.bin")})
    assert absolute.status_code == 201
    assert (await api.post("/replays", json={**WISH, "run": "fourth", "file": "nowhere.bin"})).status_code == 404


@pytest.mark.parametrize("file", ["../elsewhere/x.bin", "../elsewhere/none.bin", "link.bin", "out/x.bin"])
async def test_nothing_escapes_the_replay_folders(api: httpx.AsyncClient, tmp_path: Path, file: str) -> None:
    """Deny by default: neither .. nor a symbolic link leads out of the replay folders."""
    (tmp_path / "elsewhere/x.bin").write_bytes(PACKETS)
    for folder in ("first", "second"):
        (tmp_path / folder / "link.bin").symlink_to(tmp_path / "elsewhere/x.bin")
        (tmp_path / folder / "out").symlink_to(tmp_path / "elsewhere")
    told = await api.post("/replays", json={**WISH, "file": file})
    assert told.status_code == 403
    assert "replay_folders" in told.json()["hint"]


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({**WISH, "frames_per_s": 10}, "rate_bps"),
        ({**WISH, "unit": "frames"}, "unit packets"),
        ({**TWO, "spacecraft": "a", "frames_per_s": 10, "rate_bps": 10}, "give one"),
        (TWO, "there are a, b"),
        ({**TWO, "spacecraft": "c"}, "there are a, b"),
    ],
)
async def test_what_cannot_be_played_is_refused(api: httpx.AsyncClient, wish: dict[str, Any], words: str) -> None:
    """Nothing asked for is silently ignored: a pace, a unit or a spacecraft that cannot be is refused with the way."""
    told = await api.post("/replays", json=wish)
    assert told.status_code == 422
    assert words in told.json()["hint"]
    assert (await api.get("/replays")).json() == []


async def test_packets_have_a_pace(api: httpx.AsyncClient) -> None:
    """A replay of packets is paced in bits per second; another pace while it is open is a conflict, not ignored."""
    slow = {**WISH, "rate_bps": 1000}
    assert (await api.post("/replays", json=slow)).status_code == 201
    await asyncio.sleep(0.3)
    state = (await api.get("/replays/r")).json()
    assert (state["rate_bps"], state["finished"]) == (1000, False)
    assert state["progress"]["octets"] < 1000
    assert (await api.post("/replays", json=slow)).status_code == 201
    other = await api.post("/replays", json={**slow, "rate_bps": 2000})
    assert other.status_code == 409
    assert "rate_bps 1000" in other.json()["error"]


async def test_the_spacecraft_and_the_unit_are_chosen(api: httpx.AsyncClient) -> None:
    """A mission's second spacecraft can be replayed, and packets of one that has frames; the run keeps to them."""
    await api.post("/replays", json={**TWO, "spacecraft": "b", "run": "b"})
    await api.post("/replays", json={**TWO, "spacecraft": "a", "unit": "packets", "run": "a"})
    for run in ("a", "b"):
        report = await played(api, run)
        assert (report["spacecraft"], report["unit"]) == (run, "packets")
        assert report["journalled_packets"] == {"-1": 200}
        assert report["streams"][0]["spacecraft"] == run
    other = await api.post("/replays", json={**TWO, "spacecraft": "a", "run": "a"})
    assert other.status_code == 409
    assert "unit packets, not frames" in other.json()["error"]


async def test_an_empty_file_is_told(api: httpx.AsyncClient, tmp_path: Path) -> None:
    """A file of nothing is no run that was played before: it is refused as empty, and nothing is kept of it."""
    (tmp_path / "first/empty.bin").touch()
    told = await api.post("/replays", json={**WISH, "file": "empty.bin"})
    assert (told.status_code, "is empty" in told.json()["error"]) == (409, True)
    assert not list((tmp_path / "var").glob("replays/*"))


async def finished(gateway: Gateway, wish: dict[str, Any]) -> dict[str, Any]:
    """Play a run to its end; its report."""
    await gateway.start_replay(wish)
    async with asyncio.timeout(60):
        while not gateway.replay(wish["run"])["finished"]:
            await asyncio.sleep(0.02)
    return await gateway.replay_report(wish["run"])


async def test_a_finished_run_is_finished_after_a_restart(folder: Path) -> None:
    """Operation: a run that was played to its end stands at 100 % also when the gateway was started again."""
    async with running(folder) as before:
        await finished(before, WISH)
    async with running(folder) as after:
        state = after.replay("r")
        assert state["finished"]
        assert state["progress"] == {"octets": len(PACKETS), "of_octets": len(PACKETS)}
        report = await after.replay_report("r")
        assert (report["journalled_packets"], report["hint"]) == ({"-1": 200}, "")


async def test_a_wrong_file_is_wrong_after_a_restart(folder: Path) -> None:
    """The verdict on a run does not get better by starting the gateway again."""
    wrong = {**TWO, "spacecraft": "a"}
    async with running(folder) as before:
        hint = (await finished(before, wrong))["hint"]
    async with running(folder) as after:
        assert (await finished(after, wrong))["hint"] == hint
    assert hint.startswith("packets follow each other")


@pytest.mark.parametrize(
    ("marker", "unit", "more"),
    [(MARKER, "cadus", {}), (INVERTED, "cadus", {}), (b"", "frames", {}), (MARKER + b"x", "frames", {}),
     (MARKER, "frames", {"unit": "frames"})],
)  # fmt: skip
async def test_a_file_that_plainly_holds_cadus_is_played_so(
    api: httpx.AsyncClient, tmp_path: Path, marker: bytes, unit: str, more: dict[str, str]
) -> None:
    """A mission with coding: markers at the distance of its CADUs say what the file holds, unless the request does."""
    one = tm_frame.encode(tm_frame.TmFrame(1, 0, 0, 0, 0x7FF, bytes(94)), fecf=False)
    body = one if marker != INVERTED else bytes(255 - octet for octet in one)
    (tmp_path / "second/x.bin").write_bytes(b"\0\0\0" * bool(marker) + (marker + body) * 40)
    wish = {**WISH, "file": "x.bin", "mission": "coded"}
    told = await api.post("/replays", json={**wish, **more})
    assert (told.status_code, told.json()["unit"]) == (201, unit), told.text
    report = await played(api, "r")
    assert report["counters"]["frames"] >= 40
    assert (await api.post("/replays", json=wish)).status_code == (409 if more else 201), "the same wish, the same run"


async def test_conditions_of_links_tell_their_runs_apart(service: Gateway, api: httpx.AsyncClient) -> None:
    """Each run has a link of the same name: status, events and metrics say which one, and lose none of them."""
    for run in ("one", "other"):
        assert (await api.post("/replays", json={**TWO, "run": run, "spacecraft": "a"})).status_code == 201
        await played(api, run)
    rows = (await api.get("/status")).json()["conditions"]
    wanted = {f"link replay of two.test.replay-{run}" for run in ("one", "other")}
    assert {row["subject"] for row in rows if row["what"] == "units refused"} == wanted
    metrics = (await api.get("http://localhost/metrics")).text
    told = [line for line in metrics.splitlines() if line.startswith("gateway_condition{") and "units refused" in line]
    assert len(told) == 2


async def test_a_kiss_file_is_recognised(api: httpx.AsyncClient, tmp_path: Path) -> None:
    """A file that is KISS is played as that, unless the request says otherwise; a pace of frames is refused."""
    frames = [b"one", b"two \xc0", b"three"]
    (tmp_path / "second/x.bin").write_bytes(b"".join(kiss.encode(kiss.KissFrame(0, 0, one)) for one in frames))
    wish = {**WISH, "file": "x.bin"}
    told = await api.post("/replays", json=wish)
    assert (told.status_code, told.json()["container"]) == (201, "kiss")
    report = await played(api, "r")
    assert (report["counters"]["frames"], report["hint"]) == (3, "")
    assert report["counters"].get("rejected_container", 0) == 0
    plain = (await api.post("/replays", json={**wish, "run": "plain", "unit": "packets"})).json()
    assert plain["container"] == "none"
    other = await api.post("/replays", json={**wish, "unit": "packets"})
    assert (other.status_code, "container kiss, not none" in other.json()["error"]) == (409, True)
    for more, words in (({"frames_per_s": 5}, "rate_bps"), ({"unit": "packets"}, "leave the unit out")):
        refused = await api.post("/replays", json={**wish, **more, "run": "no", "container": "kiss"})
        assert (refused.status_code, words in refused.json()["hint"]) == (422, True)


@pytest.fixture
async def options(service: Gateway, tmp_path: Path) -> AsyncIterator[ReplayOptions]:
    """The options of `gateway replay --url` against that gateway, served."""
    file = tmp_path / "second/packets.bin"
    async with daemon.serving(service, daemon.bind("127.0.0.1", 0)) as port:
        yield ReplayOptions(
            file, "p", "r", "simulation", None, tmp_path / "mine", None, None, None, None, None, None,
            f"http://127.0.0.1:{port}", True,
        )  # fmt: skip


async def test_a_replay_by_a_daemon_ends_as_one_here(
    options: ReplayOptions, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same file ends the same way wherever it is played: counts, rejects, table and verdict."""
    assert await asyncio.to_thread(replay_file, options) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["journalled_packets"], report["counters"]["packets"], report["hint"]) == ({"-1": 200}, 200, "")
    assert await asyncio.to_thread(replay_file, replace(options, as_json=False)) == 0
    told = capsys.readouterr()
    assert "packets in its journal: no VC 200" in told.out
    assert "was played to its end before" in told.err


async def test_a_wrong_mission_fails_by_a_daemon_too(
    options: ReplayOptions, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 1 when something is wrong with the data; the hint for a file of packets names the option."""
    wrong = replace(options, mission="two", spacecraft="a")
    assert await asyncio.to_thread(replay_file, wrong) == 1
    report = json.loads(capsys.readouterr().out)
    assert "packets follow each other" in report["hint"]
    assert "--unit packets" in report["hint"]
    right = replace(wrong, unit="packets", run_id="again")
    assert await asyncio.to_thread(replay_file, right) == 0


async def test_a_run_that_cannot_go_on_is_not_waited_for(options: ReplayOptions, service: Gateway) -> None:
    """A replay by a daemon ends when its link is disabled, and says how to go on; it does not wait for ever."""
    slow = replace(options, rate_bps=1000.0)
    task = asyncio.create_task(asyncio.to_thread(replay_file, slow))
    async with asyncio.timeout(60):
        while "p.simulation.replay-r" not in service.instances:
            await asyncio.sleep(0.05)
    await service.instance("p.simulation.replay-r").link_action("replay", "disable")
    with pytest.raises(GatewayError, match="disabled by the operator") as caught:
        await asyncio.wait_for(task, 60)
    assert "gateway links enable replay" in caught.value.hint


async def test_what_a_daemon_cannot_do_is_refused(options: ReplayOptions, tmp_path: Path) -> None:
    """Nothing asked for is silently ignored: a subscriber, channels, a configuration, a recorded folder."""
    recorded = tmp_path / "recorded"
    recording = Recording(LocalStorage(tmp_path), SystemClock(), "recorded", {"mission": "two", "unit_octets": 100}, 0)
    recording.append(0, bytes(100))
    recording.close()
    for change, words in (
        ({"subscribe_to": tmp_path / "store"}, "gateway subscribe"),
        ({"vcids": [1]}, "--subscribe DIR"),
        ({"config": tmp_path}, "leave one"),
        ({"file": recorded}, "gateway journal export"),
    ):
        with pytest.raises(UsageError) as caught:
            replay_file(replace(options, **change))
        assert words in caught.value.hint
    assert not (tmp_path / "mine").exists()
    assert not (tmp_path / "store").exists()


async def test_a_pace_that_cannot_be_is_wrong_usage(options: ReplayOptions) -> None:
    """Exit 2 for wrong usage, also when it is the daemon that says so."""
    with pytest.raises(UsageError, match="422"):
        await asyncio.to_thread(replay_file, replace(options, frames_per_s=5.0))


def test_an_embedded_replay_writes_nothing_when_it_is_refused(tmp_path: Path) -> None:
    """Exit 2 for wrong usage, before anything is written."""
    (tmp_path / "packets.bin").write_bytes(PACKETS)
    command = [
        "replay",
        str(tmp_path / "packets.bin"),
        "--mission",
        "generic-packets",
        "--data-dir",
        str(tmp_path / "v"),
    ]
    done = CliRunner().invoke(app, [*command, "--frames-per-s", "5"])
    assert done.exit_code == 2
    assert "rate_bps" in done.stderr
    assert not (tmp_path / "v").exists()
