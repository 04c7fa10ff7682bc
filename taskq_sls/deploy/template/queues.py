"""A queue and its dead-letter queue."""

from __future__ import annotations

from typing import Any

from ...core.queues import Queue, dead_letter_name
from ..provision.queues import LONG_POLL, MAX_RETENTION
from .emitter import Commented
from .intrinsics import NO_VALUE, arn_of, either, queue_id, ref, regional_arn, sub


def queue_resources(queue: Queue) -> dict[str, Any]:
    """The queue and its dead-letter queue."""
    start = queue_id(queue.name)
    return {
        f"{start}Queue": {
            "Type": "AWS::SQS::Queue",
            "Properties": {
                "QueueName": sub(f"${{Prefix}}-{queue.name}"),
                **_fifo(queue),
                "VisibilityTimeout": Commented(_why(queue), queue.queue_visibility),
                "ReceiveMessageWaitTimeSeconds": int(LONG_POLL),
                **retention(),
                **encryption(),
                "RedrivePolicy": {
                    "deadLetterTargetArn": arn_of(f"{start}DeadLetters"),
                    "maxReceiveCount": Commented(
                        "The far net for messages that die before a task is started. Attempts are counted in the "
                        "table; throttles and waiting duplicates spend receives too.",
                        queue.receives_before_redrive,
                    ),
                },
            },
        },
        f"{start}DeadLetters": {
            "Type": "AWS::SQS::Queue",
            "Properties": {
                "QueueName": sub(f"${{Prefix}}-{dead_letter_name(queue.name)}"),
                **_fifo(queue),
                **retention(),
                **encryption(),
                "RedriveAllowPolicy": {
                    "redrivePermission": "byQueue",
                    "sourceQueueArns": Commented(
                        "Spelt out, since the two queues would otherwise wait for each other.",
                        [regional_arn("sqs", f"${{Prefix}}-{queue.name}")],
                    ),
                },
            },
        },
    }


def retention() -> dict[str, Any]:
    """How long messages are kept."""
    return {"MessageRetentionPeriod": Commented("14 days, the most there is.", int(MAX_RETENTION))}


def encryption() -> dict[str, Any]:
    """With the stack's key, else with one that SQS keeps."""
    return {
        "KmsMasterKeyId": either("HasKey", ref("KmsKeyArn"), NO_VALUE),
        "SqsManagedSseEnabled": either("HasKey", NO_VALUE, True),
    }


def _fifo(queue: Queue) -> dict[str, Any]:
    if not queue.fifo:
        return {}
    return {
        "FifoQueue": True,
        "ContentBasedDeduplication": Commented("For schedules, which cannot give a deduplication id.", True),
        "DeduplicationScope": Commented("The two together are the high throughput, counted per group.", "messageGroup"),
        "FifoThroughputLimit": "perMessageGroupId",
    }


def _why(queue: Queue) -> str:
    if queue.function_timeout is None:
        return "The hold of `taskq worker`, which renews it while a task runs; no Lambda function is declared."
    window = f" + {queue.batch_window} (batch window)" if queue.batch_window else ""
    return (
        f"6 x {queue.function_timeout} (timeout of {queue.name}'s function){window}: Lambda retries throttled batches."
    )
