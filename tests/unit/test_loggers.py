"""Handlers that fail do not reach the code that logs."""

from __future__ import annotations

import importlib
import io
import logging
import logging.config
import pkgutil
import subprocess
import sys
from collections.abc import Iterator

import pytest

import taskq_sls
from taskq_sls import Retry
from taskq_sls.core.loggers import NAMES
from taskq_sls.logs import JsonFormatter
from tests.support.engine_harness import EngineHarness


class Broken(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise ConnectionError("the log server is gone")


@pytest.fixture
def broken() -> Iterator[Broken]:
    handler = Broken()
    logging.root.addHandler(handler)
    yield handler
    logging.root.removeHandler(handler)


@pytest.mark.usefixtures("broken")
def test_a_handler_that_raises_is_reported_on_stderr_and_not_to_the_caller(capsys: pytest.CaptureFixture[str]) -> None:
    logging.getLogger("taskq_sls.task").error("a line")
    assert "a log handler raised ConnectionError: the log server is gone (logger taskq_sls.task)" in (
        capsys.readouterr().err
    )


def test_a_closed_stderr_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    handler = logging.StreamHandler(closed)
    logging.root.addHandler(handler)
    monkeypatch.setattr("sys.stderr", closed)
    try:
        logging.getLogger("taskq_sls.task").error("a line")
    finally:
        logging.root.removeHandler(handler)


@pytest.mark.usefixtures("broken")
def test_loggers_of_others_are_left_as_they_are() -> None:
    with pytest.raises(ConnectionError):
        logging.getLogger("shop").error("a line")


def test_the_place_of_a_line_is_that_of_its_caller(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("taskq_sls.task").error("a line")
    assert [record.funcName for record in caplog.records] == ["test_the_place_of_a_line_is_that_of_its_caller"]


def test_every_logger_of_the_library_is_guarded() -> None:
    optional = ("taskq_sls.web", "taskq_sls.__main__")
    for module in pkgutil.walk_packages(taskq_sls.__path__, "taskq_sls."):
        if not module.name.startswith(optional):
            importlib.import_module(module.name)
    made = [name for name in logging.Logger.manager.loggerDict if name.startswith("taskq_sls.")]
    assert {name.removeprefix("taskq_sls.") for name in made} <= set(NAMES)


def test_the_application_may_have_a_class_of_loggers_of_its_own() -> None:
    code = """
import logging
class Own(logging.Logger):
    def notice(self): return "noticed"
logging.setLoggerClass(Own)
logging.root.addHandler(type("Broken", (logging.Handler,), {"emit": lambda self, record: 1 / 0})())
import taskq_sls
logger = logging.getLogger("taskq_sls.task")
logger.error("a line")
print(logger.notice(), isinstance(logger, Own))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["noticed", "True"]


@pytest.mark.parametrize("kind", ["message", "extra", "exception"])
def test_texts_of_any_length_are_cut_in_the_librarys_lines_and_say_so(
    caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    text, logger = f"begin{'x' * 900_000}end", logging.getLogger("taskq_sls.task")
    if kind == "exception":
        try:
            raise ValueError(text)
        except ValueError:
            logger.exception("it failed")
    else:
        logger.error(
            "it failed: %s", text if kind == "message" else "", extra={"traceback": text} if kind == "extra" else {}
        )

    [record] = caplog.records
    whole = logging.Formatter("%(message)s").format(record) + str(getattr(record, "traceback", ""))
    assert 10_000 < len(whole) < 20_000
    assert "begin" in whole
    assert whole.endswith("end")
    assert "characters cut]" in whole


async def test_a_task_whose_exception_has_a_long_text_writes_little(
    caplog: pytest.LogCaptureFixture,
) -> None:
    harness = EngineHarness()

    @harness.task(retry=Retry(max_attempts=1))
    def fail() -> None:
        raise ValueError("x" * 200_000)

    await harness.run(fail)
    lines = [JsonFormatter().format(record) for record in caplog.records]
    assert "ValueError: xxx" in "".join(lines)
    assert sum(map(len, lines)) < 50_000


def test_dict_config_does_not_silence_the_library(caplog: pytest.LogCaptureFixture) -> None:
    others = [
        logger
        for name, logger in logging.root.manager.loggerDict.items()
        if isinstance(logger, logging.Logger) and not name.startswith("taskq_sls.") and not logger.disabled
    ]
    try:
        logging.config.dictConfig({"version": 1})
        logging.getLogger("taskq_sls.task").error("a line")
    finally:
        for logger in others:
            logger.disabled = False
    assert "a line" in caplog.text
