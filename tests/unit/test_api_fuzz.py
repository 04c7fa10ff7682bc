"""Requests made of the API's own description, valid and not: every answer is one that the description has."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.support.api import Served, served

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its own imports
    import schemathesis
    from schemathesis import GenerationMode
    from schemathesis.checks import not_a_server_error
    from schemathesis.python import asgi
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]

EXAMPLES = 20
"""Requests of each kind for each operation: seconds in all."""

WITHOUT_INPUT = ["listQueues", "listWorkers", "getMetrics", "getHealth", "getReady", "getOpenApi"]

OPERATIONS = {
    "enqueueTask": {202, 422},
    "enqueueTasks": {422},
    "listTasks": {200},
    # Of the ids that are asked for, one is unknown until an enqueue that is tried before takes it.
    "getTask": {200},
    "cancelTask": {200},
    "retryTask": {409},
    "getMetricHistory": {200},
    "listSchedules": {200},
    "createSchedule": {201, 422},
    "getSchedule": {404},
    "pauseSchedule": {404},
    "resumeSchedule": {404},
    "deleteSchedule": {404},
    "listDeadLetters": {200, 422},
    "getDeadLetter": {404, 422},
    "redriveDeadLetters": {200, 422},
    "purgeDeadLetters": {200, 422},
    "deleteDeadLetter": {404, 422},
    **{key: {200} for key in WITHOUT_INPUT},
}
"""Answers that requests which fit the description must have reached, lest all of them fail at the door."""

TASKS = ["shop:anything", "shop:resize", "shop:internal"]

IDS = ["known-0", "known-1", "known-2", "unknown"]


class Target(NamedTuple):
    """The API, and a way to call it."""

    api: Served
    schema: Any
    session: Any


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    with served() as api:
        for id in IDS[:3]:
            resize = api.app.registry.get("shop:resize")
            assert resize is not None
            resize.with_options(id=id).enqueue("a.png")
        api.client.post("/v1/tasks", json={"task": "shop:login", "args": ["mallory", "secret"]})
        api.app.ref("shop:internal").enqueue("x")
        api.memory.run_until_idle()
        document = api.client.get("/v1/openapi.json").json()
        _lead_inside(document)
        schema = schemathesis.openapi.from_dict(document)
        with asgi.get_client(api.client.app) as session:  # type: ignore[arg-type]  # the ASGI types of two packages
            session.headers["Authorization"] = f"Bearer {api.token}"
            yield Target(api, schema, session)


def test_the_description_names_the_operations_that_are_tried(target: Target) -> None:
    paths = target.api.client.get("/v1/openapi.json").json()["paths"]

    assert {one["operationId"] for path in paths.values() for one in path.values()} == set(OPERATIONS)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_requests_that_fit_the_description_get_the_answers_it_has(target: Target, operation: str) -> None:
    statuses = ask(target, operation, GenerationMode.POSITIVE)

    assert OPERATIONS[operation] <= set(statuses), statuses


@pytest.mark.parametrize("operation", [name for name in OPERATIONS if name not in WITHOUT_INPUT])
def test_requests_that_do_not_fit_the_description_do_no_harm(target: Target, operation: str) -> None:
    statuses = ask(target, operation, GenerationMode.NEGATIVE)

    assert set(statuses) & {400, 404, 405, 422}, statuses


def ask(target: Target, operation: str, mode: GenerationMode) -> Counter[int]:
    """Make requests, check the answers, and count them by status."""
    strategy = target.schema.find_operation_by_id(operation).as_strategy(generation_mode=mode)
    statuses: Counter[int] = Counter()

    @seed(20261122)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def once(data: Any) -> None:
        case = data.draw(strategy)
        answer = case.call(base_url="https://api.example.com", session=target.session)
        case.validate_response(answer, checks=CHECKS)
        statuses[answer.status_code] += 1

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the generator's own libraries
        once()
    return statuses


def _lead_inside(document: dict[str, Any]) -> None:
    """Have requests name tasks and ids that there are: arbitrary text would find nothing behind the door."""
    schemas = document["components"]["schemas"]
    tasks = [name for name in schemas if name.startswith("EnqueueTask_")]
    assert tasks
    for name in (*tasks, "CreateSchedule"):
        properties = schemas[name]["properties"]
        if name == "CreateSchedule":
            properties["task"]["enum"] = TASKS
        _texts(properties["queue"])["enum"] = ["default", "slow", "nothing"]
        _texts(properties["group"])["enum"] = ["tenant-7"]
        if "delay" in properties:
            properties["delay"]["anyOf"][0] |= {"minimum": 0, "maximum": 1_000}
        properties["expires_in"]["anyOf"][0] |= {"minimum": 1_000, "maximum": 10_000}
    schemas["CreateSchedule"]["properties"]["expression"]["enum"] = ["rate(5 minutes)", "cron(0 12 * * ? *)", "rate(0)"]
    for path in document["paths"].values():
        for operation in path.values():
            for parameter in operation.get("parameters", ()):
                if parameter["name"] == "id" and parameter["in"] == "path":
                    parameter["schema"]["enum"] = IDS
                elif parameter["name"] == "queue":
                    _texts(parameter["schema"])["enum"] = ["default", "slow-dlq", "nothing"]


def _texts(schema: dict[str, Any]) -> dict[str, Any]:
    return next((one for one in schema.get("anyOf", ()) if one.get("type") == "string"), schema)
