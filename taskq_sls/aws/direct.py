"""Hot calls, made without building, resolving and parsing each one anew.

Of the CPU time of an ``UpdateItem`` over aiobotocore only half goes into signing and sending it; the rest finds out
again what is the same every time. So the first call of an operation is botocore's, and shows where such calls go and
which headers they carry; those after it repeat that request with a body of their own, over the same connections and
with the same signer, and so with the client's credentials, proxies and TLS. What fails on the way is botocore's again.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import random
from typing import Any, NamedTuple

from aiobotocore.httpsession import AIOHTTPSession
from botocore.awsrequest import AWSRequest
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import create_parser

from ..errors import ConfigError
from .answers import check_length, parse_answer
from .errors import translate

HOT = frozenset(
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
"""Operations whose parameters and answers are plain JSON on the wire: no times, and no bytes that we send."""

LARGEST = 1_048_576
"""Bytes of a body. A larger one is streamed by botocore's way, so that it does not hold up the loop."""

_JSON = "application/x-amz-json-1.0"

_OF_ONE_REQUEST = (
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
"""Headers, or how their names begin, that say something about one request."""


_encode = json.JSONEncoder(separators=(",", ":")).encode


def wanted() -> bool:
    """Whether calls are made directly: ``TASKQ_DIRECT_CALLS``, on (the default) or off.

    Raises:
        ConfigError: it is neither.
    """
    text = os.environ.get("TASKQ_DIRECT_CALLS") or "on"
    if text not in ("on", "off"):
        raise ConfigError(f"TASKQ_DIRECT_CALLS={text!r} must be on or off")
    return text == "on"


class _Learned(NamedTuple):
    """What the requests of an operation have in common."""

    url: str
    headers: dict[str, str]
    signer: Any
    signing: tuple[str, str, str]


class DirectCalls:
    """The hot operations of one aiobotocore client.

    Args:
        repeat: whether botocore may try again what failed in passing.
    """

    def __init__(self, repeat: bool) -> None:
        self._repeat = repeat
        self._learned: dict[str, _Learned] = {}
        self._models: dict[str, Any] = {}
        self._session: Any = None

    def session_class(self) -> type:
        """The ``http_session_cls`` for the client's configuration: what it opens connections with is shared."""
        direct = self

        class Shared(AIOHTTPSession):
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(*args, **kwargs)
                direct._session = self

        return Shared

    def attach(self, client: Any) -> None:
        """Learn from the requests of `client`."""
        service = client.meta.service_model
        for method, name in client.meta.method_to_api_mapping.items():
            if method in HOT:
                self._models[method] = service.operation_model(name)
                event = f"before-sign.{service.service_id.hyphenize()}.{name}"
                client.meta.events.register(event, functools.partial(self._learn, method))

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
        if (
            signature_version != "v4"
            or not signing.keys() <= {"region", "signing_name"}
            or request.method != "POST"
            or headers.get("Content-Type") != _JSON
        ):
            return
        self._learned[method] = _Learned(
            request.url,
            {name: value for name, value in headers.items() if not name.lower().startswith(_OF_ONE_REQUEST)},
            request_signer,
            (signing.get("signing_name") or signing_name, signing.get("region") or region_name, signature_version),
        )

    async def call(self, operation: str, params: dict[str, Any]) -> dict[str, Any] | None:
        """The answer to a hot call; None if botocore must make it.

        Raises:
            ClientError: the service refused, and another try would not change that.
            BotoCoreError: the same for the way to it.
        """
        learned = self._learned.get(operation)
        if learned is None:
            return None
        try:
            body = _encode(params).encode()
        except (TypeError, ValueError):  # such as bytes, which botocore knows how to write
            return None
        if len(body) > LARGEST:
            return None
        request = AWSRequest("POST", learned.url, headers=learned.headers, data=body)
        auth = await learned.signer.get_auth_instance(*learned.signing)
        auth.add_auth(request)
        try:
            response = await self._session.send(request.prepare())
            content = await response.content
            if response.status_code >= 300:
                raise self._refusal(operation, response, content)
        except (BotoCoreError, ClientError) as error:
            known = translate(operation, error)
            if not self._repeat or not getattr(known, "transient", False):
                raise
            # As long as botocore waits before its first retry (its documentation, "standard retry mode").
            await asyncio.sleep(random.random())
            return None
        check_length(response.headers, content)
        answer = parse_answer(self._models[operation], content)
        return _without_nulls(answer) if b"null" in content else answer

    def _refusal(self, operation: str, response: Any, content: bytes) -> ClientError:
        """The error that botocore would have raised."""
        model = self._models[operation]
        parser = create_parser("json")
        parts = {"status_code": response.status_code, "headers": response.headers, "body": content, "context": {}}
        parsed = parser.parse(parts, model.output_shape)
        shape = model.service_model.shape_for_error_code(parsed.get("Error", {}).get("Code"))
        if shape is not None:
            parsed.update(parser.parse(parts, shape))
        return ClientError(parsed, model.name)


def _without_nulls(value: Any) -> Any:
    """A member that is null is absent, as it is to botocore."""
    if isinstance(value, dict):
        return {key: _without_nulls(each) for key, each in value.items() if each is not None}
    if isinstance(value, list):
        return [_without_nulls(each) for each in value]
    return value
