"""Small files of a store that say how far somebody is: durable, and never taken for the beginning when unreadable."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import structlog

from gateway.errors import Conflict
from gateway.world import Storage, Worker
from gateway_routes.delivery import Cursor, DeliveryError, parse_cursor

log = structlog.get_logger()
DISK_AGAIN_S = 2.0


async def keep(worker: Worker, storage: Storage, path: str, value: dict[str, Any]) -> None:
    """Write a small file durably; a disk that is full is waited for."""
    data = json.dumps(value).encode()
    while True:
        try:
            await worker(lambda: storage.write_whole(path, data))
            return
        except OSError as error:
            log.warning("a place cannot be kept, waiting", path=path, why=str(error))
            await asyncio.sleep(DISK_AGAIN_S)


def read_object(storage: Storage, path: str) -> dict[str, Any] | None:
    """Return what a small file says; None: it is not there. Raises Conflict, OSError."""
    try:
        return dict(json.loads(storage.read(path, 0, 1 << 20)))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise Conflict(
            f"{path} of the store cannot be read: {error}", "restore it, or remove it to begin anew"
        ) from None


def read_cursor(storage: Storage, path: str) -> Cursor | None:
    """Return what a consumer has finished; None: it is new. Raises Conflict, OSError."""
    told = read_object(storage, path)
    try:
        return None if told is None else parse_cursor(told)
    except DeliveryError as error:
        raise Conflict(f"{path} of the store: {error}", "restore it, or remove it to begin anew") from None
