"""A cache of decoded samples as columns in files, which may be deleted at any time and is never the truth.

A part is what a range of journal positions says of one parameter with one version of a database: all columns in
generation-time order. `FOLDER/DIGEST/PARAMETER/CHUNK.col`: magic, length and CRC-32C of the head, a head in JSON, then
the columns, each with a CRC-32C. A column of one value is in the head alone. A file that is damaged, torn or of another
journal is no part: it is removed, and made again by whoever needs it. Nothing is forced to disk. Blocking.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway_codecs.crc import crc32c
from gateway_codecs.mdb.samples import Samples

MAGIC = b"UGWVAL3\n"
_PREFIX = struct.Struct("<8sII")
HEAD_MAX_OCTETS = 1 << 20
FIRST_READ_OCTETS = 1 << 13
KEEP_SHARE = 0.9
ALIGN = 64
OCTETS_MAX = 1 << 32


@dataclass(frozen=True, slots=True)
class PartKey:
    """Which part: of a journal and its revision, a version, a spacecraft, a parameter, and a chunk of positions."""

    journal: str
    revision: int
    digest: str
    spacecraft: str
    parameter: str
    chunk: int

    def path(self) -> str:
        """Return the part's file below the cache's folder; names are hashed, no path is made from text."""
        name = f"{self.journal} {self.revision} {self.spacecraft} {self.parameter}"
        return f"{self.digest[:16]}/{hashlib.sha256(name.encode()).hexdigest()[:24]}/{self.chunk:08}.col"

    def told(self) -> dict[str, Any]:
        """Return what the file says of itself."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """What positions [first, upto) hold: `rows` samples, their times within [time[0], time[1]]; both 0 without any.

    `samples` has the columns that were asked for, or none yet.
    """

    first: int
    upto: int
    rows: int
    time: tuple[int, int]
    received: tuple[int, int]
    samples: Samples | None = None


class Damaged(ValueError):
    """A file that is no whole part."""


class ValueCache:
    """Parts below one folder, at most so many octets; the least recently used go. `limit_octets` 0 = no cache."""

    def __init__(self, folder: Path, limit_octets: int) -> None:
        self._folder, self._limit_octets = folder, limit_octets
        self._octets: int | None = None  # of all files, once they were counted
        self.hits = self.misses = self.damaged = 0

    @property
    def octets(self) -> int:
        """What the cache takes on disk, as far as it is known."""
        return self._octets or 0

    def load(self, key: PartKey) -> Part | None:
        """Return a part without its samples; None when there is none."""
        if not self._limit_octets:
            return None
        try:
            with (self._folder / key.path()).open("rb", buffering=0) as file:
                part, _ = _part_of(_head(file.fileno()), key)
        except FileNotFoundError:
            self.misses += 1
            return None
        except (Damaged, OSError):
            self._forget(key)
            return None
        self.hits += 1
        return part

    def samples(self, key: PartKey, part: Part, wanted: Iterable[str]) -> Samples | None:
        """Return the wanted columns of a part; None when the file is gone, damaged or another one meanwhile."""
        path = self._folder / key.path()
        try:
            with path.open("rb", buffering=0) as file:
                head = _head(file.fileno())
                again, about = _part_of(head, key)
                if (again.first, again.upto, again.rows) != (part.first, part.upto, part.rows):
                    return None
                columns = {name: _column(file.fileno(), about["columns"][name], part, name) for name in wanted}
            with contextlib.suppress(OSError):
                os.utime(path)
        except FileNotFoundError:
            return None
        except (Damaged, OSError, KeyError, TypeError, ValueError):
            self._forget(key)
            return None
        return Samples(key.parameter, columns, str(about["unit"]), tuple(map(str, about["labels"])))

    def store(self, key: PartKey, part: Part) -> None:
        """Keep a part with all its columns; on a disk that refuses it is not kept, and nobody is bothered."""
        if not self._limit_octets or part.samples is None:
            return
        path = self._folder / key.path()
        temporary = path.with_suffix(f".{os.getpid()}.new")
        pieces = _pieces(key, part, part.samples)
        size = sum(map(len, pieces))
        if size > self._limit_octets:
            return
        self._make_room(size)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                file.writelines(pieces)
            before = path.stat().st_size if path.exists() else 0
            temporary.replace(path)
            self._octets = (self._octets or 0) + size - before
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)

    def _forget(self, key: PartKey) -> None:
        self.damaged += 1
        self._octets = None  # counted again
        with contextlib.suppress(OSError):
            (self._folder / key.path()).unlink(missing_ok=True)

    def _make_room(self, octets: int) -> None:
        """Remove what was not used for longest until so much fits."""
        if self._octets is not None and self._octets + octets <= self._limit_octets:
            return
        files = sorted(self._files())
        total = sum(size for _, size, _ in files)
        for _, size, path in files:
            if total + octets <= self._limit_octets * KEEP_SHARE:
                break
            with contextlib.suppress(OSError):
                Path(path).unlink(missing_ok=True)
            total -= size
        self._octets = total

    def _files(self) -> list[tuple[float, int, str]]:
        """Return every file: when it was used last, its octets, its path."""
        found = []
        for folder, _, names in os.walk(self._folder):
            for name in names:
                with contextlib.suppress(OSError):
                    about = os.stat(os.path.join(folder, name))
                    found.append((about.st_mtime, about.st_size, os.path.join(folder, name)))
        return found


# ---- the file ----


def _pieces(key: PartKey, part: Part, samples: Samples) -> list[bytes | memoryview]:
    """Return a file's pieces in order."""
    told: dict[str, Any] = {}
    bodies: list[bytes | memoryview] = []
    at = 0
    for name, column in samples.columns.items():
        stored = column - part.first if name == "position" else column
        stored = stored.astype("<u4") if name == "position" and part.upto - part.first < 1 << 32 else stored
        stored = np.ascontiguousarray(stored)
        about: dict[str, Any] = {"dtype": stored.dtype.str}
        if len(stored) and (stored == stored[0]).all():
            about["value"] = stored[:1].tobytes().hex()
        else:
            body = stored.view(np.uint8).data if stored.nbytes else b""
            padding = bytes(-len(body) % ALIGN)
            about |= {"offset": at, "crc32c": crc32c(body)}
            bodies += [body, padding]
            at += len(body) + len(padding)
        told[name] = about
    head = {
        **key.told(), "first": part.first, "upto": part.upto, "rows": part.rows, "time": part.time,
        "received": part.received, "unit": samples.unit, "labels": samples.labels, "columns": told,
    }  # fmt: skip
    text = json.dumps(head).encode()
    return [_PREFIX.pack(MAGIC, len(text), crc32c(text)), text, *bodies]


