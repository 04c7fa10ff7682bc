"""CloudWatch alarms, each on one metric, with a description of the next step."""

from __future__ import annotations

from typing import Any

from ...core.queues import Queue
from .intrinsics import NO_VALUE, attribute, either, queue_id, ref, sub
from .plan import Plan, margin

PERIOD = 300
"""Period of the metrics, in seconds."""

Dimensions = dict[str, Any]


def queue_alarms(queue: Queue) -> dict[str, Any]:
    """For a queue and its dead-letter queue."""
    start = queue_id(queue.name)
    return {
        f"{start}OldestMessageAlarm": alarm(
            f"{queue.name}-oldest-message",
            f"Messages of queue {queue.name} wait too long: more arrive than are done, or a retry is far off.",
            "AWS/SQS",
            "ApproximateAgeOfOldestMessage",
            {"QueueName": attribute(f"{start}Queue", "QueueName")},
            "Maximum",
            ref("OldestMessageAlarm"),
        ),
        f"{start}DeadLettersAlarm": depth_alarm(
            f"{queue.name}-dead-letters", f"Tasks of queue {queue.name} have failed for good.", f"{start}DeadLetters"
        ),
    }


def worker_alarms(queue: Queue) -> dict[str, Any]:
    """For the function of a queue."""
    assert queue.function_timeout is not None
    start = queue_id(queue.name)
    cut = round(1000 * (queue.function_timeout - margin(queue.function_timeout)))
    return {
        **function_alarms(f"{start}Worker", queue.name),
        f"{start}WorkerDurationAlarm": alarm(
            f"{queue.name}-duration",
            f"An invocation for queue {queue.name} reached the margin before its timeout of {queue.function_timeout} s, "
            "where running tasks are stopped: raise function_timeout, or lower batch_size.",
            "AWS/Lambda",
            "Duration",
            {"FunctionName": ref(f"{start}Worker")},
            "Maximum",
            cut,
        ),
    }


def function_alarms(function: str, name: str) -> dict[str, Any]:
    """For any function."""
    counted = {
        "Errors": (
            "errors",
            "An invocation crashed, ran out of memory or time, or could not be started. Tasks that fail do not count.",
        ),
        "Throttles": (
            "throttles",
            "Invocations were throttled: lower MaximumConcurrency, or raise the account's concurrency.",
        ),
        "RecursiveInvocationsDropped": (
            "loop-dropped",
            "Lambda took a chain of tasks for an endless loop and dropped it: RecursiveLoop must be Allow.",
        ),
    }
    return {
        f"{function}{metric}Alarm": alarm(
            f"{name}-{suffix}", description, "AWS/Lambda", metric, {"FunctionName": ref(function)}, "Sum", 1
        )
        for metric, (suffix, description) in counted.items()
    }


def schedule_alarms() -> dict[str, Any]:
    """For all schedules of the stack."""
    return {
        "ScheduleTargetErrorsAlarm": alarm(
            "schedules-target-errors",
            "Schedules could not send to their queue and try again: see the schedules' role and the queue.",
            "AWS/Scheduler",
            "TargetErrorCount",
            {"ScheduleGroup": ref("ScheduleGroup")},
            "Sum",
            1,
        ),
        "FailedSchedulesAlarm": depth_alarm(
            "schedules-dead-letters", "Firings of schedules were given up.", "FailedSchedules"
        ),
    }


def event_alarms(plan: Plan) -> dict[str, Any]:
    """For the function that takes EventBridge events; empty if there is none."""
    if not plan.routes:
        return {}
    return {
        **function_alarms("EventsFunction", "eventbridge-events"),
        "FailedEventsAlarm": depth_alarm("eventbridge-events-failed", "Events were given up.", "FailedEvents"),
    }


def api_alarms(plan: Plan) -> dict[str, Any]:
    """For the function of the HTTP API; empty if there is none."""
    return {} if plan.options.api is None else function_alarms("ApiFunction", "api")


def depth_alarm(name: str, description: str, queue: str) -> dict[str, Any]:
    """For a queue that should be empty."""
    return alarm(
        name,
        description,
        "AWS/SQS",
        "ApproximateNumberOfMessagesVisible",
        {"QueueName": attribute(queue, "QueueName")},
        "Maximum",
        1,
    )


def alarm(
    name: str, description: str, namespace: str, metric: str, dimensions: Dimensions, statistic: str, threshold: Any
) -> dict[str, Any]:
    """An alarm that fires when a metric reaches `threshold`."""
    actions = either("HasAlarmTopic", [ref("AlarmTopicArn")], NO_VALUE)
    return {
        "Type": "AWS::CloudWatch::Alarm",
        "Properties": {
            "AlarmName": sub(f"${{Prefix}}-{name}"),
            "AlarmDescription": description,
            "Namespace": namespace,
            "MetricName": metric,
            "Dimensions": [{"Name": key, "Value": value} for key, value in dimensions.items()],
            "Statistic": statistic,
            "Period": PERIOD,
            "EvaluationPeriods": 1,
            "Threshold": threshold,
            "ComparisonOperator": "GreaterThanOrEqualToThreshold",
            "TreatMissingData": "notBreaching",
            "AlarmActions": actions,
            "OKActions": actions,
        },
    }
