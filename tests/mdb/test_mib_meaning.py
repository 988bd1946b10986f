"""What MIB parameters mean: calibrations, texts, conditions, validity and limits, against plain arithmetic."""

from __future__ import annotations

import math

import pytest

from gateway_codecs.mdb.columns import Column, LimitFlag, Validity
from gateway_codecs.mdb.model import Alarms, Severity
from gateway_codecs.mdb.report import Reading
from tests.mdb.mibs import Bits, decoded, mib, pcf, remarks, table

APID = 100


def meaning(*parameters: str, **tables: str) -> Reading:
    """Return a MIB with one packet of octets P, M, N."""
    given = [*parameters, pcf("M", 3, 4), pcf("N", 3, 4)]
    return mib(
        pcf=table(*given),
        pid="3|25|100|0|0|1|||-1|3",
        plf=table("P|1|9|0", "M|1|10|0", "N|1|11|0"),
        **tables,
    )


def column(reading: Reading, raws: list[int], m: int = 0, n: int = 0) -> Column:
    """Return P of packets in which it has these values."""
    packets = [Bits(12).header(APID).octets()[:9] + bytes([raw, m, n]) for raw in raws]
    (found,) = decoded(reading.database, packets)
    return found.columns["/M/P"]


def numbers(reading: Reading, raws: list[int], m: int = 0) -> list[float | None]:
    """Return engineering values, None = uncalibrated."""
    found = column(reading, raws, m)
    assert set(found.validity.tolist()) <= {Validity.VALID, Validity.UNCALIBRATED}
    pairs = zip(found.engineering.tolist(), found.validity.tolist(), strict=True)
    return [value if state == Validity.VALID else None for value, state in pairs]


P = pcf("P", 3, 4, CURTX="CAL")


def test_point_pairs() -> None:
    """Straight lines between the points in whatever order they stand, a comma for a point, and nothing beyond them."""
    cap = table("CAL|100|1,5", "CAL|0|0.5", "CAL|200|-3.5e0")
    reading = meaning(P, caf="CAL||R|U|D|V|3|F", cap=cap)
    assert not remarks(reading)
    assert numbers(reading, [0, 50, 100, 150, 200, 201]) == [0.5, 1.0, 1.5, -1.0, -3.5, None]
    assert reading.database.types["/M/P"].unit == "V"
    extrapolated = meaning(P, caf="CAL||R|U|D||3|P", cap=cap)
    assert numbers(extrapolated, [200, 220]) == [-3.5, -4.5]


@pytest.mark.parametrize(("radix", "text"), [("H", "FF"), ("H", "0xFF"), ("O", "377"), ("D", "255"), ("D", "0xff")])
def test_raw_values_of_other_bases(radix: str, text: str) -> None:
    """Raw values of curves may be hexadecimal or octal, with and without the mark of their base."""
    reading = meaning(P, caf=f"CAL||R|U|{radix}||2|F", cap=table("CAL|0|0", f"CAL|{text}|510"))
    assert numbers(reading, [1, 255]) == [2, 510]


def test_engineering_values_that_are_whole() -> None:
    """A curve of engineering format I or U gives whole numbers, rounded half to even."""
    reading = meaning(P, caf="CAL||I|U|D||2|P", cap=table("CAL|0|0", "CAL|10|5"))
    found = column(reading, [1, 2, 3, 5])
    assert found.engineering.tolist() == [0, 1, 2, 2]
    assert found.engineering.dtype.kind == "i"
    assert reading.database.types["/M/P"].kind == "integer"


def test_polynomials_and_logarithms() -> None:
    """mcf is a polynomial, lgf one over a polynomial of the logarithm; missing coefficients are 0."""
    polynomial = meaning(P, mcf="CAL||1|2|0,5")
    assert numbers(polynomial, [0, 2, 10]) == [1, 7, 71]
    logarithm = meaning(P, lgf="CAL||0.001|2E-4||1e-7")
    found = numbers(logarithm, [10, 200])
    for raw, value in zip([10, 200], found, strict=True):
        assert value is not None
        assert math.isclose(value, 1 / (0.001 + 2e-4 * math.log(raw) + 1e-7 * math.log(raw) ** 3), rel_tol=1e-12)


