"""``taskq schedules``: plan and sync what an app declares, look at schedules, pause, resume and remove them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from ..app import TaskQ
from ..aws.blocking import aws_host
from ..client.schedule_sync import Synced, plan_declared, sync
from ..core.clock import SystemClock
from ..core.flow import call_sync
from ..errors import ConfigError
from ..scheduler.expressions import When, utc
from ..scheduler.parse import cron, parse
from ..scheduler.sync import SyncPlan
from .apps import load_app
from .arguments import add_app_positional, operator_command, whole
from .output import note, print_json, print_table, say
from .schedule_rows import list_schedules, named


def add_to(commands: Any) -> None:
    parser = commands.add_parser("schedules", help="see and change what runs by the clock", description="Timed tasks.")
    several = parser.add_subparsers(dest="schedules_command", metavar="COMMAND", required=True)
    _add_next(several)
    for name, run, text in (
        ("plan", run_plan, "show what sync would create, change and remove"),
        ("sync", run_sync, "make the schedules of an app as its code declares them"),
    ):
        one = operator_command(
            several, name, run, f"{text}. Only schedules that the app declared are touched.", app=False
        )
        add_app_positional(one)
        if name == "sync":
            one.add_argument("--dry-run", action="store_true", help="change nothing: what plan does")
            one.add_argument("--force", action="store_true", help="also in AWS, where a template owns these schedules")
    ls = operator_command(
        several,
        "ls",
        run_ls,
        "list the schedules of an app: state, next run, last run and what became of it.",
        app=False,
    )
    add_app_positional(ls)
    ls.add_argument(
        "--delays", action="store_true", help="also the one-time schedules of delayed tasks and late retries"
    )
    for name, run, text in (
        ("pause", run_pause, "have a schedule fire no more, until resume. The next sync resumes a declared one."),
        ("resume", run_resume, "have a paused schedule fire again."),
        ("rm", run_rm, "remove a schedule. The next sync makes a declared one again."),
    ):
        one = operator_command(several, name, run, text)
        one.add_argument("name", metavar="NAME", help="name of the schedule as ls shows it, or as the code declares it")


def _add_next(several: Any) -> None:
    one = operator_command(
        several, "next", run_next, "show the coming runs of an expression, in local time and UTC.", app=False
    )
    one.add_argument(
        "expression", metavar="EXPRESSION", help="'cron(0 12 ? * MON-FRI *)', 'rate(5 minutes)', 'at(...)'"
    )
    one.add_argument("--timezone", default="UTC", metavar="ZONE", help="such as Europe/Berlin; default: UTC")
    one.add_argument("--count", type=whole, default=5, metavar="N", help=f"1 to {MAX_RUNS:,}; default: 5")
    one.add_argument("--after", metavar="TIME", help="2026-11-22T10:00:00Z, or without a zone local; default: now")
    one.add_argument("--unix", action="store_true", help="EXPRESSION is of the Unix kind: '*/5 * * * *'")


def run_plan(arguments: argparse.Namespace) -> int:
    app = load_app(arguments.app)
    planned = call_sync("plan", plan_declared(app, app.services.blocking(), _progress("read")))
    _print_plan(planned, json=arguments.json)
    return 0


def run_sync(arguments: argparse.Namespace) -> int:
    if arguments.dry_run:
        return run_plan(arguments)
    app = load_app(arguments.app)
    if not arguments.force and (host := aws_host("scheduler")):
        raise ConfigError(
            f"{host} is AWS, where the template owns the schedules that code declares, and would undo this with its next "
            "deployment: deploy the template (`taskq template`), or give --force where none is used"
        )
    synced = call_sync("sync", sync(app, app.services.blocking(), _progress("done"), _progress("read")))
    _print_plan(synced.plan, json=arguments.json, synced=synced)
    for name, error in synced.applied.failed:
        note(f"error: {name}: {error}")
    if synced.applied.skipped:
        note(f"error: {synced.applied.skipped} more were not tried; sync again when the reason is mended")
    return 1 if synced.applied.failed else 0


def run_ls(arguments: argparse.Namespace) -> int:
    app = load_app(arguments.app)
    rows = call_sync("ls", list_schedules(app, app.services.blocking(), delays=arguments.delays))
    if arguments.json:
        print_json([row.fields() for row in rows])
    elif rows:
        print_table(("NAME", "STATE", "WHEN", "TASK", "NEXT RUN", "LAST RUN", "STATUS"), [row.cells() for row in rows])
    else:
        note("no schedules")
    return 0


def run_pause(arguments: argparse.Namespace) -> int:
    return _change(arguments, "paused", lambda app, name: app.schedule_handle(name).pause())


def run_resume(arguments: argparse.Namespace) -> int:
    return _change(arguments, "resumed", lambda app, name: app.schedule_handle(name).resume())


def run_rm(arguments: argparse.Namespace) -> int:
    return _change(arguments, "removed", lambda app, name: app.schedule_handle(name).cancel())


def _change(arguments: argparse.Namespace, done: str, change: Callable[[TaskQ, str], bool]) -> int:
    app = load_app(arguments.app)
    name = named(app, arguments.name)
    if not change(app, name):
        note(f"error: there is no schedule {name!r}; `taskq schedules ls` shows those that there are")
        return 1
    print_json({"name": name, "action": done}) if arguments.json else say(f"{done} {name}")
    return 0


def _print_plan(planned: SyncPlan, *, json: bool, synced: Synced | None = None) -> None:
    changes: list[tuple[str, ...]] = [
        *(("create", spec.name, spec.expression, "") for spec in planned.create),
        *(("update", one.spec.name, one.spec.expression, ", ".join(one.fields)) for one in planned.update),
        *(("remove", name, "", "") for name in planned.remove),
    ]
    if synced is not None:
        changed = set(synced.applied.changed)
        changes = [(_DONE[one[0]] if one[1] in changed else "failed", *one[1:]) for one in changes]
    if json:
        rows = [dict(zip(("action", "name", "expression", "changes"), one, strict=True)) for one in changes]
        print_json({"schedules": rows, "unchanged": len(planned.unchanged)})
        return
    if changes:
        print_table(("ACTION", "NAME", "WHEN", "CHANGES"), changes)
    note(f"{len(changes)} {'' if synced is None else 'were '}to change, {len(planned.unchanged)} as declared")


_DONE = {"create": "created", "update": "updated", "remove": "removed"}


def _progress(what: str) -> Callable[[int, int], None] | None:
    """Tells a person who waits how far it is; nothing where nobody looks."""
    if not sys.stderr.isatty():
        return None

    def tell(done: int, total: int) -> None:
        if total >= 500 and (done % 100 == 0 or done == total):
            end = "\n" if done == total else ""
            print(f"\rtaskq: {done:,} of {total:,} schedules {what}", end=end, file=sys.stderr, flush=True)

    return tell


MAX_RUNS = 10_000


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
