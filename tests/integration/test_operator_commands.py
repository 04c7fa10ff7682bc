"""The operators' commands against moto, in this process."""

from __future__ import annotations

import asyncio
import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from taskq_sls import TaskQ
from taskq_sls.brokers.sqs import SqsBroker
from taskq_sls.cli import main
from taskq_sls.cli.apps import load_app
from taskq_sls.core.delivery import DeadLetter
from taskq_sls.core.flow import BlockingFlow, drive
from taskq_sls.errors import AwsError
from taskq_sls.results.workers import RunningTask, WorkerReport

SHOP = """
from taskq_sls import TaskQ, Queue, Retry

app = TaskQ("shop", queues=[Queue("default"), Queue("ledger.fifo")])
sizes = []

@app.task(retry=Retry(max_attempts=1))
def resize(path: str, width: int = 100) -> str:
    if path.startswith("bad."):
        raise ValueError(f"no such image: {path}")
    sizes.append(width)
    return f"{path}@{width}"

@app.task(queue="ledger.fifo", retry=Retry(max_attempts=1))
def book(amount: int) -> None:
    raise RuntimeError("closed")
"""

APP = ("--app", "shop:app")

Run = Callable[..., str]


@pytest.fixture
def aws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An app in the current directory, and its queues and table."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "TASKQ_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "shop.py").write_text(SHOP)
    with mock_aws():
        assert main(["provision", "shop:app"]) == 0
        yield
    sys.modules.pop("shop", None)


