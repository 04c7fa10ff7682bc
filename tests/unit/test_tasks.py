"""Declaring tasks and sending them: which mistakes raise, where, and that nothing was sent then."""

from __future__ import annotations

import datetime
import functools
from typing import Any

import pytest

from taskq_sls import ArgumentsError, ConfigError, PayloadTooLarge, Queue, TaskContext, TaskQ
from taskq_sls.core.message import decode
from taskq_sls.testing import in_memory
from tests.support.faulty_backends import FaultyBroker


@pytest.fixture
def app() -> TaskQ:
    return TaskQ("shop", queues=[Queue("default"), Queue("slow"), Queue("ledger.fifo")])


@pytest.fixture
def resize(app: TaskQ) -> Any:
    @app.task(name="resize")
    def resize(path: str, width: int, *, quality: int = 80) -> str:
        return f"{path}@{width}/{quality}"

    return resize


# -- arguments ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "kwargs", "says"),
    [
        ((), {}, "missing a required argument: 'path'"),
        (("a.png",), {}, "missing a required argument: 'width'"),
        (("a.png", 1, 2), {}, "too many positional arguments"),
        (("a.png", 1), {"height": 2}, "unexpected keyword argument 'height'"),
        (("a.png", 1), {"width": 2}, "multiple values"),
        (("a.png", "wide"), {}, "'width'"),
        (("a.png", 1.5), {}, "'width'"),
        (("a.png", True), {}, "'width'"),
        ((b"a.png", 1), {}, "'path'"),
        (("a.png", 1), {"quality": None}, "'quality'"),
        (("\ud800", 1), {}, "'path'"),
    ],
)
async def test_arguments_that_do_not_fit_are_refused_with_the_parameter_and_nothing_is_sent(
    app: TaskQ, resize: Any, args: Any, kwargs: Any, says: str
) -> None:
    with in_memory(app) as memory:
        for send in (resize.enqueue, resize.with_options(delay=1).enqueue):
            with pytest.raises(ArgumentsError, match=says):
                send(*args, **kwargs)
        with pytest.raises(ArgumentsError, match=says):
            await resize.aenqueue(*args, **kwargs)
        with pytest.raises(ArgumentsError, match=f"entry 1: .*{says}.*nothing was sent"):
            resize.enqueue_many([("a.png", 1), resize.call(*args, **kwargs)])
        assert memory.broker.messages("default") == []


@pytest.mark.parametrize("value", [object(), float("nan"), float("inf"), {1: "a"}, {"a", "b"}, (1, 2), b"x", lambda: 1])
def test_values_that_are_not_plain_json_are_refused_without_an_annotation(app: TaskQ, value: Any) -> None:
    @app.task
    def job(value):  # type: ignore[no-untyped-def]  # plain JSON
        ...

    with in_memory(app), pytest.raises(ArgumentsError, match="'value'"):
        job.enqueue(value)


def test_values_that_json_lacks_travel_by_annotation(app: TaskQ) -> None:
    @app.task
    def tomorrow(day: datetime.date, names: set[str]) -> datetime.date:
        assert names == {"a", "b"}
        return day + datetime.timedelta(days=1)

    with in_memory(app) as memory:
        handle = tomorrow.enqueue(datetime.date(2024, 2, 28), {"a", "b"})
        memory.run_until_idle()
        assert handle.result() == datetime.date(2024, 2, 29)
        record = app.results.get(handle.id)
        assert record is not None
        assert record.result == datetime.date(2024, 2, 29)


def test_a_reference_takes_plain_json_only(app: TaskQ) -> None:
    with in_memory(app):
        with pytest.raises(ArgumentsError, match="plain JSON"):
            app.ref("other:task").enqueue(datetime.date(2024, 2, 28))
        assert app.ref("other:task").enqueue(1, any=["thing"]).task == "other:task"


@pytest.mark.parametrize("send", ["enqueue", "enqueue_many"])
def test_a_body_above_the_limit_of_sqs_is_refused_and_nothing_is_sent(app: TaskQ, send: str) -> None:
    @app.task
    def job(text: str) -> None: ...

    big = "x" * 1_048_576
    with in_memory(app) as memory:
        with pytest.raises(PayloadTooLarge, match="1,048,576"):
            job.enqueue(big) if send == "enqueue" else job.enqueue_many([("small",), (big,)])
        assert memory.broker.messages("default") == []


def test_arguments_changed_after_the_enqueue_change_nothing(app: TaskQ) -> None:
    @app.task
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    with in_memory(app) as memory:
        numbers = [1, 2]
        handle = total.enqueue(numbers)
        numbers.append(3)
        memory.run_until_idle()
        assert handle.result() == 3


# -- sending many -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", [["a.png", 1], "ab", {"path": "a"}, 5, None])
def test_an_entry_that_is_neither_tuple_nor_call_is_refused(app: TaskQ, resize: Any, entry: Any) -> None:
    with in_memory(app), pytest.raises(ArgumentsError, match=r"entry 1: .*must be a tuple of arguments or task\.call"):
        resize.enqueue_many([("a.png", 1), entry])


def test_a_call_of_another_task_is_refused(app: TaskQ, resize: Any) -> None:
    @app.task(name="other")
    def other(path: str, width: int) -> None: ...

    with in_memory(app), pytest.raises(ArgumentsError, match="a call of task other"):
        resize.enqueue_many([other.call("a.png", 1)])


def test_sending_none_is_no_error(app: TaskQ, resize: Any) -> None:
    with in_memory(app):
        assert resize.enqueue_many([]) == []