def test_texts() -> None:
    """Ranges of raw values have texts; a value in none has none."""
    reading = meaning(
        pcf("P", 4, 4, CATEG="S", CURTX="TXT"),
        txf="TXT||I|3",
        txp=table("TXT|-2|-1|COLD", "TXT|0|0|ZERO", "TXT|1|9|HOT"),
    )
    assert not remarks(reading)
    found = column(reading, [254, 0, 9, 10])
    labels = [found.labels[k] if k >= 0 else None for k in found.engineering.tolist()]
    assert labels == ["COLD", "ZERO", "HOT", None]
    assert found.validity.tolist() == [0, 0, 0, Validity.UNCALIBRATED]


def test_the_calibration_depends_on_another_parameter() -> None:
    """cur chooses by the raw value of another parameter, in the order of POS; none of them = the raw value."""
    reading = meaning(
        pcf("P", 3, 4),
        cur=table("P|2|M|1|B", "P|1|M|1|A", "P|3|M|2|B"),
        mcf=table("A||10|1", "B||20|1"),
    )
    assert not remarks(reading)
    assert [numbers(reading, [5], m) for m in (1, 2, 3)] == [[15], [25], [5]]


def test_texts_that_depend_on_another_parameter() -> None:
    """A status parameter may have other texts in another mode."""
    reading = meaning(
        pcf("P", 3, 4, CATEG="S"),
        cur=table("P|1|M|1|A", "P|2|M|2|B"),
        txf=table("A||U|1", "B||U|1"),
        txp=table("A|0|5|LOW", "B|0|5|HIGH"),
    )
    for m, label in ((1, "LOW"), (2, "HIGH")):
        found = column(reading, [3], m)
        assert found.labels[found.engineering[0]] == label


def test_validity() -> None:
    """A value is valid while the raw value of another parameter is that of VALPAR."""
    assert column(meaning(pcf("P", 3, 4, VALID="M", VALPAR=3)), [9], 3).validity.tolist() == [Validity.VALID]
    assert column(meaning(pcf("P", 3, 4, VALID="M", VALPAR=3)), [9], 2).validity.tolist() == [Validity.INVALID]
    assert column(meaning(pcf("P", 3, 4, VALID="M")), [9], 1).validity.tolist() == [Validity.VALID]


def test_validity_by_a_parameter_of_other_packets() -> None:
    """What another packet says cannot be judged within this one: the value is shown, and the report says why."""
    reading = mib(
        pcf=table(pcf("P", 3, 4, VALID="V"), pcf("V", 3, 4)),
        pid=table("3|25|100|0|0|1|||-1|3", "3|25|101|0|0|2|||-1|3"),
        plf=table("P|1|9|0", "P|2|9|0", "V|2|10|0"),
    )
    packets = [Bits(11).header(apid).octets()[:9] + bytes([5, 0]) for apid in (100, 101)]
    states = {one.packet_type: one.columns["/M/P"].validity.tolist() for one in decoded(reading.database, packets)}
    assert states == {"/M/SPID_1": [Validity.VALID], "/M/SPID_2": [Validity.INVALID]}
    assert [one for one in remarks(reading, "ignored") if "V stands in other packets" in one]


def limits(ocf: str, ocp: list[str], parameter: str = P, **tables: str) -> Reading:
    """Return a MIB in which P = 2 * raw has limits."""
    return meaning(parameter, ocf=ocf, ocp=table(*ocp), **({"mcf": "CAL||0|2"} | tables))


def states(reading: Reading, raws: list[int], m: int = 0, n: int = 0) -> list[int]:
    """Return the severity of each sample."""
    return [state & LimitFlag.SEVERITY for state in column(reading, raws, m, n).limit.tolist()]


