"""Redrive: send dead letters back to the queues they came from, then delete them.

Each is sent before it is deleted. So an interruption, at any moment, loses nothing: what was sent and not deleted is
sent once more by the next redrive, with the same id and run, and the claim makes the two one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..brokers.base import MAX_BATCH, MAX_BODY_BYTES, Outgoing
from ..brokers.sqs_limits import utf8_bytes
from ..client.app import App
from ..client.services import Services
from ..core.delivery import Delivery
from ..core.message import deduplication_id
from ..errors import ConfigError, PayloadMissing
from .browse import RENEW_BEFORE_SECONDS, DeadLetterBrowser, existing_queues
from .dead_letter_view import ALL, IS_TRUNCATED, TARGET_ARN, DeadLetterQueue, DeadLetterView, Selection, view_of
from .dead_letters import OnProgress, Problem, check_whole, report_progress
from .editing import Edit
from .runs import Blocked, runs_to_open


class Redrive(NamedTuple):
    """A dead letter on its way back: where to, and in which run."""

    dead_letter: DeadLetterView
    queue: str
    run: int


class Redriven(NamedTuple):
    """What a redrive did; with a dry run, what it would do.

    Args:
        redriven: sent to their queues.
        kept: fitted the selection, and are there still.
        undeleted: sent, and could not be deleted: they are there still, and harmless.
        seen: messages that were looked at.
        missed: messages that it looked for in vain, since others hold them; as in a `Listing`.
        missing: as in a `Listing`.
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
    """Send dead letters back to their queues: a new run of each task, with the same id.

    What fails again while it goes on is not sent a second time. Run it again to go on after an interruption.

    Args:
        queue, selection: which ones; see `list_dead_letters`.
        limit: most dead letters to send.
        rate: messages a second, above 0; None as fast as it goes.
        edit: other arguments or labels for all that are selected.
        group: message group of firings for a FIFO queue whose schedule is gone.
        dry_run: send nothing.

    Raises:
        ConfigError: there is no such queue, or a value is out of range.
        MissingResource: none of the dead-letter queues exists.
        ArgumentsError: the edited arguments do not fit a task; nothing more was sent.
        AwsError: a queue or the table cannot be reached; nothing is lost.
    """
    if limit is not None:
        check_whole("limit", limit)
    if rate is not None and not 0 < rate < float("inf"):
        raise ConfigError(f"rate={rate!r} must be a number of messages a second above 0")
    work = _Work(app, services, selection, limit, rate, edit, group, dry_run, on_progress)
    queues = await existing_queues(app, services, queue)
    for one in queues.found:
        await work.empty(one)
    return Redriven(work.redriven, work.kept, work.undeleted, work.seen, work.missed, queues.missing)


