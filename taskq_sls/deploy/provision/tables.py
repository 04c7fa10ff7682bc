"""The table as the DynamoDB result backend needs it."""

from __future__ import annotations

from typing import Any

from ...aws.port import AwsClient, AwsPort
from ...core.flow import Flow
from ...errors import AwsError, ConfigError
from ...results.layout import INDEXES, PARTITION_KEY, SORT_KEY, TTL_ATTRIBUTE, Index
from .provisioned import Provisioned, unless_refused

POLL = 1.0
"""Seconds between two reads of the state of a table that is being created or changed."""

PATIENCE = 600
"""Looks before giving up; an index over many records takes minutes to fill."""

MAX_CONFLICTS = 5
"""Attempts to add an index while another process changes the table too."""

BUSY = ("ResourceInUseException", "LimitExceededException")


async def provision_table(port: AwsPort, name: str) -> Provisioned:
    """Create the table, or add the indexes and the time to live that it lacks.

    Raises:
        ConfigError: a table or an index of this name has other keys, or the time to live is another attribute's.
        AwsError: a call failed, or the table did not become active.
    """
    dynamodb = port.client("dynamodb")
    created = await _create(dynamodb, name)
    table = await _active(dynamodb, port.flow, name)
    _check_keys(f"table {name!r}", table["KeySchema"], PARTITION_KEY, SORT_KEY)
    changes = []
    for index in INDEXES:
        if await _add_index(dynamodb, port.flow, name, index):
            changes.append(f"index {index.name}")
    missing: list[str] = []
    if await unless_refused(missing, "time to live: old records stay", _enable_ttl(dynamodb, name)):
        changes.append(f"time to live on {TTL_ATTRIBUTE!r}")
    made = Provisioned("table", name, "exists", missing=tuple(missing))
    if created:
        indexes = ", ".join(index.name for index in INDEXES)
        return made._replace(action="created", detail=f"on demand, indexes {indexes}")
    if changes:
        return made._replace(action="updated", detail=f"added {', '.join(changes)}")
    return made


def table_definition() -> dict[str, Any]:
    """Billing, keys and indexes; the template uses it too."""
    keys = [PARTITION_KEY, SORT_KEY, *(key for index in INDEXES for key in (index.shard, index.time))]
    return {
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [_string(key) for key in keys],
        "KeySchema": _schema(PARTITION_KEY, SORT_KEY),
        "GlobalSecondaryIndexes": [_index(index) for index in INDEXES],
    }


async def _create(dynamodb: AwsClient, name: str) -> bool:
    try:
        await dynamodb.call("describe_table", TableName=name)
        return False
    except AwsError as error:
        if error.code != "ResourceNotFoundException":
            raise
    try:
        await dynamodb.call("create_table", TableName=name, **table_definition())
    except AwsError as error:
        # Another process has created it meanwhile.
        if error.code == "ResourceInUseException":
            return False
        raise
    return True


async def _add_index(dynamodb: AwsClient, flow: Flow, name: str, index: Index) -> bool:
    added = False
    for last in (False,) * MAX_CONFLICTS + (True,):
        table = await _active(dynamodb, flow, name)
        for found in table.get("GlobalSecondaryIndexes", []):
            if found["IndexName"] == index.name:
                _check_keys(f"index {index.name!r} of table {name!r}", found["KeySchema"], index.shard, index.time)
                return added
        try:
            await dynamodb.call(
                "update_table",
                TableName=name,
                AttributeDefinitions=[_string(key) for key in (PARTITION_KEY, SORT_KEY, index.shard, index.time)],
                GlobalSecondaryIndexUpdates=[{"Create": _index(index)}],
            )
            added = True
        except AwsError as error:
            # A table takes one new index at a time, and another process may just have added this one.
            if last or not (error.code in BUSY or "already exists" in error.message):
                raise
            await flow.sleep(POLL)
    return added


async def _enable_ttl(dynamodb: AwsClient, name: str) -> bool:
    if await _has_ttl(dynamodb, name):
        return False
    try:
        await dynamodb.call(
            "update_time_to_live",
            TableName=name,
            TimeToLiveSpecification={"Enabled": True, "AttributeName": TTL_ATTRIBUTE},
        )
    except AwsError as error:
        # Another process has enabled it meanwhile.
        if error.code == "ValidationException" and await _has_ttl(dynamodb, name):
            return False
        raise
    return True


async def _has_ttl(dynamodb: AwsClient, name: str) -> bool:
    answer = (await dynamodb.call("describe_time_to_live", TableName=name))["TimeToLiveDescription"]
    if answer.get("TimeToLiveStatus") not in ("ENABLED", "ENABLING"):
        return False
    attribute = answer.get("AttributeName")
    if attribute != TTL_ATTRIBUTE:
        raise ConfigError(
            f"table {name!r} has its time to live on {attribute!r}, not {TTL_ATTRIBUTE!r}; "
            "disable it, or name another table (TASKQ_TABLE)"
        )
    return True


async def _active(dynamodb: AwsClient, flow: Flow, name: str) -> dict[str, Any]:
    """The table's description once it and its indexes are active."""
    for _ in range(PATIENCE):
        table: dict[str, Any] = (await dynamodb.call("describe_table", TableName=name))["Table"]
        indexes = table.get("GlobalSecondaryIndexes", [])
        # moto leaves out the status of some indexes.
        states = [table["TableStatus"], *(index.get("IndexStatus", "ACTIVE") for index in indexes)]
        if all(state == "ACTIVE" for state in states):
            return table
        await flow.sleep(POLL)
    raise AwsError(
        "describe_table",
        "NotActive",
        f"table {name!r} is still {', '.join(states)} after {PATIENCE * POLL:.0f} s; run this again later",
        transient=True,
    )


def _check_keys(what: str, schema: list[dict[str, str]], *wanted: str) -> None:
    found = [key["AttributeName"] for key in sorted(schema, key=lambda key: key["KeyType"])]
    if found != list(wanted):
        raise ConfigError(
            f"{what} has the keys {', '.join(found)}, not {', '.join(wanted)}; "
            "remove it, or name another table (TASKQ_TABLE)"
        )


def _index(index: Index) -> dict[str, Any]:
    return {
        "IndexName": index.name,
        "KeySchema": _schema(index.shard, index.time),
        "Projection": {"ProjectionType": "KEYS_ONLY"},
    }


def _schema(partition: str, sort: str) -> list[dict[str, str]]:
    return [{"AttributeName": partition, "KeyType": "HASH"}, {"AttributeName": sort, "KeyType": "RANGE"}]


def _string(name: str) -> dict[str, str]:
    return {"AttributeName": name, "AttributeType": "S"}
