"""The command line: what is read, what is refused, and how errors are told."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from taskq_sls import ConfigError, Queue, TaskQ
from taskq_sls.cli import main
from taskq_sls.cli.apps import find_task, load_app
from taskq_sls.cli.arguments import address, when
from taskq_sls.cli.main import _parser
from taskq_sls.cli.output import age, print_json, print_record, print_table, span
from taskq_sls.cli.worker import child_command
from taskq_sls.core.context import Progress
from taskq_sls.core.message import ErrorInfo
from taskq_sls.core.states import State
from taskq_sls.operations.presenters import duration_of, record_fields
from taskq_sls.results.records import PastAttempt, TaskRecord
from taskq_sls.worker.worker_process import WorkerProcess

SHOP = """
from datetime import date
from taskq_sls import TaskQ, Queue

app = TaskQ("shop", queues=[Queue("default"), Queue("ledger.fifo")])
other = 7

@app.task
def resize(path: str, width: int) -> str:
    return f"{path}@{width}"

@app.task
def on(day: date) -> None: ...

@app.task(record="none")
def quiet() -> None: ...
"""

Write = Callable[..., None]
Told = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes modules that can be imported for the time of the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("TASKQ_APP", raising=False)
    written = []

    def write(**modules: str) -> None:
        for name, text in modules.items():
            (tmp_path / f"{name}.py").write_text(text)
            written.append(name)

    yield write
    for name in written:
        sys.modules.pop(name, None)


@pytest.fixture
def shop(write: Write) -> None:
    write(shop=SHOP)


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Told:
    """What stderr says when a command is refused: one line, status 2, no traceback."""

    def refused(*argv: str) -> str:
        assert main(argv) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("taskq: error: ")
        assert err.count("\n") == 1
        assert "Traceback" not in err
        return err

    return refused


# -- the command itself ---------------------------------------------------------------------------------------------


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == "taskq 0.1.0\n"


def test_an_unknown_command_is_refused_with_those_there_are(refused: Told) -> None:
    assert "invalid choice: 'enque'" in refused("enque")
    assert "see `taskq --help`" in refused("enque")


def test_no_command_at_all_is_refused(refused: Told) -> None:
    assert "COMMAND" in refused()


@pytest.mark.parametrize("command", ["worker", "provision", "enqueue", "result", "tasks", "doctor"])
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert f"usage: taskq {command}" in capsys.readouterr().out


def test_ctrl_c_is_130_without_a_traceback(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    write(slow="raise KeyboardInterrupt")
    assert main(["tasks", "--app", "slow:app"]) == 130
    assert capsys.readouterr().err == ""


# -- naming the app -------------------------------------------------------------------------------------------------


def test_an_app_is_found_by_module_and_attribute(shop: None) -> None:
    assert load_app("shop:app").name == "shop"


def test_an_app_is_found_by_the_environment(shop: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKQ_APP", "shop:app")
    assert load_app(None).name == "shop"


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("shop", "app 'shop': it must be MODULE:ATTRIBUTE, such as shop.tasks:app"),
        ("shop:", "it must be MODULE:ATTRIBUTE"),
        (":app", "it must be MODULE:ATTRIBUTE"),
        ("shop:app()", "it must be MODULE:ATTRIBUTE"),
        ("shop.py:app", "name the module, not its file: shop:app"),
        ("./src/shop.py", "name the module, not its file: src.shop:app"),
        ("nowhere:app", "there is no module 'nowhere' in "),
        ("nowhere.tasks:app", "there is no module 'nowhere' in "),
        ("shop:application", "shop has no 'application'; did you mean shop:app?"),
        ("shop:other", "it is int (7), not a TaskQ; did you mean shop:app?"),
        ("shop:TaskQ", "it is a class"),
        ("json:app", "json has no 'app'; the module defines no TaskQ(...)"),
    ],
)
def test_a_wrong_app_is_refused_with_the_fix(shop: None, refused: Told, target: str, told: str) -> None:
    assert told in refused("tasks", "--app", target)


def test_no_app_is_refused_with_both_ways_to_name_one(write: Write, refused: Told) -> None:
    err = refused("tasks")
    assert "MODULE:ATTRIBUTE" in err
    assert "TASKQ_APP" in err


def test_a_module_that_raises_is_told_with_type_message_and_place(write: Write, refused: Told, tmp_path: Path) -> None:
    write(bad="x = 1\nraise RuntimeError('no database')\n")
    err = refused("worker", "bad:app")
    assert f"importing bad failed: RuntimeError: no database ({tmp_path}/bad.py:2); --traceback shows all of it" in err


def test_a_syntax_error_is_told_with_its_place(write: Write, refused: Told, tmp_path: Path) -> None:
    write(bad="x = 1\ndef (:\n")
    assert f"{tmp_path}/bad.py:2" in refused("tasks", "--app", "bad:app")


def test_a_module_that_lacks_another_is_told_with_its_place(write: Write, refused: Told, tmp_path: Path) -> None:
    write(bad="import not_installed_anywhere\n")
    err = refused("tasks", "--app", "bad:app")
    assert f"No module named 'not_installed_anywhere' ({tmp_path}/bad.py:1)" in err


def test_a_module_that_exits_is_an_error_too(write: Write, refused: Told) -> None:
    write(bad="raise SystemExit(0)\n")
    assert "importing bad failed: SystemExit" in refused("tasks", "--app", "bad:app")


def test_the_traceback_is_shown_when_asked_for(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    write(bad="raise RuntimeError('no database')\n")
    assert main(["tasks", "--app", "bad:app", "--traceback"]) == 2
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_a_faulty_declaration_is_told_as_it_is(write: Write, refused: Told) -> None:
    write(bad="from taskq_sls import TaskQ\napp = TaskQ('shop', queues=[])\n")
    assert "declare at least one Queue" in refused("tasks", "--app", "bad:app")


# -- naming the task ------------------------------------------------------------------------------------------------


@pytest.fixture
def app() -> TaskQ:
    app = TaskQ("shop", queues=[Queue("default")])
    for name in ("shop.images:resize", "shop.images:crop", "shop.mail:send", "shop.push:send"):
        app.task(name=name, aliases=(f"old:{name[-4:]}",) if name.startswith("shop.images") else ())(_nothing)
    return app


def _nothing() -> None: ...


@pytest.mark.parametrize("name", ["shop.images:resize", "resize", "old:size"])
def test_a_task_is_found_by_name_alias_and_unique_ending(app: TaskQ, name: str) -> None:
    assert find_task(app, name).name == "shop.images:resize"


def test_an_ending_of_several_tasks_is_refused_with_their_names(app: TaskQ) -> None:
    with pytest.raises(ConfigError, match=r"can be 'shop.mail:send' or 'shop.push:send': give the full name"):
        find_task(app, "send")


@pytest.mark.parametrize("name", ["resise", "shop.image:resize"])
def test_close_names_are_suggested_for_an_unknown_task(app: TaskQ, name: str) -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'shop.images:resize'"):
        find_task(app, name)


def test_all_names_are_told_when_none_is_close(app: TaskQ) -> None:
    with pytest.raises(ConfigError, match=r"it has 'shop.images:crop'"):
        find_task(app, "zzz")


def test_an_app_without_tasks_says_so() -> None:
    with pytest.raises(ConfigError, match="it has no tasks: does its module import"):
        find_task(TaskQ("empty"), "resize")


# -- arguments of enqueue: refused before anything is sent ----------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--args", "[1,"], "argument --args: '[1,' is not JSON"),
        (["--args", "[NaN]"], "NaN is not a JSON value"),
        (["--args", '{"a": 1}'], 'is a JSON object, not an array: write ["a.png", 200]'),
        (["--args", "null"], "is a JSON null, not an array"),
        (["--kwargs", "[1]"], 'is a JSON array, not an object: write {"width": 200}'),
        (["--args", '["a"]'], "missing a required argument: 'width'"),
        (["--args", '["a", 1, 2]'], "too many positional arguments"),
        (["--args", '["a", "1"]'], "the parameter 'width'"),
        (["--kwargs", '{"path": "a", "width": 1.5}'], "the parameter 'width'"),
        (["--args", '["a"]', "--kwargs", '{"widht": 1}'], "width"),
        (["--args", '["a", 1]', "--queue", "slow"], "queue 'slow' is not declared"),
        (["--args", '["a", 1]', "--queue", "ledger.fifo"], "needs a message group"),
        (["--args", '["a", 1]', "--delay", "901"], "set TASKQ_SCHEDULE_ROLE_ARN"),
        (["--args", '["a", 1]', "--delay", "-1"], "must be a number of seconds, 0 or more"),
        (["--args", '["a", 1]', "--delay", "soon"], "'soon' must be a number of seconds"),
        (["--args", '["a", 1]', "--group", "a b"], "group='a b' must be"),
        (["--args", '["a", 1]', "--id", "a b"], "id='a b': a task id is 1 to 100 characters"),
        (["--args", '["a", 1]', "--unique-key", ""], "unique_key='' must be 1 to 200 printable characters"),
        (["--args", '["a", 1]', "--label", "x"], "'x' must be NAME=VALUE"),
        (["--args", '["a", 1]', "--timeout", "3"], "--timeout limits --wait: give both"),
    ],
)
def test_wrong_arguments_of_a_task_are_refused(shop: None, refused: Told, arguments: list[str], told: str) -> None:
    assert told in refused("enqueue", "resize", "--app", "shop:app", *arguments)


def test_rich_arguments_are_read_by_their_annotation(shop: None, refused: Told) -> None:
    assert "the parameter 'day'" in refused("enqueue", "on", "--app", "shop:app", "--args", '["tomorrow"]')


def test_an_unknown_task_can_be_sent_by_name_and_the_error_says_so(shop: None, refused: Told) -> None:
    err = refused("enqueue", "resise", "--app", "shop:app")
    assert "did you mean 'shop:resize'?" in err
    assert "--by-name" in err


def test_waiting_for_a_task_that_records_nothing_is_refused_before_it_is_sent(shop: None, refused: Told) -> None:
    err = refused("enqueue", "quiet", "--app", "shop:app", "--wait")
    assert "record='none'" in err
    assert "nothing was sent" in err


# -- other arguments ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["result", "a b", "--app", "shop:app"], "a task id is 1 to 100 characters"),
        (["result", "x", "--app", "shop:app", "--timeout", "1"], "--timeout limits --wait"),
        (["tasks", "--app", "shop:app", "--status", "DONE"], "status='DONE' is not a state; use one of QUEUED"),
        (["tasks", "--app", "shop:app", "--limit", "1001"], "limit=1001"),
        (["tasks", "--app", "shop:app", "--limit", "0"], "'0' must be a whole number of 1 or more"),
        (["tasks", "--app", "shop:app", "--since", "yesterday"], "'yesterday' must be a time span before now"),
        (["tasks", "--app", "shop:app", "--since", "2026-11-22T10:00:00"], "a time with its zone"),
        (["tasks", "--app", "shop:app", "--task", "resise"], "did you mean 'shop:resize'?"),
        (["worker", "shop:app", "--concurrency", "0"], "'0' must be a whole number of 1 or more"),
        (["worker", "shop:app", "--queues", "a,,b"], "'a,,b' must be names of queues"),
        (["worker", "shop:app", "--queues", "slow"], "queue 'slow' is not declared; the app has 'default'"),
        (["worker", "shop:app", "--poll-wait", "21"], "poll_wait=21 must be a whole number of 1 to 20"),
        (["worker", "shop:app", "--health", "localhost"], "'localhost' must be a port"),
        (["worker", "shop:app", "--health", "127.0.0.1:70000"], "'70000' must be a port of 0 (a free one) to 65535"),
        (["worker", "shop:app", "--log-level", "loud"], "invalid choice: 'LOUD'"),
        (["worker", "--reload", "shop:app"], "give MODULE:APP before --reload"),
        (["worker", "shop:app", "--reload", "no/such"], "this directory does not exist"),
        (["worker", "shop:app", "--processes", "2", "--queues"], "expected one argument"),
        (["worker", "nowhere:app", "--processes", "2"], "there is no module 'nowhere'"),
        (["doctor", "shop:app", "--app", "shop:app"], "the app is named twice"),
        (["local", "up", "--port", "70000"], "'70000' must be a port"),
        (["local", "up", "--worker", "shop"], "it must be MODULE:ATTRIBUTE"),
    ],
)
def test_wrong_options_are_refused(
    shop: None, refused: Told, monkeypatch: pytest.MonkeyPatch, argv: list[str], told: str
) -> None:
    monkeypatch.setenv("TASKQ_APP", "shop:app")
    assert told in refused(*argv)


def test_reloading_without_its_package_names_the_package(
    shop: None, refused: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    assert "pip install 'taskq-sls[cli]'" in refused("worker", "shop:app", "--reload")


def test_times_are_read_as_ages_and_as_moments() -> None:
    assert when("90s") == timedelta(seconds=90)
    assert when("1.5h") == timedelta(minutes=90)
    moment = when("2026-11-22T10:00:00Z")
    assert not isinstance(moment, timedelta)
    assert moment.timestamp() == 1_795_341_600


@pytest.mark.parametrize(
    ("text", "expected"),
    [("8080", ("127.0.0.1", 8080)), ("0.0.0.0:80", ("0.0.0.0", 80)), ("[::1]:9", ("::1", 9))],
)
def test_a_health_address_has_a_loopback_host_unless_given(text: str, expected: tuple[str, int]) -> None:
    assert address(text) == expected


# -- the command lines of worker processes --------------------------------------------------------------------------


def test_a_worker_process_gets_what_its_supervisor_was_given() -> None:
    given = "worker shop:app --processes 2 --burst --queues a,b --max-tasks 5 --grace 1.5 --health [::1]:9"
    arguments = _parser().parse_args([*given.split(), "--log-level", "debug"])

    first = _parser().parse_args(child_command(arguments, 0)[3:])
    second = _parser().parse_args(child_command(arguments, 1)[3:])

    assert (first.app, first.burst, first.queues, first.max_tasks) == ("shop:app", True, ["a", "b"], 5)
    assert (first.grace, first.log_level, first.processes, first.reload) == (1.5, "DEBUG", 1, None)
    assert (first.health, second.health) == (("::1", 9), None)


def test_a_crashing_process_waits_longer_each_time_up_to_half_a_minute() -> None:
    process = WorkerProcess(1)
    pauses = [process.pause(lived=1.0) for _ in range(50)]

    assert 1 <= pauses[0] <= 2
    assert all(15 <= pause <= 30 for pause in pauses[10:])
    assert len(set(pauses[10:])) > 1


def test_a_process_that_lived_a_minute_starts_from_the_shortest_wait() -> None:
    process = WorkerProcess(1)
    for _ in range(10):
        process.pause(lived=1.0)

    assert process.pause(lived=60.0) <= 2


# -- what is printed ------------------------------------------------------------------------------------------------

NOW = 1_800_000_000.0


def made_record(**fields: object) -> TaskRecord:
    given: dict[str, object] = {"id": "id-1", "task": "shop:resize", "queue": "default", "status": State.SUCCEEDED}
    return TaskRecord(**{**given, **fields})  # type: ignore[arg-type]  # fields by name


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0124, "0.012s"), (5.21, "5.2s"), (61, "1m01s"), (3_723, "1h02m"), (90_000, "1d01h"), (None, "")],
)
def test_durations_are_short(seconds: float | None, text: str) -> None:
    assert span(seconds) == text


def test_the_age_of_a_task_from_a_clock_ahead_is_zero() -> None:
    assert age(NOW + 3, NOW) == "0.000s"


def test_a_running_task_has_taken_the_time_since_its_start() -> None:
    assert duration_of(made_record(status=State.RUNNING, started_at=NOW - 5), NOW) == 5
    assert duration_of(made_record(started_at=NOW - 5, finished_at=NOW - 3), NOW) == 2
    assert duration_of(made_record(status=State.QUEUED), NOW) is None


def test_a_record_in_json_has_times_in_utc_and_the_result_as_a_value(capsys: pytest.CaptureFixture[str]) -> None:
    record = made_record(
        started_at=NOW,
        result_json='{"a": [1]}',
        progress=Progress(1, 2, "half"),
        call='{"args": [1], "kwargs": {}}',
        past=(PastAttempt(1, NOW - 9, NOW - 8, "ValueError: bad"),),
    )

    print_json(record_fields(record, NOW))
    fields = json.loads(capsys.readouterr().out)

    assert fields["started_at"] == "2027-01-15T08:00:00.000Z"
    assert fields["result"] == {"a": [1]}
    assert fields["progress"] == {"done": 1, "total": 2, "note": "half"}
    assert fields["arguments"] == {"args": [1], "kwargs": {}}
    assert [(one["attempt"], one["ended_at"], one["error"]) for one in fields["attempts"]] == [
        (1, "2027-01-15T07:59:52.000Z", "ValueError: bad")
    ]
    assert fields["error"] is None


def test_a_record_in_words_tells_of_the_attempts_before(capsys: pytest.CaptureFixture[str]) -> None:
    past = (PastAttempt(1, NOW - 9, NOW - 7.5, "ValueError: bad\nline"),)
    print_record(made_record(attempt=2, past=past, call='{"args": [1], "kwargs": {}}'), NOW)

    out = capsys.readouterr().out
    assert "attempt 1: 2027-01-15T07:59:51.000Z, 1.5s: ValueError: bad line" in out
    assert '{"args": [1], "kwargs": {}}' in out


def test_a_record_in_words_leaves_out_what_is_empty(capsys: pytest.CaptureFixture[str]) -> None:
    error = ErrorInfo("ValueError", "bad", "Traceback ...\n")
    print_record(made_record(status=State.FAILED, attempt=3, reason="exhausted", error=error), NOW)

    lines = capsys.readouterr().out.splitlines()
    assert "status   FAILED" in lines
    assert "error    ValueError: bad" in lines
    assert lines[-1] == "Traceback ..."
    assert not any(line.startswith(("result", "progress", "started")) for line in lines)


def test_a_stalled_task_is_told_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    print_record(made_record(status=State.RUNNING, started_at=NOW - 9_000, lease_until=NOW - 8_000), NOW)
    assert "RUNNING (stalled: no worker has continued it)" in capsys.readouterr().out


def test_columns_are_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("A", "LONG", "C"), [("value", "x", "y")])
    assert capsys.readouterr().out == "A      LONG  C\nvalue  x     y\n"
