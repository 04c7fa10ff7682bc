"""The Lambda handler for HTTP requests: set the function's handler to ``handlers.api.handler``."""

from __future__ import annotations

from local.tasks import app

handler = app.api_handler()
