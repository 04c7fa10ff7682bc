"""``taskq tasks``: list, show, cancel, retry and follow tasks."""

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
from ..operations.editing import Edit
from ..operations.tail import INTERVAL_SECONDS, Tail
from ..operations.tasks import cancel, retry, show
from ..results.layout import INDEXED_STATES
from ..results.records import TaskRecord
from .apps import find_task, load_app
from .arguments import json_array, json_object, operator_command, when, whole
from .dead_letter_output import letter_fields, print_letter
from .output import (
    age,
    duration_of,
    note,
    print_json,
    print_record,
    print_table,
    progress_text,
    record_fields,
    say,
    span,
)
from .redaction import add_show_secrets, refuse_masks, shown_letter, shown_record
from .results import NO_RECORD

HEADER = ("ID", "TASK", "STATUS", "ATTEMPT", "AGE", "DURATION", "NOTE")


def add_to(commands: Any) -> None:
    parser = commands.add_parser(
        "tasks",
        help="list, show, cancel, retry and follow tasks",
        description="Tasks by their records. Without a command: ls.",
        allow_abbrev=False,
    )
    parser.default_command = "ls"
    several = parser.add_subparsers(dest="tasks_command", metavar="COMMAND", required=True)
    ls = operator_command(
        several, "ls", run_ls, "list the records of tasks, newest first. Without --task, those of the app."
    )
    ls.add_argument("--status", metavar="STATUS", help=", ".join(State))
    ls.add_argument("--task", metavar="NAME", help="name of the task, or its end: resize for shop.tasks:resize")
    ls.add_argument("--since", type=when, metavar="WHEN", help="90s, 15m, 1h, 2d ago, or 2026-11-22T10:00:00Z")
    ls.add_argument("--until", type=when, metavar="WHEN", help="the same, exclusive")
    ls.add_argument("--limit", type=whole, default=50, metavar="N", help="1 to 1000; default 50")
    ls.add_argument("--cursor", metavar="CURSOR", help="the next page, as the page before named it")
    add_show_secrets(ls)
    one = operator_command(
        several, "show", run_show, "show a task's record, and its dead letter if there is one. Exit status 1 for none."
    )
    one.add_argument("id", metavar="ID")
    one.add_argument("--no-dead-letter", action="store_true", help="do not look into the dead-letter queue")
    add_show_secrets(one)
    stop = operator_command(
        several,
        "cancel",
        run_cancel,
        "cancel tasks by their ids; their code need not be here. Exit status 1 when one had ended otherwise or is not "
        "known.",
    )
    stop.add_argument("id", metavar="ID", nargs="+")
    stop.add_argument("--task", metavar="NAME", help="name of the task, needed where it has no record yet")
    again = operator_command(
        several,
        "retry",
        run_retry,
        "run a task again. Its dead letter is redriven, as a new run of the same id; without one, a new task is sent, "
        "with the old one as its parent, and needs its arguments.",
    )
    again.add_argument("id", metavar="ID")
    again.add_argument("--args", type=json_array, metavar="JSON", help="positional arguments, as '[\"a.png\", 200]'")
    again.add_argument("--kwargs", type=json_object, metavar="JSON", help="named arguments, as '{\"width\": 200}'")
    again.add_argument("--labels", type=json_object, metavar="JSON", help="other labels")
    again.add_argument("--group", metavar="GROUP", help="message group, for a new task on a FIFO queue")
    tail = operator_command(several, "tail", run_tail, "follow tasks as they end or retry, until Ctrl-C.")
    tail.add_argument("--task", metavar="NAME", help="only tasks of this name")
    tail.add_argument(
        "--status",
        action="append",
        default=[],
        type=str.upper,
        choices=sorted(map(str, INDEXED_STATES)),
        help="may be repeated",
    )
    add_show_secrets(tail)


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
        shown = [shown_record(app, one, secrets=arguments.show_secrets) for one in page]
        print_json({"tasks": [record_fields(one, now) for one in shown], "cursor": page.cursor})
        return 0
    if page:
        print_table(HEADER, [_row(one, now) for one in page])
    else:
        note("no tasks")
    if page.cursor is not None:
        note(f"more with --cursor '{page.cursor}'")
    return 0


