"""Creates the schedules that an app declares, if the template does not."""

from __future__ import annotations

from typing import NamedTuple

from ..core.flow import BlockingFlow, call_sync
from ..core.schedule_spec import ScheduleSpec
from ..scheduler.rate_limit import RateLimiter
from ..scheduler.sync import Applied, Progress, SyncPlan, apply, plan
from .app import App
from .schedule_handle import store_of
from .schedule_message import declared_prefix, render_specs
from .services import Services


class Synced(NamedTuple):
    """The plan of a sync, and its outcome."""

    plan: SyncPlan
    applied: Applied


async def plan_declared(app: App, services: Services, progress: Progress | None = None) -> SyncPlan:
    """The changes that `sync` would make.

    Args:
        progress: called with the number of schedules read.

    Raises:
        ConfigError: no scheduler is configured, its group does not exist, or a declaration does not fit.
        AwsError: the schedules cannot be read.
    """
    store = store_of(services)
    wanted = await adeclared_specs(app, services)
    return await plan(wanted, store, declared_prefix(app.name), services.flow, app.clock, progress)


async def sync(
    app: App, services: Services, progress: Progress | None = None, reading: Progress | None = None
) -> Synced:
    """Create, change and delete schedules, so that those with the app's prefix are as declared.

    Args:
        progress: called with the number of schedules changed.
        reading: called before that, with the number of schedules read.

    Raises:
        ConfigError: as `plan_declared`; or role or queue are not accepted.
        AwsError: the schedules cannot be read.
    """
    planned = await plan_declared(app, services, reading)
    limiter = RateLimiter(services.flow, app.clock)
    return Synced(planned, await apply(planned, store_of(services), limiter, progress))


def declared_specs(app: App, services: Services | None = None) -> list[ScheduleSpec]:
    """The schedules that an app declares, in order, as the store should have them.

    Their messages have passed the dispatch hooks. Creates nothing, and calls AWS only if a hook does.

    Raises:
        ConfigError, ArgumentsError: an argument that could not be checked at the declaration does not fit.
        Exception: the exception of a dispatch hook.
    """
    return call_sync("declared_specs", adeclared_specs(app, services or LazyServices(app)))


async def adeclared_specs(app: App, services: Services) -> list[ScheduleSpec]:
    """`declared_specs` for async code."""
    store = services.schedules
    group = (app.settings.schedule_group or app.settings.prefix) if store is None else store.group
    return await render_specs(services, [schedule.prepare(group) for schedule in app.schedules])


class LazyServices(Services):
    """Services for sync code that create no AWS client until a property is used."""

    def __init__(self, app: App) -> None:
        async def close() -> None: ...

        def real() -> Services:
            return app.services.blocking()

        super().__init__(BlockingFlow(app.clock), lambda: real().broker, lambda: real().results, close)
