"""The Lambda handler of EventBridge events: an event in, the tasks of its routes enqueued."""

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
    """What Lambda calls with an event: ``handler = app.event_handler()``.

    Every route that matches makes one task. Its id is made from the event, so that an event which comes again makes
    no second one. Of several matching routes of one task the first declared counts.

    Args:
        unmatched: what becomes of an event that no route matches: ``raise``, so that Lambda tries again and then
            hands it to the function's on-failure destination, or ``drop``. Both log it.

    Raises:
        ConfigError: `unmatched` is neither.
    """

    def __init__(self, app: App, *, unmatched: Unmatched = "raise") -> None:
        if unmatched not in ("raise", "drop"):
            raise ConfigError(
                f"event_handler(unmatched={unmatched!r}): give 'raise', which keeps the event, or 'drop', which does not"
            )
        self._app = app
        self._unmatched = unmatched
        if "AWS_LAMBDA_FUNCTION_NAME" in os.environ:
            self.warm_up()

    def warm_up(self) -> None:
        """Make the client of the queues. In Lambda it happens by itself, at import: start-up has more CPU.

        What goes wrong here is left to the first event.
        """
        try:
            _ = self._app.services.blocking(prepare=("sqs",)).broker  # its module too is loaded now
        except TaskQError as error:
            logger.warning("the client could not be made at start-up: %s", error, extra={"action": "warm_up_fault"})

    def __call__(self, event: dict[str, Any], context: Any = None) -> dict[str, list[str]]:
        """Enqueue the tasks of an event.

        Returns:
            ``{"tasks": [id, ...]}``, in the order in which their routes are declared.

        Raises:
            ConfigError: this is no EventBridge event; the message names the handler it is for.
            UnmatchedEvent: no route matches, and they are not dropped.
            EventError: some tasks were not enqueued; the others were. The same event may come again.
        """
        received = read_event(event)
        routes = self._routes(received)
        if not routes:
            return self._without_route(received)
        outcomes: dict[str, OutgoingTask | Sent] = {route.task: _prepared(route, received) for route in routes}
        ready = {task: one for task, one in outcomes.items() if isinstance(one, OutgoingTask)}
        sent = drive(_send(self._app.services.blocking(), list(ready.values())))
        outcomes.update(zip(ready, sent, strict=True))
        failed = {task: one for task, one in outcomes.items() if isinstance(one, Exception)}
        ids = [one.id for one in outcomes.values() if not isinstance(one, Exception | OutgoingTask)]
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
        """Those that match, one per task."""
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
    """What Lambda got, as an event.

    Raises:
        ConfigError: it is something else; names the handler that takes it, where there is one.
    """
    if not isinstance(event, Mapping):
        raise _not_an_event(f"it got {outline(event)}")
    if isinstance(records := event.get("Records"), list):
        raise _not_an_event(_about_records(records))
    texts = [event.get(name) for name in ("id", "source", "detail-type", "time")]
    if not all(isinstance(text, str) and text for text in texts) or not isinstance(event.get("detail"), Mapping):
        raise _not_an_event(
            f"it got {outline(event)}, without the id, source, detail-type, time and detail of one; the target of "
            "the rule must pass on the whole event, without an input transformer"
        )
    id, source, detail_type, time = map(str, texts)
    try:
        when = datetime.fromisoformat(time)
        seconds = (when if when.tzinfo is not None else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise _not_an_event(f"the time of event {id} is {time!r:.80}, not one such as 2026-12-01T09:00:00Z") from None
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


def _not_an_event(what: str) -> ConfigError:
    return ConfigError(f"this handler takes one event of EventBridge, and {what}")


def _prepared(route: Route, event: Event) -> OutgoingTask | Exception:
    try:
        return route.prepare(event)
    except Exception as error:
        return error  # the other routes have nothing to do with it


async def _send(services: Services, prepared: Sequence[OutgoingTask]) -> Sequence[Sent]:
    """Send all in one go; those that are refused together, each by itself."""
    try:
        return await send_tasks(services, prepared)
    except Exception as error:
        if len(prepared) == 1:
            return [error]
        # What was sent before the refusal has the same id again.
        return [(await _send(services, [one]))[0] for one in prepared]


def _fields(event: Event) -> dict[str, Any]:
    return {"event_id": event.id, "source": event.source, "detail_type": event.detail_type}
