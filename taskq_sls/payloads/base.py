"""The payload store interface. Objects are written once and removed by their lifetime alone, never by a task."""

from __future__ import annotations

import abc


class PayloadStore(abc.ABC):
    """Objects by key. Implementations: S3 and in-memory. Keys: :mod:`~taskq_sls.payloads.layout`."""

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """The store in error messages, such as ``s3://shop-payloads``."""

    @abc.abstractmethod
    async def put(self, key: str, body: bytes) -> None:
        """Store an object.

        Raises:
            MissingResource: the bucket does not exist.
            AwsError: it was not accepted, or the answer was lost.
        """

    @abc.abstractmethod
    async def get(self, key: str) -> bytes:
        """Read an object.

        Raises:
            PayloadMissing: there is no object of this key.
            MissingResource: the bucket does not exist.
            AwsError: it cannot be read.
        """
