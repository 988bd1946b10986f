"""Hostile databases of every format but XTCE (test_xtce_hostile): a clear error, within bounds of memory and time.

They are read by another process whose memory is bounded: what asks for more than that ends there, not here.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway.databases import load_database
from gateway_codecs.mdb.report import DatabaseError, Remark, printable
from tests.mdb.hostile_files import FILES, canonical

ROOT = Path(__file__).parents[2]
ROOMS = [str(ROOT / room) for room in (".", "codecs", "routes", "config", "simulators")]
TOGETHER_S = 300
"""For all together, on a busy machine: what does not end at all is found, what is slow is not."""


@pytest.fixture(scope="module")
def endings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """How reading each of the files ended."""
    folder = tmp_path_factory.mktemp("hostile")
    for name, (content, _) in FILES.items():
        (folder / name).write_bytes(content())
    done = subprocess.run(
        [sys.executable, "-m", "tests.mdb.hostile_files", *(str(folder / name) for name in FILES)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(ROOMS)},
        cwd=ROOT, capture_output=True, text=True, timeout=TOGETHER_S, check=False,
    )  # fmt: skip
    for name in FILES:
        (folder / name).unlink()
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"after {[row['name'] for row in rows][-1:]}: {done.stderr[-2000:]}"
    return {row["name"]: row for row in rows}


@pytest.mark.parametrize("name", FILES)
def test_a_hostile_file_is_a_clear_error(endings: dict[str, Any], name: str) -> None:
    """Whatever a file asks for: the file, what is wrong, or a database that can be used; never anything else."""
    ended, told = endings[name], FILES[name][1]
    assert "traceback" not in ended, ended["traceback"]
    said = [ended["error"]] if "error" in ended else ended["wrong"] or ["usable"]
    assert any(re.search(told, one) for one in said), said[:3]
    assert all(len(one) < 2000 and one.isprintable() for one in said)
    if "error" in ended:
        assert name in ended["error"]


def test_what_is_no_file(tmp_path: Path) -> None:
    """Pipes, devices, folders, links to themselves, and what is not there: told at once, nothing waits."""
    os.mkfifo(tmp_path / "pipe.xml")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "loop.csv").symlink_to(tmp_path / "loop.csv")
    for name in ("pipe.xml", "pipe"):
        with pytest.raises(DatabaseError, match=f"{name}: no file, but a pipe"):
            load_database(tmp_path / name)
    with pytest.raises(DatabaseError, match=r"folder.yaml: a folder without pid.dat: no MIB"):
        load_database(tmp_path / "folder.yaml")
    with pytest.raises(DatabaseError, match=r"folder.yaml: no file, but a pipe, device or folder"):
        load_database(tmp_path / "folder.yaml", "yaml")
    for name in ("loop.csv", "nowhere.xml"):
        with pytest.raises(OSError, match=name):
            load_database(tmp_path / name)
    with pytest.raises(DatabaseError, match="no file, but a pipe, device"):
        load_database(Path("/dev/zero"), "xtce")


def test_a_table_of_a_mib_that_is_a_pipe(tmp_path: Path) -> None:
    """A folder with something else that ends with .dat is read without it: nothing waits."""
    os.mkfifo(tmp_path / "pcf.dat")
    (tmp_path / "pid.dat").write_text("")
    assert load_database(tmp_path).counts == {"pid": 0}


def test_what_a_file_says_cannot_harm_a_terminal() -> None:
    """Quoted text has no control characters, whatever the file, and ends."""
    remark = Remark("wrong", "\x1b]0;title\x07", "\x1b[2J" + "x" * 5000)
    assert (remark.what, len(remark.why) < 700) == (r"\x1b]0;title\x07", True)
    error = DatabaseError("\x9b31m \u202e", hint="\ud800")
    assert (str(error), error.hint) == (r"\x9b31m \u202e", r"\ud800")
    assert printable("volts, °C and Ω\n") == "volts, °C and Ω\n"


def test_a_good_one_is_read(tmp_path: Path) -> None:
    """What the hostile canonical files are made from is a database."""
    (tmp_path / "x.json").write_bytes(canonical()())
    assert list(load_database(tmp_path / "x.json").database.parameters) == ["/X/P"]
