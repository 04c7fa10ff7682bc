"""Other arguments or labels for a task that is run again."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..client.app import App
from ..client.services import Services
from ..core.envelope import label_problem
from ..core.message import Message
from ..errors import ArgumentsError
from ..payloads.claim_check import fetch_message


class Edit(NamedTuple):
    """New arguments (JSON values) or labels of a message; None leaves that part as it is."""

    args: list[Any] | None = None
    kwargs: dict[str, Any] | None = None
    labels: dict[str, str] | None = None

    async def apply(self, app: App, services: Services, message: Message) -> Message:
        """The message with the changes.

        Raises:
            ArgumentsError: the arguments do not fit the task (checked if the app has it), or a label is not text, has
                no name, or the labels are too large.
            PayloadMissing: part of the arguments is to stay, and their object is missing from the bucket.
        """
        if self.args is not None or self.kwargs is not None:
            message = await self._with_arguments(app, services, message)
        if self.labels is not None:
            for name, value in self.labels.items():
                if not isinstance(value, str):
                    raise ArgumentsError(f"label {name!r} is {value!r:.60}: labels are text, write it in quotes")
            if problem := label_problem(self.labels):
                raise ArgumentsError(problem)
            message = message._replace(labels=dict(self.labels))
        return message

    async def _with_arguments(self, app: App, services: Services, message: Message) -> Message:
        if message.payload is not None and (self.args is None or self.kwargs is None):
            message = await fetch_message(services.payloads, message)
        message = message._replace(
            args=message.args if self.args is None else self.args,
            kwargs=message.kwargs if self.kwargs is None else self.kwargs,
            payload=None,
        )
        if (task := app.registry.get(message.task)) is not None:
            task.plan.signature.decode(message.args, message.kwargs)
        return message
