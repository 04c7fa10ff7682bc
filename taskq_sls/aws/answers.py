"""Answers of botocore: truncated ones are detected, and its exceptions become the library's."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from botocore import exceptions as botocore
from botocore.exceptions import IncompleteReadError
from botocore.parsers import ResponseParserError
from pydantic_core import from_json

from ..errors import AwsError, ConfigError
from .port import FAULT_CODES, SIGNATURE_CODES, THROTTLING_CODES, TRANSIENT_CODES, plain_code


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


def translate(operation: str, error: Exception) -> AwsError | ConfigError | None:
    """The error to raise for a failed call; None if it came neither from AWS nor from the network.

    Args:
        operation: botocore's method name, or ``create_client``.
    """
    if isinstance(error, botocore.ClientError):
        return _answered(operation, error)
    for kind, fix in _CONFIGURATION:
        if isinstance(error, kind):
            return ConfigError(f"{operation}: {error}; {fix}")
    name = type(error).__name__
    if isinstance(error, _NO_CREDENTIALS_NOW):
        return AwsError(operation, name, str(error), transient=True)
    if isinstance(error, botocore.ConnectionError):
        return AwsError(operation, name, str(error), transient=True, ambiguous=not _never_sent(error))
    if isinstance(error, _ANSWER_LOST) or type(error).__module__.startswith("aiohttp"):
        return AwsError(operation, name, str(error), transient=True, ambiguous=True)
    if isinstance(error, botocore.BotoCoreError):
        return AwsError(operation, name, str(error))
    return None


def raise_translated(error: Exception, known: AwsError | ConfigError | None) -> NoReturn:
    """Raise the translation of a caught error, or the error itself if it has none."""
    if known is None:
        raise error
    raise known from error


def translate_creation(service: str, error: Exception) -> AwsError | ConfigError | None:
    """The error to raise for a client that could not be created."""
    if isinstance(error, ConfigError):
        return None
    # botocore reports a malformed endpoint URL as a plain ValueError.
    if isinstance(error, ValueError | botocore.DataNotFoundError):
        return ConfigError(
            f"no client for {service!r} can be created: {error}; check AWS_ENDPOINT_URL (with http:// or https://), "
            "AWS_DEFAULT_REGION and the AWS configuration file"
        )
    return translate("create_client", error)


_CREDENTIALS = (
    "give credentials: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or a role "
    "(any value does for an endpoint of moto)"
)
_SIGN_IN = "sign in again (aws sso login, aws login)"
_ENDPOINT = "check AWS_ENDPOINT_URL (with http:// or https://) and AWS_DEFAULT_REGION"

_CONFIGURATION: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str], ...] = (
    (botocore.NoRegionError, "set AWS_DEFAULT_REGION, or a region in the AWS profile"),
    ((botocore.NoCredentialsError, botocore.PartialCredentialsError, botocore.NoAuthTokenError), _CREDENTIALS),
    ((botocore.SSOError, botocore.TokenRetrievalError), _SIGN_IN),
    (botocore.ProfileNotFound, "set AWS_PROFILE to a profile of the AWS configuration, or unset it"),
    (
        (botocore.ConfigParseError, botocore.ConfigNotFound, botocore.InvalidConfigError),
        "correct the AWS configuration file (AWS_CONFIG_FILE)",
    ),
    (
        (
            botocore.BaseEndpointResolverError,
            botocore.InvalidRegionError,
            botocore.InvalidEndpointConfigurationError,
            botocore.EndpointProviderError,
        ),
        _ENDPOINT,
    ),
    (
        (botocore.InvalidProxiesConfigError, botocore.InvalidRetryConfigurationError, botocore.InvalidDefaultsMode),
        "correct the AWS settings in the environment or the AWS configuration file",
    ),
)

_NO_CREDENTIALS_NOW = (
    botocore.CredentialRetrievalError,
    botocore.MetadataRetrievalError,
)

_ANSWER_LOST = (
    botocore.HTTPClientError,
    botocore.IncompleteReadError,
    botocore.ChecksumError,
    botocore.FlexibleChecksumError,
    ResponseParserError,
    OSError,
)


def _answered(operation: str, error: botocore.ClientError) -> AwsError:
    body: dict[str, Any] = dict(error.response)
    fault = body.get("Error", {})
    status = body.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    code = plain_code(str(fault.get("Code", "Unknown")))
    throttled = code in THROTTLING_CODES or status == 429
    message = fault.get("Message") or str(error)
    return AwsError(
        operation,
        code,
        message,
        status=status,
        # 408: a proxy did not get the request in time.
        transient=throttled or code in TRANSIENT_CODES or status >= 500 or status == 408 or _skewed(code, message),
        ambiguous=not throttled and (status >= 500 or code in FAULT_CODES),
        body=body,
    )


def _skewed(code: str, message: str) -> bool:
    """True if a signature was refused for its time: this machine's clock is being set, or the request was slow."""
    return code in SIGNATURE_CODES and ("expired" in message or "not yet current" in message)


# Connection errors of requests that were never sent. aiobotocore also raises EndpointConnectionError if a connection broke
# during a request, so its cause decides.
_BEFORE_SENDING = frozenset({"ClientConnectorError", "NewConnectionError", "ConnectionRefusedError", "gaierror"})


def _never_sent(error: Exception) -> bool:
    if isinstance(error, botocore.ConnectTimeoutError | botocore.ProxyConnectionError):
        return True
    cause = getattr(error, "kwargs", {}).get("error")
    return any(kind.__name__ in _BEFORE_SENDING for kind in type(cause).__mro__)
