"""Compares the bucket with the needs of large payloads."""

from __future__ import annotations

from ...aws.port import AwsClient
from ...errors import AwsError, TaskQError
from ...payloads.base import LIFETIMES, MESSAGES
from ..provision.buckets import PRIVATE, lacking_lifetimes, lifecycle, public_access, shortened_lifetimes
from .finding import PROVISION, Finding, allow, fail, ok, unreadable, warn


async def check_bucket(s3: AwsClient, name: str) -> list[Finding]:
    """One line if the bucket is fine, else one per fault."""
    subject = f"bucket {name}"
    try:
        await s3.call("head_bucket", Bucket=name)
    except TaskQError as error:
        status = error.status if isinstance(error, AwsError) else None
        if status == 404:
            return [fail(subject, "does not exist", f"{PROVISION}, or name the right bucket with TASKQ_BUCKET")]
        if status == 403:
            detail = (
                "cannot be used: without s3:ListBucket, S3 does not distinguish a missing object from a refused one"
            )
            return [fail(subject, detail, f"{allow('s3:ListBucket')}, or name another bucket")]
        return [fail(subject, str(error))]
    faults = [
        *await _check_reads(s3, subject, name),
        *await _check_lifetimes(s3, subject, name),
        *await _check_access(s3, subject, name),
    ]
    return faults or [ok(subject, f"{len(LIFETIMES)} lifetimes, not public")]


async def _check_reads(s3: AwsClient, subject: str, name: str) -> list[Finding]:
    try:
        await s3.call("get_object", Bucket=name, Key=f"{MESSAGES}doctor/nothing")
    except AwsError as error:
        if error.status == 403:
            return [fail(subject, f"s3:GetObject is not allowed: {error.code}", allow("s3:GetObject"))]
    return []


async def _check_lifetimes(s3: AwsClient, subject: str, name: str) -> list[Finding]:
    try:
        rules = await lifecycle(s3, name)
    except AwsError as error:
        return [unreadable(subject, "its lifecycle configuration ", error, "s3:GetLifecycleConfiguration")]
    faults = []
    for rule, lifetime in shortened_lifetimes(rules):
        detail = f"its rule {rule} removes objects under {lifetime.prefix} before their {lifetime.days} days"
        faults.append(fail(subject, f"{detail}: messages would lose their arguments", "keep that rule off this prefix"))
    if lacking := lacking_lifetimes(rules):
        prefixes = ", ".join(lifetime.prefix for lifetime in lacking)
        faults.append(
            fail(subject, f"has no lifecycle rule for {prefixes}: objects there are never removed", PROVISION)
        )
    return faults


async def _check_access(s3: AwsClient, subject: str, name: str) -> list[Finding]:
    try:
        if await public_access(s3, name) == PRIVATE:
            return []
    except AwsError as error:
        return [unreadable(subject, "its public access block ", error, "s3:GetBucketPublicAccessBlock")]
    return [warn(subject, "does not block public access: arguments and results could be made public", PROVISION)]
