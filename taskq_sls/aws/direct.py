"""Frequent calls, sent without botocore's work for each request.

Only half of the CPU time of an ``UpdateItem`` over aiobotocore goes into signing and sending; the rest computes the same
URL and headers every time. So the first call of an operation goes through botocore, and its URL and headers are kept. Later
calls send the same request with another body, over the same connections and signer, and so with the client's credentials,
proxies and TLS. If the direct request fails, botocore makes the remaining attempts.

Off by default: a tracer that instruments botocore or aiobotocore sees only the first call of each operation, and cannot add
its header to the others.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import random
import re
import zlib
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, NamedTuple

from aiobotocore.httpsession import AIOHTTPSession
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSPreparedRequest, AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError, ChecksumError, ClientError, IncompleteReadError
from botocore.handlers import add_recursion_detection_header
from botocore.parsers import create_parser

from ..errors import ConfigError
from .answers import check_length, parse_answer, readable_refusal, translate

DIRECT_OPERATIONS = frozenset(
    {
        "batch_get_item",
        "batch_write_item",
        "change_message_visibility_batch",
        "delete_message_batch",
        "get_item",
        "put_item",
        "query",
        "receive_message",
        "send_message_batch",
        "update_item",
    }
)
"""Operations with plain JSON on the wire: no times, and bytes only in answers."""

MAX_BODY_BYTES = 1_048_576
"""botocore streams larger bodies, so that they do not block the loop."""

_JSON = "application/x-amz-json-1.0"

_PER_REQUEST_HEADERS = (
    "authorization",
    "content-length",
    "date",
    "transfer-encoding",
    "x-amz-content-sha256",
    "x-amz-date",
    "x-amz-security-token",
    "x-amzn-trace-id",
    "amz-sdk-",
)
"""Headers, or their prefixes, that differ in each request."""

_SIGNS = (b"null", b'"B"', b'"BS"', b'"Binary')
_OTHER_THAN_JSON = re.compile(rb'"(?<!\\")(?:\s*:\s*null|(?:B|BS|BinaryValue|BinaryListValues)"\s*:)')
"""Parts of an answer that botocore does not return as they are: it drops null members and decodes bytes.

