"""How the control plane says no: always `Problem`, whatever went wrong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from gateway.api.answering import SEE_DOCS
from gateway.errors import Conflict, GatewayError, NotFound, Refused, UsageError

STATUS = {NotFound: 404, Conflict: 409, Refused: 403, UsageError: 422}
TOLD_MAX, WORDS_MAX = 8, 200


def add_refusals(app: FastAPI) -> None:
    """Let every error of a request be answered as `Problem`."""
    app.add_exception_handler(GatewayError, _gateway_error)
    app.add_exception_handler(OSError, _disk_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)


def _answer(status: int, error: str, hint: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": error, "hint": hint}, status_code=status, headers=headers)


async def _gateway_error(request: Request, error: Exception) -> JSONResponse:
    status = next((code for kind, code in STATUS.items() if isinstance(error, kind)), 400)
    return _answer(status, str(error), getattr(error, "hint", ""))


async def _disk_error(request: Request, error: Exception) -> JSONResponse:
    hint = "what was asked may not have been kept: look at `gateway status`, mend the disk, ask again"
    return _answer(503, str(error), hint)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    """Which fields are wrong and why; never what was sent: it may be no JSON, such as NaN, or long."""
    found = error.errors() if isinstance(error, RequestValidationError) else []
    told = [f"{_field(one['loc'])}: {str(one['msg'])[:WORDS_MAX]}" for one in found[:TOLD_MAX]]
    more = [f"and {len(found) - TOLD_MAX} more"] if len(found) > TOLD_MAX else []
    return _answer(422, "; ".join([*told, *more]), SEE_DOCS)


def _field(loc: Iterable[Any]) -> str:
    where, *keys = map(str, loc)
    return ".".join(keys)[:WORDS_MAX] if keys else where


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    status, detail, headers = 500, str(error), None
    if isinstance(error, HTTPException):
        status, detail, headers = error.status_code, str(error.detail), error.headers
    return _answer(status, f"{request.method} {request.url.path[:WORDS_MAX]}: {detail}", SEE_DOCS, headers)
