"""``taskq schedules``: plan and sync declared schedules; list, pause, resume and remove schedules; show next runs."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from ..app import TaskQ
from ..aws.blocking import aws_host
from ..client.schedule_sync import Synced, plan_declared, sync
from ..core.clock import SystemClock
from ..core.flow import call_sync
from ..core.schedule_spec import DECLARED, DELAY, RUNTIME
from ..errors import ConfigError, NotFound
from ..operations.presenters import schedule_fields
from ..operations.schedules import ScheduleView, all_schedules
from ..scheduler.expressions import When, utc
from ..scheduler.parse import cron, parse
from ..scheduler.spec import when_of
from ..scheduler.sync import SyncPlan
from .apps import load_app
from .arguments import add_command, add_group, whole
from .output import ProgressBar, iso_time, note, print_json, print_table, say

HEADER = ("NAME", "STATE", "WHEN", "TASK", "NEXT RUN", "LAST RUN", "STATUS")

MAX_RUNS = 10_000
"""Runs that ``taskq schedules next`` shows at most."""


def add_to(commands: Any) -> None:
    several = add_group(
        commands, "schedules", "show and change schedules", "Schedules that an app declares or creates at run time."
    )
    following = add_command(
        several, "next", run_next, "show the next runs of an expression, in local time and UTC.", app=None
    )
    following.add_argument(
        "expression", metavar="EXPRESSION", help="'cron(0 12 ? * MON-FRI *)', 'rate(5 minutes)', 'at(...)'"
    )
    following.add_argument("--timezone", default="UTC", metavar="ZONE", help="such as Europe/Berlin; default: UTC")
    following.add_argument("--count", type=whole, default=5, metavar="N", help=f"1 to {MAX_RUNS:,}; default: 5")
    following.add_argument(
        "--after", metavar="TIME", help="2026-11-22T10:00:00Z, or local without a zone; default: now"
    )
    following.add_argument("--unix", action="store_true", help="EXPRESSION is a Unix one: '*/5 * * * *'")
    for name, run, app, text in (
        ("plan", run_plan, "app", f"show the schedules that sync would create, change and remove. {_ONLY_DECLARED}"),
        (
            "sync",
            run_sync,
            "app",
            f"create, change and remove schedules as the app's code declares them. {_ONLY_DECLARED}",
        ),
        ("ls", run_ls, "app", "list the schedules of an app: state, next run, last run and the status of its task."),
        (
            "pause",
            run_pause,
            "--app",
            "stop a schedule from firing until resume. The next sync resumes a declared one.",
        ),
        ("resume", run_resume, "--app", "let a paused schedule fire again."),
        ("rm", run_rm, "--app", "remove a schedule. The next sync creates a declared one again."),
    ):
        command = add_command(several, name, run, text, app=app)
        if name == "sync":
            command.add_argument("--dry-run", action="store_true", help="change nothing, like plan")
            command.add_argument(
                "--force", action="store_true", help="also in AWS, where a template owns the schedules"
            )
        elif name == "ls":
            command.add_argument("--delays", action="store_true", help="also those of delayed tasks and late retries")
        elif app == "--app":
            command.add_argument("name", metavar="NAME", help="as ls shows it, or as the code declares it")


_ONLY_DECLARED = "Only schedules that the app declared are changed."


def run_plan(arguments: argparse.Namespace) -> int:
    app = load_app(arguments.app)
    with ProgressBar() as bar:
        planned = call_sync("plan", plan_declared(app, app.services.blocking(), _progress(bar, "read")))
    _print_plan(planned, json=arguments.json)
    return 0


def run_sync(arguments: argparse.Namespace) -> int:
    if arguments.dry_run:
        return run_plan(arguments)
    app = load_app(arguments.app)
    if not arguments.force and (host := aws_host("scheduler")):
        raise ConfigError(
            f"{host} is AWS, where the template owns the schedules that code declares, and would undo this with its next "
            "deployment: deploy the template (`taskq template`), or give --force if there is no template"
        )
    with ProgressBar() as bar:
        operation = sync(app, app.services.blocking(), _progress(bar, "changed"), _progress(bar, "read"))
        synced = call_sync("sync", operation)
    _print_plan(synced.plan, json=arguments.json, synced=synced)
    for name, error in synced.applied.failed:
        note(f"error: {name}: {error}")
    if synced.applied.skipped:
        note(f"error: {synced.applied.skipped} more were not tried; fix the cause, then sync again")
    return 1 if synced.applied.failed else 0


def run_ls(arguments: argparse.Namespace) -> int:
    app = load_app(arguments.app)
    views = call_sync("ls", all_schedules(app, app.services.blocking(), delays=arguments.delays))
    if arguments.json:
        print_json([{**schedule_fields(view), "next_run": _next_run(view)} for view in views])
    elif views:
        print_table(HEADER, [_cells(view) for view in views])
    else:
        note("no schedules")
    return 0


def _next_run(view: ScheduleView) -> str | None:
    """The next run in ISO 8601, in the schedule's time zone."""
    return None if view.next_at is None else when_of(view.stored.spec).local(view.next_at).isoformat()


def _cells(view: ScheduleView) -> tuple[str, ...]:
    spec = view.stored.spec
    zone = "" if spec.timezone == "UTC" else f" {spec.timezone}"
    return (
        spec.name,
        view.state,
        spec.expression + zone,
        view.task or "-",
        _next_run(view) or "-",
        (iso_time(view.last_at) or "-").replace(".000Z", "Z"),
        "-" if view.last is None else str(view.last.status),
    )


