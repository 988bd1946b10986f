"""`gateway journal verify|export`: what exit status and words say of a journal that is damaged or being written."""

from __future__ import annotations

import contextlib
import csv
import json
import sqlite3
from pathlib import Path

import pytest
import typer

from gateway.console.journal import Choice, export_journal, items_of, list_journals, show_items, verify_journal
from gateway.errors import NotFound, UsageError
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
    export_journal(folder, folder / "out", "packets", Choice(idle=True))
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
        export_journal(folder, folder / "out", "packets", Choice(idle=True))
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
        export_journal(folder, folder / "out", "packets", Choice(idle=True))
    assert (folder / "out").read_bytes().endswith(b"9" + b"x" * 100 + b"last")


async def test_unknown_times_are_left_empty(folder: Path, tmp_path: Path) -> None:
    """A time that is not known is nothing to another tool: empty in CSV, null in JSON and SQLite, never a number."""
    export_journal(folder, tmp_path / "items.csv", "csv", Choice())
    export_journal(folder, tmp_path / "items.db", "sqlite", Choice())
    with (tmp_path / "items.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {(row["generation_time_ns"], row["generation_time_utc"]) for row in rows} == {("", "")}
    assert {(row["receive_time_ns"], row["receive_time_utc"][:4]) for row in rows} == {("0", "1958")}
    with contextlib.closing(sqlite3.connect(tmp_path / "items.db")) as database:
        assert database.execute("SELECT DISTINCT generation_time_ns FROM items").fetchall() == [(None,)]
    shown = [item["generation_time_ns"] for item in items_of(folder, [], {})]
    assert shown == [None] * 10


async def test_the_list_names_what_can_be_typed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`ls` shows each journal by the path that `show`, `verify` and `export` take, never shortened."""
    list_journals(folder.parent, as_json=False)
    out = capsys.readouterr().out
    assert str(folder) in out.splitlines()
    assert "00000001.seg" in out
    assert "0..10" in out


async def test_journal_ls_lists_beside_an_instance_that_has_committed_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Operation: `journal ls` of a data directory shows what is there; an instance without a commit is no error."""
    for name in ("a", "b"):
        journal = await Journal.open(LocalStorage(tmp_path), SimClock(), inline, inline, SMALL, name)
        if name == "b":
            await journal.append(IntakeBatch(packets([b"x"])))
        await journal.close()
    list_journals(tmp_path, as_json=True)
    assert [row["instance"] for row in json.loads(capsys.readouterr().out)] == ["b"]


@pytest.mark.parametrize("at", [0, 200], ids=["header", "octets"])
async def test_damage_is_told_once(folder: Path, capsys: pytest.CaptureFixture[str], at: int) -> None:
    """R14: what a damaged block held is its damage, and not a second finding beside it."""
    data = bytearray((folder / SEGMENT).read_bytes())
    block = [i for i in range(0, len(data), 8) if data.startswith(b"UGWJBLK1", i)][4]
    data[block + at] ^= 1
    (folder / SEGMENT).write_bytes(data)
    assert verify_journal(folder, as_json=False) == 1
    out = capsys.readouterr().out
    assert "9 good blocks, 9 items, 1 damaged places" in out
    assert "missing" not in out


async def test_missing_blocks_are_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """R14: a block that somebody cut out cleanly is told, though every other one is good."""
    data = (folder / SEGMENT).read_bytes()
    starts = [i for i in range(0, len(data), 8) if data.startswith(b"UGWJBLK1", i)]
    (folder / SEGMENT).write_bytes(data[: starts[4]] + data[starts[5] :])
    assert verify_journal(folder, as_json=False) == 1
    assert "missing" in capsys.readouterr().out


@pytest.fixture
async def of_two(tmp_path: Path) -> Path:
    """An instance's folder with one packet of each of two spacecraft by each of two links."""
    journal = await Journal.open(LocalStorage(tmp_path), SimClock(), inline, inline, SMALL, "two")
    for craft in ("picard", "soho"):
        for link in ("kiruna", "kourou"):
            batch = packets([f"{craft} {link}".encode()])
            batch.items["spacecraft"] = journal.name_id("spacecraft", craft)
            batch.items["link"] = journal.name_id("links", link)
            await journal.append(IntakeBatch(batch))
    await journal.close()
    return tmp_path / "two"


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (Choice(links=["kiruna"]), b"picard kirunasoho kiruna"),
        (Choice(spacecraft=["soho"]), b"soho kirunasoho kourou"),
        (Choice(links=["kourou"], spacecraft=["picard"]), b"picard kourou"),
    ],
)
async def test_links_and_spacecraft_are_separated(of_two: Path, choice: Choice, expected: bytes) -> None:
    """An export of one link or spacecraft holds its packets only."""
    export_journal(of_two, of_two / "out", "packets", choice)
    assert (of_two / "out").read_bytes() == expected


async def test_a_name_that_the_journal_does_not_know(of_two: Path) -> None:
    """A name that is not there is told with those that are: nothing is written."""
    for choice, words in ((Choice(links=["x"]), "kiruna, kourou"), (Choice(spacecraft=["x"]), "picard, soho")):
        with pytest.raises(NotFound) as caught:
            export_journal(of_two, of_two / "out", "packets", choice)
        assert words in caught.value.hint
    assert not (of_two / "out").exists()


async def test_exports_name_links_and_spacecraft(of_two: Path, tmp_path: Path) -> None:
    """Another tool reads names, not the journal's numbers."""
    export_journal(of_two, tmp_path / "items.csv", "csv", Choice())
    export_journal(of_two, tmp_path / "items.db", "sqlite", Choice())
    with (tmp_path / "items.csv").open(encoding="utf-8") as file:
        named = [(row["spacecraft_name"], row["link_name"]) for row in csv.DictReader(file)]
    with contextlib.closing(sqlite3.connect(tmp_path / "items.db")) as database:
        assert database.execute("SELECT spacecraft_name, link_name FROM items ORDER BY position").fetchall() == named
    assert named == [("picard", "kiruna"), ("picard", "kourou"), ("soho", "kiruna"), ("soho", "kourou")]


async def test_items_are_shown_with_names_where_there_are_several(
    of_two: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whose packet it is is shown where it could be another's; one link of one spacecraft needs no name."""
    show_items(of_two, None, 20, Choice(links=["kourou"]), with_octets=False, as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert ["picard by kourou" in lines[0], "soho by kourou" in lines[1], len(lines)] == [True, True, 2]
    show_items(folder, 9, 20, Choice(), with_octets=False, as_json=False)
    assert " by " not in capsys.readouterr().out


def test_raw_frames_cannot_be_chosen(tmp_path: Path) -> None:
    """Nothing asked for is silently ignored: `--frames --vc 1` is wrong usage."""
    for choice in (Choice(vcids=[1]), Choice(apids=[1]), Choice(links=["x"]), Choice(idle=True)):
        with pytest.raises(UsageError, match="--frames takes no --vc") as caught:
            export_journal(tmp_path, tmp_path / "out", "frames", choice)
        assert "cannot be chosen" in caught.value.hint
