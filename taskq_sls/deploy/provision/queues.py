"""Queues and dead-letter queues as they should be, and the calls that make them so."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from ...aws.port import AwsClient
from ...core.queues import SCHEDULES_DEAD_LETTERS, Queue
from ...core.settings import Settings
from ...errors import AwsError, ConfigError
from .provisioned import Provisioned, is_refused, unless_refused

MAX_NAME = 80
"""Longest name of an SQS queue, ``.fifo`` included (SQS API reference, CreateQueue)."""

MAX_RETENTION = "1209600"
"""The 14 days that SQS keeps a message at most, in seconds."""

LONG_POLL = "20"
"""Seconds a receive waits for a first message: the most SQS allows, and the cheapest when idle."""

FIFO_ATTRIBUTES = {
    "FifoQueue": "true",
    # For schedules, which cannot give a deduplication id.
    "ContentBasedDeduplication": "true",
    # Together: high throughput, counted per group (SQS developer guide).
    "DeduplicationScope": "messageGroup",
    "FifoThroughputLimit": "perMessageGroupId",
}


OPTIONAL = ("SqsManagedSseEnabled", "DeduplicationScope", "FifoThroughputLimit")
"""Attributes without which a queue works; in this order, since the last needs the one before."""


class QueuePlan(NamedTuple):
    """One queue as it should be.

    Args:
        name: physical name.
        attributes: SQS queue attributes.
        dead_letters: physical name of its dead-letter queue.
        receives: receives before SQS moves a message there.
    """

    name: str
    attributes: dict[str, str]
    dead_letters: str | None = None
    receives: int = 0

    def redriving_to(self, arn: str) -> QueuePlan:
        """The plan with the redrive policy that needs the dead-letter queue's ARN."""
        policy = {"deadLetterTargetArn": arn, "maxReceiveCount": self.receives}
        return self._replace(attributes={**self.attributes, "RedrivePolicy": json.dumps(policy)})


def plan_queues(settings: Settings, queues: Sequence[Queue]) -> list[QueuePlan]:
    """All queues of an app, dead-letter queues before those that need them.

    Raises:
        ConfigError: a physical name is longer than SQS allows.
    """
    plans = [QueuePlan(settings.queue_name(SCHEDULES_DEAD_LETTERS), _attributes(fifo=False))]
    for queue in queues:
        dead_letters = settings.queue_name(settings.dead_letter_queue(queue.name))
        own = {
            **_attributes(fifo=queue.fifo),
            "VisibilityTimeout": str(queue.queue_visibility),
            "ReceiveMessageWaitTimeSeconds": LONG_POLL,
        }
        plans += [
            QueuePlan(dead_letters, _attributes(fifo=queue.fifo)),
            QueuePlan(settings.queue_name(queue.name), own, dead_letters, queue.receives_before_redrive),
        ]
    for plan in plans:
        if len(plan.name) > MAX_NAME:
            raise ConfigError(
                f"the queue name {plan.name!r} has {len(plan.name)} characters; SQS allows {MAX_NAME}. "
                f"Shorten the prefix {settings.prefix!r} (TASKQ_PREFIX) or the queue's name"
            )
    return plans


def _attributes(*, fifo: bool) -> dict[str, str]:
    shared = {"MessageRetentionPeriod": MAX_RETENTION, "SqsManagedSseEnabled": "true"}
    return shared | FIFO_ATTRIBUTES if fifo else shared


async def provision_queue(sqs: AwsClient, plan: QueuePlan) -> tuple[Provisioned, str]:
    """Create the queue, or correct attributes that differ; returns its ARN too."""
    url = await _find(sqs, plan.name)
    created = False
    if url is None:
        url, created = await _create(sqs, plan)
    found = (await sqs.call("get_queue_attributes", QueueUrl=url, AttributeNames=["All"]))["Attributes"]
    arn: str = found["QueueArn"]
    changes = {name: value for name, value in plan.attributes.items() if _differs(name, value, found)}
    missing = await _set(sqs, url, changes) if changes else {}
    made = Provisioned("queue", plan.name, "exists", url, tuple(missing.values()))
    if created:
        return made._replace(action="created"), arn
    if changed := {name: value for name, value in changes.items() if name not in missing}:
        detail = ", ".join(f"{name} {found.get(name, 'unset')} -> {value}" for name, value in changed.items())
        return made._replace(action="updated", detail=detail), arn
    return made, arn


async def _set(sqs: AwsClient, url: str, changes: dict[str, str]) -> dict[str, str]:
    """Set attributes; of the optional ones, those that the endpoint refuses, with the reason."""
    try:
        await sqs.call("set_queue_attributes", QueueUrl=url, Attributes=changes)
        return {}
    except AwsError as error:
        if not is_refused(error) or not any(name in changes for name in OPTIONAL):
            raise
    if needed := _needed(changes):
        await sqs.call("set_queue_attributes", QueueUrl=url, Attributes=needed)
    missing: dict[str, str] = {}
    for name in OPTIONAL:
        if name in changes:
            reasons: list[str] = []
            step = sqs.call("set_queue_attributes", QueueUrl=url, Attributes={name: changes[name]})
            await unless_refused(reasons, name, step)
            missing.update((name, reason) for reason in reasons)
    return missing


def _needed(attributes: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in attributes.items() if name not in OPTIONAL}


async def _find(sqs: AwsClient, name: str) -> str | None:
    try:
        url: str = (await sqs.call("get_queue_url", QueueName=name))["QueueUrl"]
    except AwsError as error:
        if error.code == "QueueDoesNotExist":
            return None
        raise
    return url


async def _create(sqs: AwsClient, plan: QueuePlan) -> tuple[str, bool]:
    try:
        answer = await sqs.call("create_queue", QueueName=plan.name, Attributes=plan.attributes)
    except AwsError as error:
        # Another process has created it meanwhile, with other attributes.
        if error.code in ("QueueNameExists", "QueueAlreadyExists") and (found := await _find(sqs, plan.name)):
            return found, False
        if not is_refused(error):
            raise
        # The endpoint may lack an optional attribute: they are tried again one by one.
        answer = await sqs.call("create_queue", QueueName=plan.name, Attributes=_needed(plan.attributes))
    return answer["QueueUrl"], True


def _differs(name: str, wanted: str, found: dict[str, str]) -> bool:
    value = found.get(name)
    if name == "SqsManagedSseEnabled" and found.get("KmsMasterKeyId"):
        # Encrypted with a key of its owner's choice, which this attribute would replace.
        return False
    if name == "RedrivePolicy":
        return value is None or _policy(value) != _policy(wanted)
    return value is None or value.lower() != wanted.lower()


def _policy(text: str) -> dict[str, Any]:
    # SQS answers the count as a number or as text, as it was given.
    return {name: str(value) for name, value in json.loads(text).items()}
