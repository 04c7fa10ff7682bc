"""CloudWatch alarms, each on one metric, with a description of the next step."""

from __future__ import annotations

import json
from typing import Any

from ...core.queues import Queue
from .emitter import Commented
from .intrinsics import NO_VALUE, attribute, either, queue_id, ref, sub, sub_lines
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


COLUMNS, HEIGHT = 24, 6
"""Columns of a CloudWatch dashboard, and the height of one widget, in grid units."""

Metric = list[Any]


def dashboard(plan: Plan) -> dict[str, Any]:
    """The dashboard of a stack."""
    rows = [row for queue in plan.queues for row in _queue_rows(queue)]
    if plan.routes:
        rows.append(_function_row("EventBridge events", "EventsFunction"))
    if plan.options.api is not None:
        rows.append(_function_row("HTTP API", "ApiFunction"))
    rows += [_table_row(), _schedules_row()]
    widgets = [
        {
            "type": "metric",
            "x": COLUMNS // len(row) * column,
            "y": HEIGHT * number,
            "width": COLUMNS // len(row),
            "height": HEIGHT,
            "properties": {"region": "${AWS::Region}", "period": 60, **properties},
        }
        for number, row in enumerate(rows)
        for column, properties in enumerate(row)
    ]
    lines = ",\n".join(f"  {json.dumps(widget)}" for widget in widgets)
    body = f'{{"start": "-PT3H", "widgets": [\n{lines}\n]}}'
    return {
        "Dashboard": {
            "Type": "AWS::CloudWatch::Dashboard",
            "Properties": {
                "DashboardName": Commented(
                    "With the region: dashboards belong to the account, so that two regions would share one.",
                    sub("${Prefix}-${AWS::Region}"),
                ),
                "DashboardBody": sub_lines(body),
            },
        }
    }


def _queue_rows(queue: Queue) -> list[list[dict[str, Any]]]:
    start = queue_id(queue.name)
    own, dead = f"${{{start}Queue.QueueName}}", f"${{{start}DeadLetters.QueueName}}"
    row = [
        _chart(
            f"{queue.name}: messages",
            "Maximum",
            ["AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", own, {"label": "waiting"}],
            ["AWS/SQS", "ApproximateNumberOfMessagesNotVisible", "QueueName", own, {"label": "running or hidden"}],
            ["AWS/SQS", "ApproximateNumberOfMessagesDelayed", "QueueName", own, {"label": "delayed"}],
        ),
        _chart(
            f"{queue.name}: age of the oldest message, seconds",
            "Maximum",
            ["AWS/SQS", "ApproximateAgeOfOldestMessage", "QueueName", own, {"label": "age"}],
        ),
        _chart(
            f"{queue.name}: sent and deleted",
            "Sum",
            ["AWS/SQS", "NumberOfMessagesSent", "QueueName", own, {"label": "sent"}],
            ["AWS/SQS", "NumberOfMessagesDeleted", "QueueName", own, {"label": "deleted"}],
        ),
        _chart(
            f"{queue.name}: dead letters",
            "Maximum",
            ["AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", dead, {"label": "dead letters"}],
        ),
    ]
    if queue.function_timeout is None:
        return [row]
    return [row, _function_row(queue.name, f"{start}Worker")]


def _function_row(title: str, function: str) -> list[dict[str, Any]]:
    def metric(name: str, **more: Any) -> Metric:
        return ["AWS/Lambda", name, "FunctionName", f"${{{function}}}", {"label": name.lower(), **more}]

    return [
        _chart(f"{title}: invocations", "Sum", metric("Invocations")),
        _chart(f"{title}: errors", "Sum", metric("Errors"), metric("Throttles"), metric("RecursiveInvocationsDropped")),
        _chart(
            f"{title}: duration, ms",
            "Maximum",
            metric("Duration", label="longest"),
            metric("Duration", label="average", stat="Average"),
        ),
        _chart(f"{title}: concurrent invocations", "Maximum", metric("ConcurrentExecutions")),
    ]


def _table_row() -> list[dict[str, Any]]:
    def metric(name: str, label: str) -> Metric:
        return ["AWS/DynamoDB", name, "TableName", "${TasksTable}", {"label": label}]

    return [
        _chart("table: write units", "Sum", metric("ConsumedWriteCapacityUnits", "written")),
        _chart("table: read units", "Sum", metric("ConsumedReadCapacityUnits", "read")),
        _chart(
            "table: throttles",
            "Sum",
            metric("WriteThrottleEvents", "writes"),
            metric("ReadThrottleEvents", "reads"),
        ),
    ]


def _schedules_row() -> list[dict[str, Any]]:
    def metric(name: str, label: str) -> Metric:
        return ["AWS/Scheduler", name, "ScheduleGroup", "${ScheduleGroup}", {"label": label}]

    dead = ["AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", "${FailedSchedules.QueueName}"]
    return [
        _chart("schedules: firings", "Sum", metric("InvocationAttemptCount", "tries")),
        _chart(
            "schedules: errors",
            "Sum",
            metric("TargetErrorCount", "target errors"),
            metric("InvocationDroppedCount", "given up"),
        ),
        _chart("schedules: dead letters", "Maximum", [*dead, {"label": "dead letters"}]),
    ]


def _chart(title: str, stat: str, *metrics: Metric) -> dict[str, Any]:
    return {"title": title, "stat": stat, "metrics": list(metrics)}
