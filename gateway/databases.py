"""Mission databases on disk: finds out the format, and gives what the format's reader finds within the budget."""

from __future__ import annotations

import importlib
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, cast, get_args

from gateway_codecs.mdb.bounds import refuse_absurd
from gateway_codecs.mdb.model import Where
from gateway_codecs.mdb.report import Budget, DatabaseError, Reading

if TYPE_CHECKING:
    from gateway_config import MibSettings

Format = Literal["xtce", "mib", "ccsdspy", "yaml", "canonical"]
FORMATS: tuple[Format, ...] = get_args(Format)
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
CONTENTS: tuple[tuple[re.Pattern[bytes], Format], ...] = (
    (re.compile(rb"\A\s*<"), "xtce"),
    (re.compile(rb"\A\s*\{"), "canonical"),
    (re.compile(rb"(?m)^mission_database\s*:"), "yaml"),
    (re.compile(rb"(?i)\A\s*name\s*,"), "ccsdspy"),
)
"""What a file of another name begins with."""
LOOKED_AT_OCTETS = 4096
MIB_MARK = "pid.dat"
TABLES_MAX = 256


def load_database(
    path: Path,
    format: Format | None = None,
    apid: int | None = None,
    budget: Budget | None = None,
    mib: MibSettings | None = None,
) -> Reading:
    """Return the database in a file, or in the folder of a MIB; `format` None = as it looks.

    `apid` is that of the packets of a ccsdspy file, `mib` what the tables of a MIB do not say. Blocking. Raises
    DatabaseError, OSError.
    """
    budget = budget or Budget()
    reading = _read(path, format or find_format(path), apid, budget, mib)
    try:
        refuse_absurd(reading.database)
    except DatabaseError as error:
        raise error if error.where.file else DatabaseError(error.message, Where(str(path)), error.hint) from None
    return reading


def _read(path: Path, chosen: Format, apid: int | None, budget: Budget, mib: MibSettings | None) -> Reading:
    if chosen == "mib":
        return cast(Reading, _reader("mib")(_tables(path, budget), str(path), budget, _mib_form(mib)))
    data = _octets(path, budget)
    if chosen == "canonical":
        return _canonical(data, str(path))
    if chosen == "ccsdspy":
        return cast(Reading, _reader(chosen)(data, str(path), apid, budget))
    return cast(Reading, _reader(chosen)(data, str(path), budget))


def _mib_form(told: MibSettings | None) -> Any:
    from gateway_codecs.mdb.mib import MibForm
    from gateway_codecs.time_codes import TimeCode

    if told is None:
        return MibForm()
    cuc = TimeCode("cuc", epoch=told.cuc_epoch, scale=told.cuc_scale)
    return MibForm(cuc, TimeCode("cds", epoch=told.cds_epoch), told.length_bits)


def find_format(path: Path) -> Format:
    """Return the format that a path looks like. Raises DatabaseError when it is none, FileNotFoundError."""
    if path.is_dir():
        if any(one.name.lower() == MIB_MARK for one in path.iterdir()):
            return "mib"
        hint = "give a file, or the folder of a MIB"
        raise DatabaseError(f"a folder without {MIB_MARK}: no MIB", Where(str(path)), hint)
    if not path.exists():
        raise FileNotFoundError(2, "no such mission database", str(path))
    found = SUFFIXES.get(path.suffix.lower()) or _by_content(path)
    if found is None:
        hint = f"say its format: {', '.join(FORMATS)}"
        if path.suffix.lower() == Path(MIB_MARK).suffix and path.with_name(MIB_MARK).exists():
            hint = f"a table of a MIB: give its folder, {path.parent}"
        raise DatabaseError("looks like no mission database, by name and content", Where(str(path)), hint)
    return found


def _by_content(path: Path) -> Format | None:
    with _opened(path) as file:
        begin = file.read(LOOKED_AT_OCTETS).removeprefix(b"\xef\xbb\xbf")
    return next((format for pattern, format in CONTENTS if pattern.search(begin)), None)


def _canonical(data: bytes, file: str) -> Reading:
    from gateway_codecs.mdb.canonical import from_text

    try:
        database = from_text(data)
    except DatabaseError as error:
        raise DatabaseError(
            error.message, Where(file, error.where.line), "gateway mdb convert writes such files"
        ) from None
    sections = {"containers": database.containers, "parameters": database.parameters, "types": database.types}
    return Reading(database, {name: len(section) for name, section in sections.items()})


def _reader(format: Format) -> Callable[..., Any]:
    module, name = READERS[format]
    return cast(Callable[..., Any], getattr(importlib.import_module(module), name))


def _opened(path: Path) -> BinaryIO:
    """Open a file that has an end: a pipe would wait for ever, a device be read for ever."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe is opened at once, and refused
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise DatabaseError("no file, but a pipe, device or folder", Where(str(path)), "copy what it gives to a file")
    return os.fdopen(descriptor, "rb")


def _octets(path: Path, budget: Budget) -> bytes:
    most = budget.file_octets
    with _opened(path) as file:
        data = file.read(most + 1) if (size := os.fstat(file.fileno()).st_size) <= most else b""
    if max(size, len(data)) > most:  # it may grow meanwhile
        raise DatabaseError(f"{max(size, len(data)):,} octets; at most {most:,} are read", Where(str(path)))
    return data


def _tables(folder: Path, budget: Budget) -> dict[str, bytes]:
    """Return the tables of a MIB by their names in lower case, without `.dat`."""
    if not folder.is_dir():
        raise DatabaseError(f"no folder: a MIB is one, with {MIB_MARK}", Where(str(folder)))
    files = sorted(one for one in folder.iterdir() if one.suffix.lower() == ".dat" and one.is_file())
    if len(files) > TABLES_MAX:
        raise DatabaseError(f"{len(files)} tables; at most {TABLES_MAX} are read", Where(str(folder)))
    found, left = dict[str, bytes](), budget.file_octets
    for one in files:
        data = _octets(one, budget)
        left -= len(data)
        if left < 0:
            raise DatabaseError(f"more than {budget.file_octets:,} octets in all", Where(str(folder)))
        found[one.stem.lower()] = data
    return found
