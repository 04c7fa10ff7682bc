"""The OpenAPI document, with a schema for each task that may be enqueued over HTTP, so that generated clients know its
arguments."""

from __future__ import annotations

import inspect
import json
import re
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import ConfigDict, TypeAdapter

from ..client.app import App
from ..client.task import Task
from ..errors import ConfigError
from .problems import Problem

REFERENCES = "#/components/schemas/{model}"


def describe(api: FastAPI) -> None:
    """Replace `api.openapi()` by the complete document, built at first use."""

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
    {"name": "tasks", "description": "Send tasks, read their state and result, cancel them, run them again."},
    {"name": "schedules", "description": "Tasks that run at a time, or again and again."},
    {"name": "queues", "description": "Queues, workers and metrics."},
    {"name": "dead letters", "description": "Tasks that failed for good: list, redrive, delete."},
    {"name": "service", "description": "The API itself."},
]


ENQUEUE, ANY_TASK = "EnqueueTask", "EnqueueAnyTask"
"""Components: a task with any arguments, and the choice between all tasks."""

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)

_Schema = dict[str, Any]


def add_task_schemas(app: App, document: _Schema, template: str) -> None:
    """Replace the free-form task in an OpenAPI document by a choice of the app's tasks, by name.

    Args:
        template: reference to a component, with ``{model}`` for its name.
    """
    tasks = [task for task in app.registry if task.options.http]
    if not tasks:
        return
    components: _Schema = document["components"]["schemas"]
    mapping: dict[str, str] = {}
    names: list[str] = []
    components[ANY_TASK] = {}
    for task in tasks:
        names.append(name := _component_name(task.name, components))
        components[name] = {}  # reserves the name before the models of the app are added
        mapping[task.name] = template.format(model=name)
    for task, name in zip(tasks, names, strict=True):
        components[name] = _schema_of(task, components, template)
    components[ANY_TASK] = {
        "title": ANY_TASK,
        "oneOf": [{"$ref": reference} for reference in mapping.values()],
        "discriminator": {"propertyName": "task", "mapping": mapping},
    }
    choice = {"$ref": template.format(model=ANY_TASK)}
    document["paths"]["/v1/tasks"]["post"]["requestBody"]["content"]["application/json"]["schema"] = choice
    components["EnqueueBatch"]["properties"]["tasks"]["items"] = choice


def _component_name(task: str, taken: _Schema) -> str:
    name = unique = f"{ENQUEUE}_" + re.sub(r"[^A-Za-z0-9]+", "_", task).strip("_")
    number = 1
    while unique in taken:
        number += 1
        unique = f"{name}_{number}"
    return unique


def _schema_of(task: Task[..., Any], components: _Schema, template: str) -> _Schema:
    known: _Schema = components[ENQUEUE]
    properties = {**known["properties"], "task": {"const": task.name, "type": "string", "title": "Task"}}
    required = ["task"]
    try:
        parameters = list(task.plan.signature.parameters)
    except ConfigError:  # an annotation that cannot be resolved yet: allow any arguments
        parameters = None
    if parameters is not None:
        schemas = {parameter.name: _annotation(parameter, components, template) for parameter in parameters}
        properties["args"] = _positional(parameters, schemas)
        properties["kwargs"] = _named(parameters, schemas)
        if properties["kwargs"].get("required"):
            required.append("kwargs")
    doc = inspect.getdoc(task.__wrapped__)
    return {
        "title": task.name,
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        "required": required,
        **({"description": doc} if doc else {}),
    }


def _positional(parameters: list[inspect.Parameter], schemas: _Schema) -> _Schema:
    rest = next((parameter for parameter in parameters if parameter.kind is inspect.Parameter.VAR_POSITIONAL), None)
    positional = [parameter for parameter in parameters if parameter.kind in _POSITIONAL]
    schema: _Schema = {"title": "Args", "type": "array"}
    if positional:
        schema["prefixItems"] = [schemas[parameter.name] for parameter in positional]
    # A maximum length, as client generators refuse `items: false`.
    schema["items"] = {} if rest is None else schemas[rest.name]
    if rest is None:
        schema["maxItems"] = len(positional)
    return schema


def _named(parameters: list[inspect.Parameter], schemas: _Schema) -> _Schema:
    rest = next((parameter for parameter in parameters if parameter.kind is inspect.Parameter.VAR_KEYWORD), None)
    # All others may be given by position.
    required = [
        parameter.name
        for parameter in parameters
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and parameter.default is inspect.Parameter.empty
    ]
    return {
        "title": "Kwargs",
        "type": "object",
        "properties": {parameter.name: schemas[parameter.name] for parameter in parameters if parameter.kind in _NAMED},
        "additionalProperties": False if rest is None else schemas[rest.name],
        **({"required": required} if required else {}),
    }


def _annotation(parameter: inspect.Parameter, components: _Schema, template: str) -> _Schema:
    """Return the schema of a parameter, which allows anything if its type has none. Its models become components."""
    if parameter.annotation is inspect.Parameter.empty:
        return {}
    try:
        # In a list: pydantic refuses a config beside a bare model.
        in_a_list: Any = list[parameter.annotation]  # type: ignore[name-defined]  # an annotation is a value here
        adapter: TypeAdapter[Any] = TypeAdapter(in_a_list, config=ConfigDict(ser_json_bytes="base64"))
        schema = adapter.json_schema(by_alias=False, ref_template=template)
        json.dumps(schema)
    except Exception:  # by pydantic for a type without a schema, or by a hook of the app
        return {}
    for name, definition in schema.pop("$defs", {}).items():
        if components.setdefault(name, definition) != definition:
            return {}  # two models have the same name
    found: _Schema = schema["items"]
    return found