def test_soft_and_hard_limits() -> None:
    """Soft limits warn, hard ones are critical and go before, of engineering values; bounds are still good."""
    reading = limits("P|1|2|C|R", ["P|1|S|20|100", "P|2|H|10|200"])
    assert not remarks(reading)
    assert states(reading, [4, 5, 9, 10, 50, 51, 100, 101]) == [
        Severity.CRITICAL, Severity.WARNING, Severity.WARNING, 0, 0, Severity.WARNING, Severity.WARNING,
        Severity.CRITICAL,
    ]  # fmt: skip
    flags = column(reading, [4, 101]).limit
    assert [bool(flag & LimitFlag.LOW) for flag in flags] == [True, False]
    assert [bool(flag & LimitFlag.HIGH) for flag in flags] == [False, True]


def test_limits_of_raw_values() -> None:
    """INTER U checks the raw value."""
    assert states(limits("P|1|1|U|I", ["P|1|S|20|100"]), [19, 20, 100, 101]) == [2, 0, 0, 2]


def test_deltas() -> None:
    """A change of more than HVALU, up or down, between samples warns; a smallest change is not checked, and told."""
    reading = limits("P|1|1|C|R", ["P|1|D|1|20"])
    assert [one.partition(": ")[2] for one in remarks(reading, "ignored")] == [
        "ocp P 1: a smallest change (LVALU) is not checked"
    ]
    (delta,) = reading.database.types["/M/P"].alarms.default.deltas  # type: ignore[union-attr]
    assert (delta.severity, delta.rise, delta.fall) == (Severity.WARNING, 20, 20)


def test_events_only() -> None:
    """A check of type E is no alarm but worth watching."""
    assert states(limits("P|1|1|C|R", ["P|1|E|0|100"]), [50, 51]) == [0, Severity.WATCH]


def test_persistence() -> None:
    """NBCHCK is how many samples must violate in a row."""
    for told, wanted in ((3, 3), (0, 1)):
        reading = limits(f"P|{told}|1|C|R", ["P|1|S|0|1"])
        assert reading.database.types["/M/P"].alarms.default.persistence == wanted  # type: ignore[union-attr]


STATUS = pcf("P", 3, 4, CATEG="S", CURTX="TXT")
TEXTS = {"txf": "TXT||U|3", "txp": table("TXT|0|0|OFF", "TXT|1|1|ON", "TXT|2|2|BAD")}


def test_expected_texts() -> None:
    """For a status parameter LVALU is what it should be; soft and hard checks expect each their own."""
    reading = limits("P|1|2|C|A", ["P|1|S|ON", "P|2|H|OFF"], STATUS, **TEXTS)
    assert not remarks(reading)
    assert states(reading, [0, 1, 2]) == [Severity.WARNING, Severity.CRITICAL, Severity.CRITICAL]
    one = limits("P|1|1|C|A", ["P|1|S|ON"], STATUS, **TEXTS)
    assert states(one, [0, 1, 2]) == [Severity.WARNING, 0, Severity.WARNING]


def test_status_consistency() -> None:
    """A consistency check says nothing without a value, and that is told; with one it warns."""
    empty = limits("P|1|1|C|A", ["P|1|C"], STATUS, **TEXTS)
    assert any("what is consistent is not in the tables" in one for one in remarks(empty, "ignored"))
    assert empty.database.types["/M/P"].alarms == Alarms()
    assert states(limits("P|1|1|C|A", ["P|1|C|ON"], STATUS, **TEXTS), [0, 1]) == [Severity.WARNING, 0]
    assert states(limits("P|1|1|U|I", ["P|1|C|7"]), [6, 7]) == [Severity.WARNING, 0]


def test_limits_of_numbers_of_a_status_parameter() -> None:
    """Raw limits of a status parameter check its number."""
    assert states(limits("P|1|1|U|I", ["P|1|H|0|1"], STATUS, **TEXTS), [1, 2]) == [0, Severity.CRITICAL]


