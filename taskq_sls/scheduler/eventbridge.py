"""Schedules in EventBridge Scheduler, or in an emulator with the same API."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from ..aws.port import AwsClient
from ..core.clock import Clock
from ..core.flow import Flow
from ..core.schedule_spec import ScheduleSpec
from ..core.settings import Settings
from ..errors import AwsError, ConfigError, MissingResource, TaskQError
from .aws_definitions import definition, stored, summary
from .spec import NO_SCHEDULER, ScheduleSummary, StoredSchedule, check_name, check_spec, normalize
from .store import STALE_CURSOR, ScheduleStore

PAGE = 100
"""Most entries of one ListSchedules (EventBridge Scheduler API reference)."""

CONFLICT = "ConflictException"
NOT_FOUND = "ResourceNotFoundException"

ANSWERS = {
    "create_schedule": "ScheduleArn",
    "update_schedule": "ScheduleArn",
    "get_schedule": "ScheduleExpression",
    "list_schedules": "Schedules",
}
"""A field that each answer always has (EventBridge Scheduler API reference). Without it something else has answered, such
as a proxy with a page of its own, which botocore parses as an empty answer."""

INVALID_ANSWER = "InvalidAnswer"

RETRY_DELAYS = (0.1, 0.5, 2.0)
"""Seconds before a call is repeated after an invalid answer, or a change after a concurrent one of the same schedule."""


class EventBridgeStore(ScheduleStore):
    """The schedules of one schedule group of EventBridge Scheduler.

    Args:
        client: the ``scheduler`` client of a port.
        queue_arn: ARN of a queue by its logical name, such as a broker's.
        settings: prefix, schedule group and role.
        flow: the port's flow.
        clock: the current time.
        describe: endpoint and region as text, for errors.

    Raises:
        ConfigError: no schedule group is configured.
    """

    def __init__(
        self,
        client: AwsClient,
        queue_arn: Callable[[str], Awaitable[str]],
        settings: Settings,
        flow: Flow,
        clock: Clock,
        describe: Callable[[], str],
    ) -> None:
        if settings.schedule_group is None:
            raise ConfigError(NO_SCHEDULER)
        self.group = settings.schedule_group
        self._client = client
        self._queue_arn = queue_arn
        self._settings = settings
        self._flow = flow
        self._clock = clock
        self._describe = describe
        self._group_seen = False

    @property
    def creates(self) -> bool:
        return self._settings.schedule_role_arn is not None

    async def create(self, spec: ScheduleSpec) -> bool:
        parameters = await self._definition(spec)
        # One token for all tries of this call, so that a try after a lost answer does not conflict. Another one for every
        # call, so that a schedule which was deleted meanwhile is created again.
        return await self._change("create_schedule", spec.name, CONFLICT, ClientToken=uuid.uuid4().hex, **parameters)

    async def update(self, spec: ScheduleSpec) -> bool:
        parameters = await self._definition(spec)
        return await self._change("update_schedule", spec.name, NOT_FOUND, **parameters)

    async def delete(self, name: str) -> bool:
        check_name(name)
        return await self._change("delete_schedule", name, NOT_FOUND)

    async def get(self, name: str) -> StoredSchedule | None:
        check_name(name)
        try:
            answer = await self._call("get_schedule", Name=name, GroupName=self.group)
        except AwsError as error:
            if error.code == NOT_FOUND:
                return None
            raise
        return stored(answer, self._settings)

    async def page(self, prefix: str = "", cursor: str | None = None) -> tuple[list[ScheduleSummary], str | None]:
        parameters: dict[str, Any] = {"GroupName": self.group, "MaxResults": PAGE}
        if prefix:
            parameters["NamePrefix"] = prefix
        if cursor is not None:
            parameters["NextToken"] = cursor
        try:
            answer = await self._call("list_schedules", **parameters)
        except AwsError as error:
            error.transient = error.transient or error.code == STALE_CURSOR
            raise
        entries = answer["Schedules"]
        if not entries and cursor is None:
            await self._check_group()
        return [summary(entry) for entry in entries], answer.get("NextToken") or None

    async def _definition(self, spec: ScheduleSpec) -> dict[str, Any]:
        check_spec(spec)
        role = self._settings.schedule_role_arn
        if role is None:
            raise ConfigError(
                f"schedule group {self.group!r} is configured, but no role: set TASKQ_SCHEDULE_ROLE_ARN to the ARN of "
                "the role with which EventBridge Scheduler sends to the queues"
            )
        kept = normalize(spec, self._clock.time())
        return definition(kept, await self._queue_arn(spec.queue), role, self._settings)

    async def _change(self, operation: str, name: str, unchanged: str, **parameters: Any) -> bool:
        """True if the call had an effect, False if it failed with the error code `unchanged`."""
        try:
            await self._call(operation, Name=name, GroupName=self.group, **parameters)
        except AwsError as error:
            if error.code != unchanged:
                raise
            return False
        return True

    async def _call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """Any operation. Errors caused by the configuration are explained.

        Raises:
            MissingResource: the schedule group does not exist.
            ConfigError: the service does not accept the parameters, or these credentials may not use the role.
            AwsError: as the client raises it.
        """
        # A conflict at a creation means that the name is taken; elsewhere, that another change is in progress.
        retried = (INVALID_ANSWER,) if operation == "create_schedule" else (INVALID_ANSWER, CONFLICT)
        delays = iter(RETRY_DELAYS)
        while True:
            try:
                return _answer(operation, await self._client.call(operation, **parameters))
            except KeyError as error:
                # moto in this process raises KeyError for an unknown group.
                if error.args != (self.group,):
                    raise
                raise self._missing_group() from error
            except AwsError as error:
                delay = next(delays, None) if error.code in retried else None
                if delay is None:
                    explained = await self._explain(error, parameters.get("Name"))
                    if explained is None:
                        raise
                    raise explained from error
            await self._flow.sleep(delay)

    async def _explain(self, error: AwsError, name: str | None) -> TaskQError | None:
        """The error to raise instead, or None. `name` is the schedule's, None for a listing."""
        if await self._is_about_group(error, name):
            return self._missing_group()
        if error.code == "ValidationException":
            subject = "a listing" if name is None else f"schedule {name!r}"
            return ConfigError(f"EventBridge Scheduler does not accept {subject}: {self._with_role(error)}")
        if "AccessDenied" in error.code and "iam:PassRole" in error.message:
            return ConfigError(f"{error.operation}: {self._with_role(error)}")
        return None

    async def _is_about_group(self, error: AwsError, name: str | None) -> bool:
        """True if the call failed because the schedule group does not exist."""
        creates = error.operation == "create_schedule"
        if error.code == NOT_FOUND:
            return name is None or creates or _names_group(error.message)
        # moto's server answers 500 to a creation in an unknown group.
        return creates and error.status >= 500 and not await self._group_exists()

    async def _check_group(self) -> None:
        """Raise MissingResource if the group does not exist: some endpoints (moto) list it as empty. Checked once."""
        if not self._group_seen and not await self._group_exists():
            raise self._missing_group()
        self._group_seen = True

    async def _group_exists(self) -> bool:
        """False only if the service returns that; without the permission to read the group, assume that it exists."""
        try:
            await self._client.call("get_schedule_group", Name=self.group)
        except AwsError as error:
            return error.code != NOT_FOUND
        return True

    def _missing_group(self) -> MissingResource:
        return MissingResource(
            f"schedule group {self.group!r} does not exist at {self._describe()}; create it with "
            "`taskq provision MODULE:APP`, or name the right group with TASKQ_SCHEDULE_GROUP"
        )

    def _with_role(self, error: AwsError) -> str:
        """The error's message; with a hint if it is about the role."""
        if "role" not in error.message.lower():
            return error.message
        return (
            f"{error.message}; the role is {self._settings.schedule_role_arn} (TASKQ_SCHEDULE_ROLE_ARN): it must trust "
            "scheduler.amazonaws.com, and these credentials need iam:PassRole for it"
        )


def _answer(operation: str, answer: dict[str, Any]) -> dict[str, Any]:
    wanted = ANSWERS.get(operation)
    if wanted is None or wanted in answer:
        return answer
    message = f"the answer is not EventBridge Scheduler's: it has no {wanted}"
    raise AwsError(operation, INVALID_ANSWER, message, transient=True, ambiguous=True)


def _names_group(message: str) -> bool:
    # "Schedule group shop does not exist." and "Schedule d-shop does not exist."
    return message.lower().startswith("schedule group ")
