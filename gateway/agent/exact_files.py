"""Appends to many files, each append once, over kill -9 and full disks.

Before files grow, their sizes and the place that is done so far are written down, durably; after it they are forced.
What a crash leaves behind the sizes is cut off at the next start, and comes again from the place.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from gateway.errors import Conflict
from gateway.world import Storage


class ExactFiles:
    """Files of `out`, written by one outlet; its state is the file `name` of `storage`. Blocking; in one worker."""

    def __init__(self, storage: Storage, name: str, out: Storage) -> None:
        self._storage, self._name, self._out = storage, name, out
        self.place: dict[str, Any] | None = None
        self._written: dict[str, Any] | None = None
        self.octets = 0

    @property
    def durable(self) -> dict[str, Any] | None:
        """The place that would be gone on from after a loss of power now; None: nothing, or not loaded yet."""
        return self._written

    def load(self) -> dict[str, Any] | None:
        """Cut off what is behind the last state; return the place to go on from, None = nothing was done.

        Raises Conflict (the state cannot be read), OSError.
        """
        self.place = self._written = None
        try:
            told = json.loads(self._storage.read(self._name, 0, 1 << 24))
            place, sizes = told["place"], {str(name): int(size) for name, size in told["sizes"].items()}
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise Conflict(f"{self._name} of the store cannot be read: {error}", "restore it") from None
        for name, size in sizes.items():
            self._cut(name, size)
        self.place = self._written = place
        return self.place

    def _cut(self, name: str, size: int) -> None:
        """Cut a file back; one that is shorter, or moved away, was taken by somebody: it is left."""
        if self._size(name) <= size:
            return
        file = self._out.open_append(name)
        try:
            file.truncate(size)
        finally:
            file.close()

    def _size(self, name: str) -> int:
        try:
            return self._out.size(name)
        except FileNotFoundError:
            return 0

    def append(self, parts: Mapping[str, bytes], place: dict[str, Any], header: bytes = b"") -> None:
        """Append to each file, and then `place` is done. A new file begins with `header`.

        Raises OSError: then `load` comes first.
        """
        if parts:
            sizes = {name: self._size(name) for name in parts}
            self._note(self.place, sizes)
            for name, octets in parts.items():
                file = self._out.open_append(name)
                try:
                    file.append([header, octets] if header and not sizes[name] else [octets])
                    file.sync()
                finally:
                    file.close()
                self.octets += len(octets)
        self.place = place

    def settle(self) -> None:
        """Write down that everything up to the place is done. Raises OSError."""
        if self.place != self._written:
            self._note(self.place, {})

    def _note(self, place: dict[str, Any] | None, sizes: Mapping[str, int]) -> None:
        data = json.dumps({"place": place, "sizes": sizes}).encode()
        self._storage.write_whole(self._name, data)
        self._written = place
