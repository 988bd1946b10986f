"""Mission databases on disk: finds out the format, and gives what the format's reader finds within the budget."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, cast

from gateway_codecs.mdb.report import Budget, DatabaseError, Reading

Format = Literal["xtce", "mib", "ccsdspy", "yaml", "canonical"]
READERS: dict[Format, tuple[str, str]] = {
    "xtce": ("gateway_codecs.mdb.xtce", "read_xtce"),
    "mib": ("gateway_codecs.mdb.mib", "read_mib"),
    "ccsdspy": ("gateway_codecs.mdb.ccsdspy_csv", "read_ccsdspy"),
    "yaml": ("gateway_codecs.mdb.yaml_form", "read_yaml"),
}
"""Module and function of each format's reader: imported when a database of it is read, for a start needs none."""
SUFFIXES: dict[str, Format] = {
    ".xml": "xtce", ".xtce": "xtce", ".csv": "ccsdspy", ".yaml": "yaml", ".yml": "yaml", ".json": "canonical",
}  # fmt: skip
MIB_MARK = "pid.dat"
TABLES_MAX = 256


def load_database(
    path: Path, format: Format | None = None, apid: int | None = None, budget: Budget | None = None
) -> Reading:
    """Return the database in a file, or in the folder of a MIB; `format` None = as it looks.

    `apid` is that of the packets of a ccsdspy file. Blocking. Raises DatabaseError, OSError.
    """
    budget = budget or Budget()
    chosen = format or find_format(path)
    if chosen == "mib":
        return cast(Reading, _reader("mib")(_tables(path, budget), str(path), budget))
    data = _octets(path, budget)
    if chosen == "canonical":
        from gateway_codecs.mdb.canonical import from_text

        return Reading(from_text(data), {})
    if chosen == "ccsdspy":
        return cast(Reading, _reader(chosen)(data, str(path), apid, budget))
    return cast(Reading, _reader(chosen)(data, str(path), budget))


def find_format(path: Path) -> Format:
    """Return the format that a path looks like. Raises DatabaseError when it is none, FileNotFoundError."""
    if path.is_dir():
        if any(one.name.lower() == MIB_MARK for one in path.iterdir()):
            return "mib"
        raise DatabaseError(f"{path}: a folder without {MIB_MARK}: no MIB", hint="give a file, or the folder of a MIB")
    if not path.exists():
        raise FileNotFoundError(2, "no such mission database", str(path))
    found = SUFFIXES.get(path.suffix.lower())
    if found is None:
        known = ", ".join(sorted(SUFFIXES))
        raise DatabaseError(f"{path}: no format is known by its name", hint=f"say the format; {known} tell it")
    return found


def _reader(format: Format) -> Callable[..., Any]:
    module, name = READERS[format]
    try:
        return cast(Callable[..., Any], getattr(importlib.import_module(module), name))
    except ModuleNotFoundError:
        raise DatabaseError(f"this gateway has no reader of {format}") from None


def _octets(path: Path, budget: Budget) -> bytes:
    size = path.stat().st_size
    if size > budget.file_octets:
        raise DatabaseError(f"{path}: {size} octets, at most {budget.file_octets} are read")
    return path.read_bytes()


def _tables(folder: Path, budget: Budget) -> dict[str, bytes]:
    """Return the tables of a MIB by their names in lower case, without `.dat`."""
    if not folder.is_dir():
        raise DatabaseError(f"{folder}: no folder: a MIB is one, with {MIB_MARK}")
    files = sorted(one for one in folder.iterdir() if one.suffix.lower() == ".dat" and one.is_file())
    if len(files) > TABLES_MAX:
        raise DatabaseError(f"{folder}: {len(files)} tables, at most {TABLES_MAX} are read")
    found, left = dict[str, bytes](), budget.file_octets
    for one in files:
        data = _octets(one, budget)
        left -= len(data)
        if left < 0:
            raise DatabaseError(f"{folder}: more than {budget.file_octets} octets in all")
        found[one.stem.lower()] = data
    return found