Quotes in a text are escaped, so text does not match. `_SIGNS` are a faster first check.
"""

_FIRST_WAS_DIRECT: ContextVar[bool] = ContextVar("first_was_direct", default=False)

_encode = json.JSONEncoder(separators=(",", ":")).encode


def direct_calls_enabled() -> bool:
    """True if ``TASKQ_DIRECT_CALLS`` is on. The default is off.

    Raises:
        ConfigError: it is neither.
    """
    text = os.environ.get("TASKQ_DIRECT_CALLS") or "off"
    if text not in ("on", "off"):
        raise ConfigError(f"TASKQ_DIRECT_CALLS={text!r} must be on or off")
    return text == "on"


class _Learned(NamedTuple):
    """The common parts of an operation's requests. `traced`: each gets its own header for Lambda's traces."""

    url: str
    headers: dict[str, str]
    signer: Any
    signing: tuple[str, str, str]
    traced: bool


class _Request(AWSRequest):
    """A request with a body of bytes. The signer reads it; botocore would prepare the whole request for that."""

    @property
    def body(self) -> Any:
        return self.data


class DirectCalls:
    """The direct calls of one aiobotocore client.

    Args:
        attempts: tries of one call, the direct one included; the others are botocore's.
    """

    def __init__(self, attempts: int) -> None:
        self._attempts = attempts
        self._learned: dict[str, _Learned] = {}
        self._models: dict[str, Any] = {}
        self._session: Any = None

    def session_class(self) -> type:
        """The ``http_session_cls`` of the client's configuration; it shares its connections with direct calls."""
        direct = self

        class Shared(AIOHTTPSession):
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(*args, **kwargs)
                direct._session = self

        return Shared

    def attach(self, client: Any) -> None:
        """Keep URL and headers of the requests of `client`."""
        service = client.meta.service_model
        # Registered before the handler of the client's retries, which counts the attempts that it allows.
        client.meta.events.register_first(f"needs-retry.{service.service_id.hyphenize()}", self._end)
        for method, name in client.meta.method_to_api_mapping.items():
            if method in DIRECT_OPERATIONS:
                self._models[method] = service.operation_model(name)
                event = f"before-sign.{service.service_id.hyphenize()}.{name}"
                client.meta.events.register(event, functools.partial(self._learn, method))

    def _end(self, attempts: int, operation: Any, response: Any, caught_exception: Any, **_: Any) -> None:
        """Stop botocore's retries once they and the direct call together reach `max_attempts`.

        It raises, because in aiobotocore 2 every result of ``needs-retry`` but None means another attempt.
        """
        if not _FIRST_WAS_DIRECT.get() or attempts + 1 < self._attempts:
            return
        if caught_exception is not None:
            raise caught_exception
        if response[0].status_code >= 300:
            raise ClientError(response[1], operation.name)

    def _learn(
        self,
        method: str,
        *,
        request: Any,
        signing_name: str,
        region_name: str,
        signature_version: str,
        request_signer: Any,
        **_: Any,
    ) -> None:
        self._learned.pop(method, None)
        signing = request.context.get("signing", {})
        headers = {
            name: value.decode() if isinstance(value, bytes) else value for name, value in request.headers.items()
        }
        plain = request.method == "POST" and headers.get("Content-Type") == _JSON
        if not plain or signature_version != "v4" or not signing.keys() <= {"region", "signing_name"}:
            return
        kept = {name: value for name, value in headers.items() if not name.lower().startswith(_PER_REQUEST_HEADERS)}
        # Else the signer would compute it from the URL each time.
        kept["Host"] = SigV4Auth(Credentials("", ""), "", "").headers_to_sign(AWSRequest("POST", request.url))["host"]
        name, region = signing.get("signing_name") or signing_name, signing.get("region") or region_name
        self._learned[method] = _Learned(
            url=request.url,
            headers=kept,
            signer=request_signer,
            signing=(name, region, signature_version),
            traced="AWS_LAMBDA_FUNCTION_NAME" in os.environ,
        )

    async def call(
        self, operation: str, params: dict[str, Any], method: Callable[..., Awaitable[dict[str, Any]]]
    ) -> dict[str, Any]:
        """Call an operation directly, or by the client's own `method` if that is not possible or fails in passing.

        Raises:
            ClientError: the service refused.
            BotoCoreError: the service could not be reached.
        """
        learned = self._learned.get(operation)
        body = None if learned is None else _body(params)
        if learned is None or body is None:
            return await method(**params)
        request = _Request("POST", learned.url, headers=learned.headers, data=body)
        if learned.traced:
            add_recursion_detection_header({"headers": request.headers})
        auth = await learned.signer.get_auth_instance(*learned.signing)
        auth.add_auth(request)
        prepared = AWSPreparedRequest("POST", learned.url, request.headers, body, False)
        # Before 1.43.68 botocore has no such attribute, and no argument for it.
        prepared.context = request.context
        try:
            response = await self._session.send(prepared)
            content = await response.content
            if response.status_code >= 300:
                _check_sum(response.headers, content)
                raise self._refusal(operation, response, content)
            answer = self._answer(operation, response, content)
            _check_sum(response.headers, content)
        except IncompleteReadError:
            raise
        except (BotoCoreError, ClientError) as error:
            known = translate(operation, error)
            if self._attempts < 2 or not getattr(known, "transient", False):
                raise
        else:
            return answer
        # As botocore waits before its first retry (its documentation, "standard retry mode").
        await asyncio.sleep(random.random())
        token = _FIRST_WAS_DIRECT.set(True)
        try:
            return await method(**params)
        finally:
            _FIRST_WAS_DIRECT.reset(token)

    def _answer(self, operation: str, response: Any, content: bytes) -> dict[str, Any]:
        model = self._models[operation]
        check_length(response.headers, content)
        answer = parse_answer(model, content)
        if any(sign in content for sign in _SIGNS) and _OTHER_THAN_JSON.search(content):
            parsed: dict[str, Any] = create_parser("json").parse(_parts(response, content), model.output_shape)
            return parsed
        return answer

    def _refusal(self, operation: str, response: Any, content: bytes) -> ClientError:
        """The error that botocore would raise."""
        model = self._models[operation]
        parser = create_parser("json")
        parts = _parts(response, readable_refusal(content))
        parsed = parser.parse(parts, model.output_shape)
        shape = model.service_model.shape_for_error_code(parsed.get("Error", {}).get("Code"))
        if shape is not None:
            parsed.update(parser.parse(parts, shape))
        return ClientError(parsed, model.name)


def _parts(response: Any, body: bytes) -> dict[str, Any]:
    """An answer in the form of botocore's parsers."""
    return {"status_code": response.status_code, "headers": response.headers, "body": body, "context": {}}


def _body(params: dict[str, Any]) -> bytes | None:
    """The body of a request; None if botocore must encode it."""
    try:
        body = _encode(params).encode()
    except (TypeError, ValueError):  # such as bytes, which botocore can encode
        return None
    return body if len(body) <= MAX_BODY_BYTES else None


def _check_sum(headers: Any, body: bytes) -> None:
    """Raise ChecksumError if an answer does not have DynamoDB's checksum."""
    expected = headers.get("x-amz-crc32")
    if expected is not None and expected != (actual := str(zlib.crc32(body))):
        raise ChecksumError(checksum_type="crc32", expected_checksum=expected, actual_checksum=actual)
