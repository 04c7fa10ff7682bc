"""When failed attempts are tried again."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from taskq_sls import ConfigError, Retry, RetryLater, State, TaskFailed, TaskQ
from taskq_sls.core.times import DAY
from taskq_sls.testing import in_memory


class Broken(Exception): ...


class Hopeless(Broken): ...


def app_that_fails(retry: Retry, error: BaseException, **options: Any) -> tuple[TaskQ, Any, list[float]]:
    app = TaskQ("shop", retry=retry, **options)
    started: list[float] = []

    @app.task
    def fail() -> None:
        started.append(app.clock.time())
        raise error

    return app, fail, started


def test_five_attempts_mean_five_starts() -> None:
    app, fail, started = app_that_fails(Retry(max_attempts=5), Broken("no"))
    with in_memory(app) as memory:
        handle = fail.enqueue()
        memory.run_until_idle(travel=True)
        assert len(started) == 5
        with pytest.raises(TaskFailed) as failed:
            handle.result()
        assert (failed.value.attempts, failed.value.reason) == (5, "exhausted")


def test_one_attempt_means_one_start() -> None:
    app, fail, started = app_that_fails(Retry(max_attempts=1), Broken("no"))
    with in_memory(app) as memory:
        fail.enqueue()
        memory.run_until_idle(travel=True)
        assert len(started) == 1


def test_the_delay_grows_by_the_factor_up_to_the_ceiling() -> None:
    retry = Retry(max_attempts=6, backoff=2, factor=3, max_delay=20, jitter="none")
    assert [retry.delay(attempt) for attempt in range(1, 6)] == [2, 6, 18, 20, 20]
    assert retry.horizon == 66


def test_attempts_start_after_their_delays() -> None:
    app, fail, started = app_that_fails(Retry(max_attempts=4, backoff=10, jitter="none"), Broken("no"))
    with in_memory(app) as memory:
        fail.enqueue()
        memory.run_until_idle(travel=True)
        assert [later - started[0] for later in started] == [0, 10, 30, 70]


@pytest.mark.parametrize(("jitter", "low", "high"), [("full", 0, 8), ("equal", 4, 8), ("none", 8, 8)])
def test_jitter_stays_in_its_bounds_and_uses_them(jitter: Any, low: float, high: float) -> None:
    retry = Retry(backoff=8, jitter=jitter)
    drawn = [retry.delay(1) for _ in range(2_000)]
    assert low <= min(drawn) <= max(drawn) <= high
    spread = high - low
    assert min(drawn) <= low + spread / 10
    assert max(drawn) >= high - spread / 10


def test_a_task_may_ask_for_a_longer_delay_but_not_for_a_shorter_one() -> None:
    retry = Retry(backoff=10, jitter="none")
    assert retry.delay(1, RetryLater(45)) == 45
    assert retry.delay(1, RetryLater(3)) == 10


def test_a_task_that_asks_to_be_tried_later_is_tried_later_even_where_only_other_errors_are_retried() -> None:
    retry = Retry(max_attempts=2, backoff=0, retry_on=(ValueError,))
    app, fail, started = app_that_fails(retry, RetryLater(50, "not yet"))
    with in_memory(app) as memory:
        handle = fail.enqueue()
        memory.run_until_idle(travel=True)
        assert started[1] - started[0] == 50
        with pytest.raises(TaskFailed, match="not yet"):
            handle.result()


def test_errors_that_are_given_up_on_are_final_although_their_base_is_retried() -> None:
    retry = Retry(max_attempts=5, retry_on=(Broken,), give_up_on=(Hopeless,))
    assert retry.refuses(1, Broken()) is None
    assert retry.refuses(1, Hopeless()) == "not_retryable"
    assert retry.refuses(1, KeyError()) == "not_retryable"
    assert retry.refuses(5, Broken()) == "exhausted"


def test_giving_up_wins_over_asking_for_later() -> None:
    assert Retry(give_up_on=(RetryLater,)).refuses(1, RetryLater(1)) == "not_retryable"


def test_an_error_that_is_given_up_on_ends_the_task_at_its_first_attempt() -> None:
    app, fail, started = app_that_fails(Retry(max_attempts=5, give_up_on=Hopeless), Hopeless("no"))  # type: ignore[arg-type]  # a class alone is accepted
    with in_memory(app) as memory:
        handle = fail.enqueue()
        memory.run_until_idle(travel=True)
        assert len(started) == 1
        assert handle.status() is State.FAILED
        assert len(memory.dead_letters()) == 1


def test_delays_that_together_pass_the_14_days_of_a_message_are_refused() -> None:
    with pytest.raises(ConfigError, match="14 days"):
        Retry(max_attempts=16, backoff=DAY, factor=1, max_delay=DAY)
    assert Retry(max_attempts=14, backoff=DAY, factor=1, max_delay=DAY).horizon == 13 * DAY


def test_a_retry_that_would_wake_after_its_message_is_gone_ends_the_task() -> None:
    app, fail, started = app_that_fails(Retry(max_attempts=3), RetryLater(15 * DAY))
    with in_memory(app, scheduler=False) as memory:
        handle = fail.enqueue()
        memory.run_until_idle(travel=True)
        assert len(started) == 1
        with pytest.raises(TaskFailed) as failed:
            handle.result()
        assert failed.value.reason == "retention"
        assert len(memory.dead_letters()) == 1


def test_a_long_delay_is_kept_over_several_hidings_of_the_message() -> None:
    app, fail, started = app_that_fails(Retry(max_attempts=2), RetryLater(2 * DAY))
    with in_memory(app, scheduler=False) as memory:
        fail.enqueue()
        memory.run_until_idle(travel=True)
        assert len(started) == 2
        assert started[1] - started[0] == pytest.approx(2 * DAY, abs=2)


def test_a_huge_factor_does_not_overflow() -> None:
    assert Retry(max_attempts=3, factor=1e300, jitter="none", max_delay=5).delay(1000) == 5


@pytest.mark.parametrize(
    "values",
    [
        {"max_attempts": 0},
        {"max_attempts": 1001},
        {"max_attempts": 2.0},
        {"max_attempts": True},
        {"backoff": -1},
        {"backoff": float("nan")},
        {"backoff": "1"},
        {"factor": 0.5},
        {"max_delay": float("inf")},
        {"jitter": "some"},
        {"retry_on": (5,)},
        {"retry_on": 5},
        {"retry_on": ("ValueError",)},
        {"give_up_on": (object,)},
    ],
)
def test_values_out_of_range_are_refused_with_their_name(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(values))):
        Retry(**values)


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), 366 * DAY + 1, 1e12, "5", None, timedelta(1)])
def test_a_delay_that_is_none_is_refused(seconds: Any) -> None:
    with pytest.raises(ConfigError, match="give 0 to 31,622,400 seconds"):
        RetryLater(seconds)


def test_a_task_that_asks_for_more_than_a_year_has_failed_and_is_tried_again_as_its_retry_says() -> None:
    app = TaskQ("shop")

    @app.task(retry=Retry(max_attempts=2))
    def job() -> None:
        raise RetryLater(1e12)

    with in_memory(app) as memory:
        handle = job.enqueue()
        memory.run_until_idle()
        memory.travel(60)
        memory.run_until_idle()
        with pytest.raises(TaskFailed, match="a year"):
            handle.result(timeout=0)


# -- groups of exceptions ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("retry", "inside", "refusal"),
    [
        ({}, [Broken("no"), Broken("no")], None),
        ({"retry_on": (Broken,)}, [Broken("no"), Hopeless("no")], None),
        ({"retry_on": (OSError,)}, [OSError("no"), Broken("no")], "not_retryable"),
        ({"retry_on": (OSError,)}, [OSError("no"), RetryLater(9)], None),
        ({"retry_on": (OSError,)}, [Broken("no"), RetryLater(9)], "not_retryable"),
        ({"give_up_on": (Hopeless,)}, [Broken("no"), Hopeless("no")], "not_retryable"),
        ({"give_up_on": (Hopeless,)}, [RetryLater(9), ExceptionGroup("deep", [Hopeless("no")])], "not_retryable"),
        ({"give_up_on": (ExceptionGroup,)}, [Broken("no")], "not_retryable"),
        ({"retry_on": (ExceptionGroup,)}, [Broken("no")], None),
        ({"retry_on": (ExceptionGroup,), "give_up_on": (Hopeless,)}, [Hopeless("no")], "not_retryable"),
        ({}, [Broken("no"), SystemExit(1)], "not_retryable"),
    ],
)
def test_the_worst_exception_in_a_group_decides(
    retry: dict[str, Any], inside: list[BaseException], refusal: str | None
) -> None:
    assert Retry(**retry).refuses(1, BaseExceptionGroup("all", inside)) == refusal


def test_the_longest_delay_that_a_group_asks_for_counts() -> None:
    group = ExceptionGroup("all", [RetryLater(30), ExceptionGroup("deep", [RetryLater(300)]), Broken("no")])
    assert Retry().delay(1, group) == 300


def test_a_task_group_is_tried_again_as_its_tasks_ask() -> None:
    app = TaskQ("shop", retry=Retry(max_attempts=2))
    started: list[float] = []

    async def later() -> None:
        raise RetryLater(300)

    @app.task
    async def work() -> None:
        started.append(app.clock.time())
        async with asyncio.TaskGroup() as group:
            group.create_task(later())

    with in_memory(app) as memory:
        work.enqueue()
        memory.run_until_idle(travel=True)
        assert started[1] - started[0] >= 300
