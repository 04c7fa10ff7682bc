"""The SAM CLI as a person would use it, against an endpoint."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from tests.e2e.machine import ARCHITECTURE, RUNTIME, SAM_ENVIRONMENT, interpreter

COMMAND_SECONDS = 300.0

PARAMETERS = (f"Runtime={RUNTIME}", f"Architecture={ARCHITECTURE}")
"""What the emulator can run is not what the templates have as their defaults."""


class SamFailed(Exception):
    """{command} ended with status {status}: {output}"""


class Sam:
    """The SAM CLI.

    Args:
        folder: for its own settings; a new one.
        environment: variables that lead to the endpoint.
        parameters: of the templates, beside those that the emulator needs; also ``file://`` and a file's name.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str], *parameters: str) -> None:
        self._parameters = (*parameters, *PARAMETERS)
        settings = folder / "settings"
        settings.mkdir(parents=True)
        # It asks PyPI for a newer version of itself once a week.
        (settings / "metadata.json").write_text(
            json.dumps({"telemetryEnabled": False, "lastVersionCheck": time.time() + 86_400})
        )
        tools = Path(interpreter(SAM_ENVIRONMENT)).parent
        self._command = str(tools / "sam")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TASKQ_"))}
        self._environment = {
            **kept,
            **environment,
            "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
            "SAM_CLI_TELEMETRY": "0",
            "SAM_CLI_POLL_DELAY": "1",
            "__SAM_CLI_APP_DIR": str(settings),
            # For templates whose functions the Makefile builds.
            "RUNTIME": RUNTIME,
            "ARCHITECTURE": ARCHITECTURE,
        }

    def validate(self, project: Path) -> str:
        """Check a project's template by CloudFormation's own schemas."""
        return self._run(project, "validate", "--lint")

    def build(self, project: Path, built: Path, *options: str) -> str:
        """Build a project's functions into the folder `built`."""
        return self._run(
            project, "build", "--build-dir", str(built), *options, "--parameter-overrides", *self._parameters
        )

    def deploy(self, project: Path, built: Path, stack: str) -> str:
        """Create a stack of what was built, or update it."""
        words = ["deploy", "--template-file", str(built / "template.yaml"), "--stack-name", stack, "--resolve-s3"]
        words += ["--capabilities", "CAPABILITY_IAM"]
        words += ["--no-confirm-changeset", "--no-progressbar", "--parameter-overrides", *self._parameters]
        return self._run(project, *words)

    def make_bucket(self, folder: Path) -> None:
        """Make the bucket that ``--resolve-s3`` stands for, as the first deployment in an account does."""
        (folder / "nothing.yaml").write_text("Resources: {Nothing: {Type: 'AWS::SQS::Queue'}}")
        words = ["package", "--template-file", "nothing.yaml", "--output-template-file", "packaged.yaml"]
        self._run(folder, *words, "--resolve-s3")

    def delete(self, project: Path, stack: str) -> str:
        """Delete a stack and what was uploaded for it."""
        return self._run(project, "delete", "--stack-name", stack, "--no-prompts")

    def _run(self, project: Path, *words: str) -> str:
        done = subprocess.run(
            [self._command, *words],
            cwd=project,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_SECONDS,
        )
        if done.returncode:
            raise SamFailed(f"sam {' '.join(words)} ended with status {done.returncode}:\n{done.stdout[-6000:]}")
        return done.stdout
