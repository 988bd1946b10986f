"""How the console of the user who runs a gateway on this machine comes in without being given a token.

The daemon leaves the operator's token, new at each start, in a file that only its own user can read; the console looks
there for gateways on loopback. `GATEWAY_TOKEN_FILE` or `--token-file` names a token for everybody else.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import stat
from pathlib import Path
from urllib.parse import urlsplit

from gateway.errors import UsageError

TOKEN_OCTETS_MAX = 1024
TOKEN_FILE = "GATEWAY_TOKEN_FILE"  # noqa: S105 names a variable


def leave(port: int, token: str) -> None:
    """Leave the operator's token for the console of the same user. Raises OSError."""
    path = _path(port)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write(path, token)


def write(path: Path, token: str) -> None:
    """Write a token into a file that only its user can read, whole or not at all. Raises OSError."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        fresh.unlink()
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(token + "\n")
    fresh.replace(path)


def take_away(port: int) -> None:
    """The gateway ends, and with it the token."""
    with contextlib.suppress(OSError):
        _path(port).unlink()


def token_for(url: str, file: Path | None = None) -> str | None:
    """Return the token for a gateway: of the file that is named, else the one left on this machine, else None.

    Raises UsageError for a named file that holds none.
    """
    named = file or (Path(os.environ[TOKEN_FILE]) if os.environ.get(TOKEN_FILE) else None)
    if named is not None:
        return read_token(named)
    parts = urlsplit(url)
    if not _is_loopback(parts.hostname or ""):
        return None
    try:
        path = _path(parts.port or (443 if parts.scheme == "https" else 80))
        about = path.stat()
        if about.st_uid != os.getuid() or stat.S_IMODE(about.st_mode) & 0o077:
            return None  # somebody else's: it is nothing to be shown anywhere
        return path.read_text()[:TOKEN_OCTETS_MAX].strip() or None
    except (OSError, ValueError):
        return None


def read_token(file: Path) -> str:
    """Return the token in the first line of a file. Raises UsageError."""
    try:
        with file.open("rb") as opened:
            text = opened.readline(TOKEN_OCTETS_MAX).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"no token in {file}: {error}", "`gateway homes token` makes one, shown once") from None
    if not text:
        raise UsageError(f"no token in {file}: its first line is empty", "`gateway homes token` makes one, shown once")
    return text


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _path(port: int) -> Path:
    base = os.environ.get("XDG_RUNTIME_DIR") or os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local/state")
    return Path(base) / "usoc-gateway" / f"operator-{port}.token"
