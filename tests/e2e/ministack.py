"""MiniStack: an emulated AWS on a loopback port, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.e2e.machine import ACCOUNT, HOST, MINISTACK_ENVIRONMENT, REGION, free_port, interpreter

START_SECONDS = 60.0
STOP_SECONDS = 10.0


class MiniStack:
    """The emulator, empty at its start. A context manager.

    IAM is enforced: a function can do what its role allows, and nothing else.

    Args:
        folder: for its files, those of the functions and its log; a new one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        self.endpoint = ""
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        (self.folder / "tmp").mkdir(parents=True)
        port = free_port()
        self.endpoint = f"http://{HOST}:{port}"
        # Functions inherit this environment: nothing of ours may be in it.
        environment = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.folder),
            "TMPDIR": str(self.folder / "tmp"),
            "STATE_DIR": str(self.folder / "state"),
            "S3_DATA_DIR": str(self.folder / "s3"),
            "GATEWAY_PORT": str(port),
            "BIND_HOST": HOST,
            "MINISTACK_HOST": HOST,
            "AUTH": "true",
            "PYTHONUNBUFFERED": "1",
        }
        with open(self.log, "wb") as log:
            self._process = subprocess.Popen(
                [interpreter(MINISTACK_ENVIRONMENT), "-m", "ministack"],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def environment(self) -> dict[str, str]:
        """Environment variables that make every AWS client use it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": ACCOUNT,
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": str(self.folder / "none"),
            "AWS_SHARED_CREDENTIALS_FILE": str(self.folder / "none"),
            # A proxy would be asked for 127.0.0.1 too.
            "NO_PROXY": ",".join(filter(None, [os.environ.get("NO_PROXY"), HOST])),
        }

    def last_words(self, lines: int = 40) -> str:
        """The end of its log, which holds what functions printed."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                with urllib.request.urlopen(f"{self.endpoint}/_ministack/health", timeout=5) as answer:
                    json.load(answer)
                return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"MiniStack did not start:\n{self.last_words()}") from None
                time.sleep(0.1)

    def _stop(self) -> None:
        """SIGTERM; its workers read from it and end when it does."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()
