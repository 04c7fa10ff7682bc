"""Schedules with their state, next run, and the task of their last firing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from ..client.app import App
from ..client.schedule_handle import next_run, store_of
from ..client.schedule_message import declared_prefix, runtime_prefix
from ..client.services import Services
from ..core.schedule_spec import DECLARED, DELAY, RUNTIME
from ..errors import ConfigError
from ..results.records import TaskRecord
from ..scheduler.firing import firing_id
from ..scheduler.rate_limit import LISTS_PER_SECOND, RateLimiter
from ..scheduler.spec import StoredSchedule, when_of


class ScheduleView(NamedTuple):
    """One schedule. Times are epoch seconds.

    Args:
        task: name of the task; None if the schedule's input is not a message of ours.
        next_at: when it fires next; None if it is paused or has ended.
        last_at: the last known firing.
        last_id: id of its task.
        last: its record.
    """

    stored: StoredSchedule
    task: str | None
    next_at: float | None
    last_at: float | None
    last_id: str | None
    last: TaskRecord | None

    @property
    def state(self) -> str:
        """``paused``, ``ended`` or ``on``."""
        if not self.stored.spec.enabled:
            return "paused"
        return "on" if self.next_at is not None else "ended"


class SchedulePage(NamedTuple):
    """Some schedules of an app. `cursor` asks for the next page; None on the last one."""

    schedules: list[ScheduleView]
    cursor: str | None


async def list_schedules(
    app: App, services: Services, *, kind: str | None = None, cursor: str | None = None
) -> SchedulePage:
    """Up to 100 schedules of an app, by name: first the declared ones, then those made at run time.

    Args:
        kind: only the ``declared`` or the ``runtime`` ones.
        cursor: ``SchedulePage.cursor`` of the previous page.

    Raises:
        ConfigError: there is no scheduler, its group does not exist, or kind or cursor is invalid.
        AwsError: schedules or records cannot be read.
    """
    store = store_of(services)
    prefixes = _prefixes(app)
    if kind is not None and kind not in prefixes:
        raise ConfigError(f"kind={kind!r} must be one of {', '.join(prefixes)}")
    kinds = list(prefixes) if kind is None else [kind]
    current, inner = _read_cursor(f"{kinds[0]}:" if cursor is None else cursor, kinds)
    page, following = await store.page(prefixes[current], inner)
    later = kinds[kinds.index(current) + 1 :]
    if not page and following is None and later:
        return await list_schedules(app, services, kind=later[0])
    found = await RateLimiter(services.flow, app.clock).map(store.get, [entry.name for entry in page])
    views = await views_of(app, services, [stored for stored in found if stored is not None])
    return SchedulePage(views, _cursor(current, following, later))


def _cursor(kind: str, inner: str | None, later: Sequence[str]) -> str | None:
    if inner is not None:
        return f"{kind}:{inner}"
    return f"{later[0]}:" if later else None


def _read_cursor(cursor: str, kinds: Sequence[str]) -> tuple[str, str | None]:
    """The kind of schedules to go on with, and the store's own cursor."""
    kind, colon, inner = cursor.partition(":")
    if not colon or kind not in kinds:
        raise ConfigError(f"cursor={cursor!r:.80} is not a cursor; pass on the .cursor of the previous page")
    return kind, inner or None


async def all_schedules(app: App, services: Services, *, delays: bool = False) -> list[ScheduleView]:
    """All schedules of an app by name, the declared ones first.

    Args:
        delays: also the one-time schedules of delayed tasks, of all apps of the schedule group.

    Raises:
        ConfigError: there is no scheduler, or its group does not exist.
        AwsError: schedules or records cannot be read.
    """
    store, clock = store_of(services), app.clock
    limiter = RateLimiter(services.flow, clock, LISTS_PER_SECOND)
    names: set[str] = set()
    for prefix in (*_prefixes(app).values(), *((DELAY,) if delays else ())):
        cursor: str | None = None
        while True:
            await limiter.wait()
            page, cursor = await store.page(prefix, cursor)
            names.update(entry.name for entry in page)
            if cursor is None:
                break
    found = await RateLimiter(services.flow, clock).map(store.get, sorted(names))
    return await views_of(app, services, [stored for stored in found if stored is not None])


async def show_schedule(app: App, services: Services, name: str) -> ScheduleView | None:
    """One schedule of an app; None if the app has none of that name.

    Raises:
        ConfigError: there is no scheduler.
        AwsError: schedules or records cannot be read.
    """
    if not is_of(app, name):
        return None
    stored = await store_of(services).get(name)
    return None if stored is None else (await views_of(app, services, [stored]))[0]


def is_of(app: App, name: str) -> bool:
    """True if the name is one of the app's: other apps may share its schedule group."""
    return name.startswith(tuple(_prefixes(app).values()))


def _prefixes(app: App) -> dict[str, str]:
    return {"declared": declared_prefix(app.name), "runtime": runtime_prefix(app.name)}


def kind_of(name: str) -> str | None:
    """``declared``, ``runtime``, or None for the delay of a task."""
    return {DECLARED: "declared", RUNTIME: "runtime"}.get(name[:2])


async def views_of(app: App, services: Services, schedules: Sequence[StoredSchedule]) -> list[ScheduleView]:
    """Schedules with their firings and records, with one batched read of the table."""
    now, group = app.clock.time(), store_of(services).group
    names = [stored.spec.name for stored in schedules]
    fired = {} if services.last_firings is None else await services.last_firings.read(names)
    last = {stored.spec.name: fired.get(stored.spec.name) or _previous(stored, now) for stored in schedules}
    ids = {name: firing_id(group, name, at) for name, at in last.items() if at is not None}
    records = await services.results.get_many(list(ids.values()), now=now)

    def view(stored: StoredSchedule) -> ScheduleView:
        name, next_at = stored.spec.name, next_run(stored, now)
        record = records.get(ids.get(name, ""))
        known = record is not None or name in fired  # otherwise it was due, but there is no sign that it fired
        return ScheduleView(
            stored,
            task=_task(stored.spec.body),
            next_at=None if next_at is None else next_at.timestamp(),
            last_at=last[name] if known else None,
            last_id=ids.get(name) if known else None,
            last=record,
        )

    return [view(stored) for stored in schedules]


def _previous(stored: StoredSchedule, now: float) -> float | None:
    """The last time that the schedule was due since it was made or changed."""
    time = when_of(stored.spec).previous_time(now, stored.anchor)
    return time if time is not None and time >= stored.anchor else None


def _task(body: str) -> str | None:
    try:
        fields = json.loads(body)
    except ValueError:
        return None
    task = fields.get("task") if isinstance(fields, dict) else None
    return task if isinstance(task, str) else None
