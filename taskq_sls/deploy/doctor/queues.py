"""Compares queues and dead-letter queues with the app's declaration."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ...aws.port import AwsClient
from ...brokers.base import MAX_BODY_BYTES
from ...core.queues import Queue
from ...core.settings import Settings
from ...errors import AwsError, TaskQError
from .finding import Finding, denied, fail, ok, warn

RETENTION = 1_209_600
"""Seconds that queues should keep messages: the 14 days that SQS allows at most."""

PROVISION = "run `taskq provision MODULE:APP`, or correct the template"

# Each can have no effect: a batch without entries, and a receive of no messages.
_PROBES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("sqs:SendMessage", "send_message_batch", {"Entries": []}),
    ("sqs:ReceiveMessage", "receive_message", {"MaxNumberOfMessages": 0}),
    ("sqs:DeleteMessage", "delete_message_batch", {"Entries": []}),
    ("sqs:ChangeMessageVisibility", "change_message_visibility_batch", {"Entries": []}),
)


async def check_queues(sqs: AwsClient, settings: Settings, queues: Sequence[Queue]) -> list[Finding]:
    """One line per queue that is fine; one per fault of those that are not."""
    findings: list[Finding] = []
    for queue in queues:
        try:
            findings += await _check(sqs, settings, queue)
        except TaskQError as error:
            findings.append(fail(f"queue {queue.name}", str(error), "see the message"))
    return findings


async def _check(sqs: AwsClient, settings: Settings, queue: Queue) -> list[Finding]:
    subject = f"queue {queue.name}"
    try:
        url = await find_url(sqs, settings, queue.name)
        if url is None:
            where = settings.queue_urls.get(queue.name, settings.queue_name(queue.name))
            return [
                fail(
                    subject,
                    f"{where!r} does not exist",
                    f"{PROVISION}, or name it in TASKQ_QUEUE_URLS; is it the right region and account?",
                )
            ]
        attributes = await queue_attributes(sqs, url)
    except AwsError as error:
        if not denied(error):
            raise
        return [
            warn(subject, f"cannot be looked at: {error.code}", _allow("sqs:GetQueueUrl and sqs:GetQueueAttributes"))
        ]
    if attributes is None:
        return [fail(subject, f"{url} does not exist", f"{PROVISION}, or correct TASKQ_QUEUE_URLS")]
    faults = [
        *_check_visibility(subject, queue, attributes),
        *_check_retention(subject, attributes),
        *_check_deduplication(subject, settings, queue, attributes),
        *_check_sending(subject, attributes),
        *await _check_dead_letters(sqs, settings, queue, attributes),
        *await _check_permissions(sqs, subject, url),
    ]
    return faults or [ok(subject, url)]


def _check_visibility(subject: str, queue: Queue, attributes: dict[str, str]) -> list[Finding]:
    found = int(attributes.get("VisibilityTimeout", queue.queue_visibility))
    if found == queue.queue_visibility:
        return []
    detail = f"visibility timeout is {found} s, declared are {queue.queue_visibility} s"
    if queue.function_timeout is not None and found < queue.function_timeout:
        return [fail(subject, f"{detail}; Lambda refuses one below the function's timeout", PROVISION)]
    return [warn(subject, detail, PROVISION)]


def _check_retention(subject: str, attributes: dict[str, str]) -> list[Finding]:
    found = int(attributes.get("MessageRetentionPeriod", RETENTION))
    if found >= RETENTION:
        return []
    return [warn(subject, f"keeps messages for {found} s, not the {RETENTION} s of 14 days", PROVISION)]


def _check_deduplication(subject: str, settings: Settings, queue: Queue, attributes: dict[str, str]) -> list[Finding]:
    if settings.schedule_group is None or not queue.fifo or attributes.get("ContentBasedDeduplication") == "true":
        return []
    # A schedule cannot give a deduplication id, without which SQS refuses its messages.
    return [fail(subject, "lacks ContentBasedDeduplication: no schedule can send to it", PROVISION)]


def _check_sending(subject: str, attributes: dict[str, str]) -> list[Finding]:
    findings = []
    size = int(attributes.get("MaximumMessageSize", MAX_BODY_BYTES))
    if size < MAX_BODY_BYTES:
        detail = f"refuses messages above {size:,} bytes, of the {MAX_BODY_BYTES:,} that SQS allows and tasks may take"
        findings.append(warn(subject, detail, f"set its MaximumMessageSize to {MAX_BODY_BYTES}"))
    if (delay := int(attributes.get("DelaySeconds", 0))) > 0:
        findings.append(warn(subject, f"delays every message by {delay} s, retries aside", "set its DelaySeconds to 0"))
    return findings


async def _check_dead_letters(
    sqs: AwsClient, settings: Settings, queue: Queue, attributes: dict[str, str]
) -> list[Finding]:
    subject = f"queue {queue.name}"
    logical = settings.dead_letter_queue(queue.name)
    findings = []
    policy = json.loads(attributes.get("RedrivePolicy") or "{}")
    if not policy:
        findings.append(
            warn(subject, "has no redrive policy: messages that kill their consumers come back for 14 days", PROVISION)
        )
    elif str(policy.get("maxReceiveCount")) != str(queue.receives_before_redrive):
        detail = (
            f"is redriven after {policy.get('maxReceiveCount')} receives, declared are {queue.receives_before_redrive}"
        )
        findings.append(warn(subject, detail, PROVISION))
    url = await find_url(sqs, settings, logical)
    dead_letters = None if url is None else await queue_attributes(sqs, url)
    if dead_letters is None:
        name = settings.queue_urls.get(logical, settings.queue_name(logical))
        detail = f"its dead-letter queue {name!r} does not exist: what fails for good is kept in the table only"
        return [*findings, warn(subject, detail, PROVISION)]
    target = policy.get("deadLetterTargetArn")
    if target is not None and target != dead_letters.get("QueueArn", target):
        findings.append(warn(subject, f"is redriven to {target}, not to {dead_letters['QueueArn']}", PROVISION))
    return [*findings, *_check_retention(f"queue {logical}", dead_letters)]


async def _check_permissions(sqs: AwsClient, subject: str, url: str) -> list[Finding]:
    findings = []
    for action, operation, parameters in _PROBES:
        try:
            await sqs.call(operation, QueueUrl=url, **parameters)
        except AwsError as error:
            if denied(error):
                findings.append(fail(subject, f"{action} is not allowed: {error.code}", _allow(action)))
    return findings


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


def _allow(actions: str) -> str:
    return f"allow {actions} in the policy of these credentials"
