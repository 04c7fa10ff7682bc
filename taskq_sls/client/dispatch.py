"""From prepared messages to the queue, through the hooks of their tasks."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from ..core.message import Message
from ..errors import AwsError, ConfigError, EnqueueError, FailedEntry
from ..results.records import Claim
from .dispatch_hooks import Deliver, dispatch_batch, dispatch_one, needs_own_request
from .sending import NotSent, OutgoingTask, send
from .services import Services

logger = logging.getLogger("taskq_sls.dispatch")


async def dispatch(
    services: Services, prepared: Sequence[OutgoingTask], deliver: Deliver = send
) -> list[Message | Exception]:
    """Send all; answer for each the message as sent, or why it was not.

    Args:
        deliver: what becomes of messages that have passed their hooks.

    Raises:
        ConfigError: a queue does not exist, or there are no credentials. Nothing was sent to that queue.
        PayloadTooLarge: a body is over the limit, and there is no bucket for its arguments; nothing was sent.
    """
    if not any(one.hooks for one in prepared):
        answers = await deliver(services, prepared, [one.message for one in prepared])
        sent: list[Message | Exception] = [
            one.message if answer is None else NotSent(answer) for one, answer in zip(prepared, answers, strict=True)
        ]
    elif any(needs_own_request(one) for one in prepared):
        sent = await services.flow.map(lambda one: dispatch_one(services, one, deliver), prepared, 8)
    else:
        sent = await dispatch_batch(services, prepared, deliver)
    await _record_queued(services, prepared, sent)
    return sent


def raise_failures(sent: Sequence[object], prepared: Sequence[OutgoingTask], handles: Sequence[Any]) -> None:
    """Raise EnqueueError if anything was not sent; a hook's own exception on a single message as it is."""
    failed = [index for index, one in enumerate(sent) if isinstance(one, Exception)]
    if not failed:
        return
    first = sent[failed[0]]
    if len(sent) == 1 and isinstance(first, Exception) and not isinstance(first, NotSent):
        raise first
    entries = []
    for index in failed:
        error = sent[index]
        code = error.error.code if isinstance(error, NotSent) else type(error).__name__
        text = error.error.message if isinstance(error, NotSent) else str(error)
        cause = error if isinstance(error, Exception) and not isinstance(error, NotSent) else None
        entries.append(FailedEntry(index, prepared[index].message.id, code, text, cause))
    raise EnqueueError([handle for index, handle in enumerate(handles) if index not in set(failed)], entries)


# -- recording level `queued` -----------------------------------------------------------------------------------


async def _record_queued(
    services: Services, prepared: Sequence[OutgoingTask], sent: Sequence[Message | Exception]
) -> None:
    claims = [
        Claim(
            message.id,
            message.run,
            message.task,
            one.queue,
            "",
            message.enqueued_at,
            0.0,
            1,
            one.ttl,
            message.enqueued_at,
            message.labels,
            message.parent,
            message.unique_key,
            # What a hook put in place of arguments stands in the message; what was there before may be meant for nobody.
            one.call if message.args is one.message.args and message.kwargs is one.message.kwargs else None,
        )
        for one, message in zip(prepared, sent, strict=True)
        if one.ttl is not None and isinstance(message, Message)
    ]

    async def put(claim: Claim) -> None:
        try:
            await services.results.put_queued(claim)
        except (AwsError, ConfigError) as error:
            # The message is in the queue: the task will run, and its claim writes the record.
            logger.warning("task %s is queued but not recorded yet: %s", claim.id, error, extra={"task_id": claim.id})

    if claims:
        await services.flow.map(put, claims, 16)
