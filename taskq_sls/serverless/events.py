"""The Lambda handler of EventBridge events: enqueues the tasks of the routes that match an event."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from ..client.events import Event, Route
from ..client.sending import OutgoingTask
from ..client.services import Services
from ..client.unique_keys import Sent, send_tasks
from ..core.flow import drive
from ..core.redaction import outline
from ..errors import ConfigError, EventError, TaskQError, UnmatchedEvent

if TYPE_CHECKING:
    from ..client.app import App

logger = logging.getLogger("taskq_sls.events")

Unmatched = Literal["raise", "drop"]


class EventHandler:
    """The handler of a Lambda function for events: ``handler = app.event_handler()``.

    Every matching route makes one task. Its id is made from the event, so that a repeated event does not make a second
    task. If several routes of one task match, the first declared counts.

    Args:
        unmatched: the treatment of an event without a matching route. ``raise``: Lambda retries, and then sends the
            event to the function's on-failure destination. ``drop``: the event is dropped. Both log it.

    Raises:
        ConfigError: `unmatched` is neither.
    """

    def __init__(self, app: App, *, unmatched: Unmatched = "raise") -> None:
        if unmatched not in ("raise", "drop"):
            raise ConfigError(
                f"event_handler(unmatched={unmatched!r}): use 'raise', which keeps the event, or 'drop', which drops it"
            )
        self._app = app
        self._unmatched = unmatched
        if "AWS_LAMBDA_FUNCTION_NAME" in os.environ:
            self.warm_up()

    def warm_up(self) -> None:
        """Make the SQS client. In Lambda this happens at import, where there is more CPU.

        Errors are only logged: the first event meets them again.
        """
        try:
            _ = self._app.services.blocking(prepare=("sqs",)).broker  # loads its module too
        except TaskQError as error:
            logger.warning("the client could not be made at start-up: %s", error, extra={"action": "warm_up_fault"})

    def __call__(self, event: dict[str, Any], context: Any = None) -> dict[str, list[str]]:
        """Enqueue the tasks of an event.

        Returns:
            ``{"tasks": [id, ...]}``, in the order in which their routes are declared.

        Raises:
            ConfigError: this is not an EventBridge event. The message names the right handler, if there is one.
            UnmatchedEvent: no route matches, and `unmatched` is ``raise``.
            EventError: some tasks were not enqueued; the others were. The event may be repeated.
        """
        received = read_event(event)
        routes = self._routes(received)
        if not routes:
            return self._without_route(received)
        outcomes: dict[str, OutgoingTask | Sent] = {route.task: _prepared(route, received) for route in routes}
        ready = {task: prepared for task, prepared in outcomes.items() if isinstance(prepared, OutgoingTask)}
        sent = drive(_send(self._app.services.blocking(), list(ready.values())))
        outcomes.update(zip(ready, sent, strict=True))
        failed = {task: error for task, error in outcomes.items() if isinstance(error, Exception)}
        ids = [message.id for message in outcomes.values() if not isinstance(message, Exception | OutgoingTask)]
        logger.info(
            "event %s (%s, %s) made %d tasks",
            received.id,
            received.source,
            received.detail_type,
            len(ids),
            extra={"action": "event_enqueued", **_fields(received), "tasks": ids},
        )
        if failed:
            raise EventError(received.id, ids, failed) from next(iter(failed.values()))
        return {"tasks": ids}

    def _routes(self, event: Event) -> list[Route]:
        """The matching routes, one per task."""
        by_task: dict[str, Route] = {}
        for route in self._app.routes:
            if route.task not in by_task and route.matches(event):
                by_task[route.task] = route
        return list(by_task.values())

    def _without_route(self, event: Event) -> dict[str, list[str]]:
        text = f"event {event.id} (source {event.source!r}, detail-type {event.detail_type!r}) matches no route of "
        text += f"TaskQ({self._app.name!r}), which has {len(self._app.routes)}"
        drop = self._unmatched == "drop"
        logger.log(
            logging.WARNING if drop else logging.ERROR,
            "%s: %s",
            text,
            "dropped" if drop else "left to Lambda's retries and the on-failure destination",
            extra={"action": "event_unmatched", **_fields(event)},
        )
        if drop:
            return {"tasks": []}
        raise UnmatchedEvent(
            f"{text}; declare one with @app.on_event, make the rule narrower, or drop such events with "
            'event_handler(unmatched="drop")'
        )


def read_event(event: object) -> Event:
    """The event that Lambda received.

    Raises:
        ConfigError: it is something else. The message names the right handler, if there is one.
    """
    if not isinstance(event, Mapping):
        raise _not_an_event(f"it got {outline(event)}")
    if isinstance(records := event.get("Records"), list):
        raise _not_an_event(_about_records(records))
    texts = [event.get(name) for name in ("id", "source", "detail-type", "time")]
    if not all(isinstance(text, str) and text for text in texts) or not isinstance(event.get("detail"), Mapping):
        raise _not_an_event(
            f"it got {outline(event)}, which lacks id, source, detail-type, time or detail; the target of the rule must "
            "pass on the whole event, without an input transformer"
        )
    id, source, detail_type, time = map(str, texts)
    try:
        when = datetime.fromisoformat(time)
        seconds = (when if when.tzinfo is not None else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise _not_an_event(
            f"the time of event {id} is {time!r:.80}, not a time such as 2026-12-01T09:00:00Z"
        ) from None
    return Event(id, source, detail_type, seconds, event)


_ABOUT_RECORDS = {
    "aws:sqs": "messages of a queue: these are for app.lambda_handler()",
    "aws:s3": (
        "a notification sent by S3 itself: turn on EventBridge for the bucket instead, and route its events: "
        "@app.on_event(source='aws.s3', detail_type='Object Created')"
    ),
}


def _about_records(records: Sequence[Any]) -> str:
    first = records[0] if records and isinstance(records[0], Mapping) else {}
    source = first.get("eventSource", first.get("EventSource"))
    text = _ABOUT_RECORDS.get(str(source), f"records of {source}: send them through a rule of EventBridge, or enqueue")
    return f"it got {text}"


def _not_an_event(problem: str) -> ConfigError:
    return ConfigError(f"this handler takes one event of EventBridge, and {problem}")


def _prepared(route: Route, event: Event) -> OutgoingTask | Exception:
    try:
        return route.prepare(event)
    except Exception as error:
        return error  # it must not affect the other routes


async def _send(services: Services, prepared: Sequence[OutgoingTask]) -> Sequence[Sent]:
    """Send all tasks together. If that is refused, send each by itself."""
    try:
        return await send_tasks(services, prepared)
    except Exception as error:
        if len(prepared) == 1:
            return [error]
        # Tasks that were sent before the refusal are sent again under the same id.
        return [(await _send(services, [task]))[0] for task in prepared]


def _fields(event: Event) -> dict[str, Any]:
    return {"event_id": event.id, "source": event.source, "detail_type": event.detail_type}
