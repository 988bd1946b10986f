"""The gateway's own errors, as one small family.

GatewayError
├── NotFound    no such instance, link, contact, run
├── Conflict    the request contradicts what is there
├── Refused     not allowed by the configuration
├── StartError  the daemon cannot start (data directory in use, port taken)
└── UsageError  something was asked for that cannot be: exit code 2, status 422
"""

from __future__ import annotations


class GatewayError(Exception):
    """An error with a way out: `hint` says what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class NotFound(GatewayError):
    """No such instance, link, contact or run."""


class Conflict(GatewayError):
    """The request contradicts what is there."""


class Refused(GatewayError):
    """The configuration does not allow it."""


class StartError(GatewayError):
    """The daemon cannot start."""


class UsageError(GatewayError):
    """Something was asked for that cannot be."""
