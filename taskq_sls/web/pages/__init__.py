"""The dashboard: pages made on the server, beside the HTTP API and by its own operations."""

from __future__ import annotations

from .routes import add_pages

__all__ = ["add_pages"]
