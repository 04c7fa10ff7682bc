"""What a type checker must accept and refuse of event routes. Checked by mypy, never run.

Each refused line carries the error it must give.
"""

from __future__ import annotations

from typing import assert_type

from taskq_sls import TaskContext, TaskHandle, TaskQ

app = TaskQ("typing")


@app.on_event(source="aws.s3", arguments={"path": "detail.object.key"})
@app.task
def resize(path: str, width: int = 100) -> str:
    return f"{path}-{width}"


@app.on_event(source=["aws.s3", {"prefix": "shop."}], detail_type="Object Created")
@app.task(timeout=5)
async def fetch(ctx: TaskContext, url: str) -> bytes:
    return url.encode()


@app.on_event(source="aws.s3", queue="slow")
def plain(ctx: TaskContext, path: str) -> int:
    return len(path)


@app.on_event(source="aws.s3")
async def plain_async(path: str) -> int:
    return len(path)


async def a_route_leaves_a_task_its_types() -> None:
    assert_type(resize.enqueue("a.png", width=200), TaskHandle[str])
    assert_type(resize("a.png"), str)
    assert_type(await fetch.aenqueue("u"), TaskHandle[bytes])
    assert_type(plain.enqueue("a.png"), TaskHandle[int])
    assert_type(await plain_async("a.png"), int)
    resize.enqueue(1)  # type: ignore[arg-type]
    fetch.enqueue()  # type: ignore[call-arg]
    plain.enqueue(b"a")  # type: ignore[arg-type]


def sources_are_text_or_prefixes() -> None:
    app.on_event(detail_type="Object Created")  # type: ignore[call-arg]
    app.on_event(source=5)  # type: ignore[arg-type]
    assert_type(app.event_handler(unmatched="drop")({}), dict[str, list[str]])
    app.event_handler(unmatched="ignore")  # type: ignore[arg-type]
