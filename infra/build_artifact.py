"""Builds the code of the Lambda functions: only the code that runs, compiled; equal sources give equal bytes.

``sam build`` calls it by the Makefile (``build-...``). By hand: ``python infra/build_artifact.py FOLDER``. The work is
done by ``taskq_sls.artifact``, which users' projects call too; this file lists the content of this repository's functions.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from taskq_sls.artifact import LIBRARY_PARTS_LEFT_OUT, MACHINES, assemble, install
from taskq_sls.artifact.code import interpreter, warn_uncompiled
from taskq_sls.errors import ConfigError

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
"""Our own code: the library, the entry points, and the modules of the app that they import."""

API_CODE = "handlers/api.py"
"""Our own code that only the function of the HTTP API needs."""

API_PARTS = ("operations", "web")
"""Packages of the library that only the function of the HTTP API imports."""

LEFT_OUT = (*LIBRARY_PARTS_LEFT_OUT, *API_PARTS)

PACKAGES = "requirements/lambda.txt"

API_PACKAGES = "requirements/lambda-api.txt"

BOTO3 = "requirements/lambda-boto3.txt"
"""Left out by default: Lambda's runtime has it, and it is larger than everything else."""

CACHE = ROOT / ".aws-sam" / "packages"
"""Packages are kept between builds, because the requirements name exact versions."""

LIMIT = 15_000_000
"""Bytes, unzipped, without boto3: a cold start loads the code first."""

API_LIMIT = 20_000_000
"""The same with the packages of the HTTP API."""


def build(target: Path, runtime: str, architecture: str, *, with_boto3: bool = False, with_api: bool = False) -> None:
    """Fill `target` with the code for a runtime (``python3.13``) and an architecture (``arm64``).

    Args:
        with_boto3: bundle a boto3 of our choice.
        with_api: include the code and packages of the HTTP API.

    Raises:
        SystemExit: it would be too large, a package has no wheel for the runtime, or `target` holds something else.
    """
    if target == ROOT or target in ROOT.parents:
        raise SystemExit(f"error: {target} cannot hold the code: its content would be removed")
    files = [PACKAGES, *([BOTO3] if with_boto3 else []), *([API_PACKAGES] if with_api else [])]
    code = [*CODE, *([API_CODE] if with_api else [])]
    try:
        packages = [install([ROOT / file], runtime, architecture, CACHE, closure=True) for file in files]
        size = assemble(
            target,
            packages,
            [(ROOT / name, name) for name in code],
            runtime,
            left_out=LIBRARY_PARTS_LEFT_OUT if with_api else LEFT_OUT,
            with_aws=with_boto3,
        )
    except ConfigError as error:
        raise SystemExit(f"error: {error}") from None
    warn_uncompiled(runtime)
    compiled = "" if interpreter(runtime) else ", not compiled"
    print(f"{size / 1e6:.1f} MB for {runtime} on {architecture}{compiled}")
    limit = API_LIMIT if with_api else LIMIT
    if size > limit and not with_boto3:
        raise SystemExit(f"error: the code has {size:,} bytes, above {limit:,}: look for large files in {target}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the code of the Lambda functions.")
    parser.add_argument("target", type=Path, help="folder to fill; its content is removed")
    parser.add_argument("--runtime", default="python3.13", help="default: %(default)s")
    parser.add_argument("--architecture", default="arm64", choices=sorted(MACHINES), help="default: %(default)s")
    parser.add_argument("--with-boto3", action="store_true", help="bundle a boto3 of our choice")
    parser.add_argument("--with-api", action="store_true", help="include the packages of the HTTP API")
    arguments = parser.parse_args()
    options = {"with_boto3": arguments.with_boto3, "with_api": arguments.with_api}
    build(arguments.target.resolve(), arguments.runtime, arguments.architecture, **options)


if __name__ == "__main__":
    main()
