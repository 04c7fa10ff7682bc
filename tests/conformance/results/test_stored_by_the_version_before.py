"""Items and messages that an earlier version wrote are read by this one, field by field.

`stored_by_the_version_before.json` was written once, by the code of that version. It is never generated anew: queues and
tables hold such data for weeks after an update.
"""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from taskq_sls.aws.blocking import BlockingAws
from taskq_sls.brokers import dead_letters
from taskq_sls.core.context import Progress
from taskq_sls.core.message import ErrorInfo, Message, decode
from taskq_sls.core.states import State
from taskq_sls.deploy.provision import provision_table
from taskq_sls.metrics.counters import HOUR, MINUTE, CounterKey, Counters
from taskq_sls.results.base import Query
from taskq_sls.results.dynamodb.backend import DynamoResults
from taskq_sls.results.records import Claimed, Fence, KeyLock, PastAttempt, TaskRecord
from taskq_sls.results.workers import RunningTask, WorkerReport
from taskq_sls.scheduler.firing import receive
from taskq_sls.scheduler.last_firings_table import TableLastFirings
from tests.support.record_builders import NOW, TTL, a_claim, retrying

pytestmark = pytest.mark.asyncio(loop_scope="module")

STORED = json.loads((Path(__file__).parents[2] / "support" / "stored_by_the_version_before.json").read_text())
TASK = "shop.tasks:resize"
ENQUEUED_AT = NOW - 10
DESCRIBED: dict[str, Any] = {
    "labels": {"tenant": "acme"},
    "parent": "task-0",
    "unique_key": "order-7",
    "call": '{"args":["a.png",200],"kwargs":{"lang":"de"}}',
}
NO_FILE = ErrorInfo("builtins.ValueError", "no such file", "Traceback: no such file")
TRY_LATER = ErrorInfo("builtins.OSError", "try later", "Traceback: try later")


def a_record(id: str, status: State, **fields: Any) -> TaskRecord:
    common: dict[str, Any] = {"task": TASK, "queue": "default", "ttl": TTL}
    return TaskRecord(id=id, status=status, **(common | fields))


def a_past_attempt(attempt: int, started_at: float) -> PastAttempt:
    return PastAttempt(attempt, started_at, started_at + 1, "builtins.OSError: try later")


RECORDS = [
    a_record("queued", State.QUEUED, enqueued_at=ENQUEUED_AT, updated_at=NOW, **DESCRIBED),
    a_record(
        "running",
        State.RUNNING,
        attempt=1,
        owner="owner-1",
        lease_until=NOW + 80.5,
        enqueued_at=ENQUEUED_AT,
        started_at=NOW,
        updated_at=NOW + 20,
        progress=Progress(3.0, 10.0, "page 3"),
        **DESCRIBED,
    ),
    a_record(
        "asked-to-cancel",
        State.RUNNING,
        attempt=1,
        owner="owner-1",
        lease_until=NOW + 60,
        enqueued_at=ENQUEUED_AT,
        started_at=NOW,
        updated_at=NOW + 2,
        cancel_requested=True,
    ),
    a_record(
        "twelve-attempts",
        State.RUNNING,
        attempt=13,
        owner="owner-13",
        lease_until=NOW + 84,
        enqueued_at=ENQUEUED_AT,
        started_at=NOW + 24,
        updated_at=NOW + 24,
        past=tuple(a_past_attempt(attempt, NOW + 2 * attempt - 2) for attempt in range(3, 13)),
    ),
    a_record(
        "retrying",
        State.RETRYING,
        attempt=1,
        owner="owner-1",
        next_at=NOW + 31,
        enqueued_at=ENQUEUED_AT,
        started_at=NOW,
        updated_at=NOW + 1,
        progress=Progress(1.5),
        error=TRY_LATER,
        reason="error",
        past=(a_past_attempt(1, NOW),),
    ),
    a_record("released", State.QUEUED, owner="owner-1", enqueued_at=ENQUEUED_AT, updated_at=NOW + 3),
    a_record(
        "succeeded",
        State.SUCCEEDED,
        attempt=1,
        owner="owner-1",
        enqueued_at=ENQUEUED_AT,
        started_at=NOW,
        finished_at=NOW + 1,
        updated_at=NOW + 1,
        result_json='{"width": 200}',
        **DESCRIBED,
    ),
    a_record(
        "result-in-the-bucket",
        State.SUCCEEDED,
        attempt=1,
        owner="owner-1",
        enqueued_at=ENQUEUED_AT,
        started_at=NOW,
        finished_at=NOW + 1.25,
        updated_at=NOW + 1.25,
        result_key="results/30d/big/0-owner-1.json",
    ),
    a_record(
        "recorded-when-finished-only",
        State.SUCCEEDED,
        attempt=2,
        owner="owner-1",
        enqueued_at=ENQUEUED_AT,
        finished_at=NOW + 1,
        updated_at=NOW + 1,
        result_json="null",
    ),
    a_record(
        "failed-at-the-second-attempt",
        State.FAILED,
        attempt=2,
        owner="owner-2",
        enqueued_at=ENQUEUED_AT,
        started_at=NOW + 31,
        finished_at=NOW + 33.75,
        updated_at=NOW + 33.75,
        error=NO_FILE,
        reason="exhausted",
        past=(a_past_attempt(1, NOW),),
    ),
    a_record(
        "failed-in-the-second-run",
        State.FAILED,
        run=1,
        attempt=1,
        owner="owner-2",
        enqueued_at=ENQUEUED_AT,
        started_at=NOW + 600,
        finished_at=NOW + 601,
        updated_at=NOW + 601,
        error=NO_FILE,
        reason="exhausted",
    ),
    a_record("cancelled-before-its-message-came", State.CANCELLED, finished_at=NOW, updated_at=NOW),
    a_record(
        "cancelled-while-queued",
        State.CANCELLED,
        enqueued_at=ENQUEUED_AT,
        finished_at=NOW + 2,
        updated_at=NOW + 2,
    ),
    a_record("expired", State.EXPIRED, owner="owner-1", enqueued_at=ENQUEUED_AT, finished_at=NOW, updated_at=NOW),
]

