"""The local clock, over schedules in memory and queues of moto, in a time that the test moves."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from moto import mock_aws

from taskq_sls.aws.blocking import BlockingAws
from taskq_sls.aws.port import AwsClient
from taskq_sls.brokers.sqs import SqsBroker
from taskq_sls.core.clock import ManualClock
from taskq_sls.core.flow import AsyncFlow
from taskq_sls.core.schedule_spec import ScheduleSpec
from taskq_sls.core.settings import Settings
from taskq_sls.errors import AwsError
from taskq_sls.scheduler.firing import window_offset
from taskq_sls.scheduler.last_firings import LastFirings, MemoryLastFirings
from taskq_sls.scheduler.local_clock import clock as local_clock
from taskq_sls.scheduler.local_clock import sender
from taskq_sls.scheduler.local_clock.clock import LocalClock
from taskq_sls.scheduler.memory import MemorySchedules
from taskq_sls.scheduler.spec import StoredSchedule
from taskq_sls.scheduler.store import STALE_CURSOR
from taskq_sls.testing.faults import Faults
from taskq_sls.testing.ports import FaultyClient

START = 1_800_000_000.0
"""2027-01-15T08:00:00Z."""

MINUTE, HOUR = 60.0, 3_600.0

BODY = '{"v":1,"task":"shop:tick","schedule":{"name":"%s","group":"shop","at":"<aws.scheduler.scheduled-time>"%s}}'


class CountingSchedules(MemorySchedules):
    """Counts how often a definition is read."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock, "shop")
        self.reads: Counter[str] = Counter()

    async def get(self, name: str) -> StoredSchedule | None:
        self.reads[name] += 1
        return await super().get(name)


