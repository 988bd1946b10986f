"""`gateway mdb`: what people see of a mission database, what programs get, and how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from gateway.console.app import app
from gateway.databases import FORMATS, find_format, load_database
from gateway_codecs.mdb import canonical
from gateway_codecs.mdb.model import TimeEncoding
from gateway_codecs.mdb.report import Budget, DatabaseError
from gateway_codecs.time_scales import parse_utc
from gateway_config import MibSettings
from tests.conftest import SHARED

DATA = SHARED / "data"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="the shared databases are not beside the checkout")
SOLAR = Path(str(files("gateway_config") / "examples" / "demo" / "databases" / "solar.yaml"))
REAL = [
    ("mdb/BogusSAT-1.xml", "xtce"),
    ("mdb/Diagnostic_Log_Packets.xml", "xtce"),
    ("mdb/smile_sxi_mib_dbs", "mib"),
    ("mdb/spacepylibrary_mib", "mib"),
    ("packets/jpss1_geolocation_xtce_v1.xml", "xtce"),
    ("packets/jpss1_contrived_inheritance.xml", "xtce"),
    ("packets/idex_combined_science_definition.xml", "xtce"),
    ("packets/jpss1_geolocation_ccsdspy.csv", "ccsdspy"),
]
TEXT = """mission_database: 1
name: SMALL
version: "2"
description: for a test
header: {pus_c: {time: cuc}}
packets:
  HK:
    apid: 100
    type: 3
    subtype: 25
    parameters:
      - VOLTAGE: {bits: 12, polynomial: [0, 0.01], unit: V, description: main bus, limits: {warning: [26, 30], critical: [24, 32]}}
      - spare_bits: 4
      - MODE: {bits: 8, states: {0: OFF, 1: ON, else: BAD}, aliases: [M1]}
      - IMAGE: {binary: {octets: rest}, when: MODE == ON}
parameters:
  POWER: {derived: VOLTAGE * 2, unit: W}
