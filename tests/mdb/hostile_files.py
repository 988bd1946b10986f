"""Files that were made to exhaust whoever reads them, as another process meets them, which is bounded in memory.

`python -m tests.mdb.hostile_files FILE...` reads, checks and makes ready to decode each, and prints one JSON object a
line: how it ended. What ends otherwise than well or with a DatabaseError is a traceback there, which the tests see.
"""

from __future__ import annotations

import json
import resource
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

MEMORY_OCTETS = 2 << 30
MEGABYTE = 1 << 20
CSV = b"name,data_type,bit_length\n"
YAML = "mission_database: 1\nname: X\nheader: ccsds\n"


def csv_rows(count: int, row: str, before: str = "") -> Callable[[], bytes]:
    return lambda: CSV + before.encode() + "".join(row.replace("#", str(k)) for k in range(count)).encode()


def doubled(kind: str, levels: int = 60) -> dict[str, Any]:
    """Definitions that each name the next one twice."""
    if kind == "containers":
        entries = [{"$is": "ContainerEntry", "container": "/X/C#"}] * 2
        one = {"$is": "Container", "entries": entries}
    else:
        members = [{"$is": "Member", "name": name, "type_name": "/X/C#"} for name in "ab"]
        one = {"$is": "ParameterType", "kind": "aggregate", "members": members}
    return chained(kind, one, levels)


def chained(kind: str, one: dict[str, Any], levels: int) -> dict[str, Any]:
    """A chain of definitions: `#` is the number of the next one, the last is plain."""
    plain = {"containers": {"$is": "Container"}, "types": TYPE, "parameters": PARAMETER}[kind]
    found = {f"/X/C{k}": json.loads(json.dumps(one).replace("#", str(k + 1))) for k in range(levels)}
    found[f"/X/C{levels}"] = plain
    return {kind: {name: {**each, "name": name} for name, each in found.items()}}


TYPE = {"$is": "ParameterType", "name": "/X/T", "kind": "integer", "encoding": {"$is": "IntegerEncoding"}}
PARAMETER = {"$is": "Parameter", "name": "/X/P", "type_name": "/X/T"}
CONTAINER = {"$is": "Container", "name": "/X/C", "entries": [{"$is": "ParameterEntry", "parameter": "/X/P"}]}
GOOD = {"types": {"/X/T": TYPE}, "parameters": {"/X/P": PARAMETER}, "containers": {"/X/C": CONTAINER}}


def canonical(**changed: dict[str, Any]) -> Callable[[], bytes]:
    """A canonical database, with definitions put in."""
    sections = {name: {**section, **changed.get(name, {})} for name, section in GOOD.items()}
    database = {"$is": "Database", "name": "X", "roots": ["/X/C"], **sections}
    return lambda: json.dumps({"format": "usoc-gateway mission database 1", "database": database}).encode()


def a_type(**keys: Any) -> Callable[[], bytes]:
    return canonical(types={"/X/T": {**TYPE, **keys}})


def an_encoding(name: str, **keys: Any) -> Callable[[], bytes]:
    kind = {"StringEncoding": "string", "BinaryEncoding": "binary"}.get(name, "integer")
    return a_type(kind=kind, encoding={"$is": name, **keys})


def included_twice() -> bytes:
    rows = [f"  C{k}:\n    parameters: [{{container: C{k + 1}}}, {{container: C{k + 1}}}]\n" for k in range(60)]
    end = "  C60:\n    parameters: [{A: 8}]\npackets:\n  P:\n    apid: 1\n    parameters: [{container: C0}]\n"
    return (YAML + "containers:\n" + "".join(rows) + end).encode()


def yaml_packet(text: str) -> Callable[[], bytes]:
    return (YAML + "packets:\n  P:\n    apid: 1\n    parameters:\n      - " + text + "\n").encode


RESTRICTED: dict[str, Any] = {"$is": "Comparison", "parameter": "/X/P"}
for _ in range(300):
    RESTRICTED = {"$is": "Not", "term": RESTRICTED}