class ClockHarness:
    """A store, queues and a clock; local clocks come and go."""

    def __init__(self, sqs: AwsClient) -> None:
        self.clock = ManualClock(START)
        self.store = CountingSchedules(self.clock)
        self.last_firings: LastFirings = MemoryLastFirings()
        self.sqs = sqs
        self.local: LocalClock

    async def start(self, sqs: AwsClient | None = None) -> LocalClock:
        """A new local clock that has read the schedules."""
        flow = AsyncFlow(self.clock)
        broker = SqsBroker(sqs or self.sqs, flow, Settings("shop", "shop-tasks"), self.clock, lambda: "moto")
        self.local = LocalClock(self.store, self.last_firings, broker, flow, self.clock)
        await self.local.load()
        return self.local

    async def make(self, name: str, expression: str, **more: Any) -> None:
        policy = more.pop("misfire", None)
        body = more.pop("body", BODY % (name, f',"misfire":"{policy}"' if policy else ""))
        spec = ScheduleSpec(name, expression, more.pop("timezone", "UTC"), more.pop("queue", "default"), body, **more)
        assert await self.store.create(spec)

    async def change(self, name: str, **more: Any) -> None:
        stored = await self.store.get(name)
        assert stored is not None
        assert await self.store.update(stored.spec._replace(**more))

    async def pass_time(self, seconds: float, *, step: float = 10.0) -> None:
        """Let the local clock run for a while."""
        end = self.clock.time() + seconds
        while self.clock.time() < end:
            self.clock.travel(min(step, end - self.clock.time()))
            self.local.fire()
            await self.local.settle()

    async def now(self) -> None:
        """Let the local clock do what is due."""
        self.local.fire()
        await self.local.settle()

    async def messages(self, queue: str = "default") -> list[dict[str, Any]]:
        """What is in a queue, taken out."""
        url = (await self.sqs.call("get_queue_url", QueueName=queue))["QueueUrl"]
        found: list[dict[str, Any]] = []
        while answer := (
            await self.sqs.call(
                "receive_message",
                QueueUrl=url,
                MaxNumberOfMessages=10,
                WaitTimeSeconds=0,
                MessageAttributeNames=["All"],
                MessageSystemAttributeNames=["All"],
            )
        ).get("Messages"):
            found += answer
            for message in answer:
                await self.sqs.call("delete_message", QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return found

    async def fired(self, queue: str = "default") -> list[str]:
        """``name HH:MM`` of what is in a queue, taken out."""
        fields = [json.loads(message["Body"])["schedule"] for message in await self.messages(queue)]
        return sorted(f"{field['name']} {field['at'][11:16]}" for field in fields)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[ClockHarness]:
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    port = BlockingAws(ManualClock())
    with mock_aws():
        port.prepare("sqs")
        sqs = port._clients.get("sqs")
        for queue in ("default", "other", "shop-schedules-dlq"):
            sqs.create_queue(QueueName=queue)
        fifo = {"FifoQueue": "true", "ContentBasedDeduplication": "true"}
        sqs.create_queue(QueueName="ledger.fifo", Attributes=fifo)
        yield ClockHarness(port.client("sqs"))


# -- firing -----------------------------------------------------------------------------------------------------------


async def test_a_schedule_fires_at_its_time_and_not_before(bench: ClockHarness) -> None:
    await bench.make("r-tick", "cron(5 * * * ? *)")
    await bench.start()

    await bench.pass_time(5 * MINUTE - 1)
    assert await bench.fired() == []
    await bench.pass_time(1)
    assert await bench.fired() == ["r-tick 08:05"]
    await bench.pass_time(2 * HOUR, step=MINUTE)
    assert await bench.fired() == ["r-tick 09:05", "r-tick 10:05"]


async def test_a_rate_fires_when_it_is_made_and_from_then_on(bench: ClockHarness) -> None:
    bench.clock.travel(12.25)
    await bench.make("r-tick", "rate(5 minutes)")
    await bench.start()

    await bench.now()
    assert await bench.fired() == ["r-tick 08:00"]
    await bench.pass_time(10 * MINUTE)
    assert await bench.fired() == ["r-tick 08:05", "r-tick 08:10"]


async def test_the_placeholders_are_filled_in_and_the_rest_is_sent_as_it_is(bench: ClockHarness) -> None:
    body = (
        '{"t": "<aws.scheduler.scheduled-time>", "a": "<aws.scheduler.schedule-arn>", "n": "<aws.scheduler.attempt-number>",'
        ' "e": "<aws.scheduler.execution-id>", "x":  "\\u00e4 <aws.scheduler.other>"}'
    )
    await bench.make("r-tick", "at(2027-01-15T08:01:00)", body=body)
    first = await bench.start()
    second = await bench.start()
    bench.clock.travel(70)
    for clock in (first, second):
        clock.fire()
        await clock.settle()

    [first_body, second_body] = [message["Body"] for message in await bench.messages()]
    stored = await bench.store.get("r-tick")
    assert stored is not None
    filled = json.loads(first_body)
    assert filled["t"] == "2027-01-15T08:01:00Z"
    assert filled["a"] == stored.arn
    assert filled["n"] == "1"
    assert len(filled["e"]) == 36
    assert first_body.endswith('"x":  "\\u00e4 <aws.scheduler.other>"}')
    assert first_body == second_body


async def test_two_clocks_make_one_message_of_a_firing_on_a_fifo_queue(bench: ClockHarness) -> None:
    await bench.make("r-tick", "cron(* * * * ? *)", queue="ledger.fifo", group="tenant-7")
    clocks = [await bench.start(), await bench.start()]
    bench.clock.travel(60)
    for clock in clocks:
        clock.fire()
        await clock.settle()

    [message] = await bench.messages("ledger.fifo")
    assert message["Attributes"]["MessageGroupId"] == "tenant-7"


async def test_many_firings_go_out_in_batches_each_once(bench: ClockHarness) -> None:
    for number in range(25):
        await bench.make(f"r-{number:02}", "at(2027-01-15T08:01:00)")
    counts: Counter[str] = Counter()

    class Counting:
        async def call(self, operation: str, /, **params: Any) -> dict[str, Any]:
            counts[operation] += 1
            return await bench.sqs.call(operation, **params)

    await bench.start(Counting())
    await bench.pass_time(60)

    assert await bench.fired() == [f"r-{number:02} 08:01" for number in range(25)]
    assert counts["send_message_batch"] == 3


async def test_only_what_is_due_is_looked_at(bench: ClockHarness) -> None:
    for number in range(50):
        await bench.make(f"r-{number:02}", "cron(30 9 * * ? *)")
    await bench.make("r-soon", "cron(1 8 * * ? *)")
    local = await bench.start()

    assert local.fire() == 0
    bench.clock.travel(60)
    assert local.fire() == 1
    assert local.fire() == 0
    await local.settle()


async def test_nothing_fires_before_the_start_or_after_the_end(bench: ClockHarness) -> None:
    await bench.make("r-tick", "rate(1 minute)", start=START + 2 * MINUTE, end=START + 4 * MINUTE)
    await bench.start()

    await bench.pass_time(10 * MINUTE)

    assert await bench.fired() == ["r-tick 08:02", "r-tick 08:03", "r-tick 08:04"]


async def test_a_flexible_window_spreads_firings_the_same_way_in_every_clock(bench: ClockHarness) -> None:
    for number in range(20):
        await bench.make(f"r-{number:02}", "cron(5 8 * * ? *)", window=10, misfire="skip")
    due = []
    for _ in range(2):
        local = await bench.start()
        due.append({entry.name: entry.due for entry in local.timetable})

    assert due[0] == due[1]
    offsets = [time - (START + 5 * MINUTE) for time in due[0].values() if time is not None]
    assert len(offsets) == 20
    assert all(0 <= offset < 600 for offset in offsets)
    assert max(offsets) - min(offsets) > 240
    await bench.pass_time(16 * MINUTE)
    assert await bench.fired() == [f"r-{number:02} 08:05" for number in range(20)]


def test_the_spread_of_a_window_is_even() -> None:
    offsets = [window_offset(f"arn:{number}", 10) for number in range(2_000)]

    assert 290 < sum(offsets) / len(offsets) < 310
    assert window_offset("arn:1", 0) == 0


async def test_a_disabled_schedule_does_not_fire_and_nothing_is_made_up_for(bench: ClockHarness) -> None:
    await bench.make("r-tick", "rate(1 minute)", misfire="all", enabled=False)
    local = await bench.start()

    await bench.pass_time(10 * MINUTE)
    await bench.change("r-tick", enabled=True)
    await local.load()
    await bench.pass_time(2 * MINUTE)

    assert await bench.fired() == ["r-tick 08:11", "r-tick 08:12"]


# -- one-time schedules -----------------------------------------------------------------------------------------------


async def test_a_one_time_schedule_fires_once_and_deletes_itself(bench: ClockHarness) -> None:
    await bench.make("t-once", "at(2027-01-15T08:01:00)", delete_after=True)
    await bench.make("r-kept", "at(2027-01-15T08:01:00)")
    await bench.start()
    await bench.pass_time(10 * MINUTE)

    assert await bench.fired() == ["r-kept 08:01", "t-once 08:01"]
    assert await bench.store.get("t-once") is None
    assert await bench.store.get("r-kept") is not None
    await bench.start()
    await bench.now()
    assert await bench.fired() == []


async def test_a_one_time_schedule_of_the_past_fires_when_it_is_made(bench: ClockHarness) -> None:
    await bench.make("t-once", "at(2027-01-15T07:00:00)", delete_after=True)
    await bench.start()

    await bench.now()

    assert await bench.fired() == ["t-once 07:00"]


async def test_a_recurring_schedule_deletes_itself_after_its_last_firing(bench: ClockHarness) -> None:
    await bench.make("r-tick", "rate(1 minute)", end=START + MINUTE, delete_after=True)
    await bench.start()

    await bench.now()
    assert await bench.store.get("r-tick") is not None
    await bench.pass_time(MINUTE)

    assert await bench.fired() == ["r-tick 08:00", "r-tick 08:01"]
    assert await bench.store.get("r-tick") is None


async def test_a_schedule_that_was_given_another_time_meanwhile_is_not_deleted(bench: ClockHarness) -> None:
    await bench.make("t-once", "at(2027-01-15T08:01:00)", delete_after=True)
    await bench.start()
    bench.clock.travel(60)
    await bench.change("t-once", expression="at(2027-01-15T09:00:00)")

    await bench.now()

    assert await bench.store.get("t-once") is not None
    await bench.local.load()
    await bench.pass_time(HOUR, step=MINUTE)
    assert await bench.fired() == ["t-once 08:01", "t-once 09:00"]


async def test_a_schedule_that_is_read_again_while_it_fires_is_deleted_all_the_same(bench: ClockHarness) -> None:
    await bench.make("t-once", "at(2027-01-15T08:01:00)", delete_after=True)
    local = await bench.start()
    bench.clock.travel(60)
    local.fire()
    await local.load()

    await local.settle()

    assert await bench.store.get("t-once") is None


async def test_a_schedule_that_ended_meanwhile_is_deleted(bench: ClockHarness) -> None:
    await bench.make("r-tick", "rate(1 minute)", end=START + MINUTE, delete_after=True)
    await bench.last_firings.record("r-tick", START + MINUTE, START + MINUTE)
    bench.clock.travel(HOUR)
    await bench.start()
    await bench.now()

    assert await bench.fired() == []
    assert await bench.store.get("r-tick") is None


async def test_a_schedule_that_is_ended_while_it_fires_stands_until_then(bench: ClockHarness) -> None:
    await bench.make("r-tick", "rate(1 minute)", delete_after=True)
    local = await bench.start()
    local.fire()
    bench.clock.travel(1)
    await bench.change("r-tick", end=START + 0.5)
    await local.load()
    await local._log.write()
    assert await bench.store.get("r-tick") is not None

    await local.settle()

    assert await bench.fired() == ["r-tick 08:00"]
    assert await bench.store.get("r-tick") is None


async def test_a_schedule_stands_until_its_last_firing_is_accepted(bench: ClockHarness) -> None:
    await bench.make("t-once", "at(2027-01-15T08:01:00)", delete_after=True)
    local = await bench.start(Refusing(bench.sqs, lambda body: True, times=1))
    bench.clock.travel(60)
    local.fire()
    assert await bench.store.get("t-once") is not None

    await local.settle()

    assert await bench.fired() == ["t-once 08:01"]
    assert await bench.store.get("t-once") is None


# -- misfires ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("skip", []),
        ("once", ["r-tick 09:50"]),
        ("all", ["r-tick 08:50", "r-tick 09:20", "r-tick 09:50"]),
        (None, ["r-tick 09:50"]),
        ("unheard-of", ["r-tick 09:50"]),
    ],
)
async def test_what_was_missed_while_no_clock_ran_is_up_to_the_policy(
    bench: ClockHarness, policy: str | None, expected: list[str]
) -> None:
    await bench.make("r-tick", "cron(20,50 * * * ? *)", misfire=policy)
    await bench.start()
    await bench.pass_time(20 * MINUTE)
    assert await bench.fired() == ["r-tick 08:20"]

    bench.clock.travel(95 * MINUTE)
    await bench.start()
    await bench.now()

    assert await bench.fired() == expected
    await bench.pass_time(25 * MINUTE)
    assert await bench.fired() == ["r-tick 10:20"]


