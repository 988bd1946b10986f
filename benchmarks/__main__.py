"""`make bench`: prints one table. These machines are shared and noisy: read the ratios."""

from __future__ import annotations

import gc
import struct
import tempfile
from pathlib import Path

import uvloop

from benchmarks import codecs, coding, databases, end_to_end, history, homes, mqtt, restart, start, timely, udp, values
from gateway_codecs.crc import crc16
from gateway_simulators.spacecraft import CLCW, SCID, ZONE_OCTETS

ROOT = Path(__file__).parents[1]
HERA = ROOT.parent / "shared/data/frames/hera_tm_1113_lowrate.bin"


def main() -> None:
    """Measure everything. The client is ours too: it runs on uvloop with a frozen heap, as the gateway does."""
    gc.collect()
    gc.freeze()
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as name:
        folder = Path(name)
        rows = codecs.measure(folder)
        fastest = rows[2][1]
        for what, rate, note in rows:
            print(f"{what:<34} {rate:>12,.0f}  {note}; {rate / fastest:.2f} x the struct loop")
        for what, rate, note in coding.measure(folder):
            print(f"{what:<34} {rate:>12,.0f}  {note}")
        for what, rate, note in values.measure():
            print(f"{what:<34} {rate:>12,.0f}  parameters/s, {note}")
        for what, took_s, note in databases.measure():
            print(f"{what:<34} {took_s:>12.4f}  s; {note}")
        _end_to_end(folder, rows[0][1])
        _start(folder)
        for frames_per_s in (100, 1000):
            _latency(folder, frames_per_s)
            _timely(folder, frames_per_s)
        _hera_ratio(folder)
        _udp(folder)
        _mqtt(_new(folder))
        for what, took_s, note in history.measure(_new(folder)):
            print(f"{what:<34} {took_s:>12.4f}  s; {note}")
        for line in homes.measure(_new(folder), homes.Sizes()):
            print(line, flush=True)
        for what, took, gigaoctets in restart.measure(folder):
            print(f"{f'restart, {what}':<52} {took:>8.2f}  s to the first read of {gigaoctets:.2f} GB; R8: 5")


def _end_to_end(folder: Path, intake_rate: float) -> None:
    data = codecs.recording(folder, 20_000)
    packets = codecs.intake(data, codecs.CHUNK) + sum(
        1 for at in range(0, len(data), 1115) if (data[at + 1] >> 1) & 7 == 3
    )
    found = uvloop.run(end_to_end.throughput(_new(folder), data, packets))
    print(f"{'end to end, journal on':<34} {found['frames_per_s']:>12,.0f}  TM frames/s to one complete subscriber; "
          f"{found['frames_per_s'] / intake_rate:.2f} x the intake alone; floor 10,000")  # fmt: skip
    told = uvloop.run(end_to_end.throughput(_new(folder), data, packets, values=True))
    print(f"{'  with times and live values':<34} {told['frames_per_s']:>12,.0f}  TM frames/s, "
          f"{told['frames_per_s'] / found['frames_per_s']:.2f} x; {told['behind']:,.0f} items to decode; "
          f"values {told['opened_s']:.2f} s after the first packet")  # fmt: skip
    print(f"{'  packets':<34} {found['packets_per_s']:>12,.0f}  packets/s; gateway CPU {found['cpu_share']:.2f} cores")
    print(f"{'  journal / received octets':<34} {found['journal_ratio']:>12.3f}")
    print(f"{'  memory idle, after the load':<34} {found['idle_octets'] / 1e6:>12.0f}  MB; floor 150; "
          f"after {found['busy_octets'] / 1e6:.0f} MB")  # fmt: skip


def _start(folder: Path) -> None:
    median, best, bare, libraries = start.measure(folder)
    print(f"{'start-up':<34} {median:>12.2f}  s until ready (median of {start.STARTS}, best {best:.2f}); "
          f"{median / libraries:.2f} x importing the libraries alone; floor 1.5")  # fmt: skip
    print(f"{'  without a mission database':<34} {bare:>12.2f}  s; with one that nobody uses yet "
          f"{median / bare:.2f} x")  # fmt: skip


