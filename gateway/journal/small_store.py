"""Small durable things in SQLite (WAL, synchronous=FULL): cursors and contacts. Blocking; runs in a worker.

What SQLite cannot do (disk full, input or output errors, a damaged file) is an OSError, as everywhere else.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

SCHEMA = """
CREATE TABLE IF NOT EXISTS journal_cursors (
    journal_id TEXT NOT NULL, home TEXT NOT NULL, subscription TEXT NOT NULL, cursor TEXT NOT NULL,
    PRIMARY KEY (journal_id, home, subscription)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS confirmations (
    journal_id TEXT NOT NULL, home TEXT NOT NULL, subscription TEXT NOT NULL, what TEXT NOT NULL,
    end INTEGER NOT NULL, value TEXT NOT NULL, PRIMARY KEY (journal_id, home, subscription, what)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS kept (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""

CONFIRMATIONS_KEPT = 400  # of one subscription


class SmallStore:
    """Cursors by journal and (home, subscription), and small named JSON values. Every method raises OSError."""

    def __init__(self, path: Path | None) -> None:
        self._name = str(path or "small store")
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        with self._told(), contextlib.ExitStack() as on_failure:
            self._db = sqlite3.connect(path or ":memory:", check_same_thread=False, isolation_level=None)
            on_failure.callback(self._db.close)
            if path is not None:
                self._db.execute("PRAGMA journal_mode=WAL")
                self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(SCHEMA)
            on_failure.pop_all()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise OSError(5, f"{self._name}: {error}") from error

    def cursors(self, journal_id: str) -> list[tuple[str, str, dict[str, Any]]]:
        """Return every cursor of a journal as (home, subscription, cursor)."""
        query = "SELECT home, subscription, cursor FROM journal_cursors WHERE journal_id = ? ORDER BY 1, 2"
        with self._told():
            rows = self._db.execute(query, (journal_id,)).fetchall()
        return [(home, subscription, json.loads(cursor)) for home, subscription, cursor in rows]

    def put_cursors(self, journal_id: str, cursors: Mapping[tuple[str, str], Mapping[str, Any] | None]) -> None:
        """Store cursors of a journal durably, in one transaction; None removes one."""
        gone = [(journal_id, *key) for key, cursor in cursors.items() if cursor is None]
        rows = [(journal_id, *key, json.dumps(cursor)) for key, cursor in cursors.items() if cursor is not None]
        with self._told():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.executemany("INSERT OR REPLACE INTO journal_cursors VALUES (?, ?, ?, ?)", rows)
                self._db.executemany(
                    "DELETE FROM journal_cursors WHERE journal_id = ? AND home = ? AND subscription = ?", gone
                )
                self._db.execute("COMMIT")
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")

    def confirmations(self, journal_id: str) -> list[tuple[str, str, dict[str, Any]]]:
        """Return what home bases confirmed of a journal, as (home, subscription, confirmation), oldest range first."""
        query = "SELECT home, subscription, value FROM confirmations WHERE journal_id = ? ORDER BY end, what"
        with self._told():
            rows = self._db.execute(query, (journal_id,)).fetchall()
        return [(home, subscription, json.loads(value)) for home, subscription, value in rows]

    def put_confirmation(self, journal_id: str, home: str, subscription: str, value: Mapping[str, Any]) -> None:
        """Store a confirmation (`what`, `end` and more) durably; of each subscription the newest ranges are kept."""
        key = (journal_id, home, subscription)
        of_it = "FROM confirmations WHERE journal_id = ? AND home = ? AND subscription = ?"
        oldest = f"DELETE {of_it} AND end < (SELECT end {of_it} ORDER BY end DESC LIMIT 1 OFFSET ?)"
        row = (*key, value["what"], value["end"], json.dumps(value))
        with self._told():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.execute("INSERT OR REPLACE INTO confirmations VALUES (?, ?, ?, ?, ?, ?)", row)
                self._db.execute(oldest, (*key, *key, CONFIRMATIONS_KEPT - 1))
                self._db.execute("COMMIT")
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")

    def remove_confirmations(self, journal_id: str, home: str, subscription: str) -> None:
        """Forget what was confirmed of a subscription, durably."""
        of_it = "DELETE FROM confirmations WHERE journal_id = ? AND home = ? AND subscription = ?"
        with self._told():
            self._db.execute(of_it, (journal_id, home, subscription))

    def get(self, name: str) -> Any:
        """Return a kept value, or None."""
        with self._told():
            row = self._db.execute("SELECT value FROM kept WHERE name = ?", (name,)).fetchone()
        return None if row is None else json.loads(row[0])

    def put(self, name: str, value: Any) -> None:
        """Keep a value durably."""
        with self._told():
            self._db.execute("INSERT OR REPLACE INTO kept VALUES (?, ?)", (name, json.dumps(value)))

    def remove(self, names: Iterable[str]) -> None:
        """Forget kept values, durably, in one transaction."""
        with self._told():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.executemany("DELETE FROM kept WHERE name = ?", [(name,) for name in names])
                self._db.execute("COMMIT")
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")

    def close(self) -> None:
        """Close the database."""
        self._db.close()