async def test_a_schedule_that_never_fired_misses_from_its_creation_on(bench: ClockHarness) -> None:
    await bench.make("r-tick", "rate(1 hour)", misfire="all")
    bench.clock.travel(150 * MINUTE)
    await bench.start()
    await bench.now()

    assert await bench.fired() == ["r-tick 08:00", "r-tick 09:00", "r-tick 10:00"]


async def test_what_was_missed_before_the_last_change_is_not_made_up_for(bench: ClockHarness) -> None:
    await bench.make("r-tick", "rate(1 hour)", misfire="all")
    bench.clock.travel(90 * MINUTE)
    await bench.change("r-tick", expression="rate(30 minutes)")
    bench.clock.travel(45 * MINUTE)
    await bench.start()
    await bench.now()

    assert await bench.fired() == ["r-tick 10:00"]


@pytest.mark.parametrize("policy", ["skip", "once", "all"])
async def test_up_to_a_minute_late_is_punctual(bench: ClockHarness, policy: str) -> None:
    await bench.make("r-tick", "cron(0 * * * ? *)", misfire=policy)
    bench.clock.travel(HOUR + 60)
    await bench.start()
    await bench.now()

    assert await bench.fired() == ["r-tick 09:00"]


async def test_a_machine_that_slept_is_a_clock_that_did_not_run(bench: ClockHarness) -> None:
    await bench.make("r-skip", "rate(1 minute)", misfire="skip")
    await bench.make("r-once", "rate(1 minute)", misfire="once")
    await bench.start()
    await bench.now()
    await bench.messages()

    bench.clock.travel(HOUR + 90)
    await bench.now()

    assert await bench.fired() == ["r-once 09:01", "r-skip 09:01"]


