"""What code asks of AWS, and whether a role may: calls are recorded, and compared with a template's policies."""

from __future__ import annotations

import contextlib
import fnmatch
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import botocore.client
import pytest

from tests.support.template import ACCOUNT, REGION, Stack

BATCHES = {
    "SendMessageBatch": "SendMessage",
    "DeleteMessageBatch": "DeleteMessage",
    "ChangeMessageVisibilityBatch": "ChangeMessageVisibility",
}
"""Operations that need the permission of another."""


class Need(NamedTuple):
    """A permission that a call needs."""

    action: str
    resource: str


class Recorder:
    """The calls that botocore was asked for."""

    def __init__(self) -> None:
        self._calls: list[tuple[str, str, str, dict[str, Any]]] = []
        self._label: str | None = None

    @contextlib.contextmanager
    def recording(self, label: str) -> Iterator[None]:
        """Calls are recorded within the block, under a label."""
        self._label = label
        try:
            yield
        finally:
            self._label = None

    def record(self, service: str, operation: str, parameters: dict[str, Any]) -> None:
        if self._label is not None:
            self._calls.append((self._label, service, operation, parameters))

    def needs(self, stack: Stack, label: str) -> set[Need]:
        """What the calls under a label need where the bucket is that of `stack`."""
        return {
            need
            for under, service, operation, parameters in self._calls
            if under == label
            for need in _needs(stack, service, operation, parameters)
        }


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """Sees every call that botocore makes in this process."""
    recorder = Recorder()
    real = botocore.client.BaseClient._make_api_call

    def call(self: Any, operation: str, parameters: dict[str, Any]) -> Any:
        recorder.record(self.meta.service_model.service_name, operation, parameters)
        return real(self, operation, parameters)

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", call)
    return recorder


def lacking(needs: Iterable[Need], statements: list[dict[str, Any]]) -> list[Need]:
    """The permissions that no statement gives."""
    return sorted(need for need in needs if not any(_gives(statement, need) for statement in statements))


def _gives(statement: dict[str, Any], need: Need) -> bool:
    assert statement["Effect"] == "Allow"
    resources = statement["Resource"]
    return need.action in statement["Action"] and any(
        fnmatch.fnmatchcase(need.resource, pattern)
        for pattern in ([resources] if isinstance(resources, str) else resources)
    )


def _needs(stack: Stack, service: str, operation: str, parameters: dict[str, Any]) -> Iterator[Need]:
    action = f"{service}:{BATCHES.get(operation, operation)}"
    here = f"{REGION}:{ACCOUNT}"
    if service == "sqs":
        name = parameters.get("QueueName") or parameters["QueueUrl"].rpartition("/")[2]
        yield Need(action, f"arn:aws:sqs:{here}:{name}")
    elif service == "dynamodb":
        for table in parameters.get("RequestItems", [parameters.get("TableName")]):
            index = f"/index/{parameters['IndexName']}" if "IndexName" in parameters else ""
            yield Need(action, f"arn:aws:dynamodb:{here}:table/{table}{index}")
    elif service == "s3":
        bucket = stack.arn("PayloadBucket")
        yield Need(action, f"{bucket}/{parameters['Key']}" if "Key" in parameters else bucket)
    elif service == "scheduler":
        group = parameters["GroupName"]
        yield Need(action, f"arn:aws:scheduler:{here}:schedule/{group}/{parameters['Name']}")
        if "Target" in parameters:
            yield Need("iam:PassRole", parameters["Target"]["RoleArn"])
    else:
        raise AssertionError(f"{service}:{operation}: nobody has thought of what it needs")
