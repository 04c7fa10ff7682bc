"""Who calls, and what they may do."""

from __future__ import annotations

from .authenticator import Authenticator, Principal
from .tokens import SCOPES, Scope, Token, new_token

__all__ = ["SCOPES", "Authenticator", "Principal", "Scope", "Token", "new_token"]
