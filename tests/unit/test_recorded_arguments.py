"""Which arguments a task's record holds, for those who look at tasks."""

from __future__ import annotations

import json
from typing import Any

import pytest

from taskq_sls import ConfigError, Middleware, Retry, TaskQ
from taskq_sls.core.message import Message
from taskq_sls.testing import InMemory, in_memory


def recorded(memory: InMemory, id: str) -> Any:
    record = memory.app.results.get(id)
    assert record is not None
    return None if record.call is None else json.loads(record.call)


def a_shop(**options: Any) -> tuple[TaskQ, Any]:
    app = TaskQ("shop", **options)

    @app.task(name="login")
    def login(user: str, password: str = "", **more: Any) -> None: ...

    return app, login


@pytest.mark.parametrize("level", ["finished", "started", "queued"])
def test_a_record_holds_the_arguments_as_given(level: str) -> None:
    app, login = a_shop(record=level)
    with in_memory(app) as memory:
        handle = login.enqueue("ann", password="x")
        if level == "queued":
            assert recorded(memory, handle.id) == {"args": ["ann"], "kwargs": {"password": "x"}}
        memory.run_until_idle()
        assert recorded(memory, handle.id) == {"args": ["ann"], "kwargs": {"password": "x"}}


@pytest.mark.parametrize("level", ["finished", "started", "queued"])
def test_what_is_redacted_never_reaches_the_record(level: str) -> None:
    app, login = a_shop(record=level, redact=["password", "token"])
    with in_memory(app) as memory:
        handle = login.enqueue("ann", "secret", details={"token": "secret"})
        memory.run_until_idle()
        shown = {"args": ["ann", "[redacted]"], "kwargs": {"details": {"token": "[redacted]"}}}
        assert recorded(memory, handle.id) == shown


@pytest.mark.parametrize("level", ["finished", "started", "queued"])
def test_an_app_or_a_task_can_keep_its_arguments_out(level: str) -> None:
    app, login = a_shop(record=level, record_arguments=False)
    with in_memory(app) as memory:
        handle = login.enqueue("ann")
        memory.run_until_idle()
        assert recorded(memory, handle.id) is None


def test_who_sends_by_name_does_not_know_what_a_positional_argument_is_for() -> None:
    app, _ = a_shop(record="queued", redact=["password"])
    with in_memory(app) as memory:
        handle = app.ref("login").enqueue("ann", "secret", password="x", note="kept")
        shown = {"args": ["[redacted]", "[redacted]"], "kwargs": {"password": "[redacted]", "note": "kept"}}
        assert recorded(memory, handle.id) == shown
        handle = app.ref("login", record_arguments=False).enqueue("ann")
        assert recorded(memory, handle.id) is None


def test_what_a_hook_took_out_of_the_arguments_is_not_in_the_record() -> None:
    class Vault(Middleware):
        async def dispatch(self, message: Message, call_next: Any) -> Message:
            return await call_next(message._replace(args=["vault:1"]))

    app = TaskQ("shop", record="queued", middleware=[Vault()])

    @app.task(name="login")
    def login(user: str) -> None: ...

    with in_memory(app) as memory:
        handle = login.enqueue("secret")
        assert recorded(memory, handle.id) is None
        memory.run_until_idle()
        assert recorded(memory, handle.id) == {"args": ["vault:1"], "kwargs": {}}


@pytest.mark.parametrize("text", ["x" * 1_000, "x" * 10_000])
def test_long_arguments_are_left_out(text: str) -> None:
    app, login = a_shop()
    with in_memory(app) as memory:
        handle = login.enqueue(text)
        memory.run_until_idle()
        assert recorded(memory, handle.id) is None


def test_a_record_tells_of_the_attempts_before() -> None:
    app = TaskQ("shop")
    tries: list[int] = []

    @app.task(name="flaky", retry=Retry(max_attempts=3, backoff=10, jitter="none"))
    def flaky() -> None:
        tries.append(1)
        if len(tries) < 3:
            raise OSError(f"try {len(tries)}")

    with in_memory(app) as memory:
        handle = flaky.enqueue()
        start = memory.clock.time()
        for seconds in (0, 10, 20):
            memory.travel(seconds)
            memory.run_until_idle()
        record = app.results.get(handle.id)
        assert record is not None
        assert record.attempt == 3
        assert [(attempt.attempt, attempt.started_at - start, attempt.error) for attempt in record.past] == [
            (1, 0.0, "OSError: try 1"),
            (2, 10.0, "OSError: try 2"),
        ]


def test_the_option_is_a_yes_or_no() -> None:
    with pytest.raises(ConfigError, match=r"record_arguments='no' must be True .* or False"):
        TaskQ("shop", record_arguments="no")
