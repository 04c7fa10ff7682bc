"""What ``taskq dlq`` takes on the command line."""

from __future__ import annotations

import argparse
from typing import Any

from .arguments import Run, duration, json_array, json_object, label, operator_command, per_second, whole
from .redaction import add_show_secrets


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
