"""A user's project: a package with tasks, what it requires, and the template rendered from it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.e2e.machine import ROOT


class Project:
    """A project in a folder, made ready for ``sam build``.

    Args:
        wheel: of the library; its requirements come from the registry.
    """

    def __init__(self, folder: Path, wheel: Path) -> None:
        self.folder = folder
        self.built = folder / ".aws-sam" / "build"
        # Exact versions, of the library's closure: `sam build` resolves what is left open, which takes minutes.
        pins = [(ROOT / "requirements" / name).read_text() for name in ("lambda.txt", "lambda-boto3.txt")]
        (folder / "requirements.txt").write_text("\n".join([str(wheel), *pins]))
        self.render()

    def render(self) -> None:
        """Write template.yaml, as the project's README would tell its users to."""
        command = [sys.executable, "-m", "taskq_sls", "template", "shop.tasks:app", "--handler", "shop.entry.worker"]
        command += ["--event-handler", "shop.entry.events", "--output", "template.yaml"]
        subprocess.run(command, cwd=self.folder, check=True, capture_output=True, timeout=60)

    def edit(self, file: str, old: str, new: str) -> None:
        """Replace the one occurrence of a text in a file."""
        path = self.folder / file
        text = path.read_text()
        assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in {file}"
        path.write_text(text.replace(old, new))