async def test_all_makes_up_for_the_latest_thousand(bench: ClockHarness, caplog: pytest.LogCaptureFixture) -> None:
    await bench.make("r-tick", "rate(1 minute)", misfire="all")
    bench.clock.travel(2_000 * MINUTE + 30)
    local = await bench.start(Swallowing())
    local.fire()
    await local.settle()

    assert len(Swallowing.bodies) == 1_001  # the last one is punctual
    assert "2027-01-16T17:20:00Z" in Swallowing.bodies[-1]
    assert any("1000 are made up for" in message and "others are not" in message for message in caplog.messages)


@pytest.mark.parametrize(("policy", "expected"), [("once", ["t-one 08:01"]), ("all", ["t-one 08:01"]), ("skip", [])])
async def test_a_missed_one_time_schedule_fires_late_or_is_dropped(
    bench: ClockHarness, policy: str, expected: list[str]
) -> None:
    await bench.make("t-one", "at(2027-01-15T08:01:00)", misfire=policy, delete_after=True)
    bench.clock.travel(3 * HOUR)
    await bench.start()
    await bench.now()

    assert await bench.fired() == expected
    assert await bench.store.get("t-one") is None


async def test_a_one_time_schedule_changed_after_its_time_is_told_of(
    bench: ClockHarness, caplog: pytest.LogCaptureFixture
) -> None:
    await bench.make("r-one", "at(2027-01-15T08:01:00)", enabled=False)
    bench.clock.travel(HOUR)
    await bench.change("r-one", enabled=True)
    await bench.start()
    await bench.now()

    assert await bench.fired() == []
    assert any("r-one: its time had passed" in message for message in caplog.messages)


# -- the last firing --------------------------------------------------------------------------------------------------


