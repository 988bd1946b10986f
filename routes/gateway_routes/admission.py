"""Who may connect: so many connections per peer, so many in all, and a few more for who has hardly any (R13). Pure."""

from __future__ import annotations

import ipaddress
from collections import Counter

NEWCOMER_MAX, NEWCOMERS_EXTRA = 4, 16
"""When the place is full, peers with fewer connections than the first still get in, so many of them."""
OWN, OWN_EXTRA = frozenset({"127.0.0.1", "::/64"}), 8
"""And then so many more of the machine itself: the operator must see what is going on."""
IPV6_SITE_BITS = 64


def peer_of(address: str) -> str:
    """Return who stands behind an address: for IPv6 its /64, in which one host has as many addresses as it likes."""
    try:
        parsed = ipaddress.ip_address(address.split("%", maxsplit=1)[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, IPV6_SITE_BITS), strict=False))


class Admission:
    """Counts connections by peer. `in_all` may be changed at any time; who is in stays in.

    `told_at_once` is how many that are refused may be told why at a time; the others just end.
    """

    def __init__(self, per_peer: int, in_all: int) -> None:
        self.per_peer, self.in_all, self.told_at_once = per_peer, in_all, 32
        self.refused: Counter[str] = Counter()  # by reason
        self.closed: Counter[str] = Counter()  # of those that were let in, by why we closed them
        self.admitted = 0
        self._inside: Counter[str] = Counter()
        self._refused_by_peer: Counter[str] = Counter()  # since they were taken

    @property
    def inside(self) -> int:
        """How many are connected."""
        return self._inside.total()

    def admit(self, peer: str) -> tuple[str, str] | None:
        """Let one connection in and return None, or return why not: the reason in a word or two, and for people."""
        has = self._inside[peer]
        if has >= self.per_peer:
            return self._refuse(peer, "per peer", f"{peer} has {has} connections already, the most that it may have")
        extra = NEWCOMERS_EXTRA if has < NEWCOMER_MAX or peer in OWN else 0
        extra += OWN_EXTRA if peer in OWN else 0
        if self.inside >= self.in_all + extra:
            return self._refuse(peer, "in all", f"the gateway has {self.inside} connections, all that it has room for")
        self._inside[peer] += 1
        self.admitted += 1
        return None

    def _refuse(self, peer: str, reason: str, text: str) -> tuple[str, str]:
        if not self._inside[peer]:
            del self._inside[peer]
        self.refused[reason] += 1
        self._refused_by_peer[peer] += 1
        return reason, text

    def leave(self, peer: str) -> None:
        """One that was let in has gone."""
        self._inside[peer] -= 1
        if self._inside[peer] <= 0:
            del self._inside[peer]

    def take_refused(self) -> tuple[int, dict[str, int]]:
        """Return how many were refused since the last time, and of the ten peers with most of them how many each."""
        total, most = self._refused_by_peer.total(), dict(self._refused_by_peer.most_common(10))
        self._refused_by_peer.clear()
        return total, most
