"""Credentials, region and endpoint."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import Any

from ...aws.port import AwsPort
from ...core.clock import Clock
from ...errors import AwsError, ConfigError
from ...results.rules import TAKEOVER_GRACE
from .finding import Finding, denied, fail, ok, warn

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
"""Error codes for wrong or expired credentials."""

_NEW_CREDENTIALS = "give other credentials: AWS_PROFILE, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a role"


async def check_account(port: AwsPort, queue: str) -> list[Finding]:
    """Check the credentials and the endpoint.

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
        return fail("credentials", str(error))
    except AwsError as error:
        if error.code in REFUSED_CREDENTIALS:
            return fail("credentials", f"refused: {error.code}: {error.message}", _NEW_CREDENTIALS)
        return warn(
            "credentials",
            f"their owner is unknown, because sts does not answer ({error.code})",
            "usual for an emulator, or a network without an sts endpoint; the next checks show if they work",
        )
    return ok("credentials", str(answer.get("Arn", "accepted")))


async def _endpoint(port: AwsPort, queue: str) -> Finding:
    try:
        await port.client("sqs").call("get_queue_url", QueueName=queue)
    except ConfigError as error:
        return fail("endpoint", str(error))
    except AwsError as error:
        if error.status == 0:  # no answer at all
            return fail(
                "endpoint",
                f"{port.describe()} does not answer: {error.message}",
                "start it (`taskq local up` on this machine), or correct AWS_ENDPOINT_URL and AWS_DEFAULT_REGION",
            )
        if error.code in REFUSED_CREDENTIALS:
            return fail("credentials", f"refused: {error.code}: {error.message}", _NEW_CREDENTIALS)
        if not denied(error) and error.status >= 500:
            return fail("endpoint", f"{port.describe()} answers {error.status}: {error.message}", "check the endpoint")
    return ok("endpoint", port.describe())


async def check_clock(port: AwsPort, clock: Clock, queue: str) -> list[Finding]:
    """The difference of the clocks; nothing if no answer states a time.

    Args:
        queue: physical name of a queue to ask for; it need not exist.
    """
    before = clock.time()
    try:
        answer = await port.client("sqs").call("get_queue_url", QueueName=queue)
    except AwsError as error:
        answer = error.body
    except ConfigError:
        return []
    after = clock.time()
    stated = _stated(answer)
    if stated is None:
        return []
    # The header has whole seconds, and the answer was made somewhere between request and receipt.
    ahead = max(before - stated - 1, stated - after, 0.0)
    if ahead <= TAKEOVER_GRACE:
        return [ok("clock", f"within {TAKEOVER_GRACE:g} s of the endpoint's")]
    direction = "ahead of" if before > stated else "behind"
    return [
        fail(
            "clock",
            f"{ahead:.0f} s {direction} the endpoint's; more than {TAKEOVER_GRACE:g} s can make two workers run one task "
            "at once, or let tasks and schedules start early or late",
            "synchronise the clock of this machine: chronyd, systemd-timesyncd or Amazon Time Sync",
        )
    ]


def _stated(answer: dict[str, Any]) -> float | None:
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    try:
        return parsedate_to_datetime(headers.get("date", "")).timestamp()
    except (TypeError, ValueError):
        return None
