"""Optional packages."""

from __future__ import annotations

import importlib.util

from .finding import Finding, ok, warn


def check_packages() -> list[Finding]:
    """Whether what makes a worker faster is installed."""
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
