"""The ordinary client against a deployed stack: sam build and sam deploy, on an emulated AWS that enforces IAM."""

from __future__ import annotations

import itertools
import json
import uuid
from types import ModuleType

import pytest

from taskq_sls import TaskFailed, TaskHandle, wait_all
from tests.e2e.conftest import Until
from tests.e2e.project import Project
from tests.e2e.stack import Stack, body, client, depth, messages

pytestmark = pytest.mark.e2e

DELAYED = "t-"
"""Start of the names of one-time schedules."""


def test_a_thousand_tasks_sent_in_batches_all_have_their_results_in_the_table(shop: ModuleType) -> None:
    handles = shop.price.enqueue_many([(number, 3) for number in range(1_000)])

    assert wait_all(handles, timeout=180) == [3 * number for number in range(1_000)]

    records = shop.app.results.get_many([handle.id for handle in handles])
    assert {(record.status, record.attempt) for record in records.values()} == {("SUCCEEDED", 1)}
    assert len(records) == 1_000


def test_a_task_that_fails_twice_succeeds_at_its_third_attempt(shop: ModuleType) -> None:
    handle = shop.charge.enqueue("order-17")

    assert handle.result(timeout=60) == "order-17 paid"

    record = shop.app.results.get(handle.id)
    assert record.attempt == 3
    # Two backoffs of 1 and 2 seconds, by visibility.
    assert record.finished_at - record.enqueued_at >= 3


def test_a_task_that_always_fails_is_dead_lettered_with_its_reason(
    shop: ModuleType, stack: Stack, until: Until
) -> None:
    handle = shop.refund.enqueue("order-18")

    with pytest.raises(TaskFailed, match="order-18: refused"):
        handle.result(timeout=60)

    url = stack.outputs["DefaultDeadLettersUrl"]
    until(lambda: any(body(message)["id"] == handle.id for message in messages(url)))
    [letter] = [message for message in messages(url) if body(message)["id"] == handle.id]
    attributes = {name: value["StringValue"] for name, value in letter["MessageAttributes"].items()}
    assert attributes["taskq.reason"] == "exhausted"
    assert attributes["taskq.attempts"] == "2"
    assert attributes["taskq.error_type"] == "shop.tasks.Declined"
    assert "order-18: refused" in attributes["taskq.error_message"]
    assert shop.app.results.get(handle.id).reason == "exhausted"


def test_what_nobody_can_run_is_held_beside_the_others_and_given_up_with_a_reason_at_its_tenth_receive(
    shop: ModuleType, stack: Stack, until: Until
) -> None:
    queue, dead_letters = stack.outputs["IntakeQueueUrl"], stack.outputs["IntakeDeadLettersUrl"]
    mapping = stack.mapping("shop-intake")
    with client("sqs") as sqs:
        sqs.send_message(QueueUrl=queue, MessageBody="no envelope at all")
    unknown = shop.app.ref("shop.tasks:of_a_later_release", queue="intake").enqueue()
    accepted = shop.accept.enqueue_many([(f"order-{number}",) for number in range(20)])

    assert wait_all(accepted, timeout=60) == [f"order-{number} accepted" for number in range(20)]
    # They wait for a deployment that can run them: 30 s, doubling to 15 min, ten receives.
    until(lambda: depth(queue) == (0, 2))
    assert depth(dead_letters) == (0, 0)

    # Eight of the ten receives are ours, so that the test need not wait two hours.
    with client("lambda") as functions, client("sqs") as sqs:
        functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
        until(lambda: depth(queue) == (2, 0))
        counts: dict[str, int] = {}
        while len(counts) < 2 or min(counts.values()) < 9:
            answer = sqs.receive_message(
                QueueUrl=queue,
                MaxNumberOfMessages=10,
                VisibilityTimeout=0,
                MessageSystemAttributeNames=["ApproximateReceiveCount"],
            )
            for one in answer.get("Messages", []):
                counts[one["MessageId"]] = int(one["Attributes"]["ApproximateReceiveCount"])
        functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=True)

    until(lambda: depth(dead_letters) == (2, 0))
    letters = {one["MessageAttributes"]["taskq.reason"]["StringValue"]: one for one in messages(dead_letters)}
    assert set(letters) == {"undecodable", "unknown_task"}
    assert letters["undecodable"]["Body"] == "no envelope at all"
    assert body(letters["unknown_task"])["id"] == unknown.id
    assert depth(queue) == (0, 0)


