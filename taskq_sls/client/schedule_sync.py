"""Making the schedules that an app declares, where the template does not."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..scheduler.rate_limit import Pacer
from ..scheduler.sync import Applied, Plan, Progress, apply, plan
from .schedule_handle import store_of
from .schedule_names import declared_prefix
from .schedules import adeclared_specs
from .services import Services

if TYPE_CHECKING:
    from ..app import TaskQ


class Synced(NamedTuple):
    """What a sync had to do, and what came of it."""

    plan: Plan
    applied: Applied


async def plan_declared(app: TaskQ, services: Services, progress: Progress | None = None) -> Plan:
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
    app: TaskQ, services: Services, progress: Progress | None = None, reading: Progress | None = None
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
    pacer = Pacer(services.flow, app.clock)
    return Synced(planned, await apply(planned, store_of(services), pacer, progress))
