"""Access to one gateway: its tokens, kept in the small store, and what was refused."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import Any

from gateway.access.tokens import KINDS, Token, TokenBook, TokenRefused
from gateway.errors import NotFound, UsageError
from gateway.journal import SmallStore
from gateway.world import Worker
from gateway_codecs.time_scales import format_utc, parse_utc
from gateway_routes.rights import LOCAL_OPERATOR, Actor, ActorKind

KEPT = "tokens"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")


class Access:
    """See the module. `open`: who shows no token is the operator. `homes` and `instances` tell which there are."""

    def __init__(
        self,
        store: SmallStore,
        keeper: Worker,
        now_ns: Callable[[], int],
        homes: Callable[[], Any],
        instances: Callable[[], Any],
        *,
        open_to_all: bool,
    ) -> None:
        self._store, self._keeper, self._now_ns, self._homes, self._instances = store, keeper, now_ns, homes, instances
        self.open = open_to_all
        self._book = TokenBook()
        self.refused: Counter[str] = Counter()

    def load(self) -> None:
        """Read what is kept. Blocking. Raises OSError."""
        self._book = TokenBook(self._store.get(KEPT) or [])

    def count(self, why: str) -> None:
        """Count a request that was refused."""
        self.refused[why] += 1

    def whoever(self, token: str | None) -> Actor:
        """Return who shows a token, or nothing, over a transport without headers. Raises TokenRefused."""
        if token is not None:
            return self.identify(token)
        if self.open:
            return LOCAL_OPERATOR
        raise TokenRefused('this gateway answers who shows a token: "token" in the subscribe message')

    def identify(self, text: str) -> Actor:
        """Return who shows a token. Raises TokenRefused."""
        return self._book.identify(text, self._now_ns())

    def holds(self, actor: Actor) -> bool:
        """Whether the token of an actor is valid still."""
        return self._book.holds(actor, self._now_ns())

    def local_token(self) -> str:
        """Return a new token of the operator on this machine."""
        return self._book.make_local(self._now_ns())

    async def make(
        self, kind: str, name: str, expires_utc: str | None = None, instances: list[str] | None = None
    ) -> dict[str, Any]:
        """Make a token and keep it; its text is in this answer alone. Raises UsageError, NotFound, OSError."""
        if kind not in KINDS:
            raise UsageError(f"a token is for a {', '.join(KINDS)}, not {kind!r}")
        if not NAME.fullmatch(name):
            raise UsageError(f"{name[:64]!r} is no name", "letters, digits, - and _, at most 64")
        if kind == ActorKind.HOME and name not in self._homes():
            there = ", ".join(sorted(self._homes())) or "none"
            raise NotFound(f"no home base is named {name!r}", f"there are {there}; a new one needs homes/{name}.yaml")
        for instance in instances or ():
            if instance not in self._instances():
                raise NotFound(f"no mission instance {instance!r}", f"there are {', '.join(sorted(self._instances()))}")
        now_ns, expires_ns = self._now_ns(), None if expires_utc is None else parse_utc(expires_utc)
        if expires_ns is not None and expires_ns <= now_ns:
            raise UsageError(f"{expires_utc} is over", "give a time to come, or none for a token without an end")
        scope = None if instances is None else tuple(sorted(set(instances)))
        token, text = self._book.make(ActorKind(kind), name, now_ns, expires_ns, scope)
        try:
            await self._keep()
        except OSError:
            self._book.forget(token.id)  # nobody has it
            raise
        return {**self._row(token), "token": text}

    async def revoke(self, token_id: str) -> dict[str, Any]:
        """End a token at once, and keep that. Raises NotFound; OSError: ended, but not after a restart."""
        token = self._book.revoke(token_id, self._now_ns())
        await self._keep()
        return self._row(token)

    async def _keep(self) -> None:
        rows = self._book.rows()
        await self._keeper(lambda: self._store.put(KEPT, rows))

    def valid_tokens(self) -> list[Token]:
        """Return the tokens that hold now."""
        return self._book.valid(self._now_ns())

    def tokens(self, home: str | None = None) -> list[dict[str, Any]]:
        """Return the tokens, without secrets."""
        return [self._row(token) for token in self._book.tokens(home)]

    def _row(self, token: Token) -> dict[str, Any]:
        return {
            "id": token.id,
            "kind": str(token.kind),
            "name": token.name,
            "state": token.state(self._now_ns()),
            "instances": None if token.instances is None else list(token.instances),
            "created_utc": format_utc(token.created_ns),
            "expires_utc": None if token.expires_ns is None else format_utc(token.expires_ns),
            "revoked_utc": None if token.revoked_ns is None else format_utc(token.revoked_ns),
        }
