"""The port to AWS, the interface through which the library calls AWS.

A port has one client per service; `call` takes botocore's method name and parameters and returns the parsed answer. Every
failure is an :class:`~taskq_sls.errors.AwsError`, or a :class:`~taskq_sls.errors.ConfigError` if no retry can help (no
region, no credentials).
"""

from __future__ import annotations

from typing import Any, Protocol

from ..core.flow import Flow

CALL_THREADS = 16
"""Concurrent AWS calls if botocore runs in threads, as in Lambda."""


class AwsClient(Protocol):
    """One service."""

    async def call(self, operation: str, /, **params: Any) -> dict[str, Any]:
        """Call `operation` (``send_message_batch``, ``update_item``, ...) and return its answer.

        A streamed body (``Body`` of ``get_object``) is read to its end: the answer holds bytes.

        Raises:
            AwsError: the call failed; `transient` is True if a retry may help.
            ConfigError: region, credentials or endpoint are missing or malformed.
        """
        ...


class AwsPort(Protocol):
    """Clients by service name, and the flow (waiting, fan-out) that fits them."""

    @property
    def flow(self) -> Flow: ...

    def client(self, service: str) -> AwsClient:
        """The client of a service (``sqs``, ``dynamodb``, ...), created at first use."""
        ...

    def describe(self) -> str:
        """Endpoint and region in words, for error messages."""
        ...

    async def close(self) -> None: ...
