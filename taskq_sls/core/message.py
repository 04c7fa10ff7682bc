"""The envelope: everything needed to run a task, as JSON in the message body.

It is compact UTF-8 JSON, readable in the SQS console. Empty fields are left out. Unknown fields are kept and passed on.
An unknown version is refused with :class:`~taskq_sls.errors.UndecodableMessage`.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from pydantic_core import from_json, to_json

from ..errors import ArgumentsError, ConfigError, UndecodableMessage
from .envelope import MAX_RUN, MAX_TEXT, MAX_TIME, label_problem, time_problem

VERSION = 1
"""The envelope version this library writes. It reads this one and all before it."""

ID_PATTERN = re.compile(r"[A-Za-z0-9_.:@/+=-]{1,100}")
"""Task ids: up to 100 characters, so that a deduplication id fits SQS's 128."""


class ErrorInfo(NamedTuple):
    """An exception as text, as it travels in records and dead-letter copies."""

    type: str
    message: str
    traceback: str = ""


class Message(NamedTuple):
    """The decoded envelope. `args` and `kwargs` hold plain JSON values; times are epoch seconds.

    If they were too large for a message, `payload` is the key of the stored object that holds them.
    """

    id: str
    task: str
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    enqueued_at: float = 0.0
    attempt: int = 0
    not_before: float | None = None
    expires_at: float | None = None
    run: int = 0
    schedule: dict[str, Any] | None = None
    trace: dict[str, str] = {}
    parent: str | None = None
    depth: int = 0
    labels: dict[str, str] = {}
    unique_key: str | None = None
    payload: str | None = None
    unknown: Mapping[str, Any] = {}

    def encode(self) -> str:
        """The message body.

        Raises:
            ArgumentsError: a text has half a surrogate pair, which UTF-8 cannot encode; a number is NaN or infinite,
                which JSON lacks; or the labels are not text.
        """
        if self.labels and (problem := label_problem(self.labels, None)):
            raise ArgumentsError(f"task {self.task}: {problem}")
        body: dict[str, Any] = {"v": VERSION}
        if self.id:  # a scheduled run gets its id when it is received
            body["id"] = self.id
        body["task"] = self.task
        for name, value in zip(_NAMES, self[2:_KNOWN], strict=True):
            if value or (value is not None and name in _NULLABLE):
                body[name] = value
        if self.unknown:
            body.update(self.unknown)
        try:
            text = to_json(body).decode()
        except ValueError as error:
            raise ArgumentsError(f"task {self.task}: the arguments cannot be written as UTF-8 JSON: {error}") from None
        if "Infinity" in text or "NaN" in text:
            _refuse_infinity(text, self.task)
        # The only characters that JSON leaves bare and SQS refuses (SendMessage: allowed characters).
        if "\ufffe" in text or "\uffff" in text:
            text = text.replace("\ufffe", "\\ufffe").replace("\uffff", "\\uffff")
        return text


def _refuse_infinity(text: str, task: str) -> None:
    """Raise if JSON text has NaN or Infinity as a number. Inside a string they are allowed."""
    try:
        from_json(text, allow_inf_nan=False)
    except ValueError:
        raise ArgumentsError(f"task {task}: an argument is NaN or infinite, which JSON lacks") from None


def new_body(message: Message) -> str:
    """The body of a new message.

    Raises:
        ArgumentsError: the labels are too large, or one of the reasons of `Message.encode`.
    """
    if message.labels and (problem := label_problem(message.labels)):
        raise ArgumentsError(f"task {message.task}: {problem}")
    return message.encode()


_KNOWN = Message._fields.index("unknown")
_NAMES = Message._fields[2:_KNOWN]
_NULLABLE = frozenset({"not_before", "expires_at"})
_EMPTY: Mapping[str, Any] = {}

# The exact types, since bool is a subclass of int. All code behind `decode` relies on them.
_TYPES: dict[str, tuple[type, ...]] = {
    "id": (str,),
    "task": (str,),
    "args": (list,),
    "kwargs": (dict,),
    "enqueued_at": (int, float),
    "attempt": (int,),
    "not_before": (int, float),
    "expires_at": (int, float),
    "run": (int,),
    "schedule": (dict,),
    "trace": (dict,),
    "parent": (str,),
    "depth": (int,),
    "labels": (dict,),
    "unique_key": (str,),
    "payload": (str,),
}


