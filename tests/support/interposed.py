"""A client that stands between a backend and the real one, so that a test can act between two calls."""

from collections.abc import Awaitable, Callable
from typing import Any

from taskq_sls.aws.blocking import BlockingAws
from taskq_sls.aws.port import AwsClient
from taskq_sls.results.dynamodb.backend import DynamoResults

Hook = Callable[[str, dict[str, Any]], Awaitable[dict[str, Any] | None]]


class Interposed:
    """Counts calls, and lets `hook` go first; an answer of the hook takes the place of the real one."""

    def __init__(self, client: AwsClient) -> None:
        self.calls: list[str] = []
        self.client = client
        self.hook: Hook | None = None

    async def call(self, operation: str, /, **params: Any) -> dict[str, Any]:
        self.calls.append(operation)
        if self.hook is not None and (answer := await self.hook(operation, params)) is not None:
            return answer
        return await self.client.call(operation, **params)


def interpose(port: BlockingAws, table: str) -> tuple[DynamoResults, Interposed]:
    """A second backend on `table`, and the client between."""
    client = Interposed(port.client("dynamodb"))
    return DynamoResults(client, port.flow, table, port.describe), client
