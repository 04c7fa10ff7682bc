"""Detection of truncated answers, which botocore would parse as empty ones."""

from __future__ import annotations

import json
from typing import Any

from botocore.exceptions import IncompleteReadError
from pydantic_core import from_json


def check_answers(client: Any) -> None:
    """Make a client raise IncompleteReadError for truncated answers.

    botocore does not check the length, and parses truncated or missing JSON as an empty answer: an existing record would
    seem absent, and a write lost in a proxy would seem done.
    """
    client.meta.events.register("before-parse", _check_whole)


def read_body(stream: Any) -> bytes:
    """Read a streamed body to its end. botocore's stream checks the length."""
    try:
        body: bytes = stream.read()
    finally:
        stream.close()
    return body


def _check_whole(operation_model: Any, response_dict: dict[str, Any], **_: Any) -> None:
    body = response_dict["body"]
    # Streams check their own length; an answer to HEAD has the length of a body that it does not have.
    if not isinstance(body, bytes) or operation_model.http.get("method") == "HEAD":
        return
    check_length(response_dict["headers"], body)
    protocol = operation_model.service_model.protocol
    if response_dict["status_code"] >= 300:
        if protocol.endswith("json"):
            response_dict["body"] = readable_refusal(body)
    elif protocol == "json":
        parse_answer(operation_model, body)


def check_length(headers: Any, body: bytes) -> None:
    """Raise IncompleteReadError if a body does not have its content-length."""
    length = headers.get("content-length")
    if length is not None and len(body) != int(length):
        raise IncompleteReadError(actual_bytes=len(body), expected_bytes=length)


def parse_answer(operation_model: Any, body: bytes) -> dict[str, Any]:
    """The JSON object in a successful answer, {} if the operation has no output; else IncompleteReadError."""
    if not body and not operation_model.output_shape:
        return {}
    expected: Any = "a whole JSON object"  # shown in the error's message
    for parse in (from_json, json.loads):  # botocore uses the second, which is slower and more lenient
        try:
            answer = parse(body)
        except (ValueError, RecursionError):
            continue
        if isinstance(answer, dict):
            return answer
    raise IncompleteReadError(actual_bytes=len(body), expected_bytes=expected)


_TEXTS = ("__type", "code", "Code", "message", "Message")


def readable_refusal(body: bytes) -> bytes:
    """The body of a refusal in a form that botocore can parse: UTF-8, a JSON object, with texts as strings.

    Proxies refuse in any form: ``"Service Unavailable"``, a page in Latin-1.
    """
    text = body.decode(errors="replace")
    try:
        refusal = json.loads(text)
    except ValueError:  # botocore uses it as the message
        return text.encode()
    except RecursionError:
        refusal = None
    if isinstance(refusal, dict) and all(isinstance(refusal.get(name), str | None) for name in _TEXTS):
        return body
    return json.dumps({"message": text}).encode()
