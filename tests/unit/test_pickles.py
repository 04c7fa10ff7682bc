"""Exceptions, tasks, handles and apps survive pickle and copy."""

from __future__ import annotations

import base64
import copy
import inspect
import pickle
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from taskq_sls import ConfigError, RetryLater, TaskQ, TaskQError, errors
from taskq_sls.client.handle import TaskHandle
from taskq_sls.errors import (
    AwsError,
    DuplicateTask,
    EnqueueError,
    EventError,
    FailedEntry,
    TaskError,
    TaskFailed,
    UndecodableMessage,
)
from tests.support import template_command_app as small
from tests.support.template_command_app import app as small_app
from tests.support.template_command_app import tidy


def pickled(protocol: int, value: Any) -> Any:
    return pickle.loads(pickle.dumps(value, protocol))


TRIPS: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    **{f"pickle {protocol}": partial(pickled, protocol) for protocol in range(2, 6)},
}


@pytest.fixture(params=list(TRIPS.values()), ids=list(TRIPS))
def trip(request: pytest.FixtureRequest) -> Any:
    return request.param


def handle() -> TaskHandle[Any]:
    return tidy.with_options(id="task-7")._handle("task-7", "default")


SPECIAL: dict[type[BaseException], Callable[[], BaseException]] = {
    DuplicateTask: lambda: DuplicateTask(id="7", task="shop:pay", key="order-1"),
    EnqueueError: lambda: EnqueueError(
        [handle()], [FailedEntry(1, "8", "Throttling", "slow down", AwsError("a", "b", "c"))]
    ),
    EventError: lambda: EventError("e-1", ["7"], {"shop:pay": ConfigError("no")}),
    UndecodableMessage: lambda: UndecodableMessage("unknown_version", "v is 9"),
    AwsError: lambda: AwsError("put_item", "Throttling", "slow", status=400, transient=True, body={"Item": {}}),
    TaskFailed: lambda: TaskFailed(
        id="7", task=None, error_type="E", error_message="m", traceback="t", attempts=3, reason="exhausted"
    ),
    RetryLater: lambda: RetryLater(30, "later"),
}

FAILED = SPECIAL[TaskFailed]()


KINDS = [
    kind for kind in (RetryLater, *vars(errors).values()) if inspect.isclass(kind) and issubclass(kind, BaseException)
]


def example(kind: Any) -> BaseException:
    if kind in SPECIAL:
        return SPECIAL[kind]()
    return kind("gone", id="7", task="shop:pay") if issubclass(kind, TaskError) else kind("gone")


def plain(value: Any) -> Any:
    """Attributes of errors inside, by value."""
    if isinstance(value, BaseException):
        return type(value), value.args, {name: plain(each) for name, each in vars(value).items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, FailedEntry | TaskHandle):
        return repr(value)
    return value


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_comes_back_with_its_attributes(kind: Any) -> None:
    error = example(kind)
    error.add_note("on the way")
    for trip in TRIPS.values():
        back = trip(error)
        assert plain(back) == plain(error)
        assert (str(back), back.__notes__) == (str(error), ["on the way"])


class OwnError(TaskQError):
    def __init__(self, *, item: str) -> None:
        self.item = item
        super().__init__(f"no {item} is left")


def test_errors_derived_from_ours_come_back_too(trip: Callable[[Any], Any]) -> None:
    assert plain(trip(OwnError(item="chair"))) == plain(OwnError(item="chair"))


def test_apps_and_tasks_come_back_as_themselves(trip: Callable[[Any], Any]) -> None:
    assert trip(small_app) is small_app
    assert trip(tidy) is tidy


def test_options_and_handles_come_back_equal(trip: Callable[[Any], Any]) -> None:
    later = tidy.with_options(delay=30, labels={"tenant": "acme"}, unique_key="k", queue="elsewhere")
    assert (trip(later).options, trip(later).name) == (later.options, tidy.name)
    ref = small_app.ref("far:away", delay=5, record="finished")
    assert (trip(ref).options, trip(ref).name) == (ref.options, "far:away")
    for before in (
        handle(),
        ref._handle("task-8", "default"),
        TaskHandle(small_app._runtime, "9", "x", "default", "none", None),
    ):
        back = trip(before)
        assert [getattr(back, name) for name in ("id", "task", "queue", "_record", "_runtime")] == [
            getattr(before, name) for name in ("id", "task", "queue", "_record", "_runtime")
        ]
        assert (back._decode is None) == (before._decode is None)
        if back._decode is not None:
            assert back._decode("null") is None


def test_another_process_finds_them_by_name() -> None:
    packed = base64.b64encode(pickle.dumps([tidy, tidy.with_options(delay=9), handle(), small_app, FAILED]))
    code = (
        "import base64, pickle; task, later, handle, app, error = "
        f"pickle.loads(base64.b64decode({packed!r})); print(task, later.options.delay, handle, app, error.attempts)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == (f"<Task {tidy.name}> 9.0 <TaskHandle {tidy.name} task-7> <TaskQ small: 1 tasks> 3")


def test_an_app_that_no_module_holds_is_refused_with_the_fix() -> None:
    local = TaskQ("local")

    @local.task(name="job")
    def job() -> None: ...

    for value in (local, job, job.with_options(delay=3)):
        with pytest.raises(ConfigError, match=r"TaskQ local.* cannot be pickled.*assign it there"):
            pickle.dumps(value)
    assert copy.deepcopy({"task": job})["task"] is job


def test_an_app_that_moved_is_looked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    local = TaskQ("local")
    monkeypatch.setattr(small, "first", local, raising=False)
    assert pickle.loads(pickle.dumps(local)) is local
    monkeypatch.delattr(small, "first")
    monkeypatch.setattr(small, "second", local, raising=False)
    assert pickle.loads(pickle.dumps(local)) is local


def test_a_task_that_its_module_does_not_register_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = pickle.dumps(tidy)
    monkeypatch.setattr(small_app.registry, "_tasks", {})
    with pytest.raises(ConfigError, match=r"importing tests\.support\.template_command_app does not register it"):
        pickle.loads(packed)
