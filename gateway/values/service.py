"""The values of one mission instance as a service: databases, search, newest values, history. The API calls it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from gateway.databases import load_database
from gateway.errors import Conflict, GatewayError, NotFound, UsageError
from gateway.journal import Slice
from gateway.values import as_csv, described, rendered
from gateway.values.cache import ValueCache
from gateway.values.door import ValuesAround
from gateway.values.files import DatabaseFile, Fingerprint, fingerprint
from gateway.values.history import After, Found, History, Query
from gateway.values.live import Live
from gateway.values.versions import DIGEST_SHORT, Version, Versions
from gateway_codecs.batches import I64Array, ItemBatch, gather
from gateway_codecs.mdb.lookup import kind_of, resolve
from gateway_codecs.mdb.model import Severity
from gateway_codecs.mdb.report import DatabaseError
from gateway_codecs.mdb.samples import Order
from gateway_codecs.time_scales import format_utc
from gateway_routes.conditions import Condition

T = TypeVar("T")
SHOWN_MAX = 3
OUT_SEVERITY = {
    Severity.WATCH: "info", Severity.WARNING: "warning", Severity.DISTRESS: "error", Severity.CRITICAL: "critical",
    Severity.SEVERE: "critical",
}  # fmt: skip
LIMIT_REMEDY = "`gateway params list` shows the values; `gateway events` when each limit was passed"


class Values:
    """See the module. Made by `ValuesDoor.open`; methods that are coroutines work in threads."""

    def __init__(self, around: ValuesAround) -> None:
        self._around = around
        self._versions = Versions(around.storage)
        octets = around.cache_octets if around.cache_folder is not None else 0
        self._cache = ValueCache(around.cache_folder or Path(), octets)
        self._history = History(around.journal, self._cache)
        self._current: dict[str, Version] = {}
        self._files: dict[str, DatabaseFile] = {}
        self._loading: dict[str, asyncio.Lock] = {name: asyncio.Lock() for name in around.databases}
        self.live = {name: Live(name) for name in around.databases}

    # ---- databases ----

    def spacecraft(self, name: str | None) -> str:
        """Return the spacecraft that is meant. Raises NotFound, UsageError."""
        known = sorted(self._around.databases)
        if name is None and len(known) == 1:
            return known[0]
        if name is None:
            raise UsageError("which spacecraft?", f"there are {', '.join(known)}")
        if name not in self._around.databases:
            raise NotFound(f"no spacecraft {name[:64]!r} with a database", f"there are {', '.join(known)}")
        return name

    async def version(self, spacecraft: str, digest: str | None = None) -> Version:
        """Return the version asked for, else the one in use. Raises NotFound, Conflict, OSError."""
        if digest is not None:
            return await self._around.historian(lambda: self._versions.version(self._versions.full_digest(digest)))
        async with self._loading[spacecraft]:
            if spacecraft not in self._current:
                self._use(spacecraft, *await self._around.historian(lambda: self._read(spacecraft)))
            return self._current[spacecraft]

    async def reload(self, spacecraft: str) -> dict[str, Any]:
        """Read a spacecraft's database anew; live values go on with it. Raises Conflict, OSError: then nothing changes.

        Values of the past are shown by the new version too, unless another is asked for.
        """
        before = self._current.get(spacecraft)
        async with self._loading[spacecraft]:
            try:
                version, read = await self._around.historian(lambda: self._read(spacecraft))
            except (GatewayError, OSError) as error:
                if spacecraft in self._files:
                    self._refuse(self._files[spacecraft], str(error))
                raise
            self._use(spacecraft, version, read)
        if before is not None and before.digest != version.digest:
            short = [one.digest[:DIGEST_SHORT] for one in (before, version)]
            message = f"{spacecraft}: mission database {short[0]} -> {short[1]}"
            event = {"type": "database", "severity": "info", "message": message, "spacecraft": spacecraft}
            self._around.emit({**event, "before": before.digest, "after": version.digest})
        return self._database_row(spacecraft, version)

    def _use(self, spacecraft: str, version: Version, read: Fingerprint) -> None:
        self._current[spacecraft] = version
        path = self._path(spacecraft)
        self._files[spacecraft] = DatabaseFile(spacecraft, path, read, version.digest)

    def _refuse(self, file: DatabaseFile, why: str) -> None:
        """Remember and tell that a file was not taken."""
        file.refused = why
        self._tell(file, "error", f"{why}; values go on with version {file.digest[:DIGEST_SHORT]}")

    def _tell(self, file: DatabaseFile, severity: str, text: str) -> None:
        message = f"{file.spacecraft}: {text}"
        event = {"type": "database", "severity": severity, "message": message, "spacecraft": file.spacecraft}
        self._around.emit({**event, "before": file.digest, "after": file.digest})

    def _path(self, spacecraft: str) -> Path:
        return self._around.directory / self._around.databases[spacecraft].file

    async def look_at_files(self) -> None:
        """Look whether the files of the versions in use are still what was read."""
        files = list(self._files.values())
        found = await self._around.keeper(lambda: [fingerprint(one.path) for one in files])
        for one, now in zip(files, found, strict=True):
            told = one.look(now)
            if told and self._files.get(one.spacecraft) is one:  # else it was read again meanwhile
                self._tell(one, one.severity, told)

    def _read(self, spacecraft: str) -> tuple[Version, Fingerprint]:
        keys = self._around.databases[spacecraft]
        path = self._path(spacecraft)
        read = fingerprint(path)
        try:
            reading = load_database(path, None if keys.format == "auto" else keys.format, keys.apid, mib=keys.mib)
        except DatabaseError as error:
            raise Conflict(f"the database of {spacecraft} cannot be used: {error}", error.hint) from None
        except FileNotFoundError as error:
            hint = f"the mission file says database.file: {keys.file}"
            raise Conflict(f"the database of {spacecraft} is not there: {error.filename or path}", hint) from None
        now = format_utc(self._around.clock.tai_ns())
        about = {
            "spacecraft": spacecraft, "file": keys.file, "name": reading.database.name,
            "version": reading.database.version, "first_used_utc": now, "remarks": len(reading.remarks),
        }  # fmt: skip
        return self._versions.keep(reading.database, about), read

    async def databases(self) -> list[dict[str, Any]]:
        """Return every version that was ever used, and which are in use. Raises OSError."""
        known = await self._around.historian(self._versions.about)
        used = {version.digest: name for name, version in self._current.items()}
        return [
            {
                "digest": digest, "spacecraft": row.get("spacecraft"), "name": row.get("name"),
                "version": row.get("version"), "file": row.get("file"), "first_used_utc": row.get("first_used_utc"),
                "in_use": digest in used,
            }
            for digest, row in known.items()
        ]  # fmt: skip

    # ---- names ----

    async def names(
        self, spacecraft: str | None, text: str, digest: str | None, limit: int, offset: int
    ) -> dict[str, Any]:
        """Return parameters whose name, alias or description has all the words of `text`. Raises NotFound, OSError."""
        craft = self.spacecraft(spacecraft)
        version = await self.version(craft, digest)
        found, total = await self._around.historian(lambda: described.search(version.database, text, limit, offset))
        return {"spacecraft": craft, "database": version.digest, "total": total, "parameters": found}

    async def definition(self, spacecraft: str | None, parameter: str, digest: str | None) -> dict[str, Any]:
        """Return what a database says of a parameter. Raises NotFound, UsageError, OSError."""
        craft = self.spacecraft(spacecraft)
        version = await self.version(craft, digest)
        name = self.parameter(version, parameter)
        told = await self._around.historian(lambda: described.definition(version.database, name))
        return {"spacecraft": craft, "database": version.digest, **told}

    async def containers(self, spacecraft: str | None, digest: str | None) -> dict[str, Any]:
        """Return the containers of a database, bases before heirs. Raises NotFound, OSError."""
        craft = self.spacecraft(spacecraft)
        version = await self.version(craft, digest)
        rows = await self._around.historian(lambda: described.containers(version.database))
        return {"spacecraft": craft, "database": version.digest, "containers": rows}

    def parameter(self, version: Version, text: str) -> str:
        """Return the qualified name that is meant. Raises NotFound, UsageError."""
        if text.endswith("]"):
            hint = "ask for the array: each sample says which element it is"
            raise UsageError(f"{text[:100]!r} is an element", hint)
        found = resolve(version.database, text)
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageError(f"{text[:100]!r} may be {', '.join(found[:8])}", "give the whole name")
        near = described.near(version.database, text)
        hint = f"perhaps {', '.join(near)}" if near else "`gateway params list WORD` searches"
        raise NotFound(f"the database has no parameter {text[:100]!r}", hint)

    # ---- history ----

    async def history(
        self,
        spacecraft: str | None,
        parameter: str,
        span: tuple[int, int],
        order: Order,
        digest: str | None,
        limit: int,
        after: After | None,
        with_raw: bool,
    ) -> dict[str, Any]:
        """Return a page of samples, each once, with where they came from. Raises NotFound, UsageError, OSError."""
        craft = self.spacecraft(spacecraft)
        version = await self.version(craft, digest)
        name = self.parameter(version, parameter)
        query = Query(craft, name, *span, order)
        kind, links = kind_of(version.database, name), self._around.journal.names("links")

        def work() -> dict[str, Any]:
            found = self._history.page(query, version, limit, after)
            rows = rendered.rows(found.samples, kind, links, with_raw)
            return self._told(found, craft, version, name) | {"samples": rows, "after": _next_page(found, order)}

        return await self._long(work)

    async def history_csv(
        self, spacecraft: str | None, parameter: str, span: tuple[int, int], digest: str | None, limit: int,
        after: str | None,
    ) -> as_csv.Page:  # fmt: skip
        """Return a page of samples in generation-time order as CSV. Raises NotFound, UsageError, OSError."""
        craft = self.spacecraft(spacecraft)
        version = await self.version(craft, digest)
        name = self.parameter(version, parameter)
        query, begin = Query(craft, name, *span), None if after is None else parse_after(after)
        kind, links = kind_of(version.database, name), self._around.journal.names("links")

        def work() -> as_csv.Page:
            found = self._history.page(query, version, limit, begin)
            pieces = tuple(as_csv.pieces(replace(found.samples, parameter=name), kind, links, found.digest))
            return as_csv.Page(pieces, found.digest, _next_page(found, query.order))

        return await self._long(work)

    async def buckets(
        self, spacecraft: str | None, parameter: str, span: tuple[int, int], digest: str | None, count: int
    ) -> dict[str, Any]:
        """Return a range summed up in spans of time that keep the extremes. Raises NotFound, UsageError, OSError."""
        craft = self.spacecraft(spacecraft)
        version = await self.version(craft, digest)
        name = self.parameter(version, parameter)
        query = Query(craft, name, *span)

        def work() -> dict[str, Any]:
            buckets, found = self._history.buckets(query, version, count)
            return self._told(found, craft, version, name) | described.unit_and_labels(version.database, name) | {
                "kind": kind_of(version.database, name), "buckets": described.bucket_rows(buckets)
            }  # fmt: skip

        return await self._long(work)

    def _told(self, found: Found, spacecraft: str, version: Version, name: str) -> dict[str, Any]:
        return {
            "spacecraft": spacecraft, "parameter": name, "unit": found.samples.unit, "database": found.digest,
            "head": found.head, "damaged": [list(span) for span in found.damaged],
            "decimals": described.decimals(version.database, name),
        }  # fmt: skip

    def _long(self, work: Callable[[], T]) -> Awaitable[T]:
        return self._around.historian(work)

    # ---- live ----

    async def take_live(self, spacecraft: str, number: int, found: Slice, quiet: bool) -> None:
        """Decode the packets of one spacecraft, and emit their events. Raises Conflict, OSError."""
        version = await self.version(spacecraft)
        live, positions, batch = self.live[spacecraft], *_of(found, number)
        took = await self._around.decoder(lambda: live.take(version, positions, batch, quiet))
        live.apply(took)
        for event in took.events:
            self._around.emit(event)

    def latest(self, spacecraft: str | None, names: Iterable[str] | None) -> list[dict[str, Any]]:
        """Return the newest live values: of all parameters that have one, or of those named. Raises NotFound."""
        now_ns = self._around.clock.steady_tai_ns()
        crafts = sorted(self.live) if spacecraft is None else [self.spacecraft(spacecraft)]
        rows = []
        for craft in crafts:
            live = self.live[craft]
            wanted = sorted(live.latest) if names is None else self._named(craft, names)
            rows += [live.shown(name, live.latest[name], now_ns) for name in wanted if name in live.latest]
        return rows

    def _named(self, craft: str, names: Iterable[str]) -> list[str]:
        version = self.live[craft].version or self._current.get(craft)
        return [] if version is None else [self.parameter(version, name) for name in names]

    # ---- what is seen ----

    def conditions(self) -> list[Condition]:
        """Return one condition for each severity of values that are beyond their limits now, and for each file."""
        found = [one for file in self._files.values() if (one := file.condition()) is not None]
        for craft, live in self.live.items():
            by_severity: dict[Severity, list[str]] = {}
            for name, (limit, latest) in live.out_of_limit.items():
                told = live.shown(name, latest)
                value = rendered.text(told["value"], told["unit"], told["decimals"])
                text = f"{name} {rendered.limit_text(limit)} ({value})"
                by_severity.setdefault(Severity(limit & 7), []).append(text)
            for severity, texts in sorted(by_severity.items(), reverse=True):
                more = f" and {len(texts) - SHOWN_MAX} more" if len(texts) > SHOWN_MAX else ""
                text = f"{len(texts)} out of limits: {', '.join(texts[:SHOWN_MAX])}{more}"
                subject = f"{severity.name.lower()} limits of {craft}"
                found.append(Condition(OUT_SEVERITY[severity], "out of limits", subject, text, LIMIT_REMEDY, True))
        return found

    def databases_state(self) -> list[dict[str, Any]]:
        """Return the databases in use."""
        return [self._database_row(name, version) for name, version in sorted(self._current.items())]

    def _database_row(self, spacecraft: str, version: Version) -> dict[str, Any]:
        database = version.database
        return {
            "spacecraft": spacecraft, "name": database.name, "version": database.version, "digest": version.digest,
            "parameters": len(database.parameters), "containers": len(database.containers),
        }  # fmt: skip

    def counts_state(self) -> list[dict[str, Any]]:
        """Return the counts of each packet type."""
        return [
            {
                "spacecraft": craft, "packet_type": name, "packets": one.packets, "late": one.late,
                "ambiguous": one.ambiguous, "out_of_limit": one.out_of_limit, "invalid": one.invalid,
                "given_up": one.given_up,
            }
            for craft, live in sorted(self.live.items())
            for name, one in sorted(live.counts.items())
        ]  # fmt: skip

    def unidentified_state(self) -> dict[str, int]:
        """Return how many packets no container describes, by spacecraft."""
        return {craft: sum(live.unidentified.values()) for craft, live in sorted(self.live.items())}

    def out_of_limits(self) -> int:
        """Return how many parameters are beyond a limit now."""
        return sum(len(live.out_of_limit) for live in self.live.values())

    def cache_state(self) -> dict[str, int]:
        """Return how the cache fares."""
        cache = self._cache
        return {"octets": cache.octets, "hits": cache.hits, "misses": cache.misses, "damaged": cache.damaged}


def _of(found: Slice, number: int) -> tuple[I64Array, ItemBatch]:
    """Return the items of one spacecraft."""
    mine = found.batch.items["spacecraft"] == number
    if mine.all():
        return found.positions, found.batch
    items = found.batch.items[mine]
    lengths = items["length"].astype("int64")
    octets = gather(found.batch.octets, items["offset"], lengths)
    items["offset"] = lengths.cumsum() - lengths
    return found.positions[mine], ItemBatch(octets, items)


def _next_page(found: Found, order: Order) -> str | None:
    """Return what says where the next page begins; None behind the last."""
    if not found.more or not len(found.samples):
        return None
    key = {"generation": "time_ns", "reception": "receive_time_ns", "journal": "position"}[order.value]
    return ".".join(str(int(found.samples[name][-1])) for name in (key, "position", "element", "time_ns"))


def parse_after(text: str) -> After:
    """Return where a page begins. Raises UsageError."""
    parts = text.split(".")
    try:
        key, position, element, time_ns = (int(part) for part in parts)
        if not (max(abs(key), abs(time_ns)) < 2**63 and 0 <= position < 2**63 and 0 <= element < 2**31):
            raise ValueError
    except ValueError:
        raise UsageError(f"{text[:64]!r} is no `after` of an earlier page", "take it from the page before") from None
    return After(key, position, element, time_ns)
