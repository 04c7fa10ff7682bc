"""Error codes of the services: one spelling for each, and which of them a repeat can mend."""

from __future__ import annotations

QUEUE_DOES_NOT_EXIST = "QueueDoesNotExist"

_SPELLINGS = {"NonExistentQueue": QUEUE_DOES_NOT_EXIST, "KmsThrottling": "KmsThrottled"}

THROTTLING_CODES = frozenset(
    {
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "KmsThrottled",
        "LimitExceededException",
        "OverLimit",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionInProgressException",
    }
)
"""The service asks to come back later; the request had no effect."""

EXPIRED_CREDENTIAL_CODES = frozenset(
    {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "RequestTimeTooSkewed", "TokenRefreshRequired"}
)
"""Credentials that were right once and can rotate; the request had no effect."""

SIGNATURE_CODES = frozenset({"InvalidSignatureException", "SignatureDoesNotMatch"})
"""A wrong secret key, or a clock that is off: the text tells."""

DENIED_CODES = SIGNATURE_CODES | {
    "AccessDenied",
    "AccessDeniedException",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
    "KmsAccessDenied",
    "KmsInvalidKeyUsage",
    "KmsNotFound",
    "KmsOptInRequired",
}
"""Rights or keys that are not there, or not any more: somebody may be about to mend them. The request had no effect."""

FAULT_CODES = frozenset(
    {
        "InternalError",
        "InternalFailure",
        "InternalServerError",
        "ServiceUnavailable",
        "ServiceUnavailableException",
    }
)
"""The service failed; the request may have had its effect."""

REFUSAL_CODES = frozenset(
    {
        "ItemCollectionSizeLimitExceededException",
        "ParamValidationError",
        "SerializationException",
        "ValidationException",
    }
)
"""The service, or botocore, does not take what the request says: the same request is refused for ever."""

TRANSIENT_CODES = (
    THROTTLING_CODES
    | EXPIRED_CREDENTIAL_CODES
    | FAULT_CODES
    | {
        # A key that is disabled, or not ready: it can be used again when somebody enables it.
        "KmsDisabled",
        "KmsInvalidState",
        "ReplicatedWriteConflictException",
        "RequestTimeout",
        "RequestTimeoutException",
        "TransactionConflictException",
    }
)
"""Codes for which trying again may help."""


def plain_code(code: str) -> str:
    """One spelling per error: without namespace, and the JSON protocol's name where there are two.

    ``AWS.SimpleQueueService.NonExistentQueue`` (query protocol and its compatibility mode) and
    ``com.amazonaws.sqs#QueueDoesNotExist`` (JSON protocol) are both ``QueueDoesNotExist``. Faults of a KMS key have the
    names of SQS's JSON protocol: ``KMS.DisabledException`` and ``KMSDisabledException`` are ``KmsDisabled``.
    """
    code = code.rpartition("#")[2].removeprefix("AWS.SimpleQueueService.")
    if code.startswith("KMS"):
        # S3 has KMS.KMSInvalidStateException too.
        fault = code.removeprefix("KMS").removeprefix(".").removeprefix("KMS").removesuffix("Exception")
        code = f"Kms{fault}"
    return _SPELLINGS.get(code, code)


def is_item_too_large(code: str, message: str) -> bool:
    """True if DynamoDB refused a write since the item would pass 400 KB. Repeating it cannot help."""
    # "Item size has exceeded the maximum allowed size"; of an update: "Item size to update has exceeded ...".
    return code == "ValidationException" and message.lower().startswith("item size")
