"""The journal: the durable heart of a mission instance. Format: docs/journal-format.md."""

from gateway.journal.journal import Commit, CommitFailed, Journal, JournalSettings, Slice, stored_id
from gateway.journal.recording import Recording
from gateway.journal.segments import Damage
from gateway.journal.small_store import SmallStore

__all__ = [
    "Commit",
    "CommitFailed",
    "Damage",
    "Journal",
    "JournalSettings",
    "Recording",
    "Slice",
    "SmallStore",
    "stored_id",
]
