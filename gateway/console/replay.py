"""`gateway replay`: a recording through the code that flies, in a mission instance of its own."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.live import Live

from gateway.blocking import run_blocking
from gateway.console import tables
from gateway.console.remote import Remote
from gateway.errors import GatewayError, UsageError
from gateway.patient_log import set_up_logging
from gateway.replays import settled
from gateway_config import Configuration, GatewaySettings, Grant, Home, example_mission, example_names, load

if TYPE_CHECKING:
    from gateway.service import Gateway

RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
POLL_S = 0.2
LINE_S = 5.0
TABLE_S = 0.5
SUBSCRIBER_END_S = 60.0
ANSWER_S = 60.0
SUBSCRIBER = "replay-subscriber"


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """The command's options."""

    file: Path
    mission: str
    run_id: str
    support_mode: str
    config: Path | None
    data_dir: Path
    spacecraft: str | None
    unit: str | None
    frames_per_s: float | None
    rate_bps: float | None
    subscribe_to: Path | None
    vcids: list[int] | None
    url: str | None
    as_json: bool
    container: str | None = None

    def request(self) -> dict[str, Any]:
        """Return the run as the API takes it."""
        stem = re.sub(r"[^A-Za-z0-9_-]", "-", self.file.stem).lstrip("-_")[:40]
        run = self.run_id or f"{stem or 'run'}{time.strftime('-%Y%m%d-%H%M%S')}"
        return {
            "file": str(self.file.resolve()), "mission": self.mission, "run": run,
            "support_mode": self.support_mode, "spacecraft": self.spacecraft, "unit": self.unit,
            "container": self.container, "frames_per_s": self.frames_per_s, "rate_bps": self.rate_bps,
        }  # fmt: skip


def list_missions() -> None:
    """Print the built-in missions."""
    typer.echo("\n".join(example_names()))


def replay_file(options: ReplayOptions) -> int:
    """Run one replay to its end; returns the exit code. Raises UsageError."""
    if options.run_id and not RUN_ID.fullmatch(options.run_id):
        raise UsageError(f"--run {options.run_id!r}: 1 to 64 letters, digits, '-' or '_', no sign first")
    if not options.file.exists():
        raise UsageError(f"{options.file} does not exist")
    if options.vcids and options.subscribe_to is None:
        raise UsageError("--vc chooses what the subscriber gets, and there is none", "--subscribe DIR starts one")
    if options.url:
        _refuse_what_only_we_can(options, options.url)
    elif options.file.is_dir():
        options = _of_recording(options)
    if not options.mission:
        raise UsageError("which mission is it?", f"--mission NAME; built in: {', '.join(example_names())}")
    return _on_daemon(options, options.url) if options.url else _here(options)


def _refuse_what_only_we_can(options: ReplayOptions, url: str) -> None:
    if options.subscribe_to is not None:
        hint = f"gateway subscribe INSTANCE --home NAME --store {options.subscribe_to} --until-end --url {url}"
        raise UsageError("--subscribe is for a replay without --url: the homes are those of that gateway", hint)
    if options.config is not None:
        raise UsageError("--config is for a replay without --url: that gateway has its own", "leave one of them out")
    if options.file.is_dir():
        hint = f"gateway journal export {options.file} FILE --frames, with FILE in a replay folder of that gateway"
        raise UsageError("a gateway replays files, no recorded folders: write its frames into a file first", hint)


def _here(options: ReplayOptions) -> int:
    set_up_logging(level=30)
    configuration = load(options.config) if options.config else _bare(options)
    known = sorted({*configuration.missions, *example_names()})
    if options.mission not in known:
        raise UsageError(f"no mission {options.mission!r}", f"there are {', '.join(known)}")
    settled(configuration.missions.get(options.mission) or example_mission(options.mission), options.request())
    if options.file.is_dir():
        options = _from_recording(options)
    return run_blocking(_embedded(options, _with_subscriber(configuration, options.mission)))


