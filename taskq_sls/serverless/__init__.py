"""The Lambda driver."""

from .handler import LambdaHandler

__all__ = ["LambdaHandler"]
