"""What the front of a Lambda function lets through, and what of it is used here."""

from __future__ import annotations

MAX_REQUEST_BYTES = 6_000_000
"""Bytes of a request's body; Lambda takes 6 MB in all (Lambda quotas, synchronous payload)."""

MAX_ANONYMOUS_REQUEST_BYTES = 10_000
"""Bytes of a request's body from a caller without credentials: a login form."""

MAX_ANSWER_BYTES = 2_900_000
"""Bytes of an answer. Lambda gives back 6 MB, in which every quote of a JSON body is escaped and so counts twice."""

MAX_LAMBDA_ANSWER_BYTES = 6_000_000
"""Bytes of an answer as Lambda gives it back (Lambda quotas, synchronous payload)."""

MAX_LOAD_BALANCER_ANSWER_BYTES = 1_000_000
"""The same behind a load balancer (Lambda functions as targets of Application Load Balancers)."""

MAX_REQUEST_SECONDS = 28.0
"""Seconds for one request: API Gateway gives up after 29 or 30 (API Gateway quotas, integration timeout)."""

LAMBDA_MARGIN_SECONDS = 1.0
"""Seconds before the end of the Lambda function at which an answer must be ready."""

MAX_WAIT_SECONDS = 25.0
"""Seconds for which a request may wait for a task."""

MAX_CHECK_SECONDS = 8.0
"""Seconds for which readiness waits for a service. All are asked at once: load balancers and monitors wait no longer."""

MAX_LONG_POLLS = 50
"""Requests of one process that wait for a task at once: as many as a client keeps connections."""

WAIT_MARGIN_SECONDS = 2.0
"""Seconds that are kept of a request's time for what comes after the wait."""

MAX_BATCH_TASKS = 500
"""Tasks of one batch: fifty calls of the queue, which fit a request's time."""

MAX_PAGE_RECORDS = 100
"""Records of one page; each is shown in a few kilobytes."""

MAX_TEXT_CHARACTERS = 2_000
"""Characters shown of a long text in a listing."""

MAX_LABELS = 50
"""Labels shown of one task in a listing."""

MAX_DEAD_LETTERS = 200
"""Dead letters of one listing, redrive or purge."""

MAX_DEAD_LETTERS_READ = 2_000
"""Messages of a dead-letter queue that one request looks at."""


def clipped(text: str, most: int = MAX_TEXT_CHARACTERS) -> str:
    """A text as a listing shows it."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
