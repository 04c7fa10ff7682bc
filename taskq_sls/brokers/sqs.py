"""The broker on Amazon SQS, standard and FIFO."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence
from typing import Any

from ..aws.port import QUEUE_DOES_NOT_EXIST, AwsClient
from ..core.clock import Clock
from ..core.coalescing import RequestBatcher
from ..core.delivery import DeadLetter, Delivery
from ..core.flow import Flow
from ..core.settings import Settings
from ..errors import AwsError, ConfigError, MissingResource
from .base import MAX_BATCH, MAX_VISIBILITY, Answer, Broker, EntryError, Outgoing, QueueDepth
from .dead_letters import DeadLetterCopy, dead_letter_copy
from .received import SYSTEM_ATTRIBUTES, delivery_from_receive
from .sqs_calls import Batch, QueueUrls, call_batch, refused_as_expired
from .sqs_limits import BEYOND_LIMIT, pack, sizes, validate

MAX_PARALLEL_CALLS = 8
"""Batch calls of one operation at once."""

SizedEntry = tuple[int, int, dict[str, Any]]
"""Position in the caller's list, bytes, and the entry without its Id."""

Sequential = list[Batch]
"""Batches to send one after the other."""


class SqsBroker(Broker):
    """Queues in SQS.

    Args:
        client: the ``sqs`` client of a port.
        flow: the port's flow.
        settings: names and URLs of the queues.
        clock: gives the time of dead-letter copies, and of the last lookup of a missing dead-letter queue.
        describe: returns endpoint and region in words, for error messages.
    """

    def __init__(
        self, client: AwsClient, flow: Flow, settings: Settings, clock: Clock, describe: Callable[[], str]
    ) -> None:
        self._client = client
        self._flow = flow
        self._clock = clock
        self._urls = QueueUrls(client, settings, clock, describe)
        self._settings = settings
        self._arns: dict[str, str] = {}

    async def send(self, messages: Sequence[Outgoing]) -> list[Answer]:
        answers: list[Answer] = [None] * len(messages)
        queues: dict[str, list[SizedEntry]] = {}
        message_sizes = sizes(messages)
        # All queues are looked up before anything is sent, so that a missing queue leaves nothing half done.
        urls = {queue: await self._urls.url(queue) for queue in {message.queue: None for message in messages}}
        for index, message in enumerate(messages):
            fifo = urls[message.queue].endswith(".fifo")
            answer = validate(message, fifo)
            if answer is not None:
                answers[index] = answer
            else:
                item = (index, message_sizes[index], _send_entry(message, fifo))
                queues.setdefault(message.queue, []).append(item)
        sequences = [batches for queue, items in queues.items() for batches in _batches(queue, urls[queue], items)]
        await self._call_batches("send_message_batch", sequences, answers)
        return answers

    async def receive(self, queue: str, *, max_messages: int, wait: int, visibility: int) -> list[Delivery]:
        answer = await self._call(
            queue,
            "receive_message",
            MaxNumberOfMessages=max_messages,
            WaitTimeSeconds=wait,
            VisibilityTimeout=visibility,
            MessageSystemAttributeNames=SYSTEM_ATTRIBUTES,
            MessageAttributeNames=["All"],
        )
        return [delivery_from_receive(entry, queue) for entry in answer.get("Messages", ())]

    async def ack(self, deliveries: Sequence[Delivery]) -> list[Answer]:
        entries = [{"ReceiptHandle": delivery.receipt} for delivery in deliveries]
        answers = await self._settle("delete_message_batch", deliveries, entries)
        # SQS deletes a FIFO message only during its visibility timeout. After it the message is redelivered and recognised by
        # its record; this receipt is of no more use.
        return [None if answer is not None and refused_as_expired(answer) else answer for answer in answers]

    async def change_visibility(self, entries: Sequence[tuple[Delivery, int]]) -> list[Answer]:
        allowed = [index for index, (_, seconds) in enumerate(entries) if seconds <= MAX_VISIBILITY]
        answers: list[Answer] = [BEYOND_LIMIT] * len(entries)
        found = await self._change_visibility([entries[index] for index in allowed])
        for index, answer in zip(allowed, found, strict=True):
            answers[index] = answer
        return answers

    async def dead_letter(self, entries: Sequence[tuple[Delivery, DeadLetter]]) -> list[Answer]:
        answers: list[Answer] = [None] * len(entries)
        queues: dict[str, list[SizedEntry]] = {}
        now = self._clock.time()
        for index, (delivery, reason) in enumerate(entries):
            url = await self._urls.dead_letter_url(delivery.queue)
            copy = dead_letter_copy(delivery, reason, now)
            if url is None:
                answers[index] = self._no_dead_letter_queue(delivery.queue)
            elif isinstance(copy, EntryError):
                answers[index] = copy
            else:
                item = (index, copy.size, _copy_entry(copy, delivery.queue, url.endswith(".fifo")))
                queues.setdefault(delivery.queue, []).append(item)
        sequences: list[Sequential] = []
        for queue, items in queues.items():
            name = self._settings.dead_letter_queue(queue)
            sequences += _batches(name, await self._urls.url(name), items)
        # A queue that was deleted since is reported by entry, like one that never existed.
        with contextlib.suppress(MissingResource):
            await self._call_batches("send_message_batch", sequences, answers)
        for index, answer in enumerate(answers):
            if answer is not None and answer.code == MissingResource.__name__:
                answers[index] = self._no_dead_letter_queue(entries[index][0].queue)
        return answers

    async def depth(self, queue: str) -> QueueDepth:
        names = [
            "ApproximateNumberOfMessages",
            "ApproximateNumberOfMessagesNotVisible",
            "ApproximateNumberOfMessagesDelayed",
        ]
        attributes = await self._attributes(queue, names)
        return QueueDepth(*(int(attributes.get(name, 0)) for name in names))

    async def has_dead_letter_queue(self, queue: str) -> bool:
        return await self._urls.dead_letter_url(queue) is not None

    async def queue_arn(self, queue: str) -> str:
        arn = self._arns.get(queue)
        if arn is None:
            attributes = await self._attributes(queue, ["QueueArn"])
            arn = self._arns[queue] = attributes["QueueArn"]
        return arn

    async def _attributes(self, queue: str, names: list[str]) -> dict[str, str]:
        answer = await self._call(queue, "get_queue_attributes", AttributeNames=names)
        attributes: dict[str, str] = answer.get("Attributes", {})
        return attributes

    async def _call(self, queue: str, operation: str, **parameters: Any) -> dict[str, Any]:
        try:
            return await self._client.call(operation, QueueUrl=await self._urls.url(queue), **parameters)
        except AwsError as error:
            raise self._urls.missing(queue) if error.code == QUEUE_DOES_NOT_EXIST else error from error

    async def _change_visibility(self, entries: Sequence[tuple[Delivery, int]]) -> list[Answer]:
        deliveries = [delivery for delivery, _ in entries]
        changes = [{"ReceiptHandle": delivery.receipt, "VisibilityTimeout": seconds} for delivery, seconds in entries]
        answers = await self._settle("change_message_visibility_batch", deliveries, changes)
        beyond = [index for index, answer in enumerate(answers) if answer is not None and answer.over_12_hours]
        if len(beyond) > 1:
            # Some endpoints (moto) refuse the whole batch for one entry, so each is sent alone.
            for index in beyond:
                [answers[index]] = await self._change_visibility([entries[index]])
        return answers

    async def _settle(
        self, operation: str, deliveries: Sequence[Delivery], entries: list[dict[str, Any]]
    ) -> list[Answer]:
        """Call a batch operation on received messages, in any order."""
        queues: dict[str, list[int]] = {}
        for index, delivery in enumerate(deliveries):
            queues.setdefault(delivery.queue, []).append(index)
        sequences: list[Sequential] = []
        for queue, indexes in queues.items():
            url = await self._urls.url(queue)
            for start in range(0, len(indexes), MAX_BATCH):
                part = indexes[start : start + MAX_BATCH]
                sequences.append([Batch(queue, url, part, [entries[index] for index in part])])
        answers: list[Answer] = [None] * len(deliveries)
        await self._call_batches(operation, sequences, answers)
        return answers

    async def _call_batches(self, operation: str, sequences: list[Sequential], answers: list[Answer]) -> None:
        """Run the sequences in parallel and fill in the answers.

        A fault of a whole call is raised only if no entry was accepted. Else it is the answer of its entries, so that the
        caller learns which others were accepted.
        """
        if len(sequences) == 1 and len(sequences[0]) == 1:  # the usual case
            [[batch]] = sequences
            try:
                found = await call_batch(self._client, self._flow, operation, batch)
            except (AwsError, ConfigError) as error:
                raise self._failed(batch, error, answers) from error
            for index, answer in zip(batch.indexes, found, strict=True):
                answers[index] = answer
            return
        faults: list[ConfigError] = []

        async def run(batches: Sequential) -> None:
            for batch in batches:
                try:
                    found = await call_batch(self._client, self._flow, operation, batch)
                except (AwsError, ConfigError) as error:
                    faults.append(self._failed(batch, error, answers))
                    continue
                for index, answer in zip(batch.indexes, found, strict=True):
                    answers[index] = answer

        await self._flow.map(run, sequences, MAX_PARALLEL_CALLS)
        accepted = (answers[index] is None for batches in sequences for batch in batches for index in batch.indexes)
        if faults and not any(accepted):
            raise faults[0]

    def _failed(self, batch: Batch, error: AwsError | ConfigError, answers: list[Answer]) -> ConfigError:
        """Make a fault the answer of all entries of its batch. Returns the error to raise."""
        if isinstance(error, ConfigError):
            fault = error
        else:
            fault = self._urls.missing(batch.queue)
            fault.__cause__ = error
        for index in batch.indexes:
            answers[index] = EntryError(type(fault).__name__, str(fault))
        return fault

    def _no_dead_letter_queue(self, queue: str) -> EntryError:
        name = self._settings.queue_name(self._settings.dead_letter_queue(queue))
        return EntryError("NoDeadLetterQueue", f"queue {queue!r} has no dead-letter queue {name!r}")


