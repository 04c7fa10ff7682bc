"""Lambda's own Python runtime without Lambda: the Runtime Interface Emulator and awslambdaric."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.e2e.machine import ARCHITECTURE, HOST, ROOT, RUNTIME, SAM_ENVIRONMENT, free_port, interpreter

START_SECONDS = 30.0


class LambdaRuntime:
    """One function and its container, which is replaced after a timeout or a crash. A context manager.

    Args:
        code: folder of the function, as it is unpacked in Lambda, with boto3 and the runtime: see `build_code`.
        handler: ``module.attribute``.
        timeout: the function's, in seconds; then the emulator kills the process.
        environment: variables of the function.
        log: file for what the function and the emulator print.
    """

    def __init__(
        self, code: Path, handler: str, *, timeout: int, environment: Mapping[str, str], log: Path, memory: int = 1769
    ) -> None:
        self._code = code
        self._handler = handler
        self._timeout = timeout
        self._log = log
        self._environment = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LAMBDA_TASK_ROOT": str(code),
            "PYTHONPATH": str(code),
            "AWS_LAMBDA_FUNCTION_NAME": "worker",
            "AWS_LAMBDA_FUNCTION_TIMEOUT": str(timeout),
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(memory),
            **environment,
        }
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._port = free_port()
        emulator = _emulator()
        command = [str(emulator), "--runtime-api-address", f"{HOST}:{free_port()}"]
        command += ["--runtime-interface-emulator-address", f"{HOST}:{self._port}"]
        # Without the environment's other packages: with them, boto3 would load a cryptography that Lambda has not.
        command += [interpreter(SAM_ENVIRONMENT), "-S", "-m", "awslambdaric", self._handler]
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self._code,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            self._wait_until_it_listens()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def invoke(self, event: Mapping[str, Any]) -> Any:
        """What the function answers to an event, or what the emulator says of a process that ended: JSON, or a text."""
        request = urllib.request.Request(
            f"http://{HOST}:{self._port}/2015-03-31/functions/function/invocations", json.dumps(event).encode()
        )
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with direct.open(request, timeout=self._timeout + START_SECONDS) as answer:
                text = answer.read().decode()
        except urllib.error.HTTPError as ended:
            with ended:
                text = ended.read().decode()
        try:
            return json.loads(text)
        except ValueError:
            return text

    def log(self) -> str:
        """What the function and the emulator have printed."""
        return self._log.read_text(errors="replace")

    def starts(self) -> list[float]:
        """Seconds that each container took to start: the interpreter, the runtime, and the import of the handler."""
        return [float(ms) / 1_000 for ms in re.findall(r"INIT REPORT\(durationMs: ([\d.]+)\)", self.log())]

    def _wait_until_it_listens(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection((HOST, self._port), timeout=1).close()
                return
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the Runtime Interface Emulator did not start:\n{self.log()}") from None
                time.sleep(0.02)

    def _stop(self) -> None:
        """SIGTERM, on which it kills the function's process."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()


def build_code(folder: Path) -> None:
    """Fill a folder with what `sam build` makes, the pinned boto3, and Lambda's own Python runtime."""
    command = [sys.executable, str(ROOT / "infra" / "build_artifact.py"), str(folder), "--with-boto3"]
    command += ["--runtime", RUNTIME, "--architecture", ARCHITECTURE]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    for package in _packages().iterdir():
        if package.name.partition(".")[0] in ("awslambdaric", "runtime_client", "simplejson", "snapshot_restore_py"):
            copy = shutil.copytree if package.is_dir() else shutil.copyfile
            copy(package, folder / package.name)


def sqs_event(messages: Sequence[Mapping[str, Any]], queue_arn: str) -> dict[str, Any]:
    """The event that an event source mapping makes of received messages."""
    from taskq_sls.local_aws.event_records import event_of, record_of

    return event_of([record_of(message, queue_arn=queue_arn, region="us-east-1") for message in messages])


def _emulator() -> Path:
    """The binary that comes with the SAM CLI."""
    return _packages() / "samcli" / "local" / "rapid" / f"aws-lambda-rie-{ARCHITECTURE}"


def _packages() -> Path:
    [found] = SAM_ENVIRONMENT.glob("lib/python3*/site-packages")
    return found
