"""Packages for the platform of the functions, whatever this machine is; installed once for all functions of a build."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ..errors import ConfigError
from .code import clean, compile_code, interpreter

FORMAT = 1
"""Part of each key: a folder that an earlier release installed in another way is not used."""


def install(
    requirements: Sequence[Path],
    runtime: str,
    architecture: str,
    cache: Path,
    *,
    library: Path | None = None,
    closure: bool = False,
) -> Path:
    """A folder with the packages, without files that only an installation needs, compiled if possible.

    Calls with equal arguments, in one process or in several at once, install one time and share the folder.

    Args:
        requirements: files as pip reads them.
        runtime: of the functions, such as ``python3.13``.
        architecture: of the functions, ``arm64`` or ``x86_64``.
        cache: folder for the folders, one per content of the files; removing it is safe while no build runs.
        library: a wheel or a checkout of taskq-sls in place of the registry's.
        closure: True if the files name all needed packages, so that no others are resolved.

    Raises:
        ConfigError: no installer here supports that platform, or a package has no wheel for it.
    """
    texts = [path.read_text(encoding="utf-8") for path in requirements]
    key = hashlib.sha256(repr((FORMAT, texts, runtime, architecture, str(library), closure)).encode()).hexdigest()[:16]
    folder = cache / key
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(cache / f"{key}.lock"):
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=cache) as temporary:
                made = Path(temporary) / "packages"
                names = [str(_wheel(library, Path(temporary)))] if library is not None else []
                for path in requirements:
                    names += ["--requirement", str(path)]
                markers = any(_has_marker(text) for text in texts)
                wanted = Wanted(runtime, architecture, names=names, closure=closure, markers=markers)
                _run(installer(wanted), made, wanted)
                clean(made)
                compile_code(made, runtime)
                os.rename(made, folder)
    return folder


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Wait for other builds of the same packages: the first one installs, the others find the folder."""
    with file.open("w") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield


def _has_marker(text: str) -> bool:
    lines = [line.partition(" #")[0].strip() for line in text.splitlines()]
    return any(";" in line for line in lines if not line.startswith("#"))


def _wheel(library: Path, temporary: Path) -> Path:
    """A wheel as it is; of a checkout, one that is built: uv and pip take only wheels for another platform."""
    if library.is_file():
        return library
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(temporary)]
    if subprocess.run([*command, str(library)]).returncode:
        raise ConfigError(f"{library} holds no package that pip can build: name a wheel or a checkout of taskq-sls")
    [built] = temporary.glob("*.whl")
    return built


def _run(command: list[str], target: Path, wanted: Wanted) -> None:
    done = subprocess.run([*command, "--target", str(target), *wanted.names], env=_environment())
    if done.returncode:
        shutil.rmtree(target, ignore_errors=True)
        raise ConfigError(
            f"{' '.join(wanted.names)} could not be installed for {wanted.runtime} on {wanted.architecture}: a "
            "package without a wheel for that platform (see above) cannot be used; choose another version of it"
        )


def _environment() -> dict[str, str]:
    """uv does not read pip's configuration: pass it the index of pip's environment variables."""
    environment = dict(os.environ)
    for pip, uv in (("PIP_INDEX_URL", "UV_DEFAULT_INDEX"), ("PIP_EXTRA_INDEX_URL", "UV_INDEX")):
        if pip in environment:
            environment.setdefault(uv, environment[pip])
    return environment


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
        return self.runtime.removeprefix("python")

    @property
    def glibc(self) -> int:
        """Minor version of the runtime's glibc 2."""
        return GLIBC if int(self.version.partition(".")[2]) >= 12 else OLD_GLIBC


def installer(wanted: Wanted) -> list[str]:
    """The command that installs wheels for a platform, without target and names.

    Requirements, and packages, may have markers (``; python_version < "3.12"``). uv evaluates them for the platform that
    it installs for, pip for its own interpreter and machine. So pip is used only if these are those of the functions,
    or if there are no markers.

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
    return [found] if (found := shutil.which("uv")) else None


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
