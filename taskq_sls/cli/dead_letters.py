"""``taskq dlq``: look into dead-letter queues, send dead letters back, or delete them."""

from __future__ import annotations

import argparse
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from ..app import TaskQ
from ..core.flow import call_sync
from ..errors import ConfigError, TaskQError
from ..operations.dead_letter_view import DeadLetterView, Selection, groups_of
from ..operations.dead_letters import Listing, list_dead_letters, purge
from ..operations.editing import Edit
from ..operations.redrive import redrive
from .apps import load_app
from .arguments import Run, duration, json_array, json_object, label, operator_command, per_second, whole
from .dead_letter_output import (
    GROUP_HEADER,
    HEADER,
    group_cells,
    group_fields,
    letter_cells,
    letter_fields,
    named_fields,
    print_letter,
    print_redriven,
    problem_fields,
    tell_missed,
    tell_problems,
    warn_of_missing,
)
from .editor import edit_in_editor
from .output import note, print_json, print_table, say
from .prompts import ProgressBar, confirmed, needs_confirmation
from .redaction import add_show_secrets, refuse_masks, shown_letter
from .tasks import named_task

T = TypeVar("T")


def add_to(commands: Any) -> None:
    add_commands(commands, run_ls, run_show, run_redrive, run_purge)


def run_ls(arguments: argparse.Namespace) -> int:
    app = load_app(arguments.app)
    listing = _look(app, arguments.queue, _selection(app, arguments), 10**9 if arguments.groups else arguments.limit)
    now = app.clock.time()
    shown = [shown_letter(app, one, secrets=arguments.show_secrets) for one in listing.dead_letters]
    if arguments.json:
        answer: dict[str, Any] = (
            {} if arguments.groups else {"dead_letters": [letter_fields(one, now) for one in shown]}
        )
        answer["groups"] = [group_fields(group) for group in listing.groups]
        print_json({**answer, "seen": listing.seen, "missed": listing.missed, "missing": listing.missing})
        return 0
    warn_of_missing(app, listing.missing)
    if not listing.dead_letters:
        note("no dead letters" if not listing.seen else f"none of {listing.seen} dead letters fits")
    elif arguments.groups:
        print_table(GROUP_HEADER, [group_cells(group, now) for group in listing.groups])
    else:
        print_table(HEADER, [letter_cells(one, now) for one in shown])
    if listing.missed:
        note(
            f"about {listing.missed} more were not looked at: beyond the limit, held by others, or behind others of their "
            "FIFO group"
        )
    return 0


def run_show(arguments: argparse.Namespace) -> int:
    app = load_app(arguments.app)
    found = _look(app, arguments.queue, Selection(ids=frozenset({arguments.id})), 100)
    if not found.dead_letters:
        found = _look(app, arguments.queue, Selection(message_ids=frozenset({arguments.id})), 1)
    if not found.dead_letters:
        warn_of_missing(app, found.missing)
        more = f"; about {found.missed} could not be looked at, see `taskq dlq ls`" if found.missed else ""
        note(f"error: no dead letter of task or message {arguments.id!r} among {found.seen}{more}")
        return 1
    now = app.clock.time()
    shown = [shown_letter(app, one, secrets=arguments.show_secrets) for one in found.dead_letters]
    if arguments.json:
        print_json([letter_fields(one, now) for one in shown])
        return 0
    for number, one in enumerate(shown):
        if number:
            say()
        print_letter(one, now)
    return 0


