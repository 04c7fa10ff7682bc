"""The payload store interface: objects that are written once, read for as long as they may be needed, and
removed by their lifetime alone, never by a task that is done with them."""

from __future__ import annotations

import abc


class PayloadStore(abc.ABC):
    """Objects by key. Implementations: S3 and in-memory. Keys: :mod:`~taskq_sls.payloads.layout`."""

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """Where the objects are, for error messages: ``s3://shop-payloads``."""

    @abc.abstractmethod
    async def put(self, key: str, body: bytes) -> None:
        """Store an object; returns when it can be read.

        Raises:
            MissingResource: the bucket does not exist.
            AwsError: it was not accepted, or nobody knows.
        """

    @abc.abstractmethod
    async def get(self, key: str) -> bytes:
        """Read an object.

        Raises:
            PayloadMissing: there is no object of this key (any more).
            MissingResource: the bucket does not exist.
            AwsError: it cannot be read.
        """
