"""Edit a dead letter's arguments and labels in the user's editor."""

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
from .arguments import refuse_masks

_PARTS = {"args": list, "kwargs": dict, "labels": dict}


def edit_in_editor(view: DeadLetterView, shown: DeadLetterView) -> Edit | None:
    """Open the editor, and return the parts that were changed; None if there are none.

    Args:
        shown: `view` with masks in place of hidden values. A masked value that is left unchanged keeps its real value.

    Raises:
        ConfigError: the editor cannot be run, or the saved text is not valid.
    """
    if view.payload is not None:
        raise ConfigError(
            f"task {view.id}: its arguments are in the bucket, under {view.payload!r}; give --args and --kwargs"
        )
    before, masked = _document(view), _document(shown)
    after = read_edited(_edited(json.dumps(masked, indent=2, ensure_ascii=False) + "\n"))
    if masked != before:
        after = restore_masked(after, masked, before)
    changed = {name: value for name, value in after.items() if value != before[name]}
    return Edit(**changed) if changed else None


def _document(view: DeadLetterView) -> dict[str, Any]:
    return {"args": view.args, "kwargs": view.kwargs, "labels": dict(view.labels)}


def read_edited(text: str) -> dict[str, Any]:
    """Parse the saved document.

    Raises:
        ConfigError: it is not an object of args, kwargs and labels.
    """
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"the saved text is not JSON: {error}; nothing was sent") from None
    if not isinstance(found, dict) or set(found) != set(_PARTS):
        raise ConfigError("the saved text must be an object of args, kwargs and labels; nothing was sent")
    for name, kind in _PARTS.items():
        if not isinstance(found[name], kind):
            wanted = "an array" if kind is list else "an object"
            raise ConfigError(f"{name} must be {wanted}, not {str(found[name])[:60]!r}; nothing was sent")
    return found


def restore_masked(edited: dict[str, Any], shown: dict[str, Any], real: dict[str, Any]) -> dict[str, Any]:
    """`edited` with the real value of every entry that is left as it was shown.

    Positional arguments are only restored if their number is the same: otherwise it is ambiguous which one was removed.

    Args:
        edited, shown, real: ``args``, ``kwargs`` and ``labels``.

    Raises:
        ConfigError: a mask is left in an entry that was changed or moved.
    """
    restored: dict[str, Any] = {
        part: {
            name: real[part][name] if name in shown[part] and value == shown[part][name] else value
            for name, value in edited[part].items()
        }
        for part in ("kwargs", "labels")
    }
    args = edited["args"]
    if len(args) == len(shown["args"]):
        entries = zip(args, shown["args"], real["args"], strict=True)
        args = [was if value == seen else value for value, seen, was in entries]
    refuse_masks([args, restored])
    return {"args": args, **restored}


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
