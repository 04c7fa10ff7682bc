"""Answers that were cut short must not pass for empty ones."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import IncompleteReadError


def check_answers(client: Any) -> None:
    """Let a botocore client raise IncompleteReadError for an answer shorter than it says it is.

    botocore does not compare the length, and reads JSON that breaks off as an empty answer: a record that
    exists would seem absent.
    """
    client.meta.events.register("before-parse", _check_length)


def read_body(stream: Any) -> bytes:
    """Read a streamed body to its end. botocore's stream compares the length."""
    try:
        body: bytes = stream.read()
    finally:
        stream.close()
    return body


def _check_length(operation_model: Any, response_dict: dict[str, Any], **_: Any) -> None:
    body = response_dict["body"]
    # Streams count for themselves; an answer to HEAD tells the length of what it leaves out.
    if not isinstance(body, bytes) or operation_model.http.get("method") == "HEAD":
        return
    headers = response_dict["headers"]
    length = headers.get("content-length")
    if length is not None:
        whole = len(body) == int(length)
    else:
        # A head that broke off has no length either. The JSON protocols always answer with an object.
        whole = bool(body) or operation_model.service_model.protocol != "json"
    if not whole:
        raise IncompleteReadError(actual_bytes=len(body), expected_bytes=length)
