"""What the tests run on: interpreters with the tools in them, and the machine as Lambda would call it."""

from __future__ import annotations

import platform
import socket
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

SAM_ENVIRONMENT = ROOT / ".venv-sam"
MINISTACK_ENVIRONMENT = ROOT / ".venv-ministack"

RUNTIME = f"python{sys.version_info.major}.{sys.version_info.minor}"
"""MiniStack runs functions by the interpreter it runs on, which `make` made of the same one as this."""

ARCHITECTURE = "arm64" if platform.machine() in ("aarch64", "arm64") else "x86_64"

HOST = "127.0.0.1"

REGION = "us-east-1"

ACCOUNT = "123456789012"
"""As an access key it makes the caller MiniStack's root user of that account."""


def interpreter(environment: Path) -> str:
    """The Python of an environment.

    Raises:
        RuntimeError: it is not there.
    """
    python = environment / "bin" / "python"
    if not python.exists():
        raise RuntimeError(f"{python} does not exist: run these tests by `make e2e`, which makes {environment.name}")
    return str(python)


def free_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        port: int = taken.getsockname()[1]
        return port
