"""`gateway home`: what people are told when they set an agent up, and how its status looks."""

from __future__ import annotations

import getpass
import io
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from gateway.agent.agent import STATUS
from gateway.agent.status import picture
from gateway.agent.systemd import this_command, unit
from gateway.console.app import app
from gateway.errors import UsageError

ROW = {
    "state": "live", "trouble": None, "connected": True, "connects": 1, "last_error": "", "silent_s": 0.2, "head": 9,
    "low_water": 9, "lag_positions": 0, "behind_s": 0.0, "holes": [], "missing_for_ever": [[2, 4]], "items": 7,
    "packets": 7, "octets": 700, "lost_before": 12, "retention": None,
    "marks_confirmed": 3, "digests_confirmed": 2, "duplicates": 0,
}  # fmt: skip


def home(*words: Any) -> Result:
    return CliRunner().invoke(app, ["home", *map(str, words)], env={"COLUMNS": "160", "TERM": "dumb"})


def test_it_is_set_up_in_two_commands(tmp_path: Path) -> None:
    """`init` writes what `check` finds well, and over nothing."""
    config = tmp_path / "home.yaml"
    assert home("init", config).exit_code == 0
    before = config.read_text()
    again = home("init", config)
    assert (again.exit_code, config.read_text()) == (1, before)
    assert "is there already" in again.stderr
    found = home("check", config)
    assert (found.exit_code, "archive (files)" in found.stdout) == (0, True), found.stderr
    assert "properties" in json.loads(home("check", "--schema").stdout)


@pytest.mark.parametrize("command", [["check"], ["run", "--config"], ["status", "--config"]])
def test_who_begins_without_a_file_is_told_how_to_make_one(tmp_path: Path, command: list[str]) -> None:
    """The first thing that a newcomer does wrong: the error names the file and the command that writes one."""
    config = tmp_path / "home.yaml"
    found = home(*command, config)
    assert found.exit_code == 2
    assert f"there is no such file; `gateway home init {config}` writes one" in found.stderr


def test_the_unit_is_one(tmp_path: Path) -> None:
    """A unit may write into the agent's folders alone, which are made before it is shut in; systemd finds nothing wrong
    with it; a place that it cannot see is refused."""
    there = Path("/srv/lab")
    made = unit(there / "home.yaml", "lab", [there / "store", there / "packets"], this_command())
    assert 'home run --config "/srv/lab/home.yaml"\nUser=lab\n' in made
    assert 'ReadWritePaths="/srv/lab/store" "/srv/lab/packets"\n' in made
    assert 'ExecStartPre=+/usr/bin/install -d -o lab "/srv/lab/store" "/srv/lab/packets"\n' in made
    assert "@" not in made.replace("@system-service", "")
    for wrong in (Path("home.yaml"), Path("/srv/100%/home.yaml"), Path("/tmp/home.yaml"), Path('/srv/"x')):
        with pytest.raises(UsageError):
            unit(wrong, "lab", [], "gateway")
    home("init", tmp_path / "home.yaml")
    assert home("unit", "--config", tmp_path / "home.yaml", "--user", "a b").exit_code == 2
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed (apt-get install systemd): what it says of the unit is not seen")
    file = tmp_path / "gateway-home.service"
    file.write_text(made.replace("User=lab", f"User={getpass.getuser()}"))
    said = subprocess.run([analyze, "verify", str(file)], capture_output=True, text=True, timeout=60, check=False)
    assert (said.returncode, str(file) in said.stdout + said.stderr) == (0, False), said.stderr


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("type: websocket, port: 5601", "type: websocket, folder: x", "outlets.live.folder = 'x': a websocket outlet"),
        ("{type: tcp, port: 5600}", "{type: tcp, host: 0.0.0.0}", "home.yaml:32: outlets.tools.host = '0.0.0.0'"),
        ("{type: tcp, port: 5600}", "{type: tcp, origins: [http://x]}", "a tcp outlet does not use it"),
        ("{type: tcp, port: 5600}", "{type: tcp, port: 5601}", "another outlet listens there"),
        ("archive: {type: files, folder: packets}", "archive: {type: files}", "a files outlet needs a folder"),
        ("port: 5600}", "port: 5600, subscription: nope}", "not one of the subscriptions: science"),
        ("  science:", "  outlets:", "choose another name"),
        ("http://127", "gopher://127", "url = 'gopher://127.0.0.1:8440'"),
        ("#token_file: token", "password_file: x", "it is for mqtt(s):// alone"),
        ("begin: oldest", "begin: yesterday", "begin = 'yesterday'"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, before: str, after: str, told: str) -> None:
    """Each wrong key is told: file, line, key, value, what would be right; exit code 2."""
    config = tmp_path / "home.yaml"
    home("init", config)
    assert before in config.read_text()
    config.write_text(config.read_text().replace(before, after))
    found = home("check", config)
    assert found.exit_code == 2
    assert told in found.stderr.replace(str(tmp_path) + "/", "")


