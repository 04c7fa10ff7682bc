"""The checks of the options of a task: one function for each option."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Literal, get_args

from ..errors import ConfigError
from .envelope import label_problem
from .message import check_id
from .number_checks import is_number
from .redaction import Names, redacted_names
from .retry import Retry
from .times import DAY, MIN_RESULT_TTL

RecordLevel = Literal["none", "finished", "started", "queued"]
RunIn = Literal["thread", "process"]
UniquePolicy = Literal["return", "raise"]
Overlap = Literal["allow", "skip"]
Misfire = Literal["skip", "once", "all"]

MAX_GROUP = 128
"""Longest MessageGroupId (SQS API reference, SendMessage)."""

MAX_DELAY_SECONDS = 366 * DAY
"""Longest delay: a year."""

MAX_TIMEOUT_SECONDS = 43_200.0
"""Longest time limit of an attempt: SQS keeps a message hidden for 12 hours at most."""

MAX_UNIQUE_KEY = 200
"""Longest unique key, in characters: with the task's name it is part of a primary key (DynamoDB: 2,048 bytes)."""

MAX_UNIQUE_TTL = MIN_RESULT_TTL
"""Longest life of a unique key, in seconds. No message is older, so no task needs it any more."""

RESERVED_ID = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}|http-[0-9a-f]{16,24}-.*|taskq:.*"
)
"""Ids of scheduled runs (UUIDs of version 8), of HTTP requests and of tasks of taskq itself. They can be predicted, so
they cannot be given to a task: a task that used such an id first would keep the real task from running."""

RESERVED_KEY = "schedule:"
"""Start of the unique keys that keep runs of one schedule from overlapping."""


def seconds(where: str, name: str, value: Any, low: float, high: float, hint: str = "") -> float:
    """A duration in seconds, from a number or a timedelta.

    Raises:
        ConfigError: it is not a number, or not from `low` to `high`.
    """
    number = value.total_seconds() if isinstance(value, timedelta) else value
    if not is_number(number):
        raise ConfigError(f"{where}: {name}={value!r} must be seconds or a timedelta")
    if not low <= number <= high:
        raise ConfigError(f"{where}: {name}={value!r} must be {low:,.12g} to {high:,.12g} seconds{hint}")
    return float(number)


def _queue(where: str, name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ConfigError(f"{where}: queue={value!r} must be the name of a queue")
    return value


def _delay(where: str, name: str, value: Any) -> float:
    return seconds(where, name, value, 0, MAX_DELAY_SECONDS, " (a year)")


def _group(where: str, name: str, value: Any) -> str | None:
    if value is None:
        return None
    if (
        not isinstance(value, str)
        or not 1 <= len(value) <= MAX_GROUP
        or not value.isascii()
        or not value.isprintable()
        or " " in value
    ):
        raise ConfigError(f"{where}: group={value!r} must be 1 to {MAX_GROUP} letters, digits or punctuation marks")
    return value


def _id(where: str, name: str, value: Any) -> str | None:
    if value is None:
        return None
    id = check_id(value)
    if RESERVED_ID.fullmatch(id):
        raise ConfigError(
            f"{where}: id={id!r} has a reserved form: UUIDs of version 8, 'http-...' and 'taskq:...' are ids of scheduled "
            "runs, of requests over HTTP and of tasks of taskq itself; put a prefix of your own before it"
        )
    return id


def checked_labels(where: str, name: str, value: Any) -> Mapping[str, str]:
    """A copy of labels: texts by name, up to 4,096 bytes in all.

    Raises:
        ConfigError: a name or value is not a text, a name is empty, or they are too large.
    """
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where}: labels=... of type {type(value).__name__} must map text to text")
    if problem := label_problem(value):
        raise ConfigError(f"{where}: {problem}")
    return dict(value)


def _unique_key(where: str, name: str, value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_UNIQUE_KEY or not value.isprintable():
        raise ConfigError(
            f"{where}: unique_key={value!r:.300} must be 1 to {MAX_UNIQUE_KEY} printable characters; hash what is longer"
        )
    if value.startswith(RESERVED_KEY):
        raise ConfigError(
            f"{where}: a unique key must not begin with {RESERVED_KEY!r}: such keys belong to the runs of schedules"
        )
    return value


def _unique_ttl(where: str, name: str, value: Any) -> float:
    hint = " (15 days): no message lives longer"
    return seconds(where, name, value, 1, MAX_UNIQUE_TTL, hint)


def _expires_in(where: str, name: str, value: Any) -> float | None:
    return None if value is None else seconds(where, name, value, 0.001, MAX_DELAY_SECONDS + MIN_RESULT_TTL)


def _retry(where: str, name: str, value: Any) -> Retry:
    if not isinstance(value, Retry):
        raise ConfigError(f"{where}: retry={value!r} must be a Retry(...)")
    return value


def _timeout(where: str, name: str, value: Any) -> float | None:
    return None if value is None else seconds(where, name, value, 0.001, MAX_TIMEOUT_SECONDS)


def _result_ttl(where: str, name: str, value: Any) -> float:
    hint = ": a record must outlive the 14 days that SQS keeps a message, or a late duplicate would run again"
    return seconds(where, name, value, MIN_RESULT_TTL, 5 * 365 * 86_400.0, hint)


def _redact(where: str, name: str, value: Any) -> Names:
    fits = isinstance(value, list | tuple | set | frozenset) and all(isinstance(item, str) and item for item in value)
    if not fits:
        raise ConfigError(f'{where}: redact={value!r:.120} must be a list of names, such as ["password"]')
    return redacted_names(value)


def _choice(choices: Any, meaning: str = "") -> Callable[[str, str, Any], str]:
    """A check that a value is one of a Literal's.

    Args:
        meaning: the choices with their meaning, for the error.
    """

    def check(where: str, name: str, value: Any) -> str:
        if value not in get_args(choices):
            raise ConfigError(
                f"{where}: {name}={value!r} must be {meaning or 'one of ' + ', '.join(get_args(choices))}"
            )
        return str(value)

    return check


def _flag(meaning: str) -> Callable[[str, str, Any], bool]:
    def check(where: str, name: str, value: Any) -> bool:
        if not isinstance(value, bool):
            raise ConfigError(f"{where}: {name}={value!r} must be True ({meaning}) or False")
        return value

    return check


CHECKS: dict[str, Callable[[str, str, Any], Any]] = {
    "queue": _queue,
    "delay": _delay,
    "group": _group,
    "id": _id,
    "labels": checked_labels,
    "unique_key": _unique_key,
    "unique_ttl": _unique_ttl,
    "unique": _choice(UniquePolicy, "'return' (the handle of the task that holds the key) or 'raise' (DuplicateTask)"),
    "overlap": _choice(Overlap, "'allow', or 'skip' (a run is dropped while the one before has not ended)"),
    "misfire": _choice(Misfire, "'skip' (missed runs are not fired), 'once' (the latest missed run is fired) or 'all'"),
    "expires_in": _expires_in,
    "retry": _retry,
    "timeout": _timeout,
    "hard_timeout": _timeout,
    "run_in": _choice(RunIn),
    "record": _choice(RecordLevel),
    "result_ttl": _result_ttl,
    "http": _flag("the HTTP API may enqueue it"),
    "record_arguments": _flag("records hold the arguments"),
    "redact": _redact,
}