def _of_recording(options: ReplayOptions) -> ReplayOptions:
    """Take from a recorded pass what it says of itself, where the command does not."""
    from gateway.console.journal import about_recording, recording_of  # late: most replays are of files

    about = about_recording(recording_of(options.file))
    mission = options.mission or str(about.get("mission", ""))
    craft = about.get("spacecraft") if mission == about.get("mission") else None
    unit = options.unit or (about["unit"] if about.get("unit") in {"frames", "cadus"} else None)
    run = options.request()["run"]
    return replace(options, run_id=run, mission=mission, spacecraft=options.spacecraft or craft, unit=unit)


def _from_recording(options: ReplayOptions) -> ReplayOptions:
    """Write the whole frames of a recorded pass into the data directory, and replay that file."""
    from gateway.console.journal import recording_of, write_frames

    frames = options.data_dir / f"{options.run_id}.frames"
    if not frames.exists():
        options.data_dir.mkdir(parents=True, exist_ok=True)
        write_frames(recording_of(options.file), frames)
    return replace(options, file=frames)


def _bare(options: ReplayOptions) -> Configuration:
    return Configuration(options.data_dir, GatewaySettings(), {}, {}, {})


def _with_subscriber(configuration: Configuration, mission: str) -> Configuration:
    """Add a home base that gets everything of this replay: it is who replays."""
    everything = Grant(
        mission=mission, support_modes=["flight", "simulation", "test", "training"], replays=True,
        kinds=["tm", "event"], bad_quality=True,
    )  # fmt: skip
    home = Home(name=SUBSCRIBER, grants=[everything])
    return replace(configuration, homes={**configuration.homes, home.name: home})


def _on_daemon(options: ReplayOptions, url: str) -> int:
    with Remote(url, ANSWER_S) as remote:
        run = remote.post("/replays", options.request())
        _say_if_played(run)
        said = time.monotonic()
        while not run["finished"]:
            _raise_if_stuck(run)
            said = _say_now_and_then(options, run, said)
            time.sleep(POLL_S)
            run = remote.get(f"/replays/{run['run']}")
        report = remote.get(f"/replays/{run['run']}/report")
    return _end(options, report)


def _say_if_played(run: Mapping[str, Any]) -> None:
    if run["finished"]:
        typer.echo(f"run {run['run']} was played to its end before; a new --run id plays it again", err=True)


def _say_now_and_then(options: ReplayOptions, run: Mapping[str, Any], said: float) -> float:
    """Print how far the run is, if that was not said for a while; returns when it was said last."""
    now = time.monotonic()
    if now - said < LINE_S:
        return said
    typer.echo(_progress_line(run), err=options.as_json)
    return now


def _progress_line(run: Mapping[str, Any]) -> str:
    done = run["progress"]
    share = done["octets"] / done["of_octets"] * 100
    return f"run {run['run']}: {run['state']}, {share:.0f} %, journal head {run['head']} ({run['instance']})"


async def _embedded(options: ReplayOptions, configuration: Configuration) -> int:
    from gateway import daemon  # late: a wrong command is told without them
    from gateway.service import Gateway

    service = Gateway(configuration, options.data_dir)
    try:
        await service.start(missions=False)
        async with daemon.serving(service, daemon.bind("127.0.0.1", 0)) as port:
            run = await service.start_replay(options.request(), trusted=True)
            _say_if_played(run)
            child = _subscriber(options, run, port)
            try:
                await _follow(options, service, run["run"])
                summary = await _child_summary(child)
            finally:
                if child is not None and child.poll() is None:
                    child.kill()
            report = await service.replay_report(run["run"])
            await service.drain()
    finally:
        await service.stop()
    return _end(options, report if summary is None else {**report, "subscriber": summary})