def run_redrive(arguments: argparse.Namespace) -> int:
    app = load_app(arguments.app)
    selection, queue = _selection(app, arguments), arguments.queue
    given = {name: value for name in ("args", "kwargs", "labels") if (value := getattr(arguments, name)) is not None}
    refuse_masks(given)
    edit = Edit(**given) if given else None
    if arguments.show_secrets and not arguments.edit:
        raise ConfigError("--show-secrets goes with --edit: nothing else of a redrive shows arguments")
    if arguments.edit:
        if edit is not None:
            raise ConfigError("--edit and --args, --kwargs or --labels are two ways to say what changes: give one")
        one = _only(_look(app, queue, selection, 2))
        if (edit := edit_in_editor(one, shown_letter(app, one, secrets=arguments.show_secrets))) is None:
            note("nothing was changed, and nothing sent")
            return 1
        selection, queue = Selection(message_ids=frozenset({one.message_id})), one.queue
    elif edit is not None and not arguments.dry_run and not _replacement_is_meant(app, arguments, selection):
        return _nothing_done()
    with ProgressBar("would be sent" if arguments.dry_run else "sent") as bar:
        done = _interruptible(
            bar,
            redrive(
                app,
                app.services.blocking(),
                queue,
                selection,
                limit=arguments.limit,
                rate=arguments.rate,
                edit=edit,
                group=arguments.group,
                dry_run=arguments.dry_run,
                on_progress=bar,
            ),
            "sent",
        )
    if not arguments.json:
        warn_of_missing(app, done.missing)
    print_redriven(done, as_json=arguments.json, dry_run=arguments.dry_run)
    return 1 if done.kept or done.undeleted else 0


def run_purge(arguments: argparse.Namespace) -> int:
    app = load_app(arguments.app)
    selection, services = _selection(app, arguments), app.services.blocking()
    if not arguments.dry_run and needs_confirmation(arguments.yes, "deletes dead letters for good"):
        found = call_sync(
            "purge", purge(app, services, arguments.queue, selection, limit=arguments.limit, dry_run=True)
        ).purged
        if not found:
            note("no dead letters fit")
            return 0
        if not confirmed(f"delete {_counted(found)} for good?"):
            return _nothing_done()
    with ProgressBar("would be deleted" if arguments.dry_run else "deleted") as bar:
        done = _interruptible(
            bar,
            purge(
                app,
                services,
                arguments.queue,
                selection,
                limit=arguments.limit,
                dry_run=arguments.dry_run,
                on_progress=bar,
            ),
            "deleted",
        )
    if arguments.json:
        answer = {
            "purged": [named_fields(one) for one in done.purged],
            "kept": [problem_fields(one) for one in done.kept],
        }
        print_json(
            {
                **answer,
                "seen": done.seen,
                "missed": done.missed,
                "missing": done.missing,
                "dry_run": arguments.dry_run,
            }
        )
    else:
        warn_of_missing(app, done.missing)
        would = "would be deleted" if arguments.dry_run else "deleted"
        say(f"{len(done.purged)} {would}, of {done.seen} looked at")
        tell_problems(done.kept)
        tell_missed(done.missed)
    return 1 if done.kept else 0


def _selection(app: TaskQ, arguments: argparse.Namespace) -> Selection:
    return Selection(
        frozenset(named_task(app, name) for name in arguments.task),
        frozenset(arguments.reason),
        arguments.older_than,
        dict(arguments.label),
        frozenset(arguments.id),
        frozenset(arguments.message_id),
        newer_than=arguments.newer_than,
    )


def _look(app: TaskQ, queue: str | None, selection: Selection, limit: int) -> Listing:
    with ProgressBar("fit") as bar:
        look = list_dead_letters(
            app, app.services.blocking(), queue, selection, limit=limit, end_moved=True, on_progress=bar
        )
        return call_sync("list_dead_letters", look)


def _replacement_is_meant(app: TaskQ, arguments: argparse.Namespace, selection: Selection) -> bool:
    """Whether the arguments of all that fit are to be replaced: of one that was named, or confirmed."""
    if selection.max_matches == 1 or len(selection.ids) == 1:
        return True
    if not needs_confirmation(arguments.yes, "replaces the arguments of all that fit"):
        return True
    found = _look(app, arguments.queue, selection, 10**9).dead_letters
    return confirmed(f"replace the arguments of {_counted(found)}, and send them?")


def _only(listing: Listing) -> DeadLetterView:
    if len(listing.dead_letters) != 1:
        raise ConfigError(
            f"--edit changes one dead letter, and {'several fit' if listing.dead_letters else 'none fits'}: name one with "
            "--id or --message-id, or give --args and --kwargs for all"
        )
    return listing.dead_letters[0]


def _interruptible(bar: ProgressBar, operation: Coroutine[Any, Any, T], done: str) -> T:
    try:
        return call_sync("dlq", operation)
    except (KeyboardInterrupt, TaskQError):
        note(f"interrupted: {bar.last.done} were {done} before, the rest are where they were; run it again to go on")
        raise


