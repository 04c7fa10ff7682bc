"""One SQS batch call, with an answer for each of its entries."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..aws.codes import FAULT_CODES, QUEUE_DOES_NOT_EXIST, TRANSIENT_CODES, plain_code
from ..aws.port import AwsClient
from ..core.backoff import Backoff
from ..core.flow import Flow
from ..errors import AwsError
from .base import Answer, EntryError

TRIES = 4
"""Calls for one entry: the first, and three more while its fault is transient."""

FIRST_BACKOFF_SECONDS = 0.2
"""The wait before the second try; it doubles with each."""


class Batch(NamedTuple):
    """Entries for one call, without their Ids. `indexes` are their positions in the caller's list."""

    queue: str
    url: str
    indexes: list[int]
    entries: list[dict[str, Any]]


async def call_batch(client: AwsClient, flow: Flow, operation: str, batch: Batch) -> list[Answer]:
    """Call a batch operation; repeat the entries whose fault is transient.

    Raises:
        AwsError: the queue does not exist (code ``QueueDoesNotExist``).
    """
    answers: list[Answer] = [None] * len(batch.entries)
    pending = list(range(len(batch.entries)))
    ambiguous: set[int] = set()
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
        # A fault that is certain does not undo what an earlier try may have done.
        ambiguous |= {index for index, fault in faults.items() if fault.ambiguous}
        for index in pending:
            answer_of = faults.get(index)
            answers[index] = answer_of and answer_of._replace(ambiguous=index in ambiguous)
        pending = [index for index, fault in faults.items() if fault.transient]
        if not pending:
            break
        if number < TRIES:
            await flow.sleep(backoff.next())
    return answers


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
            # An answer that was cut short parses as an empty one.
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
    """The fault of an entry. A receipt or visibility that SQS refuses is not transient, whoever it blames."""
    gone = code in ("ReceiptHandleIsInvalid", "MessageNotInflight")
    over_12_hours = False
    # SQS answers one code for all parameters; its text names the one at fault.
    if code == "InvalidParameterValue":
        gone = "ReceiptHandle" in message
        over_12_hours = "VisibilityTimeout" in message and ("beyond the limit" in message or "time left" in message)
    return EntryError(code, message, transient and not gone and not over_12_hours, gone, over_12_hours)


def refused_as_expired(answer: EntryError) -> bool:
    """Whether a delete was refused because the message's visibility timeout had ended (FIFO queues)."""
    return answer.code == "InvalidParameterValue" and "expired" in answer.message.lower()
