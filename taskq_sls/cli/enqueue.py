"""``taskq enqueue``."""

from __future__ import annotations

import argparse
import json
from typing import Any

from ..app import TaskQ
from ..client.task import Enqueuer
from ..core.redaction import redact
from ..errors import ConfigError
from ..serialization import JsonSignature, Signature
from .apps import find_task, load_app
from .arguments import add_app_option, add_common, add_json, add_show_secrets, json_array, json_object, label, seconds
from .output import note, print_json, say


def add_to(commands: Any) -> None:
    parser = commands.add_parser(
        "enqueue",
        help="send a task",
        description="Send a task and print its id; with --wait, print its result as JSON (and the id on stderr). "
        "Arguments are JSON; the task's annotations say what they become (a date from its text, ...).",
        allow_abbrev=False,
    )
    parser.add_argument("task", metavar="TASK", help="name of the task, or its end: resize for shop.tasks:resize")
    add_app_option(parser)
    parser.add_argument("--args", type=json_array, default=[], metavar="JSON", help="positional, as '[\"a.png\", 200]'")
    parser.add_argument("--kwargs", type=json_object, default={}, metavar="JSON", help="named, as '{\"width\": 200}'")
    parser.add_argument("--by-name", action="store_true", help="send a task whose code is not in the app, unchecked")
    parser.add_argument("--queue", metavar="QUEUE", help="a queue that the app declares; default: the task's")
    parser.add_argument("--delay", type=seconds, metavar="SECONDS", help="start no earlier, 0 to 900")
    parser.add_argument("--group", metavar="GROUP", help="message group, needed on FIFO queues")
    parser.add_argument("--id", metavar="ID", help="the task's id; sending it again with the same id is safe")
    parser.add_argument(
        "--unique-key", metavar="KEY", help="send nothing while a task of this name with this key has not ended"
    )
    parser.add_argument(
        "--label", type=label, action="append", default=[], metavar="NAME=VALUE", help="may be given several times"
    )
    parser.add_argument("--wait", action="store_true", help="wait for the result")
    parser.add_argument("--timeout", type=seconds, metavar="SECONDS", help="with --wait: no longer than this")
    add_show_secrets(parser)
    add_json(parser)
    add_common(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    if arguments.timeout is not None and not arguments.wait:
        raise ConfigError("--timeout limits --wait: give both")
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