def _counted(found: Sequence[DeadLetterView]) -> str:
    groups = groups_of(found)
    named = ", ".join(f"{group.total} of {group.task or '?'} ({group.reason})" for group in groups[:3])
    more = f", and {len(groups) - 3} more kinds" if len(groups) > 3 else ""
    return f"{len(found)} dead letters: {named}{more}" if found else "no dead letters"


def _nothing_done() -> int:
    note("nothing was done")
    return 1


def add_commands(commands: Any, run_ls: Run, run_show: Run, run_redrive: Run, run_purge: Run) -> None:
    """``taskq dlq`` and its sub-commands."""
    parser = commands.add_parser(
        "dlq",
        help="see, redrive and delete dead letters",
        description="Messages that were given up. Looking leaves them where they are; each is hidden from others for "
        "the time of the look.",
    )
    several = parser.add_subparsers(dest="dlq_command", metavar="COMMAND", required=True)
    ls = operator_command(
        several, "ls", run_ls, "list dead letters, the latest first, and how many there are of each reason."
    )
    _add_filters(ls)
    ls.add_argument("--limit", type=whole, default=100, metavar="N", help="most to show; default 100")
    ls.add_argument("--groups", action="store_true", help="only how many there are of each reason and task")
    add_show_secrets(ls)
    show = operator_command(several, "show", run_show, "show all of one dead letter. Exit status 1 when there is none.")
    show.add_argument("id", metavar="ID", help="of the task, or of the message")
    show.add_argument("--queue", metavar="QUEUE", help="look only there; default: all queues of the app")
    add_show_secrets(show)
    again = operator_command(
        several,
        "redrive",
        run_redrive,
        "send dead letters back to their queues, then delete them. Each becomes a new run of its task, with the same "
        "id. Interrupted, it loses nothing: run it again. Exit status 1 when some that fit were left.",
    )
    _add_filters(again)
    again.add_argument("--limit", type=whole, metavar="N", help="most to send; default: all that fit")
    again.add_argument("--rate", type=per_second, metavar="N", help="messages a second; default: as fast as it goes")
    again.add_argument("--edit", action="store_true", help="change arguments and labels of one in $EDITOR")
    again.add_argument("--show-secrets", action="store_true", help="with --edit: also what the app hides by name")
    again.add_argument("--args", type=json_array, metavar="JSON", help="other positional arguments, for all that fit")
    again.add_argument("--kwargs", type=json_object, metavar="JSON", help="other named arguments, for all that fit")
    again.add_argument("--labels", type=json_object, metavar="JSON", help="other labels, for all that fit")
    again.add_argument("--group", metavar="GROUP", help="message group of firings whose schedule is gone (FIFO)")
    _add_caution(again)
    delete = operator_command(
        several,
        "purge",
        run_purge,
        "delete dead letters for good. Exit status 1 when some that fit were left.",
    )
    _add_filters(delete)
    delete.add_argument("--limit", type=whole, metavar="N", help="most to delete; default: all that fit")
    _add_caution(delete)


def _add_filters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--queue", metavar="QUEUE", help="only this queue's, or schedules-dlq; default: all of the app")
    parser.add_argument(
        "--task", action="append", default=[], metavar="NAME", help="only of this task; may be repeated"
    )
    parser.add_argument(
        "--reason", action="append", default=[], metavar="REASON", help="exhausted, crashed, redriven, ...; repeatable"
    )
    parser.add_argument("--older-than", type=duration, metavar="SPAN", help="given up so long ago: 90s, 15m, 1h, 2d")
    parser.add_argument("--newer-than", type=duration, metavar="SPAN", help="given up since then: 90s, 15m, 1h, 2d")
    parser.add_argument(
        "--label", type=label, action="append", default=[], metavar="NAME=VALUE", help="with this label; repeatable"
    )
    parser.add_argument("--id", action="append", default=[], metavar="ID", help="only this task; may be repeated")
    parser.add_argument(
        "--message-id", action="append", default=[], metavar="ID", help="only this message; may be repeated"
    )


def _add_caution(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="change nothing; tell what would be done")
    parser.add_argument("--yes", action="store_true", help="do not ask for confirmation")