def test_limits_of_booleans() -> None:
    """A boolean is checked by its raw value."""
    assert states(limits("P|1|1|C|I", ["P|1|S|0|0"], pcf("P", 1, 8)), [0, 1]) == [0, Severity.WARNING]


def test_the_first_row_that_applies() -> None:
    """Of the rows of one type the first whose condition holds is used, rows without a condition among them."""
    rows = ["P|1|S|0|10|M|1", "P|2|S|0|20|M|2", "P|3|S|0|30", "P|4|S|0|40", "P|5|H|0|100|M|1"]
    reading = limits("P|1|5|U|I", rows)
    assert not remarks(reading)
    first_bad = [[bool(one) for one in states(reading, list(range(256)), m)].index(True) for m in range(4)]
    assert first_bad == [31, 11, 21, 31]
    assert states(reading, [101], 1) == [Severity.CRITICAL]
    assert states(reading, [101], 2) == [Severity.WARNING]


def test_conditions_on_two_parameters() -> None:
    """Each combination of conditions has its own limits."""
    rows = ["P|1|S|0|10|M|1", "P|2|H|0|20|N|1", "P|3|S|0|50|N|2"]
    reading = limits("P|1|3|U|I", rows)
    raws = [10, 15, 25, 55]
    assert states(reading, raws, 1, 1) == [0, 2, 4, 4]
    assert states(reading, raws, 1, 2) == [0, 2, 2, 2]
    assert states(reading, raws, 0, 1) == [0, 0, 4, 4]
    assert states(reading, raws, 0, 2) == [0, 0, 0, 2]
    assert states(reading, raws, 0, 0) == [0, 0, 0, 0]
    assert states(reading, raws, 1, 0) == [0, 2, 2, 2]


def test_too_many_conditions_are_told() -> None:
    """Conditions whose combinations would fill the memory leave what needs none of them."""
    rows = [f"P|{k}|S|0|{k}|{name}|{k}" for k, name in enumerate(["M", "N"] * 40)] + ["P|99|H|0|100"]
    reading = limits(f"P|1|{len(rows)}|U|I", rows)
    assert any("combinations" in one for one in remarks(reading, "ignored"))
    assert states(reading, [100, 101], 1, 1) == [0, Severity.CRITICAL]


