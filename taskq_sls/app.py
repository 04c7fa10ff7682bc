"""``TaskQ``: an app with the drivers that run its tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .client.app import App

if TYPE_CHECKING:
    from .serverless.events import EventHandler, Unmatched
    from .serverless.handler import LambdaHandler
    from .web.app import Api
    from .web.serverless import ApiHandler
    from .worker.worker import Worker


class TaskQ(App):
    __doc__ = App.__doc__

    def worker(self, **options: Any) -> Worker:
        """A long-polling worker of this app; ``.run()`` returns after SIGTERM.

        Args:
            options: see `taskq_sls.worker.Worker`: concurrency, queues, burst, ...
        """
        from .worker.worker import Worker

        return Worker(self, **options)

    def lambda_handler(self, **options: Any) -> LambdaHandler:
        """The Lambda handler of SQS events: ``handler = app.lambda_handler()``.

        Args:
            options: see `taskq_sls.serverless.handler.LambdaHandler`: concurrency, margin.
        """
        from .serverless.handler import LambdaHandler

        return LambdaHandler(self, **options)

    def event_handler(self, *, unmatched: Unmatched = "raise") -> EventHandler:
        """The Lambda handler of EventBridge events: ``handler = app.event_handler()``.

        Args:
            unmatched: if no route matches, ``raise`` UnmatchedEvent, so that Lambda keeps the event, or ``drop`` it.
        """
        from .serverless.events import EventHandler

        return EventHandler(self, unmatched=unmatched)

    def api(self, **options: Any) -> Api:
        """The HTTP API of this app, as an ASGI app. Needs the extra ``api``.

        Args:
            options: see `taskq_sls.web.create_api`: auth, tokens, iam_scopes, origins.

        Raises:
            ConfigError: no authentication is configured, or an option is malformed.
        """
        from .web.app import create_api

        return create_api(self, **options)

    def api_handler(self, *, base_path: str = "/", **options: Any) -> ApiHandler:
        """The Lambda handler of HTTP requests from a Function URL, API Gateway or load balancer.

        Args:
            base_path: prefix that the gateway adds to all paths, such as ``/tasks``.
            options: as `api`.
        """
        from .web.serverless import ApiHandler

        return ApiHandler(self.api(**options), base_path=base_path)
