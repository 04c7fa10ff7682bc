"""Tasks in child processes: they can be killed, they crash alone, and they seem to run in a thread."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from taskq_sls import ConfigError, Middleware, Retry, State, TaskContext, TaskQ
from taskq_sls.core.delivery import DONE, LOST, DeadLetter, Release, RetryIn
from taskq_sls.engine.processes import process as process_module
from taskq_sls.testing import in_memory
from tests.support import logging_functions
from tests.support import process_functions as functions
from tests.support.engine_harness import EngineHarness, delivery
from tests.support.waiting import async_until

ONCE = Retry(max_attempts=1)
PLAIN = Retry(max_attempts=2, backoff=9, jitter="none")
SHORT = 1.0
"""Longer than a child takes to start, mostly; nothing depends on that it is."""


@pytest.fixture
async def make_rig() -> AsyncIterator[Callable[..., EngineHarness]]:
    """Rigs whose children are ended; none may be left."""
    made: list[EngineHarness] = []

    def make(**options: Any) -> EngineHarness:
        made.append(EngineHarness(**options))
        return made[-1]

    yield make
    for harness in made:
        assert harness.app.children is None or not harness.app.children._busy
        if harness.app.children is not None:
            harness.app.children.close()


@pytest.fixture
def harness(make_rig: Callable[..., EngineHarness]) -> EngineHarness:
    return make_rig()


def in_process(harness: EngineHarness, function: Any, **options: Any) -> Any:
    return harness.task(run_in="process", **options)(function)


async def result_of(harness: EngineHarness, task: Any, *args: Any, id: str = "task-1") -> Any:
    assert await harness.process(delivery(task, *args, id=id)) == DONE
    return json.loads(harness.record(id).result_json or "null")


async def error_of(harness: EngineHarness, task: Any, *args: Any, id: str = "task-1") -> Any:
    outcome = await harness.process(delivery(task, *args, id=id))
    assert isinstance(outcome, DeadLetter)
    return outcome.error


def exists(process: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


# -- where it runs ----------------------------------------------------------------------------------------------


async def test_a_task_runs_in_a_child_that_is_kept_for_the_next_one(harness: EngineHarness) -> None:
    task = in_process(harness, functions.process_id)
    first = await result_of(harness, task, id="a")
    assert first != os.getpid()
    assert await result_of(harness, task, id="b") == first


async def test_tasks_at_the_same_time_have_a_child_each(harness: EngineHarness, tmp_path: Path) -> None:
    task = in_process(harness, functions.hold)
    go = tmp_path / "go"
    places = [tmp_path / name for name in "abc"]
    running = [
        asyncio.create_task(harness.process(delivery(task, str(place), str(go), id=place.name))) for place in places
    ]
    await async_until(lambda: all(place.exists() for place in places))
    go.touch()
    assert await asyncio.gather(*running) == [DONE] * 3
    assert len({place.read_text() for place in places}) == 3


async def test_no_more_children_run_than_there_may_be_threads(
    make_rig: Callable[..., EngineHarness], tmp_path: Path
) -> None:
    harness = make_rig()
    harness.app.threads.limit = 1
    task = in_process(harness, functions.hold)
    first, second, go = tmp_path / "a", tmp_path / "b", tmp_path / "go"
    running = [
        asyncio.create_task(harness.process(delivery(task, str(place), str(go), id=place.name)))
        for place in (first, second)
    ]
    await async_until(first.exists)
    assert harness.found("b") is None
    go.touch()
    assert await asyncio.gather(*running) == [DONE, DONE]
    assert first.read_text() == second.read_text()


async def test_children_without_a_task_end_after_a_while(
    harness: EngineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = in_process(harness, functions.process_id)
    child = await result_of(harness, task)
    assert harness.app.children is not None
    monkeypatch.setattr("taskq_sls.engine.processes.pool.IDLE_SECONDS", -1.0)
    assert exists(child)
    harness.app.children._close_idle(asyncio.get_running_loop())
    assert not exists(child)


async def test_a_child_that_died_without_a_task_is_replaced_and_fails_nobody(harness: EngineHarness) -> None:
    task = in_process(harness, functions.process_id)
    child = await result_of(harness, task, id="a")
    os.kill(child, signal.SIGKILL)
    await async_until(lambda: not exists(child))
    assert await result_of(harness, task, id="b") != child


async def test_arguments_and_results_travel_by_the_annotations(harness: EngineHarness) -> None:
    task = in_process(harness, functions.pass_on)
    placed = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)
    sent = task.plan.signature.encode((functions.Order(7, placed, {"gift"}),), {})[0]
    await harness.process(delivery(task, *sent))
    decoded = task.plan.signature.decode_result(harness.record().result_json)
    assert decoded == functions.Order(7, placed, {"gift", "seen"})


async def test_arguments_and_results_may_be_larger_than_a_pipe(harness: EngineHarness) -> None:
    half = "x" * 1_000_000
    seen: list[int] = []

    class Shorten(Middleware):
        async def execute(self, context: TaskContext, call_next: Any) -> Any:
            value = await call_next(context)
            seen.append(len(value))
            return "short"

    task = in_process(harness, functions.size_of, middleware=[Shorten()])
    assert await result_of(harness, task, half) == "short"
    assert seen == [2_000_000]


async def test_a_result_that_cannot_travel_is_not_tried_again(harness: EngineHarness) -> None:
    outcome = await harness.run(in_process(harness, functions.unfit))
    assert isinstance(outcome, DeadLetter)
    assert outcome.reason == "result"


async def test_decorators_below_and_above_count_as_in_a_thread(harness: EngineHarness) -> None:
    assert await result_of(harness, in_process(harness, functions.inside), 7, id="a") == ["around", 7]
    inner = functions.outside.__wrapped__  # type: ignore[attr-defined]  # made by functools.wraps
    assert await result_of(harness, in_process(harness, inner), 7, id="b") == 7


# -- errors -----------------------------------------------------------------------------------------------------


async def test_an_exception_arrives_with_its_type_message_and_traceback(harness: EngineHarness) -> None:
    error = await error_of(harness, in_process(harness, functions.fail_with, retry=ONCE), "own")
    assert (error.type, error.message) == ("tests.support.process_functions.OutOfStock", "no chair is left")
    assert "in fail_with" in error.traceback
    assert "child.py" not in error.traceback


@pytest.mark.parametrize(
    ("kind", "retry", "expected"),
    [
        ("builtin", {"retry_on": (OSError,)}, RetryIn(9, "failed")),
        ("builtin", {"retry_on": (OSError,), "give_up_on": (PermissionError,)}, "not_retryable"),
        ("own", {"retry_on": (functions.OutOfStock,)}, RetryIn(9, "failed")),
        ("own", {"give_up_on": (functions.OutOfStock,)}, "not_retryable"),
        ("local", {"retry_on": (functions.OutOfStock,)}, RetryIn(9, "failed")),
        ("local", {"retry_on": (OSError,)}, "not_retryable"),
        ("later", {"retry_on": (OSError,)}, RetryIn(60, "failed")),
        ("exit", {}, "not_retryable"),
    ],
)
async def test_retry_rules_decide_on_the_real_class(
    harness: EngineHarness, kind: str, retry: dict[str, Any], expected: Any
) -> None:
    rule = Retry(max_attempts=2, backoff=9, jitter="none", **retry)
    for number, run_in in enumerate(("process", "thread")):
        task = harness.task(run_in=run_in, name=run_in, retry=rule)(functions.fail_with)
        outcome = await harness.process(delivery(task, kind, id=f"task-{number}"))
        assert getattr(outcome, "reason", None) == expected if isinstance(expected, str) else outcome == expected


async def test_a_hook_sees_the_real_exception_with_its_attributes(harness: EngineHarness) -> None:
    seen: list[BaseException] = []

    class Watch(Middleware):
        async def execute(self, context: TaskContext, call_next: Any) -> Any:
            try:
                return await call_next(context)
            except Exception as error:
                seen.append(error)
                raise

    task = in_process(harness, functions.fail_with, middleware=[Watch()])
    await harness.process(delivery(task, "own", id="a"))
    await harness.process(delivery(task, "local", id="b"))
    own, local = seen
    assert type(own) is functions.OutOfStock
    assert own.item == "chair"
    assert isinstance(local, functions.OutOfStock)
    assert type(local).__qualname__ == "fail_with.<locals>.Local"
    assert local.item == "table"
    assert "in fail_with" in str(local.__cause__)


@pytest.mark.parametrize(("how", "says"), [("exit", "exit status 3"), ("segfault", "signal SIGSEGV")])
async def test_a_child_that_crashes_fails_its_attempt_alone(harness: EngineHarness, how: str, says: str) -> None:
    task = in_process(harness, functions.crash, retry=PLAIN)
    assert await harness.process(delivery(task, how)) == RetryIn(9, "failed")
    error = harness.record().error
    assert error is not None
    assert error.type == "taskq_sls.errors.TaskCrashed"
    assert says in error.message
    assert await result_of(harness, in_process(harness, functions.process_id), id="next")


async def test_a_crash_is_seen_although_a_fork_of_the_child_lives_on(harness: EngineHarness, tmp_path: Path) -> None:
    place = tmp_path / "fork"
    task = in_process(harness, functions.crash_and_leave_a_fork, retry=ONCE)
    try:
        async with asyncio.timeout(20):
            error = await error_of(harness, task, str(place))
        assert "exit status 4" in error.message
    finally:
        os.kill(int(place.read_text()), signal.SIGKILL)


async def test_a_function_that_is_not_there_in_a_fresh_interpreter_fails_with_the_reason(
    harness: EngineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(functions.process_id, "__qualname__", "sometimes")
    error = await error_of(harness, in_process(harness, functions.process_id, retry=ONCE))
    assert "process_functions:sometimes cannot be found in a fresh interpreter" in error.message


# -- being stopped ----------------------------------------------------------------------------------------------


async def test_a_time_limit_ends_a_function_that_waits_in_c_and_tells_where_it_was(harness: EngineHarness) -> None:
    await result_of(harness, in_process(harness, functions.process_id), id="warm")
    error = await error_of(harness, in_process(harness, functions.sleep, timeout=1.5, retry=ONCE))
    assert error.type == "taskq_sls.errors.TaskTimeout"
    assert "timeout of 1.5 s" in error.message
    assert "# where it was" in error.traceback


async def test_a_time_limit_kills_a_function_that_ignores_everything(
    harness: EngineHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_module, "KILL_SECONDS", 0.1)
    task = in_process(harness, functions.deaf, timeout=SHORT, retry=ONCE)
    error = await error_of(harness, task, str(tmp_path / "began"))
    assert error.type == "taskq_sls.errors.TaskTimeout"


async def test_what_a_task_has_started_ends_with_it(harness: EngineHarness, tmp_path: Path) -> None:
    place = tmp_path / "child"
    running = asyncio.create_task(harness.run(in_process(harness, functions.with_a_child), str(place)))
    await async_until(place.exists)
    executor = await harness.executor()
    executor.stop(next(iter(executor.running.values())), "lease_lost")
    assert await running == LOST
    await async_until(lambda: not exists(int(place.read_text())))


@pytest.mark.parametrize(
    ("reason", "outcome", "state"),
    [("cancelled", DONE, State.CANCELLED), ("shutdown", Release(0), State.QUEUED), ("lease_lost", LOST, State.RUNNING)],
)
async def test_a_stopped_attempt_ends_as_its_reason_says_and_may_tidy_up(
    harness: EngineHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: str, outcome: Any, state: State
) -> None:
    monkeypatch.setattr(process_module, "NOTICE_SECONDS", 0.01)
    place = tmp_path / "began"
    running = asyncio.create_task(harness.run(in_process(harness, functions.tidy), str(place)))
    await async_until(place.exists)
    executor = await harness.executor()
    executor.stop(next(iter(executor.running.values())), reason)
    assert await running == outcome
    assert harness.record().status is state
    assert place.with_suffix(".tidy").exists()
    assert not exists(int(place.read_text()))


@pytest.mark.parametrize(
    ("function", "state"), [(functions.polite, State.CANCELLED), (functions.stubborn, State.SUCCEEDED)]
)
async def test_a_cancelled_task_is_told_before_it_is_killed(
    harness: EngineHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: Any, state: State
) -> None:
    monkeypatch.setattr(process_module, "NOTICE_SECONDS", 60.0)
    place = tmp_path / "began"
    running = asyncio.create_task(harness.run(in_process(harness, function), str(place)))
    await async_until(place.exists)
    executor = await harness.executor()
    executor.stop(next(iter(executor.running.values())), "cancelled")
    assert await running == DONE
    assert harness.record().status is state


async def test_a_child_that_was_asked_to_end_gets_no_further_task(harness: EngineHarness, tmp_path: Path) -> None:
    place = tmp_path / "began"
    task = in_process(harness, functions.process_id)
    child = await result_of(harness, task, id="before")
    running = asyncio.create_task(harness.run(in_process(harness, functions.stubborn), str(place)))
    await async_until(place.exists)
    executor = await harness.executor()
    executor.stop(next(iter(executor.running.values())), "cancelled")
    await running
    assert not exists(child)
    assert await result_of(harness, task, id="after") != child


async def test_a_signal_that_does_not_come_from_the_worker_ends_no_task(harness: EngineHarness, tmp_path: Path) -> None:
    place, go = tmp_path / "began", tmp_path / "go"
    running = asyncio.create_task(harness.run(in_process(harness, functions.hold), str(place), str(go)))
    await async_until(place.exists)
    os.kill(int(place.read_text()), signal.SIGTERM)
    go.touch()
    assert await running == DONE


async def test_a_driver_that_ends_kills_what_still_runs(
    harness: EngineHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_module, "KILL_SECONDS", 600)
    place = tmp_path / "began"
    running = asyncio.create_task(harness.run(in_process(harness, functions.deaf), str(place)))
    await async_until(place.exists)
    executor = await harness.executor()
    assert harness.app.children is not None
    executor.stop(next(iter(executor.running.values())), "lease_lost")
    harness.app.children.kill()
    async with asyncio.timeout(60):
        assert await running == LOST


# -- what it can know and say -----------------------------------------------------------------------------------


async def test_the_context_is_the_same_as_in_a_thread(harness: EngineHarness) -> None:
    class Depth(Middleware):
        options = {"colour": str}

    found = []
    for run_in in ("process", "thread"):
        task = harness.task(run_in=run_in, name="look", timeout=60, middleware=[Depth()], colour="red")(functions.look)
        found.append(await result_of(harness, task, id=run_in))
        harness.app.registry._tasks.clear()
    assert found[0][1:] == found[1][1:]
    assert found[0][0] == "process"
    assert found[0][-1] == {"colour": "red"}


async def test_progress_is_told_while_the_task_runs(harness: EngineHarness, tmp_path: Path) -> None:
    go = tmp_path / "go"
    running = asyncio.create_task(harness.run(in_process(harness, functions.report), str(go)))
    executor = await harness.executor()
    await async_until(lambda: [attempt.execution.progress for attempt in executor.running.values()] == [(1, 2, "half")])
    go.touch()
    await running
    assert harness.record().progress == (2, 2, None)


async def test_the_lifespans_state_is_refused_with_the_reason(harness: EngineHarness) -> None:
    error = await error_of(harness, in_process(harness, functions.read_state, retry=ONCE))
    assert error.type == "taskq_sls.errors.TaskQError"
    assert "stays in the worker's own process" in error.message


async def test_log_records_go_to_the_parents_handlers_with_the_tasks_id(
    harness: EngineHarness, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO)
    await harness.run(in_process(harness, functions.speak))
    [record] = [record for record in caplog.records if record.name == "shop.tasks"]
    assert record.getMessage() == "look at this"
    assert (record.levelname, record.size, record.task_id, record.attempt) == (  # type: ignore[attr-defined]  # extra
        "WARNING",
        7,
        "task-1",
        1,
    )
    assert record.process != os.getpid()
    out, err = capfd.readouterr()
    assert "to stdout" in out
    assert "to stderr" in err
    assert "look at" not in err


async def test_a_module_that_sets_up_logging_has_its_records_written_once_by_the_parent(
    harness: EngineHarness, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO)
    await harness.run(in_process(harness, logging_functions.speak))
    said = [record.getMessage() for record in caplog.records if record.name.startswith("shop.")]
    assert said == ["look at this", "and at that"]
    assert "look at" not in capfd.readouterr().err


async def test_hooks_run_in_the_parent_around_it(harness: EngineHarness) -> None:
    seen: list[Any] = []

    class Async(Middleware):
        async def execute(self, context: TaskContext, call_next: Any) -> Any:
            seen.append(os.getpid())
            return await call_next(context)

    task = in_process(harness, functions.process_id, timeout=60, middleware=[Async()])
    assert await result_of(harness, task) != os.getpid()
    assert seen == [os.getpid()]


def test_a_plain_hook_around_it_is_refused_with_the_fix(harness: EngineHarness) -> None:
    class Plain(Middleware):
        def execute(self, context: TaskContext, call_next: Any) -> Any:
            return call_next(context)

    with pytest.raises(ConfigError, match=r"Plain is a plain function, and the task has run_in=\"process\".*async def"):
        in_process(harness, functions.process_id, middleware=[Plain()])


# -- declaring it -----------------------------------------------------------------------------------------------


def test_what_a_fresh_interpreter_cannot_import_is_refused_where_it_is_declared() -> None:
    app = TaskQ("shop")

    def local() -> None: ...

    async def waits() -> None: ...

    with pytest.raises(ConfigError, match=r"<locals>\.local is inside another function"):
        app.task(run_in="process")(local)
    with pytest.raises(ConfigError, match="is inside another function or has no name"):
        app.task(run_in="process", name="job")(lambda: None)
    with pytest.raises(ConfigError, match="is for plain functions, and this one is async"):
        app.task(run_in="process")(waits)
    with pytest.raises(ConfigError, match="run_in='thred' must be one of thread, process"):
        app.task(run_in="thred")(local)


def test_a_main_that_cannot_be_imported_is_refused_even_with_a_name() -> None:
    program = """
