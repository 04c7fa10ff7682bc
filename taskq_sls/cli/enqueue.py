"""``taskq enqueue`` and ``taskq result``."""

from __future__ import annotations

import argparse
import json
from typing import Any

from ..app import TaskQ
from ..client.task import Enqueuer
from ..client.waiting import wait_for_records
from ..core.flow import call_sync
from ..core.message import check_id
from ..core.redaction import redact
from ..core.states import State
from ..errors import ConfigError
from ..operations.presenters import record_fields, shown_record
from ..results.records import TaskRecord
from ..serialization import JsonSignature, Signature
from .apps import find_task, load_app
from .arguments import add_command, add_show_secrets, json_array, json_object, label, seconds
from .output import note, print_json, print_record, say

NO_RECORD = (
    "there is no record of task {id} in table {table!r}. Perhaps it has not started yet (a task is recorded when it "
    "starts, or when it is sent if it has record='queued'), its record expired, the task has record='none', or the id "
    "or the app is wrong"
)


def add_to(commands: Any) -> None:
    enqueue = add_command(
        commands,
        "enqueue",
        run_enqueue,
        "send a task. Prints its id; with --wait, prints its result as JSON, and the id on stderr. Arguments are JSON, "
        "converted by the task's annotations (a date from text, for example).",
    )
    enqueue.add_argument("task", metavar="TASK", help="name of the task, or its end: resize for shop.tasks:resize")
    enqueue.add_argument("--args", type=json_array, default=[], metavar="JSON", help="positional: '[\"a.png\", 200]'")
    enqueue.add_argument("--kwargs", type=json_object, default={}, metavar="JSON", help="named: '{\"width\": 200}'")
    enqueue.add_argument("--by-name", action="store_true", help="send a task that the app does not define, unchecked")
    enqueue.add_argument("--queue", metavar="QUEUE", help="a queue of the app; default: the task's")
    enqueue.add_argument("--delay", type=seconds, metavar="SECONDS", help="start no earlier than this, 0 to 900")
    enqueue.add_argument("--group", metavar="GROUP", help="message group, required on FIFO queues")
    enqueue.add_argument("--id", metavar="ID", help="the task's id; sending it again with the same id is safe")
    enqueue.add_argument(
        "--unique-key", metavar="KEY", help="send nothing while a task of this name with this key has not ended"
    )
    enqueue.add_argument(
        "--label", type=label, action="append", default=[], metavar="NAME=VALUE", help="may be repeated"
    )
    result = add_command(
        commands,
        "result",
        run_result,
        "show a task's record. Exit status 1 if there is none or the task FAILED; with --wait, if it did not succeed.",
        help="show one task",
    )
    result.add_argument("id", metavar="ID")
    for command in (enqueue, result):
        command.add_argument("--wait", action="store_true", help="wait until the task has ended")
        command.add_argument("--timeout", type=seconds, metavar="SECONDS", help="with --wait: wait no longer than this")
        add_show_secrets(command)


def run_enqueue(arguments: argparse.Namespace) -> int:
    _check_timeout(arguments)
    app = load_app(arguments.app)
    task, signature = _task(app, arguments)
    args, kwargs = signature.decode(arguments.args, arguments.kwargs)
    if arguments.wait and task.options.record == "none":
        raise ConfigError(
            f"--wait: task {task.name} has record='none', so its result is kept nowhere; nothing was sent"
        )
    handle = task.enqueue(*args, **kwargs)
    answer = {"id": handle.id, "task": handle.task, "queue": handle.queue}
    if not arguments.wait:
        print_json(answer) if arguments.json else say(handle.id)
        return 0
    note(f"{handle.task} {handle.id} is sent to queue {handle.queue!r}; waiting")
    result = signature.encode_result(handle.result(arguments.timeout))
    names = frozenset() if arguments.show_secrets else app.redaction(task.name)
    shown = redact(signature.whole_result(result), names)
    if arguments.json:
        print_json({**answer, "status": "SUCCEEDED", "result": shown})
    else:
        say(result if shown == json.loads(result) else json.dumps(shown, ensure_ascii=False))
    return 0


def _check_timeout(arguments: argparse.Namespace) -> None:
    if arguments.timeout is not None and not arguments.wait:
        raise ConfigError("--timeout limits --wait: give both")


def _task(app: TaskQ, arguments: argparse.Namespace) -> tuple[Enqueuer[..., Any], Signature | JsonSignature]:
    options: dict[str, Any] = {
        name: value
        for name in ("queue", "delay", "group", "id", "unique_key")
        if (value := getattr(arguments, name)) is not None
    }
    if arguments.label:
        options["labels"] = dict(arguments.label)
    if arguments.by_name:
        return app.ref(arguments.task, **options), JsonSignature(arguments.task)
    try:
        task = find_task(app, arguments.task)
    except ConfigError as error:
        raise ConfigError(f"{error} (--by-name sends a task whose code is elsewhere)") from None
    return task.with_options(**options), task.plan.signature


def run_result(arguments: argparse.Namespace) -> int:
    _check_timeout(arguments)
    id = check_id(arguments.id)
    app = load_app(arguments.app)
    record = _wait(app, id, arguments.timeout) if arguments.wait else app.results.get(id)
    if record is None:
        note(f"error: {NO_RECORD.format(id=id, table=app.settings.table)}")
        return 1
    now = app.clock.time()
    record = shown_record(app, record, secrets=arguments.show_secrets)
    if arguments.json:
        print_json(record_fields(record, now))
    else:
        print_record(record, now)
    failed = record.status is State.FAILED or (arguments.wait and record.status is not State.SUCCEEDED)
    return 1 if failed else 0


def _wait(app: TaskQ, id: str, timeout: float | None) -> TaskRecord:
    records = call_sync("result", wait_for_records(app.clock, app.services.blocking(), [id], timeout))
    return records[id]
