"""Schedules as they would be made: through the dispatch hooks, and no further."""

from __future__ import annotations

from collections.abc import Sequence

from ..brokers.base import Answer
from ..core.message import Message, new_body
from ..core.schedule_spec import ScheduleSpec
from .dispatch import dispatch
from .sending import OutgoingTask
from .services import Services


async def render_specs(services: Services, prepared: Sequence[OutgoingTask]) -> list[ScheduleSpec]:
    """The schedules with the messages that their hooks made, in order. Nothing is made.

    Raises:
        Exception: what a dispatch hook raised.
    """
    captured = []
    for one, message in zip(prepared, await dispatch(services, prepared, _keep), strict=True):
        if isinstance(message, Exception):
            raise message
        assert one.spec is not None
        captured.append(one.spec._replace(body=new_body(message)))
    return captured


async def _keep(services: Services, prepared: Sequence[OutgoingTask], messages: Sequence[Message]) -> list[Answer]:
    return [None] * len(messages)
