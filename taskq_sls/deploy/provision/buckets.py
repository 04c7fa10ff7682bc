"""The bucket for payloads that are too large for a message or a record."""

from __future__ import annotations

from typing import Any

from ...aws.port import AwsClient
from ...errors import AwsError, ConfigError
from ...payloads.base import LIFETIMES, Lifetime
from .provisioned import Provisioned, unless_refused

DEFAULT_REGION = "us-east-1"
"""The one region that S3 refuses to have named as a bucket's place (S3 API reference, CreateBucket)."""

PRIVATE = {
    "BlockPublicAcls": True,
    "IgnorePublicAcls": True,
    "BlockPublicPolicy": True,
    "RestrictPublicBuckets": True,
}
"""The public access block."""


async def provision_bucket(s3: AwsClient, name: str, region: str) -> Provisioned:
    """Create the bucket in `region`, or correct its lifetimes, encryption, the public access block.

    Lifecycle rules of others stay. A bucket that is encrypted in another way stays so.

    Raises:
        ConfigError: the name belongs to another account.
    """
    created = await _create(s3, name, region)
    missing: list[str] = []
    steps = {
        "public access block": _block_public_access(s3, name),
        "encryption": _encrypt(s3, name),
        "lifetimes: objects stay": _add_lifetimes(s3, name),
    }
    changes = [change for what, step in steps.items() if (change := await unless_refused(missing, what, step))]
    made = Provisioned("bucket", name, "exists", missing=tuple(missing))
    if created:
        return made._replace(action="created", detail=region)
    if changes:
        return made._replace(action="updated", detail=", ".join(changes))
    return made


async def _block_public_access(s3: AwsClient, name: str) -> str:
    """Return the change in words, or "" if none was needed, as the next two do."""
    if await public_access(s3, name) == PRIVATE:
        return ""
    await s3.call("put_public_access_block", Bucket=name, PublicAccessBlockConfiguration=PRIVATE)
    return "public access blocked"


async def _encrypt(s3: AwsClient, name: str) -> str:
    if await _encrypted(s3, name):
        return ""
    await s3.call("put_bucket_encryption", Bucket=name, ServerSideEncryptionConfiguration=_SSE_S3)
    return "encryption"


async def _add_lifetimes(s3: AwsClient, name: str) -> str:
    found = await lifecycle(s3, name)
    lacking = lacking_lifetimes(found)
    if not lacking:
        return ""
    await _put_lifetimes(s3, name, found)
    return f"lifetimes of {', '.join(lifetime.prefix for lifetime in lacking)}"


async def public_access(s3: AwsClient, name: str) -> dict[str, Any]:
    """The bucket's public access block; empty if it has none."""
    answer = await _ask(s3, "get_public_access_block", name, "NoSuchPublicAccessBlockConfiguration")
    block: dict[str, Any] = answer.get("PublicAccessBlockConfiguration", {})
    return block


async def lifecycle(s3: AwsClient, name: str) -> dict[str, Any]:
    """The bucket's lifecycle configuration; empty if it has none."""
    return await _ask(s3, "get_bucket_lifecycle_configuration", name, "NoSuchLifecycleConfiguration")


def lacking_lifetimes(configuration: dict[str, Any]) -> list[Lifetime]:
    """The lifetime classes for which a lifecycle configuration has no rule."""
    rules = configuration.get("Rules", [])
    return [lifetime for lifetime in LIFETIMES if not any(_carries_out(rule, lifetime) for rule in rules)]


def shortened_lifetimes(configuration: dict[str, Any]) -> list[tuple[str, Lifetime]]:
    """Rules, by ID, that remove objects of a lifetime class before its time."""
    return [
        (str(rule.get("ID", "without an ID")), lifetime)
        for rule in configuration.get("Rules", [])
        for lifetime in LIFETIMES
        if rule.get("Status") == "Enabled"
        and lifetime.prefix.startswith(_prefix(rule))
        and rule.get("Expiration", {}).get("Days", lifetime.days) < lifetime.days
    ]


def _prefix(rule: dict[str, Any]) -> str:
    where = rule.get("Filter", {})
    prefix: str = where.get("And", where).get("Prefix", rule.get("Prefix", ""))
    return prefix


async def _create(s3: AwsClient, name: str, region: str) -> bool:
    try:
        await s3.call("head_bucket", Bucket=name)
        return False
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
            return False
        if error.code == "BucketAlreadyExists":
            raise _taken(name) from error
        raise
    return True


async def _put_lifetimes(s3: AwsClient, name: str, found: dict[str, Any]) -> None:
    """Replace our rules, and keep those of others: the configuration can only be written whole."""
    rules = {rule_id(lifetime): _rule(lifetime) for lifetime in LIFETIMES}
    others = [rule for rule in found.get("Rules", []) if rule.get("ID") not in rules]
    more = {key: found[key] for key in ("TransitionDefaultMinimumObjectSize",) if key in found}
    await s3.call(
        "put_bucket_lifecycle_configuration",
        Bucket=name,
        LifecycleConfiguration={"Rules": [*others, *rules.values()]},
        **more,
    )


def _rule(lifetime: Lifetime) -> dict[str, Any]:
    return {
        "ID": rule_id(lifetime),
        "Status": "Enabled",
        "Filter": {"Prefix": lifetime.prefix},
        "Expiration": {"Days": lifetime.days},
        # In a bucket with versions the rule above would only hide the object.
        "NoncurrentVersionExpiration": {"NoncurrentDays": 1},
    }


def rule_id(lifetime: Lifetime) -> str:
    """The ID of a lifetime's lifecycle rule, in the template too."""
    return f"taskq-{lifetime.prefix.rstrip('/').replace('/', '-')}"


def _carries_out(rule: dict[str, Any], lifetime: Lifetime) -> bool:
    return (
        rule.get("Status") == "Enabled"
        and _prefix(rule) == lifetime.prefix
        and rule.get("Expiration", {}).get("Days", 0) >= lifetime.days
    )


_SSE_S3 = {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]}


async def _encrypted(s3: AwsClient, name: str) -> bool:
    nothing = "ServerSideEncryptionConfigurationNotFoundError"
    return bool(await _ask(s3, "get_bucket_encryption", name, nothing))


async def _ask(s3: AwsClient, operation: str, name: str, nothing: str) -> dict[str, Any]:
    try:
        return await s3.call(operation, Bucket=name)
    except AwsError as error:
        if error.code == nothing:
            return {}
        raise


def _taken(name: str) -> ConfigError:
    return ConfigError(
        f"the bucket name {name!r} belongs to another account, or these credentials may not use it; "
        "choose another name (TASKQ_BUCKET)"
    )
