"""A queue and its dead-letter queue."""

from __future__ import annotations

from typing import Any

from ...core.queues import Queue, dead_letter_name
from ..provision.queues import LONG_POLL, MAX_RETENTION
from .emitter import Commented
from .intrinsics import NO_VALUE, arn_of, either, filled, queue_id, ref, regional_arn, sub
from .parameters import log_group
from .plan import Plan
from .policies import bury, consume, document, role, write_logs


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


DECLARED = "declared"
"""Name of the policy with a queue's ``function_policy``."""


def worker_resources(plan: Plan, queue: Queue) -> dict[str, Any]:
    """The function of a queue, with its role and log group."""
    start = queue_id(queue.name)
    return {
        f"{start}Worker": {
            "Type": "AWS::Serverless::Function",
            "DependsOn": "TaskPolicy",
            **build(plan),
            "Properties": {
                "Description": sub(f"Runs the tasks of queue ${{Prefix}}-{queue.name}"),
                "Handler": plan.options.handler,
                "Timeout": queue.function_timeout,
                **({} if queue.function_memory is None else {"MemorySize": queue.function_memory}),
                "Role": Commented(
                    "Its own, since SAM would attach a managed policy on all queues.", arn_of(f"{start}WorkerRole")
                ),
                "LoggingConfig": {"LogGroup": ref(f"{start}WorkerLogs")},
                **_environment(queue),
                "Events": {"Messages": {"Type": "SQS", "Properties": _mapping(queue)}},
            },
        },
        f"{start}WorkerRole": role(
            "lambda.amazonaws.com",
            None,
            {
                "PolicyName": "worker",
                "PolicyDocument": document(consume(queue.name), bury(queue.name), write_logs(f"{start}WorkerLogs")),
            },
            *_declared(queue),
        ),
        f"{start}WorkerLogs": log_group(queue.name),
    }


def _environment(queue: Queue) -> dict[str, Any]:
    if not queue.function_environment:
        return {}
    return {
        "Environment": {"Variables": Commented("The queue's function_environment.", filled(queue.function_environment))}
    }


def _declared(queue: Queue) -> list[dict[str, Any]]:
    """A separate policy for the app's declared statements, to distinguish them from the library's."""
    if not queue.function_policy:
        return []
    statements = [filled(statement) for statement in queue.function_policy]
    return [
        {"PolicyName": DECLARED, "PolicyDocument": Commented("The queue's function_policy.", document(*statements))}
    ]


def build(plan: Plan) -> dict[str, Any]:
    """How ``sam build`` makes a function's code."""
    return {"Metadata": {"BuildMethod": "makefile"}} if plan.options.build == "makefile" else {}


def _mapping(queue: Queue) -> dict[str, Any]:
    return {
        "Queue": arn_of(f"{queue_id(queue.name)}Queue"),
        "BatchSize": queue.batch_size,
        **({} if queue.fifo else {"MaximumBatchingWindowInSeconds": queue.batch_window}),
        "FunctionResponseTypes": Commented(
            "Without it Lambda deletes failed messages with the rest of their batch.", ["ReportBatchItemFailures"]
        ),
        "ScalingConfig": {
            "MaximumConcurrency": Commented(
                "In place of reserved concurrency, under which polled messages are throttled into the dead-letter queue.",
                ref("MaximumConcurrency") if queue.max_concurrency is None else queue.max_concurrency,
            )
        },
    }
