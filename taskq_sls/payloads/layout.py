"""Where objects live in the bucket: keys, and how long what is under a prefix is kept. These names are stable.

- arguments of a message: ``messages/<days>d/<id>/<run>-<token>.json``
- result of an attempt: ``results/<days>d/<id>/<run>-<owner>.json``

``<days>d`` is the lifetime class: a lifecycle rule removes what is under it after so many days. The token is
random per send, the owner per attempt, so that no object ever replaces another one. In ``<id>``, characters
other than letters, digits, ``-`` and ``_`` are written as ``!`` and two hexadecimal digits.
"""

from __future__ import annotations

import re
from typing import NamedTuple

DAY = 86_400.0

MESSAGES = "messages/"
RESULTS = "results/"

MESSAGE_LIFE = 43 * DAY
"""Seconds for which a message's object is needed after the message was due: 14 days in its queue, 14 in the
dead-letter queue, 14 more in its queue after a redrive (SQS keeps a message no longer), and a day to spare."""

MESSAGE_DAYS = (45, 90, 400)
"""Lifetime classes of messages. The longer ones are for messages that are not due before long."""

RESULT_DAYS = (16, 30, 90, 400, 1830)
"""Lifetime classes of results: from the 15 days that a record lives at least to the 5 years that it may."""

_ESCAPED = re.compile(r"[^A-Za-z0-9_-]")


class Lifetime(NamedTuple):
    """A lifetime class: what is under `prefix` is removed after `days`."""

    prefix: str
    days: int


LIFETIMES = tuple(
    Lifetime(f"{kind}{days}d/", days)
    for kind, classes in ((MESSAGES, MESSAGE_DAYS), (RESULTS, RESULT_DAYS))
    for days in classes
)
"""All lifetime classes."""


def message_key(id: str, run: int, token: str, wait: float) -> str:
    """The key of a message's arguments.

    Args:
        token: random.
        wait: seconds until the message is due.
    """
    return f"{MESSAGES}{_class(MESSAGE_DAYS, wait + MESSAGE_LIFE)}d/{_segment(id)}/{run}-{token}.json"


def result_key(id: str, run: int, owner: str, life: float) -> str:
    """The key of a result.

    Args:
        owner: the token of the attempt.
        life: seconds for which the record lives.
    """
    return f"{RESULTS}{_class(RESULT_DAYS, life)}d/{_segment(id)}/{run}-{owner}.json"


def _class(days: tuple[int, ...], seconds: float) -> int:
    # S3 counts days from the next midnight on, so that a class never ends early.
    return next((one for one in days if one * DAY >= seconds), days[-1])


def _segment(id: str) -> str:
    # Ids may hold slashes and dots, and clients and proxies resolve "..".
    return _ESCAPED.sub(lambda found: f"!{ord(found[0]):02X}", id)
