"""Log lines for people and for machines."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from taskq_sls.core.context import TaskContext, _current
from taskq_sls.errors import ConfigError
from taskq_sls.logs import JsonFormatter, TextFormatter, configure


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    botocore = logging.getLogger("botocore").level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("botocore").setLevel(botocore)


@pytest.fixture
def running() -> Iterator[TaskContext]:
    context = TaskContext("id-1", "shop:resize", attempt=2)
    token = _current.set(context)
    yield context
    _current.reset(token)


def record(message: str = "hello", name: str = "shop", **extra: Any) -> logging.LogRecord:
    made = logging.LogRecord(name, logging.INFO, "file.py", 1, message, (), None)
    made.created = 1_800_000_000.25
    made.__dict__.update(extra)
    return made


def without_handlers_of_pytest() -> None:
    """They would count as the application's."""
    logging.getLogger().handlers[:] = []


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_json_line_holds_the_time_in_utc_the_level_the_logger_and_the_message() -> None:
    line = json.loads(JsonFormatter().format(record()))

    assert line == {"timestamp": "2027-01-15T08:00:00.250Z", "level": "INFO", "logger": "shop", "message": "hello"}


def test_a_json_line_holds_every_extra_field() -> None:
    extra: dict[str, Any] = {"action": "task_failed", "task_id": "1", "duration": 0.5, "reason": None, "tags": ["a"]}

    line = json.loads(JsonFormatter().format(record(**extra)))

    assert {name: line[name] for name in extra} == extra


@pytest.mark.parametrize("value", [object(), {1, 2}, float("nan"), float("inf"), {("a", "b"): 1}, b"\xff"])
def test_a_value_that_json_lacks_is_written_as_its_text(value: object) -> None:
    line = JsonFormatter().format(record(odd=value, fine=[1]))

    assert json.loads(line, parse_constant=pytest.fail)["odd"] == str(value)
    assert json.loads(line)["fine"] == [1]


def test_a_value_that_has_no_text_does_not_lose_the_line() -> None:
    class Broken:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    odd = json.loads(JsonFormatter().format(record(odd=[Broken()])))["odd"]
    assert "Broken" in odd or "RuntimeError" in odd


def test_an_exception_is_one_field_of_text() -> None:
    try:
        raise ValueError("bad")
    except ValueError:
        made = record()
        made.exc_info = sys.exc_info()

    text = JsonFormatter().format(made)

    assert "\n" not in text
    assert json.loads(text)["exception"].endswith("ValueError: bad")
    assert "ValueError: bad" in TextFormatter().format(made)


def test_a_line_of_text_tells_task_and_id_once_and_then_what_happened() -> None:
    made = record(
        "shop:resize succeeded in 0.012 s",
        "taskq_sls.task",
        action="task_succeeded",
        task_id="0197-full-id",
        task_name="shop:resize",
        attempt=1,
        queue="default",
        duration=0.012,
    )

    assert TextFormatter().format(made)[9:] == (
        "INFO    shop:resize 0197-full-id succeeded in 0.012 s attempt=1 queue=default"
    )


def test_a_line_of_text_names_the_logger_of_foreign_code_and_quotes_values_with_spaces() -> None:
    assert TextFormatter().format(record("hello", "shop", user="a b"))[9:] == 'INFO    shop: hello user="a b"'


def test_the_remote_traceback_of_a_failure_follows_its_line() -> None:
    assert TextFormatter().format(record(traceback="Traceback ...\nValueError: bad\n")).endswith("\nValueError: bad")


def test_records_of_a_tasks_own_code_carry_its_id(running: TaskContext) -> None:
    stream = io.StringIO()
    configure("INFO", "json", stream)

    logging.getLogger("shop").info("inside")

    line = json.loads(stream.getvalue())
    assert (line["task_id"], line["task_name"], line["attempt"]) == ("id-1", "shop:resize", 2)


def test_records_outside_of_tasks_carry_no_id() -> None:
    stream = io.StringIO()
    configure("INFO", "json", stream)

    logging.getLogger("shop").info("outside")

    assert "task_id" not in json.loads(stream.getvalue())


def test_the_format_is_text_in_a_terminal_and_json_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    without_handlers_of_pytest()
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal, pipe = Terminal(), io.StringIO()

    configure("INFO", "auto", terminal)
    logging.getLogger("shop").info("hello")
    configure("INFO", "auto", pipe)
    logging.getLogger("shop").info("hello")

    assert "\x1b[" in terminal.getvalue()
    assert "shop: hello" in terminal.getvalue()
    assert json.loads(pipe.getvalue())["message"] == "hello"


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    without_handlers_of_pytest()
    monkeypatch.setenv("NO_COLOR", "1")
    terminal = Terminal()

    configure("INFO", "auto", terminal)
    logging.getLogger("shop").warning("hello")

    assert "\x1b[" not in terminal.getvalue()


