"""What a clock writes into the input of a schedule before it sends it."""

from __future__ import annotations

import hashlib
import json
import uuid

from .firing import SCHEDULED_TIME, scheduled_time

SCHEDULE_ARN = "<aws.scheduler.schedule-arn>"
EXECUTION_ID = "<aws.scheduler.execution-id>"
ATTEMPT_NUMBER = "<aws.scheduler.attempt-number>"
"""The other context attributes that EventBridge Scheduler replaces (user guide)."""

_ANY = "<aws.scheduler."


def substitute(body: str, arn: str, at: float) -> str:
    """The message of one firing. Every clock makes the same one, so that FIFO queues drop the second.

    Args:
        arn: of the schedule.
        at: scheduled time, epoch seconds.
    """
    if _ANY not in body:
        return body
    body = body.replace(SCHEDULED_TIME, scheduled_time(at))
    if _ANY in body:
        body = body.replace(SCHEDULE_ARN, json.dumps(arn)[1:-1]).replace(ATTEMPT_NUMBER, "1")
        body = body.replace(EXECUTION_ID, execution_id(arn, at))
    return body


def execution_id(arn: str, at: float) -> str:
    """The id of one firing: in AWS random for each attempt, here the same from every clock."""
    return str(uuid.UUID(bytes=hashlib.sha256(f"{arn}@{int(at)}".encode()).digest()[:16], version=4))


def window_offset(arn: str, window: int) -> float:
    """Seconds by which a schedule fires after its scheduled time: evenly spread over its flexible window.

    The same for every firing, so that they stay as far apart as they are, and for every clock.

    Args:
        window: minutes, 0 for none.
    """
    if not window:
        return 0.0
    share = int.from_bytes(hashlib.sha256(arn.encode()).digest()[:4], "big") / 0x1_0000_0000
    return round(share * window * 60.0, 3)
