"""Compares the table with the needs of the result backend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...app import TaskQ
from ...aws.port import AwsClient, AwsPort
from ...core.states import State
from ...errors import AwsError, TaskQError
from ...results.base import Query
from ...results.dynamodb.backend import DynamoResults
from ...results.layout import INDEXES, PARTITION_KEY, RECORD, SORT_KEY, TASK_INDEX, TTL_ATTRIBUTE
from ...results.records import STALL_AFTER
from .finding import PROVISION, Finding, Probe, check_permissions, denied, fail, ok, unreadable, warn

MOST_READ = 200
"""Records that the check of overdue tasks reads at most."""

MOST_NAMED = 5
"""Ids that its finding names at most."""

# Nothing of ours has such a key, so a write that needs it there is always refused.
_NOWHERE = {PARTITION_KEY: {"S": "taskq-doctor"}, SORT_KEY: {"S": RECORD}}
_IF_THERE = {"ConditionExpression": f"attribute_exists({PARTITION_KEY})"}


async def check_table(dynamodb: AwsClient, name: str) -> list[Finding]:
    """One line if all is fine, else one per fault."""
    subject = f"table {name}"
    try:
        table = (await dynamodb.call("describe_table", TableName=name))["Table"]
    except AwsError as error:
        if error.code == "ResourceNotFoundException":
            return [fail(subject, "does not exist", f"{PROVISION}, or name the right table with TASKQ_TABLE")]
        if not denied(error):
            return [fail(subject, str(error))]
        unknown = unreadable(subject, "", error, "dynamodb:DescribeTable")
        return [unknown, *await check_permissions(dynamodb, subject, _probes(name))]
    except TaskQError as error:
        return [fail(subject, str(error))]
    faults = [*_check_shape(subject, table), *await _check_ttl(dynamodb, name)]
    indexes = {index["IndexName"] for index in table.get("GlobalSecondaryIndexes", [])}
    # A query on a missing index is refused for that reason, not by a policy.
    faults += await check_permissions(dynamodb, subject, _probes(name))
    return faults or [ok(subject, f"ACTIVE, indexes {', '.join(sorted(indexes))}")]


def _check_shape(subject: str, table: Mapping[str, Any]) -> list[Finding]:
    faults = []
    if table["TableStatus"] != "ACTIVE":
        faults.append(fail(subject, f"is {table['TableStatus']}, not ACTIVE", "wait until it is"))
    if (keys := _keys(table)) != (PARTITION_KEY, SORT_KEY):
        detail = f"has the keys {', '.join(keys)}, not {PARTITION_KEY}, {SORT_KEY}"
        faults.append(fail(subject, detail, "name another table with TASKQ_TABLE"))
    found = {index["IndexName"]: index for index in table.get("GlobalSecondaryIndexes", [])}
    for wanted in INDEXES:
        index = found.get(wanted.name)
        if index is None:
            faults.append(fail(subject, f"lacks the index {wanted.name}: tasks cannot be listed", PROVISION))
        # moto leaves out the status of some indexes.
        elif index.get("IndexStatus", "ACTIVE") != "ACTIVE":
            faults.append(fail(subject, f"index {wanted.name} is {index['IndexStatus']}", "wait until it is ACTIVE"))
        elif _keys(index) != (wanted.shard, wanted.time):
            detail = f"index {wanted.name} has the keys {', '.join(_keys(index))}, not {wanted.shard}, {wanted.time}"
            faults.append(fail(subject, detail, "delete the index and provision again"))
    return faults


def _keys(described: Mapping[str, Any]) -> tuple[str, ...]:
    schema = sorted(described["KeySchema"], key=lambda key: str(key["KeyType"]))
    return tuple(key["AttributeName"] for key in schema)


async def _check_ttl(dynamodb: AwsClient, name: str) -> list[Finding]:
    subject = f"table {name}"
    try:
        answer = (await dynamodb.call("describe_time_to_live", TableName=name))["TimeToLiveDescription"]
    except AwsError as error:
        return [unreadable(subject, "its time to live ", error, "dynamodb:DescribeTimeToLive")]
    if answer.get("TimeToLiveStatus") not in ("ENABLED", "ENABLING"):
        return [fail(subject, "has no time to live: records are never deleted", PROVISION)]
    if answer.get("AttributeName", TTL_ATTRIBUTE) != TTL_ATTRIBUTE:
        detail = f"its time to live is on {answer['AttributeName']!r}, not on {TTL_ATTRIBUTE!r}"
        return [fail(subject, detail, "disable it and provision again, or name another table with TASKQ_TABLE")]
    return []


def _probes(name: str) -> list[Probe]:
    """Calls that read nothing and that can write nothing."""
    table = {"TableName": name}
    touch = {
        "UpdateExpression": "SET #doctor = :now",
        "ExpressionAttributeNames": {"#doctor": "doctor"},
        "ExpressionAttributeValues": {":now": {"N": "0"}},
    }
    return [
        ("dynamodb:GetItem", "get_item", {**table, "Key": _NOWHERE}),
        ("dynamodb:BatchGetItem", "batch_get_item", {"RequestItems": {name: {"Keys": [_NOWHERE]}}}),
        ("dynamodb:PutItem", "put_item", {**table, "Item": _NOWHERE, **_IF_THERE}),
        ("dynamodb:UpdateItem", "update_item", {**table, "Key": _NOWHERE, **_IF_THERE, **touch}),
        (
            "dynamodb:Query on the table's indexes",
            "query",
            {
                **table,
                "IndexName": TASK_INDEX.name,
                "KeyConditionExpression": "#shard = :nowhere",
                "ExpressionAttributeNames": {"#shard": TASK_INDEX.shard},
                "ExpressionAttributeValues": {":nowhere": {"S": "taskq-doctor"}},
                "Limit": 1,
            },
        ),
    ]


async def check_overdue(app: TaskQ, port: AwsPort) -> list[Finding]:
    """Name tasks that are RETRYING and were due more than 15 minutes ago."""
    now = app.clock.time()
    results = DynamoResults(port.client("dynamodb"), port.flow, app.settings.table, port.describe)
    try:
        page = await results.list(Query(status=State.RETRYING, until=now - STALL_AFTER, limit=MOST_READ), now=now)
    except TaskQError:
        return []  # the check of the table says why
    overdue = [record.id for record in page if record.stalled(now)]
    if not overdue:
        return []
    named = ", ".join(overdue[:MOST_NAMED]) + (", ..." if len(overdue) > MOST_NAMED or page.cursor else "")
    detail = f"{len(overdue)} wait for a retry that was due more than {STALL_AFTER / 60:.0f} minutes ago: {named}"
    fix = (
        "check that workers run; if SQS has moved their messages, `taskq dlq ls` ends these tasks and frees their keys"
    )
    return [warn("tasks", detail, fix)]
