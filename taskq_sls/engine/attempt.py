"""Exceptions as text, and messages that nobody here can run."""

from __future__ import annotations

import itertools
import logging
import os
import traceback
from collections.abc import Iterable

from ..core.delivery import DeadLetter, Delivery, Outcome, RetryIn
from ..core.message import ErrorInfo
from ..core.safe_text import class_name, text_of

logger = logging.getLogger("taskq_sls.task")

_OWN_FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep

MAX_FRAMES = 1_100
"""Frames of an exception that are read; above Python's own limit of recursion, so that few tracebacks are cut."""

POISON_RECEIVES = 10
"""Receives after which a message that nobody here can run goes to the dead-letter queue."""

POISON_DELAY = 30.0
POISON_MAX_DELAY = 900.0
"""Seconds such a message is hidden: the first time, and at most. A deploy may be under way."""


class RemoteTraceback(Exception):
    """The cause of an exception that came from another process, with what was known of it there."""

    def __init__(self, info: ErrorInfo) -> None:
        self.info = info
        super().__init__(info)

    def __str__(self) -> str:
        return f"in a child process\n\n{self.info.traceback.rstrip()}"


def error_info(error: BaseException) -> ErrorInfo:
    """An exception as text. Never raises, whatever its class does."""
    name, text = class_name(type(error)), text_of(error)
    try:
        if isinstance(error.__cause__, RemoteTraceback):
            return error.__cause__.info
        lines = "".join(_without_own_frames(_limited(error)).format())
    except BaseException:  # attributes of the exception's class that raise, or too deep a group of exceptions
        lines = f"{name}: {text}\n"
    return ErrorInfo(name, text, lines)


def _limited(error: BaseException) -> traceback.TracebackException:
    """The traceback with the innermost `MAX_FRAMES` frames; of its causes with the outermost ones.

    A frame costs up to 80 microseconds of the worker's event loop, and recursion may leave a million.
    """
    start = end = error.__traceback__
    for _ in range(MAX_FRAMES):
        end = end and end.tb_next
    while start and end:
        start, end = start.tb_next, end.tb_next
    return traceback.TracebackException(type(error), error, start, limit=MAX_FRAMES)


def _without_own_frames(whole: traceback.TracebackException) -> traceback.TracebackException:
    """The traceback, and those of its causes, each from its first frame outside of this library."""
    one: traceback.TracebackException | None = whole
    while one is not None:
        frames = list(itertools.dropwhile(lambda frame: frame.filename.startswith(_OWN_FOLDER), one.stack))
        one.stack = traceback.StackSummary.from_list(frames)
        one = one.__cause__ or one.__context__
    return whole


def unknown_task(name: str, known: Iterable[str]) -> str:
    """The error of a message of an unknown task, with the known name that it may have meant."""
    import difflib  # only an unknown task needs it, and a cold start should not pay for it

    close = difflib.get_close_matches(name, list(known), n=1)
    return f"no task is named {name!r} in this app" + (f"; did you mean {close[0]!r}?" if close else "")


def poison_outcome(delivery: Delivery, reason: str, detail: str, most_receives: float = POISON_RECEIVES) -> Outcome:
    """The outcome of a message that cannot be decoded, found or bound: back off, in the end dead-letter.

    Args:
        most_receives: receives after which it is dead-lettered.
        reason: ``undecodable``, ``unknown_version``, ``unknown_task``, ``arguments``, ``payload_missing`` or
            ``claim_refused``.
    """
    fields = {
        "action": "message_poison",
        "reason": reason,
        "queue": delivery.queue,
        "message_id": delivery.message_id,
    }
    if delivery.receive_count >= most_receives:
        logger.error("a message goes to the dead-letter queue (%s): %s", reason, detail, extra=fields)
        return DeadLetter(reason, ErrorInfo(reason, detail))
    delay = min(POISON_MAX_DELAY, POISON_DELAY * 2 ** max(0, delivery.receive_count - 1))
    logger.warning("a message cannot be run here (%s), hidden for %.0f s: %s", reason, delay, detail, extra=fields)
    return RetryIn(delay, reason)
