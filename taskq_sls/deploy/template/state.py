"""The table with the tasks' state, and the bucket for payloads that are too large for a message or a record."""

from __future__ import annotations

from typing import Any

from ...payloads.base import LIFETIMES
from ...results.layout import TTL_ATTRIBUTE
from ..provision.buckets import PRIVATE, rule_id
from ..provision.tables import table_definition
from .emitter import Commented
from .intrinsics import NO_VALUE, either, ref, resource, sub


def state_resources() -> dict[str, Any]:
    """Table and bucket."""
    return {"TasksTable": _table(), "PayloadBucket": _bucket()}


def _kept() -> dict[str, Any]:
    return {
        "DeletionPolicy": Commented(
            "A failed first deployment leaves nothing behind, so it can be repeated with the same names.",
            either("IsProduction", "RetainExceptOnCreate", "Delete"),
        ),
        "UpdateReplacePolicy": either("IsProduction", "Retain", "Delete"),
    }


def _table() -> dict[str, Any]:
    desired = table_definition()
    key = {"SSEEnabled": True, "SSEType": "KMS", "KMSMasterKeyId": ref("KmsKeyArn")}
    properties = {
        "TableName": sub("${Prefix}-tasks"),
        **desired,
        "GlobalSecondaryIndexes": Commented(
            "Keys only: an index entry costs a write unit whenever it changes, however small.",
            desired["GlobalSecondaryIndexes"],
        ),
        "TimeToLiveSpecification": {"AttributeName": TTL_ATTRIBUTE, "Enabled": True},
        "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True},
        "DeletionProtectionEnabled": either("IsProtected", True, False),
        "SSESpecification": either("HasKey", key, NO_VALUE),
    }
    return resource("AWS::DynamoDB::Table", properties, **_kept())


def _bucket() -> dict[str, Any]:
    with_key = {
        "BucketKeyEnabled": True,
        "ServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": ref("KmsKeyArn")},
    }
    without_key = {"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
    rules: list[dict[str, Any]] = [
        {
            "Id": rule_id(lifetime),
            "Status": "Enabled",
            "Prefix": lifetime.prefix,
            "ExpirationInDays": lifetime.days,
        }
        for lifetime in LIFETIMES
    ]
    uploads = {"AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1}}
    rules.append({"Id": "taskq-broken-uploads", "Status": "Enabled", **uploads})
    properties = {
        "PublicAccessBlockConfiguration": dict(PRIVATE),
        "OwnershipControls": {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]},
        "BucketEncryption": {"ServerSideEncryptionConfiguration": [either("HasKey", with_key, without_key)]},
        "LifecycleConfiguration": {
            "Rules": Commented(
                "The prefix of a key sets the object's lifetime: arguments live as long as their message can be "
                "delivered or redriven, results as long as their record.",
                rules,
            )
        },
    }
    return resource("AWS::S3::Bucket", properties, **_kept())
