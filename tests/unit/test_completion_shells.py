"""The completion scripts of zsh and fish, in these shells themselves."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from taskq_sls.cli import main

needs_fish = pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed here")
needs_zsh = pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed here")


def script_of(shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert main(["completion", shell]) == 0
    script = tmp_path / f"taskq.{shell}"
    script.write_text(capsys.readouterr().out)
    return script


@needs_fish
@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("taskq dl", {"dlq"}),
        ("taskq dlq ", {"ls", "show", "redrive", "purge"}),
        ("taskq dlq redrive --dr", {"--dry-run"}),
        ("taskq --traceback tasks ca", {"cancel"}),
        ("taskq worker --log-level ", {"DEBUG", "INFO", "WARNING", "ERROR"}),
        ("taskq tasks tail --status S", {"SUCCEEDED"}),
        ("taskq dlq ls --queue redrive --gr", {"--groups"}),
        ("taskq completion f", {"fish"}),
    ],
)
def test_fish_offers_what_can_follow(
    typed: str, offered: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = script_of("fish", tmp_path, capsys)
    done = subprocess.run(
        ["fish", "--no-config", "-c", f"source {script}; complete -C '{typed}'"],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
    )
    assert done.stderr == ""
    assert {line.partition("\t")[0] for line in done.stdout.splitlines()} == offered


@needs_zsh
@pytest.mark.parametrize(
    ("typed", "run"),
    [
        ("taskq dl\t", "dlq"),
        ("taskq dlq red\t--dry\t", "dlq redrive --dry-run"),
        ("taskq worker --log-level W\t", "worker --log-level WARNING"),
        ("taskq tasks tail --status SUCC\t", "tasks tail --status SUCCEEDED"),
        ("taskq completion fi\t", "completion fish"),
    ],
)
def test_zsh_completes_what_is_typed(typed: str, run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A person's zsh at a terminal, where taskq tells what it was called with."""
    script = script_of("zsh", tmp_path, capsys)
    setup = (
        f"PS1='ready> '; autoload -Uz compinit; compinit -u -D; source {script}; taskq() {{ print -r -- \"<$*>\"; }}\n"
    )
    ours, theirs = pty.openpty()
    shell = subprocess.Popen(
        ["zsh", "-f", "-i"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "TERM": "xterm"},
        start_new_session=True,
    )
    os.close(theirs)
    try:
        os.write(ours, (setup + "print set-up\n").encode())
        read_until(ours, b"\nset-up")
        os.write(ours, (typed + "\n").encode())
        read_until(ours, f"<{run}>".encode())
    finally:
        shell.kill()
        shell.wait()
        os.close(ours)


def read_until(terminal: int, expected: bytes, seconds: float = 30.0) -> None:
    found = b""
    end = time.monotonic() + seconds
    while expected not in found:
        assert select.select([terminal], [], [], max(0.0, end - time.monotonic()))[0], found
        found += os.read(terminal, 65_536)
