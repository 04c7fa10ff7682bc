"""Schedules as they would be made: through the dispatch hooks, and then taken down instead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..scheduler.specs import ScheduleSpec
from ..scheduler.store import ScheduleStore
from ..sending import Prepared
from ..services import Services
from .preparing import create

if TYPE_CHECKING:
    from ..scheduler.specs import ScheduleSummary, StoredSchedule


async def capture(services: Services, group: str, prepared: Mapping[str, Prepared]) -> list[ScheduleSpec]:
    """The schedules with the messages that their hooks made, in order. Nothing is made.

    Raises:
        Exception: what a dispatch hook raised.
    """
    taken = _Taken(group)
    await create(_Capturing(services, taken), prepared)
    return [taken.specs[name] for name in prepared]


class _Taken(ScheduleStore):
    """Takes schedules down; nothing else is asked of it."""

    def __init__(self, group: str) -> None:
        self.group = group
        self.specs: dict[str, ScheduleSpec] = {}

    async def create(self, spec: ScheduleSpec) -> bool:
        self.specs[spec.name] = spec
        return True

    async def update(self, spec: ScheduleSpec) -> bool:
        raise NotImplementedError

    async def delete(self, name: str) -> bool:
        raise NotImplementedError

    async def get(self, name: str) -> StoredSchedule | None:
        raise NotImplementedError

    async def page(self, prefix: str = "", cursor: str | None = None) -> tuple[list[ScheduleSummary], str | None]:
        raise NotImplementedError


class _Capturing(Services):
    """Services with another store of schedules, and no bucket: a schedule outlives what is in there."""

    def __init__(self, services: Services, store: ScheduleStore) -> None:
        super().__init__(services.flow, lambda: services.broker, lambda: services.results, services.close)
        self._store = store

    @property
    def schedules(self) -> ScheduleStore | None:
        return self._store