def _subscriber(options: ReplayOptions, run: Mapping[str, Any], port: int) -> subprocess.Popen[str] | None:
    if options.subscribe_to is None:
        return None
    channels = [text for vcid in options.vcids or [] for text in ("--vc", str(vcid))]
    options.subscribe_to.mkdir(parents=True, exist_ok=True)
    return subprocess.Popen(
        [
            sys.executable, "-m", "gateway", "subscribe", run["instance"], "--home", SUBSCRIBER,
            "--subscription", "replay", "--store", str(options.subscribe_to), "--url", f"http://127.0.0.1:{port}",
            "--kind", "tm", "--until-end", "--idle", "--export", str(options.subscribe_to / "packets.bin"),
            "--json", *channels,
        ],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


async def _child_summary(child: subprocess.Popen[str] | None) -> dict[str, Any] | None:
    if child is None:
        return None
    try:
        out, _ = await asyncio.to_thread(child.communicate, timeout=SUBSCRIBER_END_S)
    except subprocess.TimeoutExpired:
        return None
    return dict(json.loads(out.strip().splitlines()[-1])) if child.returncode == 0 and out.strip() else None


async def _follow(options: ReplayOptions, service: Gateway, run: str) -> None:
    console = Console(stderr=options.as_json)
    if options.as_json or not console.is_terminal:
        said = time.monotonic()
        while not (state := service.replay(run))["finished"]:
            _raise_if_stuck(state)
            said = _say_now_and_then(options, state, said)
            await asyncio.sleep(POLL_S)
        return
    with Live(console=console, refresh_per_second=4) as live:
        while not (state := service.replay(run))["finished"]:
            _raise_if_stuck(state)
            live.update(tables.overview(service.state()))
            await asyncio.sleep(TABLE_S)
        live.update(tables.overview(service.state()))


def _raise_if_stuck(run: Mapping[str, Any]) -> None:
    """A run that will not come to its end by itself is not waited for. Raises GatewayError."""
    if run["state"] == "unavailable" and run["detail"]:
        raise GatewayError(f"{run['file']}: {run['detail']}", "the same --run id continues when that is mended")
    if run["state"] == "disabled":
        hint = f"gateway links enable replay --instance {run['instance']}, then the same --run id again"
        raise GatewayError(f"run {run['run']}: {run['detail']}", hint)


def _end(options: ReplayOptions, report: dict[str, Any]) -> int:
    """Print what came out; returns the exit code: 1 when the file is not what was said, or its copy is missing."""
    report = {**report, "hint": _advised(report["hint"])}
    _print(options, report)
    complete = report["finished"] and (options.subscribe_to is None or "subscriber" in report)
    return 0 if complete and not report["hint"] else 1


def _advised(hint: str) -> str:
    """Return a hint with the option that says otherwise."""
    for says, unit in (("unit: frames", "packets"), ("these are CADUs, not bare frames", "cadus")):
        if hint.endswith(says):
            return f"{hint}: replay it with --unit {unit} and a new --run id"
    return hint


def _print(options: ReplayOptions, report: dict[str, Any]) -> None:
    if options.as_json:
        print(json.dumps(report), flush=True)
        return
    console = Console()
    if report["counters"]["octets"] and report["streams"]:
        console.print("counted in this start of the run:", style="dim")
        console.print(tables.streams(report["streams"], {}))
    rejected = {k[9:]: v for k, v in report["counters"].items() if k.startswith("rejected_") and v}
    if report["container"] == "kiss" and report["counters"]["octets"]:
        console.print(f"KISS frames kept whole in this start: {report['counters']['frames']}")
    journalled = ", ".join(f"VC{vcid} {count}" for vcid, count in report["journalled_packets"].items())
    console.print(
        f"run {report['run']} finished; packets in its journal: {journalled.replace('VC-1', 'no VC') or 'none'}"
    )
    console.print(f"kept as rejected in this start: {rejected or 'nothing'}")
    if report["hint"]:
        console.print(f"units were refused: {report['hint']}", style="yellow")
    if "subscriber" in report:
        told = report["subscriber"]
        console.print(f"subscriber: {told['exported_packets']} packets in {told['exported']}\nSHA-256 {told['sha256']}")
