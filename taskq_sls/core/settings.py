"""Configuration from keyword arguments, else from environment variables. Read once, when first needed."""

from __future__ import annotations

import json
import os
import re
from typing import Any, NamedTuple, cast

from ..errors import ConfigError
from .queues import dead_letter_name, physical_name

PREFIX = re.compile(r"[A-Za-z0-9_-]{1,40}")

BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
"""Names of S3 buckets (S3 user guide, bucket naming rules)."""

SCHEDULE_GROUP = re.compile(r"[0-9a-zA-Z_.-]{1,64}")
"""Names of schedule groups (EventBridge Scheduler API reference)."""

ROLE_ARN = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+")
"""ARNs of roles (EventBridge Scheduler API reference, Target)."""


class Settings(NamedTuple):
    """The names of the app's resources.

    Args:
        prefix: start of every physical name (``TASKQ_PREFIX``; default: the app's name).
        table: the DynamoDB table (``TASKQ_TABLE``; default ``{prefix}-tasks``).
        queue_urls: logical queue name to URL (``TASKQ_QUEUE_URLS``, JSON). The URL of any other queue is looked up once
            by name.
        bucket: the S3 bucket for large payloads (``TASKQ_BUCKET``), or None.
        schedule_group: the schedule group of EventBridge Scheduler (``TASKQ_SCHEDULE_GROUP``; default: the prefix if a
            role is given), or None if nothing can be scheduled.
        schedule_role_arn: the role with which schedules send to the queues (``TASKQ_SCHEDULE_ROLE_ARN``), or None.
        metrics: count the ends of tasks (``TASKQ_METRICS``: on or off), or None for the default.
    """

    prefix: str
    table: str
    queue_urls: dict[str, str] = {}
    bucket: str | None = None
    schedule_group: str | None = None
    schedule_role_arn: str | None = None
    metrics: bool | None = None

    def queue_name(self, queue: str) -> str:
        """Physical name of a logical queue."""
        return physical_name(self.prefix, queue)

    def dead_letter_queue(self, queue: str) -> str:
        """Logical name of the queue's dead-letter queue."""
        return dead_letter_name(queue)

    @classmethod
    def load(
        cls,
        name: str,
        *,
        prefix: str | None = None,
        table: str | None = None,
        queue_urls: dict[str, str] | None = None,
        bucket: str | None = None,
        schedule_group: str | None = None,
        schedule_role_arn: str | None = None,
        metrics: bool | None = None,
    ) -> Settings:
        """Read the keyword arguments, else the environment, else the defaults.

        Raises:
            ConfigError: a value is malformed; the message names the variable.
        """
        prefix = _given("TASKQ_PREFIX", prefix) or name
        _check("prefix", "TASKQ_PREFIX", prefix, PREFIX, "use 1 to 40 letters, digits, '-' or '_'")
        if queue_urls is None:
            queue_urls = _urls(os.environ.get("TASKQ_QUEUE_URLS"))
        elif not _are_urls(queue_urls):
            raise ConfigError(f"queue_urls={queue_urls!r:.80} must map queue names to URLs")
        bucket = _given("TASKQ_BUCKET", bucket)
        hint = "use 3 to 63 small letters, digits, '-' or '.', as S3 does"
        _check("bucket", "TASKQ_BUCKET", bucket, BUCKET, hint)
        role = _given("TASKQ_SCHEDULE_ROLE_ARN", schedule_role_arn)
        hint = "it must be the ARN of a role, such as arn:aws:iam::123456789012:role/shop-scheduler"
        _check("schedule role", "TASKQ_SCHEDULE_ROLE_ARN", role, ROLE_ARN, hint)
        group = _given("TASKQ_SCHEDULE_GROUP", schedule_group) or (role and prefix)
        hint = "use 1 to 64 letters, digits, '-', '_' or '.'"
        _check("schedule group", "TASKQ_SCHEDULE_GROUP", group, SCHEDULE_GROUP, hint)
        return cls(
            prefix=prefix,
            table=_given("TASKQ_TABLE", table) or f"{prefix}-tasks",
            queue_urls=queue_urls,
            bucket=bucket,
            schedule_group=group,
            schedule_role_arn=role,
            metrics=_switch("TASKQ_METRICS") if metrics is None else metrics,
        )


def _given(variable: str, argument: str | None) -> str | None:
    """The keyword argument, else the environment variable. Empty ones count as missing."""
    return argument or os.environ.get(variable) or None


def _check(setting: str, variable: str, value: str | None, pattern: re.Pattern[str], hint: str) -> None:
    if value is not None and not pattern.fullmatch(value):
        raise ConfigError(f"{setting} {value!r} ({variable}): {hint}")


def _switch(name: str) -> bool | None:
    text = os.environ.get(name)
    if not text:
        return None
    if text not in ("on", "off"):
        raise ConfigError(f"{name}={text!r} must be on or off")
    return text == "on"


def _urls(text: str | None) -> dict[str, str]:
    if not text:
        return {}
    try:
        urls = json.loads(text)
    except ValueError as error:
        raise ConfigError(
            f"TASKQ_QUEUE_URLS is not JSON ({error}); it maps queue names to URLs: {text[:80]!r}"
        ) from None
    if not _are_urls(urls):
        raise ConfigError(f"TASKQ_QUEUE_URLS must be a JSON object of queue names to URLs, not {text[:80]!r}")
    return cast(dict[str, str], urls)


def _are_urls(given: Any) -> bool:
    return isinstance(given, dict) and all(isinstance(url, str) and url for url in given.values())
