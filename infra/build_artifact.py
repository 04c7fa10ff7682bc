"""Builds the code of the Lambda functions: only what runs, compiled, the same bytes from the same sources.

``sam build`` calls it by the Makefile (``build-...``). By hand: ``python infra/build_artifact.py FOLDER``.
Needs pip, and for compiling an interpreter of the runtime's version.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

CODE = (
    "taskq_sls",
    "handlers/__init__.py",
    "handlers/worker.py",
    "handlers/scheduler.py",
    "local/__init__.py",
    "local/tasks.py",
    "local/survey.py",
)
"""What is ours: the library, the entry points, and the modules of the app that they import."""

API_CODE = "handlers/api.py"
"""Also ours, for the function of the HTTP API alone."""

LEFT_OUT = (
    "cli",
    "doctor",
    "offline",
    "operations",
    "provisioning",
    "scaffold",
    "template",
    "testing",
    "web",
    "worker",
    "__main__.py",
    "py.typed",
)
"""Parts of the library that no Lambda function imports, but for those of the HTTP API."""

API_PARTS = ("operations", "web")
"""What the function of the HTTP API imports of them."""

PACKAGES = "requirements/lambda.txt"

API_PACKAGES = "requirements/lambda-api.txt"

BOTO3 = "requirements/lambda-boto3.txt"
"""Left out unless asked for: Lambda's own runtime has it, and it is larger than all the rest."""

LIMIT = 15_000_000
"""Bytes, unzipped, without boto3: a cold start loads the code first."""

API_LIMIT = 20_000_000
"""The same with what the HTTP API needs."""

INSTALLERS_OWN = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")
"""Files of an installed package that tell about the installation."""

PLATFORMS = {
    "arm64": ("manylinux2014_aarch64", "manylinux_2_17_aarch64"),
    "x86_64": ("manylinux2014_x86_64", "manylinux_2_17_x86_64"),
}

EPOCH = 315_532_800
"""1 January 1980, the first moment that a zip file can tell: the modification time of every file."""


def build(target: Path, runtime: str, architecture: str, *, with_boto3: bool = False, with_api: bool = False) -> None:
    """Fill `target` with the code for a runtime (``python3.13``) and an architecture (``arm64``).

    Args:
        with_boto3: bundle a boto3 of our choice.
        with_api: what the function of the HTTP API needs too.

    Raises:
        SystemExit: it would be too large, a package has no wheel for the runtime, or `target` holds something else.
    """
    _empty(target)
    for requirements in (PACKAGES, *([BOTO3] if with_boto3 else []), *([API_PACKAGES] if with_api else [])):
        _copy(_packages(ROOT / requirements, runtime, architecture), target)
    left_out = tuple(name for name in LEFT_OUT if not (with_api and name in API_PARTS))
    for name in (*CODE, *([API_CODE] if with_api else [])):
        source = ROOT / name
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            _copy(source, target / name, left_out if name == "taskq_sls" else ())
        else:
            shutil.copyfile(source, target / name)
    compiled = _compile(target, runtime)
    size = _settle(target)
    print(f"{size / 1e6:.1f} MB for {runtime} on {architecture}{'' if compiled else ', not compiled'}")
    limit = API_LIMIT if with_api else LIMIT
    if size > limit and not with_boto3:
        raise SystemExit(f"error: the code has {size:,} bytes, above {limit:,}: see what is large in {target}")


def _empty(target: Path) -> None:
    if target == ROOT or target in ROOT.parents or target.is_file():
        raise SystemExit(f"error: {target} is no folder for the code: what is in it would go")
    if target.exists() and any(target.iterdir()):
        if not (target / "taskq_sls").is_dir():
            raise SystemExit(f"error: {target} is not empty, and holds no earlier build; name another folder")
        shutil.rmtree(target)
    target.mkdir(parents=True, exist_ok=True)


def _packages(requirements: Path, runtime: str, architecture: str) -> Path:
    """A folder with the packages, installed once per content of `requirements`."""
    text = f"{requirements.read_text()}\n{runtime} {architecture}"
    folder = ROOT / ".aws-sam" / "packages" / hashlib.sha256(text.encode()).hexdigest()[:16]
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as made:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
        command += ["--no-deps", "--no-compile", "--only-binary", ":all:", "--implementation", "cp"]
        command += ["--python-version", runtime.removeprefix("python")]
        for platform in PLATFORMS[architecture]:
            command += ["--platform", platform]
        done = subprocess.run([*command, "--target", f"{made}/packages", "--requirement", str(requirements)])
        if done.returncode:
            raise SystemExit(f"error: pip could not install {requirements.name} for {runtime} on {architecture}")
        try:
            os.rename(f"{made}/packages", folder)
        except OSError:
            if not folder.exists():  # somebody else was faster
                raise
    return folder


def _copy(source: Path, target: Path, left_out: tuple[str, ...] = ()) -> None:
    """Copy a folder's content; `left_out` are names in its top level."""

    def ignored(folder: str, names: list[str]) -> set[str]:
        never = {"__pycache__", *(INSTALLERS_OWN if folder.endswith(".dist-info") else ())}
        top = {*left_out, "bin"} if Path(folder) == source else set()
        return {name for name in names if name in never | top}

    shutil.copytree(source, target, ignore=ignored, dirs_exist_ok=True)


def _compile(target: Path, runtime: str) -> bool:
    """Write bytecode beside the sources. It holds no times, and is not compared with its source at import."""
    interpreter = _interpreter(runtime)
    if interpreter is None:
        print(f"warning: there is no {runtime} here to compile with: cold starts will be slower", file=sys.stderr)
        return False
    command = [interpreter, "-I", "-m", "compileall", "-q", "-j", "1", "--invalidation-mode", "unchecked-hash"]
    # Tracebacks show where Lambda unpacks the code; sets are written in one order.
    command += ["-s", str(target), "-p", "/var/task", str(target)]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": "0"})
    return True


def _interpreter(runtime: str) -> str | None:
    """An interpreter of the runtime's version; bytecode of another is not read."""
    for candidate in (sys.executable, runtime):
        program = "import sys; print('python%d.%d' % sys.version_info[:2])"
        try:
            done = subprocess.run([candidate, "-c", program], capture_output=True, text=True)
        except OSError:
            continue
        if done.stdout.strip() == runtime:
            return candidate
    return None


def _settle(target: Path) -> int:
    """Give every file the same times and rights; answers the bytes of all."""
    size = 0
    for path in _files(target):
        path.chmod(0o755 if path.suffix == ".so" else 0o644)
        os.utime(path, (EPOCH, EPOCH))
        size += path.stat().st_size
    return size


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the code of the Lambda functions.")
    parser.add_argument("target", type=Path, help="folder to fill; what is in it goes")
    parser.add_argument("--runtime", default="python3.13", help="default: %(default)s")
    parser.add_argument("--architecture", default="arm64", choices=sorted(PLATFORMS), help="default: %(default)s")
    parser.add_argument("--with-boto3", action="store_true", help="bundle a boto3 of our choice")
    parser.add_argument("--with-api", action="store_true", help="what the function of the HTTP API needs too")
    arguments = parser.parse_args()
    build(
        arguments.target.resolve(),
        arguments.runtime,
        arguments.architecture,
        with_boto3=arguments.with_boto3,
        with_api=arguments.with_api,
    )


if __name__ == "__main__":
    main()
