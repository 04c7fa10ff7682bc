"""What an app adds to the Lambda function of a queue: IAM statements for its role, and environment variables."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import ConfigError

SUBSTITUTIONS = ("AWS::AccountId", "AWS::Partition", "AWS::Region", "Prefix", "Stage")
"""What ``${...}`` may name: the stack fills it in. Any other ``${...}`` is text, or a policy variable of IAM."""

MAX_ENVIRONMENT = 3_300
"""Bytes of names and values. Lambda takes 4,096 for all variables of a function, and the library's own need the rest."""

LONGEST_PREFIX = 40
"""Characters that ``${Prefix}`` can become."""

NEEDED, OPTIONAL = ("Effect", "Action", "Resource"), ("Sid", "Condition")

_ACTION = re.compile(r"[a-z0-9-]+:[A-Za-z0-9*?]+")
_ARN = re.compile(r"arn:[^:\s]+:[^:\s]+:[^:\s]*:[^:\s]*:\S+")
_SID = re.compile(r"[A-Za-z0-9]+")
_VARIABLE = re.compile(r"[A-Za-z][A-Za-z0-9_]+")
_PLACE = re.compile(r"\$\{([A-Za-z:]+)\}")
_TAKEN = ("TASKQ_", "AWS_", "LAMBDA_")


def checked_statements(owner: str, statements: object) -> tuple[dict[str, Any], ...]:
    """IAM statements as declared, copied.

    Args:
        owner: who declares them, for errors.

    Raises:
        ConfigError: one is not a statement of a role's policy.
    """
    if isinstance(statements, Mapping) or not isinstance(statements, Sequence) or isinstance(statements, str):
        raise ConfigError(
            f"{owner}: function_policy={statements!r:.80} must be a list of IAM statements, such as "
            '[{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::pictures/*"}]'
        )
    return tuple(_statement(f"{owner}: function_policy[{number}]", one) for number, one in enumerate(statements))


def checked_environment(owner: str, variables: object) -> dict[str, str]:
    """Environment variables as declared, copied.

    Raises:
        ConfigError: a name is not one that Lambda takes or is the library's own, a value is no text, or they are
            larger than Lambda leaves room for.
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
            f"{owner}: function_environment has {size:,} bytes and may have {MAX_ENVIRONMENT:,}, since Lambda takes "
            "4,096 for all variables; keep what is long in a parameter of Systems Manager or in a file"
        )
    return dict(variables)


def environment_size(variables: Mapping[str, str]) -> int:
    """Bytes of names and values, at most."""
    longest = "p" * LONGEST_PREFIX
    return sum(
        len(name) + len(value.replace("${Prefix}", longest).encode("utf-8", "replace"))
        for name, value in variables.items()
    )


def _statement(where: str, statement: object) -> dict[str, Any]:
    if not isinstance(statement, Mapping):
        raise ConfigError(f"{where}={statement!r:.80} must be a dict with {', '.join(NEEDED)}")
    for name in NEEDED:
        if name not in statement:
            way_out = ": name ARNs, or write '*' for everything" if name == "Resource" else ""
            raise ConfigError(f"{where} has no {name!r}; a statement needs {', '.join(NEEDED)}{way_out}")
    for name in statement:
        if name not in NEEDED + OPTIONAL:
            raise ConfigError(
                f"{where} has {name!r}; a statement of a role may have {', '.join(NEEDED + OPTIONAL)}: say what is allowed"
            )
    if statement["Effect"] not in ("Allow", "Deny"):
        raise ConfigError(f"{where}: Effect={statement['Effect']!r:.80} must be 'Allow' or 'Deny'")
    for action in _texts(where, "Action", statement["Action"]):
        if not _ACTION.fullmatch(action):
            raise ConfigError(f"{where}: action {action!r:.80} must be SERVICE:ACTION, such as 's3:GetObject'")
    for resource in _texts(where, "Resource", statement["Resource"]):
        if resource != "*" and not _ARN.fullmatch(_PLACE.sub("x", resource)):
            raise ConfigError(
                f"{where}: resource {resource!r:.80} must be an ARN, such as 'arn:aws:s3:::pictures/*', or '*'"
            )
    sid = statement.get("Sid", "Own")
    if not isinstance(sid, str) or not _SID.fullmatch(sid):
        raise ConfigError(f"{where}: Sid={sid!r:.80} must be letters and digits")
    if not isinstance(statement.get("Condition", {}), Mapping):
        raise ConfigError(f"{where}: Condition={statement['Condition']!r:.80} must be a dict of operators")
    copied: dict[str, Any] = _copied(where, statement)
    return copied


def _texts(where: str, name: str, value: object) -> Sequence[str]:
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list | tuple) or not found or not all(isinstance(one, str) for one in found):
        raise ConfigError(f"{where}: {name}={value!r:.80} must be a text or a list of texts")
    return found


def _copied(where: str, value: object) -> Any:
    """A copy that later changes of the original do not reach."""
    if isinstance(value, str):
        _check_places(where, value)
        return value
    if isinstance(value, bool | int):
        return value
    if isinstance(value, list | tuple):
        return [_copied(where, one) for one in value]
    if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
        return {name: _copied(where, one) for name, one in value.items()}
    raise ConfigError(f"{where} holds {value!r:.80}; IAM takes texts, numbers, true, false, lists and dicts of them")


def _check_variable(owner: str, name: object, value: object) -> None:
    if not isinstance(name, str) or not _VARIABLE.fullmatch(name):
        raise ConfigError(
            f"{owner}: function_environment: name {name!r:.80}: use letters, digits and '_', a letter first, 2 at least"
        )
    if name.startswith(_TAKEN):
        raise ConfigError(
            f"{owner}: function_environment: {name!r} begins with {', '.join(_TAKEN[:-1])} or {_TAKEN[-1]}, which are the "
            "library's, the AWS SDK's and Lambda's own; choose another name"
        )
    if not isinstance(value, str):
        raise ConfigError(
            f"{owner}: function_environment: {name}={value!r:.80} must be a text; write {name}={str(value)!r:.80}"
        )
    _check_places(f"{owner}: function_environment: {name}", value)


def _check_places(where: str, text: str) -> None:
    """Refuse what cannot be written, and what looks like a slip of the pen: it would be deployed as it stands."""
    if "\x00" in text or any("\ud800" <= one <= "\udfff" for one in text):
        raise ConfigError(f"{where}: {text!r:.80} holds a zero byte or half a character; leave it out")
    for name in _PLACE.findall(text):
        meant = next((place for place in SUBSTITUTIONS if place.lower() == name.lower()), None)
        if name not in SUBSTITUTIONS and (meant or name.startswith("AWS::")):
            known = (
                f"write ${{{meant}}}" if meant else "known are " + ", ".join(f"${{{place}}}" for place in SUBSTITUTIONS)
            )
            raise ConfigError(f"{where}: {text!r:.80} has ${{{name}}}; {known}")
