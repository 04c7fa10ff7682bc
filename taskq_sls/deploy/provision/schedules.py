"""The schedule group of an app."""

from __future__ import annotations

from ...aws.port import AwsClient
from ...errors import AwsError, ConfigError
from .provisioned import Provisioned


async def provision_schedule_group(scheduler: AwsClient, name: str) -> Provisioned:
    """Create the schedule group; an existing one stays as it is, with its schedules.

    The role with which its schedules send to the queues is not created here: that needs IAM, and so a template.

    Raises:
        ConfigError: the group is being deleted.
    """
    # Always asked for first: some endpoints (moto) replace a group that is created again, and lose its schedules.
    if await _stands(scheduler, name):
        return Provisioned("schedule group", name, "exists")
    try:
        await scheduler.call("create_schedule_group", Name=name)
    except AwsError as error:
        # Another process has created it meanwhile.
        if error.code == "ConflictException" and await _stands(scheduler, name):
            return Provisioned("schedule group", name, "exists")
        raise
    return Provisioned("schedule group", name, "created")


async def _stands(scheduler: AwsClient, name: str) -> bool:
    try:
        state = (await scheduler.call("get_schedule_group", Name=name)).get("State")
    except AwsError as error:
        if error.code == "ResourceNotFoundException":
            return False
        raise
    if state == "DELETING":
        raise ConfigError(
            f"the schedule group {name!r} is being deleted with its schedules; wait until it is gone, or name another "
            "one with TASKQ_SCHEDULE_GROUP"
        )
    return True
