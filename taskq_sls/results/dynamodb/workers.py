"""Reports of workers in the DynamoDB table of the tasks.

A worker is the item ``pk = R#<app>``, ``sk = <worker id>``, in no index. Its attributes are the fields of
:class:`~taskq_sls.results.workers.WorkerReport` under their own names, times in epoch seconds, ``oldest`` as a list of
maps; ``ttl`` is an hour after ``beat_at``, rounded up. Reports cost a worker one write unit a minute.
"""

from __future__ import annotations

from typing import Any

from ..layout import PARTITION_KEY, SORT_KEY, TTL_ATTRIBUTE, Item
from ..workers import RunningTask, WorkerReport, WorkerReports, oldest_first
from .items import number, text, ttl_seconds
from .table import Table

WHOLE = ("pid", "running", "done", "concurrency")
TIMES = ("started_at", "beat_at")


class TableWorkers(WorkerReports):
    """Reports of workers in one table."""

    def __init__(self, table: Table) -> None:
        self._table = table

    async def beat(self, report: WorkerReport) -> None:
        await self._table.overwrite(_item(report))

    async def unregister(self, app: str, id: str) -> None:
        await self._table.call("delete_item", TableName=self._table.name, Key=_key(app, id))

    async def recent(self, app: str, *, now: float) -> list[WorkerReport]:
        items = await self._table.query("#pk = :pk", {":pk": _key(app, "")[PARTITION_KEY]})
        reports = [_report(app, item) for item in items if "beat_at" in item]
        return oldest_first([report for report in reports if report.ttl > now])


def _key(app: str, id: str) -> Item:
    return {PARTITION_KEY: text(f"R#{app}"), SORT_KEY: text(id)}


def _item(report: WorkerReport) -> Item:
    item = {
        **_key(report.app, report.id),
        "host": text(report.host),
        "version": text(report.version),
        TTL_ATTRIBUTE: number(ttl_seconds(report.ttl)),
        "queues": {"L": [text(queue) for queue in report.queues]},
        "stopping": {"BOOL": report.stopping},
    }
    item |= {name: number(getattr(report, name)) for name in (*WHOLE, *TIMES)}
    if report.oldest:
        item["oldest"] = {"L": [{"M": {"id": text(task.id), "task": text(task.task)}} for task in report.oldest]}
    return item


def _report(app: str, item: Item) -> WorkerReport:
    numbers: dict[str, Any] = {name: int(item[name]["N"]) for name in WHOLE}
    numbers |= {name: float(item[name]["N"]) for name in TIMES}
    oldest = item["oldest"]["L"] if "oldest" in item else ()
    return WorkerReport(
        app=app,
        id=item[SORT_KEY]["S"],
        host=item["host"]["S"],
        version=item["version"]["S"],
        **numbers,
        queues=tuple(queue["S"] for queue in item["queues"]["L"]),
        stopping=item["stopping"]["BOOL"],
        oldest=tuple(RunningTask(task["M"]["id"]["S"], task["M"]["task"]["S"]) for task in oldest),
    )
