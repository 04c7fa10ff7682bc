"""Where the queues are: logical name to URL, from the settings or found once by name."""

from __future__ import annotations

from collections.abc import Callable

from ..aws.codes import QUEUE_DOES_NOT_EXIST
from ..aws.port import AwsClient
from ..core.clock import Clock
from ..core.settings import Settings
from ..errors import AwsError, MissingResource

ABSENT_FOR = 60.0
"""Seconds for which a missing dead-letter queue is believed to be missing."""


class QueueUrls:
    """URLs of queues, cached for good once found."""

    def __init__(self, client: AwsClient, settings: Settings, clock: Clock, describe: Callable[[], str]) -> None:
        self._client = client
        self._settings = settings
        self._clock = clock
        self._describe = describe
        self._urls = dict(settings.queue_urls)
        self._absent_until: dict[str, float] = {}

    async def url(self, queue: str) -> str:
        """The URL of a queue.

        Raises:
            MissingResource: it does not exist, or may not be seen with these credentials.
        """
        url = self._urls.get(queue)
        if url is None:
            url = await self._find(queue)
            if url is None:
                raise self.missing(queue)
            self._urls[queue] = url
        return url

    async def dead_letter_url(self, queue: str) -> str | None:
        """The URL of a queue's dead-letter queue, or None; an absence is asked about again after a minute."""
        name = self._settings.dead_letter_queue(queue)
        url = self._urls.get(name)
        if url is None and self._absent_until.get(name, 0.0) <= self._clock.time():
            url = await self._find(name)
            if url is None:
                self._absent_until[name] = self._clock.time() + ABSENT_FOR
            else:
                self._urls[name] = url
        return url

    def missing(self, queue: str) -> MissingResource:
        """The error for a queue that is not there; its URL is forgotten, so that a new one will be found."""
        url = self._urls.get(queue)
        if queue not in self._settings.queue_urls:
            self._urls.pop(queue, None)
        where = f"{self._physical_name(queue)!r}" if url is None else url
        return MissingResource(
            f"queue {queue!r} ({where}) does not exist, or these credentials may not see it: {self._describe()}; "
            f"create it with `taskq provision MODULE:APP`, or name it in TASKQ_QUEUE_URLS"
        )

    def _physical_name(self, queue: str) -> str:
        return queue.rpartition(":")[2] if queue.startswith("arn:") else self._settings.queue_name(queue)

    async def _find(self, queue: str) -> str | None:
        names = [self._physical_name(queue)]
        # A delivery of a queue that the app does not declare carries the physical name.
        if queue.startswith(f"{self._settings.prefix}-"):
            names.append(queue)
        for name in names:
            try:
                answer = await self._client.call("get_queue_url", QueueName=name)
            except AwsError as error:
                if error.code != QUEUE_DOES_NOT_EXIST:
                    raise
            else:
                return str(answer["QueueUrl"])
        return None
