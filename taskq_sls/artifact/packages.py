"""Packages for the platform of the functions, whatever this machine is; installed once for all functions of a build."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..errors import ConfigError
from .code import clean, compile_code
from .installers import Wanted, installer

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
                wanted = Wanted(runtime, architecture, names, closure, any(_has_marker(text) for text in texts))
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
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        str(temporary),
        str(library),
    ]
    if subprocess.run(command).returncode:
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
