"""Dead letters as table rows and as lines of name and value."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ..app import TaskQ
from ..operations.browse import VISIBILITY_TIMEOUT_SECONDS
from ..operations.dead_letter_view import TARGET_ARN, DeadLetterGroup, DeadLetterView
from ..operations.dead_letters import Problem, Purged
from ..operations.presenters import named_fields, problem_fields
from ..operations.redrive import Redriven
from .output import age, labels_text, note, print_fields, print_table, say, short_text, time_and_age

HEADER = ("ID", "TASK", "REASON", "RUN", "ATTEMPTS", "AGE", "QUEUE", "ERROR")
GROUP_HEADER = ("COUNT", "REASON", "TASK", "ERROR", "OLDEST", "NEWEST", "QUEUE")

MAX_PROBLEMS = 20
"""Dead letters that are named on stderr when they are left; the rest is counted."""


def letter_cells(view: DeadLetterView, now: float) -> tuple[str, ...]:
    return (
        view.id or f"message {view.message_id}",
        view.task or "-",
        view.reason,
        str(view.run),
        str(view.attempts),
        age(view.since, now),
        view.queue,
        short_text(_error(view) or view.undecodable or ""),
    )


def group_cells(group: DeadLetterGroup, now: float) -> tuple[str, ...]:
    return (
        str(group.total),
        group.reason,
        group.task or "-",
        group.error_type or "-",
        age(group.oldest, now),
        age(group.newest, now),
        group.queue,
    )


def print_letter(view: DeadLetterView, now: float) -> None:
    print_fields(
        {
            "id": view.id,
            "task": view.task,
            "reason": view.reason,
            "error": _error(view),
            "attempts": view.attempts or None,
            "next run": view.run,
            "queue": view.queue,
            "goes back to": view.source or view.attributes.get(TARGET_ARN),
            "message": view.message_id,
            "sent": time_and_age(view.sent_at, now),
            "failed": time_and_age(view.failed_at, now),
            "schedule": view.schedule,
            "group": view.group,
            "labels": labels_text(view.labels),
            "args": json.dumps(view.args, ensure_ascii=False) if view.args else None,
            "kwargs": json.dumps(view.kwargs, ensure_ascii=False) if view.kwargs else None,
            "arguments in": view.payload,
            "unreadable": view.undecodable,
            "body": view.body if view.undecodable else None,
        }
    )
    if view.traceback:
        say(f"\n{view.traceback.rstrip()}")


def _error(view: DeadLetterView) -> str:
    return f"{view.error_type or ''}: {view.error_message or ''}".strip(": ")


def swept_fields(done: Redriven | Purged, dry_run: bool) -> dict[str, Any]:
    """The fields that the results of ``redrive`` and ``purge`` share."""
    kept = [problem_fields(problem) for problem in done.kept]
    return {"kept": kept, "seen": done.seen, "missed": done.missed, "missing": done.missing, "dry_run": dry_run}


def redriven_fields(done: Redriven, dry_run: bool) -> dict[str, Any]:
    return {
        "redriven": [{**named_fields(sent.dead_letter), "to": sent.queue, "run": sent.run} for sent in done.redriven],
        "undeleted": [problem_fields(problem) for problem in done.undeleted],
        **swept_fields(done, dry_run),
    }


def print_redriven(done: Redriven, *, dry_run: bool) -> None:
    if dry_run and done.redriven:
        rows = [
            (
                sent.dead_letter.id or sent.dead_letter.message_id,
                sent.dead_letter.task or "-",
                sent.queue,
                str(sent.run),
            )
            for sent in done.redriven
        ]
        print_table(("ID", "TASK", "TO", "RUN"), rows)
    would = "would be sent" if dry_run else "sent"
    say(f"{len(done.redriven)} {would}, of {done.seen} read")
    print_problems(done.kept)
    for problem in done.undeleted:
        note(f"sent, but perhaps not deleted (harmless): {problem.dead_letter.id}: {problem.message}")
    print_missed(done.missed)


def print_problems(kept: Sequence[Problem]) -> None:
    for problem in kept[:MAX_PROBLEMS]:
        name = problem.dead_letter.id or problem.dead_letter.message_id
        note(f"error: left: {name}: {problem.code}: {problem.message}")
    if len(kept) > MAX_PROBLEMS:
        note(f"error: left: {len(kept) - MAX_PROBLEMS} more")


def print_missed(missed: int) -> None:
    if missed:
        note(
            f"about {missed} more were not read: they wait behind others of their FIFO group, or another consumer has "
            f"received them, such as a command killed less than {VISIBILITY_TIMEOUT_SECONDS} seconds ago; run it again then"
        )


def warn_of_missing(app: TaskQ, missing: Sequence[str]) -> None:
    """Warn of dead-letter queues that do not exist, and so were not searched."""
    for name in missing:
        note(f"warning: queue {app.settings.queue_name(name)} does not exist, so it was not searched")
