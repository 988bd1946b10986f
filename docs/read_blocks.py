"""Reads a home base's store with the standard library only: python read_blocks.py FOLDER [PACKETS_FILE | FIRST END]"""

import hashlib
import struct
import sys
import zlib
from pathlib import Path

HEADER = struct.Struct(">4sBBHIqqII")  # magic, kind, lane, flags, count, from, upto, body octets, CRC-32
ROW = struct.Struct(">qqqqqIiiIhHHHBBBBb3x")


def blocks(path):
    """Yield (kind, count, first, upto, body) of each whole block of a file."""
    data, at = path.read_bytes(), 0
    while at + HEADER.size <= len(data):
        magic, kind, lane, flags, count, first, upto, size, crc = HEADER.unpack_from(data, at)
        body = data[at + HEADER.size : at + HEADER.size + size]
        zeroed = HEADER.pack(magic, kind, lane, flags, count, first, upto, size, 0)
        if magic != b"UGB1" or zlib.crc32(body, zlib.crc32(zeroed)) != crc:
            print(f"{path}: no good block at octet {at}: torn there", file=sys.stderr)
            return
        yield kind, count, first, upto, body
        at += HEADER.size + size


def items(folder):
    """Yield (row, octets) of each item in position order."""
    for path in sorted(Path(folder).glob("*.blocks")):
        for kind, count, _, _, body in blocks(path):
            at = count * ROW.size
            for k in range(count if kind == 1 else 0):
                row = ROW.unpack_from(body, k * ROW.size)
                yield row, body[at : at + row[5]]
                at += row[5]


if len(sys.argv) > 3:  # the digest of a range: of all its items, as `confirm` asks for it
    found = [octets for row, octets in items(sys.argv[1]) if int(sys.argv[2]) <= row[0] < int(sys.argv[3])]
else:
    found = [octets for row, octets in items(sys.argv[1]) if row[14] == 1]
print(len(found), hashlib.sha256(b"".join(found)).hexdigest())
if len(sys.argv) == 3:
    Path(sys.argv[2]).write_bytes(b"".join(found))
