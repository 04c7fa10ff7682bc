"""Authentication: who calls, and the scopes they have."""

from __future__ import annotations

from .authenticator import Authenticator, Principal
from .tokens import SCOPES, Scope, Token, new_token

__all__ = ["SCOPES", "Authenticator", "Principal", "Scope", "Token", "new_token"]
