"""What every schedule store does, in memory and on EventBridge Scheduler (moto)."""

from typing import Any

import pytest

from taskq_sls.core.clock import ManualClock
from taskq_sls.errors import ConfigError, MissingResource, PayloadTooLarge
from taskq_sls.scheduler.spec import MAX_INPUT_BYTES, normalize
from taskq_sls.scheduler.store import ScheduleStore
from tests.support.schedule_builders import BODY, NOW, a_spec, all_pages, spec_in

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize(
    "spec",
    [
        a_spec(),
        a_spec(enabled=False),
        a_spec(window=15),
        a_spec(start=NOW + 3_600, end=NOW + 86_400),
        a_spec(expression="rate(5 minutes)", timezone="UTC", end=NOW + 86_400, delete_after=True),
        a_spec("t-0123", expression="at(2027-06-01T09:00:00)", delete_after=True, queue="slow"),
        a_spec(queue="ledger.fifo", group="tenant-7"),
        a_spec(body='{"ünïcode":"🦀 \\n <aws.scheduler.scheduled-time>"}'),
    ],
)
async def test_a_schedule_reads_back_as_it_was_made(store: ScheduleStore, spec: Any) -> None:
    assert await store.create(spec)
    stored = await store.get(spec.name)
    assert stored is not None
    assert stored.spec == spec
    assert stored.created == stored.modified == NOW
    assert stored.arn.endswith(f":schedule/{store.group}/{spec.name}")
    assert stored.target.endswith(spec.queue)


async def test_a_name_that_stands_is_left_as_it_is(store: ScheduleStore, clock: ManualClock) -> None:
    assert await store.create(a_spec())
    clock.travel(60)
    assert not await store.create(a_spec(expression="rate(1 minute)"))
    stored = await store.get(a_spec().name)
    assert stored is not None
    assert (stored.spec, stored.modified) == (a_spec(), NOW)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            a_spec(),
            a_spec(
                expression="rate(2 hours)",
                timezone="UTC",
                queue="ledger.fifo",
                body=BODY + " ",
                start=NOW + 3_600,
                end=NOW + 7_200,
                window=5,
                enabled=False,
                group="tenant-7",
                delete_after=True,
            ),
        ),
        (a_spec(start=NOW + 60, end=NOW + 90, window=5, enabled=False, delete_after=True), a_spec()),
        (a_spec(queue="ledger.fifo", group="a"), a_spec()),
    ],
)
async def test_an_update_replaces_everything(store: ScheduleStore, clock: ManualClock, before: Any, after: Any) -> None:
    await store.create(before)
    clock.travel(30)
    assert await store.update(after)
    stored = await store.get(after.name)
    assert stored is not None
    assert stored.spec == after
    assert (stored.created, stored.modified) == (NOW, NOW + 30)


async def test_what_is_not_there_is_neither_updated_nor_deleted(store: ScheduleStore) -> None:
    assert not await store.update(a_spec())
    assert not await store.delete(a_spec().name)
    assert await store.get(a_spec().name) is None


async def test_what_was_deleted_is_gone_and_can_be_made_again(store: ScheduleStore) -> None:
    await store.create(a_spec())
    assert await store.delete(a_spec().name)
    assert await store.get(a_spec().name) is None
    assert await all_pages(store) == [[]]
    assert await store.create(a_spec())
    assert await spec_in(store) == a_spec()


async def test_pages_hold_a_hundred_and_every_schedule_once(store: ScheduleStore) -> None:
    names = [f"d-shop.report-{number:08x}" for number in range(130)]
    for name in names:
        await store.create(a_spec(name))
    await store.create(a_spec("r-shop.report-1"))
    pages = await all_pages(store, "d-shop.")
    assert [len(page) for page in pages] == [100, 30]
    assert sorted(summary.name for page in pages for summary in page) == names


async def test_an_empty_prefix_lists_all_schedules_of_the_group(store: ScheduleStore) -> None:
    for name in ("d-shop.a", "r-shop.b", "t-0123"):
        await store.create(a_spec(name))
    [page] = await all_pages(store)
    assert sorted(summary.name for summary in page) == ["d-shop.a", "r-shop.b", "t-0123"]


async def test_a_listing_tells_state_and_times(store: ScheduleStore, clock: ManualClock) -> None:
    await store.create(a_spec())
    clock.travel(0.25)
    await store.update(a_spec(enabled=False))
    [[summary]] = await all_pages(store)
    assert summary == (a_spec().name, False, NOW, NOW + 0.25)
    stored = await store.get(a_spec().name)
    assert stored is not None
    assert stored.modified == summary.modified


