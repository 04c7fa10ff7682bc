"""Hooks around dispatch: the changes they may make, the answers they get, and that batches stay batches."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import zlib
from typing import Any

import pytest

from taskq_sls import ArgumentsError, ConfigError, EnqueueError, Middleware, MissingResource
from taskq_sls.brokers.base import EntryError
from taskq_sls.core.message import Message, decode
from taskq_sls.errors import SuspendedError
from taskq_sls.testing import InMemory
from tests.support.apps import shop_with_job
from tests.support.faulty_backends import throttled
from tests.support.waiting import async_until


class Async(Middleware):
    """An async hook that makes the change of a test."""

    def __init__(self, change: Any = None, log: list[Any] | None = None) -> None:
        self.change = change or (lambda message: message)
        self.log = [] if log is None else log

    async def dispatch(self, message: Message, call_next: Any) -> Message:
        self.log.append(("in", message.args))
        try:
            sent = await call_next(self.change(message))
        except Exception as error:
            self.log.append(("failed", str(error)))
            raise
        self.log.append(("sent", sent.args))
        return sent


class Plain(Async):
    """The same as a plain function."""

    def dispatch(self, message: Message, call_next: Any) -> Message:  # type: ignore[override]  # plain on purpose
        self.log.append(("in", message.args))
        try:
            sent = call_next(self.change(message))
        except Exception as error:
            self.log.append(("failed", str(error)))
            raise
        self.log.append(("sent", sent.args))
        return sent


both = pytest.mark.parametrize("kind", [Async, Plain], ids=lambda kind: kind.__name__)


def bodies(memory: InMemory, queue: str = "default") -> list[Message]:
    return [decode(queued.body) for queued in memory.broker.messages(queue)]


def labelled(message: Message) -> Message:
    return message._replace(labels={**message.labels, "from": "hook"})


@both
def test_a_hook_may_change_the_message_in_sync_calls(kind: Any) -> None:
    _, job, memory = shop_with_job(faulty_broker=True, middleware=[kind(labelled)])
    with memory:
        job.with_options(labels={"order": "7"}).enqueue(1)
        job.enqueue_many([(2,), (3,)])
        assert sorted((message.args[0], message.labels["from"]) for message in bodies(memory)) == [
            (1, "hook"),
            (2, "hook"),
            (3, "hook"),
        ]
        assert bodies(memory)[0].labels["order"] == "7"


@both
async def test_a_hook_may_change_the_message_in_async_calls(kind: Any) -> None:
    _, job, memory = shop_with_job(faulty_broker=True, middleware=[kind(labelled)])
    with memory:
        await job.aenqueue(1)
        await job.aenqueue_many([(2,), (3,)])
        assert sorted((message.args[0], message.labels["from"]) for message in bodies(memory)) == [
            (1, "hook"),
            (2, "hook"),
            (3, "hook"),
        ]


@both
def test_the_handle_knows_the_id_that_a_hook_gave(kind: Any) -> None:
    _, job, memory = shop_with_job(
        faulty_broker=True, middleware=[kind(lambda message: message._replace(id="chosen-by-hook"))]
    )
    with memory:
        assert job.enqueue(1).id == "chosen-by-hook"


@pytest.mark.parametrize(
    ("outer", "inner"), [(Async, Async), (Async, Plain), (Plain, Async), (Plain, Plain)], ids=lambda hook: hook.__name__
)
async def test_hooks_of_the_app_lie_around_those_of_the_task(outer: Any, inner: Any) -> None:
    def mark(name: str) -> Any:
        return lambda message: message._replace(labels={"order": message.labels.get("order", "") + name})

    app, _, memory = shop_with_job(faulty_broker=True, middleware=[outer(mark("a")), outer(mark("b"))])

    @app.task(middleware=[inner(mark("c"))])
    def other() -> None: ...

    with memory:
        await other.aenqueue()
        await asyncio.to_thread(other.enqueue)
        assert [message.labels["order"] for message in bodies(memory)] == ["abc", "abc"]


@both
@pytest.mark.parametrize("many", [False, True])
def test_a_hook_may_refuse_by_raising(kind: Any, many: bool) -> None:
    def refuse(message: Message) -> Message:
        if message.args == [2]:
            raise PermissionError("not 2")
        return message

    _, job, memory = shop_with_job(faulty_broker=True, middleware=[kind(refuse)])
    with memory:
        if many:
            with pytest.raises(EnqueueError) as raised:
                job.enqueue_many([(1,), (2,), (3,)])
            [failed] = raised.value.failed
            assert (failed.index, failed.code, failed.message) == (1, "PermissionError", "not 2")
            assert len(raised.value.sent) == 2
            assert sorted(message.args[0] for message in bodies(memory)) == [1, 3]
        else:
            with pytest.raises(PermissionError, match="not 2"):
                job.enqueue(2)
            assert bodies(memory) == []


class SwallowsAsync(Middleware):
    async def dispatch(self, message: Message, call_next: Any) -> Message:
        return message


class SwallowsPlain(Middleware):
    def dispatch(self, message: Message, call_next: Any) -> Message:
        return message


@pytest.mark.parametrize("hook", [SwallowsAsync(), SwallowsPlain()], ids=["async", "plain"])
async def test_a_hook_that_does_not_call_next_is_an_error_and_not_a_lost_message(hook: Middleware) -> None:
    _, job, memory = shop_with_job(faulty_broker=True, middleware=[hook])
    with memory:
        with pytest.raises(ConfigError, match="without calling call_next"):
            await job.aenqueue(1)
        with pytest.raises(ConfigError, match="without calling call_next"):
            await asyncio.to_thread(job.enqueue, 1)


class ForgetsAsync(Middleware):
    async def dispatch(self, message: Message, call_next: Any) -> Any:
        await call_next(message)


class ForgetsPlain(Middleware):
    def dispatch(self, message: Message, call_next: Any) -> Any:
        call_next(message)


@pytest.mark.parametrize("hook", [ForgetsAsync(), ForgetsPlain()], ids=["async", "plain"])
def test_a_hook_that_returns_nothing_is_told(hook: Middleware) -> None:
    _, job, memory = shop_with_job(faulty_broker=True, middleware=[hook])
    with memory, pytest.raises(ConfigError, match="returned None; return what call_next returned"):
        job.enqueue(1)


class TwiceAsync(Middleware):
    async def dispatch(self, message: Message, call_next: Any) -> Any:
        await call_next(message)
        return await call_next(message)


class TwicePlain(Middleware):
    def dispatch(self, message: Message, call_next: Any) -> Any:
        call_next(message)
        return call_next(message)


@pytest.mark.parametrize("hook", [TwiceAsync(), TwicePlain()], ids=["async", "plain"])
def test_a_hook_cannot_send_its_message_twice(hook: Middleware) -> None:
    _, job, memory = shop_with_job(faulty_broker=True, middleware=[hook])
    with memory:
        with pytest.raises(ConfigError, match="called call_next twice"):
            job.enqueue(1)
        assert len(bodies(memory)) == 1


class SuspendsAsync(Middleware):
    async def dispatch(self, message: Message, call_next: Any) -> Any:
        await asyncio.get_running_loop().create_future() if message.args == [0] else await asyncio.sleep(0)
        return await call_next(message)


def test_an_async_hook_that_really_suspends_in_a_sync_call_is_named() -> None:
    _, job, memory = shop_with_job(faulty_broker=True, middleware=[SuspendsAsync()])
    with memory:
        with pytest.raises(SuspendedError, match=r"SuspendsAsync\.dispatch"):
            job.enqueue(1)
        assert bodies(memory) == []


def test_with_plain_hooks_beside_it_the_hook_that_suspends_is_named_and_each_entry_told() -> None:
    class Sometimes(Middleware):
        async def dispatch(self, message: Message, call_next: Any) -> Any:
            if message.args == [2]:
                await asyncio.sleep(0)
            return await call_next(message)

    _, job, memory = shop_with_job(faulty_broker=True, middleware=[Sometimes(), Plain()])
    with memory:
        with pytest.raises(SuspendedError, match=r"Sometimes\.dispatch"):
            job.enqueue(2)
        with pytest.raises(EnqueueError) as raised:
            job.enqueue_many([(1,), (2,), (3,)])
        assert [entry.index for entry in raised.value.failed] == [1]
        assert sorted(message.args[0] for message in bodies(memory)) == [1, 3]


async def test_an_async_hook_may_wait_in_async_calls() -> None:
    _, job, memory = shop_with_job(faulty_broker=True, middleware=[SuspendsAsync()])
    with memory:
        await job.aenqueue_many([(1,), (2,)])
        assert len(bodies(memory)) == 2


async def test_async_hooks_keep_batches_and_plain_ones_send_one_by_one() -> None:
    for hooks, sends in ([Async()], [25]), ([Async(), Async()], [25]), ([Plain()], [1] * 25), ([], [25]):
        _, job, memory = shop_with_job(faulty_broker=True, middleware=[*hooks])
        with memory:
            await job.aenqueue_many([(number,) for number in range(25)])
            await asyncio.to_thread(job.enqueue_many, [(number,) for number in range(25)])
            assert memory.broker.sends == sends * 2  # type: ignore[attr-defined]  # the faulty broker


@both
def test_hooks_see_that_their_message_was_not_accepted(kind: Any) -> None:
    log: list[Any] = []
    _, job, memory = shop_with_job(faulty_broker=True, middleware=[kind(log=log)])
    memory.broker.refuse = lambda out: EntryError("Nope", "not today") if '"args":[2]' in out.body else None  # type: ignore[attr-defined]
    with memory:
        with pytest.raises(EnqueueError) as raised:
            job.enqueue_many([(1,), (2,), (3,)])
        [failed] = raised.value.failed
        assert (failed.index, failed.code, failed.message) == (1, "Nope", "not today")
        assert ("failed", "Nope: not today") in log
        assert ("sent", [1]) in log
        assert ("sent", [3]) in log


@both
def test_hooks_see_that_the_whole_send_failed_and_the_caller_gets_the_error_itself(kind: Any) -> None:
    log: list[Any] = []
    _, job, memory = shop_with_job(faulty_broker=True, middleware=[kind(log=log)])
    memory.broker.refuse = lambda out: MissingResource("no such queue")  # type: ignore[attr-defined]
    with memory:
        with pytest.raises(MissingResource, match="no such queue"):
            job.enqueue(1)
        assert log == [("in", [1]), ("failed", "no such queue")]


def test_a_failure_of_the_whole_send_reaches_the_caller_of_many_as_it_is() -> None:
    _, job, memory = shop_with_job(faulty_broker=True, middleware=[Async()])
    memory.broker.refuse = lambda out: MissingResource("no such queue")  # type: ignore[attr-defined]
    with memory, pytest.raises(MissingResource, match="no such queue"):
        job.enqueue_many([(1,), (2,)])


class SwallowsFailure(Middleware):
    async def dispatch(self, message: Message, call_next: Any) -> Any:
        try:
            return await call_next(message)
        except Exception:
            return message


class SwallowsFailurePlain(Middleware):
    def dispatch(self, message: Message, call_next: Any) -> Any:
        try:
            return call_next(message)
        except Exception:
            return message


@pytest.mark.parametrize("hook", [SwallowsFailure(), SwallowsFailurePlain()], ids=["async", "plain"])
@pytest.mark.parametrize(
    "refusal", [EntryError("Nope", "not today"), MissingResource("no such queue")], ids=["entry", "all"]
)
def test_a_hook_cannot_pass_off_a_failed_send_as_sent(hook: Middleware, refusal: Any) -> None:
    _, job, memory = shop_with_job(faulty_broker=True, middleware=[hook])
    memory.broker.refuse = lambda out: refusal  # type: ignore[attr-defined]
    with memory, pytest.raises((EnqueueError, ConfigError)):
        job.enqueue(1)


variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="lost")


@both
def test_hooks_see_the_callers_context_variables_in_sync_calls(kind: Any) -> None:
    _, job, memory = shop_with_job(
        middleware=[kind(lambda message: message._replace(labels={"request": variable.get()}))]
    )
    token = variable.set("mine")
    try:
        with memory:
            job.enqueue(0)
            job.enqueue_many([(1,), (2,), (3,)])
            assert [message.labels["request"] for message in bodies(memory)] == ["mine"] * 4
    finally:
        variable.reset(token)


@both
async def test_hooks_see_the_callers_context_variables_in_async_calls(kind: Any) -> None:
    _, job, memory = shop_with_job(
        middleware=[kind(lambda message: message._replace(labels={"request": variable.get()}))]
    )
    variable.set("mine")
    with memory:
        await job.aenqueue(0)
        await job.aenqueue_many([(1,), (2,), (3,)])
        assert [message.labels["request"] for message in bodies(memory)] == ["mine"] * 4


async def test_plain_hooks_run_outside_of_the_loops_thread() -> None:
    seen: list[int] = []

    def note(message: Message) -> Message:
        seen.append(threading.get_ident())
        return message

    _, job, memory = shop_with_job(faulty_broker=True, middleware=[Plain(note)])
    with memory:
        await job.aenqueue(1)
        assert threading.get_ident() not in seen


async def test_many_messages_pass_several_plain_hooks_at_once() -> None:
    _, job, memory = shop_with_job(faulty_broker=True, middleware=[Plain(), Async(), Plain(), Plain()])
    with memory:
        async with asyncio.timeout(30):
            await asyncio.gather(*(job.aenqueue(number) for number in range(40)))
            await job.aenqueue_many([(number,) for number in range(40)])
        assert len(bodies(memory)) == 80


async def test_a_caller_that_is_cancelled_in_a_plain_hook_stays_cancelled() -> None:
    go, begun = threading.Event(), threading.Event()

    def wait(message: Message) -> Message:
        begun.set()
        try:
            go.wait(60)
        except BaseException:
            pass  # the interrupt that the cancellation brings
        return message

    _, job, memory = shop_with_job(faulty_broker=True, middleware=[Plain(wait)])
    with memory:
        caller = asyncio.create_task(job.aenqueue(1))
        await async_until(begun.is_set)
        caller.cancel()
        for _ in range(3):
            await asyncio.sleep(0)
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await caller


def test_entries_that_were_refused_are_named_and_the_others_have_handles() -> None:
    _, job, memory = shop_with_job(faulty_broker=True)
    memory.broker.refuse = lambda out: (  # type: ignore[attr-defined]  # of the test broker
        EntryError("Nope", "x") if '"args":[1]' in out.body or '"args":[3]' in out.body else None
    )
    with memory:
        with pytest.raises(EnqueueError, match="2 of 5") as raised:
            job.enqueue_many([(number,) for number in range(5)])
        assert [entry.index for entry in raised.value.failed] == [1, 3]
        memory.run_until_idle()
        assert [handle.result() for handle in raised.value.sent] == [0, 2, 4]


def test_an_ambiguous_send_can_be_repeated_with_the_id_of_the_error() -> None:
    _, job, memory = shop_with_job(faulty_broker=True)
    memory.broker.refuse = lambda out: EntryError("Timeout", "who knows")  # type: ignore[attr-defined]
    with memory:
        with pytest.raises(EnqueueError) as raised:
            job.enqueue(7)
        id = raised.value.failed[0].id
        assert id in str(raised.value)
        memory.broker.refuse = lambda out: None  # type: ignore[attr-defined]
        handle = job.with_options(id=id).enqueue(7)
        assert handle.id == id
        memory.run_until_idle()
        assert handle.result() == 7


def test_a_fault_of_the_whole_call_is_raised_as_it_is() -> None:
    _, job, memory = shop_with_job(faulty_broker=True)
    memory.broker.refuse = lambda out: throttled("send_message_batch")  # type: ignore[attr-defined]
    with memory, pytest.raises(type(throttled()), match="slow down"):
        job.enqueue(1)


def test_a_fifo_message_carries_its_group_and_a_deduplication_id_of_its_own() -> None:
    _, job, memory = shop_with_job(faulty_broker=True)
    seen: list[Any] = []
    memory.broker.refuse = lambda out: seen.append((out.group, out.dedup))  # type: ignore[attr-defined]
    with memory:
        job.with_options(queue="ledger.fifo", group="g", id="task-9").enqueue(1)
        job.with_options(group="tenant").enqueue(1)
        assert seen == [("g", f"task-9:0:0:{zlib.crc32(job.name.encode()) & 0xFFFFFF:06x}"), ("tenant", None)]


@both
def test_labels_that_a_hook_adds_count_towards_the_limit(kind: type[Async]) -> None:
    hook = kind(lambda message: message._replace(labels={"tenant": "x" * 4_096}))
    _, job, memory = shop_with_job(faulty_broker=True, middleware=[hook])

    with pytest.raises(ArgumentsError, match=r"4,102 bytes, above the limit of 4,096"):
        job.enqueue(1)

    assert memory.run_until_idle() == 0
