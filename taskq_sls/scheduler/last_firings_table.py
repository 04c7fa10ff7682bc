"""The last firings of schedules in the DynamoDB table of the tasks.

One item per schedule: ``pk = C#<group>``, ``sk = F#<name>``, ``at`` (epoch seconds), ``ttl`` (whole epoch seconds). No
index contains it. A firing costs one write unit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..aws.port import AwsClient
from ..core.flow import Flow
from ..results.dynamodb.items import number, text, ttl_seconds
from ..results.dynamodb.table import MAX_BATCH, Condition, Table, Update
from ..results.layout import PARTITION_KEY, SORT_KEY, TTL_ATTRIBUTE, Item
from .last_firings import CLOCK_TOLERANCE_SECONDS, LastFirings, seconds_kept

FIRED = "F#"
BATCHES_AT_ONCE = 16


class TableLastFirings(LastFirings):
    """The last firings of one schedule group in one table.

    Args:
        client, flow: the ``dynamodb`` client and the flow of a port.
        table: the table's name.
        group: name of the schedule group.
        describe: endpoint and region as text, for errors.
    """

    def __init__(self, client: AwsClient, flow: Flow, table: str, group: str, describe: Callable[[], str]) -> None:
        self._table = Table(client, flow, table, describe)
        self._partition = text(f"C#{group}")

    async def record(self, name: str, at: float, now: float) -> None:
        update = Update({"at": number(at), TTL_ATTRIBUTE: number(ttl_seconds(now + seconds_kept(name)))})
        later = Condition(
            "attribute_not_exists(#pk) OR #at < :if_at OR #at > :if_future",
            {":if_at": number(at), ":if_future": number(now + CLOCK_TOLERANCE_SECONDS)},
        )
        await self._table.update(self._key(name), update, later)

    async def read(self, names: Sequence[str] | None = None) -> dict[str, float]:
        if names is None:
            items = await self._table.query(
                "#pk = :pk AND begins_with(#sk, :fired)",
                {":pk": self._partition, ":fired": text(FIRED)},
                ConsistentRead=True,
            )
        else:
            keys = [self._key(name) for name in dict.fromkeys(names)]
            batches = [keys[start : start + MAX_BATCH] for start in range(0, len(keys), MAX_BATCH)]
            found = await self._table.flow.map(self._table.batch_get, batches, BATCHES_AT_ONCE)
            items = [item for batch in found for item in batch]
        return {item[SORT_KEY]["S"].removeprefix(FIRED): float(item["at"]["N"]) for item in items}

    def _key(self, name: str) -> Item:
        return {PARTITION_KEY: self._partition, SORT_KEY: text(FIRED + name)}
