"""The dashboard: pages rendered on the server, which call the functions of the HTTP API's routes."""

from __future__ import annotations

from .routes import add_pages

__all__ = ["add_pages"]
