"""The HTTP API: an ASGI app, and the Lambda handler around it. Extra ``api``."""

from __future__ import annotations

from .app import create_api
from .serverless import ApiHandler

__all__ = ["ApiHandler", "create_api"]
