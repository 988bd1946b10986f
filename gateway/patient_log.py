"""A log that ends and holds up nothing: lines that the device does not take, or not at once, are counted.

A full disk, a closed pipe, and a pipe whose reader hangs: to wait for that one would stop the whole gateway.
"""

from __future__ import annotations

import io
import logging
import os
import select
import sys
from typing import TextIO

import structlog

LINES_LOST = [0]
"""How many lines were lost in this process."""


AT_ONCE_OCTETS = select.PIPE_BUF
"""A pipe that is writable takes so much without waiting (POSIX, and Linux' poll)."""
_torn = [False]  # the last line was not taken whole


class PatientLogger:
    """Writes lines to standard error."""

    def msg(self, message: str) -> None:
        """Write one line, or count it."""
        try:
            _write(sys.stderr, message + "\n")
        except (OSError, ValueError):
            LINES_LOST[0] += 1

    log = debug = info = warn = warning = error = critical = exception = fatal = failure = msg


def _write(stream: TextIO, text: str) -> None:
    """Write without waiting. Raises OSError: it is not taken, or not now; ValueError: the stream is closed."""
    try:
        descriptor = stream.fileno()
    except io.UnsupportedOperation:  # no file: somebody catches what is written
        stream.write(text)
        return
    stream.flush()
    left = memoryview((("\n" if _torn[0] else "") + text).encode(errors="backslashreplace"))
    ready = select.poll()
    ready.register(descriptor, select.POLLOUT)
    while left:
        if not ready.poll(0):
            raise BlockingIOError("it is not taken now")
        left = left[os.write(descriptor, left[:AT_ONCE_OCTETS]) :]
        _torn[0] = bool(left)


class _Libraries(logging.Handler):
    """What libraries log goes the same way, with the same look."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log a record of the standard library's logging."""
        structlog.get_logger().log(record.levelno, record.getMessage(), of=record.name, exc_info=record.exc_info)


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
    logging.root.handlers = [_Libraries(max(level, logging.WARNING))]
    logging.getLogger("uvicorn.error").addFilter(_is_worth_a_line)


def _is_worth_a_line(record: logging.LogRecord) -> bool:
    """What is no HTTP is counted (gateway.api.connections): a line for each would let a peer fill the log.

    Nor that somebody did not finish when we stopped: nothing of it is a task of ours.
    """
    return record.levelno > logging.WARNING and not str(record.msg).startswith("Cancel %s running task")
