"""The Lambda function of a queue, with its role, its log group and the event source mapping.

One function per queue: its role then reads one queue, its log, alarms and memory are that queue's own, and a
changed timeout updates it in place. Functions shared by queues of equal timeouts would instead exchange queues. A
function that does not run costs nothing, and a mapping polls for its queue either way.
"""

from __future__ import annotations

from typing import Any

from ...core.queues import Queue
from .emitter import Commented
from .intrinsics import arn_of, filled, queue_id, ref, sub
from .parameters import log_group
from .plan import Plan
from .policies import bury, consume, document, role, write_logs

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
