"""Creates an app's resources on an endpoint: queues, dead-letter queues, the table, the bucket, the schedule group.

For development and for endpoints without CloudFormation; in AWS the template does this. Producers and
workers never create anything. Running it again, or twice at once, is safe.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...aws.port import AwsPort
from ...core.queues import Queue
from ...core.settings import Settings
from ...errors import ConfigError
from .buckets import provision_bucket
from .provisioned import Provisioned
from .queues import QueuePlan, plan_queues, provision_queue
from .schedules import provision_schedule_group
from .tables import provision_table

__all__ = ["Provisioned", "provision", "provision_table"]


async def provision(
    port: AwsPort, settings: Settings, queues: Sequence[Queue], *, bucket: bool = False
) -> list[Provisioned]:
    """Create missing resources, and correct those that differ from the declaration.

    Each queue gets a dead-letter queue of its type; schedules share the standard queue
    ``{prefix}-schedules-dlq``. On existing queues only attributes that differ are changed. The table is
    billed per request; the call returns when it is active. An endpoint that does not know encryption, time to live, lifetimes,
    the public access block or the throughput of FIFO queues gets the
    resource without; see `Provisioned.missing`. If scheduling is configured, the schedule group is created too.

    Args:
        bucket: create ``settings.bucket`` too.

    Returns:
        One entry per resource, in the order of creation.

    Raises:
        ConfigError: a physical name is too long, an existing resource cannot be made to fit, or `bucket` is
            asked for and none is named. Names are checked before anything is created.
        AwsError: a call failed; running again is safe.
    """
    plans = plan_queues(settings, queues)
    if bucket and not settings.bucket:
        raise ConfigError("a bucket is asked for, but none is named: set TASKQ_BUCKET or TaskQ(bucket=...)")
    done: list[Provisioned] = []
    arns: dict[str, str] = {}
    for plan in plans:
        made, arns[plan.name] = await provision_queue(port.client("sqs"), _aimed(plan, arns))
        done.append(made)
    done.append(await provision_table(port, settings.table))
    if bucket and settings.bucket:
        region = next(iter(arns.values())).split(":")[3]
        done.append(await provision_bucket(port.client("s3"), settings.bucket, region))
    if settings.schedule_group is not None:
        done.append(await provision_schedule_group(port.client("scheduler"), settings.schedule_group))
    return done


def _aimed(plan: QueuePlan, arns: dict[str, str]) -> QueuePlan:
    return plan if plan.dead_letters is None else plan.redriving_to(arns[plan.dead_letters])
