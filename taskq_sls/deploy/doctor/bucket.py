"""Compares the bucket with the needs of large payloads."""

from __future__ import annotations

from typing import Any

from ...aws.port import AwsClient
from ...errors import AwsError, TaskQError
from ...payloads.layout import LIFETIMES, MESSAGES
from ..provision.buckets import PRIVATE, lacking_lifetimes, lifecycle, public_access, shortened_lifetimes
from .finding import Finding, denied, fail, ok, warn

PROVISION = "run `taskq provision MODULE:APP`, or correct the template"


async def check_bucket(s3: AwsClient, name: str) -> list[Finding]:
    """One line if the bucket is fine, else one per fault."""
    subject = f"bucket {name}"
    try:
        await s3.call("head_bucket", Bucket=name)
    except AwsError as error:
        if error.status == 404:
            return [fail(subject, "does not exist", f"{PROVISION}, or name the right bucket with TASKQ_BUCKET")]
        if error.status == 403:
            fix = "allow s3:ListBucket on it in the policy of these credentials, or name another bucket"
            return [fail(subject, "may not be used: without s3:ListBucket a missing object cannot be told", fix)]
        return [fail(subject, str(error), "see the message")]
    except TaskQError as error:
        return [fail(subject, str(error), "see the message")]
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
            return [fail(subject, f"s3:GetObject is not allowed: {error.code}", _allow("s3:GetObject"))]
    return []


async def _check_lifetimes(s3: AwsClient, subject: str, name: str) -> list[Finding]:
    try:
        rules = await lifecycle(s3, name)
    except AwsError as error:
        return [_unseen(subject, "its lifecycle rules", error, "s3:GetLifecycleConfiguration")]
    faults = []
    for rule, lifetime in shortened_lifetimes(rules):
        detail = f"its rule {rule} removes objects under {lifetime.prefix} before their {lifetime.days} days"
        faults.append(fail(subject, f"{detail}: messages would lose their arguments", "keep that rule off this prefix"))
    if lacking := lacking_lifetimes(rules):
        prefixes = ", ".join(lifetime.prefix for lifetime in lacking)
        detail = f"has no lifecycle rule for {prefixes}: objects there are never removed"
        faults.append(fail(subject, detail, PROVISION))
    return faults


async def _check_access(s3: AwsClient, subject: str, name: str) -> list[Finding]:
    try:
        block: dict[str, Any] = await public_access(s3, name)
    except AwsError as error:
        return [_unseen(subject, "its public access block", error, "s3:GetBucketPublicAccessBlock")]
    if block == PRIVATE:
        return []
    return [
        warn(subject, "does not block public access: arguments and results could be opened to everybody", PROVISION)
    ]


def _unseen(subject: str, what: str, error: AwsError, action: str) -> Finding:
    if denied(error):
        return warn(subject, f"{what} cannot be seen: {error.code}", _allow(action))
    return warn(subject, f"{what} cannot be seen: {error}")


def _allow(action: str) -> str:
    return f"allow {action} in the policy of these credentials"