"""  # noqa: E501


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(TEXT, encoding="utf-8")
    return path


def run(*words: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, ["mdb", *map(str, words)], env={"COLUMNS": "160", "TERM": "dumb"})
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result


def as_json(*words: object, code: int = 0) -> Any:
    return json.loads(run(*words, "--json", code=code).stdout)


# ---- looking


def test_the_tree_shows_how_packets_are_told(small: Path) -> None:
    """At a glance: what there is, what tells it, how large it is."""
    text = run("show", small).output
    assert "SMALL 2  1 packet, 18 parameters (1 derived)" in text
    assert "for a test" in text
    assert "└── PUS  CCSDS_SEC_HDR = 1  7 parameters, 19 octets" in text
    assert "└── HK  CCSDS_APID = 100, PUS_TYPE = 3, PUS_SUBTYPE = 25  3 parameters, length varies" in text


def test_a_packet_is_a_table_of_bits(small: Path) -> None:
    """Octet and bit, size, coding, calibration in words, limits: what one looks up in the middle of a pass."""
    lines = run("show", small, "HK").output.splitlines()
    voltage = next(line for line in lines if "VOLTAGE" in line)
    assert voltage.split()[:4] == ["19.0", "12", "VOLTAGE", "unsigned"]
    assert "0.01 × raw V" in voltage
    assert "warning: outside 26 to 30" in voltage
    assert next(line for line in lines if "(spare)" in line).split()[:2] == ["20.4", "4"]
    assert "varies  IMAGE if MODE = ON" in next(line for line in lines if "IMAGE" in line)


def test_a_parameter_is_told_in_words(small: Path) -> None:
    """By the end of its name, by its alias, whatever it is."""
    text = run("show", small, "VOLTAGE", "M1", "POWER").output
    for wanted in (
        "VOLTAGE  main bus", "12 bits, unsigned", "0.01 × raw", "critical: outside 24 to 32", "VOLTAGE * 2",
        "0 = OFF, 1 = ON, else BAD", f"{small}:12",
    ):  # fmt: skip
        assert wanted in text
    assert text.count("stands in") == 2


def test_what_is_not_there_has_a_hint(small: Path) -> None:
    """A name that is mistyped gives the nearest ones, and exit code 1."""
    result = run("show", small, "VOLTAG", code=1)
    assert "there is no packet or parameter VOLTAG" in result.output
    assert "did you mean VOLTAGE" in result.output
    assert as_json("show", small, "nothing", code=1)["missing"] == ["nothing"]


def test_show_as_data_has_the_same(small: Path) -> None:
    """A script gets bits, words and the whole definition."""
    told = as_json("show", small, "HK", "VOLTAGE")
    entry = next(one for one in told["packets"][0]["entries"] if one.get("parameter") == "/SMALL/VOLTAGE")
    assert (entry["first_bit"], entry["size_bits"]) == (152, 12)
    assert told["parameters"][0]["definition"]["types"]["calibration"]["default"]["coefficients"] == [0.0, 0.01]
    whole = as_json("show", small)
    assert (whole["packets"], whole["parameters"], len(whole["parameter_list"])) == (1, 18, 18)
    assert whole["digest"] == canonical.digest(load_database(small).database)


def test_find_looks_into_names_units_and_descriptions(small: Path) -> None:
    """What one remembers of a parameter is enough."""
    assert "VOLTAGE" in run("find", small, "main BUS").output
    assert [one["name"] for one in as_json("find", small, "m1")["parameters"]] == ["/SMALL/MODE"]
    assert [one["name"] for one in as_json("find", small, "hk")["packets"]] == ["/SMALL/HK"]
    assert "nothing in" in run("find", small, "xyzzy", code=1).output
    assert "more: --limit" in run("find", SOLAR, "t", "--limit", 1).output


# ---- checking


def test_check_says_everything_at_once(small: Path) -> None:
    """Errors of the text with line, value and way out; exit code 1; as data too."""
    small.write_text(TEXT.replace("bits: 12", "bits: 120").replace("states:", "stats:"), encoding="utf-8")
    result = run("check", small, code=1)
    assert f"{small}:12: VOLTAGE: bits is 120" in result.output
    assert f"{small}:14: MODE: MODE has no key stats" in result.output
    assert "did you mean states?" in result.output
    told = as_json("check", small, code=1)
    assert told["usable"] is False
    assert [one["line"] for one in told["errors"]] == [12, 14]


def test_check_finds_what_cannot_be_decoded_as_meant(small: Path) -> None:
    """A file that can be read may still be wrong."""
    assert "nothing wrong" in run("check", small).output
    small.write_text(TEXT.replace("[26, 30]", "[20, 40]"), encoding="utf-8")
    result = run("check", small, code=1)
    assert f"{small}:12: VOLTAGE: its warning limits 20 to 40 are never seen: critical is 24 to 32" in result.output
    assert "1 wrong" in result.output
    (remark,) = as_json("check", small, code=1)["remarks"]
    assert (remark["kind"], remark["line"], remark["what"]) == ("wrong", 12, "VOLTAGE")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("none.yaml", None, "no such mission database"),
        ("rubbish.bin", "hello", "looks like no mission database"),
        ("x.json", "{}", "no canonical database"),
        ("x.yaml", "- 1", "mission_database is missing"),
        ("x.xml", "<a", "x.xml"),
    ],
)
def test_files_that_are_no_database_are_told(tmp_path: Path, name: str, text: str | None, message: str) -> None:
    """One line says what is wrong with the file, none is a stack of Python."""
    if text is not None:
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert message in run("show", tmp_path / name, code=1).output


def test_a_folder_that_is_no_mib_is_told(tmp_path: Path) -> None:
    """A folder is read as a MIB only when it is one."""
    assert "no MIB" in run("check", tmp_path, code=1).output


def test_a_table_of_a_mib_leads_to_its_folder(tmp_path: Path) -> None:
    """Who points at one of the tables is told to point at their folder."""
    for name in ("pid.dat", "pcf.dat"):
        (tmp_path / name).write_text("", encoding="utf-8")
        assert "a table of a MIB: give its folder" in run("check", tmp_path / name, code=1).output


# ---- comparing and converting


def test_diff_names_whose_values_change(small: Path, tmp_path: Path) -> None:
    """Exit code 0 and a line when there is nothing; 1 and the parameters when there is."""
    other = tmp_path / "other.yaml"
    other.write_text("# a comment\n" + TEXT, encoding="utf-8")
    assert "no difference" in run("diff", small, other).output
    other.write_text(TEXT.replace("[0, 0.01]", "[0, 0.02]").replace("main bus", "the bus"), encoding="utf-8")
    text = run("diff", small, other, code=1).output
    assert "other values: 2 parameters" in text
    assert "VOLTAGE  calibration: 0.01 × raw -> 0.02 × raw" in text
    assert "POWER  depends on VOLTAGE" in text
    told = as_json("diff", small, other, code=1)
    assert set(told["other_values"]) == {"/SMALL/POWER", "/SMALL/VOLTAGE"}


def test_convert_keeps_everything_and_writes_over_nothing(small: Path, tmp_path: Path) -> None:
    """There and back again, and no file is lost by a slip."""
    run("convert", small, tmp_path / "x.json")
    assert "is there already" in run("convert", small, tmp_path / "x.json", code=2).output
    run("convert", tmp_path / "x.json", tmp_path / "y.yaml")
    run("convert", small, tmp_path / "x.json", "--force")
    assert "no difference" in run("diff", small, tmp_path / "y.yaml").output
    assert "what form shall that have" in run("convert", small, tmp_path / "x.txt", code=2).output
    assert run("convert", small, "-").stdout == (tmp_path / "y.yaml").read_text(encoding="utf-8")


def test_the_schema_is_one(small: Path) -> None:
    """What is printed can be handed to an editor."""
    schema = json.loads(run("schema").stdout)
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert "packets" in schema["properties"]


@pytest.mark.parametrize("command", ["check", "show", "find", "diff", "convert", "schema"])
def test_help_teaches_with_an_example(command: str) -> None:
    """Nobody has to read a page to begin."""
    assert f"gateway mdb {command}" in " ".join(run(command, "--help").output.split())


def test_the_demo_database_is_without_fault() -> None:
    """The example that everybody copies has no remark."""
    assert as_json("check", SOLAR)["remarks"] == []


# ---- files of others


@needs_data
@pytest.mark.parametrize(("name", "form"), REAL)
def test_real_databases_are_found_out_and_converted_without_loss(name: str, form: str, tmp_path: Path) -> None:
    """Whatever a mission brings, it is read as what it is, and says the same in YAML."""
    path = DATA / name
    assert find_format(path) == form
    run("convert", path, tmp_path / "x.yaml")
    assert "no difference" in run("diff", path, tmp_path / "x.yaml").output
    assert as_json("show", path)["parameters"] == len(load_database(path).database.parameters)


@needs_data
def test_a_file_of_another_name_is_known_by_what_it_holds(small: Path, tmp_path: Path) -> None:
    """The name of a file is no obstacle."""
    (tmp_path / "a").write_bytes((DATA / "mdb/BogusSAT-1.xml").read_bytes())
    (tmp_path / "b").write_text(TEXT, encoding="utf-8")
    (tmp_path / "c").write_bytes(canonical.to_text(load_database(small).database))
    assert [find_format(tmp_path / name) for name in "abc"] == ["xtce", "yaml", "canonical"]
    assert load_database(tmp_path / "b", "yaml").database == load_database(tmp_path / "c", "canonical").database
    assert set(FORMATS) == {"xtce", "mib", "ccsdspy", "yaml", "canonical"}


def test_a_file_beyond_the_budget_is_not_read(small: Path) -> None:
    """Size is checked before a file is taken into memory."""
    with pytest.raises(DatabaseError, match="at most 10 are read"):
        load_database(small, budget=Budget(file_octets=10))
    with pytest.raises(DatabaseError, match="no file, but a pipe, device or folder"):
        load_database(Path("/dev/zero"), "yaml", budget=Budget(file_octets=1000))


def test_other_commands_load_no_database_code() -> None:
    """A start is not slowed by what it does not use."""
    code = (
        "import sys, gateway.console.app; "
        "print([name for name in sys.modules if 'mdb' in name or name == 'gateway.databases'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


# ---- texts of others

EVIL = "\\e[2J\\e]0;owned\\a\\e]8;;file:///x\\e\\\\ [bold]b[/bold] \\x9b31m \\u202Eesrever \\N"
"""As YAML writes it: clear the screen, a title, a link, markup, a one-character control sequence, backwards."""
HOSTILE = f"""mission_database: 1
name: "N{EVIL}"
version: "{EVIL}"
description: "{EVIL}"
header: ccsds
packets:
  P:
    apid: 100
    description: "{EVIL}"
    parameters:
      - "V{EVIL}": {{bits: 8, unit: "{EVIL}", description: "{EVIL}", aliases: ["{EVIL}"], long_description: "{EVIL}"}}
      - M:
          bits: 8
          states: {{0: "{EVIL}", 1: ON}}
          limits: {{critical: "{EVIL}"}}
          valid_when: "CCSDS_APID == '{EVIL}'"
