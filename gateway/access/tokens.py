"""Tokens: `gwt_ID.SECRET`, of which only a hash is kept. They name an actor, end at a time, and can be revoked.

The secret has 256 random bits, so that a plain SHA-256 keeps it (nothing shorter could be guessed from the hash).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from gateway.errors import NotFound, UsageError
from gateway_routes.rights import Actor, ActorKind

PREFIX = "gwt_"
ID_OCTETS, SECRET_OCTETS = 5, 32
TEXT_MAX = 128
BCRYPT_COST = 4  # the least: nobody guesses 256 bits, and a broker checks it at each connection
TOKENS_MAX = 10_000
KINDS = (ActorKind.HOME, ActorKind.OPERATOR, ActorKind.OBSERVER)


@dataclass(frozen=True, slots=True)
class Token:
    """What is kept of a token. Times in ns TAI since 1958-01-01."""

    id: str
    kind: ActorKind
    name: str  # the home base, or who it is for
    secret_sha256: str
    created_ns: int
    instances: tuple[str, ...] | None = None  # for these mission instances alone
    expires_ns: int | None = None
    revoked_ns: int | None = None
    secret_bcrypt: str = ""  # for our own broker, which knows no other hash

    def state(self, now_ns: int) -> str:
        """Return `valid`, `expired` or `revoked`."""
        if self.revoked_ns is not None:
            return "revoked"
        return "valid" if self.expires_ns is None or now_ns < self.expires_ns else "expired"

    @property
    def actor(self) -> Actor:
        """Who shows it."""
        return Actor(self.kind, self.name, None if self.instances is None else frozenset(self.instances), self.id)


class TokenRefused(Exception):
    """What was shown is no token that holds: why, for people."""


class TokenBook:
    """All tokens, in memory; `rows` is what is to be kept of them."""

    def __init__(self, rows: list[Mapping[str, Any]] | None = None) -> None:
        self._tokens = {token.id: token for token in map(_token, rows or ())}
        self._local: Token | None = None  # of the operator on this machine; not kept: each start makes its own

    def rows(self) -> list[dict[str, Any]]:
        """Return all tokens as JSON, without secrets, which nobody has."""
        return [asdict(token) for token in self._tokens.values()]

    def tokens(self, home: str | None = None) -> list[Token]:
        """Return the tokens, of one home base if it is named; the newest last."""
        kept = self._tokens.values()
        return [t for t in kept if home is None or (t.kind is ActorKind.HOME and t.name == home)]

    def make(
        self, kind: ActorKind, name: str, now_ns: int, expires_ns: int | None, instances: tuple[str, ...] | None
    ) -> tuple[Token, str]:
        """Make a token; returns it and its text, which is shown once. Raises UsageError when there are too many."""
        if len(self._tokens) >= TOKENS_MAX:
            raise UsageError(f"there are {TOKENS_MAX} tokens already", "forget some that have ended")
        token, text = _new(kind, name, now_ns, expires_ns, instances)
        self._tokens[token.id] = token
        return token, text

    def valid(self, now_ns: int) -> list[Token]:
        """Return the tokens that hold, that of the local operator too."""
        local = [self._local] if self._local is not None else []
        return [token for token in (*self._tokens.values(), *local) if token.state(now_ns) == "valid"]

    def make_local(self, now_ns: int) -> str:
        """Return the text of a new token of the operator on this machine; the one before ends."""
        self._local, text = _new(ActorKind.OPERATOR, "local", now_ns, None, None)
        return text

    def revoke(self, token_id: str, now_ns: int) -> Token:
        """End a token for good. Raises NotFound."""
        if token_id not in self._tokens:
            raise NotFound(f"no token {token_id[:64]!r}", "`gateway homes tokens` shows them")
        token = self._tokens[token_id]
        if token.revoked_ns is None:
            token = self._tokens[token_id] = replace(token, revoked_ns=now_ns)
        return token

    def forget(self, token_id: str) -> None:
        """Forget a token, as if it had never been. Raises KeyError."""
        del self._tokens[token_id]

    def identify(self, text: str, now_ns: int) -> Actor:
        """Return who shows a token. Raises TokenRefused.

        Only who knows the secret is told that it has expired or was revoked.
        """
        token_id, _, secret = text.removeprefix(PREFIX).partition(".")
        token = self._found(token_id) if text.startswith(PREFIX) and len(text) <= TEXT_MAX else None
        kept = token.secret_sha256 if token is not None else "0" * 64
        if not hmac.compare_digest(_hashed(secret), kept) or token is None:
            raise TokenRefused("this token is not known")
        if (state := token.state(now_ns)) != "valid":
            raise TokenRefused(f"this token ({token.id}) has expired" if state == "expired" else
                               f"this token ({token.id}) was revoked")  # fmt: skip
        return token.actor

    def holds(self, actor: Actor, now_ns: int) -> bool:
        """Whether the token of an actor is valid still; who needed none goes on."""
        if not actor.token:
            return True
        token = self._found(actor.token)
        return token is not None and token.state(now_ns) == "valid"

    def _found(self, token_id: str) -> Token | None:
        if self._local is not None and token_id == self._local.id:
            return self._local
        return self._tokens.get(token_id)


def _new(
    kind: ActorKind, name: str, now_ns: int, expires_ns: int | None, instances: tuple[str, ...] | None
) -> tuple[Token, str]:
    token_id, secret = secrets.token_hex(ID_OCTETS), secrets.token_urlsafe(SECRET_OCTETS)
    hashed = _bcrypt(secret)
    token = Token(token_id, kind, name, _hashed(secret), now_ns, instances, expires_ns, secret_bcrypt=hashed)
    return token, f"{PREFIX}{token_id}.{secret}"


def _hashed(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _bcrypt(secret: str) -> str:
    import bcrypt  # late: most starts make one token, and need it for nothing else

    return bcrypt.hashpw(secret.encode(), bcrypt.gensalt(BCRYPT_COST, b"2a")).decode()


def _token(row: Mapping[str, Any]) -> Token:
    instances = row["instances"]
    return Token(
        **{**row, "kind": ActorKind(row["kind"]), "instances": None if instances is None else tuple(instances)}
    )
