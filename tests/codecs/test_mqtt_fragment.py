"""Messages in pieces: round trip, declaration, pieces that are missing or lie (docs/mqtt.md)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_codecs.mqtt_fragment import HEADER, HEADER_OCTETS, MAGIC, Assembler, FragmentError, fragments


@given(st.binary(max_size=300).filter(lambda data: data[:4] != MAGIC), st.integers(HEADER_OCTETS + 1, 320))
def test_round_trip(data: bytes, max_octets: int) -> None:
    """Pieces put together are the message; none is too large; their headers are the declared ones."""
    pieces = fragments(data, max_octets)
    assembler = Assembler()
    assert [assembler.add(piece) for piece in pieces] == [*[None] * (len(pieces) - 1), data]
    assert max(map(len, pieces)) <= max_octets
    for index, piece in enumerate(pieces if len(pieces) > 1 else []):
        head = HEADER.parse(piece)
        assert (head.index, head.count, head.whole_octets) == (index, len(pieces), len(data))
        assert HEADER.build(head) == piece[:HEADER_OCTETS]


@given(st.integers(2, 6), st.data())
def test_a_lost_piece(count: int, data: st.DataObject) -> None:
    """A piece that is lost spoils its message alone, and never makes another one of the rest."""
    message = bytes(range(40 * count))
    pieces = fragments(message, HEADER_OCTETS + 40)
    del pieces[data.draw(st.integers(0, count - 1))]
    assembler, whole = Assembler(), []
    for piece in [*pieces, b"next", *fragments(message, HEADER_OCTETS + 40)]:
        try:
            whole.append(assembler.add(piece))
        except FragmentError:
            continue
    assert [found for found in whole if found is not None] in ([message], [b"next", message])


@given(st.lists(st.binary(max_size=40).map(lambda tail: MAGIC + tail), max_size=5))
def test_rubbish(messages: list[bytes]) -> None:
    """Pieces that lie raise FragmentError and nothing else."""
    assembler = Assembler()
    for message in messages:
        try:
            found = assembler.add(message)
        except FragmentError:
            continue
        assert found is None or len(found) == len(message) - HEADER_OCTETS


def test_a_message_like_a_piece() -> None:
    """What could not be told from a piece is refused when it is cut."""
    with pytest.raises(FragmentError, match="could not be told"):
        fragments(MAGIC + b"abc", 100)
