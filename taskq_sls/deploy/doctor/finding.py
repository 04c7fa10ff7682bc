"""One line of a diagnosis."""

from __future__ import annotations

import importlib.util
from typing import Literal, NamedTuple

from ...errors import AwsError

Level = Literal["ok", "warn", "fail"]


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


def fail(subject: str, detail: str, fix: str) -> Finding:
    return Finding("fail", subject, detail, fix)


def denied(error: AwsError) -> bool:
    """True if a policy refused the call."""
    return "AccessDenied" in error.code or error.code in ("UnauthorizedOperation", "NotAuthorized")


def unanswered(error: AwsError) -> bool:
    """True if there was no answer at all."""
    return error.status == 0


def check_packages() -> list[Finding]:
    """Check for the optional packages that make a worker faster."""
    findings = []
    if importlib.util.find_spec("aiobotocore") is None:
        findings.append(
            warn("aiobotocore", "not installed: async calls run boto3 in threads", "pip install 'taskq-sls[aio]'")
        )
    else:
        findings.append(ok("aiobotocore", "installed"))
    installed = importlib.util.find_spec("uvloop") is not None
    findings.append(ok("uvloop", "installed" if installed else "not installed; optional, makes workers faster"))
    return findings
