"""What a type checker must accept and refuse of a task. Checked by mypy, never run.

Each refused line carries the error it must give: `warn_unused_ignores` makes a line that is accepted an error.
"""

from __future__ import annotations

from typing import Any, assert_type

from taskq_sls import (
    Queue,
    Retry,
    Schedule,
    ScheduleHandle,
    TaskContext,
    TaskHandle,
    TaskQ,
    at,
    await_all,
    cron,
    rate,
    wait_all,
)

app = TaskQ("typing", queues=[Queue("default"), Queue("slow")])


@app.task
def resize(path: str, width: int = 100) -> str:
    return f"{path}-{width}"


@app.task(retry=Retry(max_attempts=5), timeout=30)
def total(first: int, second: float) -> float:
    return first + second


@app.task
async def fetch(url: str) -> bytes:
    return url.encode()


@app.task(timeout=5)
async def ping() -> None: ...


@app.task
def with_context(ctx: TaskContext, path: str) -> int:
    return len(path)


@app.task(queue="slow")
async def async_with_context(ctx: TaskContext, path: str, *, deep: bool = False) -> list[str]:
    return [path]


@app.task
def takes_anything(value: object, count: int) -> int:
    return count


@app.task
def takes_any(value: Any, count: int) -> int:
    return count


@app.task()
def takes_anything_decorated_with_options(value: object, count: int) -> int:
    return count


def results_have_the_type_that_the_task_returns() -> None:
    assert_type(resize.enqueue("a.png", 200), TaskHandle[str])
    assert_type(resize.enqueue("a.png", width=200).result(timeout=5), str)
    assert_type(total.enqueue(1, 2.5).result(), float)
    assert_type(fetch.enqueue("x").result(), bytes)
    assert_type(with_context.enqueue("a").result(), int)
    assert_type(resize.enqueue_many([("a.png", 200), ("b.png", 300)]), list[TaskHandle[str]])
    assert_type(resize.enqueue_many([resize.call("a.png"), resize.call("b.png", width=3)]), list[TaskHandle[str]])
    assert_type(wait_all([total.enqueue(1, 2.0)]), list[float])
    assert_type(resize.with_options(delay=60).enqueue("a.png", 200), TaskHandle[str])


async def async_forms_have_the_same_types() -> None:
    assert_type(await resize.aenqueue("a.png", 200), TaskHandle[str])
    assert_type(await (await fetch.aenqueue("x")).aresult(timeout=5), bytes)
    assert_type(await total.aenqueue_many([(1, 2.0)]), list[TaskHandle[float]])
    assert_type(await await_all(await fetch.aenqueue_many([("x",)])), list[bytes])
    assert_type(await async_with_context.aenqueue("a", deep=True), TaskHandle[list[str]])


async def a_task_stays_the_function_it_was() -> None:
    assert_type(resize("a.png"), str)
    assert_type(await fetch("x"), bytes)
    assert_type(with_context("a"), int)
    assert_type(await async_with_context("a"), list[str])
    resize(1)  # type: ignore[arg-type]  # a path is text
    with_context(3)  # type: ignore[arg-type]  # a path is text


def wrong_arguments_of_enqueue_are_refused() -> None:
    resize.enqueue()  # type: ignore[call-arg]  # path is missing
    resize.enqueue(1, 200)  # type: ignore[arg-type]  # a path is text
    resize.enqueue("a.png", "200")  # type: ignore[arg-type]  # a width is a number
    resize.enqueue("a.png", 200, 3)  # type: ignore[call-arg]  # one too many
    resize.enqueue("a.png", height=3)  # type: ignore[call-arg]  # there is no height
    total.enqueue(1)  # type: ignore[call-arg]  # second is missing
    ping.enqueue(1)  # type: ignore[call-arg]  # it takes none
    resize.with_options(delay=60).enqueue(1)  # type: ignore[arg-type]  # options change no types


async def wrong_arguments_of_aenqueue_are_refused() -> None:
    await resize.aenqueue(1)  # type: ignore[arg-type]  # a path is text
    await fetch.aenqueue()  # type: ignore[call-arg]  # url is missing
    await fetch.aenqueue("x", "y")  # type: ignore[call-arg]  # one too many


