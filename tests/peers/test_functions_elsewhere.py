"""What goes wrong elsewhere in Lambda functions that consume a queue: ours behind an emulated event source mapping."""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from taskq_sls import Queue, Retry, TaskContext, TaskFailed
from taskq_sls.core.flow import drive
from taskq_sls.local_aws.container import InlineContainer
from taskq_sls.local_aws.event_source_mapping import EventSourceMapping
from taskq_sls.serverless import LambdaHandler
from tests.support.aws_bench import AwsBench
from tests.support.waiting import until

MakeBench = Callable[..., AwsBench]


def bench_of(make_aws_bench: MakeBench, function_timeout: int) -> AwsBench:
    """The queue's own visibility is six times the timeout: a batch that comes back as a whole comes back then."""
    return make_aws_bench(Queue("default", visibility_timeout=5, function_timeout=function_timeout, max_concurrency=2))


@contextlib.contextmanager
def mapping(bench: AwsBench, wrapped: Callable[[LambdaHandler], Any] = lambda handler: handler) -> Iterator[None]:
    """The queue's messages go to functions for the time of the block, each container with a handler of its own."""
    handlers: list[LambdaHandler] = []

    def container() -> InlineContainer:
        handlers.append(bench.app.lambda_handler())
        return InlineContainer(wrapped(handlers[-1]))

    url = drive(bench.app.services.blocking().broker._urls.url("default"))  # type: ignore[attr-defined]  # SQS's own
    queue, server = bench.app.queues["default"], bench.server
    with EventSourceMapping(queue, url, container, endpoint=server.endpoint, region=server.region):
        yield
    for handler in handlers:
        handler.close()


def test_a_batch_in_which_every_record_fails_is_answered_and_not_raised(
    make_aws_bench: MakeBench, caplog: pytest.LogCaptureFixture
) -> None:
    """Elsewhere it raises; and there is neither a retry of the library's own nor a state that says FAILED."""
    caplog.set_level(logging.INFO)
    bench = bench_of(make_aws_bench, function_timeout=10)
    attempts: Counter[int] = Counter()

    @bench.app.task(name="job", retry=Retry(max_attempts=2, backoff=0))
    async def job(ctx: TaskContext, number: int) -> None:
        attempts[number] += 1
        raise ValueError("no")

    handles = job.enqueue_many([(number,) for number in range(3)])
    with mapping(bench):
        for handle in handles:
            with pytest.raises(TaskFailed, match="no"):
                handle.result(60)
    assert attempts == dict.fromkeys(range(3), 2)
    assert "mapping_invocation_failed" not in [getattr(record, "action", "") for record in caplog.records]


def test_what_is_finished_does_not_run_again_when_its_batch_comes_back_as_a_whole(make_aws_bench: MakeBench) -> None:
    """A function that dies after its work has its whole batch delivered again."""
    bench = bench_of(make_aws_bench, function_timeout=2)
    runs: Counter[int] = Counter()
    deaths = 0

    @bench.app.task(name="job")
    async def job(number: int) -> int:
        runs[number] += 1
        return number

    def dying(handler: LambdaHandler) -> Callable[[Any, Any], Any]:
        def function(event: Any, context: Any) -> Any:
            nonlocal deaths
            answer = handler(event, context)
            if all(record["attributes"]["ApproximateReceiveCount"] == "1" for record in event["Records"]):
                deaths += 1
                raise MemoryError("the container died")
            return answer

        return function

    handles = job.enqueue_many([(number,) for number in range(3)])
    with mapping(bench, dying):
        assert [handle.result(60) for handle in handles] == [0, 1, 2]
        broker = bench.app.services.blocking().broker
        until(lambda: not sum(drive(broker.depth("default"))), message="the batch did not come back and go")
    assert deaths >= 1
    assert runs == dict.fromkeys(range(3), 1)
