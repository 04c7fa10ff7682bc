"""Credentials, region and endpoint."""

from __future__ import annotations

from ...aws.port import AwsPort
from ...errors import AwsError, ConfigError
from .finding import Finding, denied, fail, ok, unanswered, warn

REFUSED_CREDENTIALS = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
"""What services answer to credentials that are wrong or over."""

_NEW_CREDENTIALS = "give other credentials: AWS_PROFILE, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a role"


async def check_account(port: AwsPort, queue: str) -> list[Finding]:
    """Whether calls can succeed at all.

    Args:
        queue: physical name of a queue to ask for; it need not exist.
    """
    findings = [await _credentials(port)]
    if findings[0].level != "fail":
        findings.append(await _endpoint(port, queue))
    return findings


async def _credentials(port: AwsPort) -> Finding:
    try:
        answer = await port.client("sts").call("get_caller_identity")
    except ConfigError as error:
        return fail("credentials", str(error), "see the message")
    except AwsError as error:
        if error.code in REFUSED_CREDENTIALS:
            return fail("credentials", f"refused: {error.code}: {error.message}", _NEW_CREDENTIALS)
        return warn(
            "credentials",
            f"whose they are cannot be told, since sts does not answer ({error.code})",
            "usual for an emulator or a network without an endpoint of sts; what follows tells whether they work",
        )
    return ok("credentials", str(answer.get("Arn", "accepted")))


async def _endpoint(port: AwsPort, queue: str) -> Finding:
    try:
        await port.client("sqs").call("get_queue_url", QueueName=queue)
    except ConfigError as error:
        return fail("endpoint", str(error), "see the message")
    except AwsError as error:
        if unanswered(error):
            return fail(
                "endpoint",
                f"{port.describe()} does not answer: {error.message}",
                "start it (`taskq local up` on this machine), or correct AWS_ENDPOINT_URL and AWS_DEFAULT_REGION",
            )
        if error.code in REFUSED_CREDENTIALS:
            return fail("credentials", f"refused: {error.code}: {error.message}", _NEW_CREDENTIALS)
        if not denied(error) and error.status >= 500:
            return fail(
                "endpoint", f"{port.describe()} answers {error.status}: {error.message}", "look at the endpoint"
            )
    return ok("endpoint", port.describe())
