"""The bucket for what does not fit a message or a record."""

from __future__ import annotations

from typing import Any

from ..aws.port import AwsClient
from ..errors import AwsError, ConfigError
from .provisioned import Provisioned

DEFAULT_REGION = "us-east-1"
"""The one region that S3 refuses to have named as a bucket's place (S3 API reference, CreateBucket)."""


async def provision_bucket(s3: AwsClient, name: str, region: str) -> Provisioned:
    """Create the bucket in `region`, unless it is there.

    Raises:
        ConfigError: the name belongs to another account.
    """
    try:
        await s3.call("head_bucket", Bucket=name)
        return Provisioned("bucket", name, "exists")
    except AwsError as error:
        if error.status == 403:
            raise _taken(name) from error
        if error.status != 404:
            raise
    place: dict[str, Any] = {}
    if region != DEFAULT_REGION:
        place["CreateBucketConfiguration"] = {"LocationConstraint": region}
    try:
        await s3.call("create_bucket", Bucket=name, **place)
    except AwsError as error:
        if error.code == "BucketAlreadyOwnedByYou":
            return Provisioned("bucket", name, "exists")
        if error.code == "BucketAlreadyExists":
            raise _taken(name) from error
        raise
    return Provisioned("bucket", name, "created", region)


def _taken(name: str) -> ConfigError:
    return ConfigError(
        f"the bucket name {name!r} belongs to another account, or these credentials may not use it; "
        "choose another name (TASKQ_BUCKET)"
    )
