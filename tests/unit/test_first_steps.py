"""What a newcomer tried, and what it must say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from taskq_sls import ConfigError, Queue, TaskQ, TaskQError, wait_all
from taskq_sls.errors import AwsError
from taskq_sls.results.dynamodb.stored_records import record_of
from taskq_sls.testing import in_memory


def test_a_queue_named_like_the_dead_letter_queue_of_another_is_refused() -> None:
    with pytest.raises(ConfigError, match="'a-dlq' is the dead-letter queue of 'a'"):
        TaskQ("x", queues=[Queue("a"), Queue("a-dlq")])


def test_a_queue_named_like_the_dead_letter_queue_of_schedules_is_refused() -> None:
    with pytest.raises(ConfigError, match="schedules"):
        TaskQ("x", queues=[Queue("schedules-dlq")])


def test_a_queue_that_would_share_the_dead_letter_queue_of_schedules_is_refused() -> None:
    with pytest.raises(ConfigError, match="'schedules' would share its dead-letter queue"):
        TaskQ("x", queues=[Queue("schedules")])
    assert list(TaskQ("x", queues=[Queue("schedules.fifo")]).queues) == ["schedules.fifo"]


def test_a_queue_in_place_of_a_list_and_urls_that_are_none_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"queues must be a list; give queues=\[Queue\('a'\)\]"):
        TaskQ("x", queues=Queue("a"))  # type: ignore[arg-type]  # what is tested
    for urls in ("https://sqs/x", {"default": 5}, {"default": ""}):
        with pytest.raises(ConfigError, match=r"queue_urls=.* must map queue names to URLs"):
            _ = TaskQ("x", queue_urls=urls).settings  # type: ignore[arg-type]  # what is tested


def test_what_is_waited_for_may_be_any_iterable_of_handles_and_nothing_else() -> None:
    app = TaskQ("x")

    @app.task(name="x:job")
    def job(number: int) -> int:
        return number

    with in_memory(app):
        assert wait_all(job.enqueue(number) for number in range(3)) == [0, 1, 2]
        for wrong in (job.enqueue(1), [1], "ab", None):
            with pytest.raises(ConfigError, match="must be a list of handles"):
                wait_all(wrong)  # type: ignore[arg-type]  # what is tested


def test_aliases_given_as_one_text_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"aliases=\['old:x'\]"):
        TaskQ("x").task(aliases="old:x")
    with pytest.raises(ConfigError, match="aliases=None must be a list of names"):
        TaskQ("x").task(aliases=None)  # type: ignore[call-overload]  # what is tested


def test_queues_of_a_worker_given_as_one_text_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"queues=\['default'\]"):
        TaskQ("x").worker(queues="default")


def test_a_time_limit_beyond_the_function_that_consumes_the_queue_is_refused() -> None:
    app = TaskQ("x", queues=[Queue("d", function_timeout=10)])
    with pytest.raises(ConfigError, match="function_timeout=10"):
        app.task(timeout=20)(_nothing)


def test_a_lifespan_that_is_no_function_is_refused() -> None:
    with pytest.raises(ConfigError, match="lifespan=5 is not a function"):
        TaskQ("x", lifespan=5)  # type: ignore[arg-type]  # the point of the test


def test_a_lifespan_without_its_decorator_is_named() -> None:
    async def lifespan(app: TaskQ) -> AsyncIterator[None]:
        yield

    app = TaskQ("x", lifespan=lifespan)  # type: ignore[arg-type]  # the point of the test
    with in_memory(app) as memory, pytest.raises(ConfigError, match="asynccontextmanager"):
        memory.run_until_idle()


def test_a_method_is_refused_as_a_task() -> None:
    with pytest.raises(ConfigError, match="a method cannot be a task"):
        TaskQ("x").task(_Holder.method)


def test_a_builtin_is_refused_as_a_task() -> None:
    with pytest.raises(ConfigError, match="builtin"):
        TaskQ("x").task(len)


def test_the_sync_driver_of_the_testing_kit_names_the_async_one_inside_a_loop() -> None:
    async def main() -> None:
        with in_memory(TaskQ("x")) as memory:
            memory.run_until_idle()

    with pytest.raises(TaskQError, match="arun_until_idle"):
        asyncio.run(main())


def test_a_record_that_an_emulator_shows_half_written_is_a_passing_fault() -> None:
    with pytest.raises(AwsError, match="is incomplete") as caught:
        record_of({"pk": {"S": "T#1"}, "sk": {"S": "META"}})
    assert caught.value.transient


def _nothing() -> None: ...


class _Holder:
    def method(self, x: int) -> int:
        return x
