"""A port to AWS that fails on purpose, to stand between the library and the real one."""

from __future__ import annotations

from typing import Any

from ..aws.port import AwsClient, AwsPort
from ..core.flow import Flow
from .faults import Faults


class FaultyPort:
    """An :class:`~taskq_sls.aws.port.AwsPort` whose calls fail as `faults` decides.

    Every operation can fail, before its effect and after it: throttling, 5xx, connection reset, read timeout,
    an answer cut short, expired credentials. Single entries of batch calls fail in the answer. Operations have
    botocore's method names: ``send_message_batch``, ``update_item``, ...

    Args:
        port: the real one, for instance over moto.
    """

    def __init__(self, port: AwsPort, faults: Faults) -> None:
        self._port = port
        self._faults = faults

    @property
    def flow(self) -> Flow:
        return self._port.flow

    def client(self, service: str) -> AwsClient:
        return FaultyClient(self._port.client(service), self._faults)

    def describe(self) -> str:
        return f"{self._port.describe()} (with injected faults)"

    async def close(self) -> None:
        await self._port.close()


class FaultyClient:
    """One service."""

    def __init__(self, client: AwsClient, faults: Faults) -> None:
        self._client = client
        self._faults = faults

    async def call(self, operation: str, /, **params: Any) -> dict[str, Any]:
        """As the client does, or a fault."""
        if operation.endswith("_message_batch") or operation == "change_message_visibility_batch":
            return await self._faults.around(operation, lambda: self._batch(operation, params))
        return await self._faults.around(operation, lambda: self._client.call(operation, **params))

    async def _batch(self, operation: str, params: dict[str, Any]) -> dict[str, Any]:
        """A batch call of SQS, some of whose entries fail."""
        entries = params["Entries"]
        effective, failed = self._faults.split(operation, entries)
        answer: dict[str, Any] = {}
        if effective:
            answer = await self._client.call(
                operation, **{**params, "Entries": [entries[position] for position in effective]}
            )
        if not failed:
            return answer
        ids = {entries[position]["Id"] for position in failed}
        return {
            **answer,
            "Successful": [entry for entry in answer.get("Successful", ()) if entry["Id"] not in ids],
            "Failed": [entry for entry in answer.get("Failed", ()) if entry["Id"] not in ids]
            + [
                {"Id": id, "Code": "InternalError", "Message": "injected by the test", "SenderFault": False}
                for id in sorted(ids)
            ],
        }
