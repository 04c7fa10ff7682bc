"""Dead letters: list, show, redrive, delete."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query

from ...client.app import App
from ...core.redaction import contains_mask
from ...errors import ConfigError
from ...operations.dead_letter_view import Selection
from ...operations.dead_letters import Purged, list_dead_letters, purge
from ...operations.presenters import named_fields
from ...operations.redrive import redrive
from ...operations.runs import Edit
from ..limits import MAX_DEAD_LETTERS, MAX_DEAD_LETTERS_READ
from ..models.dead_letters import (
    DeadLetter,
    DeadLetterDetail,
    DeadLetterFilter,
    DeadLetters,
    Group,
    Left,
    PurgeDeadLetters,
    PurgeDone,
    Redrive,
    RedriveDeadLetters,
    RedriveDone,
)
from ..problems import ProblemError
from ..request_context import BODY, MASKED, Context, allowed, check_shown, read_labels

router = APIRouter(prefix="/v1/dead-letters", tags=["dead letters"])

QueueName = Annotated[
    str, Path(max_length=80, description="Name of a queue or of its dead-letter queue.", examples=["default"])
]
MessageId = Annotated[str, Path(max_length=100, description="The message id of SQS.")]


@router.get(
    "",
    operation_id="listDeadLetters",
    summary="List dead letters, the latest failures first",
    **allowed("read"),
)
async def get_dead_letters(
    context: Context,
    queue: Annotated[str | None, Query(max_length=80, description="Name of a queue or of a dead-letter queue.")] = None,
    task: Annotated[list[str] | None, Query(max_length=50)] = None,
    reason: Annotated[list[str] | None, Query(max_length=50)] = None,
    older_than: Annotated[float | None, Query(ge=0, description="Seconds since they failed for good.")] = None,
    label: Annotated[list[str] | None, Query(max_length=10, description="name=value")] = None,
    id: Annotated[list[str] | None, Query(max_length=100, description="Ids of tasks.")] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_DEAD_LETTERS)] = 50,
) -> DeadLetters:
    """SQS messages must be received to be read: each is invisible to other consumers meanwhile, and is then released.
    Messages held by others are missed, and so may be messages behind them in a message group.
    """
    selection = Selection(
        tasks=frozenset(task or ()),
        reasons=frozenset(reason or ()),
        older_than=older_than,
        labels=read_labels(context.app, label or []),
        ids=frozenset(id or ()),
    )
    found = await list_dead_letters(
        context.app, context.services, queue, selection, limit=limit, most_seen=MAX_DEAD_LETTERS_READ
    )
    return DeadLetters(
        dead_letters=[DeadLetter.of(context.app, letter) for letter in found.dead_letters],
        groups=[Group.of(group) for group in found.groups],
        seen=found.seen,
        missed=found.missed,
        missing=list(found.missing),
    )


@router.get(
    "/{queue}/{message_id}",
    operation_id="getDeadLetter",
    summary="Show a dead letter with its arguments",
    **allowed("read", "not-found"),
)
async def get_dead_letter(queue: QueueName, message_id: MessageId, context: Context) -> DeadLetterDetail:
    """Redacted values are masked."""
    only = Selection(message_ids=frozenset({message_id}))
    found = await list_dead_letters(
        context.app, context.services, queue, only, limit=1, most_seen=MAX_DEAD_LETTERS_READ
    )
    if not found.dead_letters:
        raise _missing(queue, message_id)
    return DeadLetterDetail.of(context.app, found.dead_letters[0])


@router.post("/redrive", operation_id="redriveDeadLetters", summary="Redrive dead letters", **allowed("admin", *BODY))
async def redrive_dead_letters(given: RedriveDeadLetters, context: Context) -> RedriveDone:
    """Each is sent to its queue, as a new run of its task, before it is deleted, so an interruption loses nothing. With a
    rate, a request sends as many as its time allows; repeat it while `more` is set.
    """
    _check_chosen(context.app, given)
    if contains_mask([given.args, given.kwargs, given.set_labels]):
        raise ProblemError("invalid", MASKED)
    limit = given.limit
    if given.rate is not None:
        limit = max(1, min(limit, int(given.rate * context.patience / 2)))
    edit = Edit(given.args, given.kwargs, given.set_labels)
    done = await redrive(
        context.app,
        context.services,
        given.queue,
        given.selection(),
        limit=limit,
        rate=given.rate,
        edit=None if edit == Edit() else edit,
        group=given.group,
        dry_run=given.dry_run,
    )
    return RedriveDone(
        redriven=[
            Redrive(**{**named_fields(sent.dead_letter), "queue": sent.queue, "run": sent.run})
            for sent in done.redriven
        ],
        kept=[Left.of(kept) for kept in done.kept],
        undeleted=[Left.of(letter) for letter in done.undeleted],
        seen=done.seen,
        missing=list(done.missing),
        more=len(done.redriven) + len(done.kept) >= limit,
    )


@router.post(
    "/purge",
    operation_id="purgeDeadLetters",
    summary="Delete dead letters for good",
    **allowed("admin", *BODY),
)
async def purge_dead_letters(given: PurgeDeadLetters, context: Context) -> PurgeDone:
    """The records of their tasks are kept."""
    _check_chosen(context.app, given)
    done = await purge(
        context.app, context.services, given.queue, given.selection(), limit=given.limit, dry_run=given.dry_run
    )
    return _purge_done(context.app, done, more=len(done.purged) >= given.limit)


@router.delete(
    "/{queue}/{message_id}",
    operation_id="deleteDeadLetter",
    summary="Delete a dead letter for good",
    **allowed("admin", "not-found", "conflict"),
)
async def delete_dead_letter(queue: QueueName, message_id: MessageId, context: Context) -> PurgeDone:
    """The record of its task is kept."""
    only = Selection(message_ids=frozenset({message_id}))
    done = await purge(context.app, context.services, queue, only, limit=1)
    if done.kept:
        raise ProblemError("conflict", done.kept[0].message)
    if not done.purged:
        raise _missing(queue, message_id)
    return _purge_done(context.app, done._replace(missing=()), more=False)


def _purge_done(app: App, done: Purged, *, more: bool) -> PurgeDone:
    return PurgeDone(
        purged=[DeadLetter.of(app, letter) for letter in done.purged],
        kept=[Left.of(kept) for kept in done.kept],
        seen=done.seen,
        missing=list(done.missing),
        more=more,
    )


def _check_chosen(app: App, given: DeadLetterFilter) -> None:
    """Refuse a request without a filter, which would select everything."""
    check_shown(app, given.labels)
    if given.selection().everything and not given.everything:
        raise ConfigError("no filter is given: give one, or everything=true")


def _missing(queue: str, message_id: str) -> ProblemError:
    return ProblemError(
        "not-found",
        f"message {message_id!r:.80} was not found in {queue!r:.80}; another consumer may hold it now",
    )
