"""Reads shared telemetry topics with the standard library only (docs/mqtt.md):

mosquitto_sub -t 'gw/v1/+/+/tm/#' -F '%t %x' | python read_mqtt.py [FOLDER]

At the end of the input (Ctrl-C) it prints for each topic: messages, items, items skipped by the gateway, messages lost
on the way, and the SHA-256 of the items' octets. With FOLDER it appends those octets to a file for each topic too.
"""

import hashlib
import re
import signal
import struct
import sys
from pathlib import Path

HEADER = struct.Struct(">4sHHIIIIqqq")  # UGM and version, flags, 0, sequence, count, skipped, octets, time, positions
ROW = struct.Struct(">IIIBBBB")  # length, receive time delta, missing before, quality, unit, data mode, flags
MESSAGES, ITEMS, SKIPPED, LOST, NEXT = range(5)


def items(message):
    """Yield (row, octets) of each item of a message."""
    count = HEADER.unpack_from(message)[4]
    at = HEADER.size + count * ROW.size
    for k in range(count):
        row = ROW.unpack_from(message, HEADER.size + k * ROW.size)
        yield row, message[at : at + row[0]]
        at += row[0]


signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends mosquitto_sub, and our input with it
counts, digests, folder = {}, {}, Path(*sys.argv[1:])
folder.mkdir(parents=True, exist_ok=True)
for line in sys.stdin:
    topic, _, payload = line.strip().partition(" ")
    message = bytes.fromhex(payload)
    if message[:4] != b"UGM\x01":  # a descriptor, or a version that we do not know
        continue
    sequence, count, skipped = HEADER.unpack_from(message)[3:6]
    row = counts.setdefault(topic, [0, 0, 0, 0, sequence])
    lost = (sequence - row[NEXT]) % 2**32 if sequence else 0  # 0: the gateway was started anew
    counts[topic] = [row[MESSAGES] + 1, row[ITEMS] + count, row[SKIPPED] + skipped, row[LOST] + lost, sequence + 1]
    octets = b"".join(octets for _, octets in items(message))
    digests.setdefault(topic, hashlib.sha256()).update(octets)
    if len(sys.argv) > 1:
        with Path(folder, re.sub("[^A-Za-z0-9_.-]", "_", topic)).open("ab") as file:
            file.write(octets)
for topic, row in sorted(counts.items()):
    print(topic, *row[:NEXT], digests[topic].hexdigest())
