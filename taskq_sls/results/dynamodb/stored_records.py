"""Records from items of the table. An unreadable item becomes a record in state UNREADABLE and never stops a listing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pydantic_core import from_json

from ...core.context import Progress
from ...core.envelope import MAX_TIME
from ...core.message import ErrorInfo
from ...core.states import UNREADABLE, State
from ...errors import AwsError
from ..layout import Item, id_of, record_key
from ..records import KEPT_ATTEMPTS, PastAttempt, TaskRecord
from .items import is_complete, text

T = TypeVar("T")

Attribute = Mapping[str, Any]
"""An attribute value in DynamoDB's form: type and content."""

_PAST = tuple(f"past_{number}" for number in range(KEPT_ATTEMPTS))

_FAULT = "taskq.unreadable"
"""Attribute of a placeholder for an item that botocore cannot parse. No item of the table has it."""


class _Unreadable(Exception):
    """An attribute has a form that no version has written."""


def record_of(item: Item) -> TaskRecord:
    """The record in an item. `result` stays undecoded: ``result_json`` holds it.

    The state may be from a later version; unknown attributes are ignored. If an attribute cannot be read, the state is
    `UNREADABLE`, and the error names the attribute.

    Raises:
        AwsError: the item is incomplete (transient): another client is writing it.
    """
    if is_unreadable(item):
        return _unreadable(item, _text(item[_FAULT]))
    if not is_complete(item):
        raise AwsError(
            "read",
            "IncompleteItem",
            f"the record of task {id_of(item)} is incomplete, another client is writing it",
            transient=True,
        )
    try:
        fields: dict[str, Any] = {name: _needed(item, name, read) for name, read in _REQUIRED.items()}
        for name, read in _OPTIONAL.items():
            if name in item:
                fields["result_json" if name == "result" else name] = _needed(item, name, read)
        return TaskRecord(
            id=id_of(item),
            status=State.read(_needed(item, "status", _text)),
            cancel_requested="cancel_requested" in item,
            past=_past(item),
            **fields,
        )
    except _Unreadable as error:
        return _unreadable(item, str(error))


def unreadable_item(id: str, error: Exception) -> Item:
    """A placeholder for an item that botocore cannot parse."""
    return {**record_key(id), _FAULT: text(f"botocore cannot parse its item: {type(error).__name__}: {error}")}


def is_unreadable(item: Item) -> bool:
    """True for a placeholder of `unreadable_item`."""
    return _FAULT in item


def _unreadable(item: Item, why: str) -> TaskRecord:
    def read_or(name: str, read: Callable[[Attribute], T], default: T) -> T:
        try:
            return _needed(item, name, read)
        except _Unreadable:
            return default

    return TaskRecord(
        id=id_of(item),
        task=read_or("task", _text, "?"),
        queue=read_or("queue", _text, "?"),
        status=UNREADABLE,
        updated_at=read_or("updated_at", _time, 0.0),
        error=ErrorInfo("UnreadableRecord", f"its state is {read_or('status', _text, '?')}; {why}"),
        ttl=read_or("ttl", _time, MAX_TIME - 1.0),
    )


def _needed(item: Item, name: str, read: Callable[[Attribute], T]) -> T:
    try:
        return read(item[name])
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise _Unreadable(f"its attribute {name!r} cannot be read: {type(error).__name__}: {error}") from None


def _text(attribute: Attribute) -> str:
    text = attribute["S"]
    if not isinstance(text, str):
        raise TypeError(f"{text!r:.80} is not text")
    return text


def _json(attribute: Attribute) -> str:
    text = _text(attribute)
    from_json(text)
    return text


def _whole(attribute: Attribute) -> int:
    return int(attribute["N"])


def _time(attribute: Attribute) -> float:
    time = float(attribute["N"])
    if not 0 <= time < MAX_TIME:
        raise ValueError(f"{time!r} is not a time")
    return time


def _labels(attribute: Attribute) -> dict[str, str]:
    return {name: _text(value) for name, value in attribute["M"].items()}


def _progress(attribute: Attribute) -> Progress:
    fields = attribute["M"]
    total, note = fields.get("total"), fields.get("note")
    return Progress(
        float(fields["done"]["N"]), None if total is None else float(total["N"]), None if note is None else _text(note)
    )


def _error(attribute: Attribute) -> ErrorInfo:
    fields = attribute["M"]
    return ErrorInfo(_text(fields["type"]), _text(fields["message"]), _text(fields["traceback"]))


def _past(item: Item) -> tuple[PastAttempt, ...]:
    past = sorted(_needed(item, name, _past_attempt) for name in _PAST if name in item)
    # Drop entries older than 10 attempts: a crashed attempt writes nothing, so its ring slot still holds an old one.
    return tuple(attempt for attempt in past if attempt.attempt > past[-1].attempt - KEPT_ATTEMPTS)


def _past_attempt(attribute: Attribute) -> PastAttempt:
    number, started_at, ended_at, error = attribute["L"]
    return PastAttempt(_whole(number), _time(started_at), _time(ended_at), _text(error))


_REQUIRED: dict[str, Callable[[Attribute], Any]] = {
    "task": _text,
    "queue": _text,
    "run": _whole,
    "attempt": _whole,
    "updated_at": _time,
    "ttl": _time,
}
_OPTIONAL: dict[str, Callable[[Attribute], Any]] = {
    **dict.fromkeys(("owner", "result_key", "reason", "parent", "unique_key"), _text),
    **dict.fromkeys(("lease_until", "next_at", "enqueued_at", "started_at", "finished_at"), _time),
    **dict.fromkeys(("result", "call"), _json),
    "progress": _progress,
    "error": _error,
    "labels": _labels,
}