_ORDINARY: dict[str, type] = {"v": int, "id": str, "task": str, "args": list, "kwargs": dict, "enqueued_at": float}
"""The fields of a message without options. Most messages are like that, and are decoded without further checks."""


_MAX_TASK = MAX_TEXT["task"]

_FINITE = frozenset({int, str, bool, type(None)})
"""Types of values that are not, and do not contain, a number too large for a float."""


def decode(body: str) -> Message:
    """Read a message body.

    Raises:
        UndecodableMessage: with reason ``undecodable`` (not an envelope) or ``unknown_version``.
    """
    try:
        fields = from_json(body, allow_inf_nan=False)
    except (ValueError, TypeError) as error:  # TypeError: half a surrogate pair, from a store that is not SQS
        raise UndecodableMessage("undecodable", f"the body is not JSON: {error}") from None
    if type(fields) is not dict:
        raise UndecodableMessage("undecodable", f"the body is a JSON {type(fields).__name__}, not an object")
    get = fields.get
    if [*map(type, fields.values())] == [*map(_ORDINARY.get, fields)]:
        id, task, enqueued_at = get("id", ""), get("task", ""), get("enqueued_at", 0.0)
        args, kwargs = get("args") or [], get("kwargs") or {}
        if (
            get("v") == VERSION
            and (1.0 <= enqueued_at < MAX_TIME or "enqueued_at" not in fields)
            and 0 < len(task) <= _MAX_TASK
            and ID_PATTERN.fullmatch(id)
            and (
                (_FINITE.issuperset(map(type, args)) and (not kwargs or _FINITE.issuperset(map(type, kwargs.values()))))
                or not _holds_infinity(body, (args, kwargs))
            )
        ):
            # By position: keywords cost half a microsecond for every message.
            return Message(id, task, args, kwargs, enqueued_at)
    return _decode_with_checks(body, fields)


# The parser reads a number that is too large for a float as infinity. Such a number has an exponent of three digits,
# or a run of digits so long that it shows in every 64th character.
_LARGE_EXPONENT = re.compile(r"[eE](?<=[0-9][eE])\+?[0-9]{3,}(?=[\s,\]}])")
_LONG_NUMBER = re.compile(r"[0-9]{2}")
_LONG_BODY = 150
_STEP = 64


def _holds_infinity(body: str, values: Iterable[Any]) -> bool:
    """True if a value that was read from `body` is, or contains, a number too large for a float."""
    if _LARGE_EXPONENT.search(body) is None and (len(body) < _LONG_BODY or _LONG_NUMBER.search(body[::_STEP]) is None):
        return False
    return any(map(_infinite, values))


def _infinite(value: Any) -> bool:
    kind = type(value)
    if kind is float:
        return value in (float("inf"), float("-inf"))
    if kind is dict:
        return any(map(_infinite, value.values()))
    return kind is list and any(map(_infinite, value))


def _decode_with_checks(body: str, fields: dict[str, Any]) -> Message:
    """The message of an envelope with optional fields, or the error that names its fault."""
    version = fields.get("v", 1)
    if type(version) is not int or version < 0:
        raise UndecodableMessage("undecodable", f"the envelope version {version!r} is not a number of 0 or more")
    if version > VERSION:
        raise UndecodableMessage(
            "unknown_version", f"the envelope version {version} is newer than {VERSION}, the newest known here"
        )
    unknown = _check_types(fields)
    if not fields.get("task"):
        raise UndecodableMessage("undecodable", "the envelope has no task name")
    if _holds_infinity(body, fields.values()):
        raise UndecodableMessage("undecodable", "the body holds a number that is too large for a 64-bit float")
    _check_values(fields)
    get = fields.get
    return Message(
        id=get("id") or "",
        task=fields["task"],
        args=get("args") or [],
        kwargs=get("kwargs") or {},
        enqueued_at=get("enqueued_at") or 0.0,
        attempt=get("attempt") or 0,
        not_before=get("not_before"),
        expires_at=get("expires_at"),
        run=get("run") or 0,
        schedule=get("schedule"),
        trace=get("trace") or {},
        parent=get("parent"),
        depth=get("depth") or 0,
        labels=get("labels") or {},
        unique_key=get("unique_key") or None,
        payload=get("payload") or None,
        unknown=unknown,
    )