def test_entries_may_come_from_a_generator(app: TaskQ, resize: Any) -> None:
    with in_memory(app) as memory:
        handles = resize.enqueue_many((f"{number}.png", number) for number in range(25))
        assert len({handle.id for handle in handles}) == 25
        assert len(memory.broker.messages("default")) == 25


def test_calls_bring_their_own_options(app: TaskQ, resize: Any) -> None:
    with in_memory(app) as memory:
        handles = resize.enqueue_many(
            [
                resize.with_options(id="a", queue="slow").call("a.png", 1),
                resize.with_options(id="b", delay=5).call("b.png", 2, quality=3),
                ("c.png", 3),
            ]
        )
        assert [(handle.id, handle.queue) for handle in handles[:2]] == [("a", "slow"), ("b", "default")]
        memory.run_until_idle(travel=True)
        assert [handle.result() for handle in handles] == ["a.png@1/80", "b.png@2/3", "c.png@3/80"]


@pytest.mark.parametrize("many", [1, 2])
def test_entries_that_share_an_id_are_refused(app: TaskQ, resize: Any, many: int) -> None:
    with in_memory(app) as memory:
        sender = resize.with_options(id="same")
        if many == 1:
            assert [handle.id for handle in sender.enqueue_many([("a.png", 1)])] == ["same"]
            return
        with pytest.raises(ConfigError, match="share ids"):
            sender.enqueue_many([("a.png", 1), ("b.png", 2)])
        assert memory.broker.messages("default") == []


def test_one_send_takes_all_entries_to_the_broker(app: TaskQ, resize: Any) -> None:
    memory = in_memory(app)
    memory.broker = FaultyBroker(memory.clock, app.queues.values())  # type: ignore[assignment]  # it counts sends
    with memory:
        resize.enqueue_many([("a.png", number) for number in range(25)])
        assert memory.broker.sends == [25]  # type: ignore[attr-defined]  # the faulty broker


def test_the_envelope_is_small_and_readable(app: TaskQ, resize: Any) -> None:
    with in_memory(app) as memory:
        resize.enqueue("a.png", 200)
        body = memory.broker.messages("default")[0].body
        assert len(body) < 200
        assert '"task":"resize","args":["a.png",200]' in body
        assert decode(body).enqueued_at == memory.clock.time()


def test_ids_sort_by_time(app: TaskQ, resize: Any) -> None:
    with in_memory(app) as memory:
        ids = []
        for _ in range(5):
            ids.append(resize.enqueue("a.png", 1).id)
            memory.travel(0.002)
        assert ids == sorted(ids)


# -- declaring ----------------------------------------------------------------------------------------------------


def generator() -> Any:
    yield 1


async def async_generator() -> Any:
    yield 1


class AClass: ...


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (generator, "a generator cannot be a task"),
        (async_generator, "a generator cannot be a task"),
        (AClass, "is not a function"),
        (lambda: 1, "give name="),
        (7, "give name="),
    ],
)
def test_what_is_no_function_cannot_be_a_task(app: TaskQ, function: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        app.task(function)


def test_a_context_must_come_first(app: TaskQ) -> None:
    with pytest.raises(ConfigError, match="'ctx'; it must be the first parameter"):

        @app.task
        def late(a: int, ctx: TaskContext) -> None: ...

    with pytest.raises(ConfigError, match="'ctx'; it must be the first parameter"):

        @app.task
        def named(*, ctx: TaskContext) -> None: ...


def test_a_parameter_that_cannot_travel_is_refused_at_the_declaration(app: TaskQ) -> None:
    class Connection: ...

    with pytest.raises(ConfigError, match="'connection'"):

        @app.task
        def job(connection: Connection) -> None: ...


def test_an_annotation_may_name_what_is_defined_further_down(app: TaskQ) -> None:
    @app.task(name="later")
    def later(item: Item) -> int:  # type: ignore[name-defined]  # noqa: F821  # the test is about it  # type: ignore[name-defined]  # the test is about it
        return item.price

    with pytest.raises(ConfigError, match="'Item', which does not exist"):
        later.enqueue(1)
    globals()["Item"] = make_item()
    try:
        with in_memory(app) as memory:
            handle = later.enqueue(globals()["Item"](price=3))
            memory.run_until_idle()
            assert handle.result() == 3
    finally:
        del globals()["Item"]


def make_item() -> Any:
    from dataclasses import make_dataclass

    return make_dataclass("Item", [("price", int)])


def test_a_wrapped_function_keeps_its_signature(app: TaskQ) -> None:
    def traced(function: Any) -> Any:
        @functools.wraps(function)
        def around(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return around

    @app.task
    @traced
    def add(a: int, b: int) -> int:
        return a + b

    with in_memory(app) as memory:
        with pytest.raises(ArgumentsError):
            add.enqueue("a", 1)
        handle = add.enqueue(1, 2)
        memory.run_until_idle()
        assert handle.result() == 3


def test_a_task_of_another_app_may_be_a_task_here_too(app: TaskQ) -> None:
    other = TaskQ("other")

    @other.task
    async def hello(name: str) -> str:
        return f"hello {name}"

    mine = app.task(hello)
    with in_memory(app) as memory:
        handle = mine.enqueue("you")
        memory.run_until_idle()
        assert handle.result() == "hello you"


def test_a_task_shows_its_name() -> None:
    app = TaskQ("shop")

    @app.task(name="job")
    def job() -> None: ...

    assert (repr(job), repr(app)) == ("<Task job>", "<TaskQ shop: 1 tasks>")
