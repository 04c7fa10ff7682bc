"""Control characters in text that others supplied: escaped before a terminal could carry them out."""

from __future__ import annotations

import re

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
"""C0 without tab and line feed, DEL, C1, and Unicode's line separators and text directions."""

_CONTROL_OR_BREAK = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def escaped(text: str, *, one_line: bool = False) -> str:
    r"""`text` with every control character as ``\u001b``, which JSON can read too.

    Args:
        one_line: escape tabs and line feeds as well, for a cell of a table or the value of a field.
    """
    return (_CONTROL_OR_BREAK if one_line else _CONTROL).sub(lambda found: f"\\u{ord(found[0]):04x}", text)
