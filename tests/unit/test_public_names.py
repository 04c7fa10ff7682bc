"""The names that other people's code imports."""

from __future__ import annotations

import inspect

import pytest

import taskq_sls
from taskq_sls import TaskQ, errors


def test_every_public_name_exists_and_is_documented() -> None:
    for name in taskq_sls.__all__:
        assert inspect.getdoc(getattr(taskq_sls, name)), name
    assert list(taskq_sls.__all__) == sorted(taskq_sls.__all__)


@pytest.mark.parametrize(
    "name",
    [
        "TaskQ",
        "Queue",
        "Retry",
        "RetryLater",
        "TaskContext",
        "Middleware",
        "current_task",
        "wait_all",
        "await_all",
        "TaskFailed",
        "TaskCancelled",
        "TaskExpired",
        "TaskStalled",
        "ResultTimeout",
        "EnqueueError",
        "ConfigError",
        "TaskQError",
        "cron",
        "rate",
        "at",
        "Schedule",
    ],
)
def test_what_was_promised_can_be_imported(name: str) -> None:
    assert name in taskq_sls.__all__


def test_all_errors_have_one_base() -> None:
    for _, error in inspect.getmembers(errors, inspect.isclass):
        if issubclass(error, BaseException):
            assert issubclass(error, taskq_sls.TaskQError)


def test_the_interface_of_tasks_and_handles_stands() -> None:
    for owner, names in (
        (taskq_sls.Task, ["enqueue", "aenqueue", "enqueue_many", "aenqueue_many", "call", "with_options", "name"]),
        (taskq_sls.TaskHandle, ["status", "astatus", "result", "aresult", "cancel", "acancel", "id", "task", "queue"]),
        (TaskQ, ["task", "ref", "worker", "lambda_handler"]),
        (type(TaskQ("shop").results), ["get", "aget", "get_many", "aget_many", "list", "alist"]),
        (taskq_sls.TaskContext, ["cancelled", "progress", "id", "attempt", "deadline", "state", "labels", "parent"]),
    ):
        for name in names:
            assert hasattr(owner, name), (owner, name)


def test_every_public_method_is_documented() -> None:
    for owner in (taskq_sls.Task, taskq_sls.TaskHandle, TaskQ, taskq_sls.TaskContext):
        for name, member in inspect.getmembers(owner):
            if not name.startswith("_") and (callable(member) or isinstance(member, property)):
                assert inspect.getdoc(member), f"{owner.__name__}.{name}"


def test_making_an_app_reads_nothing_and_connects_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKQ_QUEUE_URLS", "this is not JSON")
    app = TaskQ("shop")

    @app.task
    def job() -> None: ...

    with pytest.raises(taskq_sls.ConfigError, match="TASKQ_QUEUE_URLS"):
        job.enqueue()
