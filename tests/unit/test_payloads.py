"""What is too large for a message or a record: where it goes, how long it stays, and what happens when it is gone."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from taskq_sls import (
    ConfigError,
    EnqueueError,
    Middleware,
    MissingResource,
    PayloadMissing,
    PayloadTooLarge,
    Queue,
    ResultTimeout,
    Retry,
    State,
    TaskFailed,
    TaskQ,
    await_all,
    wait_all,
)
from taskq_sls.brokers.base import MAX_BODY_BYTES, Outgoing
from taskq_sls.core.clock import ManualClock
from taskq_sls.core.delivery import DONE, LOST, DeadLetter, Release, RetryIn
from taskq_sls.core.flow import drive
from taskq_sls.core.message import Message, dead_letter_body, decode
from taskq_sls.core.settings import Settings
from taskq_sls.errors import AwsError
from taskq_sls.payloads.base import DAY, LIFETIMES, message_key, result_key
from taskq_sls.payloads.claim_check import offload_message
from taskq_sls.payloads.memory import MemoryPayloads
from taskq_sls.results.layout import MAX_RESULT_BYTES
from taskq_sls.testing import in_memory
from tests.support.engine_harness import HOLD, NOW, EngineHarness, delivery
from tests.support.faulty_backends import throttled

BIG = "x" * MAX_BODY_BYTES


class FaultyPayloads(MemoryPayloads):
    """Payloads in memory whose next calls fail as planned."""

    def __init__(self) -> None:
        super().__init__(ManualClock(NOW))
        self.put_faults: list[Exception] = []
        self.get_faults: list[Exception] = []
        self.gets = 0

    async def put(self, key: str, body: bytes) -> None:
        if self.put_faults:
            raise self.put_faults.pop(0)
        await super().put(key, body)

    async def get(self, key: str) -> bytes:
        self.gets += 1
        if self.get_faults:
            raise self.get_faults.pop(0)
        return await super().get(key)


def denied(operation: str) -> AwsError:
    return AwsError(operation, "AccessDenied", "not yours", status=403)


@pytest.fixture
def app() -> TaskQ:
    return TaskQ("shop", queues=[Queue("default"), Queue("ledger.fifo")], retry=Retry(max_attempts=2, backoff=1))


@pytest.fixture
def payloads() -> FaultyPayloads:
    return FaultyPayloads()


@pytest.fixture
def harness(payloads: FaultyPayloads) -> EngineHarness:
    return EngineHarness(payloads=payloads, retry=Retry(max_attempts=3))


def bodies(memory: Any, queue: str = "default") -> list[dict[str, Any]]:
    return [json.loads(one.body) for one in memory.broker.messages(queue)]


def pad_to(message: Message, size: int, character: str = "x") -> str:
    """An argument that makes the body of `message` exactly `size` bytes."""
    left = size - len(message._replace(args=[""]).encode())
    width = len(character.encode())
    return character * (left // width) + "x" * (left % width)


# -- messages ---------------------------------------------------------------------------------------------------


def test_the_arguments_of_a_large_message_go_to_the_bucket_and_the_rest_of_the_envelope_stays(app: TaskQ) -> None:
    @app.task(name="size")
    def size(text: str, *, more: str = "") -> int:
        return len(text) + len(more)

    with in_memory(app, bucket=True) as memory:
        handle = size.with_options(id="order/7", labels={"tenant": "acme"}, delay=5).enqueue(BIG, more="y")

        [body], [key] = bodies(memory), memory.payloads.stored()
        assert body == {
            "v": 1,
            "id": "order/7",
            "task": "size",
            "enqueued_at": NOW,
            "not_before": NOW + 5,
            "labels": {"tenant": "acme"},
            "payload": key,
        }
        assert json.loads(drive(memory.payloads.get(key))) == {"args": [BIG], "kwargs": {"more": "y"}}
        memory.run_until_idle(travel=True)
        assert handle.result() == MAX_BODY_BYTES + 1


@pytest.mark.parametrize("character", ["x", "é", "\U0001f600"])
def test_a_body_of_exactly_the_limit_is_sent_whole_and_one_byte_more_is_not(app: TaskQ, character: str) -> None:
    @app.task(name="size")
    def size(text: str) -> int:
        return len(text)

    envelope = Message("a", "size", enqueued_at=NOW)
    with in_memory(app, bucket=True) as memory:
        text = pad_to(envelope, MAX_BODY_BYTES, character)
        size.with_options(id="a").enqueue(text)
        assert memory.payloads.stored() == []
        assert len(memory.broker.messages("default")[0].body.encode()) == MAX_BODY_BYTES

        handle = size.with_options(id="b").enqueue(text + "x")
        assert [key.split("/")[2] for key in memory.payloads.stored()] == ["b"]
        memory.run_until_idle()
        assert handle.result() == len(text) + 1


def test_without_a_bucket_enqueue_says_to_configure_one(app: TaskQ) -> None:
    @app.task(name="job")
    def job(text: str) -> None: ...

    with in_memory(app) as memory:
        with pytest.raises(PayloadTooLarge, match=r"1,048,576 that SQS accepts.*configure a bucket \(TASKQ_BUCKET\)"):
            job.enqueue(BIG)
        assert bodies(memory) == []


def test_an_app_with_a_bucket_has_one_in_memory_too() -> None:
    app = TaskQ("shop", bucket="shop-payloads")

    @app.task(name="job")
    def job(text: str) -> None: ...

    with in_memory(app) as memory:
        job.enqueue(BIG)
        assert len(memory.payloads.stored()) == 1
    with in_memory(app, bucket=False), pytest.raises(PayloadTooLarge):
        job.enqueue(BIG)


def test_an_envelope_that_is_too_large_without_its_arguments_is_refused() -> None:
    with pytest.raises(PayloadTooLarge, match=r"without its arguments.*smaller labels"):
        offload_message(Message("id", "job", args=[BIG], unknown={"of_a_later_version": BIG}))


def test_of_many_entries_only_the_large_ones_go_to_the_bucket_and_answers_keep_their_order(app: TaskQ) -> None:
    @app.task(name="size")
    def size(text: str) -> int:
        return len(text)

    texts = ["a", BIG, "bb", BIG + "x", "ccc"]
    with in_memory(app, bucket=True) as memory:
        handles = size.enqueue_many([(text,) for text in texts])
        assert len(memory.payloads.stored()) == 2
        assert ["payload" in body for body in bodies(memory)] == [False, True, False, True, False]
        memory.run_until_idle()
        assert wait_all(handles) == [len(text) for text in texts]


async def test_async_callers_send_and_wait_for_large_ones_too(app: TaskQ) -> None:
    @app.task(name="echo")
    async def echo(text: str) -> str:
        return text

    with in_memory(app, bucket=True) as memory:
        handles = [await echo.aenqueue(BIG), *await echo.aenqueue_many([("a",), (BIG,)])]
        assert await await_all(handles) == [BIG, "a", BIG]
        record = await app.results.aget(handles[0].id)
        assert record is not None
        assert record.result == BIG
        assert sorted(key.split("/")[0] for key in memory.payloads.stored()) == ["messages"] * 2 + ["results"] * 2


def test_on_fifo_large_and_small_messages_of_a_group_keep_their_order(app: TaskQ) -> None:
    ran: list[str] = []

    @app.task(name="post", queue="ledger.fifo", group="g")
    def post(entry: str) -> None:
        ran.append(entry[0])

    with in_memory(app, bucket=True) as memory:
        post.enqueue_many([("a",), ("b" + BIG,), ("c",)])
        memory.run_until_idle()
    assert ran == ["a", "b", "c"]


def test_a_task_by_name_and_hooks_around_dispatch_carry_large_arguments() -> None:
    seen: list[int] = []

    class Measure(Middleware):
        async def dispatch(self, message: Message, call_next: Callable[..., Any]) -> Any:
            sent = await call_next(message)
            seen.append(len(sent.args[0]))
            return sent

    app = TaskQ("shop", middleware=[Measure()])

    @app.task(name="size")
    def size(text: str) -> int:
        return len(text)

    with in_memory(app, bucket=True) as memory:
        handle = app.ref("size").enqueue(BIG)
        memory.run_until_idle()
        assert handle.result() == len(BIG)
    assert seen == [len(BIG)]


def test_the_object_is_there_before_the_message_is(harness: EngineHarness, payloads: FaultyPayloads) -> None:
    there: list[list[str]] = []

    def look(message: Outgoing) -> None:
        there.append(payloads.stored())

    harness.broker.refuse = look

    @harness.task(name="job")
    def job(text: str) -> None: ...

    job.enqueue(BIG)
    assert [len(keys) for keys in there] == [1]


def test_an_object_that_is_not_accepted_fails_its_own_entry_alone(
    harness: EngineHarness, payloads: FaultyPayloads
) -> None:
    @harness.task(name="job")
    def job(text: str) -> None: ...

    payloads.put_faults = [denied("put_object")]
    with pytest.raises(EnqueueError, match="AccessDenied: the arguments could not be put into the bucket") as caught:
        job.enqueue_many([("a",), (BIG,), ("b",)])
    assert [entry.index for entry in caught.value.failed] == [1]
    assert len(caught.value.sent) == 2
    assert [json.loads(one.body)["args"] for one in harness.broker.messages("default")] == [["a"], ["b"]]


def test_a_bucket_that_does_not_exist_is_said_and_nothing_is_sent(
    harness: EngineHarness, payloads: FaultyPayloads
) -> None:
    @harness.task(name="job")
    def job(text: str) -> None: ...

    payloads.put_faults = [MissingResource("S3 bucket 'shop-payloads' does not exist")]
    with pytest.raises(MissingResource, match="shop-payloads"):
        job.enqueue_many([("a",), (BIG,)])
    assert harness.broker.messages("default") == []


def test_sending_twice_with_one_id_overwrites_nothing(app: TaskQ) -> None:
    @app.task(name="job")
    def job(text: str) -> None: ...

    with in_memory(app, bucket=True) as memory:
        job.with_options(id="same").enqueue(BIG)
        job.with_options(id="same").enqueue(BIG + "other")
        assert len(set(memory.payloads.stored())) == 2


def test_own_backends_and_a_bucket_without_payloads_are_an_error_once_it_is_needed() -> None:
    harness = EngineHarness(bucket="shop-payloads")

    @harness.task(name="job")
    def job(text: str) -> None: ...

    job.enqueue("small")
    with pytest.raises(ConfigError, match=r"TaskQ\(payloads=\.\.\.\)"):
        job.enqueue(BIG)


# -- objects that cannot be read --------------------------------------------------------------------------------


KEY = message_key("task-1", 0, "token", 0.0)


def stored(payloads: MemoryPayloads, content: bytes, key: str = KEY) -> str:
    drive(payloads.put(key, content))
    return key


async def test_a_message_is_run_with_the_arguments_of_its_object(
    harness: EngineHarness, payloads: FaultyPayloads
) -> None:
    @harness.task(name="add")
    async def add(a: int, b: int = 0) -> int:
        return a + b

    stored(payloads, b'{"args": [1], "kwargs": {"b": 2}}')
    assert await harness.run(add, payload=KEY) == DONE
    assert harness.record().result_json == "3"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff",
        b"[]",
        b"{}",
        b'{"args": 1, "kwargs": {}}',
        b'{"args": [], "kwargs": []}',
        b'{"args": [NaN], "kwargs": {}}',
    ],
)
async def test_an_object_that_holds_no_arguments_is_poison(
    harness: EngineHarness, payloads: FaultyPayloads, content: bytes
) -> None:
    @harness.task(name="job")
    async def job(*args: Any) -> None: ...

    stored(payloads, content)
    assert await harness.run(job, payload=KEY) == RetryIn(30, "payload_missing")
    assert harness.found() is None


async def test_a_message_whose_object_is_gone_backs_off_and_is_given_up_at_the_tenth_receive(
    harness: EngineHarness,
) -> None:
    @harness.task(name="job")
    async def job() -> None: ...

    assert await harness.run(job, payload=KEY, receive_count=3) == RetryIn(120, "payload_missing")
    outcome = await harness.run(job, payload=KEY, receive_count=10)
    assert isinstance(outcome, DeadLetter)
    assert (outcome.reason, outcome.recorded) == ("payload_missing", True)
    assert outcome.error is not None
    assert KEY in outcome.error.message
    assert (harness.record().status, harness.record().reason) == (State.FAILED, "payload_missing")


async def test_a_duplicate_of_a_task_that_has_ended_is_done_although_its_object_is_gone(
    harness: EngineHarness, payloads: FaultyPayloads
) -> None:
    @harness.task(name="job")
    async def job() -> int:
        return 1

    stored(payloads, b'{"args": [], "kwargs": {}}')
    assert await harness.run(job, payload=KEY) == DONE
    payloads.remove(KEY)
    assert await harness.run(job, payload=KEY, receive_count=10) == DONE
    assert harness.record().status is State.SUCCEEDED


@pytest.mark.parametrize("key", ["results/16d/other/0-owner.json", "../secret", "x"])
async def test_a_message_cannot_have_other_objects_read(
    harness: EngineHarness, payloads: FaultyPayloads, key: str
) -> None:
    @harness.task(name="job")
    async def job() -> None: ...

    stored(payloads, b'{"args": [], "kwargs": {}}', key)
    assert await harness.run(job, payload=key) == RetryIn(30, "payload_missing")


async def test_an_app_without_a_bucket_backs_off_from_a_pointer() -> None:
    harness = EngineHarness(bucket=None)

    @harness.task(name="job")
    async def job() -> None: ...

    assert await harness.run(job, payload=KEY) == RetryIn(30, "payload_missing")


@pytest.mark.parametrize("fault", [throttled("get_object"), MissingResource("no such bucket")])
async def test_a_bucket_that_cannot_be_reached_gives_the_message_back_and_uses_no_attempt(
    harness: EngineHarness, payloads: FaultyPayloads, fault: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    @harness.task(name="job")
    async def job() -> None: ...

    caplog.set_level("INFO")
    stored(payloads, b'{"args": [], "kwargs": {}}')
    payloads.get_faults = [fault, fault]
    for _ in range(2):
        outcome = await harness.run(job, payload=KEY)
        assert isinstance(outcome, Release)
        assert 5 <= outcome.delay <= 60
    assert harness.results.calls == []
    assert [getattr(one, "action", "") for one in caplog.records].count("payload_fault") == 1
    assert await harness.run(job, payload=KEY) == DONE
    assert harness.record().attempt == 1
    assert [getattr(one, "action", "") for one in caplog.records].count("payload_fault_over") == 1


async def test_a_refusal_that_stays_is_the_message_s_own_trouble(
    harness: EngineHarness, payloads: FaultyPayloads
) -> None:
    @harness.task(name="job")
    async def job() -> None: ...

    payloads.get_faults = [denied("get_object")]
    assert await harness.run(job, payload=KEY) == RetryIn(30, "payload_missing")


async def test_the_lease_begins_when_the_fetch_has_ended(harness: EngineHarness, payloads: FaultyPayloads) -> None:
    leases: list[float | None] = []

    @harness.task(name="job")
    async def job() -> None:
        leases.append(harness.record().lease_until)

    stored(payloads, b'{"args": [], "kwargs": {}}')
    get = payloads.get

    async def slow_get(key: str) -> bytes:
        harness.clock.travel(40)
        return await get(key)

    payloads.get = slow_get  # type: ignore[method-assign]  # a slow bucket
    await harness.run(job, payload=KEY)
    assert leases == [NOW + 40 + HOLD]


async def test_an_early_message_is_put_off_without_a_fetch(harness: EngineHarness, payloads: FaultyPayloads) -> None:
    @harness.task(name="job")
    async def job() -> None: ...

    payloads.get_faults = [throttled("get_object")]
    assert await harness.run(job, payload=KEY, not_before=NOW + 60) == RetryIn(60, "early")


# -- dead letters and lifetimes ---------------------------------------------------------------------------------


def test_a_dead_letter_copy_keeps_the_pointer() -> None:
    body = Message("a", "job", payload=KEY, unknown={"newer": 1}).encode()
    copy = decode(dead_letter_body(body))
    assert copy == Message("a", "job", run=1, payload=KEY, unknown={"newer": 1})


@pytest.mark.parametrize("payload", [1, [], {"key": "x"}])
def test_a_pointer_that_is_not_text_is_not_understood(payload: Any) -> None:
    from taskq_sls.errors import UndecodableMessage

    with pytest.raises(UndecodableMessage, match="payload"):
        decode(json.dumps({"v": 1, "id": "a", "task": "t", "payload": payload}))


def test_a_copy_redriven_at_its_last_moment_still_finds_its_arguments(app: TaskQ) -> None:
    failing = True

    @app.task(name="size", retry=Retry(max_attempts=1))
    def size(text: str) -> int:
        if failing:
            raise ValueError
        return len(text)

    with in_memory(app, bucket=True) as memory:
        handle = size.enqueue(BIG)
        # Nearly 14 days in the queue, nearly 14 in the dead-letter queue, and nearly 14 in the queue again.
        memory.travel(14 * DAY - 60)
        memory.run_until_idle()
        [letter] = memory.dead_letters()
        assert len(memory.payloads.stored()) == 1, "a task's end removes no object"
        memory.travel(14 * DAY - 60)
        failing = False
        drive(memory.broker.send([Outgoing("default", letter.body, handle.id)]))
        memory.travel(14 * DAY - 60)
        memory.run_until_idle()
        assert handle.result() == len(BIG)
        memory.travel(10 * DAY)
        assert [key for key in memory.payloads.stored() if key.startswith("messages")] == []


@pytest.mark.parametrize(("days", "life"), [(15, 16), (16, 16), (16.1, 30), (30, 30), (365, 400), (1825, 1830)])
def test_a_result_is_kept_at_least_as_long_as_its_record(days: float, life: int) -> None:
    assert result_key("a", 0, "owner", days * DAY) == f"results/{life}d/a/0-owner.json"


@pytest.mark.parametrize(("wait", "life"), [(0, 45), (2, 45), (3, 90), (60, 400)])
def test_a_message_s_object_outlives_queue_dead_letter_queue_and_redrive(wait: float, life: int) -> None:
    assert message_key("a", 2, "token", wait * DAY) == f"messages/{life}d/a/2-token.json"


def test_a_message_that_is_not_due_before_long_has_an_object_that_lives_longer() -> None:
    _, (key, _) = offload_message(Message("a", "job", [BIG], enqueued_at=NOW, not_before=NOW + 60 * DAY))
    assert key.startswith("messages/400d/a/")


def test_an_id_is_one_segment_of_a_key_whatever_it_holds() -> None:
    assert message_key("../x/y", 0, "t", 0.0) == "messages/45d/!2E!2E!2Fx!2Fy/0-t.json"
    assert message_key("order-4711_a", 0, "t", 0.0) == "messages/45d/order-4711_a/0-t.json"


def test_no_lifetime_class_holds_another() -> None:
    prefixes = [one.prefix for one in LIFETIMES]
    assert not any(a != b and a.startswith(b) for a in prefixes for b in prefixes)


@pytest.mark.parametrize("bucket", ["My_Bucket", "ab", "s3://bucket", "-a-b-"])
def test_a_malformed_bucket_name_is_refused(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKQ_BUCKET", bucket)
    with pytest.raises(ConfigError, match="TASKQ_BUCKET"):
        Settings.load("shop")


# -- results ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("character", ["x", "é", "\U0001f600"])
def test_a_result_of_exactly_the_limit_stays_in_the_record_and_one_byte_more_does_not(
    app: TaskQ, character: str
) -> None:
    @app.task(name="make")
    def make(character: str, size: int) -> str:
        width = len(character.encode())
        return character * (size // width) + "x" * (size % width)

    with in_memory(app, bucket=True, immediate=True) as memory:
        assert len(make.enqueue(character, MAX_RESULT_BYTES - 2).result().encode()) == MAX_RESULT_BYTES - 2
        assert memory.payloads.stored() == []
        large = make.enqueue(character, MAX_RESULT_BYTES - 1)
        assert len(large.result().encode()) == MAX_RESULT_BYTES - 1
        assert len(memory.payloads.stored()) == 1


def test_a_large_result_is_read_by_get_and_result_and_left_where_it_is_by_lists(app: TaskQ) -> None:
    @app.task(name="make")
    def make(size: int) -> bytes:
        return b"x" * size

    with in_memory(app, bucket=True, immediate=True) as memory:
        handle = make.enqueue(400_000)
        record = app.results.get(handle.id)
        assert record is not None
        assert record.result == handle.result() == b"x" * 400_000
        assert memory.payloads.stored() == [record.result_key]
        assert record.result_key == f"results/16d/{handle.id}/0-{record.owner}.json"
        [listed] = app.results.list(task="make")
        assert (listed.result, listed.result_json, listed.result_key) == (None, None, record.result_key)
        assert app.results.get_many([handle.id]) == {handle.id: listed}


def test_without_a_bucket_a_large_result_fails_the_task_and_says_the_fix(app: TaskQ) -> None:
    @app.task(name="make")
    def make() -> str:
        return "x" * MAX_RESULT_BYTES

    with in_memory(app, immediate=True):
        with pytest.raises(TaskFailed, match=r"350,002 bytes.*TASKQ_BUCKET") as caught:
            make.enqueue().result()
        assert (caught.value.reason, caught.value.attempts) == ("result", 1)


async def test_a_large_result_is_put_before_the_record_says_that_it_is_there(
    harness: EngineHarness, payloads: FaultyPayloads
) -> None:
    @harness.task(name="make")
    async def make() -> str:
        return "x" * 400_000

    harness.results.fail("finish", throttled(), times=1)
    finish = harness.results.finish
    there: list[int] = []

    async def watched(*args: Any) -> Any:
        there.append(len(payloads.stored()))
        return await finish(*args)

    harness.results.finish = watched  # type: ignore[method-assign, assignment]  # looks, then does it
    assert await harness.run(make) == DONE
    assert there == [1, 1]


async def test_a_put_is_repeated_over_faults_that_pass_and_the_function_is_not(
    harness: EngineHarness, payloads: FaultyPayloads
) -> None:
    runs: list[int] = []

    @harness.task(name="make")
    async def make() -> str:
        runs.append(1)
        return "x" * 400_000

    payloads.put_faults = [throttled("put_object")] * 3
    assert await harness.run(make) == DONE
    assert runs == [1]
    assert harness.record().status is State.SUCCEEDED


async def test_a_put_that_cannot_be_made_before_the_deadline_leaves_message_and_lease(
    harness: EngineHarness, payloads: FaultyPayloads
) -> None:
    @harness.task(name="make")
    async def make() -> str:
        return "x" * 400_000

    payloads.put_faults = [throttled("put_object")] * 100
    assert await harness.process(delivery(make), deadline=NOW + 20) == LOST
    assert harness.record().status is State.RUNNING
    assert harness.clock.time() <= NOW + 20


async def test_a_put_that_is_refused_ends_the_task_with_reason_result(
    harness: EngineHarness, payloads: FaultyPayloads
) -> None:
    @harness.task(name="make")
    async def make() -> str:
        return "x" * 400_000

    payloads.put_faults = [denied("put_object")]
    outcome = await harness.run(make)
    assert isinstance(outcome, DeadLetter)
    assert outcome.reason == harness.record().reason == "result"
    error = harness.record().error
    assert error is not None
    assert "could not be put into the bucket" in error.message


async def test_a_zombie_does_not_overwrite_the_winner_s_result(
    harness: EngineHarness, payloads: FaultyPayloads
) -> None:
    inner: list[Any] = []

    @harness.task(name="make")
    async def make() -> str:
        if not inner:
            inner.append("started")
            harness.clock.travel(HOLD + 10)
            inner.append(await harness.run(make))  # another worker takes it over and wins
            return "zombie" * 100_000
        return "winner" * 100_000

    await harness.run(make)
    assert inner == ["started", DONE]
    record = await harness.app.results.aget("task-1")
    assert record is not None
    assert record.result == "winner" * 100_000
    assert len(payloads.stored()) == 2


def test_a_new_run_that_has_a_small_result_points_to_no_object(app: TaskQ) -> None:
    sizes = [400_000, 1]

    @app.task(name="make", record="finished")
    def make() -> str:
        return "x" * sizes.pop(0)

    with in_memory(app, bucket=True, immediate=True):
        for _ in range(2):
            handle = make.with_options(id="same").enqueue()
        record = app.results.get("same")
        assert record is not None
        assert (handle.result(), record.result_key) == ("x", None)


def test_a_result_that_is_gone_is_an_error_where_it_is_read_and_others_are_waited_for(app: TaskQ) -> None:
    @app.task(name="make")
    def make(size: int) -> str:
        return "x" * size

    with in_memory(app, bucket=True, immediate=True) as memory:
        handle, other = make.enqueue(400_000), make.enqueue(400_001)
        memory.payloads.remove(memory.payloads.stored()[0])
        for read in (handle.result, lambda: app.results.get(handle.id), lambda: wait_all([other, handle])):
            with pytest.raises(PayloadMissing, match=f"{handle.id} succeeded, but the object .* is gone"):
                read()
        assert handle.status() is State.SUCCEEDED
        assert len(other.result()) == 400_001
        memory.immediate = False
        pending = make.with_options(delay=600).enqueue(1)
        with pytest.raises(ResultTimeout, match=pending.id):  # not before all have ended
            wait_all([handle, pending], timeout=1)


def test_a_reader_without_a_bucket_is_told_to_set_one(app: TaskQ) -> None:
    @app.task(name="make")
    def make() -> str:
        return "x" * 400_000

    with in_memory(app, bucket=True, immediate=True) as memory:
        handle = make.enqueue()
        memory._bucket = False
        app.services._blocking.clear()
        for read in (handle.result, lambda: app.results.get(handle.id)):
            with pytest.raises(ConfigError, match="none is configured here: set TASKQ_BUCKET"):
                read()


async def test_waiting_looks_again_at_a_result_that_cannot_be_read_now(
    harness: EngineHarness, payloads: FaultyPayloads
) -> None:
    @harness.task(name="make")
    async def make() -> str:
        return "x" * 400_000

    handle = await make.with_options(id="task-1").aenqueue()
    assert await harness.run(make) == DONE
    payloads.get_faults = [throttled("get_object")]
    assert len(await handle.aresult(5)) == 400_000

    other = await make.with_options(id="task-2").aenqueue()
    assert await harness.run(make, id="task-2") == DONE
    payloads.gets, payloads.get_faults = 0, [throttled("get_object")]
    assert [len(one) for one in await await_all([handle, other], 5)] == [400_000, 400_000]
    assert payloads.gets == 3  # what was read is not read again
    payloads.get_faults = [denied("get_object")]
    with pytest.raises(AwsError, match="AccessDenied"):
        await handle.aresult(5)


def test_a_lambda_function_runs_large_messages_and_returns_large_results(payloads: FaultyPayloads) -> None:
    harness = EngineHarness(payloads=payloads)

    @harness.task(name="echo")
    def echo(text: str) -> str:
        return text

    handle = echo.enqueue(BIG)
    [stored_message] = harness.broker.messages("default")
    record = {
        "messageId": "m-1",
        "receiptHandle": "r-1",
        "body": stored_message.body,
        "attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": str(int(NOW * 1000))},
        "messageAttributes": {},
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:eu-west-1:1:shop-default",
    }
    handler = harness.app.lambda_handler()
    lost = {**record, "messageId": "m-2", "body": Message("b", "echo", payload=KEY).encode()}
    assert handler({"Records": [record, lost]}) == {"batchItemFailures": [{"itemIdentifier": "m-2"}]}
    assert handle.result(1) == BIG
    handler.close()


def test_what_is_small_never_asks_for_a_bucket_or_imports_anything_for_one() -> None:
    import subprocess
    import sys

    program = """
import sys
from taskq_sls import TaskQ
from taskq_sls.testing import in_memory
app = TaskQ("shop", bucket="shop-payloads")
@app.task(name="add")
def add(a: int, b: int) -> int: return a + b
with in_memory(app) as memory:
    memory.has_bucket = lambda: sys.exit("asked for the bucket")
    handle = add.enqueue(1, 2)
    memory.run_until_idle()
    assert handle.result() == 3
print([name for name in sys.modules if "claim_check" in name or "payloads.s3" in name])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
