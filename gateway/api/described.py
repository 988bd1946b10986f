"""What the OpenAPI document says of an operation: its answer and its refusals, by the names of their models.

The models describe, they do not shape: what a handler returns is sent as it is. A model that lags behind the
service is caught by a test; it must not keep the state from the operator who asks for it at night. They are named
here, not imported: pydantic takes long to build them (measured: 0.1 s of a start), and only the document needs them.
"""

from __future__ import annotations

from typing import Any

SCHEMAS = "#/components/schemas/"
MEANINGS = {
    400: "the body is no JSON text in UTF-8",
    403: "not allowed by the configuration",
    404: "no such instance, link, contact, subscription, run or file",
    409: "contradicts what is there",
    422: "a field or query parameter is missing, unknown or out of its bounds",
    503: "what was asked could not be written or read: the disk, or a file",
}


def described(model: str, *statuses: int, many: bool = False, status: int = 200) -> dict[str, Any]:
    """Return the arguments of a route that answers with a model or `many`, or refuses with one of `statuses`."""
    answers = {status: answer(model, "Successful Response", many), **refusals(*statuses)}
    return {"status_code": status, "response_model": None, "responses": answers}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return how an operation may refuse, for the OpenAPI document."""
    return {status: answer("Problem", MEANINGS[status]) for status in statuses}


def answer(model: str, description: str, many: bool = False) -> dict[str, Any]:
    """Return one answer, for the OpenAPI document."""
    one = {"$ref": SCHEMAS + model}
    schema = {"type": "array", "items": one} if many else one
    return {"description": description, "content": {"application/json": {"schema": schema}}}
