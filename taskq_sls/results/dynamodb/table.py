"""One DynamoDB table: conditional writes, whole queries and batch reads, and the expressions they are made of.

Every attribute goes by a ``#name``, since many of ours are reserved words: ``#status`` is the attribute ``status``. The new
value of an update is ``:set_status``, values of conditions are ``:if_...``, so that the two cannot collide.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ...aws.port import AwsClient
from ...core.backoff import Backoff
from ...core.flow import Flow
from ...errors import AwsError, MissingResource
from ..layout import Item

MAX_BATCH = 100
"""Items of one BatchGetItem (DynamoDB API reference)."""

FIRST_BACKOFF_SECONDS = 0.1
"""The wait before unprocessed keys are requested again; it doubles while no item comes."""

MAX_EMPTY_ANSWERS = 8
"""A batch read fails after so many answers in a row without a single item: about 10 seconds."""


_NAME = re.compile(r"#(\w+)")


class Update(NamedTuple):
    """The changes of an UpdateItem.

    Args:
        sets: attributes to write.
        defaults: attributes to write only if they are absent.
        adds: numbers to add to attributes (absent counts as 0).
        removes: attributes to remove.
    """

    sets: Item
    defaults: Item = {}
    adds: Item = {}
    removes: tuple[str, ...] = ()

    def expression(self) -> str:
        sets = [f"#{name} = :set_{name}" for name in self.sets]
        sets += [f"#{name} = if_not_exists(#{name}, :set_{name})" for name in self.defaults]
        parts = [f"SET {', '.join(sets)}"]
        if self.adds:
            parts.append("ADD " + ", ".join(f"#{name} :set_{name}" for name in self.adds))
        if self.removes:
            parts.append("REMOVE " + ", ".join(f"#{name}" for name in self.removes))
        return " ".join(parts)

    def values(self) -> Item:
        values = self.sets | self.defaults | self.adds
        return {f":set_{name}": value for name, value in values.items()}

    def parameters(self) -> dict[str, Any]:
        """The parameters of an UpdateItem without a condition."""
        expression = self.expression()
        return {
            "UpdateExpression": expression,
            "ExpressionAttributeNames": _attribute_names(expression),
            "ExpressionAttributeValues": self.values(),
        }


class Condition(NamedTuple):
    """A ConditionExpression and the values it names."""

    expression: str
    values: Item

    def also(self, expression: str, values: Item = {}) -> Condition:
        """Both this condition and another."""
        return Condition(f"({self.expression}) AND {expression}", self.values | values)

    def parameters(self, update: Update | None = None) -> dict[str, Any]:
        """The parameters of a conditional PutItem, or of an UpdateItem with `update`."""
        parameters: dict[str, Any] = {
            "ConditionExpression": self.expression,
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        values = self.values
        names = _attribute_names(self.expression)
        if update is not None:
            parameters["UpdateExpression"] = update.expression()
            values = values | update.values()
            names = names | _attribute_names(parameters["UpdateExpression"])
        parameters["ExpressionAttributeNames"] = names
        if values:
            parameters["ExpressionAttributeValues"] = values
        return parameters


class Written(NamedTuple):
    """A conditional write that took effect; `item` holds the attributes it was asked to return."""

    item: Item


class Refusal(NamedTuple):
    """A conditional write that was refused, and the present item (None: there is none)."""

    item: Item | None


class Table:
    """One DynamoDB table.

    Args:
        client: the ``dynamodb`` client of a port.
        flow: the port's way to wait and fan out.
        describe: returns endpoint and region in words, for error messages.
    """

    def __init__(self, client: AwsClient, flow: Flow, name: str, describe: Callable[[], str]) -> None:
        self._client = client
        self.flow = flow
        self.name = name
        self.describe = describe

    async def update(
        self, key: Item, update: Update, condition: Condition, *, returns: str = "NONE"
    ) -> Written | Refusal:
        """Change an item if `condition` holds."""
        return await self._write("update_item", Key=key, ReturnValues=returns, **condition.parameters(update))

    async def delete(self, key: Item, condition: Condition) -> Written | Refusal:
        """Delete an item if `condition` holds."""
        return await self._write("delete_item", Key=key, **condition.parameters())

    async def put(self, item: Item, condition: Condition) -> Written | Refusal:
        """Put a whole item if `condition` holds."""
        return await self._write("put_item", Item=item, **condition.parameters())

    async def overwrite(self, item: Item) -> None:
        """Put a whole item without a condition."""
        await self.call("put_item", TableName=self.name, Item=item)

    async def query(self, condition: str, values: Item, *, limit: int | None = None, **parameters: Any) -> list[Item]:
        """The items of a query, from as many pages as it takes.

        Args:
            condition: the KeyConditionExpression, with attributes as ``#name``.
            values: its ExpressionAttributeValues.
            limit: at most so many items; None: all.
            parameters: more parameters of Query.
        """
        parameters |= {
            "TableName": self.name,
            "KeyConditionExpression": condition,
            "ExpressionAttributeNames": _attribute_names(condition),
            "ExpressionAttributeValues": values,
        }
        items: list[Item] = []
        while True:
            if limit is not None:
                parameters["Limit"] = limit - len(items)
            answer = await self.call("query", **parameters)
            items += answer["Items"]
            if "LastEvaluatedKey" not in answer or len(items) == limit:
                return items
            parameters["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    async def batch_get(self, keys: Sequence[Item]) -> list[Item]:
        """The items of up to 100 different keys that exist, by strongly consistent reads.

        Raises:
            AwsError: the table is throttled (transient), or as for `call`.
        """
        found: list[Item] = []
        empty_answers = 0
        backoff = Backoff(FIRST_BACKOFF_SECONDS)
        while True:
            request = {self.name: {"Keys": keys, "ConsistentRead": True}}
            answer = await self.call("batch_get_item", RequestItems=request)
            items = answer.get("Responses", {}).get(self.name, [])
            found += items
            left: Mapping[str, Any] | None = answer.get("UnprocessedKeys", {}).get(self.name)
            if not left:
                return found
            keys = left["Keys"]
            empty_answers = 0 if items else empty_answers + 1
            if items:
                backoff.reset()
            if empty_answers == MAX_EMPTY_ANSWERS:
                text = f"table {self.name} is throttled: {len(keys)} keys were not read in {empty_answers} tries"
                raise AwsError("batch_get_item", "UnprocessedKeys", text, transient=True)
            await self.flow.sleep(backoff.next())

    async def call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """Call any operation.

        Raises:
            MissingResource: the table, or an index of it, does not exist.
            AwsError: as the client raises it.
        """
        try:
            return await self._client.call(operation, **parameters)
        except AwsError as error:
            if missing := self._missing(error):
                raise MissingResource(
                    f"{missing} at {self.describe()}; create it with `taskq provision MODULE:APP`, "
                    "or name the right table with TASKQ_TABLE"
                ) from error
            raise

    async def _write(self, operation: str, **parameters: Any) -> Written | Refusal:
        try:
            answer = await self.call(operation, TableName=self.name, **parameters)
        except AwsError as error:
            if error.code == "ConditionalCheckFailedException":
                return Refusal(error.body.get("Item"))
            raise
        return Written(answer.get("Attributes", {}))

    def _missing(self, error: AwsError) -> str | None:
        if error.code not in ("ResourceNotFoundException", "ValidationException"):
            return None
        # "The table does not have the specified index: by-status"; moto: "Invalid index: by-status ...".
        if "index: " in error.message:
            return f"DynamoDB table {self.name!r} lacks an index ({error.message})"
        return None if error.code == "ValidationException" else f"DynamoDB table {self.name!r} does not exist"


@functools.lru_cache(maxsize=256)
def _attribute_names(expression: str) -> dict[str, str]:
    return {f"#{name}": name for name in _NAME.findall(expression)}
