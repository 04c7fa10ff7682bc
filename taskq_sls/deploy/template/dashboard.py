"""The CloudWatch dashboard: one row per thing, the same columns in each."""

from __future__ import annotations

import json
from typing import Any

from ...core.queues import Queue
from .emitter import Commented
from .intrinsics import queue_id, sub, sub_lines
from .plan import Plan

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
