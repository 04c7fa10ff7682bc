"""Records, dead letters, schedules and workers as dictionaries of plain fields, for commands, API and pages.

Times are datetimes in UTC, which the caller formats; durations and ages are seconds. Fields without a value are None.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from ..client.app import App
from ..core.redaction import MASK, redact
from ..core.states import State
from ..results.records import TaskRecord
from ..results.workers import WorkerReport
from .dead_letter_view import DeadLetterGroup, DeadLetterView
from .dead_letters import Problem
from .schedules import ScheduleView


def utc_time(epoch: float | None) -> datetime | None:
    return None if epoch is None else datetime.fromtimestamp(epoch, UTC)


def record_fields(record: TaskRecord, now: float) -> dict[str, Any]:
    error, progress = record.error, record.progress
    return {
        "id": record.id,
        "task": record.task,
        "queue": record.queue,
        "status": record.status,
        "stalled": record.stalled(now),
        "run": record.run,
        "attempt": record.attempt,
        "enqueued_at": utc_time(record.enqueued_at),
        "started_at": utc_time(record.started_at),
        "finished_at": utc_time(record.finished_at),
        "updated_at": utc_time(record.updated_at),
        "next_at": utc_time(record.next_at),
        "lease_until": utc_time(record.lease_until),
        "duration": duration_of(record, now),
        "cancel_requested": record.cancel_requested,
        "reason": record.reason,
        "progress": progress and {"done": progress.done, "total": progress.total, "note": progress.note},
        "arguments": None if record.call is None else json.loads(record.call),
        "attempts": [
            {**past._asdict(), "started_at": utc_time(past.started_at), "ended_at": utc_time(past.ended_at)}
            for past in record.past
        ],
        "result": None if record.result_json is None else json.loads(record.result_json),
        "result_key": record.result_key,
        "error": error and {"type": error.type, "message": error.message, "traceback": error.traceback},
        "labels": dict(record.labels),
        "parent": record.parent,
        "unique_key": record.unique_key,
        "expires_at": utc_time(record.ttl),
    }


def duration_of(record: TaskRecord, now: float) -> float | None:
    """Seconds that the last attempt took, or has taken so far; None if none started or its end was not recorded."""
    if record.started_at is None:
        return None
    end = now if record.status is State.RUNNING else record.finished_at
    return None if end is None else round(max(0.0, end - record.started_at), 3)


def dead_letter_fields(view: DeadLetterView, now: float) -> dict[str, Any]:
    return {
        "queue": view.queue,
        "source": view.source,
        "message_id": view.message_id,
        "task": view.task,
        "id": view.id,
        "run": view.run,
        "reason": view.reason,
        "error": {"type": view.error_type, "message": view.error_message, "traceback": view.traceback},
        "attempts": view.attempts,
        "receive_count": view.receive_count,
        "sent_at": utc_time(view.sent_at),
        "failed_at": utc_time(view.failed_at),
        "age": round(max(0.0, now - view.since), 3),
        "labels": dict(view.labels),
        "args": view.args,
        "kwargs": view.kwargs,
        "payload": view.payload,
        "undecodable": view.undecodable,
        "schedule": view.schedule,
        "group": view.group,
        "attributes": dict(view.attributes),
        "body": view.body,
    }


def named_fields(view: DeadLetterView) -> dict[str, Any]:
    """The fields that identify a dead letter."""
    return {"id": view.id, "task": view.task, "queue": view.queue, "message_id": view.message_id, "reason": view.reason}


def problem_fields(problem: Problem) -> dict[str, Any]:
    view = problem.dead_letter
    identity = {"id": view.id, "task": view.task, "queue": view.queue, "message_id": view.message_id}
    return {**identity, "code": problem.code, "message": problem.message}


def group_fields(group: DeadLetterGroup) -> dict[str, Any]:
    return {
        "queue": group.queue,
        "reason": group.reason,
        "task": group.task,
        "error_type": group.error_type,
        "count": group.total,
        "oldest": utc_time(group.oldest),
        "newest": utc_time(group.newest),
    }


def schedule_fields(view: ScheduleView) -> dict[str, Any]:
    stored, spec = view.stored, view.stored.spec
    return {
        "name": spec.name,
        "state": view.state,
        "expression": spec.expression,
        "timezone": spec.timezone,
        "task": view.task,
        "queue": spec.queue,
        "group": spec.group,
        "start": utc_time(spec.start),
        "end": utc_time(spec.end),
        "window": spec.window,
        "created_at": utc_time(stored.created),
        "modified_at": utc_time(stored.modified),
        "next_run": utc_time(view.next_at),
        "last_run": utc_time(view.last_at),
        "last_status": None if view.last is None else view.last.status,
        "last_task_id": view.last_id,
    }


def worker_fields(report: WorkerReport, now: float) -> dict[str, Any]:
    return {
        **report._asdict(),
        "state": report.state(now),
        "queues": list(report.queues),
        "started_at": utc_time(report.started_at),
        "beat_at": utc_time(report.beat_at),
        "oldest": [task._asdict() for task in report.oldest],
    }


def shown_record(app: App, record: TaskRecord, *, secrets: bool = False) -> TaskRecord:
    """A record without the arguments, labels and result fields that the app or task hides by name.

    Its result includes the model fields that were left out because they were not set.

    Args:
        secrets: hide nothing.
    """
    result = record.result_json
    if result is not None:
        value = app.shown_result(record.task, result)
        if value != json.loads(result):
            record = record._replace(result_json=(result := json.dumps(value, ensure_ascii=False)))
    if secrets or not (names := app.redaction(record.task)):
        return record
    if result is not None and (redacted := redact(value, names)) != value:
        result = json.dumps(redacted, ensure_ascii=False)
    call = record.call
    if call is not None:  # values that were hidden when the call was recorded are not stored at all
        recorded = json.loads(call)
        args, kwargs = app.redacted(record.task, recorded["args"], recorded["kwargs"])
        call = json.dumps({"args": args, "kwargs": kwargs}, ensure_ascii=False)
    return record._replace(
        labels=redact(dict(record.labels), names),
        result_json=result,
        call=call,
        unique_key=record.unique_key and MASK,  # it may be derived from any argument
    )


def shown_dead_letter(app: App, view: DeadLetterView, *, secrets: bool = False) -> DeadLetterView:
    """A dead letter without the arguments and labels that the app or task hides by name.

    Its body contains them all, and the task of an unreadable body is unknown. So if the app hides anything, the body
    is hidden as a whole.

    Args:
        secrets: hide nothing.
    """
    if secrets or not app.log_redaction:
        return view
    args, kwargs = app.redacted(view.task, view.args, view.kwargs)
    labels = redact(dict(view.labels), app.redaction(view.task))
    return view._replace(args=args, kwargs=kwargs, labels=labels, body=MASK)
