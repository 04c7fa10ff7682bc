"""What operators see: completion in a real shell, progress, live pictures, and edited arguments."""

from __future__ import annotations

import argparse
import io
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskq_sls import ConfigError
from taskq_sls.cli import main
from taskq_sls.cli.arguments import duration
from taskq_sls.cli.main import SHELLS, _parser
from taskq_sls.cli.output import ProgressBar, needs_confirmation
from taskq_sls.cli.top import frame
from taskq_sls.cli.worker import child_command
from taskq_sls.core.states import State
from taskq_sls.operations.overview import Overview, QueueStats, Running
from taskq_sls.results.records import TaskRecord
from taskq_sls.results.workers import WorkerReport

NOW = 1_800_000_000.0


# -- completion -----------------------------------------------------------------------------------------------------


@pytest.fixture
def script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert main(["completion", "bash"]) == 0
    script = tmp_path / "taskq.bash"
    script.write_text(capsys.readouterr().out)
    return script


def completions(script: Path, *words: str) -> set[str]:
    """What bash offers for the last of the words."""
    program = (
        f"source {script}; complete -p taskq >/dev/null || exit 9\n"
        f"COMP_WORDS=({' '.join(repr(word) for word in ('taskq', *words))}); COMP_CWORD={len(words)}\n"
        "_shtab_taskq; printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", program],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
        env={"PATH": "/usr/bin:/bin"},
    )
    assert done.stderr == ""
    return set(done.stdout.split())


def test_bash_completes_commands(script: Path) -> None:
    assert {"worker", "dlq", "tasks", "top", "completion"} <= completions(script, "")
    assert completions(script, "dl") == {"dlq"}


def test_bash_completes_commands_of_commands_and_their_options(script: Path) -> None:
    assert {"ls", "show", "redrive", "purge"} <= completions(script, "dlq", "")
    assert {"--rate", "--dry-run", "--reason"} <= completions(script, "dlq", "redrive", "--")
    assert "--rate" not in completions(script, "dlq", "ls", "--")


def test_bash_completes_values_that_can_be_listed(script: Path) -> None:
    assert completions(script, "worker", "--log-level", "") == {"DEBUG", "INFO", "WARNING", "ERROR"}
    assert completions(script, "completion", "") >= set(SHELLS)
    assert completions(script, "tasks", "tail", "--status", "S") == {"SUCCEEDED"}


def test_bash_leaves_other_values_to_files(script: Path) -> None:
    assert completions(script, "dlq", "ls", "--queue", "") == set()


def test_a_value_that_looks_like_a_command_is_none(script: Path) -> None:
    assert "redrive" in completions(script, "dlq", "--traceback", "")
    assert "--rate" not in completions(script, "dlq", "ls", "--queue", "redrive", "--")


