"""Redrive: send dead letters to the queues they came from, then delete them from the dead-letter queue.

Each message is sent before it is deleted, so an interruption loses nothing. A message that was sent and not deleted is
sent again by the next redrive, with the same id and run; the claim then runs the task once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ..brokers.base import MAX_BATCH, MAX_BODY_BYTES, Outgoing
from ..brokers.sqs_limits import utf8_bytes
from ..client.app import App
from ..client.services import Services
from ..core.delivery import Delivery
from ..core.message import deduplication_id
from ..errors import ConfigError, PayloadMissing
from .browse import RENEW_BEFORE_SECONDS, DeadLetterBrowser
from .dead_letter_view import ALL, IS_TRUNCATED, TARGET_ARN, DeadLetterView, Selection
from .dead_letters import Chosen, OnProgress, Problem, Sweep
from .runs import Blocked, Edit, runs_to_open

MAX_PARALLEL_CALLS = 8


class Redrive(NamedTuple):
    """A dead letter that is sent back, with its queue and the run that it opens."""

    dead_letter: DeadLetterView
    queue: str
    run: int


class Redriven(NamedTuple):
    """The result of a redrive; of a dry run, the result that it would have.

    Args:
        redriven: sent to their queues.
        kept: matched the selection, and were not sent.
        undeleted: sent, but could not be deleted; harmless, since id and run are the same.
        seen, missed, missing: as in a `Listing`; `missed` without messages beyond a limit.
    """

    redriven: list[Redrive]
    kept: list[Problem]
    undeleted: list[Problem]
    seen: int
    missed: int = 0
    missing: Sequence[str] = ()


async def redrive(
    app: App,
    services: Services,
    queue: str | None = None,
    selection: Selection = ALL,
    *,
    limit: int | None = None,
    rate: float | None = None,
    edit: Edit | None = None,
    group: str | None = None,
    dry_run: bool = False,
    on_progress: OnProgress | None = None,
) -> Redriven:
    """Send dead letters back to their queues. Each opens a new run of its task, with the same id.

    Tasks that fail again during the redrive are not sent twice. After an interruption, run it again.

    Args:
        queue, selection: as in `list_dead_letters`.
        limit: most dead letters to send.
        rate: messages a second, above 0; None for no limit.
        edit: other arguments or labels for all selected messages.
        group: message group for firings to a FIFO queue whose schedule no longer exists.
        dry_run: send nothing.

    Raises:
        ConfigError: there is no such queue, or a value is out of range.
        MissingResource: none of the dead-letter queues exists.
        ArgumentsError: the edited arguments do not fit a task; the redrive stops there.
        AwsError: a queue or the table cannot be reached; nothing is lost.
    """
    if rate is not None and not 0 < rate < float("inf"):
        raise ConfigError(f"rate={rate!r} must be a number of messages a second above 0")
    redriven: list[Redrive] = []
    sweep = Sweep(app, services, selection, limit=limit, on_progress=on_progress, done=redriven)
    sender = _Sender(
        app,
        services,
        kept=sweep.kept,
        redriven=redriven,
        destinations=Destinations(app, services, group),
        rate=rate,
        edit=edit,
        dry_run=dry_run,
    )

    def wants(view: DeadLetterView) -> bool:
        return selection.matches(view, app.clock.time()) and not sender.has_sent(view)

    batch_size = MAX_BATCH if rate is None else max(1, min(MAX_BATCH, int(rate)))
    await sweep.run(queue, sender.redrive, wants, batch_size)
    return Redriven(redriven, sweep.kept, sender.undeleted, sweep.seen, sweep.missed, sweep.missing)


@dataclass
class _Sender:
    """Sends the messages of one redrive."""

    app: App
    services: Services
    kept: list[Problem]
    redriven: list[Redrive]
    destinations: Destinations
    rate: float | None
    edit: Edit | None
    dry_run: bool
    undeleted: list[Problem] = field(default_factory=list)
    runs: dict[str, int] = field(default_factory=dict)
    next_at: float = 0.0

    def has_sent(self, view: DeadLetterView) -> bool:
        """True if the task was sent by this redrive and has failed again."""
        return view.id is not None and view.run > self.runs.get(view.id, view.run)

    async def redrive(self, browser: DeadLetterBrowser, chosen: Chosen) -> None:
        """Send messages, and delete those that were accepted."""
        await self._wait_for_rate(browser, len(chosen))
        ready: list[tuple[Delivery, Redrive, Outgoing]] = []
        prepared = await self._prepare([view for _, view in chosen])
        for (delivery, _), result in zip(chosen, prepared, strict=True):
            if isinstance(result, Problem):
                self.kept.append(result)
            else:
                ready.append((delivery, *result))
        if self.dry_run:
            self.redriven += [redrive for _, redrive, _ in ready]
        elif ready:
            await self._send(browser, ready)

    async def _send(self, browser: DeadLetterBrowser, ready: Sequence[tuple[Delivery, Redrive, Outgoing]]) -> None:
        answers = await self.services.broker.send([outgoing for _, _, outgoing in ready])
        sent: list[tuple[Delivery, Redrive]] = []
        for (delivery, redrive, _), answer in zip(ready, answers, strict=True):
            if answer is not None:
                self.kept.append(Problem(redrive.dead_letter, answer.code, answer.message))
                continue
            sent.append((delivery, redrive))
            if redrive.dead_letter.id is not None:
                self.runs[redrive.dead_letter.id] = redrive.run
        self.redriven += [redrive for _, redrive in sent]
        for (_, redrive), error in zip(sent, await browser.delete([delivery for delivery, _ in sent]), strict=True):
            if error is not None:
                self.undeleted.append(Problem(redrive.dead_letter, "NotDeleted", error))

    async def _prepare(self, views: Sequence[DeadLetterView]) -> list[tuple[Redrive, Outgoing] | Problem]:
        runs = await runs_to_open(self.app, self.services, views, dry_run=self.dry_run)
        prepared: list[tuple[Redrive, Outgoing] | Problem] = []
        for view, run in zip(views, runs, strict=True):
            if isinstance(run, Blocked):
                prepared.append(Problem(view, run.code, run.message))
                continue
            try:
                prepared.append(await self._outgoing(view, run))
            except (ConfigError, PayloadMissing) as error:
                prepared.append(Problem(view, type(error).__name__, str(error)))
        return prepared

    async def _outgoing(self, view: DeadLetterView, run: int) -> tuple[Redrive, Outgoing]:
        queue, group = await self.destinations.find(view)
        body, dedup = await self._body(view, run)
        if (size := utf8_bytes(body)) > MAX_BODY_BYTES:
            raise ConfigError(
                f"task {view.id}: the message would be {size:,} bytes, above the {MAX_BODY_BYTES:,} that SQS accepts; "
                "let SQS itself move it back (StartMessageMoveTask), or enqueue the task anew"
            )
        fifo = queue.endswith(".fifo")
        outgoing = Outgoing(
            queue,
            body,
            view.id or view.message_id,
            group=group or ("taskq" if fifo else None),
            dedup=dedup if fifo else None,
        )
        return Redrive(view, queue, run), outgoing

    async def _body(self, view: DeadLetterView, run: int) -> tuple[str, str]:
        """The body to send, and its deduplication id."""
        message = view.message
        if message is None:
            if self.edit is not None:
                raise ConfigError(f"message {view.message_id} cannot be edited, it cannot be read: {view.undecodable}")
            return view.body, f"{view.message_id}:{view.receive_count}"
        if self.edit is not None:
            message = await self.edit.apply(self.app, self.services, message)
        if run != message.run:
            message = message._replace(run=run, attempt=0)
        # An unchanged body is sent byte for byte.
        body = view.body if message is view.message else message.encode()
        return body, deduplication_id(view.id or view.message_id, message.task, run, message.attempt)

    async def _wait_for_rate(self, browser: DeadLetterBrowser, count: int) -> None:
        """Wait until `count` messages may be sent, and extend the visibility timeout of the others meanwhile."""
        if self.rate is None or self.dry_run:
            return
        clock = self.app.clock
        while (wait := self.next_at - clock.time()) > 0:
            await self.services.flow.sleep(min(wait, RENEW_BEFORE_SECONDS / 3))
            await browser.extend()
        self.next_at = clock.time() + count / self.rate


@dataclass
class Destinations:
    """Finds the queue and message group that dead letters return to; caches ARNs and groups that it read.

    Args:
        group: message group for firings to FIFO queues whose schedule no longer exists.
    """

    app: App
    services: Services
    group: str | None
    by_arn: dict[str, str] = field(default_factory=dict)
    groups: dict[str, str | None] = field(default_factory=dict)

    async def find(self, view: DeadLetterView) -> tuple[str, str | None]:
        """Logical queue and message group.

        Raises:
            ConfigError: the queue or the group is unknown, or EventBridge Scheduler truncated the message.
        """
        if view.source is not None:
            return view.source, view.group
        if view.attributes.get(IS_TRUNCATED, "").lower() == "true":
            raise ConfigError(
                f"message {view.message_id}: EventBridge Scheduler has cut its body; enqueue the task anew"
            )
        queue = await self._target(view)
        group = view.group
        if queue.endswith(".fifo") and group is None:
            group = await self._group_of(view, queue)
        return queue, group

    async def _target(self, view: DeadLetterView) -> str:
        arn = view.attributes.get(TARGET_ARN)
        if not self.by_arn:
            names = list(self.app.queues)
            arns = await self.services.flow.map(self.services.broker.queue_arn, names, MAX_PARALLEL_CALLS)
            self.by_arn = dict(zip(arns, names, strict=True))
        if arn not in self.by_arn:
            raise ConfigError(
                f"message {view.message_id}: its schedule's target is {arn or 'not given'}, which is not a queue of app "
                f"{self.app.name!r}; redrive it with the app that has this queue"
            )
        return self.by_arn[arn]

    async def _group_of(self, view: DeadLetterView, queue: str) -> str:
        name = view.schedule
        if name is not None and name not in self.groups and self.services.schedules is not None:
            stored = await self.services.schedules.get(name)
            self.groups[name] = None if stored is None else stored.spec.group
        group = (self.groups.get(name) if name is not None else None) or self.group
        if group is None:
            raise ConfigError(
                f"message {view.message_id} goes to FIFO queue {queue!r}, and its schedule {name!r}, which had the message "
                "group, no longer exists: give the group (--group)"
            )
        return group