class TestStarts:
    async def test_a_past_start_says_nothing_to_cron(self, store: ScheduleStore) -> None:
        await store.create(a_spec(start=NOW - 86_400))
        assert (await spec_in(store)).start is None

    async def test_a_past_start_of_a_rate_becomes_the_next_point_of_its_grid(self, store: ScheduleStore) -> None:
        await store.create(a_spec(expression="rate(7 minutes)", start=NOW - 1_000 * 420 - 60))
        assert (await spec_in(store)).start == NOW + 360

    async def test_the_grid_survives_every_update(self, store: ScheduleStore, clock: ManualClock) -> None:
        spec = a_spec(expression="rate(7 minutes)", start=NOW + 60)
        await store.create(spec)
        clock.travel(10_000)
        await store.update((await spec_in(store))._replace(enabled=False))
        start = (await spec_in(store)).start
        assert start is not None
        assert clock.time() < start <= clock.time() + 420
        assert (start - (NOW + 60)) % 420 == 0

    async def test_a_one_time_schedule_has_no_bounds(self, store: ScheduleStore) -> None:
        await store.create(a_spec(expression="at(2027-06-01T09:00:00)", start=NOW + 60, end=NOW + 90))
        assert (await spec_in(store))[5:7] == (None, None)

    @pytest.mark.parametrize(
        "spec",
        [
            a_spec(start=NOW - 60),
            a_spec(start=NOW + 60),
            a_spec(expression="rate(7 minutes)", start=NOW - 60),
            a_spec(expression="rate(7 minutes)", start=NOW + 60),
            a_spec(expression="at(2027-06-01T09:00:00)", start=NOW + 60),
            a_spec(group="tenant-7"),
        ],
    )
    async def test_what_does_the_same_later_has_the_same_kept_form(
        self, store: ScheduleStore, clock: ManualClock, spec: Any
    ) -> None:
        await store.create(spec)
        for _ in range(3):
            clock.travel(1_000)
            assert normalize(await spec_in(store), clock.time()) == normalize(spec, clock.time())

    async def test_another_grid_has_another_kept_form(self) -> None:
        one, other = (a_spec(expression="rate(7 minutes)", start=NOW - late) for late in (60, 61))
        assert normalize(one, NOW) != normalize(other, NOW)


async def test_a_standard_queue_takes_no_message_group(store: ScheduleStore) -> None:
    await store.create(a_spec(group="tenant-7"))
    assert (await spec_in(store)).group is None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": ""}, "use 1 to 64 letters"),
        ({"name": "d-" + "x" * 63}, "use 1 to 64 letters"),
        ({"name": "d-shöp"}, "use 1 to 64 letters"),
        ({"name": "d-shop\n"}, "use 1 to 64 letters"),
        ({"expression": "cron(" + "0," * 130 + " * * * ? *)"}, "characters; use 1 to 256"),
        ({"window": 1_441}, "window=1441 must be a whole number of 0 to 1,440 minutes"),
        ({"window": -1}, "window=-1"),
        ({"start": NOW + 60, "end": NOW + 60}, "must be after start"),
        ({"body": ""}, "body is empty"),
        ({"queue": "ledger.fifo"}, "need a message group"),
        ({"queue": "ledger.fifo", "group": "g" * 129}, "has 129 characters; use 1 to 128"),
        ({"queue": "ledger.fifo", "group": ""}, "has 0 characters; use 1 to 128"),
    ],
)
@pytest.mark.parametrize("operation", ["create", "update"])
async def test_what_would_not_be_accepted_is_refused_with_the_limit(
    store: ScheduleStore, operation: str, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        await getattr(store, operation)(a_spec(**fields))
    assert await all_pages(store) == [[]]


async def test_a_body_counts_in_bytes(store: ScheduleStore) -> None:
    body = "é" * (MAX_INPUT_BYTES // 2)
    assert await store.create(a_spec(body=body))
    with pytest.raises(PayloadTooLarge, match=r"262,145 bytes; EventBridge Scheduler takes 262,144"):
        await store.create(a_spec("d-shop.more", body=body + "."))


@pytest.mark.parametrize("operation", ["get", "delete"])
async def test_a_name_that_cannot_be_is_refused_by_reads_too(store: ScheduleStore, operation: str) -> None:
    with pytest.raises(ConfigError, match="schedule name 'd/shop'"):
        await getattr(store, operation)("d/shop")


@pytest.mark.parametrize("operation", ["create", "update"])
async def test_a_queue_that_does_not_exist_is_named(store: ScheduleStore, operation: str) -> None:
    with pytest.raises(MissingResource, match="nowhere"):
        await getattr(store, operation)(a_spec(queue="nowhere"))
    assert await all_pages(store) == [[]]
