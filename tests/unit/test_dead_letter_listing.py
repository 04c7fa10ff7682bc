"""Looking into dead-letter queues: what is told of a dead letter, and that everything stays where it is."""

from __future__ import annotations

import pytest

from taskq_sls import ConfigError
from taskq_sls.operations.browse import VISIBILITY_TIMEOUT_SECONDS, DeadLetterBrowser
from taskq_sls.operations.dead_letter_view import DeadLetterView, Selection
from taskq_sls.operations.dead_letters import Listing, list_dead_letters, purge
from tests.support.dead_letter_app import NOW, DeadLetterApp


@pytest.fixture
def shop() -> DeadLetterApp:
    return DeadLetterApp()


def look(shop: DeadLetterApp, queue: str | None = None, **options: object) -> Listing:
    return shop.do(list_dead_letters(shop.app, shop.services, queue, **options))  # type: ignore[arg-type]  # by name


def ids(listing: Listing) -> list[str | None]:
    return [one.id for one in listing.dead_letters]


def only(listing: Listing) -> DeadLetterView:
    (one,) = listing.dead_letters
    return one


def test_a_dead_letter_tells_what_it_was_and_why_it_was_given_up(shop: DeadLetterApp) -> None:
    shop.die("a", "a.png", 7, labels={"tenant": "7"})
    shop.clock.travel(60)

    one = only(look(shop))

    assert (one.queue, one.source, one.task, one.id) == ("default-dlq", "default", "shop:resize", "a")
    assert (one.reason, one.error_type, one.error_message, one.attempts) == ("exhausted", "ValueError", "no a", 1)
    assert (one.args, one.labels, one.run, one.moved) == (["a.png", 7], {"tenant": "7"}, 1, False)
    assert (one.failed_at, one.since, one.undecodable) == (NOW, NOW, None)


def test_what_sqs_moved_is_told_apart(shop: DeadLetterApp) -> None:
    shop.moved("a")

    one = only(look(shop))

    assert (one.reason, one.moved, one.run, one.failed_at) == ("redriven", True, 0, None)


def test_what_cannot_be_read_is_shown_all_the_same(shop: DeadLetterApp) -> None:
    shop.moved("a", body="not JSON")

    one = only(look(shop))

    assert (one.id, one.task, one.body) == (None, None, "not JSON")
    assert one.undecodable is not None
    assert "not JSON" in one.undecodable


def test_a_firing_that_never_reached_its_queue_is_shown_with_the_id_that_its_task_gets(shop: DeadLetterApp) -> None:
    from taskq_sls.scheduler.firing import firing_id

    body = (
        '{"v": 1, "task": "shop:resize", "args": ["a.png"], '
        '"schedule": {"name": "d-shop.x", "group": "shop", "at": "<aws.scheduler.scheduled-time>"}}'
    )
    attributes = {"ERROR_CODE": "AccessDenied", "ERROR_MESSAGE": "no", "SCHEDULED_TIME": "2027-01-15T08:00:00Z"}
    shop.put("schedules-dlq", body, attributes={**attributes, "RETRY_ATTEMPTS": "3"})

    one = only(look(shop))

    assert (one.queue, one.source, one.reason, one.schedule) == ("schedules-dlq", None, "undelivered", "d-shop.x")
    assert (one.error_type, one.error_message, one.attempts) == ("AccessDenied", "no", 3)
    assert one.id == firing_id("shop", "d-shop.x", NOW)
    assert "2027-01-15T08:00:00Z" in one.body


def test_a_listing_leaves_everything_visible_and_in_its_queue(shop: DeadLetterApp) -> None:
    for number in range(25):
        shop.die(f"task-{number}")

    listing = look(shop)

    assert (len(listing.dead_letters), listing.seen, listing.missed) == (25, 25, 0)
    assert len(shop.ids("default-dlq")) == 25
    assert shop.hidden("default-dlq") == 0


def test_a_listing_shows_each_message_once_and_stops_at_its_limit(shop: DeadLetterApp) -> None:
    for number in range(25):
        shop.die(f"task-{number}")

    listing = look(shop, limit=12)

    assert len(set(ids(listing))) == 12
    assert listing.missed == 13
    assert shop.hidden("default-dlq") == 0


def test_the_latest_failures_come_first(shop: DeadLetterApp) -> None:
    for id in ("first", "second", "third"):
        shop.die(id)
        shop.clock.travel(10)

    assert ids(look(shop)) == ["third", "second", "first"]


def test_what_others_hold_is_counted_as_missed(shop: DeadLetterApp) -> None:
    shop.die("a")
    shop.die("b")
    (held,) = shop.do(shop.broker.receive("default-dlq", max_messages=1, wait=0, visibility=600))

    listing = look(shop)

    assert (len(listing.dead_letters), listing.missed) == (1, 1)
    assert shop.hidden("default-dlq") == 1
    assert held.receive_count == 1


def test_only_the_first_ten_of_a_fifo_group_can_be_seen_and_the_others_are_counted(shop: DeadLetterApp) -> None:
    for number in range(12):
        shop.die(f"task-{number:02}", queue="ledger.fifo", group="g")

    listing = look(shop, "ledger.fifo")

    assert sorted(map(str, ids(listing))) == [f"task-{number:02}" for number in range(10)]
    assert listing.missed == 2