def test_a_token_that_is_not_there_is_told(tmp_path: Path) -> None:
    """`check` looks whether the token is there, and shows none."""
    config = tmp_path / "home.yaml"
    home("init", config)
    config.write_text(config.read_text().replace("#token_file", "token_file"))
    missing = home("check", config)
    assert (missing.exit_code, str(tmp_path / "token") in missing.stderr) == (2, True)
    (tmp_path / "token").write_text("gwt_1.secret\n")
    found = home("check", config)
    assert (found.exit_code, "secret" in found.output) == (0, False)


@pytest.mark.parametrize("width", [48, 60, 80, 120])
def test_no_number_is_cut_on_a_small_terminal(width: int) -> None:
    """What must be seen of a subscription and an outlet (state, stored, lag) is whole on any terminal, the rest left
    out; a lag of who is not connected is no more than a least."""
    row = {**ROW, "state": "catching up", "items": 12_345_678, "lag_positions": 987_654_321, "connected": False}
    live = {
        "type": "websocket", "state": "serving", "trouble": None, "items": 7_654_321, "octets": 9, "lag_positions": 0,
        "listens_on": "127.0.0.1:5601", "clients": [1, 2, 3], "skipped_items": 4_567,
    }  # fmt: skip
    status = {
        "state": "waiting", "home": "a", "instance": "m.flight", "url": "http://x", "process": 1, "running_s": 3,
        "subscriptions": {"the-name-of-a-subscription": row}, "outlets": {"live": live},
    }  # fmt: skip
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(picture(status, 1.0, width))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    for whole in ("catching up", "12345678", "987654321+", "websocket", "serving", "7654321"):
        assert whole in text
    assert ("127.0.0.1:5601" in text, "lost before" in text) == (width >= 80, width >= 80)
    assert all(len(line) <= width for line in text.splitlines())


def test_the_status_tells_whether_it_runs(tmp_path: Path) -> None:
    """Exit 0 while the agent runs and is well; 1 for one in trouble, stopped, vanished, or silent for long."""
    never = home("status", "--store", tmp_path)
    assert (never.exit_code, "gateway home run" in never.output) == (1, True), never.output
    outlet = {"type": "tcp", "state": "serving", "trouble": None, "items": 5, "octets": 9, "lag_positions": 0}
    status = {
        "state": "well", "home": "a", "instance": "m.flight", "url": "http://x", "process": os.getpid(), "running_s": 3,
        "subscriptions": {"all": ROW}, "outlets": {"tools": {**outlet, "listens_on": "127.0.0.1:5600", "clients": []}},
    }  # fmt: skip

    def shown(**more: Any) -> Result:
        (tmp_path / STATUS).write_text(json.dumps({**status, **more}))
        return home("status", "--store", tmp_path)

    well = shown()
    assert well.exit_code == 0
    for text in ("a at m.flight", "live", "127.0.0.1:5600", "positions 2..4 will never come"):
        assert text in well.stdout
    row = {**ROW, "trouble": "nothing is stored\x1b[2J", "state": "disk"}
    trouble = shown(state="trouble", subscriptions={"all": row})
    assert (trouble.exit_code, "all: nothing is stored" in trouble.stdout) == (1, True)
    assert "\x1b[2J" not in trouble.stdout, "what a gateway says does nothing to a terminal"
    assert "does not run" in shown(state="stopped").stdout
    assert shown(process=2**22 + 1).exit_code == 1
    shown()
    os.utime(tmp_path / STATUS, (time.time() - 60,) * 2)
    assert json.loads(home("status", "--store", tmp_path, "--json").stdout)["running"] is False
    (tmp_path / STATUS).write_text("{")
    assert home("status", "--store", tmp_path).exit_code == 2