"""


@pytest.mark.parametrize(
    "command", [["show"], ["show", "P"], ["show", "M"], ["find", "e"], ["show", "VN"], ["check"]], ids=" ".join
)
def test_what_a_database_says_does_nothing_to_a_terminal(command: list[str], tmp_path: Path) -> None:
    """Names, units, descriptions and labels are shown and not obeyed: no control character comes through."""
    path = tmp_path / "evil.yaml"
    path.write_text(HOSTILE, encoding="utf-8")
    result = CliRunner().invoke(app, ["mdb", command[0], str(path), *command[1:]])
    assert [one for one in result.output if not one.isprintable() and one not in "\n "] == []
    if command != ["show", "VN"]:
        assert "\N{REPLACEMENT CHARACTER}" in result.output
    if command == ["show"]:
        assert "\N{REPLACEMENT CHARACTER}[2J" in result.output
        assert "[bold]b[/bold]" in result.output


def test_a_difference_does_nothing_to_a_terminal(tmp_path: Path) -> None:
    """Names and descriptions that differ are shown and not obeyed."""
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    old.write_text(HOSTILE, encoding="utf-8")
    new.write_text(HOSTILE.replace("bits: 8", "bits: 16"), encoding="utf-8")
    result = CliRunner().invoke(app, ["mdb", "diff", str(old), str(new)])
    assert result.exit_code == 1
    assert all(one.isprintable() or one in "\n " for one in result.output)
    assert "[bold]b[/bold]" in result.output


# ---- words and widths

ONE = f"""mission_database: 1
name: ONE
header: ccsds
packets:
  P: {{apid: 1, parameters: [A: {{bits: 8, description: {"words " * 40}, valid_when: CCSDS_SEQ_COUNT == 3}}]}}
