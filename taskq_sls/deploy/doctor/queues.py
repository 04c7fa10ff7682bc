"""Compares queues and dead-letter queues with the app's declaration."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from ...aws.port import AwsClient
from ...brokers.base import MAX_BODY_BYTES
from ...core.queues import Queue
from ...core.settings import Settings
from ...errors import AwsError, TaskQError
from ..provision.queues import MAX_RETENTION
from .finding import PROVISION, Finding, Probe, check_permissions, denied, fail, ok, unreadable, warn

READ_ATTRIBUTES = "sqs:GetQueueUrl and sqs:GetQueueAttributes"


async def check_queues(sqs: AwsClient, settings: Settings, queues: Sequence[Queue]) -> list[Finding]:
    """One line per queue that is fine; one per fault of those that are not."""
    findings: list[Finding] = []
    for queue in queues:
        try:
            findings += await _check(sqs, settings, queue)
        except TaskQError as error:
            findings.append(fail(f"queue {queue.name}", str(error)))
    return findings


async def _check(sqs: AwsClient, settings: Settings, queue: Queue) -> list[Finding]:
    subject = f"queue {queue.name}"
    try:
        url = await find_url(sqs, settings, queue.name)
        attributes = None if url is None else await queue_attributes(sqs, url)
    except AwsError as error:
        if not denied(error):
            raise
        return [unreadable(subject, "", error, READ_ATTRIBUTES)]
    if url is None or attributes is None:
        fix = f"{PROVISION}, or set its URL in TASKQ_QUEUE_URLS; is it the right region and account?"
        return [fail(subject, f"{url or settings.queue_name(queue.name)!r} does not exist", fix)]
    faults = [
        *_check_attributes(subject, settings, queue, attributes),
        *await _check_dead_letters(sqs, settings, queue, attributes),
        *await check_permissions(sqs, subject, _probes(url)),
    ]
    return faults or [ok(subject, url)]


def _probes(url: str) -> list[Probe]:
    """Calls without effect: batches without entries, and a receive of no messages."""
    queue = {"QueueUrl": url}
    return [
        ("sqs:SendMessage", "send_message_batch", {**queue, "Entries": []}),
        ("sqs:ReceiveMessage", "receive_message", {**queue, "MaxNumberOfMessages": 0}),
        ("sqs:DeleteMessage", "delete_message_batch", {**queue, "Entries": []}),
        ("sqs:ChangeMessageVisibility", "change_message_visibility_batch", {**queue, "Entries": []}),
    ]


def _check_attributes(subject: str, settings: Settings, queue: Queue, attributes: dict[str, str]) -> Iterator[Finding]:
    visibility = int(attributes.get("VisibilityTimeout", queue.queue_visibility))
    if visibility != queue.queue_visibility:
        detail = f"visibility timeout is {visibility} s, declared are {queue.queue_visibility} s"
        if queue.function_timeout is not None and visibility < queue.function_timeout:
            yield fail(subject, f"{detail}; Lambda refuses one below the function's timeout", PROVISION)
        else:
            yield warn(subject, detail, PROVISION)
    yield from _check_retention(subject, attributes)
    if settings.schedule_group and queue.fifo and attributes.get("ContentBasedDeduplication") != "true":
        # A schedule cannot give a deduplication id, without which SQS refuses its messages.
        yield fail(subject, "lacks ContentBasedDeduplication: no schedule can send to it", PROVISION)
    size = int(attributes.get("MaximumMessageSize", MAX_BODY_BYTES))
    if size < MAX_BODY_BYTES:
        detail = f"refuses messages above {size:,} bytes, of the {MAX_BODY_BYTES:,} that SQS allows and tasks may take"
        yield warn(subject, detail, f"set its MaximumMessageSize to {MAX_BODY_BYTES}")
    if (delay := int(attributes.get("DelaySeconds", 0))) > 0:
        yield warn(subject, f"delays every message by {delay} s, retries aside", "set its DelaySeconds to 0")


def _check_retention(subject: str, attributes: dict[str, str]) -> Iterator[Finding]:
    found = int(attributes.get("MessageRetentionPeriod", MAX_RETENTION))
    if found < int(MAX_RETENTION):
        yield warn(subject, f"keeps messages for {found} s, not the {MAX_RETENTION} s of 14 days", PROVISION)


async def _check_dead_letters(
    sqs: AwsClient, settings: Settings, queue: Queue, attributes: dict[str, str]
) -> list[Finding]:
    subject = f"queue {queue.name}"
    logical = settings.dead_letter_queue(queue.name)
    findings = []
    policy = json.loads(attributes.get("RedrivePolicy") or "{}")
    count, declared = policy.get("maxReceiveCount"), queue.receives_before_redrive
    if not policy:
        detail = "has no redrive policy: messages that kill their consumers come back for 14 days"
        findings.append(warn(subject, detail, PROVISION))
    elif str(count) != str(declared):
        findings.append(warn(subject, f"is redriven after {count} receives, declared are {declared}", PROVISION))
    url = await find_url(sqs, settings, logical)
    dead_letters = None if url is None else await queue_attributes(sqs, url)
    if dead_letters is None:
        name = url or settings.queue_name(logical)
        detail = f"its dead-letter queue {name!r} does not exist: failed tasks are kept in the table only"
        return [*findings, warn(subject, detail, PROVISION)]
    target = policy.get("deadLetterTargetArn")
    if target is not None and target != dead_letters.get("QueueArn", target):
        findings.append(warn(subject, f"is redriven to {target}, not to {dead_letters['QueueArn']}", PROVISION))
    return [*findings, *_check_retention(f"queue {logical}", dead_letters)]


async def find_url(sqs: AwsClient, settings: Settings, queue: str) -> str | None:
    """The URL of a logical queue, or None if there is no such queue."""
    if queue in settings.queue_urls:
        return settings.queue_urls[queue]
    try:
        return str((await sqs.call("get_queue_url", QueueName=settings.queue_name(queue)))["QueueUrl"])
    except AwsError as error:
        if error.code == "QueueDoesNotExist":
            return None
        raise


async def queue_attributes(sqs: AwsClient, url: str) -> dict[str, str] | None:
    """All attributes of a queue, or None if there is no such queue."""
    try:
        answer = await sqs.call("get_queue_attributes", QueueUrl=url, AttributeNames=["All"])
    except AwsError as error:
        if error.code == "QueueDoesNotExist":
            return None
        raise
    attributes: dict[str, str] = answer.get("Attributes", {})
    return attributes
