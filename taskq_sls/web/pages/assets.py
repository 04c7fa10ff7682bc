"""The style sheet and the script: two small files of our own, named by their content so that browsers may keep them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response

FOREVER = "public, max-age=31536000, immutable"


class Asset(NamedTuple):
    """A file that pages use.

    Args:
        address: relative to the pages, which all lie in one folder.
    """

    name: str
    media_type: str
    content: bytes

    @property
    def address(self) -> str:
        return f"{self.name}?v={hashlib.sha256(self.content).hexdigest()[:12]}"


def _read(name: str, media_type: str) -> Asset:
    return Asset(name, media_type, Path(__file__).with_name(name).read_bytes())


STYLE = _read("dashboard.css", "text/css")
SCRIPT = _read("dashboard.js", "text/javascript")

ASSETS = {f"/{one.name}": one for one in (STYLE, SCRIPT)}


async def asset(request: Request) -> Response:
    """One of the files. Nothing in them is secret."""
    found = ASSETS[request.scope["path"]]
    return Response(found.content, media_type=found.media_type, headers={"Cache-Control": FOREVER})
