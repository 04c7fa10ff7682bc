"""``taskq tasks``: list, show, cancel, retry and follow tasks"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from ..app import TaskQ
from ..core.flow import call_sync
from ..core.message import check_id
from ..core.naming import check_task_name
from ..core.states import State
from ..errors import AwsError, ConfigError
from ..operations import tasks as operations
from ..operations.dead_letter_view import DeadLetterView
from ..operations.presenters import dead_letter_fields, duration_of, record_fields, shown_dead_letter, shown_record
from ..operations.tail import INTERVAL_SECONDS, Tail
from ..results.layout import INDEXED_STATES
from ..results.records import TaskRecord
from .apps import find_task, load_app
from .arguments import add_command, add_group, add_new_values, add_show_secrets, edit_of, when, whole
from .dead_letter_output import print_letter
from .enqueue import NO_RECORD
from .output import age, note, print_json, print_record, print_table, progress_text, say, short_text, span

HEADER = ("ID", "TASK", "STATUS", "ATTEMPT", "AGE", "DURATION", "NOTE")


def add_to(commands: Any) -> None:
    several = add_group(
        commands,
        "tasks",
        "list, show, cancel, retry and follow tasks",
        "Tasks by their records. Without a command: ls.",
        "ls",
    )
    ls = add_command(
        several, "ls", run_ls, "list the records of tasks, newest first. Without --task, of all tasks of the app."
    )
    ls.add_argument("--status", metavar="STATUS", help=", ".join(State))
    ls.add_argument("--task", metavar="NAME", help="name of the task, or its end: resize for shop.tasks:resize")
    ls.add_argument("--since", type=when, metavar="WHEN", help="90s, 15m, 1h, 2d ago, or 2026-11-22T10:00:00Z")
    ls.add_argument("--until", type=when, metavar="WHEN", help="the same, exclusive")
    ls.add_argument("--limit", type=whole, default=50, metavar="N", help="1 to 1000; default 50")
    ls.add_argument("--cursor", metavar="CURSOR", help="show the next page; the previous page prints its cursor")
    show = add_command(
        several,
        "show",
        run_show,
        "show a task's record, and its dead letter if there is one. Exit status 1 if there is neither.",
    )
    show.add_argument("id", metavar="ID")
    show.add_argument("--no-dead-letter", action="store_true", help="do not search the dead-letter queue")
    cancel = add_command(
        several,
        "cancel",
        run_cancel,
        "cancel tasks by their ids. The app need not have their code. Exit status 1 if a task had ended otherwise or is "
        "unknown.",
    )
    cancel.add_argument("id", metavar="ID", nargs="+")
    cancel.add_argument("--task", metavar="NAME", help="name of the task, needed if it has no record yet")
    retry = add_command(
        several,
        "retry",
        run_retry,
        "run a task again. If it has a dead letter, that is redriven as a new run of the same id. Otherwise a new task is "
        "sent, with the old one as its parent.",
    )
    retry.add_argument("id", metavar="ID")
    add_new_values(retry, "needed if they are neither in a dead letter nor in the record")
    retry.add_argument("--group", metavar="GROUP", help="message group, for a new task on a FIFO queue")
    tail = add_command(several, "tail", run_tail, "follow tasks as they end or retry, until Ctrl-C.")
    tail.add_argument("--task", metavar="NAME", help="only tasks of this name")
    states = sorted(map(str, INDEXED_STATES))
    tail.add_argument("--status", action="append", default=[], type=str.upper, choices=states, help="may be repeated")
    for command in (ls, show, tail):
        add_show_secrets(command)


def run_ls(arguments: argparse.Namespace) -> int:
    app = load_app(arguments.app)
    page = app.results.list(
        status=arguments.status,
        task=arguments.task and named_task(app, arguments.task),
        since=arguments.since,
        until=arguments.until,
        limit=arguments.limit,
        cursor=arguments.cursor,
    )
    now = app.clock.time()
    if arguments.json:
        shown = [shown_record(app, record, secrets=arguments.show_secrets) for record in page]
        print_json({"tasks": [record_fields(record, now) for record in shown], "cursor": page.cursor})
        return 0
    if page:
        print_table(HEADER, [_row(record, now) for record in page])
    else:
        note("no tasks")
    if page.cursor is not None:
        note(f"more with --cursor '{page.cursor}'")
    return 0


def run_show(arguments: argparse.Namespace) -> int:
    app = load_app(arguments.app)
    search = operations.show(app, app.services.blocking(), arguments.id, dead_letter=not arguments.no_dead_letter)
    view = call_sync("show", search)
    now, secrets = app.clock.time(), arguments.show_secrets
    record = view.record and shown_record(app, view.record, secrets=secrets)
    letter = view.dead_letter and shown_dead_letter(app, view.dead_letter, secrets=secrets)
    if arguments.json:
        letter_fields = letter and dead_letter_fields(letter, now)
        print_json({"id": view.id, "record": record and record_fields(record, now), "dead_letter": letter_fields})
    else:
        _print_view(record, letter, now)
    if record is None and letter is None:
        note(f"error: {NO_RECORD.format(id=view.id, table=app.settings.table)}")
        return 1
    return 0


def _print_view(record: TaskRecord | None, letter: DeadLetterView | None, now: float) -> None:
    if record is not None:
        print_record(record, now)
    if letter is not None:
        if record is not None:
            say(f"\nits dead letter in {letter.queue}:\n")
        print_letter(letter, now)


def run_cancel(arguments: argparse.Namespace) -> int:
    app = load_app(arguments.app)
    task = arguments.task and named_task(app, arguments.task)
    services = app.services.blocking()
    ids = [check_id(id) for id in dict.fromkeys(arguments.id)]
    answers: list[dict[str, str]] = []
    left = False
    try:
        for id in ids:
            try:
                answer = call_sync("cancel", operations.cancel(app, services, id, task=task))
            except ConfigError as error:  # the other tasks can still be cancelled
                note(f"error: {error}")
                left = True
                continue
            answers.append({"id": id, "answer": answer.answer, "status": str(answer.status)})
            if not arguments.json:
                say(f"{id}  {_ANSWERS[answer.answer].format(status=answer.status)}")
    finally:
        if arguments.json:
            print_json(answers)
    return 1 if left or any(answer["answer"] == "too_late" for answer in answers) else 0


_ANSWERS = {
    "cancelled": "cancelled",
    "requested": "it is running, and was asked to stop",
    "too_late": "too late: it had {status}",
}


def run_retry(arguments: argparse.Namespace) -> int:
    app = load_app(arguments.app)
    operation = operations.retry(
        app, app.services.blocking(), arguments.id, edit=edit_of(arguments), group=arguments.group
    )
    done = call_sync("retry", operation)
    if arguments.json:
        print_json({**done._asdict(), "redriven": done.redriven})
    elif done.redriven:
        say(f"{done.id}  sent again to queue {done.queue!r}, as run {done.run}")
    else:
        say(f"{done.id}  sent to queue {done.queue!r}, a new task with parent {done.parent}")
    return 0


def run_tail(arguments: argparse.Namespace) -> int:
    app = load_app(arguments.app)
    tasks = [named_task(app, arguments.task)] if arguments.task else []
    services = app.services.blocking()
    tail = Tail(app, services, tasks=tasks, states=[State(status) for status in arguments.status])
    fault: str | None = None
    try:
        while True:
            try:
                found = call_sync("poll", tail.poll())
                shown = [shown_record(app, record, secrets=arguments.show_secrets) for record in found]
                _print_records(shown, app, json=arguments.json)
                fault = None
            except AwsError as error:
                if not error.transient:
                    raise
                if fault is None:
                    note(f"the table cannot be read: {error}; trying again")
                fault = str(error)
            call_sync("sleep", services.flow.sleep(INTERVAL_SECONDS))
    except KeyboardInterrupt:
        return 0


def _print_records(records: Sequence[TaskRecord], app: TaskQ, *, json: bool) -> None:
    now = app.clock.time()
    for record in records:
        if json:
            print_json(record_fields(record, now))
        else:
            id, task, status, attempt, _, took, text = _row(record, now)
            say(f"{id}  {status:<9}  {task}  attempt {attempt}  {took}  {text}".rstrip())


def named_task(app: TaskQ, name: str) -> str:
    """The full name of a task. An unknown full name is accepted, because records and messages outlive code.

    Raises:
        ConfigError: there is no task of that name, or several names end in it.
    """
    try:
        return find_task(app, name).name
    except ConfigError:
        if ":" not in name:
            raise
        note(f"no task is named {name!r} in app {app.name!r}; searching for that name anyway")
        return check_task_name(name)


def _row(record: TaskRecord, now: float) -> tuple[str, ...]:
    error = record.error
    text = f"{error.type}: {error.message}" if error else progress_text(record) or record.reason or ""
    if record.stalled(now):
        text = f"stalled {text}".rstrip()
    return (
        record.id,
        record.task,
        str(record.status),
        str(record.attempt),
        age(record.enqueued_at, now),
        span(duration_of(record, now)),
        short_text(text),
    )