def test_an_interrupted_listing_gives_everything_back(shop: DeadLetterApp) -> None:
    shop.die("a")

    def interrupt(_: object) -> None:
        assert shop.hidden("default-dlq") == 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        look(shop, on_progress=interrupt)

    assert shop.hidden("default-dlq") == 0


@pytest.mark.parametrize(
    ("pause", "receives"), [(VISIBILITY_TIMEOUT_SECONDS * 0.6, 1), (VISIBILITY_TIMEOUT_SECONDS * 2.0, 6)]
)
def test_a_long_look_keeps_what_it_has_received_and_shows_nothing_twice(
    shop: DeadLetterApp, pause: float, receives: int
) -> None:
    shop.die("a")

    async def watch() -> list[int]:
        async with DeadLetterBrowser(shop.app, shop.services, "default-dlq") as reading:
            assert len(await reading.next()) == 1
            found = []
            for _ in range(5):
                shop.clock.travel(pause)
                found.append(len(await reading.next()))
            return found

    assert shop.do(watch()) == [0] * 5
    assert shop.broker.messages("default-dlq")[0].receive_count == receives
    assert shop.hidden("default-dlq") == 0


@pytest.mark.parametrize(
    ("selection", "found"),
    [
        (Selection(tasks=frozenset({"shop:crop"})), ["crop"]),
        (Selection(reasons=frozenset({"crashed", "arguments"})), ["crashed"]),
        (Selection(older_than=50), ["old"]),
        (Selection(older_than=60), ["old"]),
        (Selection(older_than=60.5), []),
        (Selection(newer_than=59), ["crashed", "crop", "labelled"]),
        (Selection(newer_than=60, older_than=1), ["old"]),
        (Selection(labels={"tenant": "7"}), ["labelled"]),
        (Selection(labels={"tenant": "7", "other": "x"}), []),
        (Selection(ids=frozenset({"old", "crop", "absent"})), ["crop", "old"]),
    ],
)
def test_dead_letters_are_chosen_by_what_fits(shop: DeadLetterApp, selection: Selection, found: list[str]) -> None:
    shop.die("old")
    shop.clock.travel(60)
    shop.die("crop", task="shop:crop")
    shop.die("crashed", reason="crashed")
    shop.die("labelled", labels={"tenant": "7", "more": "y"})

    assert sorted(map(str, ids(look(shop, selection=selection)))) == found


def test_dead_letters_are_counted_by_reason_and_task(shop: DeadLetterApp) -> None:
    for number in range(3):
        shop.die(f"a-{number}")
    shop.die("b", task="shop:crop", reason="crashed")

    first, second = look(shop).groups

    assert (first.total, first.reason, first.task) == (3, "exhausted", "shop:resize")
    assert (second.total, second.reason, second.task) == (1, "crashed", "shop:crop")


@pytest.mark.parametrize("queue", ["default", "default-dlq"])
def test_a_queue_is_named_by_itself_or_by_its_dead_letter_queue(shop: DeadLetterApp, queue: str) -> None:
    shop.die("a")
    shop.die("b", queue="ledger.fifo", group="g")

    assert ids(look(shop, queue)) == ["a"]


def test_an_unknown_queue_is_refused_with_those_there_are(shop: DeadLetterApp) -> None:
    with pytest.raises(ConfigError, match=r"queue 'defalt' is not declared; app 'shop' has 'default', 'ledger\.fifo'"):
        look(shop, "defalt")


@pytest.mark.parametrize("limit", [0, -1, True, 1.5])
def test_a_limit_must_be_a_whole_number(shop: DeadLetterApp, limit: object) -> None:
    with pytest.raises(ConfigError, match="limit="):
        look(shop, limit=limit)


# -- purge ----------------------------------------------------------------------------------------------------------


def test_a_purge_deletes_what_fits_and_nothing_else(shop: DeadLetterApp) -> None:
    for number in range(15):
        shop.die(f"bad-{number}", reason="arguments")
        shop.die(f"good-{number}")

    done = shop.do(purge(shop.app, shop.services, selection=Selection(reasons=frozenset({"arguments"}))))

    assert (len(done.purged), done.kept, done.seen) == (15, [], 30)
    assert sorted(shop.ids("default-dlq")) == sorted(f"good-{number}" for number in range(15))
    assert shop.hidden("default-dlq") == 0


def test_a_dry_run_of_a_purge_deletes_nothing(shop: DeadLetterApp) -> None:
    shop.die("a")

    done = shop.do(purge(shop.app, shop.services, dry_run=True))

    assert [one.id for one in done.purged] == ["a"]
    assert shop.ids("default-dlq") == ["a"]


def test_a_purge_deletes_no_more_than_its_limit(shop: DeadLetterApp) -> None:
    for number in range(5):
        shop.die(f"task-{number}")

    assert len(shop.do(purge(shop.app, shop.services, limit=2)).purged) == 2
    assert len(shop.ids("default-dlq")) == 3


def test_a_purged_message_that_sqs_moved_leaves_no_task_waiting_forever(shop: DeadLetterApp) -> None:
    shop.claimed("a")
    shop.clock.travel(120)
    shop.moved("a")

    shop.do(purge(shop.app, shop.services))

    record = shop.record("a")
    assert (record.status, record.reason) == ("FAILED", "redriven")