def test_configuring_again_replaces_the_first_stream() -> None:
    first, second = io.StringIO(), io.StringIO()

    configure("INFO", "json", first)
    configure("WARNING", "json", second)
    logging.getLogger("shop").info("left out")
    logging.getLogger("shop").warning("hello")

    assert first.getvalue() == ""
    assert second.getvalue().count("\n") == 1


def test_the_insides_of_libraries_are_told_at_debug_only() -> None:
    stream = io.StringIO()

    configure("INFO", "json", stream)
    logging.getLogger("botocore.credentials").info("found credentials")
    assert stream.getvalue() == ""

    configure("DEBUG", "json", stream)
    logging.getLogger("botocore.credentials").info("found credentials")
    assert "found credentials" in stream.getvalue()


def test_an_application_that_has_a_handler_on_the_root_logger_keeps_it_alone() -> None:
    without_handlers_of_pytest()
    own, ours = io.StringIO(), io.StringIO()
    logging.basicConfig(stream=own, level="WARNING", format="own %(message)s")

    configure(stream=ours)
    logging.getLogger("shop").info("left out")
    logging.getLogger("shop").warning("hello")

    assert own.getvalue() == "own hello\n"
    assert ours.getvalue() == ""


@pytest.mark.parametrize("format", ["text", "json"])
def test_a_format_that_is_asked_for_is_written_beside_the_applications_handlers(format: str) -> None:
    without_handlers_of_pytest()
    own, ours = io.StringIO(), io.StringIO()
    logging.basicConfig(stream=own)

    configure(None, format, ours)
    logging.getLogger("shop").info("hello")

    assert "hello" in own.getvalue()
    assert "hello" in ours.getvalue()


def test_the_handler_can_be_left_out() -> None:
    without_handlers_of_pytest()
    stream = io.StringIO()
    configure("INFO", "text", stream)

    configure("DEBUG", "none", stream)
    logging.getLogger("shop").warning("hello")

    assert stream.getvalue() == ""
    assert logging.getLogger().handlers == []
    assert logging.getLogger().level == logging.DEBUG


def test_a_level_that_is_asked_for_counts_for_the_applications_handlers_too() -> None:
    without_handlers_of_pytest()
    own = io.StringIO()
    logging.basicConfig(stream=own, level="WARNING")

    configure("DEBUG")
    logging.getLogger("shop").debug("hello")

    assert "hello" in own.getvalue()


@pytest.mark.parametrize(("to", "written"), [("stderr", 0), ("a file", 1)])
def test_a_line_that_a_handler_below_the_root_has_written_to_the_console_is_not_written_again(
    capsys: pytest.CaptureFixture[str], to: str, written: int
) -> None:
    without_handlers_of_pytest()
    stream, logger = io.StringIO(), logging.getLogger("shop.tests")
    handler = logging.StreamHandler(sys.stderr if to == "stderr" else io.StringIO())
    handler.setLevel("INFO")
    logger.addHandler(handler)
    try:
        configure("DEBUG", stream=stream)
        logging.getLogger("shop.tests.below").info("hello")
        logging.getLogger("shop.tests.below").debug("too low for that handler")
    finally:
        logger.removeHandler(handler)

    assert stream.getvalue().count("hello") == written
    assert "too low" in stream.getvalue()


def test_an_unknown_level_or_format_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"log level 'LOUD': use one of DEBUG"):
        configure("LOUD")
    with pytest.raises(ConfigError, match=r"log format 'xml': use one of auto"):
        configure("INFO", "xml")


@pytest.mark.parametrize("formatter", [JsonFormatter(), TextFormatter()])
def test_a_traceback_of_any_length_is_cut_and_a_users_message_is_not(formatter: logging.Formatter) -> None:
    try:
        raise ValueError("x" * 900_000)
    except ValueError:
        made = record("y" * 100_000)
        made.exc_info = sys.exc_info()
    line = formatter.format(made)
    assert "characters cut]" in line
    assert 100_000 < len(line) < 120_000


def test_a_closed_stderr_fails_no_code_that_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    monkeypatch.setattr(sys, "stderr", closed)
    configure("INFO", "text")
    closed.close()
    logging.getLogger("shop").error("a line")


def test_a_logger_whose_name_a_caller_chose_carries_no_escapes_to_the_terminal() -> None:
    record = logging.LogRecord("tenant.\x1b[2J\nfine", logging.INFO, "p", 1, "read", (), None)

    assert TextFormatter().format(record).endswith(r"tenant.\u001b[2J\u000afine: read")
