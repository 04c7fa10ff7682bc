"""Changing a task's arguments in the editor of the person at the terminal."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..operations.dead_letter_view import DeadLetterView
from ..operations.editing import Edit
from .redaction import restore_masked

_PARTS = {"args": list, "kwargs": dict, "labels": dict}


def edit_in_editor(one: DeadLetterView, shown: DeadLetterView) -> Edit | None:
    """What the person made of the arguments and labels; None where nothing was changed.

    Args:
        shown: the same with what is hidden. What stands there as hidden, and is left so, stays what it is.

    Raises:
        ConfigError: no editor can be run, or what was saved is not what a task takes.
    """
    if one.payload is not None:
        raise ConfigError(
            f"task {one.id}: its arguments are in the bucket, under {one.payload!r}; give --args and --kwargs"
        )
    before, veiled = _document(one), _document(shown)
    after = read_edited(_edited(json.dumps(veiled, indent=2, ensure_ascii=False) + "\n"))
    if veiled != before:
        after = restore_masked(after, veiled, before)
    changed = {name: value for name, value in after.items() if value != before[name]}
    return Edit(**changed) if changed else None


def _document(one: DeadLetterView) -> dict[str, Any]:
    return {"args": one.args, "kwargs": one.kwargs, "labels": dict(one.labels)}


def read_edited(text: str) -> dict[str, Any]:
    """The document as it was saved.

    Raises:
        ConfigError: it is not an object of args, kwargs and labels.
    """
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"what was saved is not JSON: {error}; nothing was sent") from None
    if not isinstance(found, dict) or set(found) != set(_PARTS):
        raise ConfigError("what was saved must be an object of args, kwargs and labels; nothing was sent")
    for name, kind in _PARTS.items():
        if not isinstance(found[name], kind):
            wanted = "an array" if kind is list else "an object"
            raise ConfigError(f"{name} must be {wanted}, not {str(found[name])[:60]!r}; nothing was sent")
    return found


def _edited(text: str) -> str:
    command = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    if not command:
        raise ConfigError("--edit: set EDITOR to the editor to use, or give --args and --kwargs")
    with tempfile.TemporaryDirectory(prefix="taskq-") as folder:
        file = Path(folder) / "arguments.json"
        file.write_text(text, encoding="utf-8")
        try:
            done = subprocess.run([*shlex.split(command), str(file)], check=False)
        except (OSError, ValueError) as error:
            raise ConfigError(f"--edit: the editor {command!r} cannot be run: {error}") from None
        if done.returncode:
            raise ConfigError(f"--edit: the editor {command!r} ended with status {done.returncode}; nothing was sent")
        return file.read_text(encoding="utf-8")
