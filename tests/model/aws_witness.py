"""A client between the injected faults and moto: tells the ledger of what took effect."""

from __future__ import annotations

from typing import Any

from moto.backends import get_backend
from moto.dynamodb.models.dynamo_type import DynamoType

from taskq_sls.aws.port import AwsClient, AwsPort
from taskq_sls.core.clock import Clock
from taskq_sls.core.flow import Flow
from taskq_sls.core.states import State
from taskq_sls.results.dynamodb.stored_records import record_of
from taskq_sls.results.layout import record_key
from taskq_sls.results.records import TaskRecord
from tests.model.ledger import GRACE, Ledger
from tests.model.witness import check_durable, name_of, read


class MotoTruth:
    """Records as they stand in moto's table, read without a request."""

    def __init__(self, table: str) -> None:
        self._table = table

    async def get(self, id: str, *, now: float) -> TaskRecord | None:
        return self.look(record_key(id))

    def look(self, key: dict[str, Any]) -> TaskRecord | None:
        for regions in get_backend("dynamodb").values():
            for region in regions:
                table = regions[region].tables.get(self._table)
                if table is not None:
                    return self._read(table, key)
        return None

    def _read(self, table: Any, key: dict[str, Any]) -> TaskRecord | None:
        found = table.get_item(DynamoType(key["pk"]), DynamoType(key["sk"]))
        item = found.to_json()["Attributes"] if found is not None else {}
        return record_of(item) if "status" in item else None


class WitnessedPort:
    """Looks at every record before and after a write, and at every message before its delete."""

    def __init__(self, port: AwsPort, ledger: Ledger, clock: Clock) -> None:
        self._port = port
        self.ledger = ledger
        self.clock = clock
        self.truth: MotoTruth
        self.bodies: dict[str, str] = {}

    @property
    def flow(self) -> Flow:
        return self._port.flow

    def client(self, service: str) -> AwsClient:
        return _WitnessedClient(self, self._port.client(service))

    def describe(self) -> str:
        return self._port.describe()

    async def close(self) -> None:
        await self._port.close()


class _WitnessedClient:
    def __init__(self, port: WitnessedPort, client: AwsClient) -> None:
        self._port = port
        self._client = client

    async def call(self, operation: str, /, **params: Any) -> dict[str, Any]:
        if operation in ("update_item", "put_item"):
            return await self._write(operation, params)
        if operation == "delete_message_batch":
            await self._look_before_delete(params)
        if operation == "receive_message":
            self._return_expired(params["QueueUrl"])
        answer = await self._client.call(operation, **params)
        if operation == "receive_message":
            for message in answer.get("Messages", ()):
                self._port.bodies[message["ReceiptHandle"]] = message["Body"]
        if operation == "send_message_batch" and "-dlq" in params["QueueUrl"]:
            accepted = {entry["Id"] for entry in answer.get("Successful", ())}
            for entry in params["Entries"]:
                if entry["Id"] in accepted:
                    self._copied(entry["MessageBody"])
        return answer

    async def _write(self, operation: str, params: dict[str, Any]) -> dict[str, Any]:
        key = params.get("Key") or params["Item"]
        look, ledger = self._port.truth.look, self._port.ledger
        before = look(key)
        try:
            return await self._client.call(operation, **params)
        finally:
            after, now = look(key), self._port.clock.time()
            # Of unclaimed attempts the last write wins, by design.
            if after is not None and after.labels.get("level") != "finished" and before != after:
                ledger.changed(operation, before, after, now)
                self._told(before, after, now)

    def _told(self, before: TaskRecord | None, after: TaskRecord, now: float) -> None:
        """What a change of a record says about attempts."""
        ledger = self._port.ledger
        same_run = before is not None and before.run == after.run
        if after.status is State.RUNNING and (before is None or before.owner != after.owner):
            ledger.claims[after.id, after.run] += 1
            if after.attempt != (before.attempt + 1 if before is not None and same_run else 1):
                ledger.breaks("claim counts one attempt", f"{before} -> {after}")
        if before is not None and same_run and after.attempt < before.attempt:
            ledger.releases[after.id, after.run] += 1
        if before is None or before.status is not State.RUNNING:
            return
        if (before.owner != after.owner or after.reason == "crashed") and (before.lease_until or 0) > now - GRACE:
            ledger.breaks("a lease is taken over 5 s after its end, not before", f"{before} -> {after} at {now}")

    def _return_expired(self, url: str) -> None:
        """Let messages whose hold ended be pending no more, all at once.

        moto does so one by one while it receives, and then hands out the last of a FIFO group first.
        """
        for regions in get_backend("sqs").values():
            for region in regions:
                queue = regions[region].queues.get(url.rpartition("/")[2])
                for message in [one for one in queue.pending_messages if one.visible] if queue else ():
                    queue.pending_messages.discard(message)

    def _copied(self, body: str) -> None:
        message = read(body)
        if message is None:
            self._port.ledger.poison_copies[name_of(body)] += 1
        else:
            self._port.ledger.copies.add((message.id, message.run))

    async def _look_before_delete(self, params: dict[str, Any]) -> None:
        if "-dlq" in params["QueueUrl"]:
            return
        for entry in params["Entries"]:
            body = self._port.bodies[entry["ReceiptHandle"]]
            await check_durable(self._port.ledger, self._port.truth, body, self._port.clock.time())
