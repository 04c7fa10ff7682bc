"""Additional IAM statements and environment variables of a queue's Lambda function."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import ConfigError

SUBSTITUTIONS = ("AWS::AccountId", "AWS::Partition", "AWS::Region", "Prefix", "Stage")
"""The names in ``${...}`` that the stack replaces. Any other ``${...}`` is text, or a policy variable of IAM."""

MAX_ENVIRONMENT = 3_300
"""Most bytes of names and values. Lambda allows 4,096 for all variables of a function; the library needs the rest."""

MAX_PREFIX_LENGTH = 40
"""Most characters of the value of ``${Prefix}``."""

REQUIRED = ("Effect", "Action", "Resource")
"""The keys of a statement of a role's policy. IAM and `sam validate --lint` check the rest."""

_VARIABLE = re.compile(r"[A-Za-z][A-Za-z0-9_]+")
_SUBSTITUTION = re.compile(r"\$\{([A-Za-z:]+)\}")
_RESERVED_PREFIXES = ("TASKQ_", "AWS_", "LAMBDA_")


def checked_statements(owner: str, statements: object) -> tuple[dict[str, Any], ...]:
    """A copy of IAM statements.

    Args:
        owner: the queue that declares them, for errors.

    Raises:
        ConfigError: an item is not a statement of a role's policy.
    """
    if isinstance(statements, Mapping) or not isinstance(statements, Sequence) or isinstance(statements, str):
        raise ConfigError(
            f"{owner}: function_policy={statements!r:.80} must be a list of IAM statements, such as "
            '[{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::pictures/*"}]'
        )
    return tuple(
        _statement(f"{owner}: function_policy[{number}]", statement) for number, statement in enumerate(statements)
    )


def checked_environment(owner: str, variables: object) -> dict[str, str]:
    """A copy of environment variables.

    Raises:
        ConfigError: Lambda does not allow a name, or the library uses it; a value is not a text; or they are too large.
    """
    if not isinstance(variables, Mapping):
        raise ConfigError(
            f'{owner}: function_environment={variables!r:.80} must be a dict of texts, such as {{"STAGE": "${{Stage}}"}}'
        )
    for name, value in variables.items():
        _check_variable(owner, name, value)
    size = environment_size(variables)
    if size > MAX_ENVIRONMENT:
        raise ConfigError(
            f"{owner}: function_environment has {size:,} bytes and may have {MAX_ENVIRONMENT:,}, since Lambda allows "
            "4,096 for all variables; keep long values in a parameter of Systems Manager or in a file"
        )
    return dict(variables)


def environment_size(variables: Mapping[str, str]) -> int:
    """Upper bound for the bytes of names and values."""
    longest = "p" * MAX_PREFIX_LENGTH
    return sum(
        len(name) + len(value.replace("${Prefix}", longest).encode("utf-8", "replace"))
        for name, value in variables.items()
    )


def _statement(where: str, statement: object) -> dict[str, Any]:
    """A copy of one statement."""
    if not isinstance(statement, Mapping):
        raise ConfigError(f"{where}={statement!r:.80} must be a dict with {', '.join(REQUIRED)}")
    for name in REQUIRED:
        if not statement.get(name):
            fix = ": name ARNs, or write '*' for everything" if name == "Resource" else ""
            raise ConfigError(f"{where} has no {name!r}; a statement needs {', '.join(REQUIRED)}{fix}")
    try:
        text = json.dumps(dict(statement), ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where}={statement!r:.200} must be a statement as in JSON: {error}") from None
    _check_substitutions(where, text)
    copied: dict[str, Any] = json.loads(text)
    return copied


def _check_variable(owner: str, name: object, value: object) -> None:
    if not isinstance(name, str) or not _VARIABLE.fullmatch(name):
        raise ConfigError(
            f"{owner}: function_environment: name {name!r:.80}: use letters, digits and '_', a letter first, 2 at least"
        )
    if name.startswith(_RESERVED_PREFIXES):
        raise ConfigError(
            f"{owner}: function_environment: {name!r} begins with {', '.join(_RESERVED_PREFIXES[:-1])} or {_RESERVED_PREFIXES[-1]}, which are "
            "reserved for the library, the AWS SDK and Lambda; choose another name"
        )
    if not isinstance(value, str):
        raise ConfigError(
            f"{owner}: function_environment: {name}={value!r:.80} must be a text; write {name}={str(value)!r:.80}"
        )
    _check_substitutions(f"{owner}: function_environment: {name}", value)


def _check_substitutions(where: str, text: str) -> None:
    """Refuse characters that cannot be written, and a misspelt ``${...}``, which would be deployed as text."""
    if "\x00" in text or "\\u0000" in text or any("\ud800" <= char <= "\udfff" for char in text):
        raise ConfigError(f"{where}: {text!r:.80} has a zero byte or half a surrogate pair; leave it out")
    for name in _SUBSTITUTION.findall(text):
        meant = next((place for place in SUBSTITUTIONS if place.lower() == name.lower()), None)
        if name not in SUBSTITUTIONS and (meant or name.startswith("AWS::")):
            known = (
                f"write ${{{meant}}}" if meant else "known are " + ", ".join(f"${{{place}}}" for place in SUBSTITUTIONS)
            )
            raise ConfigError(f"{where}: {text!r:.80} has ${{{name}}}; {known}")
