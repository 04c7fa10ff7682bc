"""The command that installs for another platform: uv's or pip's.

Requirements may have markers (``; python_version < "3.12"``, ``; sys_platform == "win32"``), and so may those of
packages. uv evaluates them for the platform that it installs for; pip for the interpreter and machine that it runs on.
So pip is used only if these are those of the functions, or if there is no marker to evaluate.
"""

from __future__ import annotations

import importlib.util
import platform
import shutil
import subprocess
import sys
from functools import cache
from typing import NamedTuple

from ..errors import ConfigError

MACHINES = {"arm64": "aarch64", "x86_64": "x86_64"}
"""Architectures of Lambda, as wheels name them."""

OLD_GLIBC, GLIBC = 26, 34
"""Minor versions of glibc 2 in Lambda's runtimes: up to python3.11 (Amazon Linux 2), and from python3.12 on (2023)."""

UV_OLD_GLIBC = 17
"""The newest that uv can name below those of python3.11."""

OLDEST_GLIBC = {"aarch64": 17, "x86_64": 5}
"""Minor versions that wheels began with."""

OLD_NAMES = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
"""Tags that older wheels have for a minor version."""


class Wanted(NamedTuple):
    """Packages for a platform.

    Args:
        runtime: such as ``python3.13``.
        architecture: ``arm64`` or ``x86_64``.
        names: arguments of the installer: packages, and files with ``--requirement`` before each.
        closure: True if no other packages are needed.
        markers: True if the files have markers.
    """

    runtime: str
    architecture: str
    names: list[str]
    closure: bool
    markers: bool

    @property
    def version(self) -> str:
        """The Python version, such as ``3.13``."""
        return self.runtime.removeprefix("python")

    @property
    def glibc(self) -> int:
        """Minor version of the runtime's glibc 2."""
        return GLIBC if int(self.version.partition(".")[2]) >= 12 else OLD_GLIBC


def installer(wanted: Wanted) -> list[str]:
    """The command that installs wheels for a platform, without target and names.

    Raises:
        ConfigError: there is neither uv nor a pip that would evaluate markers for that platform.
    """
    no_deps = ["--no-deps"] if wanted.closure else []
    if (uv := _uv()) is not None:
        return [*uv, *_uv_options(wanted), *no_deps]
    if wanted.closure and not wanted.markers:
        return [*_pip(sys.executable), *_pip_options(wanted), *no_deps]
    python = interpreter(wanted.runtime, "pip")
    if python is not None and sys.platform == "linux" and platform.machine() == MACHINES[wanted.architecture]:
        return [*_pip(python), *_pip_options(wanted), *no_deps]
    raise ConfigError(
        f"packages for {wanted.runtime} on {wanted.architecture} need uv here, since pip would choose those of this "
        "machine and interpreter: pip install uv, or build on Linux of that architecture with that Python"
    )


@cache
def interpreter(runtime: str, module: str = "sys") -> str | None:
    """An interpreter of a version that has a module, or None. Bytecode of another version would not be read."""
    if (
        f"python{sys.version_info.major}.{sys.version_info.minor}" == runtime
        and importlib.util.find_spec(module) is not None
    ):
        return sys.executable
    program = f"import sys, {module}; print('python%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([runtime, "-c", program], capture_output=True, text=True)
    except OSError:
        return None
    return runtime if done.stdout.strip() == runtime else None


def pip_platforms(wanted: Wanted) -> list[str]:
    """Tags of the wheels that run there, the newest first."""
    machine = MACHINES[wanted.architecture]
    tags: list[str] = []
    for minor in range(wanted.glibc, OLDEST_GLIBC[machine] - 1, -1):
        tags.append(f"manylinux_2_{minor}_{machine}")
        if minor in OLD_NAMES:
            tags.append(f"{OLD_NAMES[minor]}_{machine}")
    return tags


def _uv() -> list[str] | None:
    if importlib.util.find_spec("uv") is not None:
        return [sys.executable, "-m", "uv"]
    found = shutil.which("uv")
    return None if found is None else [found]


def _uv_options(wanted: Wanted) -> list[str]:
    glibc = wanted.glibc if wanted.glibc == GLIBC else UV_OLD_GLIBC
    target = f"{MACHINES[wanted.architecture]}-manylinux_2_{glibc}"
    options = ["pip", "install", "--quiet", "--only-binary", ":all:", "--python", sys.executable]
    return [*options, "--python-version", wanted.version, "--python-platform", target]


def _pip(python: str) -> list[str]:
    return [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]


def _pip_options(wanted: Wanted) -> list[str]:
    options = ["--no-compile", "--only-binary", ":all:", "--implementation", "cp", "--python-version", wanted.version]
    for tag in pip_platforms(wanted):
        options += ["--platform", tag]
    return options