def _head(fd: int) -> tuple[int, bytes]:
    """Return where the columns begin, and the head. Raises Damaged, OSError."""
    begin = os.pread(fd, FIRST_READ_OCTETS, 0)
    if len(begin) < _PREFIX.size:
        raise Damaged("shorter than its prefix")
    magic, length, crc = _PREFIX.unpack_from(begin)
    if magic != MAGIC or length > HEAD_MAX_OCTETS:
        raise Damaged("no part")
    text = begin[_PREFIX.size : _PREFIX.size + length]
    if len(text) < length:
        text = os.pread(fd, length, _PREFIX.size)
    if len(text) != length or crc32c(text) != crc:
        raise Damaged("head CRC-32C")
    return _PREFIX.size + length, text


def _part_of(head: tuple[int, bytes], key: PartKey) -> tuple[Part, dict[str, Any]]:
    """Return what a head says. Raises Damaged."""
    try:
        about: dict[str, Any] = json.loads(head[1])
        if {name: about[name] for name in key.told()} != key.told():
            raise Damaged("another part")
        times = (int(about["time"][0]), int(about["time"][1])), (int(about["received"][0]), int(about["received"][1]))
        part = Part(int(about["first"]), int(about["upto"]), int(about["rows"]), *times)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise Damaged(str(error)) from error
    columns = {name: {**column, "begin": head[0]} for name, column in about["columns"].items()}
    return part, {**about, "columns": columns}


def _column(fd: int, about: Mapping[str, Any], part: Part, name: str) -> NDArray[Any]:
    """Return one column. Raises Damaged, OSError."""
    dtype = np.dtype(about["dtype"])
    if dtype.hasobject or part.rows * dtype.itemsize > OCTETS_MAX:
        raise Damaged(f"column {name}")
    if "value" in about:
        column = np.full(part.rows, np.frombuffer(bytes.fromhex(about["value"]), dtype)[0])
    else:
        octets = np.empty(part.rows * dtype.itemsize, np.uint8)
        got = os.preadv(fd, [octets.data], int(about["begin"]) + int(about["offset"])) if len(octets) else 0
        if got != len(octets) or crc32c(octets.data) != about["crc32c"]:
            raise Damaged(f"column {name}")
        column = octets.view(dtype)
    return column.astype(np.int64) + part.first if name == "position" else column


def with_samples(part: Part, samples: Samples) -> Part:
    """Return a part that has these columns."""
    return replace(part, samples=samples)
