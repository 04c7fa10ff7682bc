"""The port to AWS, the interface through which the library calls AWS, and the codes of its errors.

A port has one client per service; `call` takes botocore's method name and parameters and returns the parsed answer. Every
failure is an :class:`~taskq_sls.errors.AwsError`, or a :class:`~taskq_sls.errors.ConfigError` if no retry can help (no
region, no credentials).
"""

from __future__ import annotations

from typing import Any, Protocol

from ..core.flow import Flow

CALL_THREADS = 16
"""Concurrent AWS calls if botocore runs in threads, as in Lambda."""


class AwsClient(Protocol):
    """One service."""

    async def call(self, operation: str, /, **params: Any) -> dict[str, Any]:
        """Call `operation` (``send_message_batch``, ``update_item``, ...) and return its answer.

        A streamed body (``Body`` of ``get_object``) is read to its end: the answer holds bytes.

        Raises:
            AwsError: the call failed; `transient` is True if a retry may help.
            ConfigError: region, credentials or endpoint are missing or malformed.
        """
        ...


class AwsPort(Protocol):
    """Clients by service name, and the flow (waiting, fan-out) that fits them."""

    @property
    def flow(self) -> Flow: ...

    def client(self, service: str) -> AwsClient:
        """The client of a service (``sqs``, ``dynamodb``, ...), created at first use."""
        ...

    def describe(self) -> str:
        """Endpoint and region in words, for error messages."""
        ...

    async def close(self) -> None: ...


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
"""The service throttles; the request had no effect."""

EXPIRED_CREDENTIAL_CODES = frozenset(
    {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "RequestTimeTooSkewed", "TokenRefreshRequired"}
)
"""The credentials have expired and may be renewed; the request had no effect."""

SIGNATURE_CODES = frozenset({"InvalidSignatureException", "SignatureDoesNotMatch"})
"""A wrong secret key, or a wrong local clock; the message says which."""

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
"""Missing permissions or keys, which an operator may restore. The request had no effect."""

FAULT_CODES = frozenset(
    {
        "InternalError",
        "InternalFailure",
        "InternalServerError",
        "ServiceUnavailable",
        "ServiceUnavailableException",
    }
)
"""The service failed; the request may have taken effect."""

REFUSAL_CODES = frozenset(
    {
        "ItemCollectionSizeLimitExceededException",
        "ParamValidationError",
        "SerializationException",
        "ValidationException",
    }
)
"""The request itself is invalid for the service or botocore: the same request is always refused."""

TRANSIENT_CODES = (
    THROTTLING_CODES
    | EXPIRED_CREDENTIAL_CODES
    | FAULT_CODES
    | {
        # A KMS key is disabled or not ready; it may be enabled again.
        "KmsDisabled",
        "KmsInvalidState",
        "ReplicatedWriteConflictException",
        "RequestTimeout",
        "RequestTimeoutException",
        "TransactionConflictException",
    }
)
"""Codes that are worth a retry."""


def plain_code(code: str) -> str:
    """One spelling per error: without namespace, and the JSON protocol's name if there are two.

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
    """True if DynamoDB refused a write because the item would pass 400 KB. A retry cannot help."""
    # "Item size has exceeded the maximum allowed size"; of an update: "Item size to update has exceeded ...".
    return code == "ValidationException" and message.lower().startswith("item size")