@pytest.mark.parametrize("shell", SHELLS)
def test_every_command_is_in_the_script_of_every_shell(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    out = capsys.readouterr().out
    words = set(offered(_parser()))
    assert {"redrive", "max-memory"} <= words
    assert [word for word in sorted(words) if word not in out] == []


def offered(parser: argparse.ArgumentParser) -> Iterator[str]:
    """The commands of a parser and all their long options, without those that the help hides."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                yield name
                yield from offered(command)
        elif action.help != argparse.SUPPRESS:
            yield from (option.lstrip("-") for option in action.option_strings if option.startswith("--"))


def test_without_shtab_the_command_names_the_line_to_type(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "bash"]) == 2
    assert "pip install 'taskq-sls[cli]'" in capsys.readouterr().err


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_scripts_of_other_shells_are_read_by_them(
    shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed here")
    assert main(["completion", shell]) == 0
    script = tmp_path / f"taskq.{shell}"
    script.write_text(capsys.readouterr().out)
    subprocess.run([shell, "-n", str(script)], check=True, timeout=30)


# -- asking and progress --------------------------------------------------------------------------------------------


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_nobody_is_asked_who_said_yes_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Screen())
    assert not needs_confirmation(True, "deletes")
    assert needs_confirmation(False, "deletes")


def test_without_a_terminal_yes_must_be_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with pytest.raises(ConfigError, match="no terminal to confirm it on: give --yes"):
        needs_confirmation(False, "deletes")


def stderr_at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """A terminal of 40 columns."""
    for name, value in (("TERM", "xterm"), ("COLUMNS", "40")):
        monkeypatch.setenv(name, value)
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    return screen


def test_progress_fits_the_terminal_and_is_wiped_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = stderr_at_a_terminal(monkeypatch)
    with ProgressBar() as bar:
        bar.show(10, 40, "read")
        bar.show(40, 40, "read, 39 [bold]sent")

    drawn = terminal.getvalue()
    plain = re.sub(r"\x1b\[[?\d;]*[A-Za-z]", "", drawn)
    assert "40 of 40" in plain
    assert all(len(line.rstrip()) <= 40 for line in re.split(r"[\r\n]", plain))
    assert drawn.endswith("\x1b[2K")


def test_progress_is_silent_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressBar() as bar:
        bar.show(10, 40, "read")
    assert capsys.readouterr().err == ""


def test_progress_is_silent_without_rich(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = stderr_at_a_terminal(monkeypatch)
    monkeypatch.setitem(sys.modules, "rich.console", None)
    with ProgressBar() as bar:
        bar.show(10, 40, "read")
    assert terminal.getvalue() == ""


# -- pictures -------------------------------------------------------------------------------------------------------


def test_a_picture_shows_queues_workers_what_runs_and_what_failed() -> None:
    worker = WorkerReport("shop", "w", "box", 7, NOW - 7_200, NOW - 30, 1, 12, 100, "0.1.0", ("default",))
    record = TaskRecord("busy", "shop:resize", "default", State.RUNNING, attempt=2, started_at=NOW - 65)
    failed = TaskRecord("dead", "shop:crop", "default", State.FAILED, finished_at=NOW - 3, reason="crashed")
    stats = [QueueStats("default", 3, 1, 0, 75.0, 2), QueueStats("schedules-dlq", 0, 0, 0, None, None)]
    running = [Running("busy", "shop:resize", worker, record), Running("quiet", "shop:ping", worker, None)]

    lines = [line.split() for line in frame("shop", Overview(NOW, stats, [worker], running, [failed]))]

    assert ["default", "3", "1", "0", "1m15s", "2"] in lines
    assert ["box", "7", "2h00m", "30.0s", "ago", "1", "of", "100", "12", "0.1.0", "default", "on"] in lines
    assert ["busy", "shop:resize", "2", "1m05s", "box", "7"] in lines
    assert ["quiet", "shop:ping", "-", "-", "box", "7"] in lines
    assert ["dead", "shop:crop", "3.0s", "crashed"] in lines


def test_a_picture_without_workers_says_so() -> None:
    assert "none has reported in the last 150 seconds" in frame("shop", Overview(NOW, [], [], [], []))


# -- arguments ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("15m", 900), ("1.5h", 5400), ("2d", 172_800)])
def test_spans_of_time_are_read(text: str, seconds: float) -> None:
    assert duration(text) == seconds


def test_a_worker_process_is_told_not_to_report() -> None:
    arguments = _parser().parse_args(["worker", "shop:app", "--no-report", "--processes", "2"])
    assert "--no-report" in child_command(arguments, 0)
    assert "--no-report" not in child_command(_parser().parse_args(["worker", "shop:app"]), 0)


@pytest.mark.parametrize("command", ["dlq", "tasks", "queues", "workers", "top", "completion"])
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert f"usage: taskq {command}" in capsys.readouterr().out


def test_the_exit_statuses_are_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    for status in ("0 success", "1 the task failed", "2 bad input", "130 ended by Ctrl-C", "70 ", "75 "):
        assert status in out


def test_an_unknown_option_is_told_with_the_one_that_was_meant(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dlq", "ls", "--reaso", "exhausted"]) == 2
    err = capsys.readouterr().err
    assert "--reaso exhausted (did you mean --reason?); see `taskq dlq ls --help`" in err