FILES: dict[str, tuple[Callable[[], bytes], str]] = {
    # ccsdspy CSV
    "empty.csv": (lambda: b"", "no column name"),
    "zeros.csv": (lambda: bytes(1000), "no column name"),
    "no-utf-8.csv": (lambda: b"\xff\xfe\xe9\n", "no column name"),
    "one-line.csv": (lambda: b"x" * (100 * MEGABYTE), "csv:1: no CSV: field larger"),
    "one-field.csv": (lambda: CSV + b"x" * (100 * MEGABYTE), "csv:2: no CSV: field larger"),
    "open-quote.csv": (lambda: CSV + b'"' + b"x\n" * (10 * MEGABYTE), "no CSV: field larger"),
    "million-rows.csv": (csv_rows(1_000_000, "F#,uint,8\n"), "csv:100002: more than 100,000 fields in one packet"),
    "one-name.csv": (csv_rows(2_000, "A,uint,8\n"), "another field has this name: it is /one-name/A-2"),
    "expanding.csv": (
        lambda: b"name,data_type,bit_length,bit_offset\n" + b'A,"uint(expand)",8,48\n' * 1_000,
        "depends on|another field",
    ),
    "counted.csv": (csv_rows(1_500, 'F#,"uint(N)",8\n', "N,uint,8\n"), "usable"),
    "huge.csv": (csv_rows(1, "A,uint,99999999999999999999999\n"), "csv:2: A: bit_length '9+'"),
    "digits.csv": (csv_rows(1, f"A,uint,{'9' * 100_000}\n"), "csv:2: A: bit_length '9+ [.]+ 9+'"),
    "negative.csv": (csv_rows(1, "A,uint,-8\n"), "csv:2: A: bit_length '-8'"),
    "million-x-million.csv": (csv_rows(1, 'A,"uint(1000000, 1000000)",8\n'), "holds nothing, or more than a packet"),
    "dimensions.csv": (csv_rows(1, f'A,"uint({",".join("1" * 9)})",8\n'), "holds nothing, or more than a packet"),
    "coefficient.csv": (
        lambda: b'name,data_type,bit_length,calibration\nA,uint,8,"{""0"": ' + b"9" * 400 + b'}"\n',
        "csv:2: A: calibration",
    ),
    "brackets.csv": (
        lambda: b"name,data_type,bit_length,calibration\nA,uint,8," + b"[" * 100_000 + b"\n",
        "csv:2: A: calibration",
    ),
    # canonical JSON
    "empty.json": (lambda: b"", "json:1: no JSON"),
    "no-utf-8.json": (lambda: b"\xe9" * 100, "no JSON"),
    "one-line.json": (lambda: b'{"format":"' + b"x" * (100 * MEGABYTE), "no JSON: Unterminated string"),
    "list.json": (lambda: b"[]", "no canonical database: list"),
    "digits.json": (lambda: b"9" * 100_000, "no JSON: Exceeds the limit"),
    "deep.json": (lambda: b"[" * 1_000_000, "no JSON: nested too deep"),
    "objects.json": (lambda: b'{"a":' * 1_000_000, "no JSON: nested too deep"),
    "not-not.json": (canonical(containers={"/X/C": {**CONTAINER, "restriction": RESTRICTED}}), "deeper than 200"),
    "sections.json": (
        lambda: b'{"format":"usoc-gateway mission database 1","database":{"$is":"Database","types":3}}',
        "no canonical database: types: 3 is no object",
    ),
    "of-another.json": (a_type(name="/X/U"), r"types\[/X/T\]: its name is '/X/U'"),
    "key.json": (a_type(colour="red"), r"types\[/X/T\]: ParameterType has no 'colour'"),
    "kind.json": (a_type(kind="nonsense"), r"types\[/X/T\].kind: 'nonsense' is no one of integer"),
    "text-size.json": (an_encoding("IntegerEncoding", size_bits="8"), "encoding.size_bits: '8' is no whole number"),
    "true-size.json": (an_encoding("IntegerEncoding", size_bits=True), "encoding.size_bits: True is no whole number"),
    "huge-size.json": (an_encoding("IntegerEncoding", size_bits=2**70), "/X/T has 1,180,.* bits; 0 to 524,336 can be"),
    "negative.json": (an_encoding("IntegerEncoding", size_bits=-8), "/X/T has -8 bits"),
    "huge-box.json": (an_encoding("BinaryEncoding", size=2**31), "/X/T has 2,147,483,648 bits"),
    "huge-tag.json": (an_encoding("StringEncoding", size=8, tag_bits=2**31), "/X/T has 2,147,483,648 bits"),
    "half.json": (a_type(unit="\ud800"), "is no text: it has half characters"),
    "hex.json": (an_encoding("StringEncoding", terminator={"$hex": "zz"}), "'zz' is no hexadecimal digits"),
    "code.json": (an_encoding("TimeEncoding", code={"$is": "TimeCode", "code": "cuc", "coarse_octets": 99}), "1 to 7"),
    "points.json": (
        a_type(calibration={"$is": "Calibration", "default": {"$is": "Points", "points": [[1, 2, 3]]}}),
        r"points\[0\]: list is no list of 2",
    ),
    "severity.json": (
        a_type(alarms={"$is": "Alarms", "default": {"$is": "Limits", "otherwise": 99}}), "99 is no Severity",
    ),
    "doubled-containers.json": (canonical(**doubled("containers")), "entries, those of its parts counted"),
    "doubled-types.json": (canonical(**doubled("types")), "entries, those of its parts counted"),
    "bases.json": (canonical(**chained("containers", {"$is": "Container", "base": "/X/C#"}, 20_000)), "nested deeper"),
    "derived.json": (
        canonical(**chained("parameters", {**PARAMETER, "source": "derived", "derivation": "'/X/C#' + 1"}, 10_000)),
        "usable",
    ),
    "array.json": (
        a_type(
            kind="array", encoding=None, element_type="/X/T", dimensions=[{"$is": "Dimension", "last": 999_999}] * 2
        ),
        "is made of itself",
    ),
    "million-x-million.json": (
        canonical(
            types={
                "/X/T": {
                    "$is": "ParameterType", "name": "/X/T", "kind": "array", "element_type": "/X/U",
                    "dimensions": [{"$is": "Dimension", "last": 999_999}] * 2,
                },
                "/X/U": {**TYPE, "name": "/X/U"},
            }
        ),
        "it has 1,000,000,000,000 octets; a packet has at most 65,542",
    ),
    "from-itself.json": (
        a_type(kind="absolute_time", time={"$is": "TimeMeaning", "offset_from": "/X/P"}), "counts its time from itself",
    ),
    "scale.json": (a_type(kind="absolute_time", time={"$is": "TimeMeaning", "epoch": "GPS", "scale": 1e300}), "usable"),
    # YAML: what is above the text is in test_yaml_form
    "doubled.yaml": (included_twice, "entries, those of its parts counted"),
    "huge.yaml": (yaml_packet("A: {bits: 2147483648}"), "yaml:8: A: bits is 2147483648"),
    "huge-box.yaml": (yaml_packet("A: {binary: {octets: 268435456}}"), "yaml:8: .* has 2,147,483,648 bits"),
    "million-x-million.yaml": (
        yaml_packet("A: {array: {of: {bits: 8}, dimensions: [1000000, 1000000]}}"), "it has 1,000,000,000,006 octets"
    ),
}  # fmt: skip