from taskq_sls import TaskQ, ConfigError
app = TaskQ("shop")
try:
    @app.task(name="shop:job", run_in="process")
    def job() -> None: ...
except ConfigError as error:
    print(error)
"""
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert "defined in a __main__ that has no importable name; move it to a module" in said.stdout


def test_a_script_that_starts_a_worker_when_imported_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(
        """
import asyncio, sys
from taskq_sls import TaskQ
app = TaskQ("shop")

@app.task(run_in="process")
def job() -> None: ...

if __name__ == "__main__":
    from taskq_sls.core.context import TaskContext
    context = TaskContext("a", "job")
    try:
        asyncio.run(job.plan.onion(context))
    except Exception as error:
        print(type(error).__name__, error)
else:
    app.worker().run()
"""
    )
    said = subprocess.run(
        [sys.executable, str(tmp_path / "script.py")], capture_output=True, text=True, check=True, timeout=60
    )
    assert "ConfigError" in said.stdout
    assert 'if __name__ == "__main__":' in said.stdout


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"hard_timeout": 5}, "hard_timeout=5 without a timeout"),
        ({"hard_timeout": 5, "timeout": 6}, "hard_timeout=5 is below timeout=6"),
        ({"hard_timeout": 0, "timeout": 6}, "hard_timeout=0 must be"),
    ],
)
def test_a_hard_timeout_must_fit_the_timeout(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        TaskQ("shop").task(**options)(functions.process_id)


def test_a_hard_timeout_is_twice_the_timeout_unless_given() -> None:
    app = TaskQ("shop")
    assert app.task(name="a", timeout=6)(functions.process_id).options.stuck_after == 12
    assert app.task(name="b", timeout=6, hard_timeout=6)(functions.process_id).options.stuck_after == 6
    assert app.task(name="c")(functions.process_id).options.stuck_after is None


async def test_an_attempt_can_be_stuck_only_while_its_function_ignores_its_limit() -> None:
    harness = EngineHarness()
    seen: list[float | None] = []

    class Outside(Middleware):
        async def execute(self, context: TaskContext, call_next: Any) -> Any:
            await call_next(context)
            seen.append(context._execution.stuck_at)

    @harness.task(timeout=0.05, hard_timeout=90.05, middleware=[Outside()])
    async def job(ctx: TaskContext) -> None:
        seen.append(ctx._execution.stuck_at)
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        assert ctx._execution.stuck_at is not None
        seen.append(ctx._execution.stuck_at - asyncio.get_running_loop().time())

    assert await harness.run(job) == DONE
    assert seen == [None, pytest.approx(90, abs=10), None]


async def test_an_attempt_is_not_stuck_because_another_task_blocked_the_loop() -> None:
    harness = EngineHarness()
    told_in_time: list[bool] = []

    @harness.task(timeout=0.05, hard_timeout=1.05, retry=Retry(max_attempts=1))
    async def job(ctx: TaskContext) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            assert ctx._execution.stuck_at is not None
            told_in_time.append(ctx._execution.stuck_at > asyncio.get_running_loop().time())
            raise

    running = asyncio.create_task(harness.run(job))
    await asyncio.sleep(0)
    time.sleep(1.2)  # noqa: ASYNC251  # another task that blocks the loop
    await running
    assert told_in_time == [True]


# -- other drivers ----------------------------------------------------------------------------------------------


def test_in_memory_it_runs_in_this_process_and_has_no_state_either(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextlib.asynccontextmanager
    async def lifespan(app: TaskQ) -> AsyncIterator[int]:
        yield 7

    app = TaskQ("shop", lifespan=lifespan)
    task = app.task(run_in="process")(functions.process_id)
    state = app.task(run_in="process", retry=ONCE)(functions.read_state)
    with in_memory(app) as memory:
        assert task.enqueue().result() == os.getpid()
        failed = state.enqueue()
        memory.run_until_idle()
        record = app.results.get(failed.id)
        assert record is not None
        assert record.error is not None
        assert "stays in the worker's own process" in record.error.message


def test_in_lambda_it_runs_in_a_child_too(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = EngineHarness()
    task = in_process(harness, functions.process_id)
    handler = harness.app.lambda_handler()
    record = {
        "messageId": "m-1",
        "receiptHandle": "r",
        "body": delivery(task).body,
        "attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "1800000000000"},
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:eu-central-1:123456789012:shop-default",
    }
    assert handler({"Records": [record]}) == {"batchItemFailures": []}
    child = json.loads(harness.record().result_json or "0")
    assert child != os.getpid()
    handler.close()
    assert not exists(child)
