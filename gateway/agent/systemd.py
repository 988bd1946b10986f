"""What systemd wants to know (sd_notify(3)), by a plain datagram socket; and the unit for the agent."""

from __future__ import annotations

import contextlib
import shlex
import socket
import sys
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from gateway.errors import UsageError


class Notifier:
    """Tells the service manager of NOTIFY_SOCKET; does nothing where there is none."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        watchdog = environment.get("WATCHDOG_USEC", "")
        self.watchdog_s: float | None = int(watchdog) / 1e6 if watchdog.isdigit() and int(watchdog) else None

    def tell(self, **state: str | int) -> None:
        """Send assignments such as READY=1. Never raises, never waits."""
        if not self._address:
            return
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        text = "\n".join(f"{name}={str(value).splitlines()[0] if value else value}" for name, value in state.items())
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.setblocking(False)
            out.sendto(text.encode(), address)


def unit(config: Path, user: str, writable: list[Path], command: str) -> str:
    """Return the unit of an agent. Raises UsageError for a path that a unit cannot hold."""
    paths = [config, *writable]
    for path in paths:
        if not path.is_absolute() or any(character in str(path) for character in "\n\r%\"'\\"):
            raise UsageError(f"{path} cannot stand in a unit", "an absolute path without quotes, % and backslashes")
        if path.is_relative_to("/tmp") or path.is_relative_to("/var/tmp"):  # noqa: S108 they are refused
            raise UsageError(f"{path} is not seen by a service that has a /tmp of its own", "keep it elsewhere")
    text = (files("gateway.agent") / "gateway-home.service").read_text(encoding="utf-8")
    return (
        text.replace("@COMMAND@", command)
        .replace("@CONFIG@", f'"{config}"')
        .replace("@USER@", user)
        .replace("@WRITABLE@", " ".join(f'"{path}"' for path in writable))
    )


def this_command() -> str:
    """Return how this program is started again, by absolute paths."""
    beside = Path(sys.executable).with_name("gateway")
    return shlex.quote(str(beside)) if beside.exists() else f"{shlex.quote(sys.executable)} -m gateway"