def run_pause(arguments: argparse.Namespace) -> int:
    return _change(arguments, "paused", lambda app, name: app.schedule_handle(name).pause())


def run_resume(arguments: argparse.Namespace) -> int:
    return _change(arguments, "resumed", lambda app, name: app.schedule_handle(name).resume())


def run_rm(arguments: argparse.Namespace) -> int:
    return _change(arguments, "removed", lambda app, name: app.schedule_handle(name).cancel())


def _change(arguments: argparse.Namespace, done: str, change: Callable[[TaskQ, str], bool]) -> int:
    app = load_app(arguments.app)
    name = find_schedule(app, arguments.name)
    if not change(app, name):
        note(f"error: there is no schedule {name!r}; `taskq schedules ls` lists the existing ones")
        return 1
    print_json({"name": name, "action": done}) if arguments.json else say(f"{done} {name}")
    return 0


def find_schedule(app: TaskQ, text: str) -> str:
    """The full name of a schedule, given that name, the name in its declaration, or its task's name.

    Raises:
        NotFound: there is none.
        ConfigError: there are several, or the name is that of a task's delay.
    """
    if text.startswith((DECLARED, RUNTIME)) and "." in text:
        return text
    if text.startswith(DELAY):
        raise ConfigError(f"schedule {text!r} carries the delay or the late retry of a task: cancel the task instead")
    by_name = {declared.name: (declared.schedule.name,) for declared in app.schedules}
    by_task = {declared.name: (declared.task, declared.task.rpartition(":")[2]) for declared in app.schedules}
    found = _matching(by_name, text) or _matching(by_task, text)
    if len(found) == 1:
        return found[0]
    if found:
        raise ConfigError(f"schedule {text!r} can be {' or '.join(found)}: give the full name")
    raise NotFound(f"app {app.name!r} declares no schedule {text!r}; `taskq schedules ls` lists the names of all")


def _matching(names: Mapping[str, Sequence[str | None]], text: str) -> list[str]:
    return [name for name, others in names.items() if text in others]


def _print_plan(planned: SyncPlan, *, json: bool, synced: Synced | None = None) -> None:
    changes = _changes(planned, synced)
    if json:
        rows = [dict(zip(("action", "name", "expression", "changes"), change, strict=True)) for change in changes]
        print_json({"schedules": rows, "unchanged": len(planned.unchanged)})
        return
    if changes:
        print_table(("ACTION", "NAME", "WHEN", "CHANGES"), changes)
    note(f"{len(changes)} {'' if synced is None else 'were '}to change, {len(planned.unchanged)} as declared")


def _changes(planned: SyncPlan, synced: Synced | None) -> list[tuple[str, ...]]:
    """Action, name, expression and changed fields of every schedule that changes."""
    changes: list[tuple[str, ...]] = [
        *(("create", spec.name, spec.expression, "") for spec in planned.create),
        *(("update", change.spec.name, change.spec.expression, ", ".join(change.fields)) for change in planned.update),
        *(("remove", name, "", "") for name in planned.remove),
    ]
    if synced is None:
        return changes
    changed = set(synced.applied.changed)
    return [(_DONE[action] if name in changed else "failed", name, *rest) for action, name, *rest in changes]


_DONE = {"create": "created", "update": "updated", "remove": "removed"}


def _progress(bar: ProgressBar, done_text: str) -> Callable[[int, int], None]:
    return lambda done, total: bar.show(done, total, f"schedules {done_text}")


def run_next(arguments: argparse.Namespace) -> int:
    when = _when(arguments)
    if arguments.count > MAX_RUNS:
        raise ConfigError(f"--count {arguments.count} is above {MAX_RUNS:,}")
    after = SystemClock().time() if arguments.after is None else _time(arguments.after, when)
    runs: list[tuple[str, str]] = []
    last = after
    while len(runs) < arguments.count and (time := when.next_time(last, after)) is not None:
        runs.append((when.local(time).isoformat(), _utc_text(time)))
        last = time
    if arguments.json:
        rows = [{"local": local, "utc": universal} for local, universal in runs]
        print_json({"expression": when.expression, "timezone": when.timezone, "runs": rows})
    elif runs:
        note(f"{when.expression} in {when.timezone}")
        print_table(("LOCAL", "UTC"), runs)
    if not runs:
        note(f"{when.expression} has no run after {_utc_text(after)}")
    return 0


def _when(arguments: argparse.Namespace) -> When:
    expression, zone = arguments.expression, arguments.timezone
    if arguments.unix:
        return cron.unix(expression, timezone=zone)
    if not expression.strip().startswith(("cron(", "rate(", "at(")):
        raise ConfigError(
            f"{expression!r} must be cron(...), rate(...) or at(...), in quotes; with --unix it can be like '*/5 * * * *'"
        )
    return parse(expression.strip(), zone)


def _time(text: str, when: When) -> float:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"--after {text!r} must be a time, such as 2026-11-22T10:00:00Z") from None
    if time.tzinfo is None:
        time = time.replace(tzinfo=when.local(0.0).tzinfo)
    return time.timestamp()


def _utc_text(time: float) -> str:
    return utc(time).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
