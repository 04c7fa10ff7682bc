"""Python values to and from the JSON of the envelope, by the task's annotations."""

from __future__ import annotations

from .compiling import compile_signature
from .signature import JsonSignature, Signature

__all__ = ["JsonSignature", "Signature", "compile_signature"]
