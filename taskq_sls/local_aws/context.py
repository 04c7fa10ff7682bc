"""The context object that a Lambda handler gets."""

from __future__ import annotations

import os
import uuid

from ..core.clock import Clock, SystemClock


class LambdaContext:
    """Lambda's context object, the second argument of a handler, with the same attribute names and types.

    Args:
        timeout: seconds until the deadline, counted from now.
        deadline: epoch seconds of the deadline; instead of `timeout`.
        clock: source of the remaining time. A test that moves it reaches the deadline at once.
        aws_request_id: the invocation's id; a new UUID by default.
        function_name: default AWS_LAMBDA_FUNCTION_NAME, else ``taskq``.
        function_version: default AWS_LAMBDA_FUNCTION_VERSION, else ``$LATEST``.
        memory_limit_in_mb: default AWS_LAMBDA_FUNCTION_MEMORY_SIZE, else ``128``; a string, as in Lambda.
        invoked_function_arn: default made of AWS_REGION and the name.
        log_group_name: default AWS_LAMBDA_LOG_GROUP_NAME, else made of the name.
        log_stream_name: default AWS_LAMBDA_LOG_STREAM_NAME, else ``local``.
    """

    def __init__(
        self,
        *,
        timeout: float = 30.0,
        deadline: float | None = None,
        clock: Clock | None = None,
        aws_request_id: str | None = None,
        function_name: str | None = None,
        function_version: str | None = None,
        memory_limit_in_mb: str | int | None = None,
        invoked_function_arn: str | None = None,
        log_group_name: str | None = None,
        log_stream_name: str | None = None,
    ) -> None:
        environment = os.environ.get
        self._clock: Clock = clock or SystemClock()
        self._deadline = self._clock.time() + timeout if deadline is None else deadline
        self.aws_request_id = aws_request_id or str(uuid.uuid4())
        self.function_name = function_name or environment("AWS_LAMBDA_FUNCTION_NAME", "taskq")
        self.function_version = function_version or environment("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
        self.memory_limit_in_mb = str(memory_limit_in_mb or environment("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"))
        self.invoked_function_arn = invoked_function_arn or function_arn(
            self.function_name, environment("AWS_REGION", "us-east-1")
        )
        self.log_group_name = log_group_name or environment(
            "AWS_LAMBDA_LOG_GROUP_NAME", f"/aws/lambda/{self.function_name}"
        )
        self.log_stream_name = log_stream_name or environment("AWS_LAMBDA_LOG_STREAM_NAME", "local")
        self.identity: object | None = None
        self.client_context: object | None = None

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the deadline, at least 0."""
        return max(0, int((self._deadline - self._clock.time()) * 1000))


def function_arn(name: str, region: str) -> str:
    """The ARN of a local function, in moto's account."""
    return f"arn:aws:lambda:{region}:123456789012:function:{name}"
