"""``taskq result``."""

from __future__ import annotations

import argparse
from typing import Any

from ..app import TaskQ
from ..client.waiting import wait_for_records
from ..core.flow import call_sync
from ..core.message import check_id
from ..core.states import State
from ..errors import ConfigError
from ..operations.presenters import record_fields, shown_record
from ..results.records import TaskRecord
from .apps import load_app
from .arguments import add_app_option, add_common, add_json, add_show_secrets, seconds
from .output import note, print_json, print_record

NO_RECORD = (
    "there is no record of task {id} in table {table!r}. Perhaps it has not started yet (a task is recorded when it "
    "starts, or when it is sent if it has record='queued'), its record expired, the task has record='none', or the id "
    "or the app is wrong"
)


def add_to(commands: Any) -> None:
    result = commands.add_parser(
        "result",
        help="show one task",
        description="Show a task's record. Exit status 1 if there is none or the task FAILED; with --wait, if it did not "
        "succeed.",
        allow_abbrev=False,
    )
    result.add_argument("id", metavar="ID")
    add_app_option(result)
    result.add_argument("--wait", action="store_true", help="wait until the task has ended")
    result.add_argument("--timeout", type=seconds, metavar="SECONDS", help="with --wait: wait no longer than this")
    add_show_secrets(result)
    add_json(result)
    add_common(result)
    result.set_defaults(run=run_result)


def run_result(arguments: argparse.Namespace) -> int:
    if arguments.timeout is not None and not arguments.wait:
        raise ConfigError("--timeout limits --wait: give both")
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
