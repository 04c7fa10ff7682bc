"""The table with the tasks' state, and the bucket for payloads that are too large for a message or a record."""

from __future__ import annotations

from typing import Any

from ...payloads.base import LIFETIMES
from ...results.layout import INDEXES, PARTITION_KEY, SORT_KEY, TTL_ATTRIBUTE
from ..provision.buckets import PRIVATE
from .emitter import Commented
from .intrinsics import NO_VALUE, either, ref, sub


def state_resources() -> dict[str, Any]:
    """Table and bucket."""
    return {"TasksTable": _table(), "PayloadBucket": _bucket()}


def _kept() -> dict[str, Any]:
    return {
        "DeletionPolicy": Commented(
            "A first deployment that fails leaves nothing behind, so that it can be repeated under the same names.",
            either("IsProduction", "RetainExceptOnCreate", "Delete"),
        ),
        "UpdateReplacePolicy": either("IsProduction", "Retain", "Delete"),
    }


def _table() -> dict[str, Any]:
    keys = [PARTITION_KEY, SORT_KEY, *(key for index in INDEXES for key in (index.shard, index.time))]
    return {
        "Type": "AWS::DynamoDB::Table",
        **_kept(),
        "Properties": {
            "TableName": sub("${Prefix}-tasks"),
            "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [{"AttributeName": key, "AttributeType": "S"} for key in keys],
            "KeySchema": _schema(PARTITION_KEY, SORT_KEY),
            "GlobalSecondaryIndexes": Commented(
                "Keys only: an index entry costs a write unit whenever it changes, however small.",
                [
                    {
                        "IndexName": index.name,
                        "KeySchema": _schema(index.shard, index.time),
                        "Projection": {"ProjectionType": "KEYS_ONLY"},
                    }
                    for index in INDEXES
                ],
            ),
            "TimeToLiveSpecification": {"AttributeName": TTL_ATTRIBUTE, "Enabled": True},
            "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True},
            "DeletionProtectionEnabled": either("IsProtected", True, False),
            "SSESpecification": either(
                "HasKey", {"SSEEnabled": True, "SSEType": "KMS", "KMSMasterKeyId": ref("KmsKeyArn")}, NO_VALUE
            ),
        },
    }


def _bucket() -> dict[str, Any]:
    return {
        "Type": "AWS::S3::Bucket",
        **_kept(),
        "Properties": {
            "PublicAccessBlockConfiguration": dict(PRIVATE),
            "OwnershipControls": {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]},
            "BucketEncryption": {
                "ServerSideEncryptionConfiguration": [
                    either(
                        "HasKey",
                        {
                            "BucketKeyEnabled": True,
                            "ServerSideEncryptionByDefault": {
                                "SSEAlgorithm": "aws:kms",
                                "KMSMasterKeyID": ref("KmsKeyArn"),
                            },
                        },
                        {"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}},
                    )
                ]
            },
            "LifecycleConfiguration": {
                "Rules": Commented(
                    "The start of a key says how long the object is needed: arguments as long as their message can "
                    "still be delivered or redriven, results as long as their record lives.",
                    [
                        *(
                            {
                                "Id": f"taskq-{lifetime.prefix.rstrip('/').replace('/', '-')}",
                                "Status": "Enabled",
                                "Prefix": lifetime.prefix,
                                "ExpirationInDays": lifetime.days,
                            }
                            for lifetime in LIFETIMES
                        ),
                        {
                            "Id": "taskq-broken-uploads",
                            "Status": "Enabled",
                            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
                        },
                    ],
                )
            },
        },
    }


def _schema(partition: str, sort: str) -> list[dict[str, str]]:
    return [{"AttributeName": partition, "KeyType": "HASH"}, {"AttributeName": sort, "KeyType": "RANGE"}]