COUNTERS = Counters(
    started=7,
    succeeded=4,
    failed=1,
    retried=1,
    cancelled=1,
    expired=2,
    skipped=3,
    duration=12.5,
    longest=6.25,
    waits=6,
    wait=0.75,
    histogram=(0, 1, 2, 3, *[0] * 11, 1),
)

MESSAGES = {
    "plain": Message(
        id="01a3185c-5000-72a1-b3d5-25862a0e7520", task=TASK, args=["a.png"], kwargs={"width": 200}, enqueued_at=NOW
    ),
    "delayed": Message(
        id="order/7", task=TASK, args=["a.png"], enqueued_at=NOW, not_before=NOW + 60, expires_at=NOW + 3600.5
    ),
    "labelled": Message(
        id="with-labels",
        task=TASK,
        args=["a.png"],
        enqueued_at=NOW,
        labels={"tenant": "acme", "größe": "ü"},
        unique_key="order-7",
    ),
    "arguments in the bucket": Message(
        id="large", task=TASK, enqueued_at=NOW, payload="messages/45d/large/0-b6311633185f7daf.json"
    ),
    "redriven": Message(
        id="01a3185c-5000-74cd-8025-52dc9cd239ed",
        task=TASK,
        args=["child.png"],
        enqueued_at=NOW,
        run=1,
        parent="parent",
        depth=1,
    ),
    "delayed for a day": Message(id="next-day", task=TASK, args=["a.png"], enqueued_at=NOW, not_before=NOW + 86_400),
    "late retry": Message(
        id="late-retry",
        task=TASK,
        args=["a.png", None],
        kwargs={"exact": 1.5},
        enqueued_at=NOW,
        attempt=2,
        run=3,
        trace={"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
    ),
    "scheduled": Message(
        id="",
        task="shop.tasks:clean",
        schedule={
            "name": "d-shop.clean-cd502bf8",
            "group": "shop",
            "at": "2027-01-15T08:05:00Z",
            "overlap": "skip",
            "expires_in": 600.0,
        },
    ),
    "scheduled without a time": Message(
        id="",
        task="shop.tasks:report",
        schedule={"name": "d-shop.report-10b746de", "group": "shop", "at": "<aws.scheduler.scheduled-time>"},
    ),
}

_tables = (f"stored-{number}" for number in itertools.count())


@pytest_asyncio.fixture(loop_scope="module")
async def table(blocking_aws: BlockingAws) -> str:
    """A table that holds the stored items."""
    name = next(_tables)
    await provision_table(blocking_aws, name)
    for item in STORED["items"]:
        await blocking_aws.client("dynamodb").call("put_item", TableName=name, Item=item)
    return name


@pytest_asyncio.fixture(loop_scope="module")
async def stored(blocking_aws: BlockingAws, table: str) -> DynamoResults:
    return DynamoResults(blocking_aws.client("dynamodb"), blocking_aws.flow, table, blocking_aws.describe)


async def test_records_in_every_state_are_read(stored: DynamoResults) -> None:
    found = await stored.get_many([record.id for record in RECORDS], now=NOW)
    assert {id: record._asdict() for id, record in found.items()} == {record.id: record._asdict() for record in RECORDS}
    assert {record.status for record in RECORDS} == set(State), "the fixtures hold every state"


async def test_records_are_listed_by_state_and_by_task(stored: DynamoResults) -> None:
    failed = await stored.list(Query(status=State.FAILED), now=NOW)
    assert [record.id for record in failed] == ["failed-in-the-second-run", "failed-at-the-second-attempt"]
    retrying_tasks = await stored.list(Query(status=State.RETRYING), now=NOW)
    assert [record.id for record in retrying_tasks] == ["retrying"]
    by_task = await stored.list(Query(tasks=(TASK,)), now=NOW)
    assert {record.id for record in by_task} == {record.id for record in RECORDS}


async def test_a_waiting_task_is_claimed_and_its_attempts_are_kept(stored: DynamoResults) -> None:
    assert await stored.claim(a_claim("queued", owner="new")) == Claimed(1)
    assert await stored.claim(a_claim("retrying", owner="new", now=NOW + 31)) == Claimed(2)
    assert await stored.claim(a_claim("failed-at-the-second-attempt", owner="new", run=1)) == Claimed(1)
    record = await stored.get("retrying", now=NOW)
    assert record is not None
    assert record.past == (a_past_attempt(1, NOW),)


async def test_a_running_attempt_is_ended_by_its_fence_and_takes_the_next_slot_of_past_attempts(
    stored: DynamoResults,
) -> None:
    fence = Fence("twelve-attempts", 0, 13, "owner-13")
    assert await stored.finish(fence, retrying(started_at=NOW + 24, now=NOW + 25)) is State.RETRYING
    record = await stored.get("twelve-attempts", now=NOW)
    assert record is not None
    assert [past.attempt for past in record.past] == list(range(4, 14))


async def test_locks_of_unique_keys_are_read_and_freed(stored: DynamoResults) -> None:
    confirmed = KeyLock(TASK, "order-7", "succeeded", "default", locked_at=NOW, ttl=TTL, confirmed=True)
    unconfirmed = KeyLock(TASK, "order-8", "task-8", "slow", locked_at=NOW + 0.5, ttl=TTL + 1)
    for lock in (confirmed, unconfirmed):
        other = lock._replace(id="other", queue="other", locked_at=NOW + 5, confirmed=False)
        assert await stored.lock_key(other) == lock
    assert await stored.free_key(TASK, "order-8", "task-8", locked_at=NOW + 0.5)


async def test_reports_of_workers_are_read(stored: DynamoResults) -> None:
    assert stored.workers is not None
    assert await stored.workers.recent("shop", now=NOW) == [
        WorkerReport(
            app="shop",
            id="worker-1",
            host="host-a",
            pid=4711,
            started_at=NOW - 100.5,
            beat_at=NOW,
            running=2,
            done=40,
            concurrency=100,
            version="0.1.0",
            queues=("default", "ledger.fifo"),
            stopping=True,
            oldest=(RunningTask("running", TASK),),
        ),
        WorkerReport(app="shop", id="worker-2", host="host-b", pid=4712, started_at=NOW, beat_at=NOW),
    ]


@pytest.mark.parametrize("span", [MINUTE, HOUR])
async def test_counters_are_read_and_added_to(stored: DynamoResults, span: int) -> None:
    assert stored.metrics is not None
    key = CounterKey(span, int(NOW), TASK, "default")
    start, end = int(NOW), int(NOW) + span
    assert await stored.metrics.read("shop", span, start, end, now=NOW) == [(key, COUNTERS)]
    await stored.metrics.add("shop", key, Counters(started=1))
    assert await stored.metrics.read("shop", span, start, end, now=NOW) == [(key, COUNTERS._replace(started=8))]


async def test_the_last_firings_of_a_local_clock_are_read(blocking_aws: BlockingAws, table: str) -> None:
    client, flow = blocking_aws.client("dynamodb"), blocking_aws.flow
    last_firings = TableLastFirings(client, flow, table, "shop", blocking_aws.describe)
    # The version before kept two more kinds of items beside them, which expire within an hour.
    assert await last_firings.read() == await last_firings.read(["d-report"]) == {"d-report": NOW - 60}


@pytest.mark.parametrize("kind", MESSAGES)
async def test_messages_are_read_and_written_as_before(kind: str) -> None:
    body = STORED["messages"][kind]
    assert decode(body)._asdict() == MESSAGES[kind]._asdict()
    assert MESSAGES[kind].encode() == body
    assert MESSAGES.keys() == STORED["messages"].keys()


async def test_a_scheduled_run_has_the_id_that_an_earlier_version_would_give_it() -> None:
    scheduled, timed_body = receive(decode(STORED["messages"]["scheduled"]), NOW + 301)
    assert timed_body is None
    assert scheduled.id == "01a31860-e3e0-8007-b2c6-25a409abc5b0"
    assert scheduled.expires_at == NOW + 900
    assert scheduled.unique_key == "schedule:shop/d-shop.clean-cd502bf8"
    without_a_time, timed_body = receive(decode(STORED["messages"]["scheduled without a time"]), NOW + 61)
    assert timed_body is not None
    assert receive(decode(timed_body), NOW + 301) == (without_a_time, None)
    assert without_a_time.id == "01a3185d-3a60-8378-898d-89a7defc7d90"


async def test_the_attributes_of_a_dead_letter_are_found() -> None:
    assert STORED["dead_letter_attributes"] == {
        dead_letters.REASON: "exhausted",
        dead_letters.QUEUE: "default",
        dead_letters.TASK: TASK,
        dead_letters.ATTEMPTS: "1",
        dead_letters.RECEIVE_COUNT: "1",
        dead_letters.FIRST_SENT_AT: "1800000000.000",
        dead_letters.DEAD_LETTERED_AT: "1800000000.000",
        dead_letters.ERROR_TYPE: "ValueError",
        dead_letters.ERROR_MESSAGE: "no such file",
        dead_letters.TRACEBACK: STORED["dead_letter_attributes"]["taskq.traceback"],
    }
