"""Synchronization of a store with the wanted schedules: compare, then apply the difference.

Only schedules with names that begin with the owner's prefix are compared. Differences left by an interrupted or a concurrent
run are found by the next one.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ..core.clock import Clock
from ..core.flow import Flow
from ..core.schedule_spec import ScheduleSpec
from ..errors import AwsError
from .rate_limit import CALLS_AT_ONCE, LISTS_PER_SECOND, RateLimiter
from .spec import StoredSchedule, normalize, when_of
from .store import ScheduleStore, list_summaries

MAX_FAILURES = 20
"""Failed schedules after which the rest is not tried: the fault is probably not theirs."""

Progress = Callable[[int, int], None]
"""Called with the number of schedules done and the total."""


class ScheduleChange(NamedTuple):
    """A stored schedule that differs from the wanted one."""

    spec: ScheduleSpec
    before: ScheduleSpec

    @property
    def fields(self) -> list[str]:
        """Names of the fields that differ; for a message those of the envelope, as ``body.args``."""
        found = []
        for name in ScheduleSpec._fields:
            wanted, current = getattr(self.spec, name), getattr(self.before, name)
            if name == "body":
                new, old = _comparable(wanted), _comparable(current)
                found += [f"body.{field}" for field in sorted({*new, *old}) if new.get(field) != old.get(field)]
            elif wanted != current:
                found.append(name)
        return found


class SyncPlan(NamedTuple):
    """The changes that `apply` makes.

    Args:
        create: schedules that do not exist.
        update: schedules that differ.
        remove: names of the owner's schedules that are no longer wanted.
        unchanged: names of schedules that are as wanted, or have no run left.
    """

    create: list[ScheduleSpec]
    update: list[ScheduleChange]
    remove: list[str]
    unchanged: list[str]

    @property
    def size(self) -> int:
        """Number of schedules to change."""
        return len(self.create) + len(self.update) + len(self.remove)


class Applied(NamedTuple):
    """The result of `apply`.

    Args:
        changed: names of the schedules that are now as planned.
        failed: names and errors of schedules that could not be changed.
        skipped: number of schedules that were not tried, after too many failures.
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
    """Compare `wanted` with the schedules in a store that begin with `owner_prefix`. Changes nothing.

    Args:
        wanted: their names begin with `owner_prefix`.
        progress: called as schedules are read.

    Raises:
        ConfigError: the schedule group does not exist.
        AwsError: the store cannot be read.
    """
    by_name = {spec.name: spec for spec in wanted}
    if foreign := [name for name in by_name if not name.startswith(owner_prefix)]:
        raise ValueError(f"schedule {foreign[0]!r} does not begin with {owner_prefix!r}")
    existing = await list_summaries(store, RateLimiter(flow, clock, LISTS_PER_SECOND), owner_prefix)
    names = [name for name in by_name if name in existing]
    count = _Counter(len(names), progress)

    async def read(name: str) -> StoredSchedule | None:
        found = await store.get(name)
        count.done()
        return found

    stored = dict(zip(names, await RateLimiter(flow, clock).map(read, names), strict=True))
    remove = [name for name in existing if name not in by_name]
    return _compare(by_name, stored, remove, clock.time())


def _compare(
    wanted: Mapping[str, ScheduleSpec], stored: Mapping[str, StoredSchedule | None], remove: list[str], now: float
) -> SyncPlan:
    result = SyncPlan(create=[], update=[], remove=remove, unchanged=[])
    for name, spec in wanted.items():
        before = stored.get(name)
        if when_of(spec).next_time(now) is None:
            # A one-time schedule in the past would fire as soon as it is created.
            result.unchanged.append(name)
        elif before is None:
            result.create.append(spec)
        elif same(spec, before.spec, now):
            result.unchanged.append(name)
        else:
            result.update.append(ScheduleChange(normalize(spec, now), normalize(before.spec, now)))
    return result


async def apply(
    plan: SyncPlan, store: ScheduleStore, limiter: RateLimiter, progress: Progress | None = None
) -> Applied:
    """Apply a plan. Creating a schedule that exists, or deleting one that does not, is not an error.

    Schedules are created before others are removed, so that an interrupted run leaves none missing.

    Raises:
        ConfigError: group, role or a queue do not exist, or are not accepted.
    """
    count = _Counter(plan.size, progress)
    changed: list[str] = []
    failed: list[tuple[str, AwsError]] = []

    async def attempt(name: str, change: Callable[[], Awaitable[bool]]) -> None:
        if len(failed) >= MAX_FAILURES:
            return
        try:
            await limiter.call(change)
        except AwsError as error:
            failed.append((name, error))
        else:
            changed.append(name)
        count.done()

    async def create(spec: ScheduleSpec) -> None:
        await attempt(spec.name, lambda: store.create(spec))

    async def update(change: ScheduleChange) -> None:
        async def update_or_create() -> bool:
            return await store.update(change.spec) or await store.create(change.spec)

        await attempt(change.spec.name, update_or_create)

    async def remove(name: str) -> None:
        await attempt(name, lambda: store.delete(name))

    await limiter.flow.map(create, plan.create, CALLS_AT_ONCE)
    await limiter.flow.map(update, plan.update, CALLS_AT_ONCE)
    await limiter.flow.map(remove, plan.remove, CALLS_AT_ONCE)
    return Applied(changed, failed, plan.size - len(changed) - len(failed))


def same(wanted: ScheduleSpec, stored: ScheduleSpec, now: float) -> bool:
    """True if two schedules fire alike from `now` on. The trace in the message is ignored."""
    new, old = normalize(wanted, now), normalize(stored, now)
    return new._replace(body="") == old._replace(body="") and _comparable(new.body) == _comparable(old.body)


def _comparable(body: str) -> Mapping[str, Any]:
    """The fields of a message body that count."""
    try:
        fields = json.loads(body)
    except ValueError:
        return {"text": body}
    if not isinstance(fields, dict):
        return {"text": body}
    fields.pop("trace", None)
    return fields


class _Counter:
    """Reports progress. Safe between threads."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._numbers = iter(range(1, total + 1))
        self._total = total
        self._progress = progress

    def done(self) -> None:
        if self._progress is not None:
            self._progress(next(self._numbers, self._total), self._total)
