"""CloudWatch: alarms, each with the next step in its description, and a dashboard with one row per resource."""

from __future__ import annotations

import json
from typing import Any

from ...core.queues import Queue
from .emitter import Commented
from .intrinsics import NO_VALUE, attribute, either, queue_id, ref, resource, sub, sub_lines
from .plan import Plan, margin

PERIOD = 300
"""Period of the metrics, in seconds."""

COLUMNS, HEIGHT = 24, 6
"""Columns of a CloudWatch dashboard, and the height of one widget, in grid units."""

FUNCTION_ALARMS = {
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
"""Metric of a function to the end of its alarm's name and its description."""

Metric = list[Any]
Row = list[dict[str, Any]]


def alarms(plan: Plan) -> dict[str, Any]:
    """The alarms of a stack."""
    made: dict[str, Any] = {}
    for queue in plan.queues:
        made |= _queue_alarms(queue)
        if queue.function_timeout is not None:
            made |= _worker_alarms(queue, queue.function_timeout)
    made |= _schedule_alarms()
    if plan.routes:
        made |= _function_alarms("EventsFunction", "eventbridge-events")
        made["FailedEventsAlarm"] = _depth_alarm(
            "eventbridge-events-failed", "EventBridge events could not be delivered.", "FailedEvents"
        )
    if plan.options.api is not None:
        made |= _function_alarms("ApiFunction", "api")
    return made


def _queue_alarms(queue: Queue) -> dict[str, Any]:
    start = queue_id(queue.name)
    return {
        f"{start}OldestMessageAlarm": _alarm(
            f"{queue.name}-oldest-message",
            f"Messages of queue {queue.name} wait too long: more arrive than are processed, or a retry is far off.",
            "AWS/SQS",
            "ApproximateAgeOfOldestMessage",
            {"QueueName": attribute(f"{start}Queue", "QueueName")},
            "Maximum",
            ref("OldestMessageAlarm"),
        ),
        f"{start}DeadLettersAlarm": _depth_alarm(
            f"{queue.name}-dead-letters", f"Tasks of queue {queue.name} have failed for good.", f"{start}DeadLetters"
        ),
    }


def _worker_alarms(queue: Queue, timeout: int) -> dict[str, Any]:
    function = f"{queue_id(queue.name)}Worker"
    return {
        **_function_alarms(function, queue.name),
        f"{function}DurationAlarm": _alarm(
            f"{queue.name}-duration",
            f"An invocation for queue {queue.name} reached the margin before its timeout of {timeout} s, "
            "where running tasks are stopped: raise function_timeout, or lower batch_size.",
            "AWS/Lambda",
            "Duration",
            {"FunctionName": ref(function)},
            "Maximum",
            round(1000 * (timeout - margin(timeout))),
        ),
    }


def _function_alarms(function: str, name: str) -> dict[str, Any]:
    return {
        f"{function}{metric}Alarm": _alarm(
            f"{name}-{suffix}", description, "AWS/Lambda", metric, {"FunctionName": ref(function)}, "Sum", 1
        )
        for metric, (suffix, description) in FUNCTION_ALARMS.items()
    }


def _schedule_alarms() -> dict[str, Any]:
    return {
        "ScheduleTargetErrorsAlarm": _alarm(
            "schedules-target-errors",
            "Schedules could not send to their queue and try again: check the schedules' role and the queue.",
            "AWS/Scheduler",
            "TargetErrorCount",
            {"ScheduleGroup": ref("ScheduleGroup")},
            "Sum",
            1,
        ),
        "FailedSchedulesAlarm": _depth_alarm(
            "schedules-dead-letters", "Scheduled runs could not be sent.", "FailedSchedules"
        ),
    }


def _depth_alarm(name: str, description: str, queue: str) -> dict[str, Any]:
    """For a queue that should be empty."""
    dimensions = {"QueueName": attribute(queue, "QueueName")}
    return _alarm(name, description, "AWS/SQS", "ApproximateNumberOfMessagesVisible", dimensions, "Maximum", 1)


def _alarm(
    name: str,
    description: str,
    namespace: str,
    metric: str,
    dimensions: dict[str, Any],
    statistic: str,
    threshold: Any,
) -> dict[str, Any]:
    """An alarm that fires when a metric reaches `threshold`."""
    actions = either("HasAlarmTopic", [ref("AlarmTopicArn")], NO_VALUE)
    return resource(
        "AWS::CloudWatch::Alarm",
        {
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
    )


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
    name = Commented(
        "With the region in its name: dashboards belong to the account, so two regions would otherwise share one.",
        sub("${Prefix}-${AWS::Region}"),
    )
    body = sub_lines(f'{{"start": "-PT3H", "widgets": [\n{lines}\n]}}')
    return {"Dashboard": resource("AWS::CloudWatch::Dashboard", {"DashboardName": name, "DashboardBody": body})}


def _queue_rows(queue: Queue) -> list[Row]:
    start = queue_id(queue.name)

    def metric(name: str, label: str, queue: str = "Queue") -> Metric:
        return ["AWS/SQS", name, "QueueName", f"${{{start}{queue}.QueueName}}", {"label": label}]

    row = [
        _chart(
            f"{queue.name}: messages",
            "Maximum",
            metric("ApproximateNumberOfMessagesVisible", "waiting"),
            metric("ApproximateNumberOfMessagesNotVisible", "in flight"),
            metric("ApproximateNumberOfMessagesDelayed", "delayed"),
        ),
        _chart(
            f"{queue.name}: age of the oldest message, seconds",
            "Maximum",
            metric("ApproximateAgeOfOldestMessage", "age"),
        ),
        _chart(
            f"{queue.name}: sent and deleted",
            "Sum",
            metric("NumberOfMessagesSent", "sent"),
            metric("NumberOfMessagesDeleted", "deleted"),
        ),
        _chart(
            f"{queue.name}: dead letters",
            "Maximum",
            metric("ApproximateNumberOfMessagesVisible", "dead letters", "DeadLetters"),
        ),
    ]
    return [row] if queue.function_timeout is None else [row, _function_row(queue.name, f"{start}Worker")]


def _function_row(title: str, function: str) -> Row:
    def metric(name: str, **more: Any) -> Metric:
        return ["AWS/Lambda", name, "FunctionName", f"${{{function}}}", {"label": name.lower(), **more}]

    longest, average = metric("Duration", label="longest"), metric("Duration", label="average", stat="Average")
    return [
        _chart(f"{title}: invocations", "Sum", metric("Invocations")),
        _chart(f"{title}: errors", "Sum", *map(metric, FUNCTION_ALARMS)),
        _chart(f"{title}: duration, ms", "Maximum", longest, average),
        _chart(f"{title}: concurrent invocations", "Maximum", metric("ConcurrentExecutions")),
    ]


def _table_row() -> Row:
    def metric(name: str, label: str) -> Metric:
        return ["AWS/DynamoDB", name, "TableName", "${TasksTable}", {"label": label}]

    throttles = metric("WriteThrottleEvents", "writes"), metric("ReadThrottleEvents", "reads")
    return [
        _chart("table: write units", "Sum", metric("ConsumedWriteCapacityUnits", "written")),
        _chart("table: read units", "Sum", metric("ConsumedReadCapacityUnits", "read")),
        _chart("table: throttles", "Sum", *throttles),
    ]


def _schedules_row() -> Row:
    def metric(name: str, label: str) -> Metric:
        return ["AWS/Scheduler", name, "ScheduleGroup", "${ScheduleGroup}", {"label": label}]

    errors = metric("TargetErrorCount", "target errors"), metric("InvocationDroppedCount", "dropped")
    dead = ["AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", "${FailedSchedules.QueueName}"]
    return [
        _chart("schedules: firings", "Sum", metric("InvocationAttemptCount", "tries")),
        _chart("schedules: errors", "Sum", *errors),
        _chart("schedules: dead letters", "Maximum", [*dead, {"label": "dead letters"}]),
    ]


def _chart(title: str, stat: str, *metrics: Metric) -> dict[str, Any]:
    return {"title": title, "stat": stat, "metrics": list(metrics)}