"""


def test_one_is_no_plural(tmp_path: Path) -> None:
    """One packet, one parameter, one remark."""
    path = tmp_path / "one.yaml"
    path.write_text(ONE, encoding="utf-8")
    shown = CliRunner().invoke(app, ["mdb", "show", str(path)]).output
    assert "1 packet," in shown
    assert "1 parameter," in shown
    assert "1 packets" not in shown


def test_a_packet_tells_when_its_values_are_valid(tmp_path: Path) -> None:
    """Whoever reads the table of a packet sees which values may be invalid; so does a program."""
    path = tmp_path / "one.yaml"
    path.write_text(ONE, encoding="utf-8")
    assert "valid if CCSDS_SEQ_COUNT = 3" in CliRunner().invoke(app, ["mdb", "show", str(path), "P"]).output
    told = json.loads(CliRunner().invoke(app, ["mdb", "show", str(path), "A", "--json"]).output)
    assert told["parameters"][0]["valid_when"] == "/ONE/CCSDS_SEQ_COUNT = 3"


@pytest.mark.parametrize("width", [50, 80])
def test_a_pipe_of_a_width_is_kept(width: int, tmp_path: Path) -> None:
    """COLUMNS says how wide a pipe is: no line is wider."""
    path = tmp_path / "one.yaml"
    path.write_text(ONE, encoding="utf-8")
    for names in ([], ["P"], ["A"]):
        output = CliRunner().invoke(app, ["mdb", "show", str(path), *names], env={"COLUMNS": str(width)}).output
        assert max(len(line.rstrip()) for line in output.splitlines()) <= width, output


# ---- what a MIB does not say


@pytest.fixture
def mib(tmp_path: Path) -> Path:
    """A MIB of one packet with an absolute time (CUC, PTC 9) and a text of variable length."""
    folder = tmp_path / "mib"
    folder.mkdir()
    cells = {
        "pid": ["3", "25", "100", "0", "0", "7", "", "", "-1", "10", "N", "", "Y", "0", "N", ""],
        "pic": ["3", "25", "-1", "0", "-1", "0", "100"],
        "plf": ["T", "7", "16", "0", "1", "0", "0", "1"],
        "pcf": ["T", "time", "", "", "9", "17", "", "", "", "N", "R"] + [""] * 14,
    }
    for table, row in cells.items():
        (folder / f"{table}.dat").write_text("\t".join(row) + "\n")
    return folder


def test_what_a_mib_does_not_say_is_said(mib: Path) -> None:
    """The epoch of its times, from the command line as from the configuration: they are other values."""
    arguments = ["mdb", "show", str(mib), "T", "--json", "--mib", "cuc_epoch=2000-01-01T00:00:32Z"]
    told = json.loads(CliRunner().invoke(app, arguments).output)["parameters"][0]
    assert told["definition"]["types"]["encoding"]["code"]["epoch"] == "2000-01-01T00:00:32Z"
    settings = MibSettings(cuc_epoch="2000-01-01T00:00:32Z", length_bits=16)
    said, plain = (load_database(mib, mib=one).database for one in (settings, None))
    times = []
    for database in (said, plain):
        (kind,) = (one for one in database.types.values() if one.kind == "absolute_time")
        assert isinstance(kind.encoding, TimeEncoding)
        times.append(kind.encoding.code.epoch_ns)
    assert times[0] - times[1] == (parse_utc("2000-01-01T00:00:00Z") - parse_utc("1958-01-01T00:00:00Z"))
    assert CliRunner().invoke(app, ["mdb", "check", str(mib), "--mib", "length_bits=16"]).exit_code in {0, 1}


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ("epoch=2000-01-01T00:00:00Z", "cuc_epoch"), ("cuc_epoch", "KEY=VALUE"), ("cuc_epoch=yesterday", "MibSettings"),
        ("length_bits=9", "MibSettings"), ("cds_epoch=2000-01-01T12:00:00Z", "midnight"),
        ("cuc_epoch=1900-01-01T00:00:00Z", "1958"), ("cuc_scale=ut1", "MibSettings"),
    ],
)  # fmt: skip
def test_what_a_mib_cannot_be_told(told: str, why: str, mib: Path) -> None:
    """A key or value that cannot be is refused with what would be right."""
    result = CliRunner().invoke(app, ["mdb", "show", str(mib), "--mib", told])
    assert result.exit_code == 2
    assert why in result.output
