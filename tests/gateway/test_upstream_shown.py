"""What an operator sees of another gateway as the peer: in tables, in metrics, in the journal's items."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from rich.console import Console

from gateway.api.answers import LINK
from gateway.api.metrics import _links
from gateway.console import tables
from gateway.console.journal import Choice, items_of, names_of, show_items
from gateway.journal import Journal, JournalSettings
from gateway.real import LocalStorage
from gateway_codecs.batches import IntakeBatch
from tests.gateway.simulated import SimClock, inline
from tests.gateway.test_journal import packets

JOURNAL = "6f1c0f7e-7d0b-4b39-8f5e-5d1a4c1f2a11"
UPSTREAM: dict[str, Any] = {
    "address": "http://a:1 m.flight", "subscription": "b/relay", "journal_id": JOURNAL, "revision": 1,
    "low_water": 2400, "acknowledged_ranges": [[2420, 2440]], "lag_items": 47, "path": [JOURNAL],
}  # fmt: skip


def shown(**changes: Any) -> str:
    console = Console(width=200, file=io.StringIO(), record=True)
    console.print(tables.links([{**LINK, "type": "gateway", "upstream": UPSTREAM | changes}]))
    return console.export_text()


def test_how_far_a_link_is() -> None:
    """The operator sees which journal the link has, up to where, and how much is still to come."""
    assert f"upstream journal {JOURNAL}: all below 2400 and 20 above, 47 positions to come" in shown()
    assert "nothing missing" in shown(lag_items=0)
    assert "not connected" in shown(lag_items=None)
    assert "never connected yet" in shown(journal_id=None)


def test_metrics_of_an_upstream() -> None:
    """Prometheus gets the low water and the lag; while not connected the lag is not known, and not told."""
    for lag, samples in ((47, [47.0]), (None, [])):
        links = [{**LINK, "upstream": UPSTREAM | {"lag_items": lag}}, {**LINK, "name": "station"}]
        metrics = {metric.name: metric.samples for metric in _links([{"instance": "m.flight", "links": links}])}
        assert [sample.value for sample in metrics["gateway_upstream_low_water"]] == [2400.0]
        assert [sample.value for sample in metrics["gateway_upstream_lag_items"]] == samples


async def test_the_journal_says_where_an_item_came_from(tmp_path: Path, capsys: Any) -> None:
    """Provenance: an item of another gateway is shown with its journal and position there, others without."""
    storage = LocalStorage(tmp_path)
    journal = await Journal.open(storage, SimClock(), inline, inline, JournalSettings(reserve_octets=0), "m")
    relay, station = journal.name_id("links", "relay"), journal.name_id("links", "station")
    ours, theirs = packets([b"ours"]), packets([b"theirs", b"theirs too"])
    ours.items["link"], theirs.items["link"] = station, relay
    theirs.items["upstream_position"] = [70, 300_000]
    await journal.append(IntakeBatch(ours), "station")
    await journal.append(IntakeBatch(theirs, state={"upstream": {"now": f"{JOURNAL}/1"}}), "relay")
    await journal.close()
    folder = tmp_path / "m"
    found = [(item["upstream_journal"], item["upstream_position"]) for item in items_of(folder, [], names_of(folder))]
    assert found == [(None, None), (f"{JOURNAL}/1", 70), (f"{JOURNAL}/1", 300_000)]
    show_items(folder, None, 10, Choice(), with_octets=False, as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert "of journal" not in lines[0]
    assert lines[2].endswith(f"there 300000 of journal {JOURNAL}/1")
