"""What the loop of a Python client gets: batches of packets, of values, of what comes at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway_codecs.batches import I64Array, ItemBatch, Unit, picked
from gateway_codecs.time_scales import format_utc


@dataclass(frozen=True, slots=True, eq=False)
class PacketBatch:
    """Packets in order of position; the columns are numpy arrays with one element for each packet.

    Complete: positions [first_position, end_position) are done with this batch, or, if `missing`, will never come.
    Timely: there are no positions (-1), and `skipped` tells what stood before this batch and did not come in time.
    """

    items: ItemBatch
    positions: I64Array
    names: Mapping[str, Mapping[str, str]]
    first_position: int = -1
    end_position: int = -1
    missing: bool = False
    skipped: Mapping[str, Any] | None = None

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[bytes]:
        """Yield the octets of each packet."""
        octets, rows = self.items.octets.tobytes(), self.items.items
        for offset, length in zip(rows["offset"].tolist(), rows["length"].tolist(), strict=True):
            yield octets[offset : offset + length]

    @property
    def packets(self) -> list[bytes]:
        """The octets of each packet."""
        return list(self)

    @property
    def apids(self) -> NDArray[np.int32]:
        """APID of each packet; -1 = none."""
        return self._column("apid")

    @property
    def vcids(self) -> NDArray[np.int16]:
        """Virtual channel of each packet; -1 = none."""
        return self._column("vcid")

    @property
    def sequence_counts(self) -> NDArray[np.int32]:
        """Sequence count of each packet; -1 = none."""
        return self._column("sequence_count")

    @property
    def data_modes(self) -> NDArray[np.uint8]:
        """0 real time, 1 dump, 2 playback."""
        return self._column("data_mode")

    @property
    def receive_time_ns(self) -> I64Array:
        """When the gateway received each packet: ns TAI since 1958-01-01."""
        return self._column("receive_time_ns")

    @property
    def generation_time_ns(self) -> I64Array:
        """When each packet was generated: ns TAI since 1958-01-01; the int64 minimum = not known."""
        return self._column("generation_time_ns")

    @property
    def receive_times_utc(self) -> list[str]:
        """When the gateway received each packet, as text in UTC."""
        return [format_utc(time_ns) for time_ns in self.receive_time_ns.tolist()]

    @property
    def spacecraft(self) -> list[str]:
        """The name of each packet's spacecraft; "" = none."""
        known = self.names.get("spacecraft", {})
        return [str(known.get(str(number), "")) for number in self._column("spacecraft").tolist()]

    def _column(self, name: str) -> NDArray[Any]:
        return self.items.items[name]


def packets_of(batch: ItemBatch, positions: I64Array) -> tuple[ItemBatch, I64Array]:
    """Return the packets of a batch; its octets stay where they are."""
    wanted = batch.items["unit"] == Unit.PACKET
    if wanted.all():
        return batch, positions
    return ItemBatch(batch.octets, picked(batch.items, wanted)), positions[wanted]


@dataclass(frozen=True, slots=True)
class ValueBatch:
    """Samples of parameters as the API gives them (docs/values.md), in order of position.

    `rows`: objects with `parameter`, `value`, `unit`, `validity`, `limit`, `time_utc`, `position`, ... `upto`:
    everything below that position has come, but for what a batch with `missing` [first, end) names.
    """

    rows: tuple[Mapping[str, Any], ...]
    upto: int
    database: str | None = None
    missing: tuple[int, int] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        return iter(self.rows)
