"""The OpenAPI document. It is made when it is first asked for; a start needs none of it."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from gateway.api import answers, configuration_answers, models, playback_answers, report_answers, value_answers
from gateway.api.described import MEANINGS, SCHEMAS, answer
from gateway.api.guard import ACTIONS, route_key
from gateway.api.queries import BELOW
from gateway_routes.rights import Action


def openapi_document(app: FastAPI) -> dict[str, Any]:
    """Return the document of an application, with the models that its operations name."""
    document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    _, described = models_json_schema(
        [(model, "serialization") for model in _models()], ref_template=SCHEMAS + "{model}"
    )
    document["security"] = [{"token": []}]
    scheme = {"type": "http", "scheme": "bearer", "description": "gwt_..., made by `gateway homes token`"}
    document.setdefault("components", {})["securitySchemes"] = {"token": scheme}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if path.startswith(BELOW):  # `queries.only_known` refuses
                operation["responses"].setdefault("422", answer("Problem", MEANINGS[422]))
            operation["responses"]["429"] = answer("Problem", "more requests, or refused ones, than one may make: wait")
            _say_who_may(operation, ACTIONS.get(route_key(method.upper(), path), Action.ADMINISTER))
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas.update(described["$defs"])
    document["components"]["schemas"] = dict(sorted(schemas.items()))
    return document


def _say_who_may(operation: dict[str, Any], action: Action) -> None:
    """Add what the guard answers, the same for every operation that is not open to all."""
    if action is Action.KNOW:
        operation["security"] = []
        return
    for status, meaning in ((401, "no token, or one that does not hold"), (403, "this token may not")):
        operation["responses"].setdefault(str(status), answer("Problem", meaning))


def _models() -> list[type[BaseModel]]:
    """Return the models of all modules, without the bases that they share."""
    modules = (answers, configuration_answers, models, playback_answers, report_answers, value_answers)
    found = {name: value for module in modules for name, value in vars(module).items() if name[0] != "_"}
    kinds = [kind for kind in found.values() if isinstance(kind, type) and issubclass(kind, BaseModel)]
    return [kind for kind in dict.fromkeys(kinds) if kind not in {BaseModel, answers.Answer}]
