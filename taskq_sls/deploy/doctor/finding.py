"""One line of a diagnosis."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

from ...aws.port import AwsClient
from ...errors import AwsError

Level = Literal["ok", "warn", "fail"]

PROVISION = "run `taskq provision MODULE:APP`, or correct the template"

Probe = tuple[str, str, dict[str, Any]]
"""An action of IAM, and an operation with parameters that needs it and has no effect."""


class Finding(NamedTuple):
    """One checked thing, its state, and the fix if it needs one."""

    level: Level
    subject: str
    detail: str
    fix: str = ""


def ok(subject: str, detail: str = "") -> Finding:
    return Finding("ok", subject, detail)


def warn(subject: str, detail: str, fix: str = "") -> Finding:
    return Finding("warn", subject, detail, fix)


def fail(subject: str, detail: str, fix: str = "see the message") -> Finding:
    return Finding("fail", subject, detail, fix)


def denied(error: AwsError) -> bool:
    """True if a policy refused the call."""
    return "AccessDenied" in error.code or error.code in ("UnauthorizedOperation", "NotAuthorized")


def allow(actions: str) -> str:
    """The fix for a refused call."""
    return f"allow {actions} in the policy of these credentials"


def unreadable(subject: str, part: str, error: AwsError, actions: str) -> Finding:
    """A warning that a resource or a `part` of it, such as "its lifecycle rules ", could not be read."""
    if denied(error):
        return warn(subject, f"{part}cannot be read: {error.code}", allow(actions))
    return warn(subject, f"{part}cannot be read: {error}")


async def check_permissions(client: AwsClient, subject: str, probes: Iterable[Probe]) -> list[Finding]:
    """Make the calls of all probes; one finding for each that a policy refuses."""
    findings = []
    for action, operation, parameters in probes:
        try:
            await client.call(operation, **parameters)
        except AwsError as error:
            if denied(error):
                findings.append(fail(subject, f"{action} is not allowed: {error.code}", allow(action)))
    return findings


def check_packages() -> list[Finding]:
    """Check for the optional packages that make a worker faster."""
    if importlib.util.find_spec("aiobotocore") is None:
        detail = "not installed: async calls run boto3 in threads"
        aio = warn("aiobotocore", detail, "pip install 'taskq-sls[aio]'")
    else:
        aio = ok("aiobotocore", "installed")
    installed = importlib.util.find_spec("uvloop") is not None
    return [aio, ok("uvloop", "installed" if installed else "not installed; optional, makes workers faster")]
