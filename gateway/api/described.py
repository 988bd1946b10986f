"""What the OpenAPI document says of an operation: its answer and its refusals.

The models describe, they do not shape: what a handler returns is sent as it is. A model that lags behind the
service is caught by a test; it must not keep the state from the operator who asks for it at night.
"""

from __future__ import annotations

from typing import Any

from gateway.api.models import Problem

MEANINGS = {
    400: "the body is no JSON text in UTF-8",
    403: "not allowed by the configuration",
    404: "no such instance, link, contact, subscription, run or file",
    409: "contradicts what is there",
    422: "a field is missing, unknown or out of its bounds",
    503: "what was asked could not be written or read: the disk, or a file",
}


def described(model: Any, *statuses: int, status: int = 200) -> dict[str, Any]:
    """Return the arguments of a route that answers with a model, or refuses with one of `statuses`."""
    answers = {status: {"model": model}, **refusals(*statuses)}
    return {"status_code": status, "response_model": None, "responses": answers}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return how an operation may refuse, for the OpenAPI document."""
    return {status: {"model": Problem, "description": MEANINGS[status]} for status in statuses}
