"""The payload store interface, and the keys and lifetimes of its objects.

Objects are written once and removed by their lifetime alone, never by a task. The names of keys are stable:

- arguments of a message: ``messages/<days>d/<id>/<run>-<token>.json``
- result of an attempt: ``results/<days>d/<id>/<run>-<owner>.json``

``<days>d`` is the lifetime class: a lifecycle rule removes its objects after so many days. The token is random per send,
the owner per attempt, so that no object replaces another. In ``<id>``, characters other than letters, digits, ``-`` and
``_`` are written as ``!`` and two hexadecimal digits.
"""

from __future__ import annotations

import abc
import re
from typing import NamedTuple


class PayloadStore(abc.ABC):
    """Objects by key. Implementations: S3 and in-memory."""

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """The store in error messages, such as ``s3://shop-payloads``."""

    @abc.abstractmethod
    async def put(self, key: str, body: bytes) -> None:
        """Store an object.

        Raises:
            MissingResource: the bucket does not exist.
            AwsError: it was not accepted, or the answer was lost.
        """

    @abc.abstractmethod
    async def get(self, key: str) -> bytes:
        """Read an object.

        Raises:
            PayloadMissing: there is no object of this key.
            MissingResource: the bucket does not exist.
            AwsError: it cannot be read.
        """


DAY = 86_400.0

MESSAGES = "messages/"
RESULTS = "results/"

MESSAGE_LIFE_SECONDS = 43 * DAY
"""A message's object is needed so long after the message was due: 14 days in its queue, 14 in the dead-letter queue, 14 in
its queue after a redrive (SQS keeps messages for at most 14), and a day to spare."""

MESSAGE_DAYS = (45, 90, 400)
"""Lifetime classes of messages. The longer ones are for messages with a long delay."""

RESULT_DAYS = (16, 30, 90, 400, 1830)
"""Lifetime classes of results: a record lives from 15 days to 5 years."""

_ESCAPED = re.compile(r"[^A-Za-z0-9_-]")


class Lifetime(NamedTuple):
    """A lifetime class: objects under `prefix` are removed after `days`."""

    prefix: str
    days: int


LIFETIMES = tuple(
    Lifetime(f"{kind}{days}d/", days)
    for kind, classes in ((MESSAGES, MESSAGE_DAYS), (RESULTS, RESULT_DAYS))
    for days in classes
)


def message_key(id: str, run: int, token: str, wait: float) -> str:
    """The key of a message's arguments.

    Args:
        token: random.
        wait: seconds until the message is due.
    """
    return f"{MESSAGES}{_class(MESSAGE_DAYS, wait + MESSAGE_LIFE_SECONDS)}d/{_segment(id)}/{run}-{token}.json"


def result_key(id: str, run: int, owner: str, life: float) -> str:
    """The key of a result.

    Args:
        owner: the token of the attempt.
        life: seconds for which the record lives.
    """
    return f"{RESULTS}{_class(RESULT_DAYS, life)}d/{_segment(id)}/{run}-{owner}.json"


def _class(days: tuple[int, ...], seconds: float) -> int:
    # S3 counts days from the next midnight, so that a class never ends early.
    return next((count for count in days if count * DAY >= seconds), days[-1])


def _segment(id: str) -> str:
    # Ids may contain "/" and "..", which clients and proxies resolve.
    return _ESCAPED.sub(lambda found: f"!{ord(found[0]):02X}", id)
