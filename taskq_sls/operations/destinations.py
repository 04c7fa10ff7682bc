"""Where a dead letter goes back to: the queue it came from, or the one that its schedule was aimed at."""

from __future__ import annotations

from ..client.app import App
from ..client.services import Services
from ..errors import ConfigError
from .dead_letter_view import IS_TRUNCATED, TARGET_ARN, DeadLetterView


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
