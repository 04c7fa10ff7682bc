"""Dead letters as rows, as pages and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ..app import TaskQ
from ..operations.browse import VISIBILITY_TIMEOUT_SECONDS
from ..operations.dead_letter_view import DeadLetterGroup, DeadLetterView
from ..operations.dead_letters import Problem
from ..operations.redrive import Redriven
from .output import age, moment, note, print_fields, print_json, print_table, say

HEADER = ("ID", "TASK", "REASON", "RUN", "ATTEMPTS", "AGE", "QUEUE", "ERROR")
GROUP_HEADER = ("COUNT", "REASON", "TASK", "ERROR", "OLDEST", "NEWEST", "QUEUE")

ERROR_WIDTH = 60


def letter_fields(one: DeadLetterView, now: float) -> dict[str, Any]:
    """A dead letter as JSON values; times in ISO 8601, UTC. `age` is seconds."""
    return {
        "queue": one.queue,
        "source": one.source,
        "message_id": one.message_id,
        "task": one.task,
        "id": one.id,
        "run": one.run,
        "reason": one.reason,
        "error": {"type": one.error_type, "message": one.error_message, "traceback": one.traceback},
        "attempts": one.attempts,
        "receive_count": one.receive_count,
        "sent_at": moment(one.sent_at),
        "failed_at": moment(one.failed_at),
        "age": round(max(0.0, now - one.since), 3),
        "labels": dict(one.labels),
        "args": one.args,
        "kwargs": one.kwargs,
        "payload": one.payload,
        "undecodable": one.undecodable,
        "schedule": one.schedule,
        "group": one.group,
        "attributes": dict(one.attributes),
        "body": one.body,
    }


def letter_cells(one: DeadLetterView, now: float) -> tuple[str, ...]:
    """A dead letter as columns of a table."""
    error = f"{one.error_type or ''}: {one.error_message or ''}".strip(": ") or one.undecodable or ""
    return (
        one.id or f"message {one.message_id}",
        one.task or "-",
        one.reason,
        str(one.run),
        str(one.attempts),
        age(one.since, now),
        one.queue,
        _short(error),
    )


def group_fields(group: DeadLetterGroup) -> dict[str, Any]:
    """A group as JSON values."""
    return {
        "queue": group.queue,
        "reason": group.reason,
        "task": group.task,
        "error_type": group.error_type,
        "count": group.total,
        "oldest": moment(group.oldest),
        "newest": moment(group.newest),
    }


def group_cells(group: DeadLetterGroup, now: float) -> tuple[str, ...]:
    """A group as columns of a table."""
    return (
        str(group.total),
        group.reason,
        group.task or "-",
        group.error_type or "-",
        age(group.oldest, now),
        age(group.newest, now),
        group.queue,
    )


def problem_fields(problem: Problem) -> dict[str, Any]:
    """A dead letter that was left, as JSON values."""
    one = problem.dead_letter
    return {
        "id": one.id,
        "task": one.task,
        "queue": one.queue,
        "message_id": one.message_id,
        "code": problem.code,
        "message": problem.message,
    }


def print_letter(one: DeadLetterView, now: float) -> None:
    """A dead letter as lines of name and value; what is empty is left out."""
    lines = {
        "id": one.id,
        "task": one.task,
        "reason": "redriven (SQS itself moved it: nobody ever settled it)" if one.moved else one.reason,
        "error": f"{one.error_type or ''}: {one.error_message or ''}".strip(": "),
        "attempts": one.attempts or None,
        "next run": one.run,
        "queue": one.queue,
        "goes back to": one.source or one.attributes.get("TARGET_ARN"),
        "message": one.message_id,
        "sent": f"{moment(one.sent_at)} ({age(one.sent_at, now)} ago)",
        "given up": None if one.failed_at is None else f"{moment(one.failed_at)} ({age(one.failed_at, now)} ago)",
        "schedule": one.schedule,
        "group": one.group,
        "labels": " ".join(f"{name}={value}" for name, value in one.labels.items()),
        "args": json.dumps(one.args, ensure_ascii=False) if one.args else None,
        "kwargs": json.dumps(one.kwargs, ensure_ascii=False) if one.kwargs else None,
        "arguments in": one.payload,
        "unreadable": one.undecodable,
        "body": one.body if one.undecodable else None,
    }
    print_fields(lines)
    if one.traceback:
        say(f"\n{one.traceback.rstrip()}")


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= ERROR_WIDTH else f"{text[: ERROR_WIDTH - 1]}…"


def print_redriven(done: Redriven, *, as_json: bool, dry_run: bool) -> None:
    """What a redrive did, or would have done."""
    if as_json:
        print_json(
            {
                "redriven": [
                    {**named_fields(one.dead_letter), "to": one.queue, "run": one.run} for one in done.redriven
                ],
                "kept": [problem_fields(one) for one in done.kept],
                "undeleted": [problem_fields(one) for one in done.undeleted],
                "seen": done.seen,
                "missed": done.missed,
                "missing": done.missing,
                "dry_run": dry_run,
            }
        )
        return
    if dry_run and done.redriven:
        rows = [
            (one.dead_letter.id or one.dead_letter.message_id, one.dead_letter.task or "-", one.queue, str(one.run))
            for one in done.redriven
        ]
        print_table(("ID", "TASK", "TO", "RUN"), rows)
    would = "would be sent" if dry_run else "sent"
    say(f"{len(done.redriven)} {would}, of {done.seen} looked at")
    tell_problems(done.kept)
    for one in done.undeleted:
        note(f"sent, and perhaps there still, which does no harm: {one.dead_letter.id}: {one.message}")
    tell_missed(done.missed)


def tell_problems(kept: Sequence[Problem]) -> None:
    """Dead letters that were left, and why."""
    for one in kept[:20]:
        note(f"error: left: {one.dead_letter.id or one.dead_letter.message_id}: {one.code}: {one.message}")
    if len(kept) > 20:
        note(f"error: left: {len(kept) - 20} more")


def tell_missed(missed: int) -> None:
    """How many a look did not get to see."""
    if missed:
        note(
            f"about {missed} more were not looked at: they wait behind others of their FIFO group, or somebody holds them, "
            f"such as a command that was killed less than {VISIBILITY_TIMEOUT_SECONDS} seconds ago; run it again then"
        )


def warn_of_missing(app: TaskQ, missing: Sequence[str]) -> None:
    """A line for each dead-letter queue that does not exist, and so could not be searched."""
    for name in missing:
        note(f"warning: queue {app.settings.queue_name(name)} does not exist, so it was not searched")


def named_fields(one: DeadLetterView) -> dict[str, Any]:
    """Which dead letter it is, as JSON values."""
    return {"id": one.id, "task": one.task, "queue": one.queue, "message_id": one.message_id, "reason": one.reason}
