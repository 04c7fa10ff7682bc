"""List and delete dead letters. Their redrive is in :mod:`~taskq_sls.operations.redrive`."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ..brokers.base import MAX_BATCH
from ..client.app import App
from ..client.services import Services
from ..core.delivery import Delivery
from ..core.number_checks import is_whole
from ..errors import AwsError, ConfigError
from .browse import DeadLetterBrowser, existing_queues
from .dead_letter_view import ALL, DeadLetterGroup, DeadLetterView, Selection, groups_of, view_of
from .runs import close_records

logger = logging.getLogger("taskq_sls.operations")

MAX_LISTED = 10_000
"""Most messages that one listing reads: each is invisible to other consumers until it ends."""


class Listing(NamedTuple):
    """Dead letters that match a selection, the latest failures first.

    Args:
        seen: messages that were read.
        missed: messages that were not read: another consumer has them, they wait behind others of their FIFO group, or
            a limit was reached. Approximate, as SQS's own counts are.
        missing: logical names of the dead-letter queues that do not exist.
    """

    dead_letters: list[DeadLetterView]
    seen: int
    missed: int
    missing: Sequence[str] = ()

    @property
    def groups(self) -> list[DeadLetterGroup]:
        return groups_of(self.dead_letters)


class SweepProgress(NamedTuple):
    """Progress of a long operation. `expected` is the approximate number of messages to read."""

    seen: int
    expected: int
    done: int
    failed: int


OnProgress = Callable[[SweepProgress], None]


class Problem(NamedTuple):
    """A dead letter that was left in its queue, and why."""

    dead_letter: DeadLetterView
    code: str
    message: str


class Purged(NamedTuple):
    """The result of a purge; of a dry run, the result that it would have.

    Args:
        kept: matched the selection, and were not deleted.
        seen, missed, missing: as in a `Listing`; `missed` without messages beyond a limit.
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
    """List the dead letters of an app that match a selection. All stay in their queues.

    See :mod:`~taskq_sls.operations.browse` for messages that a listing can miss.

    Args:
        queue: only the dead letters of this queue, or in this dead-letter queue.
        limit: most dead letters to return, 1 or more.
        most_seen: most messages to read, 1 or more.
        end_moved: mark the tasks of messages that SQS moved and that have no lease as FAILED, reason ``redriven``.

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
    for dead_letter_queue in queues.found:
        async with DeadLetterBrowser(app, services, dead_letter_queue.name) as browser:
            while len(found) < limit and seen + browser.seen < most_seen:
                deliveries = await browser.next(most_seen - seen - browser.seen)
                if not deliveries:
                    break
                now = app.clock.time()
                views = [view_of(delivery, dead_letter_queue) for delivery in deliveries]
                found += [view for view in views if selection.matches(view, now)]
                if end_moved:
                    await _end_moved(app, services, views)
                report_progress(on_progress, browser, len(found), 0)
                if selection.max_matches is not None and len(found) >= selection.max_matches:
                    break
        seen += browser.seen
        missed += browser.missed
    missed += len(found[limit:])
    return Listing(sorted(found[:limit], key=lambda view: -view.since), seen, missed, queues.missing)


async def _end_moved(app: App, services: Services, views: Sequence[DeadLetterView]) -> None:
    try:
        await close_records(app, services, views)
    except (AwsError, ConfigError) as error:  # the caller asked for the listing, which succeeded
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
    """Delete dead letters. Their records stay; records of messages that SQS moved are marked FAILED.

    After an interruption, run it again to delete the rest.

    Args:
        queue, selection: as in `list_dead_letters`.
        limit: most dead letters to delete.
        dry_run: delete nothing.

    Raises:
        ConfigError: there is no such queue, or a number is out of range.
        MissingResource: none of the dead-letter queues exists.
        AwsError: a queue or the table cannot be reached.
    """
    purged: list[DeadLetterView] = []
    sweep = Sweep(app, services, selection, limit=limit, on_progress=on_progress, done=purged)

    async def delete(browser: DeadLetterBrowser, chosen: Chosen) -> None:
        if dry_run:
            purged.extend(view for _, view in chosen)
            return
        await close_records(app, services, [view for _, view in chosen])
        answers = await browser.delete([delivery for delivery, _ in chosen])
        for (_, view), answer in zip(chosen, answers, strict=True):
            if answer is None:
                purged.append(view)
            else:
                sweep.kept.append(Problem(view, "NotDeleted", answer))

    await sweep.run(queue, delete, lambda view: selection.matches(view, app.clock.time()))
    return Purged(purged, sweep.kept, sweep.seen, sweep.missed, sweep.missing)


Chosen = Sequence[tuple[Delivery, DeadLetterView]]


@dataclass
class Sweep:
    """Reads dead-letter queues and passes matching messages on, in batches, until a limit or the end.

    Args:
        limit: most messages in `done`, 1 or more; None for all.
        done: grows as messages are handled; `kept` takes those that could not be.

    Raises:
        ConfigError: the limit is out of range.
    """

    app: App
    services: Services
    selection: Selection
    limit: int | None
    on_progress: OnProgress | None
    done: Sequence[object]
    kept: list[Problem] = field(default_factory=list)
    seen: int = 0
    missed: int = 0
    missing: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.limit is not None:
            check_whole("limit", self.limit)

    async def run(
        self,
        queue: str | None,
        handle: Callable[[DeadLetterBrowser, Chosen], Awaitable[None]],
        wants: Callable[[DeadLetterView], bool],
        batch_size: int = MAX_BATCH,
    ) -> None:
        queues = await existing_queues(self.app, self.services, queue)
        self.missing = queues.missing
        for dead_letter_queue in queues.found:
            async with DeadLetterBrowser(self.app, self.services, dead_letter_queue.name) as browser:
                while (left := self._left()) > 0:
                    deliveries = await browser.next()
                    if not deliveries:
                        self.missed += browser.missed
                        break
                    views = [(delivery, view_of(delivery, dead_letter_queue)) for delivery in deliveries]
                    chosen = [(delivery, view) for delivery, view in views if wants(view)][:left]
                    for start in range(0, len(chosen), batch_size):
                        await handle(browser, chosen[start : start + batch_size])
                        report_progress(self.on_progress, browser, len(self.done), len(self.kept))
                    if not chosen:
                        report_progress(self.on_progress, browser, len(self.done), len(self.kept))
            self.seen += browser.seen

    def _left(self) -> int:
        """How many more messages may be handled now."""
        if self.selection.max_matches is not None and len(self.done) + len(self.kept) >= self.selection.max_matches:
            return 0
        return MAX_BATCH if self.limit is None else self.limit - len(self.done)


def report_progress(on_progress: OnProgress | None, browser: DeadLetterBrowser, done: int, failed: int) -> None:
    if on_progress is not None:
        on_progress(SweepProgress(browser.seen, max(browser.expected, browser.seen), done, failed))


def check_whole(name: str, value: int) -> None:
    """Raise ConfigError unless the value is a whole number of 1 or more."""
    if not is_whole(value, 1):
        raise ConfigError(f"{name}={value!r} must be a whole number of 1 or more")
