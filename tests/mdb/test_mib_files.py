"""Tables as they come: line ends, character sets, older and newer exports, and hostile ones within a budget."""

from __future__ import annotations

import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_codecs.mdb.canonical import from_text, to_text
from gateway_codecs.mdb.decoder import Decoder
from gateway_codecs.mdb.mib import read_mib, schema
from gateway_codecs.mdb.mib.numbers import number, whole
from gateway_codecs.mdb.mib.reader import READ
from gateway_codecs.mdb.report import Budget, DatabaseError
from tests.mdb.mibs import Bits, decoded, mib, pcf, remarks, table

PID, PLF = "3|25|100|0|0|1|||-1|3", "P|1|9|0"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends(end: str) -> None:
    """Rows end with LF, CR LF or CR, the last one with or without."""
    for last in ("", end, end + "\x1a"):
        reading = mib(pcf=end.join([pcf("A", 3, 4), "", pcf("P", 3, 4)]) + last, pid=PID + last, plf=PLF)
        assert reading.counts["pcf"] == 2
        assert not remarks(reading)
        assert str(reading.database.parameters["/M/P"].where) == "mib/pcf.dat:3"


@pytest.mark.parametrize("charset", ["utf-8", "latin-1", "utf-8-sig"])
def test_character_sets(charset: str) -> None:
    """Texts are UTF-8 where that is possible, else Latin-1; a mark of byte order is no part of the first name."""
    row = pcf("P", 3, 4, UNIT="°C", DESCR="Träger").replace("|", "\t")
    reading = read_mib({"pcf": row.encode(charset), "pid": b"", "vdf": b"M"}, "mib")
    assert reading.database.types["/M/P"].unit == "°C"
    assert reading.database.parameters["/M/P"].description == "Träger"


def test_older_exports_have_fewer_columns() -> None:
    """Columns that are missing at the end have their defaults; those that must be there are asked for."""
    reading = mib(pcf="P||||3|4||||N|R\nQ||||3|4", pid="3|25|100|0|0|1|||-1|3", plf=PLF)
    (found,) = decoded(reading.database, [Bits(10).header(100).octets()])
    assert found.columns["/M/P"].engineering.tolist() == [0]
    assert remarks(reading) == ["mib/pcf.dat:2: pcf Q: CATEG '': must not be empty: the row is left out"]


def test_newer_exports_have_more_columns() -> None:
    """Columns that are not known are told once, and only when something stands in them."""
    rows = table(*(pcf(name, 3, 4) + "|extra|more" for name in "PQR"), pcf("S", 3, 4) + "|||")
    reading = mib(pcf=rows, pid=PID)
    assert remarks(reading, "ignored") == ["mib/pcf.dat:1: pcf: more than 24 columns (3 times, first here): not known"]


def test_rows_that_stand_twice() -> None:
    """The first row of a key is used, the others are told; a text that differs only in case is another name."""
    reading = mib(pcf=table(pcf("P", 3, 4), pcf("P", 3, 12), pcf("p", 3, 12)), pid=PID)
    assert remarks(reading) == ["mib/pcf.dat:2: pcf P: stands in line 1 already: the first is used"]
    assert reading.database.types["/M/P"].encoding != reading.database.types["/M/p"].encoding


def test_other_tables_are_counted() -> None:
    """Commands, displays, groups and strangers are counted and told, each with its reason."""
    reading = mib(pcf=pcf("P", 3, 4), ccf="A\nB", dpf="C", grp="G|g|PA", grpk="", odd="1\n2\n3")
    assert {name: reading.counts[name] for name in ("ccf", "dpf", "grp", "grpk", "odd")} == {
        "ccf": 2, "dpf": 1, "grp": 1, "grpk": 0, "odd": 3,
    }  # fmt: skip
    assert remarks(reading, "ignored") == [
        "mib/ccf.dat: ccf: 2 rows: telecommands are not read",
        "mib/dpf.dat: dpf: 1 rows: displays are not read",
        "mib/grp.dat: grp: 1 rows: groups of parameters and packets are not read",
        "mib/odd.dat: odd: 3 rows: is no table of the ICD that is known",
    ]


def test_the_name_and_version() -> None:
    """vdf names the database and its version; without it the folder does."""
    named = read_mib({"pcf": b"", "pid": b"", "vdf": b"SAT ONE\tA satellite\t1\t4\t2\r\n"}, "a/mib")
    assert (named.database.name, named.database.version, named.database.description) == (
        "SAT_ONE",
        "4.2",
        "A satellite",
    )
    assert read_mib({"pcf": b"", "pid": b""}, "a/mib/").database.name == "mib"
    assert read_mib({"pcf": b"", "pid": b""}, "").database.name == "MIB"


NUMBERS = {
    "12": 12, "-3": -3, "+4": 4, "0x1F": 31, "-0x10": -16, "017": 15, "08": 8, "0": 0, "00": 0, "1.5": 1.5, "1,5": 1.5,
    ".5": 0.5, ",5": 0.5, "2.": 2.0, "1e3": 1000.0, "1,5E-1": 0.15, "": None, "x": None, "1 2": None, "1_0": None,
    "nan": None, "inf": None, "1e999": None, "0xZZ": None, "1.2.3": None, "9" * 65: None, "9" * 30: 1e30,
    "1000000000000": 10**12, "٣": None,
}  # fmt: skip


