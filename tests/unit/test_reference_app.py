"""The reference app's tasks and the parts of the demo, in process."""

from __future__ import annotations

import hashlib
import io
import socket
from pathlib import Path

import pytest

from local import tasks
from local.progress import Progress
from local.report import report
from local.survey import Function, Survey, packages, standard_library, survey_package
from taskq_sls import State, TaskFailed
from taskq_sls.testing import in_memory


def library(root: Path) -> Path:
    (root / "single.py").write_text("def short():\n    return 1\n")
    (root / "notes.txt").write_text("no Python")
    package = root / "parser"
    (package / "inner" / "tests").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "core.py").write_text(
        "class Parser:\n"
        "    def feed(self):\n"
        "        try:\n"
        "            pass\n"
        "        except ValueError:\n"
        "            async def later():\n"
        "                return 1\n"
    )
    (package / "broken.py").write_text("def broken(:\n")
    (package / "inner" / "__init__.py").write_text("x = 1\n")
    (package / "inner" / "tests" / "__init__.py").write_text("")
    (root / "test").mkdir()
    (root / "test" / "__init__.py").write_text("")
    (root / "site-packages" / "other").mkdir(parents=True)
    (root / "site-packages" / "other" / "__init__.py").write_text("")
    return root


def test_packages_are_the_modules_packages_and_subpackages_without_test_suites(tmp_path: Path) -> None:
    assert packages(library(tmp_path)) == ["parser", "parser.inner", "single"]


def test_a_survey_counts_one_package_and_finds_its_longest_function(tmp_path: Path) -> None:
    found = survey_package(library(tmp_path), "parser")

    assert found == Survey(
        "parser", files=3, lines=8, functions=2, longest=Function("Parser.feed", "parser/core.py:2", 6), unparsed=1
    )


def test_a_module_without_functions_has_no_longest_one(tmp_path: Path) -> None:
    assert survey_package(library(tmp_path), "parser.inner") == Survey("parser.inner", 1, 1, 0, None)


def test_an_unknown_package_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no package or module 'nothing'"):
        survey_package(library(tmp_path), "nothing")


def test_the_standard_library_has_a_few_hundred_packages() -> None:
    names = packages(standard_library())

    assert len(names) > 150
    assert {"json", "email.mime", "ast"} <= set(names)
    assert "test" not in names


def test_the_report_adds_subpackages_to_their_package_and_ranks_by_lines() -> None:
    surveys = [
        Survey("small", 1, 50, 2, Function("short", "small.py:1", 3)),
        Survey("large", 2, 1000, 10, Function("long", "large/__init__.py:7", 90)),
        Survey("large.inner", 1, 500, 5, None, unparsed=1),
    ]

    lines = report(surveys, 1.25).splitlines()

    assert [" ".join(line.split()) for line in lines if line and "---" not in line] == [
        "package files lines functions",
        "large 3 1,500 15",
        "small 1 50 2",
        "total 4 1,550 17",
        "longest function lines place",
        "long 90 large/__init__.py:7",
        "short 3 small.py:1",
        "3 tasks, 3 results, in 1.2 s",
        "1 files could not be parsed; their lines are counted, their functions not",
    ]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_in_a_terminal_is_one_line_that_is_written_again() -> None:
    terminal = Terminal()

    with Progress(4, terminal) as progress:
        for done in (0, 0, 2, 4):
            progress.show(done)

    lines = terminal.getvalue().split("\r")
    assert [line[:38] for line in lines] == [
        "",
        "[                              ] 0/4 t",
        "[###############               ] 2/4 t",
        "[##############################] 4/4 t",
    ]
    assert terminal.getvalue().count("\n") == 1
    assert terminal.getvalue().endswith("\n")


def test_progress_elsewhere_is_not_a_line_per_task() -> None:
    stream = io.StringIO()

    with Progress(100, stream) as progress:
        for done in range(101):
            progress.show(done)

    assert stream.getvalue().startswith("100/100 tasks in ")
    assert stream.getvalue().count("\n") == 1


def test_the_survey_task_returns_its_dataclass_and_gives_up_on_what_is_not_there() -> None:
    with in_memory(tasks.app) as memory:
        found, missing = tasks.survey.enqueue("json"), tasks.survey.enqueue("no_such_package")
        memory.run_until_idle()

        assert found.result(timeout=0) == survey_package(standard_library(), "json")
        with pytest.raises(TaskFailed, match="not_retryable, attempt 1"):
            missing.result(timeout=0)


def test_the_probe_is_tried_again_until_something_listens() -> None:
    with socket.socket() as listener, in_memory(tasks.app) as memory:
        listener.bind(("127.0.0.1", 0))
        handle = tasks.probe.enqueue("127.0.0.1", listener.getsockname()[1])
        memory.run_until_idle()
        assert handle.status() is State.RETRYING

        listener.listen()
        memory.run_until_idle(travel=True)

        assert handle.result(timeout=0) >= 0


def test_the_checksum_says_how_far_it_is(tmp_path: Path) -> None:
    file = tmp_path / "data.bin"
    file.write_bytes(b"x" * (tasks.BLOCK + 1))
    with in_memory(tasks.app) as memory:
        handle = tasks.checksum.enqueue(str(file))
        memory.run_until_idle()

        assert handle.result(timeout=0) == hashlib.sha256(file.read_bytes()).hexdigest()
        record = tasks.app.results.get(handle.id)
        assert record is not None
        assert record.progress is not None
        assert record.progress.total == tasks.BLOCK + 1


def test_notes_are_written_in_the_order_of_their_enqueues(tmp_path: Path) -> None:
    file = tmp_path / "journal.txt"
    with in_memory(tasks.app) as memory:
        tasks.note.enqueue_many([(str(file), f"line {number}") for number in range(20)])
        memory.run_until_idle()

    assert file.read_text().splitlines() == [f"line {number}" for number in range(20)]


def test_the_lambda_entry_point_is_the_reference_app_s_handler() -> None:
    from handlers.worker import handler

    assert callable(handler)
