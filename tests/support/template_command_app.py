"""A small app whose template a command prints."""

from __future__ import annotations

from taskq_sls import Queue, TaskQ, rate

app = TaskQ("small", queues=[Queue("default", function_timeout=60), Queue("elsewhere")])


@app.task(schedule=rate("1 day"))
def tidy() -> None:
    """Nothing to do."""
