"""Bearer tokens, of which only hashes are stored.

A token has 256 random bits, so a plain SHA-256 is enough: it cannot be found by trying, and no two are equal, which is why
passwords need a slow hash and a salt. A slow hash would slow down every request.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple, get_args

from ...errors import ConfigError

Scope = Literal["read", "enqueue", "admin"]

SCOPES: tuple[Scope, ...] = get_args(Scope)
"""``read`` shows tasks, queues and schedules; ``enqueue`` sends tasks; ``admin`` cancels, retries, redrives, deletes."""

VARIABLE = "TASKQ_API_TOKENS"

TOKEN_PREFIX = "tq_"
"""Begins every token, so that scanners for leaked secrets find them."""

_NAME = re.compile(r"[A-Za-z0-9_.:@/+=-]{1,64}")
_HASH = re.compile(r"sha256:[0-9a-f]{64}")
_FIELDS = {"hash", "scopes", "expires"}

EXAMPLE = '{"ci": {"hash": "sha256:...", "scopes": ["read", "enqueue"], "expires": "2027-01-01T00:00:00Z"}}'


class Token(NamedTuple):
    """An accepted token.

    Args:
        name: of its holder; written to logs.
        digest: SHA-256 of the token.
        expires: epoch seconds; None for never.
    """

    name: str
    digest: bytes
    scopes: frozenset[Scope]
    expires: float | None = None

    def __repr__(self) -> str:
        return f"<Token {self.name}>"


def new_token() -> tuple[str, str]:
    """Make a token. Returns it, and its hash for the configuration."""
    token = TOKEN_PREFIX + secrets.token_urlsafe(32)
    return token, f"sha256:{hashlib.sha256(token.encode()).hexdigest()}"


def find_token(tokens: Iterable[Token], given: str, now: float) -> Token | None:
    """Return the token among `tokens` that `given` is, unless it has expired.

    All are compared, each in constant time, so that timing reveals nothing about them.
    """
    digest = hashlib.sha256(given.encode("utf-8", "surrogatepass")).digest()
    found = None
    for token in tokens:
        if hmac.compare_digest(token.digest, digest):
            found = token
    return None if found is None or (found.expires is not None and found.expires <= now) else found


def read_tokens(given: Mapping[str, Any] | str) -> tuple[Token, ...]:
    """Read tokens from a mapping by name, or from its JSON text.

    Raises:
        ConfigError: it is malformed. The message holds no hash.
    """
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except ValueError as error:
            raise ConfigError(f"{VARIABLE} is not JSON ({error}); an example: {EXAMPLE}") from None
    if not isinstance(given, Mapping):
        raise ConfigError(f"{VARIABLE} must be a JSON object with an entry for each name, such as {EXAMPLE}")
    return tuple(_token(name, entry) for name, entry in given.items())


def read_scopes(where: str, given: Any) -> frozenset[Scope]:
    """Check a list of scopes.

    Raises:
        ConfigError: the list is empty, or has an unknown scope.
    """
    named = list(given) if isinstance(given, list | tuple | set | frozenset) else []
    if not named or not all(scope in SCOPES for scope in named):
        raise ConfigError(f"{where}: scopes={given!r:.80} must be a list of {', '.join(SCOPES)}, at least one")
    return frozenset(named)


def _token(name: Any, entry: Any) -> Token:
    where = f"{VARIABLE}, token {name!r:.80}"
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigError(f"{where}: a name must have 1 to 64 letters, digits or _ . : @ / + = -")
    if not isinstance(entry, Mapping) or not {"hash", "scopes"} <= set(entry) <= _FIELDS:
        raise ConfigError(f"{where}: it must have hash and scopes, and may have expires: {EXAMPLE}")
    if not isinstance(entry["hash"], str) or not _HASH.fullmatch(entry["hash"]):
        raise ConfigError(
            f"{where}: hash must be sha256: and 64 hexadecimal digits, as `taskq api-token new` prints it (never the token "
            "itself)"
        )
    digest = bytes.fromhex(entry["hash"].removeprefix("sha256:"))
    return Token(name, digest, read_scopes(where, entry["scopes"]), _expiry(where, entry.get("expires")))


def _expiry(where: str, given: Any) -> float | None:
    if given is None:
        return None
    try:
        moment = given if isinstance(given, datetime) else datetime.fromisoformat(given)
    except (TypeError, ValueError):
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ConfigError(f"{where}: expires={given!r:.80} must be a time with its zone, such as 2027-01-01T00:00:00Z")
    return moment.astimezone(UTC).timestamp()
