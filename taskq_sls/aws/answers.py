"""Answers that were cut short must not pass for empty ones."""

from __future__ import annotations

import json
from typing import Any

from botocore.exceptions import IncompleteReadError
from pydantic_core import from_json


def check_answers(client: Any) -> None:
    """Let a client raise IncompleteReadError for an answer that is not whole.

    botocore does not compare the length, and reads JSON that breaks off, or nothing, as an empty answer: a record that
    exists would seem absent, and a write that a proxy swallowed would seem done.
    """
    client.meta.events.register("before-parse", _check_whole)


def read_body(stream: Any) -> bytes:
    """Read a streamed body to its end. botocore's stream compares the length."""
    try:
        body: bytes = stream.read()
    finally:
        stream.close()
    return body


def _check_whole(operation_model: Any, response_dict: dict[str, Any], **_: Any) -> None:
    body = response_dict["body"]
    # Streams count for themselves; an answer to HEAD tells the length of what it leaves out.
    if not isinstance(body, bytes) or operation_model.http.get("method") == "HEAD":
        return
    length = response_dict["headers"].get("content-length")
    whole, expected = length is None or len(body) == int(length), length
    # What failed may have any body. What succeeded answers with an object, if the operation answers anything at all.
    if whole and response_dict["status_code"] < 300 and operation_model.service_model.protocol == "json":
        whole = _is_object(body) if body else not operation_model.output_shape
        expected = "a whole JSON object"
    if not whole:
        raise IncompleteReadError(actual_bytes=len(body), expected_bytes=expected)


def _is_object(body: bytes) -> bool:
    for parse in (from_json, json.loads):  # the second, which botocore uses, takes what the fast one refuses
        try:
            return isinstance(parse(body), dict)
        except ValueError:
            continue
    return False
