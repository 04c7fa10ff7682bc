"""This machine's clock, against the time that AWS sends along with every answer."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import Any

from ...aws.port import AwsPort
from ...core.clock import Clock
from ...errors import AwsError, ConfigError
from ...results.records import TAKEOVER_GRACE
from .finding import Finding, fail, ok


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