class _Work:
    """One redrive under way."""

    def __init__(
        self,
        app: App,
        services: Services,
        selection: Selection,
        limit: int | None,
        rate: float | None,
        edit: Edit | None,
        group: str | None,
        dry_run: bool,
        on_progress: OnProgress | None,
    ) -> None:
        self._app = app
        self._services = services
        self._selection = selection
        self._limit = limit
        self._rate = rate
        self._edit = edit
        self._dry_run = dry_run
        self._on_progress = on_progress
        self._destinations = Destinations(app, services, group)
        self._next_at = 0.0
        self._runs: dict[str, int] = {}
        self.redriven: list[Redrive] = []
        self.kept: list[Problem] = []
        self.undeleted: list[Problem] = []
        self.seen = 0
        self.missed = 0

    async def empty(self, queue: DeadLetterQueue) -> None:
        """Redrive what is selected of one queue."""
        async with DeadLetterBrowser(self._app, self._services, queue.name) as reading:
            while self._left() > 0:
                deliveries = await reading.next()
                if not deliveries:
                    self.missed += reading.missed
                    break
                chosen = [(delivery, view) for delivery in deliveries if self._wants(view := view_of(delivery, queue))]
                chosen = chosen[: self._left()]
                step = MAX_BATCH if self._rate is None else max(1, min(MAX_BATCH, int(self._rate)))
                for start in range(0, len(chosen), step):
                    await self._redrive(reading, chosen[start : start + step])
                    report_progress(self._on_progress, reading, len(self.redriven), len(self.kept))
        self.seen += reading.seen

    def _left(self) -> int:
        """How many more may be sent."""
        done = len(self.redriven) + len(self.kept)
        most = self._selection.max_matches
        if most is not None and done >= most:
            return 0
        return MAX_BATCH if self._limit is None else self._limit - len(self.redriven)

    def _wants(self, view: DeadLetterView) -> bool:
        if not self._selection.matches(view, self._app.clock.time()):
            return False
        # What has failed again since it was sent is left for another time.
        return view.id is None or view.run <= self._runs.get(view.id, view.run)

    async def _redrive(self, reading: DeadLetterBrowser, chosen: Sequence[tuple[Delivery, DeadLetterView]]) -> None:
        """Send some, and delete those that were accepted."""
        await self._pace(reading, len(chosen))
        ready: list[tuple[Delivery, Redrive, Outgoing]] = []
        plans = await self._plan([view for _, view in chosen])
        for (delivery, _), planned in zip(chosen, plans, strict=True):
            if isinstance(planned, Problem):
                self.kept.append(planned)
            else:
                ready.append((delivery, *planned))
        if self._dry_run:
            self.redriven += [one for _, one, _ in ready]
            return
        if not ready:
            return
        answers = await self._services.broker.send([outgoing for _, _, outgoing in ready])
        sent: list[tuple[Delivery, Redrive]] = []
        for (delivery, one, _), answer in zip(ready, answers, strict=True):
            if answer is None:
                sent.append((delivery, one))
                if one.dead_letter.id is not None:
                    self._runs[one.dead_letter.id] = one.run
            else:
                self.kept.append(Problem(one.dead_letter, answer.code, answer.message))
        self.redriven += [one for _, one in sent]
        for (_, one), why in zip(sent, await reading.delete([delivery for delivery, _ in sent]), strict=True):
            if why is not None:
                self.undeleted.append(Problem(one.dead_letter, "NotDeleted", why))

    async def _plan(self, views: Sequence[DeadLetterView]) -> list[tuple[Redrive, Outgoing] | Problem]:
        runs = await runs_to_open(self._app, self._services, views, dry_run=self._dry_run)
        planned: list[tuple[Redrive, Outgoing] | Problem] = []
        for view, run in zip(views, runs, strict=True):
            if isinstance(run, Blocked):
                planned.append(Problem(view, run.code, run.message))
                continue
            try:
                planned.append(await self._outgoing(view, run))
            except (ConfigError, PayloadMissing) as error:
                planned.append(Problem(view, type(error).__name__, str(error)))
        return planned

    async def _outgoing(self, view: DeadLetterView, run: int) -> tuple[Redrive, Outgoing]:
        queue, group = await self._destinations.of(view)
        message, body = view.message, view.body
        dedup: str | None = None
        if message is not None:
            if self._edit is not None:
                message = await self._edit.apply(self._app, self._services, message)
            if run != message.run:
                message = message._replace(run=run, attempt=0)
            if message is not view.message:
                body = message.encode()
            dedup = deduplication_id(view.id or view.message_id, message.task, run, message.attempt)
        elif self._edit is not None:
            raise ConfigError(f"message {view.message_id} cannot be read, and so not edited: {view.undecodable}")
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
            dedup=(dedup or f"{view.message_id}:{view.receive_count}") if fifo else None,
        )
        return Redrive(view, queue, run), outgoing

    async def _pace(self, reading: DeadLetterBrowser, count: int) -> None:
        """Wait for the turn of `count` messages, and keep holding the others meanwhile."""
        if self._rate is None or self._dry_run:
            return
        clock = self._app.clock
        while (wait := self._next_at - clock.time()) > 0:
            await self._services.flow.sleep(min(wait, RENEW_BEFORE_SECONDS / 3))
            await reading.keep()
        self._next_at = clock.time() + count / self._rate


class Destinations:
    """Finds queue and message group of dead letters; remembers what it had to ask for.

    Args:
        group: for firings on FIFO queues whose schedule is gone.
    """

    def __init__(self, app: App, services: Services, group: str | None) -> None:
        self._app = app
        self._services = services
        self._group = group
        self._by_arn: dict[str, str] | None = None
        self._groups: dict[str, str | None] = {}

    async def of(self, view: DeadLetterView) -> tuple[str, str | None]:
        """Logical queue and message group.

        Raises:
            ConfigError: it cannot be told where it belongs, or it is not whole.
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
        if self._by_arn is None:
            names = list(self._app.queues)
            arns = await self._services.flow.map(self._services.broker.queue_arn, names, 8)
            self._by_arn = dict(zip(arns, names, strict=True))
        if arn not in self._by_arn:
            raise ConfigError(
                f"message {view.message_id}: its schedule was aimed at {arn or 'nothing that it names'}, which is no queue "
                f"of app {self._app.name!r}; redrive it with the app whose queue that is"
            )
        return self._by_arn[arn]

    async def _group_of(self, view: DeadLetterView, queue: str) -> str:
        name = view.schedule
        if name is not None and name not in self._groups and self._services.schedules is not None:
            stored = await self._services.schedules.get(name)
            self._groups[name] = None if stored is None else stored.spec.group
        group = (self._groups.get(name) if name is not None else None) or self._group
        if group is None:
            raise ConfigError(
                f"message {view.message_id} goes to FIFO queue {queue!r}, and its schedule {name!r}, which knows the message "
                "group, is gone: give the group (--group)"
            )
        return group
