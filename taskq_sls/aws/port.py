"""The port to AWS: what the rest of the library knows of it.

Only this package imports botocore. A port gives one client per service; `call` takes botocore's
method name and parameters and returns the parsed answer. Every failure is an
:class:`~taskq_sls.errors.AwsError`, or a :class:`~taskq_sls.errors.ConfigError` for what no retry can
mend (no region, no credentials).
"""

from __future__ import annotations

from typing import Any, Protocol

from ..core.flow import Flow

CALL_THREADS = 16
"""AWS calls that can be under way at once where botocore runs in threads, as in Lambda."""


class AwsClient(Protocol):
    """One service."""

    async def call(self, operation: str, /, **params: Any) -> dict[str, Any]:
        """Call `operation` (``send_message_batch``, ``update_item``, ...) and return its answer.

        A streamed body (``Body`` of ``get_object``) is read to its end: the answer holds bytes.

        Raises:
            AwsError: the call failed; the error says whether it is worth repeating.
            ConfigError: region, credentials or endpoint are missing or malformed.
        """
        ...


class AwsPort(Protocol):
    """Clients by service name, and the way to wait and fan out that fits them."""

    @property
    def flow(self) -> Flow: ...

    def client(self, service: str) -> AwsClient:
        """The client of a service (``sqs``, ``dynamodb``, ...), made at first use."""
        ...

    def describe(self) -> str:
        """Endpoint and region in words, for error messages."""
        ...

    async def close(self) -> None: ...
