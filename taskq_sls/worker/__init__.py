"""The long-polling driver."""

from .worker import Worker

__all__ = ["Worker"]
