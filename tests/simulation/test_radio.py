"""R6: a simulated pass as a rough stream of bits through the code that flies: what had to arrive did, nothing else."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from gateway.console.reconcile import Stream, compare, read_ledger
from gateway.wiring import intake_maker
from gateway_codecs.batches import IntakeBatch, Quality, Unit
from gateway_config import LinkConfig, load
from gateway_config.loader import EXAMPLES
from gateway_simulators.radio_link import Roughness
from gateway_simulators.space_link import Weather
from gateway_simulators.station import Pass, record
from tests.conftest import SEEDS

IDLE_APID = 2047


def entries(batches: list[IntakeBatch]) -> dict[Stream, list[tuple[int, str]]]:
    """The good items per stream, as a ledger has them."""
    found: dict[Stream, list[tuple[int, str]]] = {}
    for batch in batches:
        for row, item in enumerate(batch.items.items):
            if item["quality"] != Quality.GOOD or item["apid"] == IDLE_APID:
                continue
            count = int(item["vc_count"] if item["unit"] == Unit.FRAME else item["sequence_count"])
            digest = hashlib.sha256(batch.items.octets_of(row)).hexdigest()[:16]
            found.setdefault((int(item["vcid"]), int(item["apid"])), []).append((count, digest))
    return found


@pytest.mark.parametrize("seed", range(max(3, SEEDS // 60)))
def test_a_rough_pass(tmp_path: Path, seed: int) -> None:
    """Slips, inversions, fades, bursts and noise that is mended: every item in frames that were whole, no other."""
    rough = Roughness(slips=0.03, inversions=0.02, bit_noise=[0.0, 1e-5, 1e-4][seed % 3])
    weather = Weather(noise=0.02, loss=0.01, burst_frames=3)
    wanted = Pass(1.5, 200, seed, weather=weather, symbol_errors=seed % 2 * 12, roughness=rough)
    fates = record(wanted, tmp_path / "pass.bin", tmp_path / "ledger.jsonl")
    craft = load(Path(str(EXAMPLES / "demo"))).missions["demo"].spacecraft[0]
    link = LinkConfig(name="x", mission="demo", spacecraft=craft.name, type="file", path="-", unit="cadus")
    intake = intake_maker(link, craft, 1, 1)()
    data = (tmp_path / "pass.bin").read_bytes()
    batches = [intake.feed(data[at : at + 60_000], 1) for at in range(0, len(data), 60_000)]
    batches.append(intake.finish(1))
    good = sum(int((batch.frames["quality"] == Quality.GOOD).sum()) for batch in batches)
    assert good == fates["sent"]
    assert compare("x", read_ledger(tmp_path / "ledger.jsonl"), entries(batches)) == []
    told = {what: sum(b.counters.get(what, 0) for b in batches) for what in ("slips", "inversions")}
    for what, name in (("slips", "slip"), ("inversions", "inversion")):  # some hide in a fade, or are the last thing
        assert 0.5 * fates.get(name, 0) <= told[what] <= fates.get(name, 0)
    frames = np.concatenate([batch.frames for batch in batches])
    corrected, quality = frames["corrected_symbols"], frames["quality"]
    assert (corrected[quality == Quality.REED_SOLOMON] == -1).all()
    # a block that is inverted nearly from its first bit on is a code word too: there the FECF decides
    assert (corrected[quality == Quality.GOOD].sum() > 0) == (rough.bit_noise > 0 or seed % 2 > 0)