def wrong_arguments_of_call_are_refused() -> None:
    resize.call(1)  # type: ignore[arg-type]  # a path is text
    resize.call("a.png", height=3)  # type: ignore[call-arg]  # there is no height
    total.call(1)  # type: ignore[call-arg]  # second is missing


async def wrong_entries_of_enqueue_many_are_refused() -> None:
    total.enqueue_many([(1, 2.0, 3)])  # type: ignore[list-item]  # one too many
    total.enqueue_many([(1,)])  # type: ignore[list-item]  # second is missing
    total.enqueue_many([("1", 2.0)])  # type: ignore[list-item]  # first is a number
    total.enqueue_many([resize.call("a.png")])  # type: ignore[list-item]  # another task's arguments
    await total.aenqueue_many([(1,)])  # type: ignore[list-item]  # second is missing


def the_context_is_not_an_argument_of_enqueue(ctx: TaskContext) -> None:
    with_context.enqueue("a")
    async_with_context.enqueue("a", deep=True)
    with_context.enqueue(ctx, "a")  # type: ignore[arg-type,call-arg]  # the runtime fills it in
    async_with_context.enqueue(ctx, "a")  # type: ignore[arg-type,call-arg]  # the runtime fills it in
    with_context.enqueue_many([(ctx, "a")])  # type: ignore[list-item]  # the runtime fills it in


def a_first_parameter_that_accepts_anything_is_no_context() -> None:
    takes_anything.enqueue("value", 1)
    takes_anything_decorated_with_options.enqueue("value", 1)
    takes_anything.enqueue(1)  # type: ignore[call-arg]  # count is missing
    # `Any` matches every overload, and mypy then knows neither parameters nor result; but none is taken out.
    assert_type(takes_any.enqueue("value", 1), TaskHandle[Any])
    takes_anything_decorated_with_options.enqueue(1)  # type: ignore[call-arg]  # count is missing


def a_wrong_use_of_a_result_is_refused() -> None:
    width: int = resize.enqueue("a.png").result()  # type: ignore[assignment]  # it is text
    print(width)


@app.task(schedule=cron("0 12 ? * MON-FRI *", timezone="Europe/Berlin"))
def report() -> int:
    return 1


@app.task(schedule=[rate("5 minutes"), Schedule(rate(hours=1), ("eu",), name="hourly", overlap="skip")])
async def scan(ctx: TaskContext, region: str = "all") -> None: ...


async def a_scheduled_task_stays_a_task() -> None:
    assert_type(report.enqueue(), TaskHandle[int])
    assert_type(report(), int)
    await scan.aenqueue("eu")
    scan.enqueue(1)  # type: ignore[arg-type]  # a region is text


async def schedules_take_the_arguments_of_the_task() -> None:
    assert_type(resize.schedule(rate("1 hour"), "a.png", width=200), ScheduleHandle)
    assert_type(await resize.aschedule(at("2026-12-01T09:00:00"), "a.png"), ScheduleHandle)
    assert_type(resize.with_options(id="a").schedule(cron("0 3 * * ? *"), "a.png"), ScheduleHandle)
    async_with_context.schedule(rate(days=1), "a", deep=True)
    app.schedule(resize, rate("1 hour"), ("a.png",), {"width": 3}, name="hourly", misfire="all")


async def wrong_arguments_of_schedule_are_refused(ctx: TaskContext) -> None:
    resize.schedule(rate("1 hour"))  # type: ignore[call-arg]  # path is missing
    resize.schedule(rate("1 hour"), 1)  # type: ignore[arg-type]  # a path is text
    resize.schedule(rate("1 hour"), "a.png", height=3)  # type: ignore[call-arg]  # there is no height
    resize.schedule("rate(1 hour)", "a.png")  # type: ignore[arg-type]  # text is no time
    await resize.aschedule(rate("1 hour"), 1)  # type: ignore[arg-type]  # a path is text
    with_context.schedule(rate("1 hour"), ctx, "a")  # type: ignore[arg-type,call-arg]  # the runtime fills it in
    app.schedule(resize, rate("1 hour"), overlap="never")  # type: ignore[arg-type]  # there is no such policy
    Schedule(rate("1 hour"), misfire="maybe")  # type: ignore[arg-type]  # there is no such policy
