"""Every version of every mission database that was ever used, by its digest: old values can be computed again.

`databases/DIGEST.json` is the canonical text (gateway_codecs.mdb.canonical), whose SHA-256 is the digest: what was
damaged is noticed. Blocking; runs in a worker.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from gateway.errors import NotFound
from gateway.world import Storage
from gateway_codecs.mdb.canonical import from_text, to_text
from gateway_codecs.mdb.decoder import Decoder
from gateway_codecs.mdb.model import Database
from gateway_codecs.mdb.report import DatabaseError

FOLDER = "databases"
ABOUT = "about.json"
DIGEST_SHORT = 12
LOADED_MAX = 4
TEXT_MAX_OCTETS = 1 << 30


@dataclass(frozen=True, slots=True, eq=False)
class Version:
    """One version of a database, ready to decode with."""

    digest: str
    database: Database
    decoder: Decoder


class Versions:
    """See the module. The newest few stay loaded."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._loaded: OrderedDict[str, Version] = OrderedDict()

    def keep(self, database: Database, about: dict[str, Any]) -> Version:
        """Store a database durably and return it with its digest. `about` is for people: file, time, format.

        Raises OSError, DatabaseError for one that cannot be decoded with.
        """
        text = to_text(database)
        digest = hashlib.sha256(text).hexdigest()
        version = self._loaded.get(digest) or self._took(digest, database)
        if f"{digest}.json" not in self._storage.names(FOLDER):
            self._storage.write_whole(f"{FOLDER}/{digest}.json", text)
        known = self.about()
        if not known.get(digest):
            self._storage.write_whole(f"{FOLDER}/{ABOUT}", json.dumps({**known, digest: about}, indent=1).encode())
        return version

    def about(self) -> dict[str, dict[str, Any]]:
        """Return what is known of each version, the first used first; for people, it may be lost."""
        try:
            name = f"{FOLDER}/{ABOUT}"
            found = json.loads(self._storage.read(name, 0, self._storage.size(name)))
            known = {digest: dict(row) for digest, row in found.items() if isinstance(row, dict)}
        except (OSError, ValueError, AttributeError):
            known = {}
        there = [name.removesuffix(".json") for name in self._storage.names(FOLDER) if name != ABOUT]
        return {**{d: row for d, row in known.items() if d in there}, **{d: {} for d in there if d not in known}}

    def full_digest(self, wanted: str) -> str:
        """Return the digest that begins so. Raises NotFound when none does, or several."""
        there = [digest for digest in self.about() if digest.startswith(wanted.lower())]
        if len(there) == 1:
            return there[0]
        short = ", ".join(digest[:DIGEST_SHORT] for digest in there or self.about()) or "none"
        what = "several databases begin" if there else "no database of this gateway begins"
        raise NotFound(f"{what} with {wanted[:64]!r}", f"there are {short}")

    def version(self, digest: str) -> Version:
        """Return a stored version. Raises NotFound, OSError for a file that is damaged."""
        if digest in self._loaded:
            self._loaded.move_to_end(digest)
            return self._loaded[digest]
        name = f"{FOLDER}/{self.full_digest(digest)}.json"
        text = self._storage.read(name, 0, TEXT_MAX_OCTETS)
        if hashlib.sha256(text).hexdigest() != digest:
            raise OSError(5, f"{name} is damaged: its SHA-256 is not its name")
        try:
            return self._took(digest, from_text(text))
        except DatabaseError as error:
            raise OSError(5, f"{name} cannot be used: {error}") from error

    def _took(self, digest: str, database: Database) -> Version:
        version = self._loaded[digest] = Version(digest, database, Decoder(database))
        while len(self._loaded) > LOADED_MAX:
            self._loaded.popitem(last=False)
        return version
