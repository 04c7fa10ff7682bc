"""The inside of a Lambda container: ``python -m taskq_sls.local_aws.container_main MODULE:ATTRIBUTE``.

Speaks JSON lines over the pipes it is started with: first ``{"ready": true}`` or an error, then one
answer for each event. Imports little, so that a measured start is that of the function itself.
"""

from __future__ import annotations

import contextlib
import decimal
import faulthandler
import importlib
import json
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, BinaryIO

from .context import LambdaContext

Handler = Callable[[Any, Any], Any]

ORPHAN_GRACE = 2.0
"""Seconds after the deadline at which a container ends itself, should the parent not have done it."""


def main() -> None:
    commands, answers = take_pipes()
    # Lambda's runtime also sets up a root handler before the function's code is imported.
    logging.basicConfig(format="[%(levelname)s]\t%(asctime)s\t%(name)s\t%(message)s")
    try:
        handler = load(sys.argv[1])
    except BaseException as error:
        _send(answers, _error(error))
        return
    _send(answers, b'{"ready": true}')
    for line in commands:
        _send(answers, _invoke(handler, json.loads(line)))


def take_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Take stdin and stdout as the protocol's pipes, and point the function's prints to stderr.

    The copies are not inherited by the function's own child processes.
    """
    commands, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(line_buffering=True)
    return commands, answers


def load(target: str) -> Handler:
    """The handler that `target` (``MODULE:ATTRIBUTE``) names; an app's `lambda_handler()` is called."""
    module, _, path = target.partition(":")
    found: Any = importlib.import_module(module)
    for name in path.split("."):
        found = getattr(found, name)
    factory = getattr(found, "lambda_handler", None)
    if callable(factory):
        found = factory()
    if not callable(found):
        raise TypeError(f"{target} is {type(found).__name__}: name a handler, or an app that has lambda_handler()")
    handler: Handler = found
    return handler


def _invoke(handler: Handler, command: dict[str, Any]) -> bytes:
    request_id, deadline = command["request_id"], command["deadline"]
    os.environ["_X_AMZN_TRACE_ID"] = command["trace"]
    context = LambdaContext(deadline=deadline, aws_request_id=request_id, invoked_function_arn=command["arn"])
    # A killed parent cannot end a function that hangs. Then this does, and prints the stack.
    faulthandler.dump_traceback_later(max(0.0, deadline - time.time()) + ORPHAN_GRACE, exit=True, file=2)
    try:
        answer = handler(command["event"], context)
        return b'{"answer": ' + json.dumps(answer, default=_plain).encode() + b"}"
    except Exception as error:
        return _error(error)
    finally:
        faulthandler.cancel_dump_traceback_later()
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()


def _plain(value: object) -> object:
    """As Lambda's runtime, which takes a Decimal and refuses everything else that JSON lacks."""
    if isinstance(value, decimal.Decimal):
        return float(value)
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


def _error(error: BaseException) -> bytes:
    text = "".join(traceback.format_exception(error))
    return json.dumps({"error": {"type": type(error).__name__, "message": str(error), "traceback": text}}).encode()


def _send(answers: BinaryIO, line: bytes) -> None:
    answers.write(line + b"\n")
    answers.flush()


if __name__ == "__main__":
    main()
    # Lambda kills: it neither waits for the function's threads nor runs its exit hooks.
    os._exit(0)
