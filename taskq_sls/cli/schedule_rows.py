"""What ``taskq schedules ls`` tells of each schedule."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..app import TaskQ
from ..client.schedule_handle import store_of
from ..client.schedule_message import declared_prefix, runtime_prefix
from ..client.services import Services
from ..core.schedule_spec import DECLARED, DELAY, RUNTIME
from ..errors import ConfigError, NotFound
from ..operations.schedules import ScheduleView, views_of
from ..scheduler.rate_limit import LISTS_PER_SECOND, RateLimiter
from ..scheduler.spec import when_of
from .output import moment


class Row(NamedTuple):
    """One schedule."""

    view: ScheduleView

    @property
    def next_at(self) -> str | None:
        """When it fires next, in its time zone, ISO 8601."""
        at = self.view.next_at
        return None if at is None else when_of(self.view.stored.spec).local(at).isoformat()

    @property
    def status(self) -> str | None:
        """What became of the task of its last firing; None where nothing is recorded of it."""
        return None if self.view.last is None else str(self.view.last.status)

    def fields(self) -> dict[str, Any]:
        """As JSON values."""
        stored, spec = self.view.stored, self.view.stored.spec
        return {
            "name": spec.name,
            "state": self.view.state,
            "expression": spec.expression,
            "timezone": spec.timezone,
            "task": self.view.task,
            "queue": spec.queue,
            "group": spec.group,
            "start": moment(spec.start),
            "end": moment(spec.end),
            "window": spec.window,
            "created_at": moment(stored.created),
            "modified_at": moment(stored.modified),
            "next_run": self.next_at,
            "last_run": moment(self.view.last_at),
            "last_status": self.status,
            "last_task_id": self.view.last_id,
        }

    def cells(self) -> tuple[str, ...]:
        """As columns of a table."""
        spec = self.view.stored.spec
        zone = "" if spec.timezone == "UTC" else f" {spec.timezone}"
        last = (moment(self.view.last_at) or "-").replace(".000Z", "Z")
        return (
            spec.name,
            self.view.state,
            spec.expression + zone,
            self.view.task or "-",
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
    listing = RateLimiter(services.flow, clock, LISTS_PER_SECOND)
    names: set[str] = set()
    for prefix in (declared_prefix(app.name), runtime_prefix(app.name), *((DELAY,) if delays else ())):
        cursor: str | None = None
        while True:
            await listing.wait()
            page, cursor = await store.page(prefix, cursor)
            names.update(one.name for one in page)
            if cursor is None:
                break
    found = [one for one in await RateLimiter(services.flow, clock).map(store.get, sorted(names)) if one is not None]
    return [Row(view) for view in await views_of(app, services, found)]


def named(app: TaskQ, text: str) -> str:
    """The name of a schedule: `text` itself, or that of the declared one whose own name, or whose task's, it is.

    Raises:
        NotFound: there is none.
        ConfigError: there are several, or it is no schedule's own.
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
    raise NotFound(f"app {app.name!r} declares no schedule {text!r}; `taskq schedules ls` shows the names of all")
