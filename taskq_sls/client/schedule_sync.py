"""Making the schedules that an app declares, where the template does not."""

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
    """What a sync had to do, and what came of it."""

    plan: SyncPlan
    applied: Applied


async def plan_declared(app: App, services: Services, progress: Progress | None = None) -> SyncPlan:
    """What `sync` would do.

    Args:
        progress: is told how many schedules were read.

    Raises:
        ConfigError: there is no scheduler, its group does not exist, or a declaration does not fit.
        AwsError: the schedules cannot be read.
    """
    store = store_of(services)
    wanted = await adeclared_specs(app, services)
    return await plan(wanted, store, declared_prefix(app.name), services.flow, app.clock, progress)


async def sync(
    app: App, services: Services, progress: Progress | None = None, reading: Progress | None = None
) -> Synced:
    """Make, change and remove schedules so that those under the app's own names are as declared.

    Args:
        progress: is told how many schedules are done of those that change.
        reading: is told before, how many were read.

    Raises:
        ConfigError: as `plan_declared`; or role or queue are not accepted.
        AwsError: the schedules cannot be read.
    """
    planned = await plan_declared(app, services, reading)
    pacer = RateLimiter(services.flow, app.clock)
    return Synced(planned, await apply(planned, store_of(services), pacer, progress))


# -- what the store should hold ---------------------------------------------------------------------------------


def declared_specs(app: App, services: Services | None = None) -> list[ScheduleSpec]:
    """The schedules that an app declares, as a store should keep them, in the order of their declaration.

    The dispatch hooks have seen their messages. Nothing is made, and without hooks that call AWS nothing is called.

    Raises:
        ConfigError, ArgumentsError: an argument could not be checked at the declaration, and does not fit.
        Exception: what a dispatch hook raised.
    """
    return call_sync("declared_specs", adeclared_specs(app, services or LazyServices(app)))


async def adeclared_specs(app: App, services: Services) -> list[ScheduleSpec]:
    """`declared_specs` for async code."""
    store = services.schedules
    group = (app.settings.schedule_group or app.settings.prefix) if store is None else store.group
    return await render_specs(services, [one.prepare(group) for one in app.schedules])


class LazyServices(Services):
    """Services of this thread that know no AWS as long as nobody asks for a part of them."""

    def __init__(self, app: App) -> None:
        async def close() -> None: ...

        def real() -> Services:
            return app.services.blocking()

        super().__init__(BlockingFlow(app.clock), lambda: real().broker, lambda: real().results, close)
