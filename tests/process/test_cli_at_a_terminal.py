"""The command as a person meets it: at a terminal of some size, with keys and signals, and behind pipes."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ENTER, LEAVE, HOME = "\x1b[?1049h", "\x1b[?1049l", "\x1b[H"
"""To the terminal's other screen and back, and to its first line."""

PROGRAM = """
import sys
from moto import mock_aws
from taskq_sls.cli import main

with mock_aws():
    main(["provision", "shop:app", "--json"])
    sys.exit(main(sys.argv[1:]))
"""

SHOP = """
from taskq_sls import TaskQ, Queue

app = TaskQ("shop", queues=[Queue("default")])

@app.task
def resize(path: str) -> str:
    return path
"""

ENVIRONMENT = {
    "AWS_DEFAULT_REGION": "eu-west-1",
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "TASKQ_APP": "shop:app",
    "TERM": "xterm",
}


class Terminal:
    """A command at a terminal. What it wrote is in `seen`."""

    def __init__(self, folder: Path, *argv: str, **environment: str) -> None:
        self._ours, theirs = pty.openpty()
        self.resize(24, 80)
        plain = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TASKQ_"))}
        plain.pop("NO_COLOR", None)
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *argv],
            cwd=folder,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**plain, **ENVIRONMENT, "PYTHONPATH": os.pathsep.join([str(folder), *sys.path]), **environment},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0) and None,
        )
        os.close(theirs)
        self.seen = ""

    def resize(self, lines: int, columns: int) -> None:
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def press(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def echoes(self) -> bool:
        """Whether what is typed is shown and read by lines, as a shell leaves it."""
        return bool(termios.tcgetattr(self._ours)[3] & termios.ECHO)

    def until(self, text: str, seconds: float = 60.0) -> str:
        """What comes up to and with `text`."""
        end = time.monotonic() + seconds
        start = len(self.seen)
        while text not in self.seen[start:]:
            assert self._read(end - time.monotonic()), self.seen
        return self.seen[start:]

    def last_picture(self) -> str:
        """The text after the cursor was last set to the first line."""
        return re.sub(r"\x1b\[[?\d;]*[A-Za-z]", "", self.seen.rpartition(HOME)[2])

    def end(self) -> int:
        """Read to the end, and give the exit status."""
        while self._read(60):
            continue
        return self.process.wait(60)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)

    def _read(self, seconds: float) -> bool:
        if not select.select([self._ours], [], [], max(0.0, seconds))[0]:
            return False
        try:
            data = os.read(self._ours, 65_536)
        except OSError:  # nobody has the other end any more
            return False
        self.seen += data.decode(errors="replace")
        return bool(data)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(SHOP)
    return tmp_path


@pytest.fixture
def top(folder: Path) -> Iterator[Terminal]:
    # What a shell exports does not change with the terminal.
    terminal = Terminal(folder, "top", "--interval", "60", COLUMNS="80", LINES="24")
    terminal.until("150 seconds")
    yield terminal
    terminal.close()


@pytest.mark.parametrize("keys", [b"q", b"\x03"], ids=["q", "Ctrl-C"])
def test_top_ends_by_a_key_and_gives_the_terminal_back(top: Terminal, keys: bytes) -> None:
    assert not top.echoes()
    top.press(keys)
    assert top.end() == 0
    assert top.seen.count(ENTER) == top.seen.count(LEAVE) == 1
    assert top.echoes()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_top_gives_the_terminal_back_when_it_is_ended(top: Terminal, number: int) -> None:
    top.process.send_signal(number)
    assert top.end() == 128 + number
    assert LEAVE in top.seen
    assert top.echoes()


def test_top_is_drawn_anew_when_the_terminal_changes_its_size(top: Terminal) -> None:
    top.resize(5, 30)
    top.until(HOME, 40)  # before the interval has passed
    while (drawn := top.last_picture()).count("\n") < 4:
        top.until("\n", 40)
    assert "WAITING" in drawn
    assert "DEAD LETTERS" not in drawn
    assert drawn.count("\n") == 4
    assert all(len(line.strip("\r")) <= 30 for line in drawn.split("\n"))


def test_top_names_the_extra_with_its_screen(folder: Path) -> None:
    (folder / "rich").mkdir()
    (folder / "rich" / "__init__.py").write_text("")
    terminal = Terminal(folder, "top")
    assert terminal.end() == 2
    assert "pip install 'taskq-sls[cli]'" in terminal.seen
    assert "Traceback" not in terminal.seen
    terminal.close()


@pytest.mark.parametrize(
    ("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_colours_can_be_refused(folder: Path, environment: dict[str, str], coloured: bool) -> None:
    terminal = Terminal(folder, "doctor", **environment)
    terminal.end()
    assert ("\x1b[3" in terminal.seen) is coloured
    terminal.close()


@pytest.mark.parametrize(("redirection", "status"), [("| head -1", 0), (">&-", 0), ("> /dev/full", 2), ("2>&-", 0)])
def test_a_stream_that_takes_nothing_is_no_traceback(redirection: str, status: int) -> None:
    done = subprocess.run(
        [
            "bash",
            "-o",
            "pipefail",
            "-c",
            f"{sys.executable} -m taskq_sls schedules next 'rate(1 minute)' {redirection}",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == status
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_ctrl_c_while_the_command_is_imported_is_no_traceback() -> None:
    program = (
        "import sys\n"
        "class Impatient:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'taskq_sls.cli.main':\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Impatient())\n"
        "import taskq_sls.cli\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (130, "")
