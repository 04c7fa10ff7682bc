"""Schedules for tests."""

from typing import Any

from taskq_sls.core.schedule_spec import ScheduleSpec
from taskq_sls.scheduler.spec import ScheduleSummary
from taskq_sls.scheduler.store import ScheduleStore

ROLE = "arn:aws:iam::123456789012:role/taskq-scheduler"

NOW = 1_800_000_000.0
"""Where the clock of a test begins: a Friday, 08:00 UTC."""

BODY = '{"v":1,"task":"shop.tasks:report","schedule":{"name":"d-shop.report","at":"<aws.scheduler.scheduled-time>"}}'


def a_spec(name: str = "d-shop.report-1a2b3c4d", **fields: Any) -> ScheduleSpec:
    return ScheduleSpec(
        **{
            "name": name,
            "expression": "cron(0 12 ? * MON-FRI *)",
            "timezone": "Europe/Berlin",
            "queue": "default",
            "body": BODY,
            **fields,
        }
    )


async def spec_in(store: ScheduleStore, name: str = "d-shop.report-1a2b3c4d") -> ScheduleSpec:
    stored = await store.get(name)
    assert stored is not None
    return stored.spec


async def all_pages(store: ScheduleStore, prefix: str = "") -> list[list[ScheduleSummary]]:
    page, cursor = await store.page(prefix)
    pages = [page]
    while cursor is not None:
        page, cursor = await store.page(prefix, cursor)
        pages.append(page)
    return pages