async def test_the_last_firing_is_noted_when_the_message_is_accepted_and_not_before(bench: ClockHarness) -> None:
    await bench.make("r-tick", "rate(1 minute)")
    local = await bench.start()
    local.fire()
    assert await bench.last_firings.read() == {}

    await local.settle()

    assert await bench.last_firings.read() == {"r-tick": START}


async def test_a_note_that_an_odd_fault_kept_from_the_table_is_written_the_next_time(
    bench: ClockHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.make("r-a", "cron(* * * * ? *)")
    await bench.make("r-b", "cron(* * * * ? *)")
    await bench.start()
    record = MemoryLastFirings.record

    async def odd(last_firings: MemoryLastFirings, name: str, at: float, now: float) -> None:
        if name == "r-a":
            raise ValueError("rubbish from a credential_process")
        await record(last_firings, name, at, now)

    monkeypatch.setattr(MemoryLastFirings, "record", odd)
    await bench.pass_time(MINUTE)
    assert await bench.last_firings.read() == {"r-b": START + MINUTE}
    monkeypatch.setattr(MemoryLastFirings, "record", record)
    await bench.local.settle()
    assert await bench.last_firings.read() == {"r-a": START + MINUTE, "r-b": START + MINUTE}


async def test_a_later_firing_does_not_hide_one_that_is_still_on_its_way(bench: ClockHarness) -> None:
    await bench.make("r-tick", "rate(1 minute)")
    stuck = Refusing(bench.sqs, lambda body: "08:01:00" in body, times=10**9)
    local = await bench.start(stuck)
    await bench.now()
    for _ in range(2):
        bench.clock.travel(60)
        local.fire()
    for _ in range(200):
        await asyncio.sleep(0)
    assert await bench.fired() == ["r-tick 08:00", "r-tick 08:02"]
    await local._log.write()
    assert await bench.last_firings.read() == {"r-tick": START}

    stuck.limit = 0
    await local.settle()

    assert await bench.fired() == ["r-tick 08:01"]
    assert await bench.last_firings.read() == {"r-tick": START + 2 * MINUTE}


async def test_many_firings_are_one_note(bench: ClockHarness) -> None:
    written = []

    class Writing(MemoryLastFirings):
        async def record(self, name: str, at: float, now: float) -> None:
            written.append(at)

    bench.last_firings = Writing()
    await bench.make("r-tick", "rate(1 minute)", misfire="all")
    bench.clock.travel(30 * MINUTE)
    await bench.start()
    await bench.now()

    assert written == [START + 30 * MINUTE]


# -- changes ----------------------------------------------------------------------------------------------------------


async def test_a_new_and_a_deleted_schedule_are_found_by_the_next_listing(bench: ClockHarness) -> None:
    await bench.make("r-gone", "cron(* * * * ? *)")
    local = await bench.start()
    await bench.store.delete("r-gone")
    await bench.make("r-new", "at(2027-01-15T08:01:00)")

    await local.load()
    await bench.pass_time(60)

    assert await bench.fired() == ["r-new 08:01"]


async def test_a_firing_is_not_repeated_when_its_schedule_changes_in_the_same_second(bench: ClockHarness) -> None:
    await bench.make("r-tick", "rate(1 minute)")
    local = await bench.start()
    await bench.now()
    await bench.change("r-tick", body=BODY % ("renamed", ""))

    await local.load()
    await bench.pass_time(MINUTE)

    assert await bench.fired() == ["r-tick 08:00", "renamed 08:01"]


async def test_only_what_changed_is_read_again(bench: ClockHarness) -> None:
    for number in range(250):
        await bench.make(f"r-{number:03}", "cron(0 12 * * ? *)")
    bench.clock.travel(10)
    local = await bench.start()
    assert sum(bench.store.reads.values()) == 250
    bench.store.reads.clear()
    bench.clock.travel(60)
    await bench.change("r-007", expression="cron(2 8 * * ? *)")
    await bench.store.delete("r-249")
    await bench.make("r-250", "cron(0 12 * * ? *)")
    bench.store.reads.clear()

    await local.load()

    assert bench.store.reads == {"r-007": 1, "r-250": 1}
    assert len(local.timetable) == 250
    await bench.pass_time(60)
    assert await bench.fired() == ["r-007 08:02"]


async def test_a_listing_whose_cursor_became_stale_starts_again(bench: ClockHarness) -> None:
    for number in range(120):
        await bench.make(f"r-{number:03}", "cron(1 8 * * ? *)")
    pages = bench.store.page
    cursors: list[str | None] = []

    async def page(prefix: str = "", cursor: str | None = None) -> Any:
        cursors.append(cursor)
        if len(cursors) == 2:
            raise AwsError("list_schedules", STALE_CURSOR, "its schedule was deleted", transient=True)
        return await pages(prefix, cursor)

    bench.store.page = page  # type: ignore[method-assign]
    local = await bench.start()

    assert cursors == [None, "r-099", None, "r-099"]
    assert len(local.timetable) == 120


@pytest.mark.parametrize(("listing", "pause"), [(0.0, 2), (3.0, 12), (400.0, 600), (-3_600.0, 2)])
async def test_the_pause_between_listings_grows_with_their_length(
    bench: ClockHarness, listing: float, pause: float
) -> None:
    local = await bench.start()
    pages = bench.store.page

    async def slow(prefix: str = "", cursor: str | None = None) -> Any:
        bench.clock._now += listing  # less than 0: the clock is set back meanwhile
        return await pages(prefix, cursor)

    bench.store.page = slow  # type: ignore[method-assign]
    await local.load()

    assert local._list_pause() == pytest.approx(pause, abs=0.2)  # a listing also waits for its turn


# -- faults -----------------------------------------------------------------------------------------------------------


async def test_only_entries_that_were_not_accepted_are_sent_again(bench: ClockHarness) -> None:
    for number in range(20):
        await bench.make(f"r-{number:02}", "at(2027-01-15T08:01:00)")
    await bench.start(Refusing(bench.sqs, lambda body: "r-07" in body or "r-13" in body, times=6))

    await bench.pass_time(60)

    assert await bench.fired() == [f"r-{number:02} 08:01" for number in range(20)]


async def test_entries_that_are_never_accepted_hold_up_no_others(bench: ClockHarness) -> None:
    for number in range(12):
        await bench.make(f"r-{number:02}", "at(2027-01-15T08:01:00)")
    stuck = Refusing(bench.sqs, lambda body: "r-10" not in body and "r-11" not in body, times=10**9)
    local = await bench.start(stuck)
    bench.clock.travel(60)
    local.fire()
    for _ in range(500):
        await asyncio.sleep(0)

    assert await bench.fired() == ["r-10 08:01", "r-11 08:01"]
    stuck.limit = 0
    await local.settle()


async def in_order(bench: ClockHarness) -> list[str]:
    """``name minute`` of the messages in the FIFO queue, as they come."""
    fields = [json.loads(message["Body"])["schedule"] for message in await bench.messages("ledger.fifo")]
    return [f"{field['name']} {field['at'][14:16]}" for field in fields]


async def test_a_later_firing_of_a_fifo_group_does_not_overtake_one_that_failed(bench: ClockHarness) -> None:
    for name, group in (("r-a", "one"), ("r-b", "one"), ("r-c", "two")):
        await bench.make(name, "rate(1 minute)", queue="ledger.fifo", group=group, misfire="all", start=START + MINUTE)
    # The fault outlasts the broker's own tries, so that the clock's sender has the failed firing again.
    faulty = Refusing(bench.sqs, lambda body: "r-a" in body and ":01:00Z" in body, times=9)
    await bench.start(faulty)
    bench.clock.travel(3 * MINUTE)

    await bench.now()

    assert faulty.refused == 9
    fired = await in_order(bench)
    assert [text for text in fired if "r-c" not in text] == [
        f"{name} 0{minute}" for name in ("r-a", "r-b") for minute in (1, 2, 3)
    ]
    assert [text for text in fired if "r-c" in text] == ["r-c 01", "r-c 02", "r-c 03"]
    assert fired.index("r-c 03") < fired.index("r-a 01")  # another group does not wait


@pytest.mark.parametrize("seed", range(3))
async def test_faults_of_the_queue_lose_no_firing(bench: ClockHarness, seed: int) -> None:
    for number in range(12):
        await bench.make(f"r-{number:02}", "cron(* * * * ? *)", misfire="all")
    faults = Faults(seed, before=0.3, after=0.2, entries=0.2)
    local = await bench.start(FaultyClient(bench.sqs, faults))
    expected = set()
    for _ in range(3):
        bench.clock.travel_to((bench.clock.time() // 60 + 1) * 60)
        expected |= {f"r-{number:02}" for number in range(12)}
        local.fire()
        await local.settle()

    fired = await bench.fired()
    minutes = {text.split()[1] for text in fired}
    assert sum(faults.counts.values()) > 0
    assert {text.split()[0] for text in fired} == expected
    assert set(fired) == {f"{name} {minute}" for name, minute in itertools.product(expected, minutes)}


async def test_an_answer_that_is_none_loses_no_firing(bench: ClockHarness) -> None:
    class EmptyFirst:
        left = 2

        async def call(self, operation: str, /, **params: Any) -> dict[str, Any]:
            if self.left:
                self.left -= 1
                return {}
            return await bench.sqs.call(operation, **params)

    await bench.make("d-shop.a", "cron(* * * * ? *)")
    await bench.start(EmptyFirst())
    await bench.pass_time(60)

    assert await bench.fired() == ["d-shop.a 08:01"]


async def test_a_firing_for_a_queue_that_is_gone_is_a_dead_letter_and_the_others_go_on(
    bench: ClockHarness, caplog: pytest.LogCaptureFixture
) -> None:
    await bench.make("r-lost", "at(2027-01-15T08:01:00)", queue="gone", delete_after=True)
    await bench.make("r-tick", "at(2027-01-15T08:01:00)")
    await bench.start()
    await bench.pass_time(60)

    assert await bench.fired() == ["r-tick 08:01"]
    [message] = await bench.messages("shop-schedules-dlq")
    stored = await bench.store.get("r-tick")
    assert stored is not None
    attributes = {name: value["StringValue"] for name, value in message["MessageAttributes"].items()}
    assert attributes.pop("ERROR_MESSAGE")
    assert attributes == {
        "ERROR_CODE": "QueueDoesNotExist",
        "SCHEDULE_ARN": stored.arn.replace("r-tick", "r-lost"),
        "SCHEDULED_TIME": "2027-01-15T08:01:00Z",
        "TARGET_ARN": stored.target.replace("default", "gone"),
    }
    assert json.loads(message["Body"])["schedule"]["at"] == "2027-01-15T08:01:00Z"
    assert [record.levelno for record in caplog.records if "r-lost" in record.message] == [logging.ERROR]
    assert await bench.store.get("r-lost") is None


async def test_without_a_dead_letter_queue_the_loss_is_told(
    bench: ClockHarness, caplog: pytest.LogCaptureFixture
) -> None:
    url = (await bench.sqs.call("get_queue_url", QueueName="shop-schedules-dlq"))["QueueUrl"]
    await bench.sqs.call("delete_queue", QueueUrl=url)
    await bench.make("r-lost", "at(2027-01-15T08:01:00)", queue="gone")
    await bench.start()
    await bench.pass_time(60)

    assert any("r-lost" in message and "is lost" in message for message in caplog.messages)


async def test_a_body_that_the_queue_refuses_does_not_spoil_its_batch(bench: ClockHarness) -> None:
    await bench.make("r-bad", "at(2027-01-15T08:01:00)", queue="ledger.fifo", group="a b")
    await bench.make("r-good", "at(2027-01-15T08:01:00)", queue="ledger.fifo", group="a")
    await bench.start()
    await bench.pass_time(60)

    assert await bench.fired("ledger.fifo") == ["r-good 08:01"]
    assert await bench.fired("shop-schedules-dlq") == ["r-bad 08:01"]


async def test_a_queue_that_takes_nothing_is_tried_for_a_day(bench: ClockHarness) -> None:
    await bench.make("r-tick", "at(2027-01-15T08:01:00)")
    faults = Faults(1, before=0, after=0, entries=0)
    faults.break_down("send_message_batch")
    local = await bench.start(FaultyClient(bench.sqs, faults))
    bench.clock.travel(60)
    local.fire()
    queue = local._sender._queues["arn:aws:sqs:memory:000000000000:default"]
    queue._rejected = lambda firing, error: faults.mend()

    await local.settle()

    assert bench.clock.time() > START + 86_400


async def test_schedules_of_an_overloaded_queue_are_put_off(
    bench: ClockHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "MAX_BACKLOG", 3)
    for number in range(5):
        await bench.make(f"r-{number}", "at(2027-01-15T08:01:00)")
    local = await bench.start()
    bench.clock.travel(60)
    local.fire()
    await local.settle()
    assert len(await bench.fired()) == 3

    await bench.pass_time(local_clock.OVERLOAD_SECONDS)

    assert len(await bench.fired()) == 2


async def test_a_schedule_with_an_unexpected_fault_stops_no_other(
    bench: ClockHarness, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.make("r-bad", "cron(1 8 * * ? *)")
    await bench.make("r-good", "cron(2 8 * * ? *)")
    local = await bench.start()
    entry = local.timetable.get("r-bad")
    assert entry is not None
    monkeypatch.setattr(entry, "when", object())

    await bench.pass_time(2 * MINUTE)

    assert await bench.fired() == ["r-good 08:02"]
    assert any("r-bad cannot be fired" in message for message in caplog.messages)


class Refusing:
    """The real client, but entries whose body is so are refused so many times."""

    def __init__(self, sqs: AwsClient, refuses: Any, *, times: int) -> None:
        self._sqs = sqs
        self._refuses = refuses
        self.limit = times
        self.refused = 0

    async def call(self, operation: str, /, **params: Any) -> dict[str, Any]:
        if operation != "send_message_batch":
            return await self._sqs.call(operation, **params)
        bad = [
            entry for entry in params["Entries"] if self.refused < self.limit and self._refuses(entry["MessageBody"])
        ]
        self.refused += len(bad)
        good = [entry for entry in params["Entries"] if entry not in bad]
        answer = await self._sqs.call(operation, **{**params, "Entries": good}) if good else {"Successful": []}
        failed = [{"Id": entry["Id"], "Code": "InternalError", "SenderFault": False} for entry in bad]
        return {**answer, "Failed": failed}


class Swallowing:
    """Takes every message: for more than moto's queues hold gladly."""

    bodies: list[str] = []

    def __init__(self) -> None:
        Swallowing.bodies = []

    async def call(self, operation: str, /, **params: Any) -> dict[str, Any]:
        if operation == "get_queue_url":
            return {"QueueUrl": "http://sqs/1/default"}
        Swallowing.bodies += [entry["MessageBody"] for entry in params["Entries"]]
        return {"Successful": [{"Id": entry["Id"]} for entry in params["Entries"]]}


# -- a clock that is set ------------------------------------------------------------------------------------------------


def set_back(bench: ClockHarness, seconds: float) -> None:
    bench.clock._now -= seconds


def told(caplog: pytest.LogCaptureFixture, action: str) -> int:
    return sum(getattr(record, "action", "") == action for record in caplog.records)


async def an_hour_ahead_for_a_moment(bench: ClockHarness) -> None:
    """Two minutes of a schedule that fires each minute, and an hour too many."""
    await bench.make("r-tick", "cron(* * * * ? *)")
    await bench.start()
    await bench.pass_time(2 * MINUTE)
    assert await bench.fired() == ["r-tick 08:01", "r-tick 08:02"]
    bench.clock.travel(HOUR)
    await bench.now()
    assert "r-tick 09:02" in await bench.fired()
    set_back(bench, HOUR)


async def test_a_clock_that_was_ahead_fires_on_when_it_is_set_back(
    bench: ClockHarness, caplog: pytest.LogCaptureFixture
) -> None:
    await an_hour_ahead_for_a_moment(bench)
    await bench.pass_time(2 * MINUTE)
    assert await bench.fired() == ["r-tick 08:03", "r-tick 08:04"]
    assert told(caplog, "scheduler_clock_set_back") == 1
    now = bench.clock.time()
    await bench.local.load()
    assert bench.clock.time() == now  # nobody waits an hour for a turn


async def test_a_last_firing_in_the_future_is_ignored_with_a_warning_until_there_is_another(
    bench: ClockHarness, caplog: pytest.LogCaptureFixture
) -> None:
    await an_hour_ahead_for_a_moment(bench)
    await bench.start()
    assert told(caplog, "schedule_last_in_future") == 1
    await bench.pass_time(2 * MINUTE)
    assert await bench.fired() == ["r-tick 08:03", "r-tick 08:04"]
    await bench.start()
    await bench.pass_time(MINUTE)
    assert await bench.fired() == ["r-tick 08:05"]
    assert told(caplog, "schedule_last_in_future") == 1


async def test_changes_are_seen_after_the_clock_was_set_back(bench: ClockHarness) -> None:
    await an_hour_ahead_for_a_moment(bench)
    bench.clock.travel(HOUR)
    await bench.local.load()
    set_back(bench, HOUR)
    await bench.make("r-new", "cron(* * * * ? *)")
    await bench.local.load()
    await bench.pass_time(MINUTE)
    assert "r-new 08:03" in await bench.fired()


async def test_a_clock_that_is_set_back_a_little_repeats_no_firing(
    bench: ClockHarness, caplog: pytest.LogCaptureFixture
) -> None:
    await bench.make("r-tick", "cron(* * * * ? *)")
    await bench.start()
    await bench.pass_time(2 * MINUTE)
    set_back(bench, 20)
    await bench.pass_time(MINUTE)
    assert await bench.fired() == ["r-tick 08:01", "r-tick 08:02"]
    await bench.pass_time(MINUTE)
    assert await bench.fired() == ["r-tick 08:03"]
    assert told(caplog, "scheduler_clock_set_back") == 0


async def test_a_schedule_that_the_store_says_was_made_in_the_future_fires(bench: ClockHarness) -> None:
    bench.clock.travel(HOUR)
    await bench.make("r-tick", "cron(* * * * ? *)")
    set_back(bench, HOUR)
    await bench.start()
    await bench.pass_time(MINUTE)
    assert await bench.fired() == ["r-tick 08:01"]
