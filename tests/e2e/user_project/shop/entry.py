"""What Lambda calls."""

from __future__ import annotations

from .tasks import app

worker = app.lambda_handler()
events = app.event_handler()