def run_show(arguments: argparse.Namespace) -> int:
    app = load_app(arguments.app)
    look = show(app, app.services.blocking(), arguments.id, dead_letter=not arguments.no_dead_letter)
    view = call_sync("show", look)
    now, secrets = app.clock.time(), arguments.show_secrets
    record = view.record and shown_record(app, view.record, secrets=secrets)
    letter = view.dead_letter and shown_letter(app, view.dead_letter, secrets=secrets)
    if arguments.json:
        print_json(
            {
                "id": view.id,
                "record": record and record_fields(record, now),
                "dead_letter": letter and letter_fields(letter, now),
            }
        )
    else:
        if record is not None:
            print_record(record, now)
        if record is not None and letter is not None:
            say(f"\nits dead letter in {letter.queue}:\n")
        if letter is not None:
            print_letter(letter, now)
    if record is None and letter is None:
        note(f"error: {NO_RECORD.format(id=view.id, table=app.settings.table)}")
        return 1
    return 0


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
                answer = call_sync("cancel", cancel(app, services, id, task=task))
            except ConfigError as error:  # of this one alone
                note(f"error: {error}")
                left = True
                continue
            answers.append({"id": id, "answer": answer.answer, "status": str(answer.status)})
            if not arguments.json:
                say(f"{id}  {_ANSWERS[answer.answer].format(status=answer.status)}")
    finally:
        if arguments.json:
            print_json(answers)
    return 1 if left or any(one["answer"] == "too_late" for one in answers) else 0


_ANSWERS = {
    "cancelled": "cancelled",
    "requested": "it runs, and was asked to stop",
    "too_late": "too late: it had {status}",
}


def run_retry(arguments: argparse.Namespace) -> int:
    app = load_app(arguments.app)
    given = {name: value for name in ("args", "kwargs", "labels") if (value := getattr(arguments, name)) is not None}
    refuse_masks(given)
    edit = Edit(**given) if given else None
    done = call_sync("retry", retry(app, app.services.blocking(), arguments.id, edit=edit, group=arguments.group))
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
    tail = Tail(app, services, tasks=tasks, states=[State(one) for one in arguments.status])
    fault: str | None = None
    try:
        while True:
            try:
                found = call_sync("poll", tail.poll())
                shown = [shown_record(app, one, secrets=arguments.show_secrets) for one in found]
                _tell(shown, app, json=arguments.json)
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


def _tell(records: Sequence[TaskRecord], app: TaskQ, *, json: bool) -> None:
    now = app.clock.time()
    for record in records:
        if json:
            print_json(record_fields(record, now))
        else:
            id, task, status, attempt, _, took, text = _row(record, now)
            say(f"{id}  {status:<9}  {task}  attempt {attempt}  {took}  {text}".rstrip())


def named_task(app: TaskQ, name: str) -> str:
    """The full name of a task. Records and messages outlive code: a full name that the app lacks is taken as it is.

    Raises:
        ConfigError: no task has that name, or several end in it.
    """
    try:
        return find_task(app, name).name
    except ConfigError:
        if ":" not in name:
            raise
        note(f"no task is named {name!r} in app {app.name!r}; looking for that name all the same")
        return check_task_name(name)


def _row(record: TaskRecord, now: float) -> tuple[str, ...]:
    error = record.error
    text = f"{error.type}: {error.message}" if error else progress_text(record) or record.reason or ""
    if record.stalled(now):
        text = f"stalled {text}".rstrip()
    text = " ".join(text.split())
    return (
        record.id,
        record.task,
        str(record.status),
        str(record.attempt),
        age(record.enqueued_at, now),
        span(duration_of(record, now)),
        text if len(text) <= 60 else f"{text[:59]}…",
    )