def ending(path: Path) -> dict[str, Any]:
    """Return how it ends to read a file and to decode with it."""
    from gateway.databases import load_database
    from gateway_codecs.mdb.canonical import to_text
    from gateway_codecs.mdb.check import check
    from gateway_codecs.mdb.decoder import Decoder
    from gateway_codecs.mdb.report import DatabaseError

    try:
        reading = load_database(path)
    except DatabaseError as error:
        return {"error": str(error), "hint": error.hint}
    except OSError as error:
        return {"error": str(error), "hint": ""}
    remarks = [*reading.remarks, *check(reading.database)]
    to_text(reading.database)
    octets, length = np.arange(200, dtype=np.uint8), np.array([0, 1, 200])
    Decoder(reading.database).decode(octets, np.zeros(3, np.int64), length)
    return {"wrong": [f"{one.where}: {one.what}: {one.why}" for one in remarks if one.kind == "wrong"]}


def endings(paths: list[str]) -> Iterator[str]:
    """Return a line for each file."""
    for path in paths:
        begin_s = time.process_time()
        try:
            ended = ending(Path(path))
        except Exception:  # told by the test of this file
            ended = {"traceback": traceback.format_exc()}
        yield json.dumps({"name": Path(path).name, "cpu_s": time.process_time() - begin_s, **ended})


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_OCTETS, MEMORY_OCTETS))
    for line in endings(sys.argv[1:]):
        print(line, flush=True)
