"""Small durable things in SQLite (WAL, synchronous=FULL): cursors and contacts. Blocking; runs in a worker.

What SQLite cannot do (disk full, input or output errors, a damaged file) is an OSError, as everywhere else.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

SCHEMA = """
CREATE TABLE IF NOT EXISTS cursors (
    home TEXT NOT NULL, subscription TEXT NOT NULL, cursor TEXT NOT NULL, PRIMARY KEY (home, subscription)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS kept (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""


class SmallStore:
    """Cursors by (home, subscription), and small named JSON values. Every method raises OSError."""

    def __init__(self, path: Path | None) -> None:
        self._name = str(path or "small store")
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        with self._told():
            self._db = sqlite3.connect(path or ":memory:", check_same_thread=False, isolation_level=None)
            if path is not None:
                self._db.execute("PRAGMA journal_mode=WAL")
                self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(SCHEMA)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise OSError(5, f"{self._name}: {error}") from error

    def cursors(self) -> list[tuple[str, str, dict[str, Any]]]:
        """Return every cursor as (home, subscription, cursor)."""
        with self._told():
            rows = self._db.execute("SELECT home, subscription, cursor FROM cursors ORDER BY 1, 2").fetchall()
        return [(home, subscription, json.loads(cursor)) for home, subscription, cursor in rows]

    def put_cursors(self, cursors: Mapping[tuple[str, str], Mapping[str, Any]]) -> None:
        """Store cursors durably, in one transaction."""
        rows = [(home, subscription, json.dumps(cursor)) for (home, subscription), cursor in cursors.items()]
        with self._told():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.executemany("INSERT OR REPLACE INTO cursors VALUES (?, ?, ?)", rows)
                self._db.execute("COMMIT")
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")

    def get(self, name: str) -> Any:
        """Return a kept value, or None."""
        with self._told():
            row = self._db.execute("SELECT value FROM kept WHERE name = ?", (name,)).fetchone()
        return None if row is None else json.loads(row[0])

    def put(self, name: str, value: Any) -> None:
        """Keep a value durably."""
        with self._told():
            self._db.execute("INSERT OR REPLACE INTO kept VALUES (?, ?)", (name, json.dumps(value)))

    def close(self) -> None:
        """Close the database."""
        self._db.close()
