"""An app with tasks for the HTTP API, and clients of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from starlette.testclient import TestClient

from taskq_sls import Queue, Retry, Schedule, TaskQ, rate
from taskq_sls.testing import InMemory, in_memory
from taskq_sls.web.auth.tokens import SCOPES, new_token


class Served(NamedTuple):
    """The API of an app in memory."""

    app: TaskQ
    memory: InMemory
    client: TestClient
    reader: TestClient
    sender: TestClient
    stranger: TestClient
    token: str


def api_app(**options: Any) -> TaskQ:
    """Tasks of every kind that the API knows."""
    app = TaskQ("shop", queues=[Queue("default"), Queue("slow"), Queue("ledger.fifo")], **options)

    @app.task(name="shop:resize", http=True, record="queued", schedule=Schedule(rate("1 day"), args=("a.png",)))
    def resize(path: str, width: int = 100) -> dict[str, Any]:
        return {"path": path, "width": width}

    @app.task(name="shop:login", http=True, record="queued", redact=["password"], retry=Retry(max_attempts=1))
    def login(user: str, password: str, options: dict[str, Any] | None = None) -> dict[str, str]:
        if user == "mallory":
            raise PermissionError("not here")
        return {"user": user, "password": password}

    @app.task(name="shop:anything", http=True, record="queued")
    def anything(*args: Any, **kwargs: Any) -> None: ...

    @app.task(name="shop:book", http=True, queue="ledger.fifo", group="books")
    def book(order: str) -> None: ...

    @app.task(name="shop:internal", retry=Retry(max_attempts=1))
    def internal(value: str = "") -> None:
        raise ValueError(f"{value} is wrong")

    return app


@contextmanager
def served(app: TaskQ | None = None, **options: Any) -> Iterator[Served]:
    """Serve an app in memory; `client` may do everything, `stranger` has no credentials."""
    app = app or api_app()
    token, digest = new_token()
    read, read_digest = new_token()
    send, send_digest = new_token()
    tokens = {
        "boss": {"hash": digest, "scopes": list(SCOPES)},
        "reader": {"hash": read_digest, "scopes": ["read"]},
        "sender": {"hash": send_digest, "scopes": ["enqueue"]},
    }
    with in_memory(app) as memory:
        api = app.api(**{"tokens": tokens, "auth": "tokens", **options})

        def client(token: str | None) -> TestClient:
            headers = {} if token is None else {"Authorization": f"Bearer {token}"}
            return TestClient(api, base_url="https://api.example.com", headers=headers)

        with client(token) as all, client(read) as reader, client(send) as sender, client(None) as nobody:
            yield Served(app, memory, all, reader, sender, nobody, token)