MEANING_DEFECTS: dict[str, tuple[dict[str, str], str]] = {
    "a curve that is not there": ({}, "pcf.dat:1: P: calibration CAL: is not in caf, mcf or lgf"),
    "a curve without points": ({"caf": "CAL||R|U"}, "caf.dat:1: caf CAL: has no points in cap"),
    "points without a curve": ({"cap": "CAL|1|2"}, "cap.dat:1: cap CAL: has no row in caf"),
    "a point that is none": ({"caf": "CAL||R|U", "cap": "CAL|x|2"}, "cap.dat:1: XVALS 'x': is no number"),
    "a number that is infinite": ({"mcf": "CAL||1e999"}, "mcf.dat:1: POL1 '1e999': is no number"),
    "a wrong count": ({"caf": "CAL||R|U|D||5", "cap": "CAL|1|2"}, "caf.dat:1: caf CAL: NCURVE: says 5, 1 rows found"),
    "one point twice": (
        {"caf": "CAL||R|U", "cap": "CAL|1|2\nCAL|1.0|3"}, "cap.dat:2: cap CAL: XVALS 1.0: stands before already",
    ),
    "one name for two": ({"mcf": "CAL||1", "lgf": "CAL||1"}, "lgf.dat:1: lgf CAL: is the name of another"),
    "a format that is none": ({"caf": "CAL||Q|U"}, "caf.dat:1: caf CAL: ENGFMT 'Q': is none of I, U, R: the row"),
    "texts without a head": ({"txp": "T|1|1|x"}, "txp.dat:1: txp T: has no row in txf"),
    "a head without texts": ({"txf": "T||U"}, "txf.dat:1: txf T: has no texts in txp"),
    "a range that is none": ({"txf": "T||U", "txp": "T|2|1|x"}, "txp.dat:1: txp T: x: from 2 to 1 is no range"),
    "a condition by nobody": ({"cur": "P|1|ZZ|1|CAL"}, "cur.dat:1: cur P: RLCHK ZZ: there is no such parameter"),
    "a condition for nobody": ({"cur": "ZZ|1|P|1|CAL"}, "cur.dat:1: cur ZZ: there is no such parameter"),
    "limits of nobody": ({"ocf": "ZZ|1|0|C|R"}, "ocf.dat:1: ocf ZZ: there is no such parameter"),
    "limits without a head": ({"ocp": "P|1|S|1|2"}, "ocp.dat:1: ocp P: has no row in ocf"),
    "a wrong number of limits": ({"ocf": "P|1|2|U|R", "ocp": "P|1|S|1|2"}, "ocf.dat:1: ocf P: NBOOL: says 2, 1 rows"),
    "limits the wrong way": ({"ocf": "P|1|1|U|R", "ocp": "P|1|S|2|1"}, "ocp.dat:1: ocp P 1: 2 to 1 is no range"),
    "limits that are no numbers": ({"ocf": "P|1|1|U|R", "ocp": "P|1|S|a|1"}, "ocp.dat:1: ocp P 1: 'a' to '1' are no"),
    "limits of no value": ({"ocf": "P|1|1|U|R", "ocp": "P|1|S"}, "ocp.dat:1: ocp P 1: has no value"),
    "limits by text of a number": ({"ocf": "P|1|1|C|A", "ocp": "P|1|S|ON"}, "ocf.dat:1: ocf P: CODIN A: cannot be"),
    "limits under a condition by nobody": (
        {"ocf": "P|1|1|U|R", "ocp": "P|1|S|1|2|ZZ|1"}, "ocp.dat:1: ocp P: RLCHK ZZ: there is no such parameter",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("tables", "said"), MEANING_DEFECTS.values(), ids=MEANING_DEFECTS)
def test_defects_are_told_and_values_are_read(tables: dict[str, str], said: str) -> None:
    """Each defect is told with file and line, and the parameter has its raw value at least."""
    reading = meaning(P, **{name: text + "\n" for name, text in tables.items()})
    assert any(one.startswith(f"mib/{said}") for one in remarks(reading)), remarks(reading)
    assert column(reading, [7]).raw.tolist() == [7]


def test_a_status_parameter_without_texts() -> None:
    """Its value stays a number, and the report says so; a calibration of a text or time is told and left out."""
    reading = meaning(pcf("P", 3, 4, CATEG="S"))
    assert any("a status parameter (CATEG S) without texts" in one for one in remarks(reading))
    assert column(reading, [7]).engineering.tolist() == [7]
    octets = meaning(pcf("P", 7, 1, CURTX="CAL"), mcf="CAL||1|1")
    assert any("cannot be applied to PTC 7" in one for one in remarks(octets))


def test_labels_that_nobody_has() -> None:
    """An expected text that is none of the parameter's is told."""
    reading = limits("P|1|1|C|A", ["P|1|S|NONE"], STATUS, **TEXTS)
    assert remarks(reading) == ["mib/ocp.dat:1: ocp P 1: 'NONE' is none of the parameter's texts"]


def test_descriptions() -> None:
    """Names, descriptions, units and decimals come along."""
    reading = meaning(pcf("P", 3, 4, DESCR="short", DESCR2="long", UNIT="K", DECIM=2))
    one, kind = reading.database.parameters["/M/P"], reading.database.types["/M/P"]
    assert (one.description, one.long_description, one.decimals, kind.unit) == ("short", "long", 2, "K")
    assert str(one.where) == "mib/pcf.dat:1"
