"""``taskq template``."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from taskq_sls.cli import main
from tests.support.template import Stack

ROOT = Path(__file__).parents[2]

APP = "tests.support.template_command_app:app"


def test_it_prints_the_template_and_says_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["template", APP]) == 0

    printed = capsys.readouterr()
    assert printed.out.startswith(f"# Rendered by `taskq template {APP}`")
    assert set(Stack(printed.out).functions) == {"DefaultWorker"}
    assert "taskq: queue 'elsewhere' has no function_timeout" in printed.err


def test_a_file_is_written_and_then_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "template.yaml"
    command = ["template", APP, "--handler", "app.run", "--build", "makefile", "--without-schedules"]

    assert main([*command, "--output", str(file)]) == 0
    assert capsys.readouterr().out == ""
    assert main([*command, "--check", str(file)]) == 0
    assert capsys.readouterr() == ("", "")
    first = file.read_text().splitlines()[0]
    assert f"taskq template {APP} --handler app.run --build makefile --without-schedules`" in first


def test_a_handler_that_is_not_in_the_folder_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["template", APP, "--code-uri", "src", "--handler", "jobs.worker.run", "-o", "template.yaml"]

    assert main(command) == 0
    assert f"--handler: {Path('src/jobs/worker.py')} does not exist" in capsys.readouterr().err

    (tmp_path / "src" / "jobs").mkdir(parents=True)
    (tmp_path / "src" / "jobs" / "worker.py").touch()
    assert main(command) == 0
    assert "there is no" not in capsys.readouterr().err


def test_a_stale_file_is_told_with_what_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "template.yaml"
    main(["template", APP, "-o", str(file)])
    file.write_text(file.read_text().replace("Timeout: 60", "Timeout: 61"))
    capsys.readouterr()

    assert main(["template", APP, "--check", str(file)]) == 1

    printed = capsys.readouterr()
    assert "-      Timeout: 61" in printed.out
    assert "+      Timeout: 60" in printed.out
    assert "is out of date: run the same command with --output" in printed.err


def test_a_file_that_cannot_be_read_or_written_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["template", APP, "--check", str(tmp_path / "none.yaml")]) == 2
    assert main(["template", APP, "--output", str(tmp_path / "none" / "x.yaml")]) == 2
    assert capsys.readouterr().err.count("No such file") == 2


def test_a_file_that_is_no_text_is_an_error_of_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "code.zip").write_bytes(b"\xff\xfe")

    assert main(["template", APP, "--check", str(tmp_path / "code.zip")]) == 2

    assert "it is not UTF-8 text; name a rendered template" in capsys.readouterr().err


def test_the_command_in_the_first_line_can_be_given_to_a_shell(capsys: pytest.CaptureFixture[str]) -> None:
    main(["template", APP, "--code-uri", "my code"])

    command = capsys.readouterr().out.split("`")[1]
    assert shlex.split(command) == ["taskq", "template", APP, "--code-uri", "my code"]


def test_a_handler_that_is_no_name_is_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["template", APP, "--handler", "handlers/worker.py"]) == 2
    assert "must be MODULE.ATTRIBUTE" in capsys.readouterr().err


def test_the_root_s_template_is_not_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    command = (ROOT / "template.yaml").read_text().split("`")[1].split()
    assert main([*command[1:], "--check", "template.yaml"]) == 0, "make template"
