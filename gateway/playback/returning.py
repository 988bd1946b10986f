"""The return of one playback request, beside the session that delivers it: what is tagged, counted and kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.journal.block import GroupFilter
from gateway_codecs.batches import DataMode, ItemBatch
from gateway_routes.delivery import Cursor
from gateway_routes.playback import PlaybackAct, PlaybackState, Span, Unacknowledged, limited
from gateway_routes.selection import Selection

if TYPE_CHECKING:
    from gateway.playback.book import PlaybackBook


def as_playback(batch: ItemBatch) -> ItemBatch:
    """Return the items tagged with data mode *playback*; octets, order and every time stay what they are."""
    items = batch.items.copy()
    items["data_mode"] = DataMode.PLAYBACK
    return ItemBatch(batch.octets, items)


@dataclass(slots=True)
class PlaybackReturn:
    """Made by `PlaybackBook.begin`. `end` is behind the last position."""

    book: PlaybackBook
    request: str
    cursor: Cursor
    end: int
    span: Span
    _unacknowledged: Unacknowledged = field(default_factory=Unacknowledged)

    @property
    def first(self) -> int:
        """The first position that is looked through."""
        return self.book.requests[self.request].first_position

    def limited(self, wanted: Selection) -> GroupFilter:
        """Return the filter of the home base's rights and wish within the span of the request."""
        found: GroupFilter = limited(wanted, self.span)
        return found

    def sent(self, upto: int, batch: ItemBatch) -> None:
        """Note a block that went out."""
        self._unacknowledged.sent(upto, len(batch), len(batch.octets))

    def moved(self, cursor: Cursor, all_done: bool) -> None:
        """Take that the cursor moved, by acknowledgements or by what was told as missing; `all_done` ends the request.

        In memory: `keep` makes it durable.
        """
        book, request = self.book, self.book.requests.get(self.request)
        if request is None or request.state not in {PlaybackState.RUNNING, PlaybackState.DONE}:
            return
        request = request.progressed(cursor.low_water, *self._unacknowledged.take(cursor.low_water))
        ends = all_done and request.state is PlaybackState.RUNNING
        if ends:
            request = request.after(PlaybackAct.COMPLETE, book.clock.tai_ns())
        book.requests[self.request] = request
        if ends:
            book.tell(request)

    def missing(self, positions: int) -> None:
        """Count positions that were told as missing."""
        request = self.book.requests.get(self.request)
        if request is not None:
            self.book.requests[self.request] = request.progressed(request.low_water, missing=positions)

    async def keep(self) -> None:
        """Make the progress durable. Raises OSError."""
        if self.request in self.book.requests:
            await self.book.keep(self.request)
