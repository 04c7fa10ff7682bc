"""What has to be done so that a store holds the schedules that are wanted, and doing it.

Only schedules whose names begin with one's own prefix are looked at. What one run leaves behind, because it broke
off or another one ran at the same time, the next plan finds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ..core.clock import Clock
from ..core.flow import Flow
from ..core.schedule_spec import ScheduleSpec
from ..errors import AwsError
from .rate_limit import CALLS_AT_ONCE, LISTS_PER_SECOND, RateLimiter
from .spec import ScheduleSummary, StoredSchedule, normalize, when_of
from .store import STALE_CURSOR, ScheduleStore

MOST_FAILURES = 20
"""Schedules that could not be changed, after which the rest is not tried: the fault is not theirs."""

Progress = Callable[[int, int], None]
"""Is told how many of how many schedules are done."""


class Change(NamedTuple):
    """A schedule that stands, and is wanted otherwise."""

    spec: ScheduleSpec
    before: ScheduleSpec

    @property
    def fields(self) -> list[str]:
        """Names of what differs; of a message the fields of the envelope, as ``body.args``."""
        found = []
        for name in ScheduleSpec._fields:
            wanted, is_now = getattr(self.spec, name), getattr(self.before, name)
            if name == "body":
                new, old = _message(wanted), _message(is_now)
                found += [f"body.{field}" for field in sorted({*new, *old}) if new.get(field) != old.get(field)]
            elif wanted != is_now:
                found.append(name)
        return found


class SyncPlan(NamedTuple):
    """What `apply` would do.

    Args:
        create: schedules that do not stand.
        update: schedules that stand otherwise.
        remove: names of schedules of one's own that nobody wants any more.
        unchanged: names of schedules that stand as wanted, or whose last run is over.
    """

    create: list[ScheduleSpec]
    update: list[Change]
    remove: list[str]
    unchanged: list[str]

    @property
    def size(self) -> int:
        """How many schedules are to be changed."""
        return len(self.create) + len(self.update) + len(self.remove)


class Applied(NamedTuple):
    """What `apply` did.

    Args:
        changed: names of the schedules that are now as planned.
        failed: what could not be changed, and why.
        skipped: how many were not tried, after too many had failed.
    """

    changed: list[str]
    failed: list[tuple[str, AwsError]]
    skipped: int


async def plan(
    wanted: Sequence[ScheduleSpec],
    store: ScheduleStore,
    owner_prefix: str,
    flow: Flow,
    clock: Clock,
    progress: Progress | None = None,
) -> SyncPlan:
    """Compare `wanted` with what a store holds under `owner_prefix`. Changes nothing.

    Args:
        wanted: names begin with `owner_prefix`.
        progress: is told how many schedules were read.

    Raises:
        ConfigError: the schedule group does not exist.
        AwsError: the store cannot be read.
    """
    by_name = {spec.name: spec for spec in wanted}
    if strange := [name for name in by_name if not name.startswith(owner_prefix)]:
        raise ValueError(f"schedule {strange[0]!r} does not begin with {owner_prefix!r}")
    standing = await _names(store, owner_prefix, RateLimiter(flow, clock, LISTS_PER_SECOND))
    count = _Counter(len(standing.keys() & by_name.keys()), progress)

    async def read(name: str) -> StoredSchedule | None:
        found = await store.get(name)
        count.done()
        return found

    names = [name for name in by_name if name in standing]
    stored = dict(zip(names, await RateLimiter(flow, clock).map(read, names), strict=True))
    now = clock.time()
    made = SyncPlan([], [], [name for name in standing if name not in by_name], [])
    for name, spec in by_name.items():
        before = stored.get(name)
        if when_of(spec).next_time(now) is None:
            # Made now, a one-time schedule of the past would fire at once.
            made.unchanged.append(name)
        elif before is None:
            made.create.append(spec)
        elif same(spec, before.spec, now):
            made.unchanged.append(name)
        else:
            made.update.append(Change(normalize(spec, now), normalize(before.spec, now)))
    return made


async def apply(plan: SyncPlan, store: ScheduleStore, pacer: RateLimiter, progress: Progress | None = None) -> Applied:
    """Carry a plan out. What stands already, or is gone already, is fine.

    New schedules are made before old ones are removed: where it breaks off, nothing is missing.

    Raises:
        ConfigError: group, role or a queue do not exist, or are not accepted.
    """
    count = _Counter(plan.size, progress)
    changed: list[str] = []
    failed: list[tuple[str, AwsError]] = []

    async def tried(name: str, change: Callable[[], Any]) -> None:
        if len(failed) >= MOST_FAILURES:
            return
        try:
            await pacer.call(change)
        except AwsError as error:
            failed.append((name, error))
        else:
            changed.append(name)
        count.done()

    async def make(spec: ScheduleSpec) -> None:
        await tried(spec.name, lambda: store.create(spec))

    async def update(change: Change) -> None:
        spec = change.spec

        async def update_or_create() -> None:
            if not await store.update(spec):
                await store.create(spec)

        await tried(spec.name, update_or_create)

    async def remove(name: str) -> None:
        await tried(name, lambda: store.delete(name))

    await pacer.flow.map(make, plan.create, CALLS_AT_ONCE)
    await pacer.flow.map(update, plan.update, CALLS_AT_ONCE)
    await pacer.flow.map(remove, plan.remove, CALLS_AT_ONCE)
    return Applied(changed, failed, plan.size - len(changed) - len(failed))


def same(wanted: ScheduleSpec, stored: ScheduleSpec, now: float) -> bool:
    """Whether two schedules do the same from `now` on. The trace of their making does not count."""
    one, other = normalize(wanted, now), normalize(stored, now)
    return one._replace(body="") == other._replace(body="") and _message(one.body) == _message(other.body)


def _message(body: str) -> Mapping[str, Any]:
    """A message body as what counts of it."""
    try:
        fields = json.loads(body)
    except ValueError:
        return {"text": body}
    if not isinstance(fields, dict):
        return {"text": body}
    fields.pop("trace", None)
    return fields


async def _names(store: ScheduleStore, prefix: str, pacer: RateLimiter) -> dict[str, None]:
    """Names under a prefix, in order, each once: a page may repeat what a change has moved."""
    names: dict[str, None] = {}
    cursor: str | None = None

    async def next_page() -> tuple[list[ScheduleSummary], str | None]:
        nonlocal cursor
        try:
            return await store.page(prefix, cursor)
        except AwsError as error:
            if error.code == STALE_CURSOR:
                cursor = None  # from the beginning
            raise

    while True:
        page, cursor = await pacer.call(next_page)
        names.update(dict.fromkeys(summary.name for summary in page))
        if cursor is None:
            return names


class _Counter:
    """Tells the progress; several threads may be at it."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._left = iter(range(1, total + 1))
        self._total = total
        self._progress = progress

    def done(self) -> None:
        if self._progress is not None:
            self._progress(next(self._left, self._total), self._total)
