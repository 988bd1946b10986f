"""Texts and octets of many packets: cut out at any bit, ended by a terminator or a tag, turned into UTF-8."""

from __future__ import annotations

import codecs

import numpy as np
from numpy.typing import NDArray

from gateway_codecs.batches import BoolArray, I64Array, U8Array
from gateway_codecs.mdb.model import StringEncoding

Bytes = NDArray[np.bytes_]


def cut(octets: U8Array, bits: I64Array, sizes: I64Array) -> U8Array:
    """Return pieces of each packet, uint8 (k, n, most octets): `sizes` bits at `bits`, left-aligned, zeros behind.

    `octets` is uint8 (n, width) with at least one octet behind the last piece; arrays (k,).
    """
    width = int(-(-sizes.max(initial=0) // 8))
    place = (bits >> 3)[:, None] + np.arange(width + 1)
    taken = octets[:, np.minimum(place, octets.shape[1] - 1)].transpose(1, 0, 2)
    shift = (bits & 7).astype(np.uint16)[:, None, None]
    if shift.any():
        wide = taken[..., :-1].astype(np.uint16) << 8 | taken[..., 1:]
        pieces = (wide >> (8 - shift)).astype(np.uint8)
    else:
        pieces = taken[..., :-1].copy()
    pieces &= _masks(sizes, width)[:, None, :]
    return pieces


def _masks(sizes: I64Array, width: int) -> U8Array:
    left = np.clip(sizes[:, None] - 8 * np.arange(width), 0, 8)
    return np.asarray(0xFF00 >> left & 0xFF, np.uint8)


def as_bytes(pieces: U8Array) -> Bytes:
    """Return uint8 (..., octets) as an array of bytes; zeros at the end are no part of a value."""
    if pieces.shape[-1] == 0:
        return np.zeros(pieces.shape[:-1], "S1")
    flat = np.ascontiguousarray(pieces)
    found: Bytes = flat.view(f"S{pieces.shape[-1]}")[..., 0]
    return found


def text_octets(boxes: U8Array, sizes: I64Array, encoding: StringEncoding) -> tuple[U8Array, BoolArray | None]:
    """Return the text in its box, uint8 (k, n, octets), zeros behind, and where there is none (None = nowhere).

    `boxes` uint8 (k, n, octets), `sizes` bits (k,).
    """
    if encoding.size is None or not (encoding.tag_bits or encoding.terminator):
        return boxes, None
    if encoding.tag_bits:
        return _tagged(boxes, sizes, encoding)
    ends = _terminated(boxes, sizes // 8, encoding.terminator)
    return np.where(np.arange(boxes.shape[-1]) < ends[..., None], boxes, 0), None


def _terminated(boxes: U8Array, room: I64Array, terminator: bytes) -> I64Array:
    """Return how many octets stand before the terminator, at a multiple of its length; the whole box when it has none.

    A box whose size is no whole octets ends with its last whole one.
    """
    step, most = len(terminator), boxes.shape[-1]
    ends = np.broadcast_to(room[:, None], boxes.shape[:2]).copy()
    found = np.ones((*boxes.shape[:2], most // step), np.bool_)
    for k, octet in enumerate(terminator):
        found &= boxes[..., k : most // step * step : step] == octet
    found &= (np.arange(most // step) + 1) * step <= room[:, None, None]
    if found.shape[-1]:
        has = found.any(axis=-1)
        ends[has] = found.argmax(axis=-1)[has] * step
    return ends


def _tagged(boxes: U8Array, sizes: I64Array, encoding: StringEncoding) -> tuple[U8Array, BoolArray | None]:
    tag_bits, unit = encoding.tag_bits, encoding.tag_unit_bits
    shape = boxes.shape[:2]
    tags = np.zeros(shape, np.uint64)
    for k in range(min(-(-tag_bits // 8), boxes.shape[-1])):
        tags = tags << np.uint64(8) | boxes[..., k]
    tags >>= np.uint64(-tag_bits % 8)
    room = np.maximum(sizes - tag_bits, 0)[:, None]
    good = (tags <= (room // max(unit, 1)).astype(np.uint64)) & (sizes >= tag_bits)[:, None] & (tag_bits <= 64)
    bits = np.where(good, tags, 0).astype(np.int64) * unit
    padded = np.concatenate((boxes, np.zeros((*shape, 1), np.uint8)), axis=-1)
    k, n = shape
    flat, most = padded.reshape(k * n, padded.shape[-1]), int(room.max(initial=0))
    rest = cut(flat, np.array([tag_bits]), np.array([most])).reshape(k, n, -(-most // 8))
    left = np.clip(bits[..., None] - 8 * np.arange(rest.shape[-1]), 0, 8)
    rest &= (0xFF00 >> left & 0xFF).astype(np.uint8)
    return rest, None if good.all() else ~good


def to_utf8(raw: Bytes, charset: str) -> tuple[Bytes, BoolArray | None]:
    """Return texts in UTF-8, and where the octets are no text of the charset (there with U+FFFD; None = nowhere)."""
    plain = _plain(charset)
    if plain and raw.size and raw.dtype.itemsize and not (raw.view(np.uint8) & 0x80).any():
        return raw, None
    if raw.size == 0:
        return raw, None
    texts, inverse = np.unique(raw.ravel(), return_inverse=True)
    made, bad = zip(*(_decoded(bytes(one), charset) for one in texts), strict=True)
    wrong = np.array(bad)[inverse].reshape(raw.shape)
    return np.array(made, np.bytes_)[inverse].reshape(raw.shape), wrong if wrong.any() else None


def _plain(charset: str) -> bool:
    try:
        return codecs.lookup(charset).name in {"utf-8", "ascii", "iso8859-1"}
    except LookupError:
        return False


def _decoded(octets: bytes, charset: str) -> tuple[bytes, bool]:
    """Return (UTF-8, whether something was wrong); octets of an unknown charset are wrong as a whole."""
    try:
        return octets.decode(charset).encode(), False
    except (UnicodeError, LookupError):
        pass
    try:
        return octets.decode(charset, "replace").encode("utf-8", "replace"), True
    except (UnicodeError, LookupError):
        return octets.decode("ascii", "replace").encode(), True
