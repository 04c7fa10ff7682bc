"""``taskq dlq``: list, show, redrive and delete dead letters."""

from __future__ import annotations

import argparse
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from ..app import TaskQ
from ..core.flow import call_sync
from ..errors import TaskQError
from ..operations import dead_letters as operations
from ..operations.dead_letter_view import DeadLetterView, Selection, groups_of
from ..operations.dead_letters import Listing, SweepProgress, list_dead_letters
from ..operations.presenters import (
    dead_letter_fields,
    group_fields,
    named_fields,
    shown_dead_letter,
)
from ..operations.redrive import redrive as redrive_dead_letters
from .apps import load_app
from .arguments import (
    add_command,
    add_group,
    add_new_values,
    add_show_secrets,
    duration,
    edit_of,
    label,
    per_second,
    whole,
)
from .dead_letter_output import (
    GROUP_HEADER,
    HEADER,
    group_cells,
    letter_cells,
    print_letter,
    print_missed,
    print_problems,
    print_redriven,
    redriven_fields,
    swept_fields,
    warn_of_missing,
)
from .output import ProgressBar, confirmed, needs_confirmation, note, print_json, print_table, say
from .tasks import named_task

T = TypeVar("T")

NO_LIMIT = 10**9


def add_to(commands: Any) -> None:
    several = add_group(
        commands,
        "dlq",
        "list, redrive and delete dead letters",
        "Messages in the dead-letter queues. Listing leaves them there, but each is invisible to other consumers while the "
        "command runs.",
    )
    ls = add_command(several, "ls", run_ls, "list dead letters, the latest first, and count them by reason.")
    ls.add_argument("--limit", type=whole, default=100, metavar="N", help="most to show; default 100")
    ls.add_argument("--groups", action="store_true", help="show only how many there are of each reason and task")
    show = add_command(several, "show", run_show, "show all fields of a dead letter. Exit status 1 if there is none.")
    show.add_argument("id", metavar="ID", help="of the task, or of the message")
    show.add_argument("--queue", metavar="QUEUE", help="search only there; default: all queues of the app")
    redrive = add_command(
        several,
        "redrive",
        run_redrive,
        "send dead letters back to their queues, then delete them from the dead-letter queue. Each becomes a new run of "
        "its task, with the same id. An interruption loses nothing: run it again. Exit status 1 if some that match were "
        "left.",
    )
    redrive.add_argument("--limit", type=whole, metavar="N", help="most to send; default: all that match")
    redrive.add_argument("--rate", type=per_second, metavar="N", help="messages a second; default: no limit")
    add_new_values(redrive, "for all that match")
    redrive.add_argument(
        "--group", metavar="GROUP", help="message group of firings to FIFO queues whose schedule is deleted"
    )
    purge = add_command(several, "purge", run_purge, "delete dead letters. Exit status 1 if some that match were left.")
    purge.add_argument("--limit", type=whole, metavar="N", help="most to delete; default: all that match")
    for command in (ls, redrive, purge):
        _add_filters(command)
    for command in (ls, show):
        add_show_secrets(command)
    for command in (redrive, purge):
        command.add_argument("--dry-run", action="store_true", help="change nothing; print the result it would have")
        command.add_argument("--yes", action="store_true", help="do not ask for confirmation")


def _add_filters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--queue", metavar="QUEUE", help="only of this queue, or schedules-dlq; default: all of the app"
    )
    for option, metavar, kind, text in (
        ("--task", "NAME", str, "only of this task"),
        ("--reason", "REASON", str, "exhausted, crashed, redriven, ..."),
        ("--id", "ID", str, "only this task"),
        ("--message-id", "ID", str, "only this message"),
        ("--label", "NAME=VALUE", label, "with this label"),
    ):
        parser.add_argument(
            option, action="append", default=[], type=kind, metavar=metavar, help=f"{text}; may be repeated"
        )
    parser.add_argument("--older-than", type=duration, metavar="SPAN", help="failed at least 90s, 15m, 1h, 2d ago")
    parser.add_argument("--newer-than", type=duration, metavar="SPAN", help="failed in the last 90s, 15m, 1h, 2d")


def run_ls(arguments: argparse.Namespace) -> int:
    app = load_app(arguments.app)
    limit = NO_LIMIT if arguments.groups else arguments.limit
    listing = _list(app, arguments.queue, _selection(app, arguments), limit)
    now = app.clock.time()
    shown = _shown(app, listing, secrets=arguments.show_secrets)
    if arguments.json:
        letters = {} if arguments.groups else {"dead_letters": [dead_letter_fields(view, now) for view in shown]}
        groups = [group_fields(group) for group in listing.groups]
        counts = {"seen": listing.seen, "missed": listing.missed, "missing": listing.missing}
        print_json({**letters, "groups": groups, **counts})
    else:
        warn_of_missing(app, listing.missing)
        _print_listing(listing, shown, now, groups_only=arguments.groups)
    return 0


def _print_listing(listing: Listing, shown: Sequence[DeadLetterView], now: float, *, groups_only: bool) -> None:
    if not shown:
        note("no dead letters" if not listing.seen else f"none of {listing.seen} dead letters matches")
    elif groups_only:
        print_table(GROUP_HEADER, [group_cells(group, now) for group in listing.groups])
    else:
        print_table(HEADER, [letter_cells(view, now) for view in shown])
    if listing.missed:
        note(
            f"about {listing.missed} more were not read: they are beyond the limit, another consumer has received them, or "
            "they wait behind others of their FIFO group"
        )


