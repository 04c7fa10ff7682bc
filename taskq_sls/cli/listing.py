"""What ``taskq schedules ls`` tells of each schedule."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from ..app import TaskQ
from ..errors import ConfigError
from ..results.records import TaskRecord
from ..scheduler.firing import firing_id
from ..scheduler.kept import when_of
from ..scheduler.pacing import LISTS_PER_SECOND, Pacer
from ..scheduler.specs import DECLARED, DELAY, RUNTIME, StoredSchedule
from ..schedules.handle import anchor_of, next_run, store_of
from ..schedules.names import declared_prefix, runtime_prefix
from ..services import Services
from .output import moment


class Row(NamedTuple):
    """One schedule.

    Args:
        task: name of the task; None for a message that is not ours.
        next_at: when it fires next, in its time zone, ISO 8601.
        last_at: epoch seconds of the last firing that is known of.
        status: what became of its task; None where nothing is recorded of it.
    """

    stored: StoredSchedule
    task: str | None
    next_at: str | None
    last_at: float | None
    status: str | None
    last_id: str | None

    @property
    def state(self) -> str:
        """``paused``, ``ended`` or ``on``."""
        if not self.stored.spec.enabled:
            return "paused"
        return "on" if self.next_at else "ended"

    def fields(self) -> dict[str, Any]:
        """As JSON values."""
        spec = self.stored.spec
        return {
            "name": spec.name,
            "state": self.state,
            "expression": spec.expression,
            "timezone": spec.timezone,
            "task": self.task,
            "queue": spec.queue,
            "group": spec.group,
            "start": moment(spec.start),
            "end": moment(spec.end),
            "window": spec.window,
            "created_at": moment(self.stored.created),
            "modified_at": moment(self.stored.modified),
            "next_run": self.next_at,
            "last_run": moment(self.last_at),
            "last_status": self.status,
            "last_task_id": self.last_id,
        }

    def cells(self) -> tuple[str, ...]:
        """As columns of a table."""
        spec = self.stored.spec
        zone = "" if spec.timezone == "UTC" else f" {spec.timezone}"
        last = (moment(self.last_at) or "-").replace(".000Z", "Z")
        return (
            spec.name,
            self.state,
            spec.expression + zone,
            self.task or "-",
            self.next_at or "-",
            last,
            self.status or "-",
        )


async def list_schedules(app: TaskQ, services: Services, *, delays: bool = False) -> list[Row]:
    """The schedules of an app by name, so that those that it declares come first.

    Args:
        delays: also the one-time schedules of delayed tasks; they are of all apps of the schedule group.

    Raises:
        ConfigError: there is no scheduler, or its group does not exist.
        AwsError: schedules or records cannot be read.
    """
    store, clock = store_of(services), app.clock
    listing = Pacer(services.flow, clock, LISTS_PER_SECOND)
    names: set[str] = set()
    for prefix in (declared_prefix(app.name), runtime_prefix(app.name), *((DELAY,) if delays else ())):
        cursor: str | None = None
        while True:
            await listing.wait()
            page, cursor = await store.page(prefix, cursor)
            names.update(one.name for one in page)
            if cursor is None:
                break
    found = [one for one in await Pacer(services.flow, clock).map(store.get, sorted(names)) if one is not None]
    now = clock.time()
    fired = {} if services.notes is None else await services.notes.last_fired([one.spec.name for one in found])
    last = {one.spec.name: fired.get(one.spec.name) or _previous(one, now) for one in found}
    ids = {name: firing_id(store.group, name, at) for name, at in last.items() if at is not None}
    records = await services.results.get_many(list(ids.values()), now=now)
    return [
        _row(one, last[one.spec.name], one.spec.name in fired, ids.get(one.spec.name), records, now) for one in found
    ]


def _row(
    stored: StoredSchedule,
    last: float | None,
    certain: bool,
    id: str | None,
    records: dict[str, TaskRecord],
    now: float,
) -> Row:
    task = _task(stored.spec.body)
    following = next_run(stored, now)
    next_at = None if following is None else following.isoformat()
    record = None if id is None else records.get(id)
    if record is None and not certain:  # it was due, but nothing tells that it fired
        return Row(stored, task, next_at, None, None, None)
    return Row(stored, task, next_at, last, None if record is None else str(record.status), id)


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


def named(app: TaskQ, text: str) -> str:
    """The name of a schedule: `text` itself, or that of the declared one whose own name, or whose task's, it is.

    Raises:
        ConfigError: there is none, or several.
    """
    if text.startswith((DECLARED, RUNTIME)) and "." in text:
        return text
    if text.startswith(DELAY):
        raise ConfigError(f"schedule {text!r} carries the delay or the late retry of a task: cancel the task instead")
    found = [one for one in app.schedules if one.schedule.name == text]
    found = found or [one for one in app.schedules if text in (one.task, one.task.rpartition(":")[2])]
    if len(found) == 1:
        return found[0].name
    if found:
        raise ConfigError(f"schedule {text!r} can be {' or '.join(one.name for one in found)}: give the full name")
    raise ConfigError(f"app {app.name!r} declares no schedule {text!r}; `taskq schedules ls` shows the names of all")
