"""Limits of the services in front of a Lambda function, and the limits of the API that follow from them."""

from __future__ import annotations

MAX_REQUEST_BYTES = 6_000_000
"""Bytes of a request's body (Lambda quotas: a synchronous payload has 6 MB)."""

MAX_ANONYMOUS_REQUEST_BYTES = 10_000
"""Bytes of a body without credentials, such as a login form."""

MAX_ANSWER_BYTES = 2_900_000
"""Bytes of an answer: half of Lambda's 6 MB, as each quote in a JSON body is escaped there and so counts twice."""

MAX_LAMBDA_ANSWER_BYTES = 6_000_000
"""Bytes of an answer as Lambda returns it (Lambda quotas: a synchronous payload has 6 MB)."""

MAX_LOAD_BALANCER_ANSWER_BYTES = 1_000_000
"""The same behind a load balancer (Lambda functions as targets of Application Load Balancers)."""

MAX_REQUEST_SECONDS = 28.0
"""Seconds for one request: API Gateway times out after 29 or 30 (API Gateway quotas, integration timeout)."""

LAMBDA_MARGIN_SECONDS = 1.0
"""Seconds kept free before the timeout of the Lambda function."""

MAX_WAIT_SECONDS = 25.0
"""Seconds that a request may wait for a task."""

MAX_CHECK_SECONDS = 8.0
"""Seconds that the readiness check waits for each service, all at once. Load balancers and monitors wait no longer."""

MAX_LONG_POLLS = 50
"""Requests of one process that may wait for a task at once: a client of the table has as many connections."""

WAIT_MARGIN_SECONDS = 2.0
"""Seconds of a request's time that are kept for the work after a wait."""

MAX_BATCH_TASKS = 500
"""Tasks of one batch: 50 calls to SQS, which fit into a request's time."""

MAX_PAGE_RECORDS = 100
"""Records of one page, each a few kilobytes."""

MAX_TEXT_CHARACTERS = 2_000
"""Characters of a long text in a listing."""

MAX_LABELS = 50
"""Labels of one task in a listing."""

MAX_DEAD_LETTERS = 200
"""Dead letters of one listing, redrive or purge."""

MAX_DEAD_LETTERS_READ = 2_000
"""Messages that one request receives from dead-letter queues."""


def clipped(text: str, most: int = MAX_TEXT_CHARACTERS) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
