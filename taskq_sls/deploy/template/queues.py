"""A queue with its dead-letter queue, and the Lambda function that consumes it.

One function per queue: its role then reads one queue, its log, alarms and memory are that queue's own, and a
changed timeout updates it in place. Functions shared by queues of equal timeouts would instead exchange queues. A
function that does not run costs nothing, and a mapping polls for its queue either way.
"""

from __future__ import annotations

from typing import Any

from ...core.queues import Queue, dead_letter_name
from ..provision.queues import LONG_POLL, MAX_RETENTION
from .emitter import Commented
from .functions import function_resources
from .intrinsics import NO_VALUE, arn_of, either, filled, queue_id, ref, regional_arn, resource, sub
from .plan import Plan
from .policies import consume, dead_letter, document, write_logs

DECLARED = "declared"
"""Name of the policy with a queue's ``function_policy``."""


def queue_resources(queue: Queue) -> dict[str, Any]:
    """The queue and its dead-letter queue."""
    start = queue_id(queue.name)
    receives = Commented(
        "A last resort for messages whose consumer dies before a task is started. Attempts are counted in the table; "
        "throttled batches and waiting duplicates use up receives too.",
        queue.receives_before_redrive,
    )
    source = Commented(
        "Written as text: references in both directions would make the two queues wait for each other.",
        [regional_arn("sqs", f"${{Prefix}}-{queue.name}")],
    )
    own = {
        "QueueName": sub(f"${{Prefix}}-{queue.name}"),
        **_fifo(queue),
        "VisibilityTimeout": Commented(_visibility_note(queue), queue.queue_visibility),
        "ReceiveMessageWaitTimeSeconds": int(LONG_POLL),
        **retention(),
        **encryption(),
        "RedrivePolicy": {"deadLetterTargetArn": arn_of(f"{start}DeadLetters"), "maxReceiveCount": receives},
    }
    dead_letters = {
        "QueueName": sub(f"${{Prefix}}-{dead_letter_name(queue.name)}"),
        **_fifo(queue),
        **retention(),
        **encryption(),
        "RedriveAllowPolicy": {"redrivePermission": "byQueue", "sourceQueueArns": source},
    }
    return {
        f"{start}Queue": resource("AWS::SQS::Queue", own),
        f"{start}DeadLetters": resource("AWS::SQS::Queue", dead_letters),
    }


def retention() -> dict[str, Any]:
    """The time for which messages are kept."""
    return {"MessageRetentionPeriod": Commented("14 days, the maximum.", int(MAX_RETENTION))}


def encryption() -> dict[str, Any]:
    """With the stack's key, else with a key of SQS."""
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
        "DeduplicationScope": Commented(
            "The next two lines enable high throughput, counted per group.", "messageGroup"
        ),
        "FifoThroughputLimit": "perMessageGroupId",
    }


def _visibility_note(queue: Queue) -> str:
    if queue.function_timeout is None:
        return "`taskq worker` extends it while a task runs; no Lambda function is declared."
    window = f" + {queue.batch_window} (batch window)" if queue.batch_window else ""
    return (
        f"6 x {queue.function_timeout} (timeout of {queue.name}'s function){window}: Lambda retries throttled batches."
    )


def worker_resources(plan: Plan, queue: Queue) -> dict[str, Any]:
    """The function of a queue, with its role and log group."""
    start = queue_id(queue.name)
    properties: dict[str, Any] = {
        "Description": sub(f"Runs the tasks of queue ${{Prefix}}-{queue.name}"),
        "Handler": plan.options.handler,
        "Timeout": queue.function_timeout,
    }
    if queue.function_memory is not None:
        properties["MemorySize"] = queue.function_memory
    more: dict[str, Any] = {"Events": {"Messages": {"Type": "SQS", "Properties": _mapping(queue)}}}
    if queue.function_environment:
        variables = Commented("The queue's function_environment.", filled(queue.function_environment))
        more = {"Environment": {"Variables": variables}, **more}
    declared = []
    if queue.function_policy:
        # A separate policy, to distinguish the app's statements from the library's.
        statements = Commented("The queue's function_policy.", document(*map(filled, queue.function_policy)))
        declared = [{"PolicyName": DECLARED, "PolicyDocument": statements}]
    return function_resources(
        plan,
        f"{start}Worker",
        [consume(queue.name), dead_letter(queue.name), write_logs(f"{start}WorkerLogs")],
        properties,
        more,
        logs=queue.name,
        policy="worker",
        policies=declared,
        depends_on="TaskPolicy",
    )


def _mapping(queue: Queue) -> dict[str, Any]:
    responses = Commented(
        "Without it Lambda deletes failed messages with the rest of their batch.", ["ReportBatchItemFailures"]
    )
    concurrency = Commented(
        "Replaces reserved concurrency, with which throttled messages would end in the dead-letter queue.",
        ref("MaximumConcurrency") if queue.max_concurrency is None else queue.max_concurrency,
    )
    return {
        "Queue": arn_of(f"{queue_id(queue.name)}Queue"),
        "BatchSize": queue.batch_size,
        **({} if queue.fifo else {"MaximumBatchingWindowInSeconds": queue.batch_window}),
        "FunctionResponseTypes": responses,
        "ScalingConfig": {"MaximumConcurrency": concurrency},
    }
