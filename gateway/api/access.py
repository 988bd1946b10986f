"""How handlers reach the one service."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends
from starlette.requests import HTTPConnection

from gateway.service import Gateway


def _service(connection: HTTPConnection) -> Gateway:
    return cast(Gateway, connection.app.state.service)


ServiceDep = Annotated[Gateway, Depends(_service)]
