"""`python -m gateway_simulators`: a station that plays a simulated pass, or a recording of one."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path

from gateway_codecs.time_scales import parse_utc, unix_ns_to_tai_ns
from gateway_simulators.flood import FRAME_OCTETS, Flood
from gateway_simulators.radio_link import Roughness
from gateway_simulators.space_link import Weather
from gateway_simulators.spacecraft import OnboardClock
from gateway_simulators.station import Pass, play, record


def main(arguments: list[str] | None = None) -> int:
    """Run one simulator to its end; returns the exit code."""
    parser = argparse.ArgumentParser(prog="gateway_simulators", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    station = commands.add_parser("station", help="listen on TCP, play a pass to the gateway that connects, end")
    station.add_argument("--host", default="127.0.0.1")
    station.add_argument("--port", type=int, default=5500, help="0 = any free port; it is printed as one JSON line")
    station.add_argument("--udp", action="store_true", help="send datagrams of one frame to HOST and PORT instead")
    flood = commands.add_parser("flood", help="send AOS frames with counts in datagrams, evenly, and say how many")
    flood.add_argument("--host", default="127.0.0.1")
    flood.add_argument("--port", type=int, required=True)
    flood.add_argument("--duration-s", type=float, default=10.0)
    flood.add_argument("--frames-per-s", type=float, default=5000.0)
    flood.add_argument("--frame-octets", type=int, default=FRAME_OCTETS)
    flood.add_argument("--wait", action="store_true", help="begin when a line comes on standard input")
    recording = commands.add_parser("record", help="write the frames of a pass to a file")
    recording.add_argument("file", type=Path)
    for command in (station, recording):
        _add_pass(command)
    given = parser.parse_args(arguments)
    if given.command == "flood":
        return _flood(given)
    weather, rough = Weather(given.noise, given.loss), Roughness(given.slips, given.inversions, given.bit_noise)
    if rough != Roughness() and (given.cadus is None or getattr(given, "udp", False)):
        parser.error("--slips, --inversions and --bit-noise are of a stream of bits: they need --cadus, without --udp")
    if given.cadus is not None and given.frames == "uslp-varying":
        parser.error("CADUs hold frames of one length: --frames tm or uslp")
    wanted = Pass(
        given.duration_s, given.frames_per_s, given.seed, weather=weather, symbol_errors=given.cadus, roughness=rough,
        transfer_frames=given.frames, start_tai_ns=_start(given),
    )  # fmt: skip
    try:
        if given.command == "record":
            print(json.dumps(record(wanted, given.file, given.ledger)))
        else:
            asyncio.run(play(wanted, given.host, given.port, given.ledger or Path("/dev/null"), given.udp))
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _add_pass(command: argparse.ArgumentParser) -> None:
    """Add what describes a pass."""
    command.add_argument("--duration-s", type=float, default=20.0)
    command.add_argument("--frames-per-s", type=float, default=200.0)
    command.add_argument("--seed", type=int, default=7, help="the same seed and start make the same pass")
    command.add_argument(
        "--start-utc", type=_time, default=None, metavar="TIME", help="on-board time of the first frame, as in "
        "2026-01-01T00:00:00Z; default: now, of a recording 2026-01-01",
    )  # fmt: skip
    command.add_argument("--noise", type=float, default=0.01, help="chance that a frame is damaged")
    command.add_argument("--loss", type=float, default=0.008, help="chance that a run of frames is lost")
    command.add_argument(
        "--cadus", type=int, default=None, metavar="ERRORS", choices=range(17),
        help="frames as CADUs (Reed-Solomon (255,223) I=5, dual basis, short randomiser), up to so many wrong "
        "symbols in each code word; over TCP and in a file they are a stream of bits",
    )  # fmt: skip
    command.add_argument("--slips", type=float, default=0.0, help="--cadus: chance that bits slip in a frame")
    command.add_argument("--inversions", type=float, default=0.0, help="--cadus: chance that the polarity changes")
    command.add_argument("--bit-noise", type=float, default=0.0, help="--cadus: share of bits that are wrong")
    command.add_argument(
        "--frames", choices=("tm", "uslp", "uslp-varying"), default="tm",
        help="transfer frames; uslp: MAPs and CRC-32, of 1115 octets or of varying length with whole packets",
    )  # fmt: skip
    command.add_argument("--ledger", type=Path, default=None, help="write what was made and what became of it")


def _time(text: str) -> int:
    try:
        return parse_utc(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _start(given: argparse.Namespace) -> int:
    """Return the on-board time of the first frame: a pass is now, a recording always the same."""
    if given.start_utc is not None:
        return int(given.start_utc)
    return OnboardClock().start_tai_ns if given.command == "record" else unix_ns_to_tai_ns(time.time_ns())


def _flood(given: argparse.Namespace) -> int:
    try:
        if given.wait:
            print(json.dumps({"waiting": True}), flush=True)
            sys.stdin.readline()
        flood = Flood(given.host, given.port, given.frame_octets)
        print(json.dumps(flood.run(given.frames_per_s, given.duration_s)), flush=True)
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
