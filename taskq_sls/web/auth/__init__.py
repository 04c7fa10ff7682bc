"""Who calls, and what they may do."""

from __future__ import annotations

from .authenticator import Gate, Principal
from .tokens import SCOPES, Scope, Token, new_token

__all__ = ["SCOPES", "Gate", "Principal", "Scope", "Token", "new_token"]
