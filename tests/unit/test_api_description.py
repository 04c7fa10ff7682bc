"""The description of the API: the arguments of each task that is open to HTTP are typed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

import jsonschema_rs
import pytest
from pydantic import BaseModel

from taskq_sls import TaskContext, TaskQ
from tests.support.api import Served, served


class Address(BaseModel):
    street: str
    since: date | None = None


def shop() -> TaskQ:
    app = TaskQ("shop")

    @app.task(name="shop:ship", http=True)
    def ship(context: TaskContext, order: int, to: Address, *, express: bool, note: str = "") -> None:
        """Ship an order."""

    @app.task(name="shop:sum", http=True)
    def total(*amounts: int, **more: float) -> None: ...

    @app.task(name="shop:any", http=True)
    def anything(value, other=None): ...  # type: ignore[no-untyped-def]  # a task without annotations

    @app.task(name="shop:inside")
    def inside(secret: str) -> None: ...

    return app


@pytest.fixture
def api() -> Iterator[Served]:
    with served(shop()) as one:
        yield one


@pytest.fixture
def document(api: Served) -> dict[str, Any]:
    found: dict[str, Any] = api.client.get("/v1/openapi.json").json()
    return found


def fits(document: dict[str, Any], body: dict[str, Any]) -> bool:
    schema = document["paths"]["/v1/tasks"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    return jsonschema_rs.is_valid({**schema, "components": document["components"]}, body)


SHIP = {"task": "shop:ship", "kwargs": {"order": 7, "to": {"street": "a"}, "express": True}}


@pytest.mark.parametrize(
    ("body", "valid"),
    [
        (SHIP, True),
        ({**SHIP, "args": [7], "kwargs": {"to": {"street": "a", "since": "2026-01-01"}, "express": True}}, True),
        ({**SHIP, "labels": {"a": "b"}, "delay": 5}, True),
        ({**SHIP, "kwargs": {**SHIP["kwargs"], "order": "7"}}, False),  # type: ignore[dict-item]  # it is a dict
        ({**SHIP, "kwargs": {"order": 7, "to": {"street": 1}, "express": True}}, False),
        ({**SHIP, "kwargs": {"order": 7, "to": {"street": "a"}}}, False),
        ({**SHIP, "kwargs": {**SHIP["kwargs"], "other": 1}}, False),  # type: ignore[dict-item]  # it is a dict
        ({**SHIP, "args": [7, {"street": "a"}, "too many"]}, False),
        ({**SHIP, "unknown": 1}, False),
        ({"task": "shop:sum", "args": [1, 2, 3], "kwargs": {"a": 0.5}}, True),
        ({"task": "shop:sum", "args": ["1"]}, False),
        ({"task": "shop:any", "args": ["1", [2]]}, True),
        ({"task": "shop:inside", "args": ["x"]}, False),
        ({"task": "shop:nobody"}, False),
    ],
)
def test_the_body_of_a_task_is_typed_by_its_annotations(
    document: dict[str, Any], body: dict[str, Any], valid: bool
) -> None:
    assert fits(document, body) is valid


def test_entries_of_a_batch_are_typed_too_and_tasks_are_told_apart_by_name(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]

    assert schemas["EnqueueBatch"]["properties"]["tasks"]["items"] == {"$ref": "#/components/schemas/EnqueueAnyTask"}
    assert schemas["EnqueueAnyTask"]["discriminator"]["mapping"] == {
        "shop:ship": "#/components/schemas/EnqueueTask_shop_ship",
        "shop:sum": "#/components/schemas/EnqueueTask_shop_sum",
        "shop:any": "#/components/schemas/EnqueueTask_shop_any",
    }
    assert schemas["EnqueueTask_shop_ship"]["description"] == "Ship an order."


def test_what_the_schema_accepts_the_api_accepts(api: Served) -> None:
    assert api.client.post("/v1/tasks", json=SHIP).status_code == 202


def test_without_a_task_that_is_open_to_http_any_task_is_described() -> None:
    with served(TaskQ("shop")) as api:
        document = api.client.get("/v1/openapi.json").json()

    assert fits(document, {"task": "shop:any", "args": [1]})


class EnqueueAnyTask(BaseModel):
    amount: int


class EnqueueTask_shop_pay(BaseModel):  # the name that the task's schema has
    amount: int


class Odd(BaseModel):
    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: Any) -> Any:
        raise NotImplementedError("no schema")


def test_models_that_take_a_name_or_have_no_schema_leave_the_document_whole() -> None:
    app = TaskQ("shop")

    @app.task(name="shop:open", http=True)
    def open_(given: EnqueueTask_shop_pay) -> None: ...

    @app.task(name="shop:pay", http=True)
    def pay(given: EnqueueAnyTask) -> None: ...

    @app.task(name="shop:odd", http=True)
    def odd(given: Odd) -> None: ...

    with served(app) as api:
        document = api.client.get("/v1/openapi.json").json()

    assert fits(document, {"task": "shop:open", "args": [{"amount": 1}]})
    assert fits(document, {"task": "shop:pay", "args": [{"amount": 1}]})
    assert fits(document, {"task": "shop:odd", "args": [{}]})
    assert len(document["components"]["schemas"]["EnqueueAnyTask"]["oneOf"]) == 3
