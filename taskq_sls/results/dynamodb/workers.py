"""Workers in the DynamoDB table of the tasks.

A worker is the item ``pk = R#<app>``, ``sk = <worker id>``, in no index. Its attributes are the fields of
:class:`~taskq_sls.results.workers.WorkerReport` under their own names, times in epoch seconds, ``oldest`` as a list of
maps; ``ttl`` is an hour after ``beat_at``, rounded up. A beat costs one write unit a minute and worker.
"""

from __future__ import annotations

from typing import Any

from ..layout import PARTITION_KEY, SORT_KEY, TTL_ATTRIBUTE, Item
from ..workers import RunningTask, WorkerReport, WorkerReports, oldest_first
from .items import number, text, whole_ttl
from .table import Table


class TableWorkers(WorkerReports):
    """Reports of workers in one table."""

    def __init__(self, table: Table) -> None:
        self._table = table

    async def beat(self, report: WorkerReport) -> None:
        await self._table.overwrite(_item(report))

    async def gone(self, app: str, id: str) -> None:
        await self._table.call("delete_item", TableName=self._table.name, Key=_key(app, id))

    async def recent(self, app: str, *, now: float) -> list[WorkerReport]:
        parameters: dict[str, Any] = {
            "TableName": self._table.name,
            "KeyConditionExpression": "#pk = :pk",
            "ExpressionAttributeNames": {"#pk": PARTITION_KEY},
            "ExpressionAttributeValues": {":pk": _key(app, "")[PARTITION_KEY]},
        }
        found: list[WorkerReport] = []
        while True:
            answer = await self._table.call("query", **parameters)
            found += [_report(app, item) for item in answer["Items"] if "beat_at" in item]
            if "LastEvaluatedKey" not in answer:
                return oldest_first([one for one in found if one.ttl > now])
            parameters["ExclusiveStartKey"] = answer["LastEvaluatedKey"]


def _key(app: str, id: str) -> Item:
    return {PARTITION_KEY: text(f"R#{app}"), SORT_KEY: text(id)}


def _item(report: WorkerReport) -> Item:
    item = {
        **_key(report.app, report.id),
        "host": text(report.host),
        "version": text(report.version),
        TTL_ATTRIBUTE: number(whole_ttl(report.ttl)),
        "queues": {"L": [text(queue) for queue in report.queues]},
        "stopping": {"BOOL": report.stopping},
    }
    for name in ("pid", "started_at", "beat_at", "running", "done", "concurrency"):
        item[name] = number(getattr(report, name))
    if report.oldest:
        item["oldest"] = {
            "L": [{"M": {"id": text(one.id), "task": text(one.task)}} for one in report.oldest],
        }
    return item


def _report(app: str, item: Item) -> WorkerReport:
    return WorkerReport(
        app,
        item[SORT_KEY]["S"],
        item["host"]["S"],
        int(item["pid"]["N"]),
        float(item["started_at"]["N"]),
        float(item["beat_at"]["N"]),
        int(item["running"]["N"]),
        int(item["done"]["N"]),
        int(item["concurrency"]["N"]),
        item["version"]["S"],
        tuple(queue["S"] for queue in item["queues"]["L"]),
        item["stopping"]["BOOL"],
        tuple(_running(one["M"]) for one in item["oldest"]["L"]) if "oldest" in item else (),
    )


def _running(fields: Item) -> RunningTask:
    return RunningTask(fields["id"]["S"], fields["task"]["S"])
