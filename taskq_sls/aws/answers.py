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
    check_length(response_dict["headers"], body)
    protocol = operation_model.service_model.protocol
    if response_dict["status_code"] >= 300:
        if protocol.endswith("json"):
            response_dict["body"] = legible(body)
    elif protocol == "json":
        parse_answer(operation_model, body)


def check_length(headers: Any, body: bytes) -> None:
    """Raise IncompleteReadError if a body is not as long as its headers say."""
    length = headers.get("content-length")
    if length is not None and len(body) != int(length):
        raise IncompleteReadError(actual_bytes=len(body), expected_bytes=length)


def parse_answer(operation_model: Any, body: bytes) -> dict[str, Any]:
    """What succeeded answers with an object, if the operation answers anything at all; else IncompleteReadError."""
    if not body and not operation_model.output_shape:
        return {}
    expected: Any = "a whole JSON object"  # stands in the message
    for parse in (from_json, json.loads):  # the second, which botocore uses, takes what the fast one refuses
        try:
            answer = parse(body)
        except (ValueError, RecursionError):
            continue
        if isinstance(answer, dict):
            return answer
    raise IncompleteReadError(actual_bytes=len(body), expected_bytes=expected)


_TEXTS = ("__type", "code", "Code", "message", "Message")


def legible(body: bytes) -> bytes:
    """A refusal as botocore reads one, which stumbles over what is not UTF-8, not an object, or has no texts in it.

    What stands between us and the service may refuse in any form: ``"Service Unavailable"``, a page in Latin-1.
    """
    text = body.decode(errors="replace")
    try:
        said = json.loads(text)
    except ValueError:  # botocore takes it for the message
        return text.encode()
    except RecursionError:
        said = None
    if isinstance(said, dict) and all(isinstance(said.get(name), str | None) for name in _TEXTS):
        return body
    return json.dumps({"message": text}).encode()