def _frames(frames_per_s: int) -> list[bytes]:
    """Numbered frames of an opaque channel, for five seconds."""
    frames = []
    for number in range(frames_per_s * 5):
        body = struct.pack(">HBBHI", (SCID << 4) | (3 << 1) | 1, number % 256, number % 256, 0x47FF, number)
        body += bytes(ZONE_OCTETS - 4) + CLCW
        frames.append(body + crc16(body).to_bytes(2, "big"))
    return frames


def _timely(folder: Path, frames_per_s: int) -> None:
    alone, _, skipped = uvloop.run(timely.latency(_new(folder), _frames(frames_per_s), frames_per_s, beside=False))
    half, most = (timely.percentile(alone, share) * 1e3 for share in (0.5, 0.99))
    print(f"{f'timely latency at {frames_per_s} frames/s':<34} {half:>12.2f}  ms p50, {most:.2f} ms p99; "
          f"{skipped} skipped; floor p99 {timely.FLOOR_P99_S * 1e3:.0f} ms")  # fmt: skip
    found = uvloop.run(timely.latency(_new(folder), _frames(frames_per_s), frames_per_s, beside=True))
    (half, most), (usual, longest) = (
        [timely.percentile(took, share) * 1e3 for share in (0.5, 0.99)] for took in found[:2]
    )
    print(f"{'  beside a complete subscriber':<34} {half:>12.2f}  ms p50, {most:.2f} ms p99; complete {usual:.2f}, "
          f"{longest:.2f}: {half / usual:.2f} x, {most / longest:.2f} x; {found[2]} skipped")  # fmt: skip


def _latency(folder: Path, frames_per_s: int) -> None:
    frames = _frames(frames_per_s)
    took = uvloop.run(end_to_end.latency(_new(folder), frames, frames_per_s))
    half, most = took[len(took) // 2], took[int(len(took) * 0.99)]
    print(f"{f'latency at {frames_per_s} frames/s':<34} {half * 1e3:>12.2f}  ms p50, {most * 1e3:.2f} ms p99, "
          f"{took[-1] * 1e3:.1f} ms worst; frame written to item received")  # fmt: skip


def _udp(folder: Path) -> None:
    for what, rate, sent, received, kernel, counts in udp.measure(folder):
        print(f"{what:<34} {rate:>12,.0f}  frames/s sent; of {sent} received {received}, "
              f"lost by the kernel's count {kernel}, by the frame counts {counts} ({counts / sent:.1%})")  # fmt: skip


def _mqtt(folder: Path) -> None:
    if mqtt.mosquitto() is None:
        print("MQTT: skipped, mosquitto is not installed (apt-get install mosquitto)")
        return
    for broker, ours, own in mqtt.measure(folder):
        if own is None:
            note = f"pushed in at {mqtt.FLOOR_TO_TEN:,} packets/s: {ours.heard_share:.1%} heard by each; floor 100%"
        else:
            beside = f"{own.deliveries_per_s:,.0f}: {ours.deliveries_per_s / own.deliveries_per_s:.2f} x"
            note = f"{ours.packets_per_s:,.0f} packets/s to each; mosquitto alone with the same messages {beside}"
        print(f"{f'MQTT, {broker}, {ours.subscribers} subscribers':<34} {ours.deliveries_per_s:>12,.0f}  "
              f"deliveries/s of {mqtt.PACKET_OCTETS} octets; {note}")  # fmt: skip


def _hera_ratio(folder: Path) -> None:
    if not HERA.exists():
        print("Hera: skipped, the recording is not beside the checkout")
        return
    import subprocess
    import sys

    for name, pace in (("at once", []), ("at 100 frames/s", ["--frames-per-s", "100"])):
        data_dir = _new(folder)
        command = ["replay", str(HERA), "--mission", "hera", "--run", "x", "--data-dir", str(data_dir), "--json", *pace]
        subprocess.run([sys.executable, "-m", "gateway", *command], check=True, stdout=subprocess.DEVNULL)
        kept = sum(path.stat().st_size for path in data_dir.glob("*/journal/*.seg"))
        print(f"{f'Hera {name}: journal / received':<34} {kept / HERA.stat().st_size:>12.3f}  floor 1.2")


_count = 0


def _new(folder: Path) -> Path:
    global _count  # noqa: PLW0603
    _count += 1
    path = folder / f"run-{_count}"
    path.mkdir()
    return path


if __name__ == "__main__":
    main()
