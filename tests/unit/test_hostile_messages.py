"""Hostile envelopes and attributes: reading them never raises, and whatever was read can be recorded and shown."""

from __future__ import annotations

import asyncio
import json
import math
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from taskq_sls import Queue, Retry, RetryLater, TaskQ
from taskq_sls.brokers.dead_letters import ATTEMPTS, DEAD_LETTERED_AT
from taskq_sls.core.delivery import DeadLetter, Delivery, Done, Outcome, Release, RetryIn
from taskq_sls.core.message import Message
from taskq_sls.operations.dead_letter_view import RETRY_ATTEMPTS, SCHEDULED_TIME, DeadLetterQueue, view_of
from taskq_sls.operations.dead_letters import list_dead_letters, purge
from taskq_sls.operations.redrive import redrive
from taskq_sls.scheduler.memory import MemorySchedules
from tests.support.dead_letter_app import DeadLetterApp
from tests.support.engine_harness import NOW, EngineHarness

NUMBERS = ["0", "-1", "1", "1e-200", "5e-324", "1e400", "-1e400", "1.5", "253402300799", "253402300800", "9" * 400]
TEXTS = ["", "a", "\\u0000", "x" * 3_000, "p" * 450_000, "<aws.scheduler.scheduled-time>", "\x1b]52;c;eA==\x07"]
SCHEDULED = [
    "9999-12-31T23:59:59-14:00",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59Z",
    "2026-01-01T00:00:00Z",
    "2026-01-01",
    "nan",
]
SCALARS = st.sampled_from(
    ["null", "true", "[]", "{}", '{"":""}', '{"a":5}', *NUMBERS, *(json.dumps(text) for text in TEXTS)]
)
SCHEDULE = st.fixed_dictionaries(
    {},
    optional={
        "name": SCALARS | st.just('"nightly"'),
        "group": SCALARS,
        "at": SCALARS | st.sampled_from([json.dumps(at) for at in SCHEDULED]),
        "overlap": SCALARS | st.just('"skip"'),
        "jitter": SCALARS,
        "expires_in": SCALARS,
    },
)


def as_json(fields: dict[str, str]) -> str:
    return "{" + ",".join(f"{json.dumps(name)}:{text}" for name, text in fields.items()) + "}"


ENVELOPES = st.fixed_dictionaries(
    {"task": st.sampled_from(['"shop:later"', '"shop:later"', '"shop:none"']) | SCALARS},
    optional={
        "v": SCALARS | st.just("1"),
        "id": SCALARS | st.just('"task-1"'),
        "args": st.lists(SCALARS, max_size=2).map(lambda values: f"[{','.join(values)}]") | SCALARS,
        "kwargs": SCALARS,
        "not_before": SCALARS | st.just(str(NOW + 400 * 86_400)),
        "schedule": SCHEDULE.map(as_json) | SCALARS,
        "x": SCALARS,
        **{
            name: SCALARS
            for name in Message._fields
            if name not in ("id", "task", "args", "kwargs", "not_before", "schedule", "unknown")
        },
    },
).map(as_json)


class Hostile(EngineHarness):
    """A harness with a scheduler, and a task that takes anything and asks for a retry by schedule."""

    def __init__(self) -> None:
        super().__init__()
        self.app = TaskQ(
            "shop",
            clock=self.clock,
            broker=self.broker,
            results=self.results,
            queues=[Queue("default")],
            schedule_store=MemorySchedules(self.clock, "shop"),
        )

        @self.app.task(name="shop:later", retry=Retry(max_attempts=5, backoff=0))
        def later(*args: Any, **kwargs: Any) -> None:
            raise RetryLater(20 * 86_400)


FAR = f'"not_before":{NOW + 400 * 86_400}'


@settings(max_examples=150, derandomize=True, deadline=None, database=None)
@given(ENVELOPES, st.sampled_from([1, 10, 99]))
@example('{"task":"shop:later","schedule":{"name":"a","at":"9999-12-31T23:59:59-14:00"}}', 1)
@example('{"task":"shop:later","id":"a","args":[1e400],' + FAR + "}", 1)
@example('{"task":"shop:later","id":"a","args":[1e400]}', 1)
@example('{"task":"shop:later","id":"a","enqueued_at":1e-200}', 1)
@example('{"task":"shop:later","id":"a","parent":"' + "p" * 450_000 + '"}', 1)
def test_any_envelope_has_an_outcome_that_can_be_recorded(body: str, receives: int) -> None:
    async def check() -> None:
        harness = Hostile()
        outcome: Outcome = await harness.process(Delivery("default", body, "receipt", "message-1", receives, NOW))
        assert isinstance(outcome, Done | RetryIn | DeadLetter | Release)
        for id in harness.results._rows:
            record = harness.record(id)
            numbers = (record.enqueued_at, record.ttl, record.updated_at, record.next_at)
            assert all(number is None or number == 0 or 1e-100 < number < 1e12 for number in numbers)
            assert len(json.dumps([record.labels, record.parent, record.unique_key, record.call])) < 20_000

    asyncio.run(check())


ATTRIBUTE = st.sampled_from(["nan", "inf", "-inf", "1e400", "-1", "9" * 5_000, "", "²", "0", *SCHEDULED])


@settings(max_examples=150, derandomize=True, deadline=None, database=None)
@given(
    ENVELOPES,
    st.dictionaries(st.sampled_from([DEAD_LETTERED_AT, ATTEMPTS, RETRY_ATTEMPTS, SCHEDULED_TIME]), ATTRIBUTE),
    st.sampled_from(["default", None]),
)
def test_any_dead_letter_is_shown_with_plain_numbers(body: str, attributes: dict[str, str], source: str | None) -> None:
    delivery = Delivery("default-dlq", body, "receipt", "message-1", 1, NOW, None, attributes)
    view = view_of(delivery, DeadLetterQueue("default-dlq", source))
    assert math.isfinite(view.since)
    json.dumps([view.args, view.kwargs, view.failed_at, view.attempts], allow_nan=False)
    assert view.message is None or view.message.encode()


@pytest.mark.parametrize(
    ("body", "attributes"),
    [
        ('{"task":"shop:resize","schedule":{"name":"a","at":"9999-12-31T23:59:59-14:00"}}', {}),
        ('{"task":"shop:resize","id":"a"}', {DEAD_LETTERED_AT: "nan", ATTEMPTS: "9" * 5_000}),
        ('{"task":"shop:resize","id":"a","args":[1e400]}', {}),
    ],
)
def test_one_hostile_message_does_not_stop_the_tools(body: str, attributes: dict[str, str]) -> None:
    shop = DeadLetterApp()
    shop.die("good")
    shop.put("default-dlq", body, attributes=attributes)
    listed = shop.do(list_dead_letters(shop.app, shop.services))
    assert {view.id for view in listed.dead_letters} >= {"good"}
    assert len(listed.dead_letters) == 2
    assert json.dumps([group.newest for group in listed.groups], allow_nan=False)
    sent = shop.do(redrive(shop.app, shop.services, dry_run=True))
    assert len(sent.redriven) == 2
    assert len(shop.do(purge(shop.app, shop.services)).purged) == 2