def _batches(queue: str, url: str, items: list[SizedEntry]) -> list[Sequential]:
    """The batches of one queue: sequential on FIFO, to keep the order, else parallel."""
    batches = []
    for part in pack([size for _, size, _ in items]):
        packed = [items[position] for position in part]
        batches.append(Batch(queue, url, [index for index, _, _ in packed], [entry for _, _, entry in packed]))
    return [batches] if url.endswith(".fifo") else [[batch] for batch in batches]


def _send_entry(message: Outgoing, fifo: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {"MessageBody": message.body}
    if message.attributes:
        entry["MessageAttributes"] = {
            name: {"DataType": "String", "StringValue": value} for name, value in message.attributes.items()
        }
    if message.group is not None:
        entry["MessageGroupId"] = message.group
    if fifo:
        # FIFO queues refuse a delay of a single message.
        if message.dedup is not None:
            entry["MessageDeduplicationId"] = message.dedup
    elif message.delay:
        entry["DelaySeconds"] = message.delay
    return entry


def _copy_entry(copy: DeadLetterCopy, queue: str, fifo: bool) -> dict[str, Any]:
    group = copy.group_in(fifo)
    message = Outgoing(queue, copy.body, "", group=group, dedup=copy.dedup, attributes=copy.attributes)
    return _send_entry(message, fifo)


MAX_REQUESTS = 8
"""Requests to one standard queue at once; a FIFO queue gets one, which keeps the order of the callers."""


class CoalescingSqsBroker(SqsBroker):
    """The broker on SQS for one event loop: messages sent at the same time share batches."""

    async def send(self, messages: Sequence[Outgoing]) -> list[Answer]:
        if len(messages) != 1:
            return await super().send(messages)
        queue = messages[0].queue
        batcher = self._batchers.get(queue)
        if batcher is None:
            batcher = self._batchers[queue] = RequestBatcher(
                super().send, MAX_BATCH, 1 if queue.endswith(".fifo") else MAX_REQUESTS
            )
        return [await batcher.send(messages[0])]

    @functools.cached_property
    def _batchers(self) -> dict[str, RequestBatcher[Outgoing, Answer]]:
        return {}