@pytest.fixture
def run(aws: None, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command and gives back its stdout."""
    capsys.readouterr()

    def run(*argv: str, status: int = 0) -> str:
        assert main(argv) == status, capsys.readouterr().err
        return capsys.readouterr().out

    return run


@pytest.fixture
def errors(aws: None, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command that is refused and gives back the one line of stderr."""

    def errors(*argv: str, status: int = 2) -> str:
        assert main(argv) == status
        err = capsys.readouterr().err
        assert "Traceback" not in err
        assert err.splitlines()[-1].startswith("taskq: error: ")
        return err.splitlines()[-1]

    return errors


def work(app: TaskQ, *queues: str) -> None:
    """Process what the queues hold, once, as a worker would."""

    async def process() -> None:
        services = await app.services.on_loop()
        executor = app.executor(services)
        for queue in queues or ("default",):
            for delivery in await services.broker.receive(queue, max_messages=10, wait=0, visibility=60):
                outcome = await executor.process(delivery)
                if isinstance(outcome, DeadLetter):
                    assert await services.broker.dead_letter([(delivery, outcome)]) == [None]
                await services.broker.ack([delivery])

    asyncio.run(process())


def sqs() -> Any:
    return boto3.client("sqs")


def url(name: str) -> str:
    return str(sqs().get_queue_url(QueueName=f"shop-{name}")["QueueUrl"])


def count(queue: str) -> tuple[int, int]:
    """Messages that wait, and messages in flight."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = sqs().get_queue_attributes(QueueUrl=url(queue), AttributeNames=names)["Attributes"]
    return int(found[names[0]]), int(found[names[1]])


@pytest.fixture
def dead(run: Run) -> list[str]:
    """Three tasks in the dead-letter queues; their ids."""
    app = load_app("shop:app")
    ids = [
        run("enqueue", "resize", *APP, "--args", '["bad.png"]', "--id", id, "--label", f"tenant={id}").strip()
        for id in ("one", "two")
    ]
    ids.append(run("enqueue", "book", *APP, "--args", "[7]", "--group", "g", "--id", "three").strip())
    work(app, "default", "ledger.fifo")
    return ids


# -- dlq ls and show ------------------------------------------------------------------------------------------------


def test_dead_letters_are_listed_and_stay_where_they_are(run: Run, dead: list[str]) -> None:
    found = json.loads(run("dlq", "ls", *APP, "--json"))

    assert sorted(one["id"] for one in found["dead_letters"]) == sorted(dead)
    assert {one["reason"] for one in found["dead_letters"]} == {"exhausted"}
    assert [group["count"] for group in found["groups"]] == [2, 1]
    assert (found["seen"], found["missed"]) == (3, 0)
    assert (count("default-dlq"), count("ledger-dlq.fifo")) == ((2, 0), (1, 0))


def test_the_table_of_dead_letters_tells_why(run: Run, dead: list[str]) -> None:
    out = run("dlq", "ls", *APP)

    assert out.splitlines()[0].split() == ["ID", "TASK", "REASON", "RUN", "ATTEMPTS", "AGE", "QUEUE", "ERROR"]
    assert "ValueError: no such image: bad.png" in out


def test_groups_alone_can_be_listed(run: Run, dead: list[str]) -> None:
    lines = run("dlq", "ls", *APP, "--groups").splitlines()

    assert [line.split()[:4] for line in lines[1:]] == [
        ["2", "exhausted", "shop:resize", "ValueError"],
        ["1", "exhausted", "shop:book", "RuntimeError"],
    ]


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        (["--queue", "default"], {"one", "two"}),
        (["--queue", "ledger-dlq.fifo"], {"three"}),
        (["--task", "resize"], {"one", "two"}),
        (["--task", "resize", "--task", "book"], {"one", "two", "three"}),
        (["--reason", "crashed"], set()),
        (["--label", "tenant=two"], {"two"}),
        (["--id", "one", "--id", "three"], {"one", "three"}),
        (["--older-than", "1h"], set()),
        (["--older-than", "0s"], {"one", "two", "three"}),
    ],
)
def test_dead_letters_are_filtered(run: Run, dead: list[str], filters: list[str], found: set[str]) -> None:
    listed = json.loads(run("dlq", "ls", *APP, *filters, "--json"))["dead_letters"]

    assert {one["id"] for one in listed} == found


def test_one_dead_letter_is_shown_by_the_id_of_its_task_or_its_message(run: Run, dead: list[str]) -> None:
    (by_task,) = json.loads(run("dlq", "show", "one", *APP, "--json"))
    (by_message,) = json.loads(run("dlq", "show", by_task["message_id"], *APP, "--json"))

    assert by_task["id"] == by_message["id"] == "one"
    assert by_task["args"] == ["bad.png"]
    out = run("dlq", "show", "one", *APP)
    assert 'args          ["bad.png"]' in out
    assert "goes back to  default" in out
    assert "Traceback (most recent call last)" in out


@pytest.fixture
def hiding(run: Run, tmp_path: Path) -> str:
    """The id of a dead letter whose password and token the app hides by name."""
    text = SHOP.replace('TaskQ("shop", ', 'TaskQ("shop", redact=["password", "token"], ')
    text += """
@app.task(retry=Retry(max_attempts=1))
def log_in(user: str, password: str) -> str:
    if user == "bad":
        raise ValueError("no such user")
    return f"{user}:{password}"
"""
    sys.modules.pop("shop", None)
    (tmp_path / "shop.py").write_text(text)
    given = ("--args", '["bad", "hunter2"]', "--label", "token=sesame", "--label", "tenant=a", "--id", "login")
    run("enqueue", "log_in", *APP, *given)
    work(load_app("shop:app"))
    return "login"


@pytest.mark.parametrize(
    "command",
    [("dlq", "ls"), ("dlq", "show", "login"), ("tasks", "show", "login"), ("tasks", "ls"), ("result", "login")],
)
@pytest.mark.parametrize("form", [(), ("--json",)])
def test_what_the_app_hides_is_shown_to_nobody_who_does_not_ask_for_it(
    run: Run, hiding: str, command: tuple[str, ...], form: tuple[str, ...]
) -> None:
    status = 1 if command[0] == "result" else 0
    out = run(*command, *APP, *form, status=status)
    assert "hunter2" not in out
    assert "sesame" not in out
    if form:
        assert "sesame" in run(*command, *APP, *form, "--show-secrets", status=status)


def test_a_mark_is_not_taken_for_an_argument(errors: Run, dead: list[str]) -> None:
    for command in (("dlq", "redrive", "--id", "one"), ("tasks", "retry", "one")):
        assert "give the real value" in errors(*command, *APP, "--args", '["[redacted]"]')
    assert count("default-dlq") == (2, 0)


def test_a_dead_letter_that_is_not_there_is_status_1(errors: Run) -> None:
    assert "no dead letter of task or message 'absent'" in errors("dlq", "show", "absent", *APP, status=1)


def test_no_dead_letters_is_fine(run: Run) -> None:
    assert run("dlq", "ls", *APP) == ""


# -- dlq redrive ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words", [["ls"], ["redrive"], ["purge", "--yes"], ["show", "one"], ["ls", "--queue", "default"]]
)
@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_a_mistyped_prefix_is_an_error_and_not_an_all_clear(
    errors: Run, monkeypatch: pytest.MonkeyPatch, words: list[str], as_json: list[str]
) -> None:
    monkeypatch.setenv("TASKQ_PREFIX", "shpo")
    sys.modules.pop("shop", None)  # its app has read its settings already

    error = errors("dlq", *words, *APP, *as_json)

    assert "shpo-default-dlq" in error
    assert "exist" in error


def test_a_missing_dead_letter_queue_is_named_and_the_others_are_searched(
    run: Run, dead: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    sqs().delete_queue(QueueUrl=url("ledger-dlq.fifo"))

    assert main(["dlq", "ls", *APP]) == 0
    shown = capsys.readouterr()
    found = json.loads(run("dlq", "ls", *APP, "--json"))
    purged = json.loads(run("dlq", "purge", *APP, "--json", "--dry-run"))
    redriven = json.loads(run("dlq", "redrive", *APP, "--json", "--dry-run"))

    assert "one" in shown.out
    assert "taskq: warning: queue shop-ledger-dlq.fifo does not exist, so it was not searched" in shown.err
    assert {letter["id"] for letter in found["dead_letters"]} == {"one", "two"}
    assert found["missing"] == purged["missing"] == redriven["missing"] == ["ledger-dlq.fifo"]

    assert main(["dlq", "show", "nobody", *APP]) == 1
    assert "warning: queue shop-ledger-dlq.fifo does not exist" in capsys.readouterr().err


def test_a_redriven_task_runs_again(run: Run, dead: list[str]) -> None:
    assert run("dlq", "redrive", *APP, "--id", "one", "--args", '["good.png", 3]') == "1 sent, of 3 read\n"

    work(load_app("shop:app"))

    record = json.loads(run("tasks", "show", "one", *APP, "--json"))["record"]
    assert (record["status"], record["run"], record["result"]) == ("SUCCEEDED", 1, "good.png@3")
    assert (count("default-dlq"), count("ledger-dlq.fifo")) == ((1, 0), (1, 0))


def test_a_dry_run_tells_what_would_be_sent(run: Run, dead: list[str]) -> None:
    out = run("dlq", "redrive", *APP, "--task", "resize", "--dry-run")

    assert out.endswith("2 would be sent, of 3 read\n")
    assert (count("default"), count("default-dlq")) == ((0, 0), (2, 0))


def test_a_fifo_dead_letter_goes_back_with_its_group(run: Run, dead: list[str]) -> None:
    answer = json.loads(run("dlq", "redrive", *APP, "--queue", "ledger.fifo", "--json"))

    assert [(one["id"], one["to"], one["run"]) for one in answer["redriven"]] == [("three", "ledger.fifo", 1)]
    received = sqs().receive_message(QueueUrl=url("ledger.fifo"), MessageSystemAttributeNames=["All"])
    (message,) = received["Messages"]
    assert message["Attributes"]["MessageGroupId"] == "g"
    assert message["Attributes"]["MessageDeduplicationId"].startswith("three:1:0:")


@pytest.mark.parametrize("moment", ["before", "after"])
def test_an_interrupted_redrive_is_status_130_and_can_be_resumed(
    run: Run,
    dead: list[str],
    moment: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    send = SqsBroker.send

    async def interrupted(self: SqsBroker, messages: Any) -> Any:
        if moment == "after":
            await send(self, messages)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(SqsBroker, "send", interrupted)
        assert main(["dlq", "redrive", *APP, "--queue", "default"]) == 130
    assert "run it again to go on" in capsys.readouterr().err
    assert count("default-dlq") == (2, 0)

    run("dlq", "redrive", *APP, "--queue", "default")
    assert count("default-dlq") == (0, 0)
    work(load_app("shop:app"))
    letters = json.loads(run("dlq", "ls", *APP, "--queue", "default", "--json"))["dead_letters"]
    assert {(one["id"], one["run"]) for one in letters} == {("one", 2), ("two", 2)}  # failed again, in run 1


@pytest.mark.parametrize("command", [("redrive",), ("purge", "--yes")])
def test_what_others_hold_is_told_so_that_nobody_thinks_it_is_done(
    run: Run, dead: list[str], command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    sqs().receive_message(QueueUrl=url("default-dlq"), VisibilityTimeout=60)

    assert main(["dlq", *command, *APP, "--queue", "default"]) == 0
    out, err = capsys.readouterr()

    assert "of 1 read" in out
    assert "about 1 more were not read" in err
    assert json.loads(run("dlq", *command, *APP, "--queue", "default", "--json"))["missed"] == 1


def test_a_fault_in_the_middle_tells_what_was_sent_before(
    run: Run, dead: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    receive = SqsBroker.receive

    async def fail_later(broker: SqsBroker, queue: str, **options: Any) -> Any:
        if queue == "ledger-dlq.fifo":
            raise AwsError("receive_message", "ExpiredToken", "it is over")
        return await receive(broker, queue, **options)

    monkeypatch.setattr(SqsBroker, "receive", fail_later)
    assert main(["dlq", "redrive", *APP]) == 2

    err = capsys.readouterr().err
    assert "interrupted: 2 were sent" in err
    assert "ExpiredToken" in err


def test_what_sqs_itself_moved_is_marked_and_runs(run: Run) -> None:
    app = load_app("shop:app")
    run("enqueue", "resize", *APP, "--args", '["a.png"]', "--id", "lost")
    queue = url("default")
    policy = json.loads(
        sqs().get_queue_attributes(QueueUrl=queue, AttributeNames=["RedrivePolicy"])["Attributes"]["RedrivePolicy"]
    )
    sqs().set_queue_attributes(
        QueueUrl=queue, Attributes={"RedrivePolicy": json.dumps({**policy, "maxReceiveCount": 1})}
    )
    for _ in range(2):
        sqs().receive_message(QueueUrl=queue, VisibilityTimeout=0, WaitTimeSeconds=0)

    (letter,) = json.loads(run("dlq", "ls", *APP, "--json"))["dead_letters"]
    assert (letter["id"], letter["reason"], letter["run"]) == ("lost", "redriven", 0)
    run("dlq", "redrive", *APP)
    work(app)
    assert json.loads(run("result", "lost", *APP, "--json"))["run"] == 1


def test_a_firing_in_the_schedules_queue_is_redriven_to_its_target(run: Run) -> None:
    arn = sqs().get_queue_attributes(QueueUrl=url("default"), AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    body = {"v": 1, "task": "shop:resize", "args": ["a.png"]}
    body["schedule"] = {"name": "d-shop.x", "group": "shop", "at": "2026-12-01T09:00:00Z"}
    attributes = {"ERROR_CODE": "AccessDenied", "TARGET_ARN": arn, "SCHEDULED_TIME": "2026-12-01T09:00:00Z"}
    sqs().send_message(
        QueueUrl=url("schedules-dlq"),
        MessageBody=json.dumps(body),
        MessageAttributes={name: {"DataType": "String", "StringValue": text} for name, text in attributes.items()},
    )

    (letter,) = json.loads(run("dlq", "ls", *APP, "--queue", "schedules-dlq", "--json"))["dead_letters"]
    run("dlq", "redrive", *APP, "--queue", "schedules-dlq")
    work(load_app("shop:app"))

    assert (letter["reason"], letter["schedule"]) == ("undelivered", "d-shop.x")
    assert json.loads(run("tasks", "show", letter["id"], *APP, "--json"))["record"]["status"] == "SUCCEEDED"


def test_a_redrive_replaces_the_arguments_of_one(run: Run, dead: list[str]) -> None:
    run("dlq", "redrive", *APP, "--id", "two", "--args", '["good.png", 100]')
    work(load_app("shop:app"))

    assert json.loads(run("result", "two", *APP, "--json"))["result"] == "good.png@100"


def test_arguments_that_do_not_fit_are_one_line(errors: Run, dead: list[str]) -> None:
    assert "width" in errors("dlq", "redrive", *APP, "--id", "one", "--args", '["a.png", "wide"]')
    assert count("default-dlq") == (2, 0)


# -- dlq purge ------------------------------------------------------------------------------------------------------


def test_a_purge_deletes_what_fits(run: Run, dead: list[str]) -> None:
    answer = json.loads(run("dlq", "purge", *APP, "--id", "one", "--yes", "--json"))

    assert [one["id"] for one in answer["purged"]] == ["one"]
    assert (count("default-dlq"), count("ledger-dlq.fifo")) == ((1, 0), (1, 0))


def test_a_purge_without_a_terminal_is_refused(errors: Run, dead: list[str]) -> None:
    assert "give --yes" in errors("dlq", "purge", *APP)
    assert count("default-dlq") == (2, 0)


@pytest.mark.parametrize(("answer", "status", "left"), [("y\n", 0, 0), ("n\n", 1, 2), ("", 1, 2)])
def test_a_purge_asks_first_and_tells_how_many(
    run: Run,
    dead: list[str],
    answer: str,
    status: int,
    left: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(answer))

    assert main(["dlq", "purge", *APP, "--task", "resize"]) == status

    asked = "delete 2 dead letters: 2 of shop:resize (exhausted) for good? [y/N]"
    assert asked in capsys.readouterr().err
    assert count("default-dlq") == (left, 0)


class Terminal:
    """A person who gives one answer."""

    def __init__(self, answer: str) -> None:
        self._answer = answer

    def isatty(self) -> bool:
        return True

    def readline(self) -> str:
        return self._answer


# -- tasks ----------------------------------------------------------------------------------------------------------


def test_a_task_is_shown_with_its_dead_letter(run: Run, dead: list[str]) -> None:
    shown = json.loads(run("tasks", "show", "one", *APP, "--json"))

    assert (shown["record"]["status"], shown["dead_letter"]["run"]) == ("FAILED", 1)
    assert "its dead letter in default-dlq:" in run("tasks", "show", "one", *APP)


def test_a_task_that_nobody_knows_is_status_1(errors: Run) -> None:
    assert "there is no record of task absent" in errors("tasks", "show", "absent", *APP, status=1)


def test_retrying_redrives_the_dead_letter_or_sends_a_child(run: Run, dead: list[str]) -> None:
    app = load_app("shop:app")
    again = json.loads(run("tasks", "retry", "one", *APP, "--args", '["a.png"]', "--json"))
    assert (again["id"], again["run"], again["redriven"]) == ("one", 1, True)
    work(app)

    child = json.loads(run("tasks", "retry", "one", *APP, "--args", '["b.png"]', "--json"))
    work(app)

    assert (child["parent"], child["redriven"]) == ("one", False)
    record = json.loads(run("tasks", "show", child["id"], *APP, "--json"))["record"]
    assert (record["result"], record["parent"]) == ("b.png@100", "one")


def test_retrying_without_arguments_tells_how_to_give_them(run: Run, errors: Run) -> None:
    long = json.dumps(["x" * 500])  # longer than what a record holds
    run("enqueue", "resize", *APP, "--args", long, "--id", "done")
    work(load_app("shop:app"))

    assert "give them (--args" in errors("tasks", "retry", "done", *APP)


def test_tasks_are_cancelled_by_their_ids(run: Run, dead: list[str]) -> None:
    cancelled = json.loads(run("tasks", "cancel", "new", *APP, "--task", "resize", "--json"))
    too_late = json.loads(run("tasks", "cancel", "one", *APP, "--json", status=1))

    assert cancelled == [{"id": "new", "answer": "cancelled", "status": "CANCELLED"}]
    assert too_late == [{"id": "one", "answer": "too_late", "status": "FAILED"}]


def test_of_several_tasks_those_that_are_known_are_cancelled(
    run: Run, dead: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    run("tasks", "cancel", *APP, "later", "--task", "resize")
    assert main(["tasks", "cancel", *APP, "absent", "later", "--json"]) == 1

    out, err = capsys.readouterr()
    assert [(one["id"], one["answer"]) for one in json.loads(out)] == [("later", "cancelled")]
    assert "task absent has no record" in err


@pytest.mark.parametrize("command", ["retry", "cancel", "show"])
def test_a_task_of_which_nothing_is_known_is_status_1(errors: Run, command: str) -> None:
    assert "absent" in errors("tasks", command, "absent", *APP, status=1)


def test_ls_is_what_tasks_does_when_no_command_is_named(run: Run, dead: list[str]) -> None:
    plain = json.loads(run("tasks", *APP, "--status", "failed", "--json"))
    named = json.loads(run("tasks", "ls", *APP, "--status", "failed", "--json"))

    assert {one["id"] for one in plain["tasks"]} == {one["id"] for one in named["tasks"]} == set(dead)


def test_a_tail_tells_what_ends_until_ctrl_c(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    app = load_app("shop:app")
    steps = iter(
        [lambda: run("enqueue", "resize", *APP, "--args", '["a.png"]', "--id", "x"), lambda: work(app), _interrupt]
    )
    instead_of_sleeping(monkeypatch, steps)

    (line,) = run("tasks", "tail", *APP).splitlines()

    assert line.split()[:3] == ["x", "SUCCEEDED", "shop:resize"]


def _interrupt() -> None:
    raise KeyboardInterrupt


def instead_of_sleeping(monkeypatch: pytest.MonkeyPatch, steps: Iterator[Callable[[], Any]]) -> None:
    async def sleep(self: BlockingFlow, seconds: float) -> None:
        next(steps)()

    monkeypatch.setattr(BlockingFlow, "sleep", sleep)


# -- queues, workers, top -------------------------------------------------------------------------------------------


def test_queues_are_shown_with_what_waits_and_what_was_given_up(run: Run, dead: list[str]) -> None:
    run("enqueue", "resize", *APP, "--args", '["a.png"]')

    found = {one["name"]: one for one in json.loads(run("queues", *APP, "--json"))}

    assert (found["default"]["visible"], found["default"]["dead_letters"]) == (1, 2)
    assert found["ledger.fifo"]["dead_letters"] == 1
    assert found["schedules-dlq"]["visible"] == 0
    assert run("queues", *APP).splitlines()[1].split() == ["default", "1", "0", "0", "-", "2"]


def test_the_age_of_the_oldest_message_is_what_cloudwatch_says(run: Run) -> None:
    boto3.client("cloudwatch").put_metric_data(
        Namespace="AWS/SQS",
        MetricData=[
            {
                "MetricName": "ApproximateAgeOfOldestMessage",
                "Dimensions": [{"Name": "QueueName", "Value": "shop-default"}],
                "Value": 75,
                "Unit": "Seconds",
            }
        ],
    )

    found = {one["name"]: one["oldest_age"] for one in json.loads(run("queues", *APP, "--json"))}

    assert found == {"default": 75.0, "ledger.fifo": None, "schedules-dlq": None}
    assert json.loads(run("queues", *APP, "--json", "--no-ages"))[0]["oldest_age"] is None


def alive(app: TaskQ, *running: RunningTask, ago: float = 5) -> None:
    now = app.clock.time()
    report = WorkerReport(
        "shop", "w-1", "box", 7, now - 300, now - ago, 1, 12, 100, "0.1.0", ("default",), False, running
    )
    workers = app.services.blocking().results.workers
    assert workers is not None
    drive(workers.beat(report))


def test_workers_that_report_are_shown(run: Run) -> None:
    alive(load_app("shop:app"))

    (one,) = json.loads(run("workers", *APP, "--json"))

    assert (one["host"], one["pid"], one["done"], one["queues"]) == ("box", 7, 12, ["default"])
    assert run("workers", *APP).splitlines()[1].split()[:2] == ["box", "7"]


def test_a_worker_that_died_is_shown_as_lost(run: Run) -> None:
    alive(load_app("shop:app"), ago=200)

    assert run("workers", *APP, status=1).splitlines()[1].endswith("lost")
    (worker,) = json.loads(run("workers", *APP, "--json", status=1))
    assert worker["state"] == "lost"


def test_a_worker_whose_clock_is_ahead_is_told(run: Run) -> None:
    alive(load_app("shop:app"), ago=-90)
    assert "its clock is ahead" in run("workers", *APP)


def test_no_worker_at_all_is_status_1(run: Run) -> None:
    assert json.loads(run("workers", *APP, "--json", status=1)) == []


def test_top_shows_one_picture_where_nobody_looks(run: Run, dead: list[str]) -> None:
    alive(load_app("shop:app"), RunningTask("busy", "shop:resize"))

    out = run("top", *APP, "--once")
    picture = json.loads(run("top", *APP, "--once", "--json"))

    assert "\x1b" not in out
    for text in ("QUEUE", "default", "box 7", "busy", "ValueError: no such image: bad.png"):
        assert text in out
    assert [one["id"] for one in picture["running"]] == ["busy"]
    assert {one["id"] for one in picture["failed"]} == set(dead)


def test_top_that_sees_nothing_from_the_first_ends_with_the_reason(
    errors: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unreachable(*_: Any, **__: Any) -> Any:
        raise AwsError("get_queue_url", "EndpointConnectionError", "nobody is there", transient=True)

    monkeypatch.setattr("taskq_sls.cli.top.overview", unreachable)
    assert "nobody is there" in errors("top", *APP)


def test_top_goes_on_until_ctrl_c(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = iter([lambda: None, _interrupt])
    instead_of_sleeping(monkeypatch, steps)

    assert run("top", *APP).count("DEAD LETTERS") == 2


@pytest.mark.parametrize(
    "argv",
    [
        ["dlq", "ls", *APP, "--queue", "absent"],
        ["dlq", "ls", *APP, "--older-than", "yesterday"],
        ["dlq", "ls", *APP, "--limit", "0"],
        ["dlq", "ls", *APP, "--task", "resise"],
        ["dlq", "redrive", *APP, "--rate", "0"],
        ["dlq", "redrive", *APP, "--edit"],
        ["dlq", "redrive", *APP, "--args", "{}"],
        ["dlq", "redrive", *APP, "--args", "[]"],
        ["tasks", "retry", "not an id", *APP],
        ["tasks", "tail", *APP, "--status", "RUNNING"],
        ["tasks", "sh", "x"],
        ["top", *APP, "--interval", "0.01"],
        ["dlq"],
        ["completion", "tcsh"],
    ],
)
def test_bad_input_is_one_line_and_status_2(errors: Run, argv: list[str]) -> None:
    errors(*argv)


# -- text that others supplied --------------------------------------------------------------------------------------

EVIL = "\x1b]52;c;cm0gLXJm\x07\x1b[2J\rFINE\x9b1A\u202e"


def test_terminal_escapes_of_callers_reach_no_terminal(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run("enqueue", "resize", *APP, "--args", json.dumps([f"bad.{EVIL}"]), "--id", "one", "--label", f"tenant={EVIL}")
    work(load_app("shop:app"))
    shown = [
        run("tasks", *APP),
        run("result", "one", *APP, status=1),
        run("dlq", "ls", *APP),
        run("dlq", "show", "one", *APP),
        run("dlq", "ls", "--groups", *APP),
        run("top", "--once", *APP),
        run("tasks", "show", "one", *APP),
    ]
    assert main(["result", EVIL, *APP]) == 2
    shown.append(capsys.readouterr().err)

    assert all(char >= " " or char in "\n\t" for text in shown for char in text)
    assert not set("\x9b\u202e") & set("".join(shown))
    assert r"\u001b[2J\u000dFINE" in shown[1]


def test_a_line_feed_in_a_label_makes_no_line_of_its_own(run: Run) -> None:
    run("enqueue", "resize", *APP, "--args", '["bad.png"]', "--id", "one", "--label", "tenant=7\nstatus  SUCCEEDED")
    work(load_app("shop:app"))

    lines = run("result", "one", *APP, status=1).splitlines()

    assert [line for line in lines if line.startswith("status")] == ["status     FAILED"]


def test_an_encoding_that_lacks_a_character_fails_no_command(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run("enqueue", "resize", *APP, "--args", '["bad.\u00fc\u2192.png"]', "--id", "one")
    work(load_app("shop:app"))
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))

    assert main(["result", "one", *APP]) == 1

    assert rb"bad.\xfc\u2192.png" in written.getvalue()
