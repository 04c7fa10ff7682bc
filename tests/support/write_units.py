"""Counts DynamoDB's write units: every write is metered by the item before and after it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import boto3
import botocore.client
import pytest

from taskq_sls.results.layout import INDEXES

Item = dict[str, Any]

WRITES = {"PutItem": "Item", "UpdateItem": "Key", "DeleteItem": "Key"}

KILOBYTE = 1_024


class Meter:
    """What was written while it was on.

    Attributes:
        units: of each write, in order.
    """

    def __init__(self) -> None:
        self.units: list[int] = []

    @property
    def total(self) -> int:
        return sum(self.units)


@pytest.fixture
def meter(monkeypatch: pytest.MonkeyPatch) -> Iterator[Meter]:
    """Meters every write that botocore makes in this process."""
    meter = Meter()
    real = botocore.client.BaseClient._make_api_call
    reader: list[Any] = []

    def call(self: Any, operation: str, parameters: dict[str, Any]) -> Any:
        if self.meta.service_model.service_name != "dynamodb" or operation not in WRITES:
            assert operation not in ("BatchWriteItem", "TransactWriteItems"), "nobody has thought of what it costs"
            return real(self, operation, parameters)
        if not reader:
            reader.append(boto3.client("dynamodb"))
        named = parameters[WRITES[operation]]
        place = {"TableName": parameters["TableName"], "Key": {name: named[name] for name in ("pk", "sk")}}
        read = {**place, "ConsistentRead": True}
        before = real(reader[0], "GetItem", read).get("Item")
        try:
            return real(self, operation, parameters)
        finally:
            meter.units.append(write_units(before, real(reader[0], "GetItem", read).get("Item")))

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", call)
    yield meter
    for client in reader:
        client.close()


def write_units(before: Item | None, after: Item | None) -> int:
    """Of one write: the larger of the two items by started KB, and for each index what became of its entry.

    An entry that comes or goes costs one unit, one whose key changes two (a delete and a put), others nothing, since
    the indexes project keys only.
    """
    units = max(1, math.ceil(max(_size(before), _size(after)) / KILOBYTE))
    for index in INDEXES:
        old, new = ([item[key] for key in index[1:] if item and key in item] for item in (before, after))
        assert len(old) in (0, 2)
        assert len(new) in (0, 2)
        if old != new:
            units += bool(old) + bool(new)
    return units


def _size(item: Item | None) -> int:
    """Bytes: names and values (DynamoDB developer guide, item sizes); numbers are taken for at most 21."""
    return sum(len(name) + _value_size(value) for name, value in (item or {}).items())


def _value_size(value: Item) -> int:
    [(kind, content)] = value.items()
    if kind == "M":
        return 3 + sum(1 + len(name) + _value_size(one) for name, one in content.items())
    if kind == "L":
        return 3 + sum(1 + _value_size(one) for one in content)
    return len(content.encode()) if kind == "S" else 1 if kind == "BOOL" else min(21, len(content))
