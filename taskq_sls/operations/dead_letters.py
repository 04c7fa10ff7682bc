"""Dead letters: list them, and delete those that are not wanted. Their redrive: :mod:`~taskq_sls.operations.redrive`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..client.app import App
from ..client.services import Services
from ..core.number_checks import is_whole
from ..errors import AwsError, ConfigError
from .browse import DeadLetterBrowser, existing_queues
from .dead_letter_view import ALL, DeadLetterGroup, DeadLetterView, Selection, groups_of, view_of
from .runs import close_records

logger = logging.getLogger("taskq_sls.operations")

MAX_LISTED = 10_000
"""Most messages that one listing looks at: each is hidden from others while it lasts."""


class Listing(NamedTuple):
    """What a look through dead-letter queues found, the latest failures first.

    Args:
        seen: messages that were looked at.
        missed: messages that were not: others hold them, they wait behind others of their FIFO group, or a limit was
            reached. Approximate, as SQS's own counts are.
        missing: logical names of the dead-letter queues that do not exist.
    """

    dead_letters: list[DeadLetterView]
    seen: int
    missed: int
    missing: Sequence[str] = ()

    @property
    def groups(self) -> list[DeadLetterGroup]:
        """How many there are of each reason, task and error type."""
        return groups_of(self.dead_letters)


class Progress(NamedTuple):
    """How far a long operation is. `expected` is approximately how many messages there are to look at."""

    seen: int
    expected: int
    done: int
    failed: int


OnProgress = Callable[[Progress], None]


class Problem(NamedTuple):
    """A dead letter that was left where it is, and why."""

    dead_letter: DeadLetterView
    code: str
    message: str


class Purged(NamedTuple):
    """What a purge did; with a dry run, what it would do.

    Args:
        kept: fitted the selection, and are there still.
        seen: messages that were looked at.
        missed: messages that it looked for in vain, since others hold them; as in a `Listing`.
        missing: as in a `Listing`.
    """

    purged: list[DeadLetterView]
    kept: list[Problem]
    seen: int
    missed: int = 0
    missing: Sequence[str] = ()


async def list_dead_letters(
    app: App,
    services: Services,
    queue: str | None = None,
    selection: Selection = ALL,
    *,
    limit: int = 100,
    most_seen: int = MAX_LISTED,
    end_moved: bool = False,
    on_progress: OnProgress | None = None,
) -> Listing:
    """The dead letters of an app's queues that fit a selection; all stay where they are.

    See :mod:`~taskq_sls.operations.browse` for what a listing can miss.

    Args:
        queue: only those of this queue, or in this dead-letter queue.
        limit: most dead letters to find, 1 or more.
        most_seen: most messages to look at, 1 or more.
        end_moved: end the tasks of messages that SQS moved and that nobody works on, FAILED with reason ``redriven``.

    Raises:
        ConfigError: there is no such queue, or a number is out of range.
        MissingResource: none of the dead-letter queues exists.
        AwsError: a queue cannot be read.
    """
    check_whole("limit", limit)
    check_whole("most_seen", most_seen)
    found: list[DeadLetterView] = []
    seen = missed = 0
    queues = await existing_queues(app, services, queue)
    for one in queues.found:
        async with DeadLetterBrowser(app, services, one.name) as reading:
            while len(found) < limit and seen + reading.seen < most_seen:
                deliveries = await reading.next(most_seen - seen - reading.seen)
                if not deliveries:
                    break
                now = app.clock.time()
                views = [view_of(delivery, one) for delivery in deliveries]
                found += [view for view in views if selection.matches(view, now)]
                if end_moved:
                    await _end_moved(app, services, views)
                report_progress(on_progress, reading, len(found), 0)
                if selection.max_matches is not None and len(found) >= selection.max_matches:
                    break
        seen += reading.seen
        missed += reading.missed
    missed += len(found[limit:])
    return Listing(sorted(found[:limit], key=lambda view: -view.since), seen, missed, queues.missing)


async def _end_moved(app: App, services: Services, views: Sequence[DeadLetterView]) -> None:
    try:
        await close_records(app, services, views)
    except (AwsError, ConfigError) as error:  # the listing is what was asked for
        logger.warning("tasks whose messages SQS moved cannot be ended: %s", error, extra={"action": "close_fault"})


async def purge(
    app: App,
    services: Services,
    queue: str | None = None,
    selection: Selection = ALL,
    *,
    limit: int | None = None,
    dry_run: bool = False,
    on_progress: OnProgress | None = None,
) -> Purged:
    """Delete dead letters for good. Their records stay; those of messages that SQS moved are marked FAILED.

    Interrupted, it has deleted some and no others; run it again to go on.

    Args:
        queue, selection: as in `list_dead_letters`.
        limit: most dead letters to delete.
        dry_run: delete nothing.

    Raises:
        ConfigError: there is no such queue, or a number is out of range.
        MissingResource: none of the dead-letter queues exists.
        AwsError: a queue or the table cannot be reached.
    """
    if limit is not None:
        check_whole("limit", limit)
    purged: list[DeadLetterView] = []
    kept: list[Problem] = []
    seen = missed = 0
    queues = await existing_queues(app, services, queue)
    for one in queues.found:
        async with DeadLetterBrowser(app, services, one.name) as reading:
            while limit is None or len(purged) < limit:
                deliveries = await reading.next()
                if not deliveries:
                    missed += reading.missed
                    break
                chosen = [
                    (delivery, view)
                    for delivery in deliveries
                    if selection.matches(view := view_of(delivery, one), app.clock.time())
                ]
                if limit is not None:
                    chosen = chosen[: limit - len(purged)]
                if dry_run:
                    purged += [view for _, view in chosen]
                elif chosen:
                    await close_records(app, services, [view for _, view in chosen])
                    answers = await reading.delete([delivery for delivery, _ in chosen])
                    for (_, view), answer in zip(chosen, answers, strict=True):
                        if answer is None:
                            purged.append(view)
                        else:
                            kept.append(Problem(view, "NotDeleted", answer))
                report_progress(on_progress, reading, len(purged), len(kept))
                if selection.max_matches is not None and len(purged) + len(kept) >= selection.max_matches:
                    break
        seen += reading.seen
    return Purged(purged, kept, seen, missed, queues.missing)


def report_progress(on_progress: OnProgress | None, reading: DeadLetterBrowser, done: int, failed: int) -> None:
    """Report how far a look through one queue is."""
    if on_progress is not None:
        on_progress(Progress(reading.seen, max(reading.expected, reading.seen), done, failed))


def check_whole(name: str, value: int) -> None:
    """A number that must be whole, 1 or more.

    Raises:
        ConfigError: it is not.
    """
    if not is_whole(value, 1):
        raise ConfigError(f"{name}={value!r} must be a whole number of 1 or more")
