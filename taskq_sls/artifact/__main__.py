"""``python -m taskq_sls.artifact``, which the Makefile of a project calls for each function of a ``sam build``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..errors import ConfigError
from .code import LIBRARY_PARTS_LEFT_OUT, assemble, warn_uncompiled
from .packages import MACHINES, install

SHARED = ".taskq-packages"
"""Beside the folders of the functions, which `sam build` removes before it begins: packages last for one build."""


def main(words: list[str] | None = None) -> int:
    arguments = _parser().parse_args(words)
    target = arguments.target.resolve()
    try:
        packages = install(
            arguments.requirements,
            arguments.runtime,
            arguments.architecture,
            target.parent / SHARED,
            library=arguments.library,
        )
        size = assemble(
            target,
            [packages],
            [(path, path.name) for path in arguments.code],
            arguments.runtime,
            left_out=(*LIBRARY_PARTS_LEFT_OUT, *(() if arguments.with_api else ("web",))),
            with_aws=arguments.with_boto3,
        )
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    warn_uncompiled(arguments.runtime)
    print(f"{size / 1e6:.1f} MB for {arguments.runtime} on {arguments.architecture}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m taskq_sls.artifact",
        description="Fill a folder with the code of a Lambda function: packages as wheels for its platform, the app's own "
        "modules, compiled. Packages are installed once for all functions whose folders are beside each other.",
        allow_abbrev=False,
    )
    parser.add_argument("target", type=Path, help="folder to fill; an earlier build in it is removed")
    parser.add_argument("--code", nargs="+", type=Path, required=True, metavar="PATH", help="the app's own modules")
    parser.add_argument(
        "--requirements", nargs="+", type=Path, default=[Path("requirements.txt")], metavar="FILE", help="packages"
    )
    parser.add_argument("--runtime", default="python3.13", metavar="pythonX.Y", help="default: %(default)s")
    parser.add_argument("--architecture", default="arm64", choices=sorted(MACHINES), help="default: %(default)s")
    parser.add_argument("--library", type=Path, metavar="PATH", help="a wheel or checkout in place of the registry's")
    parser.add_argument("--with-boto3", action="store_true", help="keep boto3, if it is among the packages")
    parser.add_argument("--with-api", action="store_true", help="include the packages of the HTTP API")
    return parser


if __name__ == "__main__":
    sys.exit(main())
