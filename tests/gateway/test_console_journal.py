"""`gateway journal verify|export`: what exit status and words say of a journal that is damaged or being written."""

from __future__ import annotations

import contextlib
import csv
import json
import sqlite3
from pathlib import Path

import pytest
import typer

from gateway.console.journal import export_journal, items_of, list_journals, verify_journal
from gateway.real import LocalStorage
from gateway_codecs.batches import IntakeBatch
from tests.gateway.simulated import SimClock, inline
from tests.gateway.test_journal import SMALL, Journal, packets

SEGMENT = "journal/00000001.seg"


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    """An instance's folder with ten blocks of one packet."""
    journal = await Journal.open(LocalStorage(tmp_path), SimClock(), inline, inline, SMALL, "m")
    for k in range(10):
        await journal.append(IntakeBatch(packets([b"%d" % k + b"x" * 100])))
    await journal.close()
    return tmp_path / "m"


@pytest.mark.parametrize("left", [40, 150])
async def test_a_block_under_way_is_no_damage(folder: Path, left: int, capsys: pytest.CaptureFixture[str]) -> None:
    """While the gateway runs the last block may be half written: verify says so and is content; so is export."""
    whole = (folder / SEGMENT).read_bytes()
    last = whole.rfind(b"UGWJBLK1")
    (folder / SEGMENT).write_bytes(whole[: last + left])
    assert verify_journal(folder, as_json=True) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["blocks"], result["damage"]) == (9, [])
    assert result["under_way"] == {"segment": "00000001.seg", "offset": last, "octets": left}
    assert verify_journal(folder, as_json=False) == 0
    assert f"the last block is under way or was cut off: {left} octets at {last} of" in capsys.readouterr().out
    export_journal(folder, folder / "out", "packets", None, None, idle=True)
    assert len((folder / "out").read_bytes()) == 9 * 101


async def test_rubbish_at_the_end_is_damage(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is not even the beginning of a block was never under way."""
    with (folder / SEGMENT).open("ab") as file:
        file.write(bytes(200))
    assert verify_journal(folder, as_json=False) == 1
    assert "positions 10..the end: no block magic" in capsys.readouterr().out


async def test_an_export_that_left_something_out_fails(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What could be read is exported; exit status 1 and the ranges say what is missing."""
    data = bytearray((folder / SEGMENT).read_bytes())
    data[data.index(b"4xxxx") + 3] ^= 1
    (folder / SEGMENT).write_bytes(data)
    assert verify_journal(folder, as_json=False) == 1
    with pytest.raises(typer.Exit) as exited:
        export_journal(folder, folder / "out", "packets", None, None, idle=True)
    assert exited.value.exit_code == 1
    assert len((folder / "out").read_bytes()) == 9 * 101
    told = capsys.readouterr()
    assert "left out: positions 4..5 of 00000001.seg: octets of group 0 CRC-32C" in told.err
    assert "9 items" in told.out


async def test_a_carried_block_is_not_exported(folder: Path) -> None:
    """A packet that carries a block of another journal does not become items when its own block is damaged."""
    journal = await Journal.open(LocalStorage(folder.parent), SimClock(), inline, inline, SMALL, "other")
    await journal.append(IntakeBatch(packets([b"foreign"])))
    await journal.close()
    carried = (folder.parent / "other" / SEGMENT).read_bytes()
    journal = await Journal.open(LocalStorage(folder.parent), SimClock(), inline, inline, SMALL, "m")
    start = (folder / SEGMENT).stat().st_size
    await journal.append(IntakeBatch(packets([b"A" * 500 + carried])))
    await journal.append(IntakeBatch(packets([b"last"])))
    await journal.close()
    data = bytearray((folder / SEGMENT).read_bytes())
    data[start + 20] ^= 1
    (folder / SEGMENT).write_bytes(data)
    with pytest.raises(typer.Exit):
        export_journal(folder, folder / "out", "packets", None, None, idle=True)
    assert (folder / "out").read_bytes().endswith(b"9" + b"x" * 100 + b"last")


async def test_unknown_times_are_left_empty(folder: Path, tmp_path: Path) -> None:
    """A time that is not known is nothing to another tool: empty in CSV, null in JSON and SQLite, never a number."""
    export_journal(folder, tmp_path / "items.csv", "csv", None, None, False)
    export_journal(folder, tmp_path / "items.db", "sqlite", None, None, False)
    with (tmp_path / "items.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {(row["generation_time_ns"], row["generation_time_utc"]) for row in rows} == {("", "")}
    assert {(row["receive_time_ns"], row["receive_time_utc"][:4]) for row in rows} == {("0", "1958")}
    with contextlib.closing(sqlite3.connect(tmp_path / "items.db")) as database:
        assert database.execute("SELECT DISTINCT generation_time_ns FROM items").fetchall() == [(None,)]
    shown = [item["generation_time_ns"] for item in items_of(folder, [])]
    assert shown == [None] * 10


async def test_the_list_names_what_can_be_typed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`ls` shows each journal by the path that `show`, `verify` and `export` take, never shortened."""
    list_journals(folder.parent, as_json=False)
    out = capsys.readouterr().out
    assert str(folder) in out.splitlines()
    assert "00000001.seg" in out
    assert "0..10" in out