@pytest.mark.parametrize(("text", "value"), NUMBERS.items())
def test_numbers(text: str, value: float | None) -> None:
    """Decimal, hexadecimal and octal numbers, a point or a comma; nothing else is a number."""
    assert number(text) == value
    assert whole(text) == (value if value is None or value == int(value) else None)


# ---- hostile tables ----


def refused(tables: dict[str, bytes], said: str, budget: Budget) -> None:
    """Assert that tables are refused soon, and without much memory."""
    tracemalloc.start()
    begin = time.process_time()
    try:
        with pytest.raises(DatabaseError, match=said):
            read_mib(tables, "mib", budget)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert time.process_time() - begin < 60
    assert peak < sum(map(len, tables.values())) * 3 + (16 << 20)


def test_no_mib() -> None:
    """A folder of other tables is no MIB, and the error says what one is."""
    with pytest.raises(DatabaseError, match=r"neither pcf.dat nor pid.dat") as caught:
        read_mib({"ccf": b"x"}, "folder")
    assert "folder" in str(caught.value)
    assert "pid.dat" in caught.value.hint


def test_too_much_of_everything() -> None:
    """Octets, rows and lines beyond the budget are refused, a table of one endless line too."""
    refused({"pcf": bytes(1000), "pid": b""}, "1,000 octets of tables, at most 999", Budget(file_octets=999))
    refused({"pcf": b"A\n" * 1001, "pid": b""}, "more than 1,000 rows", Budget(definitions=1000))
    refused({"pcf": b"", "pid": b"", "ccf": b"A\n" * 600, "odd": b"B\n" * 600}, "rows", Budget(definitions=1000))
    refused({"pcf": b"A" * (50 << 20), "pid": b""}, "pcf.dat:1: a line of 52,428,800 octets", Budget())


def test_structures_that_hold_one_another() -> None:
    """Structures chosen by each other have no end, and are not followed."""
    rows = table("7|1|A|||Y", "8|1|A|||Y", "9|1|A|||Y", "10|1|B")
    reading = mib(pcf=table(pcf("A", 3, 4), pcf("B", 3, 4)), pid="3|25|100|0|0|1|||7|3", vpd=rows)
    (found,) = decoded(reading.database, [Bits(11).header(100).octets()[:9] + bytes([10, 5])])
    assert found.columns["/M/B"].engineering.tolist() == [5]
    assert len([one for one in remarks(reading, "ignored") if "chooses a structure itself" in one]) == 2


def test_very_many_choices_and_deduced_parameters() -> None:
    """Choices and deduced parameters multiply: beyond the budget that is an error, and it comes soon."""
    many = 400
    names = [f"A{k}" for k in range(many)]
    choices = [f"7|{k}|{name}|||Y" for k, name in enumerate(names)] + [f"{k + 100}|1|A0" for k in range(many)]
    tables = {"pcf": table(*(pcf(name, 3, 4, PID=k) for k, name in enumerate(names))), "pid": "3|25|100|0|0|1|||7|3"}
    with pytest.raises(DatabaseError, match="entries"):
        mib(Budget(definitions=50_000), vpd=table(*choices), **tables)
    deduced = [pcf(f"D{k}", 11, 0, RELATED="A1") for k in range(many)]
    rows = ["7|0|A1", *(f"7|{k + 1}|D{k}" for k in range(many))]
    tables["pcf"] += table(*deduced)
    with pytest.raises(DatabaseError, match="entries"):
        mib(Budget(definitions=50_000), vpd=table(*rows), **tables)


def test_deeply_nested_groups() -> None:
    """Groups within groups beyond what any packet has end in an error, not in a crash."""
    rows = table(*(f"7|{k}|A|{3000 - k}" for k in range(3000)))
    with pytest.raises(DatabaseError, match="nested"):
        mib(pcf=pcf("A", 3, 4), pid="3|25|100|0|0|1|||7|3", vpd=rows)


def test_remarks_are_summed_up() -> None:
    """A table of nothing but defects gives as many remarks as the budget allows, and one for the rest."""
    rows = "".join(f"A{k}|x\r\n" for k in range(500))
    reading = mib(Budget(remarks=10), pcf=rows, pid=PID)
    assert len(reading.remarks) == 11
    assert reading.remarks[-1].what == "490 further remarks"


USUAL = ["", "1", "0", "-1", "7", "100", "P", "Q", "Y", "N", "R", "S", "C", "U", "A", "0x7f", "99999999999"]
CELLS = st.one_of(
    st.sampled_from(USUAL),
    st.text(st.characters(exclude_characters="\n\r|"), max_size=4),
)
TABLES = st.dictionaries(
    st.sampled_from([one.name for one in READ] + list(schema.DISPLAYS)),
    st.lists(st.lists(CELLS, max_size=24).map("\t".join), max_size=5).map("\n".join),
)


@settings(max_examples=60, deadline=None)
@given(TABLES)
def test_rubbish_is_read_or_refused(tables: dict[str, str]) -> None:
    """Whatever stands in the tables, there is a database that can be kept and decoded with, or a clear error."""
    given_tables = {"pcf": pcf("P", 3, 4).replace("|", "\t"), "pid": PID.replace("|", "\t")} | tables
    try:
        reading = read_mib({name: text.encode(errors="surrogatepass") for name, text in given_tables.items()}, "mib")
    except DatabaseError:
        return
    assert from_text(to_text(reading.database)) == reading.database
    decoder = Decoder(reading.database)
    packet = Bits(20).header(100).octets()
    decoded(reading.database, [packet, packet[:9]])
    assert len(decoder.packet_types) <= max(1, reading.counts["pid"])
