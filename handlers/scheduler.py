"""The Lambda handler for EventBridge events: set the function's handler to ``handlers.scheduler.handler``."""

from __future__ import annotations

from local.tasks import app

handler = app.event_handler()
