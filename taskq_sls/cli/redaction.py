"""What the commands do not show: values that an app or a task hides by name, unless ``--show-secrets`` is given."""

from __future__ import annotations

import argparse
import json
from typing import Any

from ..app import TaskQ
from ..core.redaction import MASK, contains_mask, redact
from ..errors import ConfigError
from ..operations.dead_letter_view import DeadLetterView
from ..results.records import TaskRecord


def add_show_secrets(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--show-secrets", action="store_true", help="show also what the app hides by name (redact=)")


def shown_record(app: TaskQ, record: TaskRecord, *, secrets: bool) -> TaskRecord:
    """A record as it may be shown: its arguments and labels, and the fields of its result."""
    names = app.redaction(record.task)
    result = record.result_json
    if result is not None:
        value = app.shown_result(record.task, result)
        if value != json.loads(result):
            record = record._replace(result_json=(result := json.dumps(value, ensure_ascii=False)))
    if secrets or not names:
        return record
    if result is not None and (veiled := redact(value, names)) != value:
        result = json.dumps(veiled, ensure_ascii=False)
    call = record.call
    if call is not None:  # what was hidden when it was recorded is hidden for good
        args, kwargs = app.redacted(record.task, (held := json.loads(call))["args"], held["kwargs"])
        call = json.dumps({"args": args, "kwargs": kwargs}, ensure_ascii=False)
    return record._replace(
        labels=redact(dict(record.labels), names),
        result_json=result,
        call=call,
        unique_key=record.unique_key and MASK,  # may be made of any argument
    )


def shown_letter(app: TaskQ, one: DeadLetterView, *, secrets: bool) -> DeadLetterView:
    """A dead letter as it may be shown: its arguments and labels. Its body, which holds them all, is hidden as a whole
    where the app hides anything: of a body that cannot be read nobody knows whose it is.
    """
    if secrets or not app.log_redaction:
        return one
    args, kwargs = app.redacted(one.task, one.args, one.kwargs)
    labels = redact(dict(one.labels), app.redaction(one.task))
    return one._replace(args=args, kwargs=kwargs, labels=labels, body=MASK)


def refuse_masks(*values: Any) -> None:
    """Arguments must not be what was shown in place of them.

    Raises:
        ConfigError: a value is the mark of a hidden one.
    """
    if contains_mask(values):
        raise ConfigError(
            f"a value is {MASK!r}, which stands for a hidden one: give the real value (see --show-secrets)"
        )


def restore_masked(edited: dict[str, Any], shown: dict[str, Any], real: dict[str, Any]) -> dict[str, Any]:
    """What a person made of `shown`, with the real values in place of the hidden ones that were left as they were.

    Args:
        edited, shown, real: ``args``, ``kwargs`` and ``labels``.

    Raises:
        ConfigError: it cannot be told which value a mark stands for.
    """
    args = edited["args"]
    if contains_mask(args) and len(args) != len(shown["args"]):
        raise _moved("args")
    pairs = zip(args, shown["args"], real["args"], strict=False)
    found: dict[str, Any] = {
        "args": args if not contains_mask(args) else [_unveil(f"args[{n}]", *one) for n, one in enumerate(pairs)]
    }
    for part in ("kwargs", "labels"):
        found[part] = {
            name: _unveil(f"{part}[{name!r}]", value, shown[part].get(name), real[part].get(name))
            for name, value in edited[part].items()
        }
    return found


def _moved(where: str) -> ConfigError:
    return ConfigError(
        f"{where}: {MASK!r} stands for a hidden value, which can be kept only where it was: nothing was sent. Leave what "
        "holds it as it was, give the real value, or edit with --show-secrets"
    )


def _unveil(where: str, edited: Any, shown: Any, real: Any) -> Any:
    if not contains_mask(edited):
        return edited
    if edited != shown:
        raise _moved(where)
    return real
