"""The batch calls of SQS, with an answer for each entry, and the URLs of its queues."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ..aws.port import FAULT_CODES, QUEUE_DOES_NOT_EXIST, TRANSIENT_CODES, AwsClient, plain_code
from ..core.backoff import Backoff
from ..core.clock import Clock
from ..core.flow import Flow
from ..core.settings import Settings
from ..errors import AwsError, MissingResource
from .base import Answer, EntryError

TRIES = 4
"""Calls for one entry while its fault is transient."""

FIRST_BACKOFF_SECONDS = 0.2
"""The wait before the second try; it doubles with each."""


class Batch(NamedTuple):
    """Entries of one call, without their Ids. `indexes` are their positions in the caller's list."""

    queue: str
    url: str
    indexes: list[int]
    entries: list[dict[str, Any]]


async def call_batch(client: AwsClient, flow: Flow, operation: str, batch: Batch) -> list[Answer]:
    """Call a batch operation, and repeat it for entries with a transient fault.

    Raises:
        AwsError: the queue does not exist (code ``QueueDoesNotExist``).
    """
    answers: list[Answer] = [None] * len(batch.entries)
    pending = list(range(len(batch.entries)))
    backoff = Backoff(FIRST_BACKOFF_SECONDS)
    for number in range(1, TRIES + 1):
        entries = [{"Id": str(index), **batch.entries[index]} for index in pending]
        faults: dict[int, EntryError]
        try:
            answer = await client.call(operation, QueueUrl=batch.url, Entries=entries)
        except AwsError as error:
            if error.code == QUEUE_DOES_NOT_EXIST:
                raise
            fault = classify(error.code, error.message, error.transient)._replace(ambiguous=error.ambiguous)
            faults = dict.fromkeys(pending, fault)
        else:
            faults = _faults(answer, pending)
        for index in pending:
            answers[index] = _later_answer(answers[index], faults.get(index))
        pending = [index for index, fault in faults.items() if fault.transient]
        if not pending:
            break
        if number < TRIES:
            await flow.sleep(backoff.next())
    return answers


def _later_answer(before: Answer, fault: Answer) -> Answer:
    """The answer after another try. An earlier try may have taken effect, even if this one certainly failed."""
    return fault and fault._replace(ambiguous=fault.ambiguous or (before is not None and before.ambiguous))


def _faults(answer: dict[str, Any], pending: list[int]) -> dict[int, EntryError]:
    """The entries that were not accepted, in order."""
    accepted = {entry["Id"] for entry in answer.get("Successful", ())}
    if len(accepted) == len(pending):
        return {}
    failed = {entry["Id"]: entry for entry in answer.get("Failed", ())}
    faults = {}
    for index in pending:
        id = str(index)
        if id in failed:
            faults[index] = _failed(failed[id])
        elif id not in accepted:
            # A truncated answer is parsed as an empty one.
            faults[index] = EntryError(
                "NoAnswer", "the answer does not name this entry", transient=True, ambiguous=True
            )
    return faults


def _failed(entry: dict[str, Any]) -> EntryError:
    code = plain_code(entry.get("Code", "Unknown"))
    transient = not entry.get("SenderFault", False) or code in TRANSIENT_CODES
    fault = classify(code, entry.get("Message", ""), transient)
    return fault._replace(ambiguous=transient and code in FAULT_CODES)


def classify(code: str, message: str, transient: bool) -> EntryError:
    """The fault of an entry. A refused receipt or visibility timeout is never transient, even as a fault of SQS."""
    expired = code in ("ReceiptHandleIsInvalid", "MessageNotInflight")
    over_12_hours = False
    # SQS has one code for all parameters; its text names the parameter.
    if code == "InvalidParameterValue":
        expired = "ReceiptHandle" in message
        over_12_hours = "VisibilityTimeout" in message and ("beyond the limit" in message or "time left" in message)
    return EntryError(
        code=code,
        message=message,
        transient=transient and not expired and not over_12_hours,
        receipt_expired=expired,
        over_12_hours=over_12_hours,
    )


def refused_as_expired(answer: EntryError) -> bool:
    """True if a delete was refused because the message's visibility timeout had ended (FIFO queues)."""
    return answer.code == "InvalidParameterValue" and "expired" in answer.message.lower()


MISSING_DLQ_SECONDS = 60.0
"""A dead-letter queue that was not found is looked up again after so long."""


class QueueUrls:
    """URLs of queues by logical name, from the settings or looked up once."""

    def __init__(self, client: AwsClient, settings: Settings, clock: Clock, describe: Callable[[], str]) -> None:
        self._client = client
        self._settings = settings
        self._clock = clock
        self._describe = describe
        self._urls = dict(settings.queue_urls)
        self._absent_until: dict[str, float] = {}

    async def url(self, queue: str) -> str:
        """The URL of a queue.

        Raises:
            MissingResource: the queue does not exist, or the credentials do not allow GetQueueUrl.
        """
        url = self._urls.get(queue)
        if url is None:
            url = await self._find(queue)
            if url is None:
                raise self.missing(queue)
            self._urls[queue] = url
        return url

    async def dead_letter_url(self, queue: str) -> str | None:
        """The URL of a queue's dead-letter queue, or None; a missing one is looked up again after a minute."""
        name = self._settings.dead_letter_queue(queue)
        url = self._urls.get(name)
        if url is None and self._absent_until.get(name, 0.0) <= self._clock.time():
            url = await self._find(name)
            if url is None:
                self._absent_until[name] = self._clock.time() + MISSING_DLQ_SECONDS
            else:
                self._urls[name] = url
        return url

    def missing(self, queue: str) -> MissingResource:
        """The error for a missing queue. Its URL is forgotten, so that a new queue of that name is found."""
        url = self._urls.get(queue)
        if queue not in self._settings.queue_urls:
            self._urls.pop(queue, None)
        where = f"{self._physical_name(queue)!r}" if url is None else url
        return MissingResource(
            f"queue {queue!r} ({where}) does not exist, or these credentials may not see it: {self._describe()}; "
            f"create it with `taskq provision MODULE:APP`, or name it in TASKQ_QUEUE_URLS"
        )

    def _physical_name(self, queue: str) -> str:
        return queue.rpartition(":")[2] if queue.startswith("arn:") else self._settings.queue_name(queue)

    async def _find(self, queue: str) -> str | None:
        names = [self._physical_name(queue)]
        # A delivery of a queue that the app does not declare carries the physical name.
        if queue.startswith(f"{self._settings.prefix}-"):
            names.append(queue)
        for name in names:
            try:
                answer = await self._client.call("get_queue_url", QueueName=name)
            except AwsError as error:
                if error.code != QUEUE_DOES_NOT_EXIST:
                    raise
            else:
                return str(answer["QueueUrl"])
        return None
