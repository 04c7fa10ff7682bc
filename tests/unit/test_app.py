"""The app from outside: everything a user calls, once, in the order in which one meets it."""

from __future__ import annotations

import asyncio
import sys
import textwrap
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from subprocess import run
from typing import Any, cast

import pytest

from taskq_sls import ConfigError, Queue, Retry, State, TaskContext, TaskFailed, TaskQ, current_task
from taskq_sls.core.flow import warn_on_loop
from taskq_sls.testing import in_memory
from tests.support.apps import shop


def test_a_walk_through_the_public_interface() -> None:
    app = shop()

    @app.task(retry=Retry(max_attempts=5), timeout=30, name="shop.tasks:resize", aliases=["shop.old:resize"])
    def resize(path: str, width: int) -> str:
        return f"{path}@{width}"

    @app.task
    async def report(ctx: TaskContext) -> str:
        return ctx.id

    @app.task(record="none")
    async def ping() -> None: ...

    assert resize("a.png", 1) == "a.png@1"

    with in_memory(app) as memory:
        handle = resize.enqueue("a.png", 200)
        assert handle.status() is State.QUEUED
        assert app.results.get(handle.id) is None
        memory.run_until_idle()
        assert (handle.status(), handle.result(timeout=30)) == (State.SUCCEEDED, "a.png@200")

        many = resize.enqueue_many([("a.png", 200), ("b.png", 300)])
        calls = resize.enqueue_many([resize.call("c.png", width=400), resize.call("d.png", 500)])
        memory.run_until_idle()
        assert [handle.result() for handle in many + calls] == ["a.png@200", "b.png@300", "c.png@400", "d.png@500"]

        later = resize.with_options(delay=60, queue="slow", group="tenant-7").enqueue("e.png", 1)
        assert memory.run_until_idle() == 0
        memory.travel(60)
        assert memory.run_until_idle() == 1
        assert (later.queue, later.result()) == ("slow", "e.png@1")

        by_name = app.ref("shop.tasks:resize", queue="slow").enqueue("f.png", 2)
        by_alias = app.ref("shop.old:resize").enqueue("g.png", 3)
        chosen = resize.with_options(id="order-4711-thumbnail").enqueue("h.png", 4)
        again = resize.with_options(id="order-4711-thumbnail").enqueue("h.png", 4)
        whoami = report.enqueue()
        nothing = ping.enqueue()
        memory.run_until_idle()
        assert (by_name.result(), by_alias.result(), chosen.result()) == ("f.png@2", "g.png@3", "h.png@4")
        assert chosen.id == again.id == "order-4711-thumbnail"
        assert whoami.result() == whoami.id
        assert app.results.get(nothing.id) is None

        stopped = resize.with_options(delay=5).enqueue("i.png", 5)
        assert stopped.cancel() == ("cancelled", State.CANCELLED)
        memory.run_until_idle(travel=True)
        assert stopped.status() is State.CANCELLED

        record = app.results.get(chosen.id)
        assert record is not None
        assert (record.result, record.task, record.status) == ("h.png@4", "shop.tasks:resize", State.SUCCEEDED)
        page = app.results.list(status="SUCCEEDED", task="shop.tasks:resize", since=timedelta(hours=1), limit=2)
        assert len(page) == 2
        assert page.cursor is not None
        assert [record.id for record in app.results.list(status="CANCELLED")] == [stopped.id]
        assert set(app.results.get_many([chosen.id, "nobody"])) == {chosen.id}


async def test_the_walk_through_for_async_code() -> None:
    app = shop()

    @app.task
    async def add(a: int, b: int = 1) -> int:
        return a + b

    with in_memory(app) as memory:
        first = await add.aenqueue(1)
        many = await add.aenqueue_many([(2, 3), (4, 5)])
        calls = await add.aenqueue_many([add.call(6), add.call(7, b=8)])
        stopped = await add.with_options(delay=1).aenqueue(9)
        assert (await stopped.acancel()).answer == "cancelled"
        await memory.arun_until_idle()
        assert await first.astatus() is State.SUCCEEDED
        assert [await handle.aresult() for handle in [first, *many, *calls]] == [2, 5, 9, 7, 15]
        record = await app.results.aget(first.id)
        assert record is not None
        assert record.result == 2
        assert len(await app.results.alist(status="SUCCEEDED")) == 5
        assert set(await app.results.aget_many([first.id])) == {first.id}
        assert await add(1) == 2


def test_a_bare_decorator_makes_a_task_named_after_module_and_function() -> None:
    app = shop()

    @app.task
    def hello() -> str:
        """Says hello."""
        return "hello"

    assert hello.name == f"{__name__}:test_a_bare_decorator_makes_a_task_named_after_module_and_function.<locals>.hello"
    assert (hello.__name__, hello.__doc__) == ("hello", "Says hello.")  # type: ignore[attr-defined]  # set by functools
    assert hello() == "hello"


async def test_a_direct_call_fills_in_the_context() -> None:
    app = shop()

    @app.task
    def plain(ctx: TaskContext, a: int) -> tuple[str, int]:
        return ctx.id, a

    @app.task
    async def eventual(ctx: TaskContext) -> str:
        return ctx.id

    assert plain(3) == ("direct-call", 3)
    assert plain(TaskContext("mine", "x"), 3) == ("mine", 3)  # type: ignore[arg-type, call-arg]  # a context may come first
    assert await eventual() == "direct-call"


def test_a_direct_call_inside_a_task_sees_the_task_that_runs() -> None:
    app = shop()

    @app.task
    def inner(ctx: TaskContext) -> str:
        return ctx.id

    @app.task
    def outer() -> str:
        return inner()

    with in_memory(app) as memory:
        handle = outer.enqueue()
        memory.run_until_idle()
        assert handle.result() == handle.id


