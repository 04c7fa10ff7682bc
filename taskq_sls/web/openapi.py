"""The API's own description: complete enough that a client can be generated from it."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from .problems import Problem
from .task_schemas import add_task_schemas

REFERENCES = "#/components/schemas/{model}"


def describe(api: FastAPI) -> None:
    """Have `api.openapi()` give the whole description; made at first use."""

    def document() -> dict[str, Any]:
        if api.openapi_schema is None:
            api.openapi_schema = _document(api)
        return api.openapi_schema

    setattr(api, "openapi", document)  # noqa: B010  # FastAPI's documented way; a type checker refuses the assignment


def _document(api: FastAPI) -> dict[str, Any]:
    found = get_openapi(title=api.title, version=api.version, description=api.description, routes=api.routes, tags=TAGS)
    components = found.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    add_task_schemas(api.state.taskq, found, REFERENCES)
    problem = Problem.model_json_schema(ref_template=REFERENCES)
    schemas.update(problem.pop("$defs", {}))
    schemas["Problem"] = problem
    components["securitySchemes"] = {
        "token": {
            "type": "http",
            "scheme": "bearer",
            "description": "A token of `taskq api-token new`, with the scopes that each operation names.",
        },
        "iam": {
            "type": "apiKey",
            "in": "header",
            "name": "Authorization",
            "description": "Signature Version 4 of an IAM user or role that may call the function URL or API.",
            "x-amazon-apigateway-authtype": "awsSigv4",
        },
    }
    return found


TAGS = [
    {"name": "tasks", "description": "Send tasks, see what became of them, cancel them, run them again."},
    {"name": "schedules", "description": "What runs by the clock."},
    {"name": "queues", "description": "How full the queues are, and who works on them."},
    {"name": "dead letters", "description": "What was given up: look at it, send it back, delete it."},
    {"name": "service", "description": "The API itself."},
]