def test_a_fifo_queue_keeps_the_order_within_each_group(shop: ModuleType) -> None:
    """MiniStack runs one batch of a FIFO queue at a time, over all groups; AWS runs groups side by side."""
    groups = ("north", "south", "west")
    handles: dict[str, list[TaskHandle[list[int]]]] = {group: [] for group in groups}
    for start in range(0, 30, 6):
        for group in groups:
            entries = [(number,) for number in range(start, start + 6)]
            handles[group] += shop.book.with_options(group=group).enqueue_many(entries)

    booked = {group: wait_all(handles[group], timeout=120) for group in groups}

    for group in groups:
        assert [entry for entry, _ in booked[group]] == list(range(30))
        times = [time for _, time in booked[group]]
        assert all(earlier < later for earlier, later in itertools.pairwise(times)), group


def test_a_declared_schedule_fires_once_for_its_minute(shop: ModuleType, stack: Stack, until: Until) -> None:
    """MiniStack sends the placeholder of the scheduled time as it stands, where AWS puts the time.

    So the minute in which the message was sent stands for it, and the id is made of that.
    """
    assert "AWS::Scheduler::Schedule" in stack.resources().values()

    until(lambda: shop.app.results.list(task="shop.tasks:tick", status="SUCCEEDED"), seconds=150)

    records = shop.app.results.list(task="shop.tasks:tick")
    minutes = [uuid.UUID(record.id).int >> 80 for record in records]
    assert all(minute % 60_000 == 0 for minute in minutes), "the ids begin with the scheduled times, in milliseconds"
    assert len(set(minutes)) == len(records)
    assert {uuid.UUID(record.id).version for record in records} == {8}


def test_a_delayed_task_starts_when_its_delay_is_over(shop: ModuleType) -> None:
    handle = shop.price.with_options(delay=6).enqueue(2, 250)

    assert handle.result(timeout=60) == 500

    record = shop.app.results.get(handle.id)
    assert 6 <= record.started_at - record.enqueued_at < 20


def test_a_delay_that_sqs_cannot_hold_goes_by_a_one_time_schedule_that_then_is_gone(
    shop: ModuleType, until: Until
) -> None:
    """On a FIFO queue, where messages have no delay of their own."""

    def delayed() -> list[str]:
        with client("scheduler") as scheduler:
            found = scheduler.list_schedules(GroupName="shop", NamePrefix=DELAYED)["Schedules"]
        return [schedule["Name"] for schedule in found]

    handle = shop.book.with_options(group="later", delay=1).enqueue(1)
    assert len(delayed()) == 1

    entry, booked_at = handle.result(timeout=120)

    assert entry == 1
    assert booked_at / 1e9 >= shop.app.results.get(handle.id).enqueued_at + 1
    until(lambda: delayed() == [])


def test_arguments_and_results_that_are_too_large_travel_through_the_bucket(shop: ModuleType, stack: Stack) -> None:
    text = "large " * 350_000

    digest, repeated = shop.digest.enqueue(text), shop.repeat.enqueue("0123456789", 60_000)

    assert digest.result(timeout=60) == shop.digest(text)
    assert repeated.result(timeout=60) == "0123456789" * 60_000
    with client("s3") as s3:
        found = s3.list_objects_v2(Bucket=stack.outputs["Bucket"])["Contents"]
    keys = [one["Key"] for one in found]
    assert any(key.startswith("messages/") and digest.id in key for key in keys)
    assert any(key.startswith("results/") and repeated.id in key for key in keys)


def test_an_event_on_the_bus_becomes_a_task(shop: ModuleType, until: Until) -> None:
    with client("events") as events:
        detail = json.dumps({"order": "order-19"})
        entry = {"Source": "shop.till", "DetailType": "Order Placed", "Detail": detail}
        assert events.put_events(Entries=[entry])["FailedEntryCount"] == 0

    until(lambda: shop.app.results.list(task="shop.tasks:confirm", status="SUCCEEDED"))

    [record] = shop.app.results.list(task="shop.tasks:confirm")
    assert shop.app.results.get(record.id).result == "order-19 confirmed"


def test_a_function_may_do_nothing_that_its_role_does_not_name(shop: ModuleType) -> None:
    """Without it, all that passes here would not show that the roles allow it."""
    with pytest.raises(TaskFailed, match=r"AccessDenied.*not authorized to perform: sqs:ListQueues"):
        shop.snoop.enqueue().result(timeout=60)


def test_the_doctor_finds_nothing_wrong(shop: ModuleType, stack: Stack, project: Project) -> None:
    done = stack.command("doctor", "shop.tasks:app", "--json", path=[str(project.folder)])

    findings = json.loads(done.stdout)
    assert done.returncode == 0, done.stdout
    assert [finding for finding in findings if finding["level"] != "ok"] == []


def test_the_command_sends_a_task_and_shows_its_result(shop: ModuleType, stack: Stack, project: Project) -> None:
    path = [str(project.folder)]

    words = ["enqueue", "shop.tasks:price", "--args", "[7, 30]", "--app", "shop.tasks:app", "--wait"]
    sent = stack.command(*words, path=path)

    assert (sent.returncode, sent.stdout) == (0, "210\n"), sent.stderr
