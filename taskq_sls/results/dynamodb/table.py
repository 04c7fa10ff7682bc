"""The table behind the DynamoDB backend: single calls, their refusals read, their missing table explained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ...aws.port import AwsClient
from ...errors import AwsError, MissingResource
from ..layout import Item, record_key
from .expressions import Condition, Update


class Written(NamedTuple):
    """A conditional write that took effect; `item` holds the attributes it was asked to return."""

    item: Item


class Refusal(NamedTuple):
    """A conditional write that was refused, and the item that stands in its way (None: there is none)."""

    item: Item | None


class Table:
    """One DynamoDB table.

    Args:
        describe: endpoint and region in words, for error messages.
    """

    def __init__(self, client: AwsClient, name: str, describe: Callable[[], str]) -> None:
        self._client = client
        self.name = name
        self.describe = describe

    async def update(
        self, id: str, update: Update, condition: Condition, *, returns: str = "NONE"
    ) -> Written | Refusal:
        """Change a task's item where `condition` holds."""
        return await self.change(record_key(id), update, condition, returns=returns)

    async def change(
        self, key: Item, update: Update, condition: Condition, *, returns: str = "NONE"
    ) -> Written | Refusal:
        """Change the item of a primary key where `condition` holds."""
        return await self._write("update_item", Key=key, ReturnValues=returns, **condition.parameters(update))

    async def delete(self, key: Item, condition: Condition) -> Written | Refusal:
        """Delete the item of a primary key where `condition` holds."""
        return await self._write("delete_item", Key=key, **condition.parameters())

    async def put(self, item: Item, condition: Condition) -> Written | Refusal:
        """Put a whole item where `condition` holds."""
        return await self._write("put_item", Item=item, **condition.parameters())

    async def overwrite(self, item: Item) -> None:
        """Put a whole item, whatever stands there."""
        await self.call("put_item", TableName=self.name, Item=item)

    async def call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """Any operation.

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