def run_show(arguments: argparse.Namespace) -> int:
    app = load_app(arguments.app)
    found = _list(app, arguments.queue, Selection(ids=frozenset({arguments.id})), 100)
    if not found.dead_letters:
        found = _list(app, arguments.queue, Selection(message_ids=frozenset({arguments.id})), 1)
    if not found.dead_letters:
        warn_of_missing(app, found.missing)
        more = f"; about {found.missed} could not be read, see `taskq dlq ls`" if found.missed else ""
        note(f"error: no dead letter of task or message {arguments.id!r} among {found.seen}{more}")
        return 1
    now = app.clock.time()
    shown = _shown(app, found, secrets=arguments.show_secrets)
    if arguments.json:
        print_json([dead_letter_fields(view, now) for view in shown])
        return 0
    for number, view in enumerate(shown):
        if number:
            say()
        print_letter(view, now)
    return 0


def run_redrive(arguments: argparse.Namespace) -> int:
    app = load_app(arguments.app)
    selection, edit = _selection(app, arguments), edit_of(arguments)
    if edit is not None and not arguments.dry_run and not _confirmed_for_all(app, arguments, selection):
        return _nothing_done()
    with _SweepBar("would be sent" if arguments.dry_run else "sent") as bar:
        operation = redrive_dead_letters(
            app,
            app.services.blocking(),
            arguments.queue,
            selection,
            limit=arguments.limit,
            rate=arguments.rate,
            edit=edit,
            group=arguments.group,
            dry_run=arguments.dry_run,
            on_progress=bar,
        )
        done = _interruptible(bar, operation, "sent")
    if arguments.json:
        print_json(redriven_fields(done, arguments.dry_run))
    else:
        warn_of_missing(app, done.missing)
        print_redriven(done, dry_run=arguments.dry_run)
    return 1 if done.kept or done.undeleted else 0


def run_purge(arguments: argparse.Namespace) -> int:
    app = load_app(arguments.app)
    selection, services, limit = _selection(app, arguments), app.services.blocking(), arguments.limit
    if not arguments.dry_run and needs_confirmation(arguments.yes, "deletes dead letters for good"):
        search = operations.purge(app, services, arguments.queue, selection, limit=limit, dry_run=True)
        found = call_sync("purge", search).purged
        if not found:
            note("no dead letters match")
            return 0
        if not confirmed(f"delete {_counted(found)} for good?"):
            return _nothing_done()
    would = "would be deleted" if arguments.dry_run else "deleted"
    with _SweepBar(would) as bar:
        operation = operations.purge(
            app, services, arguments.queue, selection, limit=limit, dry_run=arguments.dry_run, on_progress=bar
        )
        done = _interruptible(bar, operation, "deleted")
    if arguments.json:
        purged = [named_fields(view) for view in done.purged]
        print_json({"purged": purged, **swept_fields(done, arguments.dry_run)})
    else:
        warn_of_missing(app, done.missing)
        say(f"{len(done.purged)} {would}, of {done.seen} read")
        print_problems(done.kept)
        print_missed(done.missed)
    return 1 if done.kept else 0


def _selection(app: TaskQ, arguments: argparse.Namespace) -> Selection:
    return Selection(
        tasks=frozenset(named_task(app, name) for name in arguments.task),
        reasons=frozenset(arguments.reason),
        older_than=arguments.older_than,
        newer_than=arguments.newer_than,
        labels=dict(arguments.label),
        ids=frozenset(arguments.id),
        message_ids=frozenset(arguments.message_id),
    )


def _list(app: TaskQ, queue: str | None, selection: Selection, limit: int) -> Listing:
    with _SweepBar("match") as bar:
        listing = list_dead_letters(
            app, app.services.blocking(), queue, selection, limit=limit, end_moved=True, on_progress=bar
        )
        return call_sync("list_dead_letters", listing)


def _shown(app: TaskQ, listing: Listing, *, secrets: bool) -> list[DeadLetterView]:
    return [shown_dead_letter(app, view, secrets=secrets) for view in listing.dead_letters]


def _confirmed_for_all(app: TaskQ, arguments: argparse.Namespace, selection: Selection) -> bool:
    """True if only one dead letter is selected, or the user confirms that all that match get new arguments."""
    if selection.max_matches == 1 or len(selection.ids) == 1:
        return True
    if not needs_confirmation(arguments.yes, "replaces the arguments of all that match"):
        return True
    found = _list(app, arguments.queue, selection, NO_LIMIT).dead_letters
    return confirmed(f"replace the arguments of {_counted(found)}, and send them?")


def _interruptible(bar: _SweepBar, operation: Coroutine[Any, Any, T], done: str) -> T:
    try:
        return call_sync("dlq", operation)
    except (KeyboardInterrupt, TaskQError):
        note(f"interrupted: {bar.last.done} were {done}, the rest is unchanged; run it again to go on")
        raise


class _SweepBar(ProgressBar):
    """Progress of a sweep. `last` is the progress that was reported last."""

    def __init__(self, done_text: str) -> None:
        self._done_text = done_text
        self.last = SweepProgress(0, 0, 0, 0)

    def __call__(self, progress: SweepProgress) -> None:
        self.last = progress
        failed = f", {progress.failed} kept" if progress.failed else ""
        text = f"read, {progress.done:,} {self._done_text}{failed}"
        self.show(progress.seen, progress.expected, text)


def _counted(found: Sequence[DeadLetterView]) -> str:
    groups = groups_of(found)
    named = ", ".join(f"{group.total} of {group.task or '?'} ({group.reason})" for group in groups[:3])
    more = f", and {len(groups) - 3} more kinds" if len(groups) > 3 else ""
    return f"{len(found)} dead letters: {named}{more}" if found else "no dead letters"


def _nothing_done() -> int:
    note("nothing was done")
    return 1