async def test_a_sync_call_on_a_running_loop_works_and_warns_once_at_the_callers_line() -> None:
    app = shop()
    warn_on_loop.cache_clear()

    @app.task
    def hello() -> None: ...

    with in_memory(app):
        with pytest.warns(RuntimeWarning, match="aenqueue") as caught:
            first = hello.enqueue()
        assert caught[0].filename == __file__
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert hello.enqueue().id != first.id


def test_what_the_lifespan_yields_is_reached_by_tasks() -> None:
    events: list[str] = []

    @asynccontextmanager
    async def lifespan(app: TaskQ) -> AsyncIterator[dict[str, str]]:
        events.append("up")
        yield {"database": app.name}
        events.append("down")

    app = shop(lifespan=lifespan)

    @app.task
    def read(ctx: TaskContext) -> str:
        assert events == ["up"]
        return str(ctx.state["database"])

    with in_memory(app) as memory:
        handle = read.enqueue()
        memory.run_until_idle()
        assert events == ["up", "down"]
        assert handle.result() == "shop"


def test_a_task_that_enqueues_another_is_its_parent() -> None:
    app = shop()

    @app.task
    def child() -> None: ...

    @app.task
    def mother() -> str:
        return child.enqueue().id

    with in_memory(app) as memory:
        handle = mother.enqueue()
        memory.run_until_idle()
        record = app.results.get(handle.result())
        assert record is not None
        assert record.parent == handle.id
        mine = app.results.get(handle.id)
        assert mine is not None
        assert mine.parent is None


def test_a_chain_of_tasks_that_enqueue_each_other_ends_at_max_depth() -> None:
    app = shop(max_depth=3, retry=Retry(max_attempts=1))
    depths: list[int] = []

    @app.task
    def again() -> None:
        depths.append(current_task().depth)
        again.enqueue()

    with in_memory(app) as memory:
        again.enqueue()
        memory.run_until_idle()
        assert depths == [0, 1, 2, 3]
        [failed] = app.results.list(status="FAILED")
        assert failed.error is not None
        assert "max_depth=3" in failed.error.message


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: TaskQ("my shop"), "1 to 40 letters"),
        (lambda: TaskQ(cast(Any, 7)), "1 to 40 letters"),
        (lambda: TaskQ("shop", queues=[]), "at least one Queue"),
        (lambda: TaskQ("shop", queues=[cast(Any, "a")]), "give Queue"),
        (lambda: TaskQ("shop", queues=[Queue("a"), Queue("a")]), "declared twice"),
        (lambda: TaskQ("shop", max_depth=0), "max_depth=0"),
        (lambda: TaskQ("shop", max_depth=True), "max_depth=True"),
        (lambda: TaskQ("shop", retries=3), "did you mean 'retry'"),
        (lambda: TaskQ("shop", delay=3), "unknown option 'delay'"),
        (lambda: TaskQ("shop", middleware=[cast(Any, TaskContext)]), "instance of a Middleware"),
    ],
)
def test_an_app_says_what_is_wrong_with_it(make: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        make()


def test_a_queue_whose_name_is_too_long_for_sqs_is_refused_with_the_name() -> None:
    app = TaskQ("a" * 40, queues=[Queue("b" * 60)])
    with pytest.raises(ConfigError, match="SQS allows 80"):
        _ = app.settings


class TestFunctionsOfMain:
    def script(self, folder: Path, name: str, *arguments: str) -> str:
        text = """
            from taskq_sls import TaskQ
            app = TaskQ("shop")

            @app.task
            def work() -> None: ...

            print(work.name)
            """
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(textwrap.dedent(text))
        done = run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=60, check=False)
        return done.stdout.strip() or done.stderr.strip()

    def test_a_script_gives_its_tasks_the_name_under_which_it_can_be_imported(self, tmp_path: Path) -> None:
        assert self.script(tmp_path, "jobs.py", "jobs.py") == "jobs:work"

    def test_a_module_run_with_m_gives_the_name_of_the_module(self, tmp_path: Path) -> None:
        assert self.script(tmp_path, "store/jobs.py", "-m", "store.jobs") == "store.jobs:work"

    def test_a_package_run_with_m_gives_the_name_of_its_main_module(self, tmp_path: Path) -> None:
        run_by_name = self.script(tmp_path, "store/__main__.py", "-m", "store")
        imported = self.script(tmp_path, "store/__main__.py", "-c", "import store.__main__")
        assert run_by_name == imported == "store.__main__:work"

    def test_a_script_that_cannot_be_imported_is_refused(self, tmp_path: Path) -> None:
        assert "which a worker cannot import" in self.script(tmp_path, "my-jobs.py", "my-jobs.py")


def test_apps_in_memory_return_to_what_they_were() -> None:
    app = shop()
    clock, services = app.clock, app.services
    with in_memory(app) as memory:
        assert app.clock is memory.clock
    assert (app.clock, app.services) == (clock, services)


async def test_a_failure_of_one_task_leaves_the_others_alone() -> None:
    app = shop(retry=Retry(max_attempts=1))

    @app.task
    async def divide(by: int) -> float:
        await asyncio.sleep(0)
        return 6 / by

    with in_memory(app) as memory:
        handles = await divide.aenqueue_many([(1,), (0,), (2,)])
        await memory.arun_until_idle()
        assert [await handles[0].aresult(), await handles[2].aresult()] == [6.0, 3.0]
        with pytest.raises(TaskFailed, match="ZeroDivisionError"):
            await handles[1].aresult()
