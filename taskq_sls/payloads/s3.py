"""Payloads in an S3 bucket."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..aws.port import AwsClient
from ..errors import AwsError, MissingResource, PayloadMissing
from .base import PayloadStore


class S3Payloads(PayloadStore):
    """Objects of one bucket. It does not retry: callers do.

    Args:
        client: the ``s3`` client of a port.
        describe: endpoint and region in words, for error messages.
    """

    def __init__(self, client: AwsClient, bucket: str, describe: Callable[[], str]) -> None:
        self._client = client
        self._bucket = bucket
        self._describe = describe

    @property
    def name(self) -> str:
        return f"s3://{self._bucket}"

    async def put(self, key: str, body: bytes) -> None:
        await self._call("put_object", Key=key, Body=body, ContentType="application/json")

    async def get(self, key: str) -> bytes:
        try:
            body: bytes = (await self._call("get_object", Key=key))["Body"]
        except AwsError as error:
            if error.code == "NoSuchKey":
                raise PayloadMissing(f"there is no object {self.name}/{key}") from error
            if error.status == 403:
                # Without s3:ListBucket, S3 answers 403 for a missing object too.
                raise AwsError(
                    error.operation,
                    error.code,
                    f"{self.name}/{key}: {error.message}; allow s3:GetObject on it, and s3:ListBucket on the bucket: "
                    "without that, S3 answers the same if there is no such object",
                    status=error.status,
                    transient=error.transient,
                    body=error.body,
                ) from error
            raise
        return body

    async def _call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        try:
            return await self._client.call(operation, Bucket=self._bucket, **parameters)
        except AwsError as error:
            if error.code == "NoSuchBucket":
                raise MissingResource(
                    f"S3 bucket {self._bucket!r} does not exist at {self._describe()}; create it with "
                    "`taskq provision MODULE:APP`, or name the right bucket with TASKQ_BUCKET"
                ) from error
            raise
