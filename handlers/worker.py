"""The Lambda handler for messages of a queue: set the function's handler to ``handlers.worker.handler``."""

from __future__ import annotations

from local.tasks import app

handler = app.lambda_handler()
