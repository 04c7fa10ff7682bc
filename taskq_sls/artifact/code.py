"""A function's folder: packages and the app's own code, the same bytes from the same sources."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from ..errors import ConfigError

LIBRARY_PARTS_LEFT_OUT = ("artifact", "cli", "deploy", "local_aws", "testing", "worker", "__main__.py", "py.typed")
"""Parts of taskq_sls that no Lambda function imports; ``web`` is the HTTP API's."""

AWS_LIBRARIES = ("boto3", "botocore")
"""Lambda's own runtime has them, and they are larger than all the rest."""

INSTALLERS_OWN = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")
"""Files of an installed package that describe the installation."""

UNPACKED_AT = "/var/task"
"""The folder in which Lambda unpacks the code: tracebacks name it."""

EPOCH = 315_532_800
"""1 January 1980, the earliest time in a zip file: the modification time of every file."""


def assemble(
    target: Path,
    packages: Iterable[Path],
    code: Iterable[tuple[Path, str]],
    runtime: str,
    *,
    left_out: Sequence[str] = LIBRARY_PARTS_LEFT_OUT,
    with_aws: bool = False,
) -> int:
    """Fill a folder with the code of a function; returns its size in bytes.

    Args:
        target: an earlier build in it is removed.
        packages: folders from `install`.
        code: files and folders of the app, each with its path in `target`.
        runtime: such as ``python3.13``.
        left_out: parts of taskq_sls that are not copied.
        with_aws: keep boto3 and botocore, if they are among the packages.

    Raises:
        ConfigError: `target` holds something else, or a part of the code is missing.
    """
    _empty(target)
    for folder in packages:
        aws = [path.name for path in folder.iterdir() if path.name.partition("-")[0] in AWS_LIBRARIES]
        _copy(folder, target, () if with_aws else aws)
    for name in left_out:
        _remove(target / "taskq_sls" / name)
    own = [_copy_own(source, target / name, left_out) for source, name in code]
    compile_code(target, runtime, own)
    return _settle(target)


def clean(packages: Path) -> None:
    """Remove files that only an installation needs, and bytecode, which names another folder and another Python."""
    unneeded = [packages / "bin", packages / ".lock", *packages.rglob("__pycache__")]
    unneeded += [info / name for info in packages.glob("*.dist-info") for name in INSTALLERS_OWN]
    for path in unneeded:
        _remove(path)


@cache
def interpreter(runtime: str, module: str = "sys") -> str | None:
    """An interpreter of a version that has a module, or None. Bytecode of another version would not be read."""
    own = "python{}.{}".format(*sys.version_info)
    if own == runtime and importlib.util.find_spec(module) is not None:
        return sys.executable
    program = f"import sys, {module}; print('python%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([runtime, "-c", program], capture_output=True, text=True)
    except OSError:
        return None
    return runtime if done.stdout.strip() == runtime else None


def compile_code(folder: Path, runtime: str, parts: Sequence[Path] | None = None) -> bool:
    """Write bytecode beside the sources; False if no interpreter of the runtime's version is installed.

    The bytecode holds no times, and is not compared with its source at import.
    """
    python = interpreter(runtime)
    if python is None:
        return False
    command = [python, "-I", "-m", "compileall", "-q", "-j", "1", "--invalidation-mode", "unchecked-hash"]
    command += ["-s", str(folder), "-p", UNPACKED_AT, *map(str, [folder] if parts is None else parts)]
    # Sets are written in one order.
    subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": "0"})
    return True


def warn_uncompiled(runtime: str) -> None:
    """Warn of slower cold starts if no interpreter of the runtime's version is at hand."""
    if interpreter(runtime) is None:
        print(
            f"warning: {runtime} is not installed, so the code is not compiled: cold starts will be slower",
            file=sys.stderr,
        )


def _empty(target: Path) -> None:
    if target == Path.cwd() or target in Path.cwd().parents or target.is_file():
        raise ConfigError(f"{target} cannot hold the code: its content would be removed; name another folder")
    if target.exists() and any(target.iterdir()):
        if not (target / "taskq_sls").is_dir():
            raise ConfigError(f"{target} is not empty, and holds no earlier build; name another folder")
        shutil.rmtree(target)
    target.mkdir(parents=True, exist_ok=True)


def _copy_own(source: Path, target: Path, left_out: Sequence[str]) -> Path:
    if source.is_dir():
        _copy(source, target, left_out if source.name == "taskq_sls" else (), bytecode=False)
    elif source.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    else:
        raise ConfigError(f"{source} does not exist: name the app's own modules and packages")
    return target


def _copy(source: Path, target: Path, left_out: Sequence[str], *, bytecode: bool = True) -> None:
    """Copy a folder's content; `left_out` are names in its top level."""

    def ignored(folder: str, names: list[str]) -> set[str]:
        top = set(left_out) if Path(folder) == source else set()
        return top & set(names) | (set() if bytecode else {"__pycache__"} & set(names))

    shutil.copytree(source, target, ignore=ignored, dirs_exist_ok=True)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
        return
    path.unlink(missing_ok=True)
    for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc") if path.suffix == ".py" else ():
        compiled.unlink()


def _settle(target: Path) -> int:
    """Give every file the same times and permissions; returns their size in bytes."""
    size = 0
    for path in sorted(path for path in target.rglob("*") if path.is_file()):
        path.chmod(0o755 if path.suffix == ".so" else 0o644)
        os.utime(path, (EPOCH, EPOCH))
        size += path.stat().st_size
    return size
