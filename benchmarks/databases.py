"""How long mission databases take to load: the largest of each form, beside space-packet-parser with the same XTCE."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.codecs import best
from gateway.databases import load_database
from gateway_codecs.mdb.decoder import Decoder
from gateway_config.loader import EXAMPLES

DATA = Path(__file__).parents[2] / "shared/data"
APID = 1


def _largest(pattern: str) -> Path | None:
    return max(DATA.rglob(pattern), key=lambda path: path.stat().st_size, default=None)


def _octets(path: Path) -> int:
    return sum(one.stat().st_size for one in path.iterdir()) if path.is_dir() else path.stat().st_size


def measure() -> list[tuple[str, float, str]]:
    """Return rows (what, seconds, note); forms whose recordings are not beside the checkout are left out."""
    mib = _largest("pcf.dat")
    chosen = {
        "XTCE": _largest("*.xml"), "MIB": None if mib is None else mib.parent,
        "CSV": _largest("*defs.csv"), "YAML of the demo": Path(str(EXAMPLES)) / "demo/databases/solar.yaml",
    }  # fmt: skip
    rows = []
    for form, path in chosen.items():
        if path is None:
            rows.append((f"load, largest {form}", 0.0, "skipped: it is not beside the checkout"))
            continue
        apid = APID if form == "CSV" else None
        parameters = len(load_database(path, None, apid).database.parameters)
        took_s = best(lambda path=path, apid=apid: Decoder(load_database(path, None, apid).database))  # type: ignore[misc]
        size = f"{path.name}, {_octets(path) / 1e3:,.0f} kB, {parameters} parameters"
        note = f"{size}: {parameters / took_s:,.0f} a second"
        rows.append((f"load, {form}", took_s, note))
        if form == "XTCE":
            rows.append(("  space-packet-parser", *_other(path, took_s)))
    return rows


def _other(path: Path, ours_s: float) -> tuple[float, str]:
    """Return how long space-packet-parser takes with the same document, or why it does not."""
    try:
        from space_packet_parser import XtcePacketDefinition
    except ImportError:
        return 0.0, "not installed"
    load: Callable[[Path], Any] = XtcePacketDefinition.from_xtce
    began = time.perf_counter()
    try:
        load(path)
    except Exception as error:  # whatever it does not know
        return time.perf_counter() - began, f"refuses it: {type(error).__name__}: {str(error)[:60]}"
    took_s = best(lambda: load(path))
    return took_s, f"the same document; ours takes {ours_s / took_s:.2f} x as long"


if __name__ == "__main__":
    for what, took, told in measure():
        print(f"{what:<34} {took:>12.4f}  s; {told}")
