"""Options: where each may be given, what it may be, and how they lie over each other."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from taskq_sls import ConfigError
from taskq_sls.core.times import DAY
from taskq_sls.testing import in_memory
from tests.support.apps import shop

NAN = float("nan")


@pytest.fixture
def task() -> Any:
    app = shop()

    @app.task(name="job")
    def job() -> None: ...

    return job


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"dealy": 5}, "did you mean 'delay'"),
        ({"grup": "a"}, "did you mean 'group'"),
        ({"zzz": 1}, "known here: delay, expires_in, group, id, labels, "),
        ({"retry": 3}, "unknown option 'retry'"),
        ({"timeout": 3}, "unknown option 'timeout'"),
        ({"queue": "fast"}, "queue 'fast' is not declared"),
        ({"queue": 7}, "name of a queue"),
        ({"delay": -1}, "0 to 31,622,400 seconds"),
        ({"delay": 367 * DAY}, "a year"),
        ({"delay": NAN}, "delay=nan"),
        ({"delay": float("inf")}, "delay=inf"),
        ({"delay": "5"}, "seconds or a timedelta"),
        ({"delay": True}, "seconds or a timedelta"),
        ({"delay": timedelta(days=367)}, "a year"),
        ({"unique_key": "a", "delay": 2 * DAY}, "the key would be free before the task starts"),
        ({"expires_in": 0}, "expires_in=0"),
        ({"expires_in": NAN}, "expires_in=nan"),
        ({"expires_in": 382 * DAY}, "expires_in="),
        ({"expires_in": 10, "delay": 10}, "would never run"),
        ({"expires_in": 10, "delay": 60}, "would never run"),
        ({"id": ""}, "1 to 100 characters"),
        ({"id": "a" * 101}, "1 to 100 characters"),
        ({"id": "a b"}, "1 to 100 characters"),
        ({"id": "ü"}, "1 to 100 characters"),
        ({"id": "a\n"}, "1 to 100 characters"),
        ({"id": 7}, "1 to 100 characters"),
        ({"group": ""}, "1 to 128"),
        ({"group": "a" * 129}, "1 to 128"),
        ({"group": "a b"}, "1 to 128"),
        ({"group": 5}, "1 to 128"),
        ({"labels": {"a": 1}}, "map text to text"),
        ({"labels": {1: "a"}}, "map text to text"),
        ({"labels": "a=b"}, "map text to text"),
        ({"labels": [("a", "b")]}, "map text to text"),
        ({"labels": {"": "a"}}, "empty name"),
        ({"labels": {"tenant": "x" * 4_091}}, "4,097 bytes, above the limit of 4,096"),
        ({"labels": {"ä": "ö" * 2_048}}, "4,098 bytes, above the limit of 4,096"),
    ],
)
def test_an_option_of_an_enqueue_that_is_wrong_is_refused_where_it_is_given(
    task: Any, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError, match=says) as refused:
        task.with_options(**options)
    if "id" not in options:
        assert "job" in str(refused.value)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"retires": 5}, "did you mean 'retry'"),
        ({"id": "x"}, "unknown option 'id'"),
        ({"retry": 3}, "must be a Retry"),
        ({"timeout": 0}, "timeout=0"),
        ({"timeout": NAN}, "timeout=nan"),
        ({"timeout": 43_201}, "43,200 seconds"),
        ({"record": "all"}, "none, finished, started, queued"),
        ({"record": None}, "none, finished, started, queued"),
        ({"result_ttl": 60}, "must outlive the 14 days"),
        ({"queue": "nowhere"}, "not declared"),
        ({"delay": 367 * DAY}, "a year"),
        ({"expires_in": 5, "delay": 6}, "would never run"),
        ({"labels": {"a": None}}, "map text to text"),
        ({"labels": {"a": "\ud800"}}, "the label 'a' has half a surrogate pair"),
    ],
)
def test_an_option_of_a_task_that_is_wrong_is_refused_at_the_declaration(options: dict[str, Any], says: str) -> None:
    app = shop()
    with pytest.raises(ConfigError, match=says):

        @app.task(**options)
        def job() -> None: ...


@pytest.mark.parametrize("options", [{"retry": None}, {"timeout": 5}, {"result_ttl": 1}, {"queue": "nowhere"}])
def test_a_reference_takes_only_what_a_sender_can_know(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        shop().ref("shop.tasks:resize", **options)


def test_a_reference_to_what_is_no_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="task name"):
        shop().ref("no name")


def test_a_fifo_queue_needs_a_group_when_it_is_sent_to(task: Any) -> None:
    sender = task.with_options(queue="ledger.fifo")
    with pytest.raises(ConfigError, match="needs a message group"):
        sender.enqueue()
    with pytest.raises(ConfigError, match="needs a message group"):
        sender.enqueue_many([()])


def test_options_lie_over_each_other_from_app_to_task_to_enqueue() -> None:
    app = shop(timeout=10, labels={"team": "a", "stage": "dev"}, expires_in=100)

    @app.task(timeout=20, labels={"team": "b"}, queue="slow")
    def job() -> None: ...

    job.with_options(labels={"order": "7" * 4_078})
    with pytest.raises(ConfigError, match=r"4,097 bytes"):  # with the labels of app and task
        job.with_options(labels={"order": "7" * 4_079})
    sender = job.with_options(labels={"order": "7"}, delay=timedelta(seconds=30)).with_options(delay=20)
    assert sender.options.labels == {"team": "b", "stage": "dev", "order": "7"}
    assert (sender.options.timeout, sender.options.queue, sender.options.delay) == (20, "slow", 20)
    assert sender.options.expires_in == 100
    assert (job.options.delay, dict(job.options.labels)) == (0, {"team": "b", "stage": "dev"})


def test_what_is_inherited_can_be_taken_away() -> None:
    app = shop(timeout=10, expires_in=100)

    @app.task(timeout=None, expires_in=None)
    def job() -> None: ...

    assert (job.options.timeout, job.options.expires_in) == (None, None)


def test_labels_given_once_cannot_be_changed_afterwards(task: Any) -> None:
    labels = {"order": "7"}
    sender = task.with_options(labels=labels)
    labels["order"] = "8"
    assert sender.options.labels == {"order": "7"}
    with pytest.raises(TypeError):
        sender.options.labels["order"] = "9"


def test_labels_reach_the_record() -> None:
    app = shop(labels={"stage": "dev"})

    @app.task
    def job() -> None: ...

    with in_memory(app) as memory:
        handle = job.with_options(labels={"order": "7"}).enqueue()
        memory.run_until_idle()
        record = app.results.get(handle.id)
        assert record is not None
        assert record.labels == {"stage": "dev", "order": "7"}
