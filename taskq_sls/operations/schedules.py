"""What is known of schedules: how they stand, when they fire next, and what became of the last firing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from ..client.app import App
from ..client.schedule_handle import anchor_of, next_run, store_of
from ..client.schedule_message import declared_prefix, runtime_prefix
from ..client.services import Services
from ..core.schedule_spec import DECLARED, RUNTIME
from ..errors import ConfigError
from ..results.records import TaskRecord
from ..scheduler.firing import firing_id
from ..scheduler.rate_limit import RateLimiter
from ..scheduler.spec import StoredSchedule, when_of


class ScheduleView(NamedTuple):
    """One schedule. Times are epoch seconds.

    Args:
        task: name of the task; None for a message that is not ours.
        next_at: when it fires next; None where it is paused or has ended.
        last_at: the last firing that is known of.
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
    """Some schedules of an app. `cursor` asks for the next page; None when this is the last."""

    schedules: list[ScheduleView]
    cursor: str | None


async def list_schedules(
    app: App, services: Services, *, kind: str | None = None, cursor: str | None = None
) -> SchedulePage:
    """Up to 100 schedules of an app, by name: first those that its code declares, then those made at run time.

    Args:
        kind: only the ``declared`` or the ``runtime`` ones.
        cursor: ``SchedulePage.cursor`` of the page before.

    Raises:
        ConfigError: there is no scheduler, its group does not exist, or kind or cursor are none.
        AwsError: schedules or records cannot be read.
    """
    store = store_of(services)
    prefixes = {"declared": declared_prefix(app.name), "runtime": runtime_prefix(app.name)}
    if kind is not None and kind not in prefixes:
        raise ConfigError(f"kind={kind!r} must be one of {', '.join(prefixes)}")
    kinds = list(prefixes) if kind is None else [kind]
    current, inner = kinds[0], None
    if cursor is not None:
        current, colon, rest = cursor.partition(":")
        if not colon or current not in kinds:
            raise ConfigError(f"cursor={cursor!r:.80} is not a cursor; pass on the .cursor of the page before")
        inner = rest or None
    page, following = await store.page(prefixes[current], inner)
    left = kinds[kinds.index(current) + 1 :]
    if not page and following is None and left:
        return await list_schedules(app, services, kind=left[0])
    found = await RateLimiter(services.flow, app.clock).map(store.get, [one.name for one in page])
    views = await views_of(app, services, [one for one in found if one is not None])
    if following is not None:
        return SchedulePage(views, f"{current}:{following}")
    return SchedulePage(views, f"{left[0]}:" if left else None)


async def show_schedule(app: App, services: Services, name: str) -> ScheduleView | None:
    """One schedule of an app, or None.

    Raises:
        ConfigError: there is no scheduler.
        AwsError: schedules or records cannot be read.
    """
    if not is_of(app, name):
        return None
    stored = await store_of(services).get(name)
    return None if stored is None else (await views_of(app, services, [stored]))[0]


def is_of(app: App, name: str) -> bool:
    """Whether a schedule of that name is one of the app's: others may share its schedule group."""
    return name.startswith((declared_prefix(app.name), runtime_prefix(app.name)))


def kind_of(name: str) -> str | None:
    """``declared``, ``runtime``, or None for the delay of a task."""
    return {DECLARED: "declared", RUNTIME: "runtime"}.get(name[:2])


async def views_of(app: App, services: Services, stored: Sequence[StoredSchedule]) -> list[ScheduleView]:
    """What is known of some schedules, with one batched read of the table."""
    now, group = app.clock.time(), store_of(services).group
    fired = {} if services.notes is None else await services.notes.last_fired([one.spec.name for one in stored])
    last = {one.spec.name: fired.get(one.spec.name) or _previous(one, now) for one in stored}
    ids = {name: firing_id(group, name, at) for name, at in last.items() if at is not None}
    records = await services.results.get_many(list(ids.values()), now=now)
    views = []
    for one in stored:
        name = one.spec.name
        following, at, id = next_run(one, now), last[name], ids.get(name)
        record = None if id is None else records.get(id)
        if record is None and name not in fired:  # it was due, but nothing tells that it fired
            at = id = None
        views.append(
            ScheduleView(
                one, _task(one.spec.body), None if following is None else following.timestamp(), at, id, record
            )
        )
    return views


def _previous(stored: StoredSchedule, now: float) -> float | None:
    """The last time at which it was due since it is there."""
    time = when_of(stored.spec).previous_time(now, anchor_of(stored))
    return time if time is not None and time >= anchor_of(stored) else None


def _task(body: str) -> str | None:
    try:
        fields = json.loads(body)
    except ValueError:
        return None
    task = fields.get("task") if isinstance(fields, dict) else None
    return task if isinstance(task, str) else None
