"""A slow Reed-Solomon decoder to read beside CCSDS 131.0-B-5, clause 4: one code word, one symbol at a time.

It shares no code with ours and takes another way: Euclid's algorithm on polynomials that are lists, lowest power first.
"""

from __future__ import annotations

POWERS = [1]
while len(POWERS) < 255:
    doubled = POWERS[-1] << 1
    POWERS.append(doubled ^ 0x187 if doubled & 0x100 else doubled)
LOGS = {value: power for power, value in enumerate(POWERS)}
DUAL_OF_BITS = (0x7B, 0xAF, 0x99, 0xFA, 0x86, 0xEC, 0xEF, 0x8D)  # bit 0 first


def to_dual(symbol: int) -> int:
    out = 0
    for bit, image in enumerate(DUAL_OF_BITS):
        out ^= image if symbol >> bit & 1 else 0
    return out


DUAL = [to_dual(symbol) for symbol in range(256)]
CONVENTIONAL = [DUAL.index(octet) for octet in range(256)]


def times(a: int, b: int) -> int:
    return POWERS[(LOGS[a] + LOGS[b]) % 255] if a and b else 0


def power(exponent: int) -> int:
    """Return (alpha^11)^exponent."""
    return POWERS[11 * exponent % 255]


def trimmed(polynomial: list[int]) -> list[int]:
    while polynomial and polynomial[-1] == 0:
        polynomial = polynomial[:-1]
    return polynomial


def plus(a: list[int], b: list[int]) -> list[int]:
    longer, shorter = (a, b) if len(a) >= len(b) else (b, a)
    return trimmed([x ^ (shorter[k] if k < len(shorter) else 0) for k, x in enumerate(longer)])


def product(a: list[int], b: list[int]) -> list[int]:
    out = [0] * (len(a) + len(b))
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            out[i + j] ^= times(x, y)
    return trimmed(out)


def divided(a: list[int], b: list[int]) -> tuple[list[int], list[int]]:
    """Return quotient and remainder."""
    rest, quotient = list(a), [0] * max(0, len(a) - len(b) + 1)
    lead = POWERS[-LOGS[b[-1]] % 255]
    for shift in reversed(range(len(quotient))):
        quotient[shift] = factor = times(rest[shift + len(b) - 1], lead)
        for k, x in enumerate(b):
            rest[shift + k] ^= times(factor, x)
    return trimmed(quotient), trimmed(rest)


def value(polynomial: list[int], at: int) -> int:
    out = 0
    for coefficient in reversed(polynomial):
        out = times(out, at) ^ coefficient
    return out


def parity(data: list[int], e: int) -> list[int]:
    """Return the 2e parity symbols of k symbols (conventional basis, first sent first)."""
    generator = [1]
    for root in range(128 - e, 128 + e):
        generator = product(generator, [power(root), 1])
    rest = divided(trimmed([0] * 2 * e + data[::-1]), generator)[1]
    return (rest + [0] * (2 * e - len(rest)))[::-1]


def repaired(word: list[int], e: int) -> tuple[list[int], int]:
    """Return 255 symbols (conventional basis) repaired, and how many were wrong; -1 = more than e."""
    received = word[::-1]  # lowest power first
    syndromes = trimmed([value(received, power(root)) for root in range(128 - e, 128 + e)])
    if not syndromes:
        return word, 0
    before, now = [0] * 2 * e + [1], syndromes
    locator_before: list[int] = []
    locator = [1]
    while len(now) > e:
        quotient, rest = divided(before, now)
        before, now = now, rest
        locator_before, locator = locator, plus(locator_before, product(quotient, locator))
    wrong = [degree for degree in range(255) if value(locator, power(-degree)) == 0]
    if len(locator) - 1 != len(wrong) or len(wrong) > e:
        return word, -1
    slope = [c if k % 2 else 0 for k, c in enumerate(locator)][1:]  # the derivative, in a field of characteristic 2
    out = list(received)
    for degree in wrong:
        at = power(-degree)
        top = times(value(now, at), power(degree * (1 - (128 - e))))
        out[degree] ^= times(top, POWERS[-LOGS[value(slope, at)] % 255])
    if any(value(out, power(root)) for root in range(128 - e, 128 + e)):
        return word, -1
    return out[::-1], len(wrong)


def encode(frame: bytes, e: int, interleave: int, dual: bool, fill: int) -> bytes:
    """Return the code block of one frame."""
    block = bytearray(frame) + bytearray(interleave * 2 * e)
    for word in range(interleave):
        data = [CONVENTIONAL[octet] if dual else octet for octet in frame[word::interleave]]
        checks = parity([0] * fill + data, e)
        block[len(frame) + word :: interleave] = bytes(DUAL[check] if dual else check for check in checks)
    return bytes(block)


def decode(block: bytes, e: int, interleave: int, dual: bool, fill: int) -> tuple[bytes, list[int]]:
    """Return the frame and for each code word how many symbols were corrected; -1 = left as received."""
    out, counts = bytearray(block), []
    for word in range(interleave):
        sent = [CONVENTIONAL[octet] if dual else octet for octet in block[word::interleave]]
        symbols, count = repaired([0] * fill + sent, e)
        if any(symbols[:fill]):
            symbols, count = [0] * fill + sent, -1
        out[word::interleave] = bytes(DUAL[symbol] if dual else symbol for symbol in symbols[fill:])
        counts.append(count)
    return bytes(out[: len(block) - interleave * 2 * e]), counts
