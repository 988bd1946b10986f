"""A log that ends nothing: lines that the device does not take are counted (a full disk, a pipe that nobody reads)."""

from __future__ import annotations

import logging
import sys

import structlog

LINES_LOST = [0]
"""How many lines were lost in this process."""


class PatientLogger:
    """Writes lines to standard error."""

    def msg(self, message: str) -> None:
        """Write one line."""
        try:
            print(message, file=sys.stderr, flush=True)
        except (OSError, ValueError):
            LINES_LOST[0] += 1

    log = debug = info = warn = warning = error = critical = exception = fatal = failure = msg


def set_up_logging(as_json: bool = False, level: int = logging.INFO) -> None:
    """Log to standard error."""
    renderer = (
        structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: PatientLogger(),
    )
    # what is no HTTP is counted (gateway.api.connections): a line for each would let a peer fill the log
    logging.getLogger("uvicorn.error").addFilter(lambda record: record.levelno > logging.WARNING)