def _check_types(fields: dict[str, Any]) -> Mapping[str, Any]:
    """Check type and size of each known field. Returns the unknown ones."""
    unknown: dict[str, Any] = {}
    for name, value in fields.items():
        allowed = _TYPES.get(name)
        if allowed is None:
            if name != "v":
                unknown[name] = value
        elif type(value) not in allowed:
            if value is not None or name in ("id", "task"):
                raise _unusable(name, value, f"not {allowed[-1].__name__}")
        elif int in allowed and (problem := time_problem(value)):
            raise _unusable(name, value, problem)
        elif name in MAX_TEXT and len(value) > MAX_TEXT[name]:
            raise _unusable(name, value, f"{len(value):,} characters long; the limit is {MAX_TEXT[name]:,}")
    return unknown or _EMPTY


def _check_values(fields: dict[str, Any]) -> None:
    get = fields.get
    if (get("run") or 0) > MAX_RUN:
        raise _unusable("run", fields["run"], f"above {MAX_RUN:,}")
    if id := get("id"):
        if not ID_PATTERN.fullmatch(id):
            raise _unusable("id", id, "not 1 to 100 characters of letters, digits and _ . : @ / + = -")
    elif not get("schedule"):
        raise UndecodableMessage("undecodable", "the envelope has no id")
    if (trace := get("trace")) and set(map(type, trace.values())) != {str}:
        raise _unusable("trace", trace, "with values that are not str")
    if (labels := get("labels")) and (problem := label_problem(labels, None)):
        raise UndecodableMessage("undecodable", problem)


def _unusable(name: str, value: Any, why: str) -> UndecodableMessage:
    # The value is not shown if it may be secret: arguments, labels, and text in a field for something else.
    quoted = isinstance(value, int | float) or (isinstance(value, str) and name in ("id", "task"))
    shown = f" {str(value)[:80]!r}" if quoted else ""
    return UndecodableMessage("undecodable", f"the field {name!r} is {type(value).__name__}{shown}, {why}")


def dead_letter_body(body: str) -> str:
    """The body of a dead-letter copy: with ``run + 1`` and attempt 0. A body that is not an envelope is not changed."""
    try:
        message = decode(body)
        return message._replace(run=min(message.run + 1, MAX_RUN), attempt=0).encode()
    except (UndecodableMessage, ArgumentsError):
        return body


def deduplication_id(id: str, task: str, run: int, attempt: int) -> str:
    """The deduplication id of a message on a FIFO queue.

    It contains the task's name: SQS drops a message with a known deduplication id. Another task with the same id must
    arrive, so that its caller gets an error.
    """
    return f"{id}:{run}:{attempt}:{zlib.crc32(task.encode(errors='surrogatepass')) & 0xFFFFFF:06x}"


def new_id(now: float) -> str:
    """A UUIDv7 (RFC 9562): 48 bits of milliseconds, then random bits, so that ids sort by time."""
    raw = os.urandom(10)
    time, noise = f"{int(now * 1000) & 0xFFFF_FFFF_FFFF:012x}", raw.hex()
    # Built as text, since a UUID object costs as much as the rest of a message. 7 is the version; 8 to b is the variant
    # with two random bits.
    return f"{time[:8]}-{time[8:]}-7{noise[:3]}-{'89ab'[raw[9] & 3]}{noise[3:6]}-{noise[6:18]}"


def check_id(id: str) -> str:
    """The id, which a caller chose, if it is valid.

    Raises:
        ConfigError: it is not 1 to 100 characters of letters, digits and ``_.:@/+=-``.
    """
    if not isinstance(id, str) or not ID_PATTERN.fullmatch(id):
        raise ConfigError(f"id={id!r}: a task id is 1 to 100 characters of letters, digits and _ . : @ / + = -")
    return id
