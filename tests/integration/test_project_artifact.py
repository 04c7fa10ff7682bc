"""A new project's functions, built as ``sam build`` has its Makefile do it. Needs the package index."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from taskq_sls.cli import main

pytest.importorskip("uv")

MARKERS = """
typing-extensions==4.16.0
iniconfig==2.3.1 ; sys_platform == "win32"
pluggy==1.6.0 ; python_version < "3.13"
markupsafe==3.0.3 ; platform_machine == "aarch64" and python_full_version >= "3.13"
"""
"""For python3.13 on arm64: what this interpreter and this machine would choose is something else."""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "my projects" / "shop"
    assert main(["init", str(folder)]) == 0
    (folder / "requirements.txt").write_text(MARKERS)
    # This environment in place of the project's own, whose installation would take a minute.
    python = folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o755)
    (folder / ".venv" / ".ready").touch()
    return folder


def start(project: Path, function: str) -> subprocess.Popen[str]:
    built = project / ".aws-sam" / "build" / function
    return subprocess.Popen(
        ["make", f"build-{function}", f"ARTIFACTS_DIR={built}"],
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_functions_built_at_once_get_the_packages_of_their_own_platform_installed_once(project: Path) -> None:
    builds = {name: start(project, name) for name in ("DefaultWorker", "SlowWorker", "EventsFunction")}
    for name, build in builds.items():
        told, _ = build.communicate(timeout=90)
        assert build.returncode == 0, f"{name}: {told}"

    for name in builds:
        found = {path.name for path in (project / ".aws-sam" / "build" / name).iterdir()} - {"__pycache__"}
        assert found == {
            "handlers",
            "markupsafe",
            "markupsafe-3.0.3.dist-info",
            "shop",
            "typing_extensions-4.16.0.dist-info",
            "typing_extensions.py",
        }
        [compiled] = (project / ".aws-sam" / "build" / name / "markupsafe").glob("*.so")
        assert "313-aarch64" in compiled.name
    shared = project / ".aws-sam" / "build" / ".taskq-packages"
    assert len([path for path in shared.iterdir() if path.is_dir()]) == 1


def test_a_package_without_a_wheel_for_the_platform_is_named(project: Path) -> None:
    (project / "requirements.txt").write_text("docopt==0.6.2\n")
    (project / ".venv" / ".ready").touch()

    build = start(project, "DefaultWorker")
    told, _ = build.communicate(timeout=90)

    assert build.returncode != 0
    assert "docopt" in told
    assert "error: " in told
    assert "for python3.13 on arm64: a package without a wheel for that platform" in told
