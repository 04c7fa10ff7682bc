"""Exceptions as text, and messages that nobody here can run."""

from __future__ import annotations

import logging
import os
import traceback
from types import TracebackType

from .delivery import DeadLetter, Delivery, Outcome, RetryIn
from .message import ErrorInfo

logger = logging.getLogger("taskq_sls.task")

_OWN_FOLDER = os.path.dirname(os.path.abspath(__file__)) + os.sep

POISON_RECEIVES = 10
"""Receives after which a message that nobody here can run goes to the dead-letter queue."""

POISON_DELAY = 30.0
POISON_MAX_DELAY = 900.0
"""Seconds such a message is hidden: the first time, and at most. A deploy may be under way."""


def describe(error: BaseException) -> ErrorInfo:
    """An exception as text."""
    kind = type(error)
    name = (
        kind.__qualname__ if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}.{kind.__qualname__}"
    )
    try:
        text = str(error)
    except Exception as broken:  # an exception class with a broken __str__ must not end the driver
        text = f"(its message cannot be shown: {broken!r})"
    try:
        lines = "".join(traceback.format_exception(kind, error, _users_part(error.__traceback__)))
    except Exception:
        lines = f"{name}: {text}\n"
    return ErrorInfo(name, text, lines)


def _users_part(trace: TracebackType | None) -> TracebackType | None:
    """The traceback from the first frame outside of this library; whole where there is none."""
    first = trace
    while first is not None and first.tb_frame.f_code.co_filename.startswith(_OWN_FOLDER):
        first = first.tb_next
    return first or trace


def poison(delivery: Delivery, reason: str, detail: str) -> Outcome:
    """The outcome of a message that cannot be decoded, found or bound: back off, in the end dead-letter.

    Args:
        reason: ``undecodable``, ``unknown_version``, ``unknown_task`` or ``arguments``.
    """
    fields = {
        "action": "message_poison",
        "reason": reason,
        "queue": delivery.queue,
        "message_id": delivery.message_id,
    }
    if delivery.receive_count >= POISON_RECEIVES:
        logger.error("a message goes to the dead-letter queue (%s): %s", reason, detail, extra=fields)
        return DeadLetter(reason, ErrorInfo(reason, detail))
    delay = min(POISON_MAX_DELAY, POISON_DELAY * 2 ** max(0, delivery.receive_count - 1))
    logger.warning("a message cannot be run here (%s), hidden for %.0f s: %s", reason, delay, detail, extra=fields)
    return RetryIn(delay, reason)
