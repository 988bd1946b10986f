"""The agent, the console and the API write the same columns, and the same line of the same sample."""

from __future__ import annotations

import csv
import io
import random
from pathlib import Path
from typing import Any, cast

import pytest

from gateway.agent.day_tables import HEADER, by_day
from gateway.api.value_answers import LATEST
from gateway.console import params
from gateway.values.as_csv import pages
from gateway.values.sample_csv import HISTORY_COLUMNS, LATEST_COLUMNS, SAMPLE_COLUMNS
from tests.gateway.simulated import on_virtual_time
from tests.gateway.test_value_sessions import served
from tests.gateway.test_values_standing import RATIO, made, watched_database
from tests.gateway.test_values_subscribed import told
from tests.gateway.values_world import FAST, MODE, T0, TEMP, S, batch

NAMES = (TEMP, MODE, FAST, RATIO)
SPAN = (T0 - 10**6 * S, T0 + 10**6 * S)


class Place:
    """What the console asks, answered by a page that is given."""

    mdb = None

    def __init__(self, page: dict[str, Any]) -> None:
        self.page, self.asked = page, dict[str, Any]()

    def time(self, text: str) -> str:
        return text

    def get(self, path: str, **asked: Any) -> Any:
        self.asked = asked
        if path == "/parameters/latest":
            return [LATEST]
        return self.page


@on_virtual_time
async def test_one_sample_is_one_line_everywhere(tmp_path: Path) -> None:
    """One truth: the agent's CSV, `gateway params get --csv` and the API's CSV have the same columns and give the same
    line of a sample, raw value and all; no column is empty in all lines. The API adds other receptions of a packet."""
    packets = made(random.Random(4), 80)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", io.StringIO())
        async with served(tmp_path, watched_database()) as (world, registry):
            await world.take(batch(packets))
            seen: dict[str, set[str]] = {}
            for name in NAMES:
                rows = await told(world, registry, (name,), delivery="complete", from_position=0)
                values = await world.door.open()
                digest = (await values.version(values.spacecraft(None), None)).digest
                by_agent = b"".join(by_day(tuple(rows), digest).values()).decode()
                place = Place(await world.history(name, raw=True))
                with patch.context() as one:
                    printed = io.StringIO()
                    one.setattr("sys.stdout", printed)
                    params.show_history(
                        cast(Any, place), name, "-1h", "now", "generation", False, None, as_json=False, as_csv=True
                    )
                assert place.asked["raw"] is True
                by_api = "".join([part async for part in await pages(values, None, name, SPAN, None, 1000)])
                assert by_agent.count("\r\n") == len(rows) > 50
                assert printed.getvalue() == HEADER.decode() + by_agent
                assert [line.rpartition(",")[0] for line in by_api.splitlines()] == printed.getvalue().splitlines()
                for row in csv.DictReader(io.StringIO(printed.getvalue())):
                    for key, cell in row.items():
                        seen.setdefault(key, set()).add(cell)
    assert tuple(seen) == SAMPLE_COLUMNS
    assert [key for key, cells in seen.items() if cells == {""}] == []


def test_newest_values_have_them_in_the_same_order(capsys: pytest.CaptureFixture[str]) -> None:
    """The columns of newest values are those of samples that a newest value has, and how old it is; none is empty."""
    place = Place({})
    params.show_latest(cast(Any, place), ["x"], as_json=False, as_csv=True)
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert tuple(row) == LATEST_COLUMNS
    assert all(row.values()), row
    shared = [name for name in LATEST_COLUMNS if name in SAMPLE_COLUMNS]
    assert shared == [name for name in SAMPLE_COLUMNS if name in shared]
    assert HISTORY_COLUMNS[:-1] == SAMPLE_COLUMNS


def test_what_a_spreadsheet_would_run_is_quoted(capsys: pytest.CaptureFixture[str]) -> None:
    """A text that came from space is data in every CSV: a spreadsheet does not take it for a formula."""
    place = Place({"parameters": [{"parameter": "/X/P", "description": "=HYPERLINK(1)", "aliases": []}],
                   "total": 1, "database": "d"})  # fmt: skip
    params.list_parameters(cast(Any, place), "", 10, as_json=False, as_csv=True)
    assert "'=HYPERLINK(1)" in capsys.readouterr().out


def test_several_parameters_are_one_table(capsys: pytest.CaptureFixture[str]) -> None:
    """`gateway params get A B --csv` names the columns once: what reads it reads one table."""
    sample = {"time_utc": "t", "value": 1, "raw": 2, "validity": "valid", "limit": "ok", "position": 3}
    place = Place({"samples": [sample], "parameter": "/X/P", "unit": "V", "database": "d", "after": None,
                   "damaged": [], "decimals": None})  # fmt: skip
    for first in (True, False):
        params.show_history(
            cast(Any, place), "P", "-1h", "now", "generation", False, None, as_json=False, as_csv=True, head=first
        )
    assert len(list(csv.DictReader(io.StringIO(capsys.readouterr().out)))) == 2
