"""``taskq result`` and ``taskq tasks``."""

from __future__ import annotations

import argparse
from typing import Any

from ..app import TaskQ
from ..errors import ConfigError
from ..flow import call_sync
from ..handle import TaskHandle, wait_for_records
from ..message import check_id
from ..naming import check_task_name
from ..results.records import State, TaskRecord
from .apps import find_task, load_app
from .arguments import add_app_option, add_common, add_json, seconds, when, whole
from .output import age, duration_of, note, print_json, print_record, print_table, progress_text, record_fields, span

_NO_RECORD = (
    "there is no record of task {id} in table {table!r}. That can be because it has not started yet (it is recorded "
    "when it starts, at record='queued' when it is sent), because its record expired, because the task has "
    "record='none', or because the id or the app is another one"
)


def add_to(commands: Any) -> None:
    result = commands.add_parser(
        "result",
        help="show one task",
        description="Show a task's record. Exit status 1 when there is none or the task FAILED, with --wait also when "
        "it ended otherwise without a result.",
        allow_abbrev=False,
    )
    result.add_argument("id", metavar="ID")
    add_app_option(result)
    result.add_argument("--wait", action="store_true", help="wait until the task has ended")
    result.add_argument("--timeout", type=seconds, metavar="SECONDS", help="with --wait: no longer than this")
    add_json(result)
    add_common(result)
    result.set_defaults(run=run_result)

    tasks = commands.add_parser(
        "tasks",
        help="list tasks, newest first",
        description="List the records of tasks, newest first. Without --task, those of the app.",
        allow_abbrev=False,
    )
    add_app_option(tasks)
    tasks.add_argument("--status", metavar="STATUS", help=", ".join(State))
    tasks.add_argument("--task", metavar="NAME", help="name of the task, or its end: resize for shop.tasks:resize")
    tasks.add_argument("--since", type=when, metavar="WHEN", help="90s, 15m, 1h, 2d ago, or 2026-11-22T10:00:00Z")
    tasks.add_argument("--until", type=when, metavar="WHEN", help="the same, exclusive")
    tasks.add_argument("--limit", type=whole, default=50, metavar="N", help="1 to 1000; default 50")
    tasks.add_argument("--cursor", metavar="CURSOR", help="the next page, as the page before named it")
    add_json(tasks)
    add_common(tasks)
    tasks.set_defaults(run=run_tasks)


def run_result(arguments: argparse.Namespace) -> int:
    if arguments.timeout is not None and not arguments.wait:
        raise ConfigError("--timeout limits --wait: give both")
    id = check_id(arguments.id)
    app = load_app(arguments.app)
    record = _wait(app, id, arguments.timeout) if arguments.wait else app.results.get(id)
    if record is None:
        note(f"error: {_NO_RECORD.format(id=id, table=app.settings.table)}")
        return 1
    now = app.clock.time()
    if arguments.json:
        print_json(record_fields(record, now))
    else:
        print_record(record, now)
    failed = record.status is State.FAILED or (arguments.wait and record.status is not State.SUCCEEDED)
    return 1 if failed else 0


def run_tasks(arguments: argparse.Namespace) -> int:
    app = load_app(arguments.app)
    page = app.results.list(
        status=arguments.status,
        task=arguments.task and _name(app, arguments.task),
        since=arguments.since,
        until=arguments.until,
        limit=arguments.limit,
        cursor=arguments.cursor,
    )
    now = app.clock.time()
    if arguments.json:
        print_json({"tasks": [record_fields(record, now) for record in page], "cursor": page.cursor})
        return 0
    if page:
        print_table(("ID", "TASK", "STATUS", "ATTEMPT", "AGE", "DURATION", "NOTE"), [_row(one, now) for one in page])
    else:
        note("no tasks")
    if page.cursor is not None:
        note(f"more with --cursor '{page.cursor}'")
    return 0


def _wait(app: TaskQ, id: str, timeout: float | None) -> TaskRecord:
    handle: TaskHandle[Any] = TaskHandle(app, id, "?", "?", "started", None)
    records = call_sync("result", wait_for_records(app, app.services.blocking(), [handle], timeout))
    return records[id]


def _name(app: TaskQ, name: str) -> str:
    try:
        return find_task(app, name).name
    except ConfigError:
        if ":" not in name:
            raise
        # Records outlive code: what another version or program recorded is found by its full name.
        note(f"no task is named {name!r} in app {app.name!r}; looking for records of that name")
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
