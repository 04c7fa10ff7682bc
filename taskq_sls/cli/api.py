"""``taskq api`` and ``taskq api-token``."""

from __future__ import annotations

import argparse
import json
import os
import socket
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ..app import TaskQ
from ..errors import ConfigError
from .apps import add_log_options, load_app_with_logs
from .arguments import add_command, add_group, port
from .output import note, print_json, say

if TYPE_CHECKING:
    from fastapi import FastAPI

LOOPBACK = "127.0.0.1"

TEMPORARY_TOKEN_NAME = "this-run"
"""Name of the token that is made if none is configured."""


def add_to(commands: Any) -> None:
    api = add_command(
        commands,
        "api",
        run_api,
        "serve the HTTP API of an app on this machine. Only this machine can connect. Ctrl-C ends it. If TASKQ_API_TOKENS "
        "has no token, a temporary one is made and printed.",
        app="app",
        json=False,
    )
    api.add_argument("--port", type=port, default=8000, metavar="N", help="0 for a free one; default: %(default)s")
    api.add_argument("--openapi", action="store_true", help="print the OpenAPI description, and serve nothing")
    add_log_options(api)
    new = add_command(
        add_group(commands, "api-token", "tokens of the HTTP API", "Tokens of the HTTP API."),
        "new",
        run_token,
        "make a token. Prints it once, on stdout, with its entry for TASKQ_API_TOKENS, which holds the hash. Nothing is "
        "stored. To rotate a token: add an entry with another name, change the callers, then remove the old entry.",
        app=None,
    )
    new.add_argument("--scopes", required=True, type=_names, metavar="A,B", help="of read, enqueue and admin")
    new.add_argument("--name", default="caller", metavar="NAME", help="the caller's name in logs; default: %(default)s")
    new.add_argument("--expires", metavar="TIME", help="such as 2027-01-01T00:00:00Z; default: never")


def run_api(arguments: argparse.Namespace) -> int:
    app = load_app_with_logs(arguments, arguments.app)
    _needs_extra()
    if arguments.openapi:
        say(json.dumps(_made(app)[0].openapi(), indent=2))
        return 0
    api, token = _made(app)
    try:
        return _serve(api, token, arguments.port)
    except KeyboardInterrupt:
        return 0


def run_token(arguments: argparse.Namespace) -> int:
    _needs_extra()
    from ..web.auth.tokens import new_token, read_tokens  # its package needs the extra

    token, digest = new_token()
    entry: dict[str, Any] = {"hash": digest, "scopes": arguments.scopes}
    if arguments.expires is not None:
        entry["expires"] = arguments.expires
    (checked,) = read_tokens({arguments.name: entry})
    if checked.expires is not None and checked.expires <= datetime.now(UTC).timestamp():
        raise ConfigError(f"--expires {arguments.expires}: that time has passed; give a future time")
    if arguments.json:
        print_json({"token": token, "entry": {arguments.name: entry}})
        return 0
    say(f"token  {token}")
    say(f"entry  {json.dumps({arguments.name: entry})}")
    note("the token is not shown again; add the entry to the JSON of TASKQ_API_TOKENS")
    return 0


def _made(app: TaskQ) -> tuple[FastAPI, str | None]:
    """The API, and its temporary token if none is configured."""
    if os.environ.get("TASKQ_API_TOKENS"):
        return app.api(auth="tokens"), None
    from ..web.auth.tokens import SCOPES, new_token  # its package needs the extra

    token, digest = new_token()
    return app.api(auth="tokens", tokens={TEMPORARY_TOKEN_NAME: {"hash": digest, "scopes": list(SCOPES)}}), token


def _serve(api: FastAPI, token: str | None, number: int) -> int:
    import uvicorn  # of an extra, and slow to import

    try:
        listener = socket.create_server((LOOPBACK, number))
    except OSError as error:
        raise ConfigError(f"--port {number}: {error.strerror}; give another, or 0 for a free one") from None
    with listener:
        site = f"http://{LOOPBACK}:{listener.getsockname()[1]}"
        address = f"{site}/v1"
        note(f"the dashboard is at {site}/")
        note(f"the API is at {address}; its description at {address}/openapi.json; Ctrl-C ends it")
        if token is not None:
            note(f"a token for this run only, with all scopes: {token}")
        # No access log: paths and queries name tasks and labels.
        # No proxy is in front of it, so headers must not set the caller's address.
        config = uvicorn.Config(
            api, lifespan="off", log_config=None, access_log=False, server_header=False, proxy_headers=False
        )
        uvicorn.Server(config).run(sockets=[listener])
    return 0


def _needs_extra() -> None:
    try:
        import fastapi  # of an extra, and slow to import
        import uvicorn
    except ImportError as error:
        raise ConfigError(f"{error.name!r} is not installed: pip install 'taskq-sls[api,cli]'") from None
    del fastapi, uvicorn


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]
